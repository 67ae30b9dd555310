"""Budgets, fronts and ties, on runs whose figures are chosen by hand."""

from __future__ import annotations

import math

import pytest
from hand_made import made_run

from hil.analyze.best import Budget, best_platforms, front, overlap, parse_budget, verdict
from hil.backend.run import Energy, Interval, Run
from hil.errors import ConfigError


def interval(mean: float, factor: float) -> Interval:
    return Interval(mean=mean, low=mean / factor, high=mean * factor)


def run(
    platform: str, latency_s: float, energy_j: float | None, factor: float = 1.1, scope: str = "chip", **more: int
) -> Run:
    energy = None
    if energy_j is not None:
        span = interval(energy_j, factor)
        energy = Energy(mean=span.mean, low=span.low, high=span.high, scope=scope)
    return made_run(platform, interval(latency_s, factor), energy, **more)


def names(runs: tuple[Run, ...]) -> list[str]:
    return [one.platform for one in runs]


def test_overlap_in_closed_form() -> None:
    one = interval(1.0, 2.0)
    assert overlap(one, one) == pytest.approx(1.0)
    assert overlap(one, interval(4.0, 2.0)) == pytest.approx(0.0)  # they touch
    assert overlap(one, interval(5.0, 2.0)) == 0.0
    # Moved by half of its width (a factor of two of four): half is shared.
    assert overlap(one, interval(2.0, 2.0)) == pytest.approx(0.5)
    assert overlap(one, interval(1.2, 1.01)) == pytest.approx(1.0)  # the narrow one lies within
    assert overlap(one, interval(1.2, 1.0)) == 1.0  # a point within
    assert overlap(interval(1.0, 1.0), interval(1.1, 1.0)) == 0.0


def test_a_budget_is_kept_by_the_whole_interval() -> None:
    within, open_, beyond = run("a", 8e-3, 1e-3), run("b", 9.9e-3, 1e-3), run("c", 12e-3, 1e-3)
    budget = Budget(latency_s=10e-3)
    assert [verdict(one, budget) for one in (within, open_, beyond)] == ["within", "open", "beyond"]
    assert verdict(within, Budget()) == "within"
    assert verdict(within, Budget(latency_s=10e-3, energy_j=0.5e-3)) == "beyond"
    assert verdict(run("a", 1e-3, None), Budget(energy_j=1.0)) == "beyond"


def test_memory_is_weights_and_activations() -> None:
    one = run("a", 1e-3, 1e-3, weight_bytes=100, activation_bytes=50)
    assert verdict(one, Budget(memory_bytes=150)) == "within"
    assert verdict(one, Budget(memory_bytes=149)) == "beyond"


def test_the_fastest_and_those_that_cannot_be_told_apart() -> None:
    runs = [run("slow", 9e-3, 1e-3), run("fast", 1e-3, 3e-3), run("near", 1.05e-3, 2e-3)]
    (best,) = best_platforms(runs, Budget(latency_s=5e-3))
    assert best.fastest is not None
    assert best.fastest.run.platform == "fast" and names(best.fastest.rivals) == ["near"]
    assert sorted(names(best.candidates)) == ["fast", "near"]
    assert best.within == 2 and best.runs == 3
    assert best.least_energy["chip"].run.platform == "near" and not best.least_energy["chip"].rivals


def test_a_platform_is_no_rival_of_itself() -> None:
    """Predicted and measured twice: the later measurement stands for the platform."""
    predicted = run("a", 1e-3, 1e-3).model_copy(update={"fidelity": "calibrated", "backend": "analytic"})
    early, late = run("a", 1.1e-3, 1e-3), run("a", 1.2e-3, 1e-3)
    late = late.model_copy(update={"provenance": late.provenance.model_copy(update={"created": "2026-02-01T00:00:00"})})
    (best,) = best_platforms([predicted, late, early, run("b", 9e-3, 1e-3)], Budget())
    assert best.fastest is not None and best.fastest.run is late and best.fastest.rivals == ()
    assert names(best.candidates) == ["a", "b"] and best.runs == 2


def test_a_network_that_does_not_fit_is_no_candidate() -> None:
    (best,) = best_platforms([run("a", 1e-3, 1e-3).model_copy(update={"fits": False})], Budget())
    assert best.candidates == () and best.fastest is None and best.least_energy == {}


def test_an_open_choice_says_so() -> None:
    (best,) = best_platforms([run("a", 9.9e-3, 1e-3)], Budget(latency_s=10e-3))
    assert best.fastest is not None and best.fastest.open and best.within == 0


def test_energies_of_different_scope_have_fronts_of_their_own() -> None:
    runs = [
        run("a", 1e-3, 5e-3, scope="board"),
        run("b", 2e-3, 1e-6, scope="rail"),
        run("c", 3e-3, 1e-3, scope="board"),
    ]
    (best,) = best_platforms(runs, Budget())
    assert {scope: names(members) for scope, members in best.fronts.items()} == {"board": ["a", "c"], "rail": ["b"]}
    assert best.least_energy["board"].run.platform == "c"


def test_the_front_leaves_out_what_is_beaten_in_both() -> None:
    runs = [run("a", 1.0, 4.0), run("b", 2.0, 5.0), run("c", 3.0, 2.0), run("d", 4.0, 2.0), run("e", 5.0, 1.0)]
    assert names(front(runs)) == ["a", "c", "e"]


def test_steady_figures_may_choose_another_platform() -> None:
    """Weights in place: the run's steady figures count."""
    a, b = run("a", 5e-3, 1e-3), run("b", 1e-3, 1e-3)
    a = a.model_copy(update={"steady": run("a", 1e-4, 1e-4).total})
    (total,) = best_platforms([a, b], Budget())
    (steady,) = best_platforms([a, b], Budget(), "steady")
    assert total.fastest is not None and total.fastest.run.platform == "b"
    assert steady.fastest is not None and steady.fastest.run.platform == "a"


def test_budgets_are_read_with_units() -> None:
    found = parse_budget(["latency=10ms", "energy=1mJ", "memory=256KiB"])
    assert found.latency_s is not None and math.isclose(found.latency_s, 0.01)
    assert found.energy_j is not None and math.isclose(found.energy_j, 1e-3)
    assert found.memory_bytes == 262144
    assert parse_budget([]) == Budget()


@pytest.mark.parametrize("item", ["latenc=1ms", "latency", "latency=1mJ", "energy=-1mJ", "memory=0"])
def test_a_wrong_budget_is_an_error(item: str) -> None:
    with pytest.raises(ConfigError):
        parse_budget([item])
