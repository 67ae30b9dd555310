"""Phases, energy, voltage and intervals against hand calculation."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from hil import zoo
from hil.cost import CostModel
from hil.cost.model import STRUCTURAL_SIGMA, Z_90
from hil.network.template import Candidate, template_network
from hil.plan import Plan, make_plan
from hil.platform import Target, load_platform, make_target

NETWORK = template_network(Candidate("cnn", (8,), 1, 8, 3))


def planned(platform: str, **overrides: str) -> Plan:
    items = {key.replace("__", "."): value for key, value in overrides.items()}
    return make_plan(NETWORK, make_target(load_platform(platform), None, items), use_vela=False)


def model_of(target: Target, **values: float) -> CostModel:
    """A model with priors only, some of them set and exactly known, everything else sure as well."""
    model = CostModel(target, artefact=None)
    for name, parameter in model.parameters.items():
        value = values.get(name, parameter.prior.value)
        model.parameters[name] = replace(parameter, prior=replace(parameter.prior, value=value, sigma=0.0))
    return model


def test_phases_around_the_inference_are_bytes_times_cycles() -> None:
    """192 input bytes, 10 output bytes, 10 values to decode; a core alone initialises and loads nothing."""
    plan = planned("stm32l4r5")
    model = model_of(
        plan.target,
        input_load_host_cycles_per_byte=4.0,
        output_read_host_cycles_per_byte=6.0,
        post_process_host_cycles_per_value=7.0,
    )
    hertz = plan.target.host_clock_hz
    costs = model.predict([plan]).costs
    assert costs["input_load"].latency_s.mean[0] == pytest.approx(4.0 * 192 / hertz)
    assert costs["output_read"].latency_s.mean[0] == pytest.approx(6.0 * 10 / hertz)
    assert costs["post_process"].latency_s.mean[0] == pytest.approx(7.0 * 10 / hertz)
    assert costs["npu_init"].latency_s.mean[0] == 0.0
    assert costs["weight_load"].latency_s.mean[0] == 0.0


def test_energy_of_a_core_is_static_and_switching_power() -> None:
    plan = planned("stm32l4r5")
    model = model_of(plan.target, static_power_w=2e-3, host_energy_per_cycle_j=50e-12)
    cost = model.predict([plan]).costs["inference"]
    seconds = cost.latency_s.mean[0]
    switching = 50e-12 * plan.target.host_clock_hz
    assert cost.energy_j.mean[0] == pytest.approx((2e-3 + switching) * seconds)
    assert cost.energy_above_idle_j.mean[0] == pytest.approx(switching * seconds)


def test_energy_of_an_accelerator_adds_macs_and_bytes() -> None:
    plan = planned("max78002")
    names = ("static_power_w", "host_energy_per_cycle_j", "npu_energy_per_cycle_j", "npu_on_power_w")
    quiet = dict.fromkeys(names, 0.0)
    model = model_of(plan.target, energy_per_mac_j=3e-12, energy_per_byte_j=0.0, **quiet)
    scale = model.predict([plan]).costs["inference"].energy_j.mean[0] / (3e-12 * plan.npu_macs)
    assert scale == pytest.approx(1.0)


def test_switching_energy_goes_with_the_square_of_a_set_voltage() -> None:
    def above_idle(**overrides: str) -> float:
        plan = planned("max78002", **overrides)
        cost = model_of(plan.target, npu_on_power_w=0.0).predict([plan]).costs["inference"]
        return float(cost.energy_above_idle_j.mean[0])

    assert above_idle(supply_v="1.2") / above_idle() == pytest.approx(1.44)


def test_a_voltage_without_a_reference_is_said_to_change_nothing() -> None:
    target = make_target(load_platform("esp32-s3"), None, {"supply_v": "3.0"})
    if target.reference_supply_v is None:
        assert any("states no supply voltage" in note for note in CostModel(target).notes)


def test_one_uncertain_parameter_gives_its_own_interval() -> None:
    """A phase that is one parameter times a count: the interval is that of the log-normal, and the structural error."""
    plan = planned("stm32l4r5")
    model = model_of(plan.target)
    name = "output_read_host_cycles_per_byte"
    prior = replace(model.parameters[name].prior, sigma=0.5)
    model.parameters[name] = replace(model.parameters[name], prior=prior)
    found = model.predict([plan]).costs["output_read"].latency_s
    sigma = math.hypot(0.5, STRUCTURAL_SIGMA)
    assert found.high[0] / found.mean[0] == pytest.approx(math.exp(Z_90 * sigma))
    assert found.mean[0] / found.low[0] == pytest.approx(math.exp(Z_90 * sigma))


def test_intervals_hold_for_sampled_parameters() -> None:
    """Sigma points against Monte Carlo: nine of ten draws of the parameters lie inside the interval of the total."""
    plan = planned("stm32l4r5")
    model = CostModel(plan.target, artefact=None)
    found = model.predict([plan]).sums["total"].latency_s
    generator = np.random.default_rng(5)
    draws = {}
    for name, parameter in model.parameters.items():
        noise = parameter.prior.sigma * generator.standard_normal((4000, 1))
        draws[name] = parameter.prior.value * np.exp(noise)
    from hil.cost.model import phase_costs
    from hil.plan import END_TO_END

    costs = phase_costs(model.workload([plan]), draws, model.family)
    total = np.sum([np.broadcast_to(costs.latency_s[phase], (4000, 1)) for phase in END_TO_END], axis=0)
    total = total[:, 0] * np.exp(STRUCTURAL_SIGMA * generator.standard_normal(4000))
    inside = np.mean((found.low[0] <= total) & (total <= found.high[0]))
    assert 0.85 <= inside <= 0.95


def test_parts_of_another_output_are_decoded_once() -> None:
    """YOLO hands out its raw map and two slices of it: 12 x 12 x 12 values to decode, not twice as many.

    uNPU-Bench measured 1,763 us of post-processing at 100 MHz on HX-WE2, that is 102 cycles per value.
    """
    plan = make_plan(zoo.load("yolov1_96"), make_target(load_platform("hx-we2"), "unpu-bench-100mhz"), use_vela=False)
    model = CostModel(plan.target, artefact=None)
    assert model.workload([plan]).plan["decoded_values"][0] == 1728
    assert model.predict([plan]).costs["post_process"].latency_s.mean[0] == pytest.approx(1.763e-3, rel=0.05)
