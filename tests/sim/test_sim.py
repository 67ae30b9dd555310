"""The simulated system against closed forms and a published cross-over."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.errors import ConfigError
from hil.sim import PhaseCost, Schedule, WaitState, best_state, duty_cycle, simulate

COSTS = {
    "npu_init": PhaseCost(1e-3, 5e-6),
    "weight_load": PhaseCost(10e-3, 2e-4),
    "input_load": PhaseCost(3e-3, 1e-5),
    "inference": PhaseCost(5e-3, 1e-4),
    "output_read": PhaseCost(1e-3, 3e-6),
    "post_process": PhaseCost(0.5e-3, 2e-6),
}
PER_INFERENCE_S = 3e-3 + 5e-3 + 1e-3 + 0.5e-3


def test_back_to_back_inferences_add_up() -> None:
    timeline = simulate(COSTS, 1e-3, Schedule(inferences=4))
    assert timeline.end_s == pytest.approx(11e-3 + 4 * PER_INFERENCE_S)
    assert timeline.throughput_hz() == pytest.approx(1 / PER_INFERENCE_S)


def test_energy_is_the_sum_of_the_phases() -> None:
    timeline = simulate(COSTS, 1e-3, Schedule(inferences=1))
    assert timeline.energy_j() == pytest.approx(sum(cost.energy_j for cost in COSTS.values()))


def test_double_buffering_hides_the_shorter_side() -> None:
    """Host work (load, read, post) is 4.5 ms and the accelerator's 5 ms: the accelerator sets the pace."""
    timeline = simulate(COSTS, 1e-3, Schedule(inferences=50, double_buffered=True))
    assert timeline.throughput_hz() == pytest.approx(1 / 5e-3, rel=0.02)


def test_host_work_within_the_inference_prevents_overlap() -> None:
    timeline = simulate(COSTS, 1e-3, Schedule(inferences=20, double_buffered=True, host_in_inference=True))
    rate = timeline.throughput_hz()
    assert rate == pytest.approx(1 / PER_INFERENCE_S, rel=0.05)


def test_no_resource_does_two_things_at_once() -> None:
    timeline = simulate(COSTS, 1e-3, Schedule(inferences=10, double_buffered=True))
    for resource in ("host", "npu"):
        own = sorted((s.start_s, s.end_s) for s in timeline.segments if s.resource == resource)
        assert all(later[0] >= earlier[1] - 1e-12 for earlier, later in zip(own, own[1:], strict=False))


def test_no_inferences_is_an_error() -> None:
    with pytest.raises(ConfigError, match="^0 inferences to simulate$"):
        simulate(COSTS, 1e-3, Schedule(inferences=0))


@given(
    st.lists(st.tuples(st.floats(1e-6, 1e-1), st.floats(0, 1e-2)), min_size=4, max_size=4),
    st.floats(1e-6, 1e-2),
    st.integers(1, 6),
    st.booleans(),
)
def test_trace_integrates_to_the_energy(
    phases: list[tuple[float, float]], static_w: float, inferences: int, double_buffered: bool
) -> None:
    names = ("input_load", "inference", "output_read", "post_process")
    # Gross energy includes static power, so it is never below it.
    costs = {name: PhaseCost(t, e + static_w * t) for name, (t, e) in zip(names, phases, strict=True)}
    timeline = simulate(costs, static_w, Schedule(inferences, double_buffered))
    times, power = timeline.power_trace()
    integral = float(((times[1:] - times[:-1]) * power[:-1]).sum())
    assert integral == pytest.approx(timeline.energy_j(), rel=1e-6)


# ADI AN7417, table 6 and text (KWS20 on MAX78000): in UPM 0.387 mW with weights retained and 0.172 mW without; waking
# without them costs 12.16 ms and 242 uJ for the reload, with them 0.109 ms and 1.96 uJ.
KEEP_W, LOSE_W = 0.387e-3, 0.172e-3
RELOAD = PhaseCost(12.16e-3, 242e-6)
WAKE = PhaseCost(0.109e-3, 1.96e-6)


@pytest.mark.parametrize(("factor", "winner"), [(0.9, "keep"), (1.1, "lose")])
def test_retention_or_reload_crosses_over_where_the_application_note_puts_it(factor: float, winner: str) -> None:
    costs = {"weight_load": RELOAD, "input_load": WAKE, "inference": PhaseCost(2e-3, 140e-6)}
    active_s = RELOAD.latency_s
    # E_reload + LOSE_W * (T - t_reload) = KEEP_W * T at the cross-over, beside what both pay.
    crossover_s = (RELOAD.energy_j - LOSE_W * active_s) / (KEEP_W - LOSE_W)
    assert crossover_s == pytest.approx(1.116, rel=0.01)
    states = [WaitState("keep", KEEP_W), WaitState("lose", LOSE_W, retains_weights=False)]
    results = [duty_cycle(costs, 1e-6, state, factor * crossover_s) for state in states]
    best = best_state(results)
    assert best is not None and best.state.name == winner


def test_work_longer_than_the_period_is_not_feasible() -> None:
    result = duty_cycle(COSTS, 1e-3, WaitState("sleep", 1e-6), 1e-3)
    assert not result.feasible
    assert best_state([result]) is None
