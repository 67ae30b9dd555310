"""Counting on the GAP8 cluster: what lies off the chip, and which windows have kernels of their own."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hil.cost import CostModel, cluster
from hil.cost.workload import Workload
from hil.network.layers import read_layers
from hil.plan import make_plan
from hil.platform import load_platform, make_target

ON_CHIP = 350_000


def _work(side: int, channels: int, kernel: int = 1) -> tuple[CostModel, Workload]:
    shape = [1, side, side, channels]
    pad = [kernel // 2] * 4
    layer = {"type": "conv2d", "kernel": [kernel, kernel], "stride": [1, 1], "padding": pad, "filters": channels}
    layer |= {"in_shape": shape, "out_shape": shape, "inputs": ["input"]}
    network = read_layers(json.dumps({"input_shapes": [shape], "ops": [layer]}).encode(), "layer")
    plan = make_plan(network, make_target(load_platform("gap8")))
    model = CostModel(plan.target, artefact=None)
    return model, model.workload([plan])


def test_what_fits_the_chip_stays_there() -> None:
    _, work = _work(side=10, channels=64)
    assert work.extra["external_bytes"] == pytest.approx([0.0])


def test_weights_beyond_the_chip_are_fetched() -> None:
    """A megabyte of weights: what exceeds the memory beside the working set comes over the bus."""
    _, work = _work(side=4, channels=1024)
    weights, moved = work.op["weight_bytes"][0], work.op["moved_bytes"][0]
    assert work.extra["external_bytes"] == pytest.approx([weights + moved - ON_CHIP])


def test_activations_beyond_the_chip_go_out() -> None:
    _, work = _work(side=112, channels=32)
    moved = work.op["moved_bytes"][0]
    assert moved > ON_CHIP
    assert work.extra["external_bytes"] == pytest.approx([moved + work.op["weight_bytes"][0]])


@pytest.mark.parametrize(
    ("kernel", "scale"), [(1, "pointwise_cycle_scale"), (3, "conv_cycle_scale"), (7, "general_cycle_scale")]
)
def test_cycles_of_a_window(kernel: int, scale: str) -> None:
    model, work = _work(side=10, channels=64, kernel=kernel)
    theta = {name: np.full((1, 1), p.prior.value) for name, p in model.parameters.items()}
    macs, values = 10 * 10 * 64 * 64 * kernel**2, 10 * 10 * 64
    p = {name: float(value[0, 0]) for name, value in theta.items()}
    expected = p["launch_cycles"] + p[scale] * macs / 32 + p["cycles_per_output_value"] * values
    assert cluster.npu_cycles(work, theta) == pytest.approx(np.array([[expected]]))
