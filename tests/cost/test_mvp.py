"""The MVP formula at its priors against layers of the vendor's profiler (MLTK reports, xG24 at 78 MHz)."""

from __future__ import annotations

import json

import pytest

from hil.cost import CostModel
from hil.network.layers import read_layers
from hil.plan import make_plan
from hil.platform import load_platform, make_target

CLOCK_HZ = 78e6
Shape = tuple[int, int, int]


def _milliseconds(kind: str, source: Shape, out: Shape, kernel: tuple[int, int], stride: int, pad: int) -> float:
    layer = {"type": kind, "kernel": kernel, "stride": [stride, stride], "filters": out[2]}
    layer |= {"padding": [pad, pad, pad, pad], "in_shape": [1, *source], "out_shape": [1, *out], "inputs": ["input"]}
    if kind == "depthwise_conv2d":
        layer["depth_multiplier"] = out[2] // source[2]
    network = read_layers(json.dumps({"input_shapes": [[1, *source]], "ops": [layer]}).encode(), "layer")
    plan = make_plan(network, make_target(load_platform("efr32xg24")))
    assert plan.placements[0].unit == "npu"
    return float(CostModel(plan.target, artefact=None).predict([plan]).op_seconds[0]) * 1e3


@pytest.mark.parametrize(
    ("kind", "source", "out", "kernel", "stride", "pad", "measured_ms"),
    [
        ("conv2d", (24, 24, 32), (24, 24, 32), (1, 1), 1, 0, 6.4),
        ("conv2d", (48, 48, 8), (48, 48, 16), (1, 1), 1, 0, 4.3),
        ("conv2d", (3, 3, 256), (3, 3, 256), (1, 1), 1, 0, 5.7),
        ("conv2d", (44, 44, 8), (42, 42, 16), (3, 3), 1, 0, 20.4),
        ("conv2d", (32, 32, 3), (32, 32, 16), (3, 3), 1, 1, 7.5),  # odd channels: one at a time
        ("depthwise_conv2d", (24, 24, 32), (24, 24, 32), (3, 3), 1, 1, 10.2),  # bound by the host's set-ups
        ("depthwise_conv2d", (6, 6, 128), (6, 6, 128), (3, 3), 1, 1, 1.1),  # bound by the MVP
        ("depthwise_conv2d", (48, 48, 8), (48, 48, 8), (3, 3), 1, 1, 9.4),
        ("max_pool", (99, 68, 10), (49, 34, 10), (2, 2), 2, 0, 0.72),  # bound by the MVP
        ("max_pool", (12, 8, 40), (6, 4, 40), (2, 2), 2, 0, 0.48),  # one set-up per channel
        ("avg_pool", (48, 48, 24), (24, 24, 24), (2, 2), 2, 0, 7.6),  # one set-up per position
    ],
)
def test_layers_as_profiled(
    kind: str, source: Shape, out: Shape, kernel: tuple[int, int], stride: int, pad: int, measured_ms: float
) -> None:
    assert _milliseconds(kind, source, out, kernel, stride, pad) == pytest.approx(measured_ms, rel=0.2)


def test_pointwise_cycles_follow_from_steps_and_outputs() -> None:
    """0.75 cycles per MAC and 3.2 per output value, after 2000 to launch."""
    macs, outputs = 24 * 24 * 32 * 32, 24 * 24 * 32
    cycles = _milliseconds("conv2d", (24, 24, 32), (24, 24, 32), (1, 1), 1, 0) * 1e-3 * CLOCK_HZ
    assert cycles == pytest.approx(2000 + 0.75 * macs + 3.2 * outputs)
