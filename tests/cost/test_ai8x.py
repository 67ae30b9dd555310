"""The MAX7800x cycle formula against the vendor's published estimates and measurements."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hil import zoo
from hil.cost import CostModel
from hil.cost.ai8x import START_CYCLES, hardware_cycles, input_words, layer_cycles, memory_bytes, output_pixels
from hil.network import Network
from hil.network.layers import read_layers
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


def test_depthwise_outputs_leave_side_by_side() -> None:
    layer = HwLayer(0, "conv", 4, 4, 128, 128, out_columns=4, kernel=(1, 1))
    # 16 pixels of 2 passes: (2 reads and tile writes) x 2 passes, and 128 outputs a pass or one step a pass.
    assert hardware_cycles(layer) == 16 * (4 + 2 * 128)
    assert hardware_cycles(layer, depthwise=True) == 16 * (4 + 2)
    assert layer_cycles(layer) == hardware_cycles(layer)


def test_streaming_factor_is_only_in_the_vendors_estimate() -> None:
    layer = HwLayer(0, "conv", 8, 8, 3, 16, out_columns=8, kernel=(3, 3), padding=(1, 1), streaming=True)
    assert layer_cycles(layer) == 1.5 * hardware_cycles(layer)


def test_output_pixels() -> None:
    assert output_pixels(HwLayer(0, "conv", 8, 8, 3, 16, out_columns=8, kernel=(3, 3), padding=(1, 1))) == 64
    assert (
        output_pixels(HwLayer(0, "conv", 8, 8, 3, 16, out_columns=2, kernel=(3, 3), pool=(2, 2), pool_stride=(2, 2)))
        == 4
    )
    assert output_pixels(HwLayer(0, "transpose", 4, 4, 8, 8, out_columns=8, kernel=(3, 3), padding=(1, 1))) == 64
    assert output_pixels(HwLayer(0, "fully_connected", 4, 4, 8, 10, flatten=True)) == 1
    assert output_pixels(HwLayer(0, "passthrough", 8, 8, 16, 16)) == 0


def test_every_output_value_fetches_a_kernel_per_input_channel() -> None:
    layer = HwLayer(0, "conv", 4, 4, 8, 16, out_columns=4, kernel=(1, 1))
    values = 4 * 4 * (8 + 16)
    assert memory_bytes(layer) == 9 * (16 * 8 * 16) + values
    assert memory_bytes(layer, weight_bits=4) == 4.5 * (16 * 8 * 16) + values
    assert memory_bytes(layer, depthwise=True) == 9 * (16 * 16) + values


def _network(shape: list[int], **op: object) -> Network:
    out = [*shape[:-1], 16]
    entry = {"name": "conv", "type": "conv2d", "out_shape": out, "kernel": [3, 3], "padding": [1, 1, 1, 1], **op}
    document = {"input_shapes": [shape], "outputs": [0], "ops": [entry]}
    return read_layers(json.dumps(document).encode(), "one")


@pytest.mark.parametrize(
    ("shape", "words"),
    # Measured: 0.2775 ms for 32x32x3 and 52.7 us for 28x28x1 at 271 ns per word (AN7664 table 4).
    [([1, 32, 32, 3], 1024), ([1, 28, 28, 1], 196), ([1, 48, 48, 48], 27_648), ([1, 8, 8, 5], 128)],
)
def test_input_is_written_in_words(shape: list[int], words: int) -> None:
    assert input_words(_network(shape)) == words


def test_pipeline_adds_its_cycles_per_pixel_and_pass() -> None:
    platform = load_platform("max78002")
    network = _network([1, 32, 32, 3])
    with_it, without = (make_target(platform, point) for point in ("pipeline-200mhz-1v0", "no-pipeline-50mhz"))
    cycles = []
    for target in (with_it, without):
        model = CostModel(target, artefact=None)
        work = model.workload([make_plan(network, target)])
        assert model.family is not None
        cycles.append(float(model.family.npu_cycles(work, model.theta)[0].sum()))
    per_pass = with_it.costs["pipeline_cycles_per_pass"].value
    assert cycles[0] - cycles[1] == pytest.approx(per_pass * 32 * 32)


def test_streaming_takes_the_slower_of_fifo_and_accelerator() -> None:
    """200x200 pixels exceed one data memory of MAX78000, so the layer streams."""
    target = make_target(load_platform("max78000"))
    model = CostModel(target, artefact=None)
    assert model.family is not None
    cheap, dear = (
        model.workload([make_plan(_network([1, 200, 200, 3], out_shape=[1, 200, 200, channels]), target)])
        for channels in (4, 64)
    )
    theta = {name: value[:1] for name, value in model.theta.items()}
    per_byte = {key: float(theta[key][0, 0]) for key in theta if "cycles_per_byte" in key}
    host = per_byte["fifo_poll_host_cycles_per_byte"] * target.npu_clock_hz / target.host_clock_hz
    poll = (host + per_byte["fifo_poll_bus_cycles_per_byte"]) * 4 * 200 * 200
    assert model.family.npu_cycles(cheap, theta).sum() == pytest.approx(poll + START_CYCLES)
    written = (
        per_byte["input_load_host_cycles_per_byte"] * target.npu_clock_hz / target.host_clock_hz
        + per_byte["input_load_bus_cycles_per_byte"]
    ) * (4 * 200 * 200)
    slow = float(np.sum(dear.extra["stream_cycles"]))
    assert model.family.npu_cycles(dear, theta).sum() == pytest.approx(slow - written + START_CYCLES)


def test_layout_of_the_outputs_costs_nothing() -> None:
    shape = [1, 16, 16, 3]
    document = {
        "input_shapes": [shape],
        "outputs": [1],
        "ops": [
            {"name": "conv", "type": "conv2d", "out_shape": [1, 16, 16, 8], "kernel": [3, 3], "padding": [1, 1, 1, 1]},
            {"name": "permute", "type": "transpose", "perm": [0, 3, 1, 2], "out_shape": [1, 8, 16, 16]},
        ],
    }
    plan = make_plan(read_layers(json.dumps(document).encode(), "two"), make_target(load_platform("max78002")))
    assert [place.unit for place in plan.placements] == ["npu", "free"]
