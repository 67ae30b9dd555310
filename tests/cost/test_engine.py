"""The common tile engine against cycles counted by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hil.cost import CostModel, engine
from hil.network.layers import read_layers
from hil.plan import make_plan
from hil.platform import load_platform, make_target


@pytest.mark.parametrize(("kernel", "ratio"), [(1, 1.5), (3, 1.0)])
def test_compute_bound_convolution(kernel: int, ratio: float) -> None:
    """NE16: tiles of 16 input channels and 9 positions, one tap and one output channel at a time."""
    shape = [1, 9, 9, 40]
    layer = {"type": "conv2d", "kernel": [kernel] * 2, "stride": [1, 1], "padding": [kernel // 2] * 4, "filters": 40}
    layer |= {"in_shape": shape, "out_shape": shape, "inputs": ["input"]}
    network = read_layers(json.dumps({"input_shapes": [shape], "ops": [layer]}).encode(), "layer")
    plan = make_plan(network, make_target(load_platform("gap9")))
    model = CostModel(plan.target, artefact=None)
    work = model.workload([plan])
    tiles = 3 * 40 * 9 * kernel**2
    assert work.extra["tile_cycles"] == pytest.approx([tiles])
    theta = {name: np.full((1, 1), p.prior.value) for name, p in model.parameters.items()}
    theta["pointwise_cycle_ratio"][:] = 1.5
    p = {name: float(value[0, 0]) for name, value in theta.items()}
    expected = p["launch_cycles"] + p["conv_cycle_scale"] * ratio * tiles
    assert engine.npu_cycles(work, theta) == pytest.approx(np.array([[expected]]))
