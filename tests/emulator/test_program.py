"""From a plan to a program: sound in itself, and the kernels and jobs together compute what LiteRT computes.

Steps are executed here by the firmware's own kernels, built for this machine, and by the accelerator's server.
"""

from __future__ import annotations

import ctypes
import shutil
import struct
import subprocess
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from hil import zoo
from hil.cost import CostModel
from hil.cost.workload import build_workload
from hil.emulator import layout
from hil.emulator.latency import Latencies, latencies
from hil.emulator.layout import Opcode, PhaseCode, TimeClass
from hil.emulator.npu import Command, NpuServer
from hil.emulator.program import MAX_CPU_MACS, MAX_STEPS, Program, build_program, label
from hil.errors import NetworkError
from hil.network import Network
from hil.network.graph import VIEW_OPS
from hil.network.load import load_network
from hil.network.reference import Reference
from hil.network.slice import cut
from hil.network.tflite import read_tflite
from hil.plan import Plan, make_plan
from hil.platform import load_platform, make_target

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests" / "network" / "fixtures"
PLATFORMS = ("max78000", "mcxn947", "hx-we2", "stm32h7a3", "stm32n6", "gap8", "efr32xg24")
CASES = [(platform, name) for platform in PLATFORMS for name in zoo.names()]


@cache
def plan_of(platform: str, network: Network) -> Plan:
    return make_plan(network, make_target(load_platform(platform)))


@cache
def zoo_network(name: str) -> Network:
    return zoo.load(name)


def times_of(plan: Plan) -> Latencies:
    model = CostModel(plan.target)
    return latencies(plan, model, model.predict([plan]), 0)


def built(platform: str, network: Network) -> tuple[Plan, Program]:
    plan = plan_of(platform, network)
    return plan, build_program(plan, latencies=times_of(plan))


def header_of(program: Program) -> layout.Program:
    return layout.Program.from_buffer_copy(program.image)


def steps_of(program: Program) -> list[layout.Step]:
    header = header_of(program)
    return list((layout.Step * header.step_count).from_buffer_copy(program.image, header.steps))


def spans_of(program: Program, step: layout.Step) -> tuple[layout.NpuParams, list[layout.Span]]:
    head = layout.NpuParams.from_buffer_copy(program.image, step.params)
    count = head.input_count + head.output_count
    return head, list((layout.Span * count).from_buffer_copy(program.image, step.params + ctypes.sizeof(head)))


def copies(program: Program, phase: PhaseCode, time_class: TimeClass) -> list[layout.CopyParams]:
    """Copies of that class in that phase, those of kernels (which are of the class MOVE) left out."""
    return [
        layout.CopyParams.from_buffer_copy(program.image, step.params)
        for step in steps_of(program)
        if (step.opcode, step.phase, step.time_class) == (Opcode.COPY, phase, time_class)
    ]


# Structure


@pytest.mark.parametrize(("platform", "name"), CASES)
def test_the_image_is_sound(platform: str, name: str) -> None:
    plan, program = built(platform, zoo_network(name))
    header, image = header_of(program), program.image
    assert (header.magic, header.version, header.total_bytes) == (0x504C4948, 1, len(image))
    assert header.crc32 == zlib.crc32(image[16:])
    assert (header.network, header.platform) == (name.encode(), platform.encode())
    assert header.host_clock_hz == round(plan.target.host_clock_hz)
    assert (header.npu == 1, header.npu_clock_hz > 0) == (plan.target.npu is not None,) * 2
    assert header.weight_load == (plan.target.npu is not None and plan.target.platform.loads_weights)
    assert header.input_bytes == plan.network.input_bytes
    assert header.input_arena + header.input_bytes <= header.arena_bytes
    assert not any(header.scale_q20)
    for output, index in zip(header.outputs, plan.network.outputs, strict=False):
        quantization = plan.network.tensors[index].quantization
        assert quantization is not None
        assert output.bytes == plan.network.tensors[index].size_bytes
        assert output.arena + output.bytes <= header.arena_bytes
        assert (output.scale, output.zero_point) == (
            np.float32(quantization.scales[0]),
            quantization.zero_points[0],
        )
    for step in steps_of(program):
        assert step.params % 4 == 0
        assert step.params + step.params_bytes <= len(image)
        if step.opcode == Opcode.NPU:
            head, spans = spans_of(program, step)
            assert step.params_bytes == ctypes.sizeof(head) + 8 * len(spans)
            assert all(span.arena + span.bytes <= header.arena_bytes for span in spans)
            assert [(span.arena, span.bytes) for span in spans] == [
                (span.arena, span.size_bytes) for span in program.jobs[head.job].spans
            ]


@pytest.mark.parametrize(("platform", "name"), CASES)
def test_every_op_is_computed_once_and_takes_its_time(platform: str, name: str) -> None:
    plan, program = built(platform, zoo_network(name))
    network, times = plan.network, times_of(plan)
    in_jobs = [op for job in program.jobs for op in job.ops]
    kernels = {step.op for step in steps_of(program) if step.op >= 0 and step.opcode != Opcode.NPU}
    assert len(in_jobs) == len(set(in_jobs))
    assert kernels.isdisjoint(in_jobs)
    left_out = set(range(len(network.ops))) - kernels - set(in_jobs)
    assert all(network.ops[op].type in VIEW_OPS for op in left_out)
    on_npu = {index for index, place in enumerate(plan.placements) if place.unit == "npu"}
    assert on_npu <= set(in_jobs)
    for job in program.jobs:
        assert job.latency_ns == sum(times.op_ns[op] for op in job.ops)
        assert job.assisted == on_npu.isdisjoint(job.ops)
    # Jobs are as long as they can be: what stands between two of them is an op of the core.
    for first, second in zip(program.jobs, program.jobs[1:], strict=False):
        between = range(first.ops[-1] + 1, second.ops[0])
        assert any(plan.placements[op].unit == "cpu" for op in between) or first.assisted or second.assisted


def test_the_zoo_needs_no_assistance() -> None:
    for platform, name in CASES:
        _, program = built(platform, zoo_network(name))
        assert program.notes == (), f"{name} on {platform}"


def test_host_ops_reach_a_separate_memory_by_copying() -> None:
    """The bytes are those that the cost model charges; see hil.cost.workload."""
    for name in ("kws", "vww", "ic"):
        plan, program = built("max78000", zoo_network(name))
        work = build_workload([plan])
        for column, time_class in (("border_read", TimeClass.OUTPUT_READ), ("border_write", TimeClass.INPUT_LOAD)):
            moved = copies(program, PhaseCode.INFERENCE, time_class)
            assert sum(copy.dims[-1] for copy in moved) == work.op[column].sum() > 0
    _, program = built("mcxn947", zoo_network("kws"))
    assert not copies(program, PhaseCode.INFERENCE, TimeClass.OUTPUT_READ)


def test_time_classes_follow_the_kind_of_op() -> None:
    _, program = built("stm32h7a3", zoo_network("kws"))
    classes = {step.op: TimeClass(step.time_class) for step in steps_of(program) if step.op >= 0}
    assert [classes[op] for op in (0, 1, 2, 9, 10, 11)] == [
        TimeClass.CONV,
        TimeClass.DEPTHWISE,
        TimeClass.POINTWISE,
        TimeClass.POOL,
        TimeClass.FULLY_CONNECTED,
        TimeClass.EXP,
    ]


def test_host_ops_at_the_edge_belong_to_its_phase() -> None:
    _, program = built("max78000", zoo_network("yolov1_96"))
    late = [step for step in steps_of(program) if step.phase == PhaseCode.POST_PROCESS]
    assert [(step.op, Opcode(step.opcode)) for step in late] == [
        (23, Opcode.COPY),
        (24, Opcode.COPY),
        (-1, Opcode.DECODE),
    ]


def test_the_runtime_s_overhead_is_a_delay() -> None:
    plan = plan_of("max78000", zoo_network("digits"))
    times = Latencies(1, 2, 3456, (0,) * len(plan.network.ops))
    program = build_program(plan, latencies=times)
    delays = [step for step in steps_of(program) if step.opcode == Opcode.DELAY]
    assert [(step.phase, step.time_class, step.op) for step in delays] == [(PhaseCode.INFERENCE, TimeClass.WAIT, -1)]
    assert layout.DelayParams.from_buffer_copy(program.image, delays[0].params).nanoseconds == 3456


def test_scales_are_in_the_header() -> None:
    plan = plan_of("stm32h7a3", zoo_network("digits"))
    program = build_program(plan, latencies=times_of(plan), scales=range(100, 100 + len(TimeClass)))
    assert list(header_of(program).scale_q20) == [*range(100, 100 + len(TimeClass)), 0, 0]


def test_the_same_plan_gives_the_same_bytes() -> None:
    plan = plan_of("max78000", zoo_network("kws"))
    assert build_program(plan, latencies=times_of(plan)) == build_program(plan, latencies=times_of(plan))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("resnet", (1, 1, 0, 0)), ("yolov1_96", (2, 2, 12, 12)), ("ad", (1, 1, 0, 0)), ("ic", None)],
)
def test_decoding_follows_the_outputs(name: str, expected: tuple[int, int, int, int] | None) -> None:
    _, program = built("mcxn947", zoo_network(name))
    found = [
        layout.DecodeParams.from_buffer_copy(program.image, step.params)
        for step in steps_of(program)
        if step.opcode == Opcode.DECODE
    ]
    assert [(p.kind, p.input_count, p.rows, p.columns) for p in found] == ([expected] if expected else [])
    for params in found:
        values = sum(one.count for one in params.inputs)
        assert values == build_workload([plan_of("mcxn947", zoo_network(name))]).plan["decoded_values"][0]
        assert params.output + 4 * (values + 2) <= header_of(program).arena_bytes


def test_names_fit_the_protocol() -> None:
    assert label("my net, v2 (int8]%") == "my_net__v2__int8__"
    assert len(label("x" * 80)) == 31


# What cannot be


def test_a_layer_list_needs_weights() -> None:
    plan = plan_of("mcxn947", load_network(FIXTURES / "ai8x_kws20_v3_max78000.json"))
    with pytest.raises(NetworkError, match="has no weights") as caught:
        build_program(plan, latencies=Latencies(0, 0, 0, ()))
    assert caught.value.hint == "needs weights: give the .tflite"


@pytest.mark.parametrize(
    ("file", "what"), [("float16.tflite", "is float32; expected int8"), ("awkward.tflite", "11 out")]
)
def test_outputs_that_the_protocol_cannot_carry_are_named(file: str, what: str) -> None:
    plan = plan_of("stm32h7a3", load_network(FIXTURES / file))
    with pytest.raises(NetworkError, match=what):
        build_program(plan, latencies=times_of(plan))


def test_an_op_too_long_for_the_tick_counter_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.emulator.program.MAX_CPU_MACS", 1_000_000)
    assert MAX_CPU_MACS * 31 * 4.1 < 2**32
    plan = plan_of("stm32h7a3", zoo_network("ic"))
    with pytest.raises(NetworkError, match=r"op 1 .* 2359296 MACs on the core; expected at most 1000000"):
        build_program(plan, latencies=times_of(plan))


def test_too_many_steps_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    header = (ROOT / "firmware" / "core" / "executor.h").read_text(encoding="utf-8")
    assert f"#define EXECUTOR_MAX_STEPS {MAX_STEPS}\n" in header
    monkeypatch.setattr("hil.emulator.program.MAX_STEPS", 10)
    plan = plan_of("stm32h7a3", zoo_network("ic"))
    with pytest.raises(NetworkError, match=r"ic: 1\d steps; expected at most 10"):
        build_program(plan, latencies=times_of(plan))


# Function


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed: the firmware's kernels cannot be built for this machine")
    library = tmp_path_factory.mktemp("kernels") / "kernels.so"
    sources = sorted(str(file) for file in (ROOT / "firmware" / "kernels").glob("*.c"))
    flags = ["-std=c11", "-O2", "-shared", "-fPIC", "-ffp-contract=off", f"-I{ROOT / 'firmware' / 'include'}"]
    subprocess.run(["gcc", *flags, "-o", str(library), *sources], check=True, timeout=120)
    return ctypes.CDLL(str(library))


class Board:
    """Executes a program as firmware/core/executor.c does, with an arena full of noise to begin with."""

    def __init__(self, program: Program, kernels: ctypes.CDLL) -> None:
        self.program, self.kernels = program, kernels
        self.header = header_of(program)
        self.image = ctypes.create_string_buffer(program.image, len(program.image))
        noise = np.random.default_rng(3).bytes(self.header.arena_bytes)
        self.arena = ctypes.create_string_buffer(noise, len(noise))
        self.npu = NpuServer(program)

    def read(self, place: int, size_bytes: int) -> bytes:
        return ctypes.string_at(ctypes.addressof(self.arena) + place, size_bytes)

    def write(self, place: int, data: bytes) -> None:
        ctypes.memmove(ctypes.addressof(self.arena) + place, data, len(data))

    def infer(self, data: bytes, inferences: int = 2) -> list[bytes]:
        self.write(self.header.input_arena, data)
        once = (PhaseCode.INPUT_LOAD, PhaseCode.OUTPUT_READ, PhaseCode.POST_PROCESS)
        for phase in (once[0], *[PhaseCode.INFERENCE] * inferences, *once[1:]):
            self._run(phase)
        return [self.read(one.arena, one.bytes) for one in self.header.outputs[: self.header.output_count]]

    def _run(self, phase: PhaseCode) -> None:
        for step in steps_of(self.program):
            if step.phase != phase or step.opcode == Opcode.DELAY:
                continue
            if step.opcode == Opcode.NPU:
                self._job(step)
            else:
                assert self.kernels.kernel_run(ctypes.byref(step), self.image, self.arena) == 0

    def _job(self, step: layout.Step) -> None:
        head, spans = spans_of(self.program, step)
        data = b"".join(self.read(span.arena, span.bytes) for span in spans[: head.input_count])
        status, _, output = self.npu.answer(Command.RUN, head.job, data)
        assert status == 0, self.npu.failure
        for span in spans[head.input_count :]:
            self.write(span.arena, output[: span.bytes])
            output = output[span.bytes :]
        assert output == b""


def assert_equals_the_reference(network: Network, program: Program, kernels: ctypes.CDLL) -> Board:
    assert network.model is not None
    reference = Reference(network.model)
    board = Board(program, kernels)
    for seed in (1, 2):
        data = np.random.default_rng(seed).bytes(network.input_bytes)
        inputs, start = [], 0
        for port in reference.inputs:
            inputs.append(data[start : start + port.size_bytes])
            start += port.size_bytes
        assert board.infer(data) == reference.run(inputs)
    return board


@pytest.mark.parametrize(("platform", "name"), CASES)
def test_the_board_computes_what_the_reference_computes(platform: str, name: str, kernels: ctypes.CDLL) -> None:
    plan, program = built(platform, zoo_network(name))
    assert_equals_the_reference(plan.network, program, kernels)


@pytest.mark.parametrize("platform", ["max78000", "stm32h7a3", "efr32xg24"])
@pytest.mark.parametrize("ops", [(0, 8), (8, 13), (13, 18), (15, 21)])
def test_awkward_ops_too(platform: str, ops: tuple[int, int], kernels: ctypes.CDLL) -> None:
    """Batches, several inputs and outputs, ops without a kernel."""
    part = cut((FIXTURES / "awkward.tflite").read_bytes(), range(*ops))
    network = read_tflite(part.model, "awkward")
    plan, program = built(platform, network)
    assert_equals_the_reference(network, program, kernels)
    assisted = [job for job in program.jobs if job.assisted]
    assert bool(program.notes) == bool(assisted)
    for job in assisted:
        assert job.latency_ns == times_of(plan).op_ns[job.ops[0]] > 0
        assert network.ops[job.ops[0]].type in program.notes[0]


def test_decoding_finds_the_best_class(kernels: ctypes.CDLL) -> None:
    network = zoo_network("digits")
    _, program = built("stm32h7a3", network)
    board = assert_equals_the_reference(network, program, kernels)
    output = board.header.outputs[0]
    values = np.frombuffer(board.read(output.arena, output.bytes), np.int8)
    (step,) = [step for step in steps_of(program) if step.opcode == Opcode.DECODE]
    params = layout.DecodeParams.from_buffer_copy(program.image, step.params)
    found = struct.unpack("<12f", board.read(params.output, 48))
    real = np.float32(output.scale) * (values.astype(np.float32) - output.zero_point)
    assert found == (*real.tolist(), float(real.max()), float(values.argmax()))
