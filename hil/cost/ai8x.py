"""MAX78000 and MAX78002: the vendor's cycle formula, and what it leaves out.

Re-expressed from the description of Analog Devices' estimator (analogdevicesinc/ai8x-synthesis@ab4f4c0,
izer/latency.py): reading and writing are not overlapped, one output channel leaves per cycle and pass.  The vendor
supports the estimate for MAX78000 only.  Three things are added, each seen in published measurements:

* MAX78002's pipeline costs a fixed number of cycles per output pixel and pass.  Without it (and on MAX78000) there is
  no such cost: AN7664 figure 10 and the MAX78000 SDK agree with the bare formula within 4 %.
* A depthwise layer has as many outputs per pass as processors, each of which computes its own channel at once.
* Layers that stream run while the host fills the FIFO: the slower of the two counts (AN7417 table 5, FaceID).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hil.cost.parameters import Parameter, Theta, assumed
from hil.cost.workload import Float, Workload
from hil.network import Network, hwc
from hil.plan import HwLayer, Plan
from hil.platform import Target

START_CYCLES = 1
# What the vendor's estimator multiplies streaming layers by, marked "(est)".
STREAMING_FACTOR = 1.5
PROCESSORS = 64
# A kernel's place in a weight memory word at eight bits; narrower weights take their share of it.
KERNEL_WORD_BYTES = 9
# The host writes input data to the accelerator in words.
WORD_BYTES = 4

PARAMETERS: tuple[Parameter, ...] = (
    assumed(
        "cycle_scale",
        "ratio",
        1.0,
        "measured over formula cycles",
        "MAX78000 measurements agree within a few per cent",
        1.1,
    ),
    assumed(
        "pipeline_cycles_per_pass",
        "cycle",
        0.0,
        "extra cycles per output pixel and pass of 64 input channels",
        "absent without a pipeline",
    ),
    assumed(
        "streaming_cycle_scale",
        "ratio",
        1.0,
        "cycles of streaming layers over the formula without its streaming factor",
        "streaming layers compute what others do; the vendor's estimate of 1.5 lies within the spread",
        1.5,
    ),
    assumed(
        "fifo_poll_host_cycles_per_byte",
        "cycle/B",
        3.2,
        "host cycles to ask whether the FIFO takes a word, per byte of it",
        "the vendor's 230 ns per register read at 100/50 MHz, split as writing is",
        1.6,
    ),
    assumed(
        "fifo_poll_bus_cycles_per_byte",
        "cycle/B",
        1.2,
        "bus cycles to ask whether the FIFO takes a word, per byte of it",
        "as the host cycles",
        1.6,
    ),
    assumed(
        "invoke_host_cycles",
        "cycle",
        500.0,
        "start, sleep, interrupt",
        "a handful of register writes and one interrupt",
        3.0,
    ),
    assumed("npu_init_s", "s", 5e-5, "cnn_enable and cnn_init", "tens of register writes at 280 ns", 4.0),
)


def layer_cycles(layer: HwLayer) -> float:
    """Cycles of one hardware layer as the vendor estimates them."""
    return _formula_cycles(layer, layer.out_channels) * (STREAMING_FACTOR if _streams(layer) else 1.0)


def hardware_cycles(layer: HwLayer, *, depthwise: bool = False) -> float:
    """Cycles of one hardware layer without pipeline and streaming effects.

    A depthwise layer takes one cycle per output pixel and pass: its processors write their channels side by side.
    """
    return _formula_cycles(layer, 1 if depthwise else layer.out_channels, depthwise=depthwise)


def _streams(layer: HwLayer) -> bool:
    return layer.streaming and layer.kind != "passthrough"


def _formula_cycles(layer: HwLayer, out_channels: int, *, depthwise: bool = False) -> float:
    passes = math.ceil(layer.in_channels / PROCESSORS)
    operands = layer.operands
    rows, columns = _pooled(layer)
    area = layer.pool[0] * layer.pool[1]
    blank = 2 * passes * (1 if layer.pool_after_eltwise else operands)
    pixel = passes * (operands * area + 1) if layer.pool_after_eltwise else passes * operands * (area + 1)
    if layer.kind == "passthrough":
        # A pass-through that pools hands each pass on in two time slots but the last.
        slots = 2 * passes - 1 if area > 1 and passes > 1 else passes
        return rows * columns * (pixel + slots)
    if layer.kind == "fully_connected":
        kernel, padding, out_columns = (1, 1), (0, 0), 1
        if layer.flatten:
            rows, columns = 1, 1
    else:
        kernel, padding, out_columns = layer.kernel, layer.padding, layer.out_columns
        if layer.kind == "transpose":
            rows, columns = 2 * rows, 2 * columns
    k, (p, q) = kernel, padding
    top = (2 * q + columns) * (blank + 1)
    silent = 2 * q * (blank + 1) + columns * (pixel + 1)
    lead = k[1] - 1 - q
    data = q * (blank + 1) + lead * (pixel + 1) + (out_columns - q) * pixel + q * blank
    bottom = q * (blank + 1) + lead * (blank + 1) + (out_columns - q) * blank + q * blank
    out = passes * out_columns * out_channels
    if out_channels == 1 and passes == 1 and not depthwise:
        out += out_channels
    waiting = k[0] - 1 - p
    return p * top + waiting * silent + (rows - waiting) * (data + out) + p * (bottom + out) + layer.flatten


def _pooled(layer: HwLayer) -> tuple[int, int]:
    """Rows and columns after the pooling in flight (no padding)."""
    rows = (layer.in_rows - layer.pool[0]) // layer.pool_stride[0] + 1
    columns = (layer.in_columns - layer.pool[1]) // layer.pool_stride[1] + 1
    return max(1, rows), max(1, columns)


def output_pixels(layer: HwLayer) -> int:
    """Positions for which a layer computes outputs; a pass-through computes none."""
    if layer.kind == "passthrough":
        return 0
    if layer.kind == "fully_connected":
        return 1
    rows, columns = _pooled(layer)
    if layer.kind == "transpose":
        return 4 * rows * columns
    return max(1, rows + 2 * layer.padding[0] - layer.kernel[0] + 1) * layer.out_columns


def memory_bytes(layer: HwLayer, *, depthwise: bool = False, weight_bits: int = 8) -> float:
    """Bytes that a layer reads from weight and data memories and writes back.

    The accelerator does not reuse weights: every output value fetches one kernel per input channel, and a kernel takes
    its nine places whether it fills them (3x3) or not (1x1).
    """
    rows, columns = _pooled(layer)
    area = layer.pool[0] * layer.pool[1]
    pixels = output_pixels(layer)
    inputs = layer.in_channels * (layer.in_rows * layer.in_columns if layer.flatten else 1)
    kernels = pixels * layer.out_channels * (1 if depthwise else inputs)
    values = rows * columns * (area * layer.operands * layer.in_channels) + pixels * layer.out_channels
    return KERNEL_WORD_BYTES * weight_bits / 8 * kernels + values


def input_words(network: Network) -> int:
    """32-bit words that the host writes for one input: four channels of a pixel each, or four pixels of one channel."""
    words = 0
    for tensor in network.inputs:
        rows, columns, channels = hwc(network.tensors[tensor].shape)
        pixels = rows * columns
        words += math.ceil(pixels / WORD_BYTES) if channels == 1 else pixels * math.ceil(channels / WORD_BYTES)
    return words


def features(plans: Sequence[Plan], work: Workload) -> dict[str, Float]:
    """Columns per op, from the hardware layers that it needs.

    ``layer_cycles``: the vendor's estimate, with the start-up in the first op.  ``run_cycles`` and ``run_passes``:
    cycles and output pixels times passes of the layers that run by themselves; ``stream_cycles`` and
    ``stream_passes`` of those that run while the FIFO fills.  ``fifo_bytes``: bytes that pass the FIFO, at the op
    that takes them.

    Replaces what the accelerator's memories make different in the common counts: ``input_bytes`` of the plans become
    whole words, ``moved_bytes`` of accelerated ops the bytes that cross its memories.
    """
    names = ("layer_cycles", "run_cycles", "run_passes", "stream_cycles", "stream_passes", "fifo_bytes")
    extra = {name: np.zeros(len(work.kind)) for name in names}
    moved = np.where(work.npu, 0.0, work.op["moved_bytes"])
    for index, (start, plan) in enumerate(zip(work.starts, plans, strict=True)):
        written = float(WORD_BYTES * input_words(plan.network))
        work.plan["input_bytes"][index] = written
        rows = [start + op for op in _charged(plan)]
        for row, layer in zip(rows, plan.layers, strict=True):
            op = plan.network.ops[layer.op]
            depthwise = op.type.startswith("depthwise")
            kind = "stream" if _streams(layer) else "run"
            passes = math.ceil(layer.in_channels / PROCESSORS)
            extra["layer_cycles"][row] += layer_cycles(layer)
            extra[f"{kind}_cycles"][row] += hardware_cycles(layer, depthwise=depthwise)
            extra[f"{kind}_passes"][row] += passes * output_pixels(layer)
            moved[row] += memory_bytes(layer, depthwise=depthwise, weight_bits=op.weight_bits)
        if plan.layers:
            first = rows[0]
            extra["layer_cycles"][first] += START_CYCLES
            extra["run_cycles"][first] += START_CYCLES
            extra["fifo_bytes"][first] = written if plan.layers[0].streaming else 0.0
    work.op["moved_bytes"] = moved
    return extra


def _charged(plan: Plan) -> list[int]:
    """The op that bears the cost of every hardware layer: an op done in flight has no cost of its own."""
    into = [(layer.op, plan.placements[layer.op].fused_into) for layer in plan.layers]
    return [op if host is None else host for op, host in into]


def npu_cycles(work: Workload, theta: Theta) -> Float:
    """Accelerator cycles per op, shape ``[..., ops]``.

    Where layers stream, the first of them bears what their run takes beyond the writing of the input, which is a phase
    of its own: the host's polling of the FIFO, or the accelerator where it is the slower of the two.
    """
    own = work.extra
    per_pass = theta["pipeline_cycles_per_pass"]
    cycles = theta["cycle_scale"] * own["run_cycles"] + per_pass * own["run_passes"]
    if own["fifo_bytes"].any():
        streaming = theta["streaming_cycle_scale"] * own["stream_cycles"] + per_pass * own["stream_passes"]
        plan_of_op = np.repeat(np.arange(work.plans), np.diff(np.append(work.starts, len(work.kind))))
        beyond = np.maximum(work.per_plan(streaming), _fill(work, theta)) - _written(work, theta)
        cycles = cycles + np.where(own["fifo_bytes"] > 0, np.maximum(beyond, 0.0)[..., plan_of_op], 0.0)
    return np.asarray(cycles, dtype=np.float64)


def _written(work: Workload, theta: Theta) -> Float:
    """The input-load phase in accelerator cycles, shape ``[..., plans]``."""
    target = work.target
    host = theta["input_load_host_cycles_per_byte"] / target.host_clock_hz
    bus = theta["input_load_bus_cycles_per_byte"] / target.bus_clock_hz
    return np.asarray((host + bus) * target.npu_clock_hz * work.plan["input_bytes"], dtype=np.float64)


def _fill(work: Workload, theta: Theta) -> Float:
    """Filling the FIFO in accelerator cycles, shape ``[..., plans]``: a poll and a write per word.

    The accelerator runs meanwhile, so its bus goes at its own clock, not at the one for loading.
    """
    target = work.target
    host = theta["input_load_host_cycles_per_byte"] + theta["fifo_poll_host_cycles_per_byte"]
    bus = theta["input_load_bus_cycles_per_byte"] + theta["fifo_poll_bus_cycles_per_byte"]
    per_byte = host * (target.npu_clock_hz / target.host_clock_hz) + bus
    return np.asarray(per_byte * work.per_plan(work.extra["fifo_bytes"]), dtype=np.float64)


def parameters(target: Target) -> tuple[Parameter, ...]:
    return PARAMETERS
