"""The causes add up to the inference, and are what the formulas say where these can be solved by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from hil import zoo
from hil.analyze.causes import CAUSES, Decomposition, decompose
from hil.cost import CostModel
from hil.network.template import Candidate, template_network
from hil.plan import Plan, make_plan
from hil.platform import Target, load_platform, make_target, platform_files

# A first convolution of a template: channels in, channels out, side; 3x3 window.
FREE = {
    "costs.launch_cycles": "0",
    "costs.invoke_host_cycles": "0",
    "costs.weight_cycles_per_byte": "0",
    "costs.activation_cycles_per_byte": "0",
    "costs.elementwise_cycles_per_byte": "0",
    "costs.fully_connected_cycle_scale": "0",
}


def convolution(target: Target, channels: int, filters: int, side: int) -> tuple[Plan, Decomposition, CostModel]:
    """One convolution (and a template's small tail)."""
    network = template_network(Candidate("cnn", (filters,), 1, side, 3, channels=channels))
    plan = make_plan(network, target, use_vela=False)
    model = CostModel(target, artefact=None)
    return plan, decompose([plan], model)[0], model


@pytest.mark.parametrize("platform", platform_files(()))
def test_causes_add_up_to_the_inference_of_every_network(platform: str, tmp_path: Path) -> None:
    loaded = load_platform(platform)
    networks = [zoo.load(name) for name in zoo.names()]
    for point in loaded.operating_points:
        target = make_target(loaded, point)
        model = CostModel(target)
        # Vela takes a second per network: its figures are for the default point, tiles stand in at the others.
        vela = point == loaded.default_operating_point
        plans = [make_plan(network, target, vela_cache=tmp_path, use_vela=vela) for network in networks]
        expected = model.predict(plans).costs["inference"].latency_s.mean
        for plan, found, inference_s in zip(plans, decompose(plans, model), expected, strict=True):
            where = f"{plan.network.name} on {platform} at {point}"
            assert list(found.seconds) == list(CAUSES)
            assert found.inference_s == pytest.approx(inference_s, rel=1e-9), where
            assert min(found.seconds.values()) >= -1e-12 * inference_s, where
            # Every parameter is put down to a cause.
            assert abs(found.seconds["other"]) <= 1e-12 * inference_s, where


def test_ops_add_up_to_the_causes_but_for_the_runtime() -> None:
    target = make_target(load_platform("gap9"))
    plan = make_plan(zoo.load("resnet"), target)
    model = CostModel(target)
    found = decompose([plan], model)[0]
    runtime_s = model.parameters["invoke_host_cycles"].prior.value / target.host_clock_hz
    assert sum(op.latency_s for op in found.ops) == pytest.approx(found.inference_s - runtime_s)
    seconds = model.predict([plan]).op_seconds
    for op in found.ops:
        assert op.latency_s == pytest.approx(seconds[op.index])


def test_tiles_of_the_engine_in_closed_form() -> None:
    """GAP9's NE16 takes 16 input channels and 9 pixels at a time: 24 channels on 30x30 pixels take 2 * 100 steps per
    tap and output channel, of which 24/32 are filled.  A scale of 1.5 lengthens all of it."""
    scale, launch = 1.5, 1000.0
    items = {**FREE, "costs.conv_cycle_scale": f"{scale}", "costs.launch_cycles": f"{launch}"}
    target = make_target(load_platform("gap9"), None, items)
    plan, found, _ = convolution(target, 24, 32, 30)
    npu = target.npu
    assert npu is not None
    hz, peak = target.npu_clock_hz, npu.peak_macs_per_cycle.value
    op = found.ops[0]
    whole, dense = 2 * 32 * 100 * 9, plan.network.ops[0].macs / peak
    full = min(1.0, dense / whole)
    assert op.seconds["launch"] == pytest.approx(launch / hz)
    assert op.seconds["tiles"] == pytest.approx(scale * whole * (1 - full) / hz)
    assert op.seconds["peak"] == pytest.approx(dense / hz)
    assert op.seconds["kernels"] == pytest.approx((scale * whole * full - dense) / hz)
    assert set(op.seconds) == {"launch", "tiles", "peak", "kernels"}


def test_memory_is_what_double_buffering_does_not_hide() -> None:
    """``max(compute, move)``: the excess of moving over computing, nothing where computing takes longer."""
    for per_byte, bound in ((0.01, False), (40.0, True)):
        items = {**FREE, "costs.activation_cycles_per_byte": f"{per_byte}"}
        target = make_target(load_platform("gap9"), None, items)
        plan, found, model = convolution(target, 16, 16, 30)
        network = plan.network
        moved = network.read_bytes(network.ops[0]) + network.write_bytes(network.ops[0])
        compute = model.parameters["conv_cycle_scale"].prior.value * 16 * 100 * 9
        assert (per_byte * moved > compute) is bound
        expected = max(0.0, per_byte * moved - compute) / target.npu_clock_hz
        assert found.ops[0].seconds.get("memory", 0.0) == pytest.approx(expected)


@pytest.mark.parametrize("channels", [3, 48, 64])
def test_idle_processors_of_max78000_in_closed_form(channels: int) -> None:
    """A 3x3 layer takes a cycle per output channel and pixel whatever its input: 64 processors of 9 multipliers are
    filled by 64 channels, else ``1 - channels/64`` of those cycles are idle."""
    target = make_target(load_platform("max78000"))
    _, found, model = convolution(target, channels, 40, 16)
    scale = model.parameters["cycle_scale"].prior.value
    cycles = 16 * 16 * 40
    op = found.ops[0]
    assert scale == 1.0
    assert op.seconds["peak"] == pytest.approx(cycles * channels / 64 / target.npu_clock_hz)
    assert op.seconds.get("tiles", 0.0) == pytest.approx(cycles * (1 - channels / 64) / target.npu_clock_hz)


def test_ops_that_fall_back_are_one_cause() -> None:
    """All host ops of the inference, the moving of their data included, and nothing else."""
    target = make_target(load_platform("max78000"))
    plan = make_plan(zoo.load("kws"), target)
    model = CostModel(target)
    found = decompose([plan], model)[0]
    seconds = model.predict([plan]).op_seconds
    inside = [i for i in plan.fallback if plan.placements[i].phase == "inference"]
    assert found.seconds["fallback"] == pytest.approx(sum(seconds[i] for i in inside))
    assert {op.index for op in found.ops if "fallback" in op.seconds} == set(inside)
    assert all(set(op.seconds) == {"fallback"} for op in found.ops if op.index in inside)
    worst = found.worst_op("fallback")
    assert worst is not None and worst.index == max(inside, key=lambda i: seconds[i])
    assert found.main_loss == "fallback"
    assert found.worst_op("streaming") is None


def test_a_core_alone_has_no_peak_and_no_fallback() -> None:
    target = make_target(load_platform("stm32l4r5"))
    found = decompose([make_plan(zoo.load("kws"), target)], CostModel(target))[0]
    assert found.seconds["peak"] == found.seconds["fallback"] == found.seconds["streaming"] == 0.0
    assert found.main_loss == "kernels"


def test_lanes_of_a_vector_core_are_tiles() -> None:
    """ESP-DL on the ESP32-P4: output channels beyond a multiple of the lanes take longer; full vectors do not."""
    target = make_target(load_platform("esp32-p4"), "400mhz-esp-dl")
    _, full, model = convolution(target, 8, 32, 16)
    _, ragged, _ = convolution(target, 8, 40, 16)
    lanes = model.parameters["cpu_lanes"].prior.value
    assert math.fmod(32, lanes) == 0 and math.fmod(40, lanes) != 0
    assert "tiles" not in full.ops[0].seconds
    tail = model.parameters["cpu_tail_cycles_per_mac"].prior.value * model.parameters["cpu_scale"].prior.value
    macs = ragged.ops[0].macs * math.fmod(40, lanes) / 40
    assert ragged.ops[0].seconds["tiles"] == pytest.approx(tail * macs / target.host_clock_hz)


def test_a_streaming_network_says_so() -> None:
    """YOLO's first maps exceed a data memory of the MAX78000; cause ``streaming`` sits at the first op."""
    target = make_target(load_platform("max78000"))
    plan = make_plan(zoo.load("yolov1_96"), target)
    assert any(layer.streaming for layer in plan.layers)
    found = decompose([plan], CostModel(target))[0]
    assert [op.index for op in found.ops if op.seconds.get("streaming", 0.0) > 0] == [0]


def test_stalls_are_memory() -> None:
    """HX-WE2's default point: every cycle lasts ``stall_factor`` as long, which is charged to the memory but for the
    share of launching."""
    free = {"costs.flash_cycles_per_byte": "0"}
    slow_target, calm_target = (
        make_target(load_platform("hx-we2"), None, {**free, **more}) for more in ({}, {"costs.stall_factor": "1"})
    )
    plan = make_plan(zoo.load("resnet"), slow_target, use_vela=False)
    model = CostModel(slow_target)
    factor = model.parameters["stall_factor"].prior.value
    assert factor > 1
    slow = decompose([plan], model)[0]
    calm = decompose([make_plan(zoo.load("resnet"), calm_target, use_vela=False)], CostModel(calm_target))[0]
    for cause in ("peak", "tiles", "kernels", "data"):
        assert slow.seconds[cause] == pytest.approx(calm.seconds[cause])
    busy = sum(op.latency_s for op in calm.ops)
    launching = sum(op.seconds["launch"] for op in calm.ops if "launch" in op.seconds)
    assert slow.inference_s - calm.inference_s == pytest.approx((factor - 1) * busy)
    assert slow.seconds["memory"] - calm.seconds["memory"] == pytest.approx((factor - 1) * (busy - launching))
