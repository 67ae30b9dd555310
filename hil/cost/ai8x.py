"""MAX78000 and MAX78002: the vendor's cycle formula.

Re-expressed from the description of Analog Devices' estimator (analogdevicesinc/ai8x-synthesis@ab4f4c0,
izer/latency.py): reading and writing are not overlapped, one output channel leaves per cycle and pass.  The vendor
supports the estimate for MAX78000 only; on MAX78002 it is a shape to be scaled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hil.cost.parameters import Parameter, Theta, assumed
from hil.cost.workload import Float, Workload
from hil.plan import HwLayer, Plan
from hil.platform import Target

START_CYCLES = 1
STREAMING_FACTOR = 1.5

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
    """Cycles of one hardware layer."""
    passes = math.ceil(layer.in_channels / 64)
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
    out = passes * out_columns * layer.out_channels
    if layer.out_channels == 1 and passes == 1:
        out += layer.out_channels
    waiting = k[0] - 1 - p
    cycles = p * top + waiting * silent + (rows - waiting) * (data + out) + p * (bottom + out) + layer.flatten
    return cycles * (STREAMING_FACTOR if layer.streaming else 1.0)


def _pooled(layer: HwLayer) -> tuple[int, int]:
    """Rows and columns after the pooling in flight (no padding)."""
    rows = (layer.in_rows - layer.pool[0]) // layer.pool_stride[0] + 1
    columns = (layer.in_columns - layer.pool[1]) // layer.pool_stride[1] + 1
    return max(1, rows), max(1, columns)


def features(plans: Sequence[Plan], work: Workload) -> dict[str, Float]:
    """``layer_cycles`` per op: the hardware layers that it needs, and the start-up with the first."""
    cycles = np.zeros(len(work.kind))
    for start, plan in zip(work.starts, plans, strict=True):
        for layer in plan.layers:
            cycles[start + layer.op] += layer_cycles(layer)
        if plan.layers:
            cycles[start + plan.layers[0].op] += START_CYCLES
    return {"layer_cycles": cycles}


def npu_cycles(work: Workload, theta: Theta) -> Float:
    """Accelerator cycles per op, shape ``[..., ops]``."""
    return np.asarray(theta["cycle_scale"] * work.extra["layer_cycles"], dtype=np.float64)


def parameters(target: Target) -> tuple[Parameter, ...]:
    return PARAMETERS
