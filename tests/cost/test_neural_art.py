"""Neural-ART epochs against validation logs of single layers, and what is counted."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from hil.cost import CostModel, neural_art
from hil.cost.workload import Float, Workload
from hil.network.layers import read_layers
from hil.plan import make_plan
from hil.platform import load_platform, make_target

Layer = dict[str, Any]


def _conv(shape: list[int], filters: int, kernel: int = 1, **more: Any) -> Layer:
    layer: Layer = {"type": "conv2d", "kernel": [kernel] * 2, "stride": [1, 1], "padding": [kernel // 2] * 4}
    layer |= {"filters": filters, "in_shape": shape, "out_shape": [*shape[:3], filters], "inputs": ["input"]}
    return layer | more


def _work(*layers: Layer, point: str = "overdrive-800mhz") -> tuple[CostModel, Workload]:
    document = {"input_shapes": [layers[0]["in_shape"]], "ops": list(layers)}
    network = read_layers(json.dumps(document).encode(), "layers")
    model = CostModel(make_target(load_platform("stm32n6"), point), artefact=None)
    return model, model.workload([make_plan(network, model.target)])


def _cycles(model: CostModel, work: Workload, **values: float) -> Float:
    theta = {name: np.full((1, 1), values.get(name, p.prior.value)) for name, p in model.parameters.items()}
    return np.asarray(neural_art.npu_cycles(work, theta)[0])


# CPU cycles at 800 MHz between start and end of the epoch (Magnus3327 logs, X-CUBE-AI 10.2); the NPU runs at 1 GHz.
@pytest.mark.parametrize(("filters", "cpu_cycles"), [(16, 53_804), (32, 106_920), (64, 212_980)])
def test_shallow_convolution_streams_a_value_per_clock(filters: int, cpu_cycles: int) -> None:
    model, work = _work(_conv([1, 64, 64, 3], filters, kernel=3))
    cycles = _cycles(model, work, epoch_host_cycles=0.0)
    assert cycles == pytest.approx([64 * 64 * filters])
    assert cycles == pytest.approx([cpu_cycles * 1.25], rel=0.03)


def test_fully_connected_is_bound_by_the_flash() -> None:
    """IA150X, 784 x 1000: 1,570,120 CPU cycles."""
    layer = {"type": "fully_connected", "filters": 1000, "in_shape": [1, 784], "out_shape": [1, 1000]}
    model, work = _work(layer | {"inputs": ["input"]})
    assert _cycles(model, work, epoch_host_cycles=0.0) == pytest.approx([1_570_120 * 1.25], rel=0.01)


def test_flash_and_host_keep_their_own_clocks() -> None:
    """At 600 and 800 MHz a byte takes as long as at 800 and 1,000 MHz, an epoch's set-up as many host cycles."""
    model, work = _work(_conv([1, 1, 1, 512], 512), point="nominal-600mhz")
    stored = work.extra["flash_bytes"][0]
    expected = stored * 2.5e-9 * 800e6 + 6_000 * 800 / 600
    assert _cycles(model, work, epoch_host_cycles=6_000.0) == pytest.approx([expected])


def test_deep_convolution_counts_macs_in_whole_tiles() -> None:
    model, work = _work(_conv([1, 32, 32, 66], 64, kernel=3))
    assert work.extra["tile_macs"] == pytest.approx([32 * 32 * 68 * 64 * 9])
    cycles = _cycles(model, work, epoch_host_cycles=0.0, conv_cycles_per_mac=0.02)
    assert cycles == pytest.approx([0.02 * 32 * 32 * 68 * 64 * 9])


def test_depthwise_weights_are_stored_as_dense_ones() -> None:
    shape = [1, 16, 16, 32]
    layer = _conv(shape, 32, kernel=3, type="depthwise_conv2d")
    model, work = _work(layer)
    assert work.extra["flash_bytes"] == pytest.approx(8 * work.op["weight_bytes"])
    assert work.extra["tile_macs"] == pytest.approx([0.0])
    cycles = _cycles(model, work, epoch_host_cycles=0.0, depthwise_cycles_per_value=2.0)
    assert cycles == pytest.approx([2.0 * 16 * 16 * 32])


def test_pooling_rides_behind_a_convolution_only() -> None:
    shape = [1, 32, 32, 16]
    pool: Layer = {"type": "max_pool", "kernel": [2, 2], "stride": [2, 2], "padding": [0, 0, 0, 0]}
    first = pool | {"in_shape": shape, "out_shape": [1, 16, 16, 16], "inputs": [0]}
    second = pool | {"in_shape": [1, 16, 16, 16], "out_shape": [1, 8, 8, 16], "inputs": [1]}
    model, work = _work(_conv(shape, 16), first, second)
    assert work.extra["epochs"] == pytest.approx([1.0, 0.0, 1.0])
    cycles = _cycles(model, work, other_cycles_per_value=1.0, epoch_host_cycles=800.0)
    assert cycles == pytest.approx([32 * 32 * 16 + 1_000, 0.0, 16 * 16 * 16 + 1_000])


@pytest.mark.parametrize(("side", "external"), [(128, False), (320, True)])
def test_what_exceeds_the_chip_goes_out(side: int, external: bool) -> None:
    _, work = _work(_conv([1, side, side, 16], 16))
    moved = 2 * side * side * 16
    assert neural_art.on_chip_bytes(work.target) == 1_835_008 + 1_048_576
    assert work.extra["external_bytes"] == pytest.approx([moved if external else 0.0])
