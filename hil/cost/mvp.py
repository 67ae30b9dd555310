"""Silicon Labs' Matrix Vector Processor: TFLite Micro kernels that the host sets up run by run.

Form and figures come from the profiler's accelerator and host cycles of 564 layers (MLTK model reports, xG24 at
78 MHz).  A convolution multiplies two input channels per step where their number is even, else one, and pays for every
output value (``0.75 + 3.2 / inputs`` cycles per MAC: 1.15 measured for 8 inputs, 0.85 for 32, 0.765 for 256).  Deep
depthwise layers are set up by the host for every output position, partly while the MVP computes the one before; average
pooling likewise, maximum pooling for every channel.  Windows beyond 1x1 cost the host one more set-up per tap.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hil.cost.engine import ELEMENTWISE, LAUNCH
from hil.cost.parameters import Parameter, Theta, assumed
from hil.cost.workload import KIND_INDEX, Float, Workload
from hil.plan import Plan
from hil.platform import Target

_LAYERS = "MLTK layer reports of the xG24"
# Depthwise layers with no more channels than this are computed value by value, without a set-up per position.
NARROW_CHANNELS = 16

PARAMETERS: tuple[Parameter, ...] = (
    LAUNCH,
    ELEMENTWISE,
    assumed("pair_step_cycles", "cycle", 1.5, "one step of a convolution over two input channels", _LAYERS, 2.0),
    assumed("single_step_cycles", "cycle", 1.25, "one step where the number of input channels is odd", _LAYERS, 2.0),
    assumed("output_cycles", "cycle", 3.2, "storing one output value of a convolution", _LAYERS, 2.0),
    assumed("fully_connected_cycles_per_mac", "cycle/MAC", 1.53, "fully connected layers", _LAYERS, 2.0),
    assumed("depthwise_cycles_per_mac", "cycle/MAC", 1.75, "depthwise layers", _LAYERS, 2.0),
    assumed(
        "depthwise_narrow_ratio",
        "ratio",
        2.0,
        "depthwise cycles per MAC with few channels over those with many",
        "3.5 cycles per MAC with 8 and 16 channels, 1.8 with 32 and more",
        1.5,
    ),
    assumed(
        "position_setup_cycles",
        "cycle",
        600.0,
        "host cycles before each output position of a depthwise layer that the MVP waits for",
        _LAYERS,
        2.0,
    ),
    assumed(
        "run_setup_cycles",
        "cycle",
        900.0,
        "host cycles to set up the next run while the MVP computes: a position of depthwise and average pooling, "
        "a channel of maximum pooling",
        _LAYERS,
        2.0,
    ),
    assumed(
        "window_setup_cycles_per_tap",
        "cycle",
        800.0,
        "host cycles per kernel element beyond the first to set up a convolution and its borders",
        "9,000 cycles for 3x3, 20,000 for 4x3, 40,000 for 10x8",
        2.0,
    ),
    assumed("pool_cycles_per_tap", "cycle", 0.75, "pooling, per window element and output value", _LAYERS, 2.0),
)


def features(plans: Sequence[Plan], work: Workload) -> dict[str, Float]:
    """``steps`` of convolutions, and ``setups``: runs that the host sets up one by one."""
    op = work.op
    average = np.zeros(len(work.kind), dtype=bool)
    flags = [op.type.endswith("avg_pool") for plan in plans for op in plan.network.ops]
    if len(flags) == len(average):  # unless a network without ops has its stand-in row
        average[:] = flags
    pool = work.kind == KIND_INDEX["pool"]
    deep = (work.kind == KIND_INDEX["depthwise"]) & (op["out_channels"] > NARROW_CHANNELS) & (op["in_channels"] > 1)
    setups = np.where(deep | (pool & average), op["pixels"], np.where(pool, op["out_channels"], 0.0))
    return {"odd": (op["in_channels"] % 2).astype(np.float64), "setups": setups}


def npu_cycles(work: Workload, theta: Theta) -> Float:
    """MVP cycles per op, with the host's set-ups that it waits for."""
    op, kind = work.op, work.kind
    macs, setups, odd = op["macs"], work.extra["setups"], work.extra["odd"] > 0
    dense = (kind == KIND_INDEX["conv"]) | (kind == KIND_INDEX["pointwise"])
    depthwise = kind == KIND_INDEX["depthwise"]
    narrow = depthwise & (op["out_channels"] <= NARROW_CHANNELS) & (op["in_channels"] > 1)
    convolution = (
        theta["pair_step_cycles"] * np.where(odd, 0.0, macs / 2)
        + theta["single_step_cycles"] * np.where(odd, macs, 0.0)
        + theta["output_cycles"] * op["values"]
    )
    convolution = convolution + theta["window_setup_cycles_per_tap"] * (op["taps"] - 1.0)
    by_channel = theta["depthwise_cycles_per_mac"] * macs * np.where(narrow, theta["depthwise_narrow_ratio"], 1.0)
    by_channel = np.maximum(by_channel, theta["run_setup_cycles"] * setups)
    by_channel = by_channel + theta["position_setup_cycles"] * setups
    # Narrow layers are computed whole but for the border, whose positions are set up one by one.
    border = np.where(setups > 0, 0.0, 4.0 * np.sqrt(op["pixels"]))
    by_channel = by_channel + theta["run_setup_cycles"] * border
    pooling = np.maximum(theta["pool_cycles_per_tap"] * op["work"], theta["run_setup_cycles"] * setups)
    other = theta["elementwise_cycles_per_byte"] * op["moved_bytes"]
    cycles: Float = np.where(kind == KIND_INDEX["pool"], pooling, other)
    cycles = np.where(kind == KIND_INDEX["fully_connected"], theta["fully_connected_cycles_per_mac"] * macs, cycles)
    cycles = np.where(dense, convolution, np.where(depthwise, by_channel, cycles))
    return np.asarray(theta["launch_cycles"] + cycles, dtype=np.float64)


def parameters(target: Target) -> tuple[Parameter, ...]:
    return PARAMETERS
