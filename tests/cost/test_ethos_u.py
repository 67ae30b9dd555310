"""Vela's cycles, and what slow memories add to them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hil.cost import CostModel, ethos_u
from hil.cost.parameters import Theta
from hil.cost.workload import Workload
from hil.network.layers import read_layers
from hil.plan import make_plan
from hil.platform import load_platform, make_target

SHAPE = [1, 8, 8, 16]
VELA_CYCLES = 10_000.0


def _work(point: str) -> tuple[CostModel, Workload, Theta]:
    """One convolution that Vela is said to take ``VELA_CYCLES`` for, and the priors."""
    layer = {"type": "conv2d", "kernel": [1, 1], "stride": [1, 1], "padding": [0] * 4, "filters": 16}
    layer |= {"in_shape": SHAPE, "out_shape": SHAPE, "inputs": ["input"]}
    network = read_layers(json.dumps({"input_shapes": [SHAPE], "ops": [layer]}).encode(), "layer")
    model = CostModel(make_target(load_platform("hx-we2"), point), artefact=None)
    work = model.workload([make_plan(network, model.target)])
    work.extra["vela_cycles"] = np.array([VELA_CYCLES])
    return model, work, {name: np.full((1, 1), p.prior.value) for name, p in model.parameters.items()}


@pytest.mark.parametrize("point", ["unpu-bench-100mhz", "sram-400mhz"])
def test_weights_in_sram_take_velas_cycles(point: str) -> None:
    _, work, theta = _work(point)
    expected = theta["vela_cycle_scale"] * VELA_CYCLES
    assert ethos_u.npu_cycles(work, theta) == pytest.approx(expected)


def test_weights_in_flash_stall() -> None:
    """Four times the cycles, and eight for each byte of weights: 50 MB/s at 400 MHz."""
    _, work, theta = _work("default-400mhz")
    expected = 4.0 * theta["vela_cycle_scale"] * VELA_CYCLES + 8.0 * work.op["weight_bytes"]
    assert ethos_u.npu_cycles(work, theta) == pytest.approx(expected)


def test_the_engine_stands_in_and_stalls_as_well() -> None:
    _, work, theta = _work("default-400mhz")
    work.extra["vela_cycles"] = np.array([np.nan])
    stalled = ethos_u.npu_cycles(work, theta)
    theta["stall_factor"][:] = 1.0
    theta["flash_cycles_per_byte"][:] = 0.0
    plain = ethos_u.npu_cycles(work, theta)
    assert stalled == pytest.approx(4.0 * plain + 8.0 * work.op["weight_bytes"])


def test_absent_costs_have_no_spread() -> None:
    """Where weights lie in SRAM, nothing of the flash is fitted or widens the interval."""
    model, _, _ = _work("unpu-bench-100mhz")
    assert model.parameters["stall_factor"].prior.sigma == 0.0
    assert model.parameters["flash_cycles_per_byte"].prior.value == 0.0
