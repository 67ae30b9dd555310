"""The MAX7800x cycle formula against the vendor's published estimates and measurements."""

from __future__ import annotations

import pytest

from hil import zoo
from hil.cost import CostModel
from hil.cost.ai8x import START_CYCLES, layer_cycles
from hil.plan import HwLayer, Plan, make_plan
from hil.platform import load_platform, make_target

# Estimates of analogdevicesinc/ai8x-synthesis@ab4f4c0 for the paper's five networks, in cycles.  AutoEncoder is the
# figure that the vendor's tool printed (uNPU-Bench, v_autoenc/log.txt); the others are its formula evaluated layer by
# layer, ResNet's with one layer approximated.
VENDOR_CYCLES = {
    "cifar10_nas_max": 228_217,
    "simplenet": 129_311,
    "resnet": 136_423,
    "autoencoder": 3_415,
    "yolov1_96": 466_123,
}
# The vendor's log for the AutoEncoder, layer by layer.
AUTOENCODER_LAYERS = [1_560, 142, 34, 6, 34, 98, 1_540]


def _plan(name: str) -> Plan:
    return make_plan(zoo.load(name), make_target(load_platform("max78000")))


def _cycles(plan: Plan) -> float:
    return START_CYCLES + sum(layer_cycles(layer) for layer in plan.layers)


@pytest.mark.parametrize(("name", "cycles"), VENDOR_CYCLES.items())
def test_formula_equals_the_vendors_estimate(name: str, cycles: int) -> None:
    assert _cycles(_plan(name)) == pytest.approx(cycles, rel=0.01)


def test_autoencoder_is_exact_layer_by_layer() -> None:
    plan = _plan("autoencoder")
    assert [layer_cycles(layer) for layer in plan.layers] == AUTOENCODER_LAYERS
    assert _cycles(plan) == 3_415


def test_simplenet_inference_is_what_the_vendor_measured() -> None:
    """2.593 ms at 50 MHz on the MAX78000 (ADI AN7417 era SDK measurement)."""
    plan = _plan("simplenet")
    prediction = CostModel(plan.target).predict([plan])
    assert prediction.costs["inference"].latency_s.mean[0] == pytest.approx(2.593e-3, rel=0.02)


def test_resnet_needs_seventeen_hardware_layers() -> None:
    assert len(_plan("resnet").layers) == 17


def test_yolo_streams_and_widens_its_pointwise_streaming_layer() -> None:
    plan = _plan("yolov1_96")
    streaming = [layer for layer in plan.layers if layer.streaming]
    assert len(streaming) == 3
    assert streaming[2].kernel == (3, 3) and streaming[2].padding == (1, 1)


def test_one_output_channel_costs_its_extra_cycle() -> None:
    narrow = HwLayer(0, "conv", 8, 8, 16, 1, out_columns=8, kernel=(1, 1))
    wide = HwLayer(0, "conv", 8, 8, 16, 2, out_columns=8, kernel=(1, 1))
    # Per row 8 columns: (2 + 1) per pixel and channel out, and one more where there is a single channel.
    assert layer_cycles(narrow) == 8 * (8 * 2 + 8 * 1 + 1)
    assert layer_cycles(wide) == 8 * (8 * 2 + 8 * 2)
