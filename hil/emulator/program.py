"""From a plan to the program that the firmware runs (``firmware/include/program.h``), and the accelerator's jobs.

Steps follow the network's order.  Runs of consecutive ops on the accelerator are one job each; ops on the host core
become kernel calls, or *assisted* jobs where the firmware has no kernel that computes them exactly: the host computes
those too, and they take the cost model's time for the op on the core.

The arena holds, one behind the other: the activations as ``hil.network.memory`` places them; the buffer that the
protocol loads; a place of its own for every tensor that an inference must not overwrite, because the input is loaded
once for many inferences; the results, where the application keeps them; room for their decoding; and the scratch in
which a core without access to the accelerator's memory computes.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from ctypes import LittleEndianStructure, sizeof
from dataclasses import dataclass, field
from typing import Any

from hil.cost.workload import build_workload, op_kind
from hil.emulator import layout
from hil.emulator.latency import Latencies
from hil.emulator.layout import DecodeKind, Opcode, PhaseCode, TimeClass
from hil.emulator.lower import ConstantPool, lower_op
from hil.errors import NetworkError
from hil.network import Network, Op, hwc
from hil.network.graph import VIEW_OPS
from hil.network.memory import plan_memory
from hil.network.slice import Slice, cut_parsed, parse
from hil.plan import Phase, Plan

ALIGNMENT = 16
# The firmware's 32-bit tick counter must not wrap within a step: a MAC takes up to 31 instructions of its kernels
# (instructions.json), an instruction up to 4.1 ticks (QEMU's mps3-an547: 128 ns at 32 MHz).
MAX_CPU_MACS = 30_000_000
_MAX_OPS = 0x7FFF  # struct step numbers them in 16 bits
MAX_STEPS = 2048  # EXECUTOR_MAX_STEPS of firmware/core/executor.h
_BOX_VALUES = 5  # centre, size, objectness


@dataclass(frozen=True, slots=True)
class Span:
    """A tensor in the arena: offset and size in bytes."""

    arena: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Job:
    """What the host computes for the board.  ``ops`` are the network's; ``spans`` lie as ``slice.inputs`` and then
    ``slice.outputs``.  ``assisted``: an op of the host core that has no kernel, not work of the accelerator."""

    number: int
    ops: tuple[int, ...]
    slice: Slice
    spans: tuple[Span, ...]
    latency_ns: int
    assisted: bool


@dataclass(frozen=True)
class Program:
    """``image`` is what the firmware reads; ``jobs`` what ``hil.emulator.npu`` answers, by number; ``notes`` what to
    know of the figures."""

    name: str
    image: bytes = field(repr=False)
    jobs: tuple[Job, ...] = field(repr=False)
    latencies: Latencies = field(repr=False)
    notes: tuple[str, ...] = ()


def build_program(plan: Plan, *, latencies: Latencies, scales: Sequence[int] | None = None) -> Program:
    """The program of a plan.

    ``scales``: board nanoseconds per tick times 2^20 by ``TimeClass``; None for a board whose ticks are its own.
    Raises NetworkError where the network has no weights, or where the firmware cannot carry it.
    """
    check_runnable(plan.network)
    return _Builder(plan, latencies).build(scales or ())


def check_runnable(network: Network) -> bytes:
    """The network's file, where an emulated board can run it: with weights, and answers that the protocol can carry.
    Raises NetworkError."""
    if network.model is None:
        raise NetworkError(
            f"{network.name}: a layer list has no weights to run", hint="needs weights: give the .tflite"
        )
    if len(network.ops) > _MAX_OPS:
        raise NetworkError(f"{network.name}: {len(network.ops)} ops; expected at most {_MAX_OPS} on an emulated board")
    if not 1 <= len(network.outputs) <= layout.PROGRAM_MAX_OUTPUTS:
        raise NetworkError(
            f"{network.name}: {len(network.outputs)} outputs; expected 1 to {layout.PROGRAM_MAX_OUTPUTS}"
            " on an emulated board"
        )
    for tensor in (network.tensors[index] for index in network.outputs):
        if tensor.dtype != "int8" or tensor.constant:
            what = "a constant" if tensor.constant else tensor.dtype
            raise NetworkError(
                f"{network.name}: output {tensor.name} is {what}; expected int8 on an emulated board",
                hint="convert with full integer quantization, inputs and outputs included",
            )
    return network.model


@dataclass
class _Arena:
    """Where tensors lie: ``inference`` up to the end of the inference, ``after`` from reading the outputs on."""

    inference: dict[int, int]
    end: int
    after: dict[int, int] = field(default_factory=dict)
    copies: list[tuple[int, int, int]] = field(default_factory=list)  # source, destination, bytes of OUTPUT_READ

    def room(self, size_bytes: int) -> int:
        """A place of its own."""
        place, self.end = self.end, self.end + -(-size_bytes // ALIGNMENT) * ALIGNMENT
        return place


def _lay_out(network: Network, phases: Sequence[Phase]) -> _Arena:
    memory = plan_memory(network, ALIGNMENT)
    made_in: dict[str, set[int]] = {"input_load": set(network.inputs), "inference": set(), "post_process": set()}
    for op in network.ops:
        made_in[phases[op.index]].update(op.outputs)
    late = [op for op in network.ops if phases[op.index] == "post_process"]
    kept = {*network.outputs, *(i for op in late for i in (*op.inputs, *op.outputs))}
    arena = _Arena(dict(memory.offsets), memory.arena_bytes)
    for buffer in memory.lifetimes:
        if not made_in["input_load"].isdisjoint(buffer.tensors):
            arena.inference.update(dict.fromkeys(buffer.tensors, arena.room(buffer.size_bytes)))
        if not kept.isdisjoint(buffer.tensors):
            place = arena.room(buffer.size_bytes)
            arena.after.update(dict.fromkeys(buffer.tensors, place))
            if not made_in["post_process"].issuperset(buffer.tensors):
                arena.copies.append((arena.inference[buffer.tensors[0]], place, buffer.size_bytes))
    return arena


def _phases(plan: Plan) -> list[Phase]:
    """The phase in which each op really happens: what reads a result of post-processing comes after it."""
    phases: list[Phase] = []
    late: set[int] = set()
    for op, place in zip(plan.network.ops, plan.placements, strict=True):
        phases.append("post_process" if not late.isdisjoint(op.inputs) else place.phase)
        if phases[-1] == "post_process":
            late.update(op.outputs)
    return phases


@dataclass(frozen=True, slots=True)
class _Step:
    opcode: Opcode
    time_class: TimeClass
    phase: PhaseCode
    params: bytes
    op: int = -1


class _Builder:
    """Collects steps, constants and jobs."""

    def __init__(self, plan: Plan, latencies: Latencies) -> None:
        self.plan = plan
        self.network = plan.network
        self.latencies = latencies
        self.parsed: Any = parse(self.network.model or b"")
        self.position = _positions(self.network, self.parsed)
        self.phases = _phases(plan)
        self.arena = _lay_out(self.network, self.phases)
        self.constants = ConstantPool(_aligned(sizeof(layout.Program)))
        self.steps: list[_Step] = []
        self.jobs: list[Job] = []
        npu_ops = [op for op in self.network.ops if plan.placements[op.index].unit == "npu"]
        # An accelerator with memory of its own: the core reads from it and writes to it by copying.
        apart = plan.target.platform.loads_weights
        self.npu_made = {i for op in npu_ops for i in op.outputs} if apart else set()
        self.npu_read = {i for op in npu_ops for i in op.inputs} if apart else set()

    def build(self, scales: Sequence[int]) -> Program:
        network, arena = self.network, self.arena
        input_arena = self._load_inputs()
        decode = self._decode()
        self.scratch = arena.end  # shared by all ops that need some: the last part of the arena
        if self.latencies.invoke_ns:
            delay = layout.DelayParams(nanoseconds=self._u32(self.latencies.invoke_ns, "overhead of an inference, ns"))
            self._step(Opcode.DELAY, TimeClass.WAIT, PhaseCode.INFERENCE, delay)
        self._ops()
        for source, destination, size_bytes in arena.copies:
            self._copy(PhaseCode.OUTPUT_READ, TimeClass.OUTPUT_READ, source, destination, size_bytes)
        if decode is not None:
            self._step(Opcode.DECODE, TimeClass.POST_PROCESS, PhaseCode.POST_PROCESS, decode)
        if len(self.steps) > MAX_STEPS:
            raise NetworkError(
                f"{network.name}: {len(self.steps)} steps; expected at most {MAX_STEPS} on an emulated board",
                hint="use --backend analytic",
            )
        header = self._header(input_arena, scales)
        return Program(network.name, self._image(header), tuple(self.jobs), self.latencies, self._notes())

    # Steps

    def _load_inputs(self) -> int:
        """Room for what the protocol loads, and its way to the input tensors; returns the place of that room."""
        place = self.arena.room(self.network.input_bytes)
        source = place
        for index in self.network.inputs:
            destination = self.arena.inference[index]
            self._copy(PhaseCode.INPUT_LOAD, TimeClass.INPUT_LOAD, source, destination, self._size(index))
            source += self._size(index)
        return place

    def _ops(self) -> None:
        places = self.plan.placements
        index = 0
        while index < len(self.network.ops):
            run = self._npu_run(index)
            if run:
                self._job(run, sum(self.latencies.op_ns[k] for k in run), assisted=False)
            elif places[index].unit != "free" or not self._is_in_place(index):
                self._host_op(self.network.ops[index])
            index += max(len(run), 1)

    def _npu_run(self, start: int) -> range:
        """The ops from ``start`` on that are one job: on the accelerator, and free ones between and behind them."""
        places = self.plan.placements
        if places[start].unit != "npu":
            return range(0)
        stop = start + 1
        while stop < len(places) and places[stop].unit in ("npu", "free") and self.phases[stop] == self.phases[start]:
            stop += 1
        while self._is_in_place(stop - 1):
            stop -= 1
        return range(start, stop)

    def _is_in_place(self, index: int) -> bool:
        """Whether the op only sees its input's bytes with another shape."""
        op, addresses = self.network.ops[index], self._addresses(index)
        is_view = self.plan.placements[index].unit == "free" and op.type in VIEW_OPS and len(op.inputs) > 0
        return is_view and addresses[op.inputs[0]] == addresses[op.outputs[0]]

    def _addresses(self, index: int) -> Mapping[int, int]:
        return self.arena.after if self.phases[index] == "post_process" else self.arena.inference

    def _host_op(self, op: Op) -> None:
        """Kernel calls, with the way from and to the accelerator's memory where that is a way; or an assisted job."""
        on_core = self.plan.placements[op.index].unit == "cpu"
        phase = PhaseCode[self.phases[op.index].upper()]
        inside = on_core and phase == PhaseCode.INFERENCE
        fetched = [i for i in dict.fromkeys(op.inputs) if inside and i in self.npu_made]
        stored = [i for i in op.outputs if inside and i in self.npu_read]
        home = self._addresses(op.index)
        here, end = dict(home), self.scratch
        for index in (*fetched, *stored):
            here[index] = end
            end += _aligned(self._size(index))
        lowered = lower_op(self.parsed, self.position[op.index], here, self.constants)
        if lowered is None:  # the cost model's time for the op includes that way
            self._job(range(op.index, op.index + 1), self.latencies.op_ns[op.index], assisted=True)
            return
        if op.macs > MAX_CPU_MACS:
            raise NetworkError(
                f"{self.network.name}: op {op.index} ({op.name}) has {op.macs} MACs on the core;"
                f" expected at most {MAX_CPU_MACS} on an emulated board",
                hint="use --backend analytic",
            )
        self.arena.end = max(self.arena.end, end)
        for index in fetched:
            self._copy(phase, TimeClass.OUTPUT_READ, home[index], here[index], self._size(index), op.index)
        time_class = TimeClass[op_kind(op).upper()] if on_core else TimeClass.OFF
        self.steps += (_Step(Opcode(one.opcode), time_class, phase, one.params, op.index) for one in lowered)
        for index in stored:
            self._copy(phase, TimeClass.INPUT_LOAD, here[index], home[index], self._size(index), op.index)

    def _size(self, index: int) -> int:
        return self.network.tensors[index].size_bytes

    def _job(self, ops: range, latency_ns: int, *, assisted: bool) -> None:
        inside = range(self.position[ops[0]], self.position[ops[-1]] + 1)
        part = cut_parsed(self.parsed, inside)
        addresses = self._addresses(ops[0])
        spans = tuple(Span(addresses[i], self._size(i)) for i in (*part.inputs, *part.outputs))
        job = Job(len(self.jobs), tuple(ops), part, spans, latency_ns, assisted)
        self.jobs.append(job)
        head = layout.NpuParams(job=job.number, input_count=len(part.inputs), output_count=len(part.outputs))
        tail = b"".join(bytes(layout.Span(arena=span.arena, bytes=span.size_bytes)) for span in spans)
        phase = PhaseCode[self.phases[ops[0]].upper()]
        self.steps.append(_Step(Opcode.NPU, TimeClass.CODE, phase, bytes(head) + tail, ops[0]))

    def _copy(
        self, phase: PhaseCode, time_class: TimeClass, source: int, destination: int, size_bytes: int, op: int = -1
    ) -> None:
        params = layout.CopyParams(input=source, output=destination, element_bytes=1)
        params.dims[:] = [1] * (layout.MAX_DIMS - 1) + [size_bytes]
        params.in_strides[:] = params.out_strides[:] = [size_bytes] * (layout.MAX_DIMS - 1) + [1]
        self._step(Opcode.COPY, time_class, phase, params, op)

    def _step(
        self, opcode: Opcode, time_class: TimeClass, phase: PhaseCode, params: LittleEndianStructure, op: int = -1
    ) -> None:
        self.steps.append(_Step(opcode, time_class, phase, bytes(params), op))

    def _decode(self) -> layout.DecodeParams | None:
        """What the application does with outputs that the network leaves undecoded; None where it leaves none."""
        if not build_workload([self.plan]).plan["decoded_values"][0]:
            return None
        network = self.network
        soft = {i for op in network.ops if op.type == "softmax" for i in op.outputs}
        grid = _box_grid(network)
        decoded = grid or [i for i in network.outputs if i not in soft]
        params = layout.DecodeParams(kind=DecodeKind.BOXES if grid else DecodeKind.ARGMAX, input_count=len(decoded))
        for slot, index in zip(params.inputs, decoded, strict=False):
            slot.arena, slot.count = self.arena.after[index], network.tensors[index].elements
            slot.scale, slot.zero_point = affine(network, index)
        extra = 2  # best value and its place: one pair, or one for every cell
        if grid:
            params.rows, params.columns, _ = hwc(network.tensors[grid[0]].shape)
            extra = 2 * params.rows * params.columns
        params.output = self.arena.room(4 * (sum(network.tensors[i].elements for i in decoded) + extra))
        return params

    # The image

    def _header(self, input_arena: int, scales: Sequence[int]) -> layout.Program:
        network, target = self.network, self.plan.target
        supply = target.point.supply_v
        header = layout.Program(
            magic=layout.PROGRAM_MAGIC,
            version=layout.PROGRAM_VERSION,
            network=label(network.name).encode(),
            platform=label(target.id).encode(),
            point=label(target.operating_point).encode(),
            host_clock_hz=self._u32(round(target.host_clock_hz), "host clock, Hz"),
            npu_clock_hz=self._u32(round(target.npu_clock_hz), "NPU clock, Hz") if target.npu is not None else 0,
            supply_mv=round(supply.value * 1e3) if supply is not None else 0,
            arena_bytes=self._u32(self.arena.end, "bytes of arena"),
            input_bytes=network.input_bytes,
            input_arena=input_arena,
            output_count=len(network.outputs),
            npu=int(target.npu is not None),
            weight_load=int(target.npu is not None and target.platform.loads_weights),
        )
        for slot, index in zip(header.outputs, network.outputs, strict=False):
            slot.arena, slot.bytes = self.arena.after[index], self._size(index)
            slot.scale, slot.zero_point = affine(network, index)
        for slot_index, scale in enumerate(scales):
            header.scale_q20[slot_index] = self._u32(scale, f"scale of class {slot_index}")
        return header

    def _image(self, header: layout.Program) -> bytes:
        """Header, constants, parameters, steps; offsets count from the start."""
        body = bytearray(bytes(_aligned(sizeof(header)) - sizeof(header)) + self.constants.data)
        table = bytearray()
        for step in self.steps:
            body.extend(bytes(-(sizeof(header) + len(body)) % 4))
            entry = layout.Step(
                opcode=step.opcode,
                time_class=step.time_class,
                phase=step.phase,
                op=step.op,
                params_bytes=len(step.params),
                params=sizeof(header) + len(body),
            )
            table.extend(bytes(entry))
            body.extend(step.params)
        body.extend(bytes(-(sizeof(header) + len(body)) % 4))
        header.step_count, header.steps = len(self.steps), sizeof(header) + len(body)
        body.extend(table)
        header.total_bytes = self._u32(sizeof(header) + len(body), "bytes of program")
        covered = layout.Program.crc32.offset + layout.Program.crc32.size
        header.crc32 = zlib.crc32(bytes(header)[covered:] + body)
        return bytes(header) + bytes(body)

    def _u32(self, value: int, what: str) -> int:
        if not 0 <= value < 1 << 32:
            raise NetworkError(
                f"{self.network.name}: {value} {what}; expected 0 to {(1 << 32) - 1} on an emulated board"
            )
        return value

    def _notes(self) -> tuple[str, ...]:
        assisted = [self.network.ops[job.ops[0]] for job in self.jobs if job.assisted]
        if not assisted:
            return ()
        kinds = ", ".join(dict.fromkeys(op.type for op in assisted))
        return (
            f"{len(assisted)} ops on the core have no kernel in the firmware ({kinds}):"
            " the host computes them, in the cost model's time",
        )


def _positions(network: Network, parsed: Any) -> list[int]:
    """The file's operator behind each op of the network: all but those whose result the reader took for a constant."""
    operators = parsed.subgraphs[0].operators
    kept = [
        position
        for position, operator in enumerate(operators)
        if not any(network.tensors[i].constant for i in operator.outputs)
    ]
    if len(kept) != len(network.ops):
        raise NetworkError(f"{network.name}: {len(kept)} operators in its file; expected {len(network.ops)}")
    return kept


def _box_grid(network: Network) -> list[int]:
    """The outputs of a detector as ``DECODE_BOXES`` takes them: a map of boxes and a map of classes over one grid of
    cells; empty for other networks."""
    shapes = [network.tensors[i].shape for i in network.outputs[:2]]
    grids = {hwc(shape)[:2] for shape in shapes}
    if len(shapes) < 2 or len(grids) > 1 or (1, 1) in grids or shapes[0][-1] % _BOX_VALUES:
        return []
    return list(network.outputs[:2])


def affine(network: Network, index: int) -> tuple[float, int]:
    """Scale and zero point of a tensor; (1, 0) where the file has none."""
    quantization = network.tensors[index].quantization
    return (quantization.scales[0], quantization.zero_points[0]) if quantization is not None else (1.0, 0)


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // ALIGNMENT) * ALIGNMENT


def label(text: str) -> str:
    """A name as the protocol can carry it, with its terminator within 32 bytes."""
    return re.sub(r"[^A-Za-z0-9._+-]", "_", text)[:31]
