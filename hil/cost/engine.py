"""The common idea of MAC-array accelerators: tiles of channels, pixels and taps, fed from memories, launched op by op.

An op takes whole tiles, so odd channel counts waste multipliers: that is most of the distance between peak and real
throughput.  Families differ in tile sizes (``npu.structure`` of the platform file) and priors, not in form.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hil.cost.parameters import Parameter, Theta, assumed
from hil.cost.workload import KIND_INDEX, Float, Workload
from hil.plan import Plan
from hil.platform import Target

_GENERIC = "published end-to-end figures of µNPUs reach 10-60 % of peak"

LAUNCH = assumed(
    "launch_cycles",
    "cycle",
    2000.0,
    "accelerator cycles to launch one op",
    "command fetch, configuration and drain",
    3.0,
)
ELEMENTWISE = assumed(
    "elementwise_cycles_per_byte",
    "cycle/B",
    0.25,
    "pooling, element-wise and copying ops, per byte moved",
    "a vector of four bytes a cycle",
)

PARAMETERS: tuple[Parameter, ...] = (
    LAUNCH,
    assumed("conv_cycle_scale", "ratio", 2.0, "convolution cycles over whole-tile cycles", _GENERIC),
    assumed(
        "pointwise_cycle_ratio",
        "ratio",
        1.0,
        "whole-tile cycles of 1x1 convolutions against those of larger windows",
        "one form of loop; software and memory ports make a difference",
        1.3,
    ),
    assumed("depthwise_cycle_scale", "ratio", 2.0, "depthwise cycles over whole-tile cycles", _GENERIC),
    assumed("fully_connected_cycle_scale", "ratio", 2.0, "fully connected cycles over whole-tile cycles", _GENERIC),
    ELEMENTWISE,
    assumed(
        "weight_cycles_per_byte",
        "cycle/B",
        0.25,
        "fetching weights from where they lie",
        "a 32-bit port at the accelerator's clock",
    ),
    assumed(
        "activation_cycles_per_byte",
        "cycle/B",
        0.125,
        "reading and writing activations",
        "a 64-bit port at the accelerator's clock",
    ),
)

_DENSE = ("conv", "pointwise", "fully_connected")
_SCALES = {
    "conv": "conv_cycle_scale",
    "pointwise": "conv_cycle_scale",
    "depthwise": "depthwise_cycle_scale",
    "fully_connected": "fully_connected_cycle_scale",
}


def tile_cycles(work: Workload) -> Float:
    """Cycles of every MAC op when each tile is counted whole.  Shape ``[ops]``.

    Without published tile sizes: MACs over peak, and depthwise ops get the multipliers of one input channel only
    where at least that tile is known.
    """
    npu = work.target.npu
    if npu is None:
        return np.zeros(len(work.kind))
    tile = {name: figure.value for name, figure in npu.structure.items()}
    peak = npu.peak_macs_per_cycle.value
    op = work.op
    dense = op["macs"] / peak
    if "out_channel_tile" in tile:
        steps = np.ceil(op["in_channels"] / tile.get("in_channel_tile", 1.0))
        steps = steps * np.ceil(op["out_channels"] / tile["out_channel_tile"])
        dense = (
            steps
            * np.ceil(op["pixels"] / tile.get("pixel_tile", 1.0))
            * np.ceil(op["taps"] / tile.get("kernel_tile", 1.0))
        )
    depthwise = op["macs"] * tile.get("in_channel_tile", 1.0) / peak
    if "depthwise_channel_tile" in tile:
        steps = np.ceil(op["out_channels"] / tile["depthwise_channel_tile"])
        depthwise = (
            steps
            * np.ceil(op["pixels"] / tile.get("pixel_tile", 1.0))
            * np.ceil(op["taps"] / tile.get("kernel_tile", 1.0))
        )
    is_dense = np.isin(work.kind, [KIND_INDEX[kind] for kind in _DENSE])
    return np.where(is_dense, dense, np.where(work.kind == KIND_INDEX["depthwise"], depthwise, 0.0))


def features(plans: Sequence[Plan], work: Workload) -> dict[str, Float]:
    return {"tile_cycles": tile_cycles(work)}


def npu_cycles(work: Workload, theta: Theta) -> Float:
    """Accelerator cycles per op: launch, then computing and moving, overlapped where the hardware double-buffers."""
    op = work.op
    compute: Float = np.zeros(1)
    for kind, scale in _SCALES.items():
        factor = theta[scale] * theta["pointwise_cycle_ratio"] if kind == "pointwise" else theta[scale]
        compute = compute + factor * np.where(work.kind == KIND_INDEX[kind], work.extra["tile_cycles"], 0.0)
    is_mac = op["macs"] > 0
    moving = (
        theta["weight_cycles_per_byte"] * op["weight_bytes"] + theta["activation_cycles_per_byte"] * op["moved_bytes"]
    )
    other = theta["elementwise_cycles_per_byte"] * op["moved_bytes"]
    npu = work.target.npu
    overlapped = np.maximum(compute, moving) if npu is not None and npu.double_buffered else compute + moving
    return np.asarray(theta["launch_cycles"] + np.where(is_mac, overlapped, other), dtype=np.float64)


def parameters(target: Target) -> tuple[Parameter, ...]:
    return PARAMETERS
