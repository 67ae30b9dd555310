"""Networks in software on a cluster of RISC-V cores with int8 dot products (GAP8: nntool and AutoTiler).

Kernels exist for 1x1, 3x3 and 5x5 windows; any other window runs a general loop.  An op costs its multiply-accumulates,
a share per output value (accumulators are scaled, clipped and stored) and the hand-over to the cluster.  What does not
fit the on-chip memory comes over the external bus, double-buffered with computing: weights as far as they and the
largest working set exceed the on-chip memory, activations where one op's input and output do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hil.cost.engine import ELEMENTWISE, LAUNCH
from hil.cost.parameters import Parameter, Theta, assumed
from hil.cost.workload import KIND_INDEX, Float, Workload
from hil.plan import Plan
from hil.platform import Target

_FITTED = "27 MobileNets on GAP8 (GreenWaves): cycles per MAC times the 32 multipliers"

PARAMETERS: tuple[Parameter, ...] = (
    LAUNCH,
    ELEMENTWISE,
    assumed("conv_cycle_scale", "ratio", 6.0, "3x3 and 5x5 convolution cycles over MACs / peak", _FITTED, 2.0),
    assumed("pointwise_cycle_scale", "ratio", 3.5, "1x1 convolution cycles over MACs / peak", _FITTED, 2.0),
    assumed("depthwise_cycle_scale", "ratio", 6.0, "depthwise cycles over MACs / peak", _FITTED, 2.0),
    assumed(
        "general_cycle_scale",
        "ratio",
        25.0,
        "cycles over MACs / peak of windows without a kernel of their own",
        "a scalar loop: about five cycles per MAC and core",
        2.0,
    ),
    assumed(
        "fully_connected_cycle_scale",
        "ratio",
        6.0,
        "fully connected cycles over MACs / peak",
        "no reuse of weights: two loads per four MACs",
        2.0,
    ),
    assumed(
        "cycles_per_output_value",
        "cycle",
        1.0,
        "scaling, clipping and storing one output value of a MAC op",
        "about ten instructions, over eight cores",
        2.5,
    ),
    assumed(
        "external_cycles_per_byte",
        "cycle/B",
        1.5,
        "controller cycles per byte of weights and activations over the external bus",
        "HyperBus: 8 bits on both edges of a clock divided from the controller's",
        2.5,
    ),
)

_SCALES = {
    "conv": "conv_cycle_scale",
    "pointwise": "pointwise_cycle_scale",
    "depthwise": "depthwise_cycle_scale",
    "fully_connected": "fully_connected_cycle_scale",
}
_OWN_KERNELS = (1.0, 9.0, 25.0)  # window elements of 1x1, 3x3 and 5x5


def features(plans: Sequence[Plan], work: Workload) -> dict[str, Float]:
    """``external_bytes`` per op: the share of its weights, and of its activations, that is not on the chip."""
    op = work.op
    npu = work.target.npu
    figure = npu.structure.get("on_chip_bytes") if npu is not None else None
    if figure is None:
        return {"external_bytes": np.zeros(len(work.kind))}
    room = figure.value
    weights = work.per_plan(op["weight_bytes"])
    largest = np.minimum(np.maximum.reduceat(op["moved_bytes"], work.starts), room)
    share = np.clip((weights + largest - room) / np.maximum(weights, 1.0), 0.0, 1.0)
    ops = np.diff(np.append(work.starts, len(work.kind)))
    spilled = np.where(op["moved_bytes"] > room, op["moved_bytes"], 0.0)
    return {"external_bytes": np.repeat(share, ops) * op["weight_bytes"] + spilled}


def npu_cycles(work: Workload, theta: Theta) -> Float:
    """Cluster cycles per op."""
    op = work.op
    npu = work.target.npu
    peak = npu.peak_macs_per_cycle.value if npu is not None else 1.0
    dense = op["macs"] / peak
    general = (work.kind != KIND_INDEX["fully_connected"]) & ~np.isin(op["taps"], _OWN_KERNELS)
    compute: Float = theta["general_cycle_scale"] * np.where(general, dense, 0.0)
    for kind, scale in _SCALES.items():
        compute = compute + theta[scale] * np.where((work.kind == KIND_INDEX[kind]) & ~general, dense, 0.0)
    is_mac = op["macs"] > 0
    compute = compute + np.where(
        is_mac,
        theta["cycles_per_output_value"] * op["values"],
        theta["elementwise_cycles_per_byte"] * op["moved_bytes"],
    )
    clocks = work.target.npu_clock_hz / work.target.host_clock_hz  # the external bus runs with the controller's clock
    external = theta["external_cycles_per_byte"] * clocks * work.extra["external_bytes"]
    return np.asarray(theta["launch_cycles"] + np.maximum(compute, external), dtype=np.float64)


def parameters(target: Target) -> tuple[Parameter, ...]:
    return PARAMETERS
