"""Pairing: the same network at the same condition, and every reason why two figures are not comparable."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hil import zoo
from hil.backend import Run, RunOptions
from hil.backend.analytic import AnalyticBackend
from hil.calibrate.dataset import Measurement, load_measurements
from hil.compare.match import PUBLISHED, Side, differences, load_side, match
from hil.compare.reading import Reading, reading_of, reading_of_measurement
from hil.errors import ConfigError, ResultsError
from hil.plan import make_plan
from hil.platform import load_platform, make_target
from tests.compare.conftest import Measure, write


@pytest.fixture(scope="module")
def rows() -> tuple[Measurement, ...]:
    return load_measurements()


def row_of(rows: tuple[Measurement, ...], name: str) -> Measurement:
    return next(row for row in rows if row.id == name)


def pairs_of(run: Run, *rows: Measurement) -> Any:
    return match(Side("run", runs=(run,)), Side(PUBLISHED, measurements=rows)).pairs


# Readings


def test_a_prediction_has_no_chance_in_it(predicted: Mapping[str, Run]) -> None:
    run = predicted["kws"]
    found = reading_of(run, "latency", "inference")
    part = run.phases["inference"].latency_s
    assert found is not None
    assert found.value == found.low == found.high == part.mean
    assert (found.model_low, found.model_high) == (part.low, part.high)


def test_a_board_has_chance_and_no_model(predicted: Mapping[str, Run], measure: Measure) -> None:
    board = measure(predicted["kws"], samples=(0.98, 1.0, 1.02))
    found = reading_of(board, "latency", "inference")
    part = board.phases["inference"].latency_s
    assert found is not None
    assert (found.low, found.high) == pytest.approx((part.low, part.high))
    assert found.model_low is None and found.n == 3 and found.fidelity == "measured"


def test_energy_of_a_board_without_meter_is_as_uncertain_as_its_time(
    predicted: Mapping[str, Run], measure: Measure
) -> None:
    board = measure(predicted["kws"], samples=(0.9, 1.0, 1.1))
    time, energy = reading_of(board, "latency", "inference"), reading_of(board, "energy", "inference")
    assert time is not None and energy is not None
    assert energy.fidelity == "calibrated"
    assert energy.high / energy.value == pytest.approx(time.high / time.value)


def test_power_is_energy_over_time_and_knows_nothing_of_the_clock(predicted: Mapping[str, Run]) -> None:
    run = predicted["kws"]
    part = run.phases["inference"]
    found = reading_of(run, "power", "inference")
    assert found is not None and part.energy_j is not None
    assert found.value == pytest.approx(part.energy_j.mean / part.latency_s.mean)


def test_an_energy_below_that_of_waiting_has_no_ratio(predicted: Mapping[str, Run]) -> None:
    run = predicted["kws"]
    part = run.phases["inference"]
    assert part.energy_above_idle_j is not None
    below = part.energy_above_idle_j.model_copy(update={"mean": -1e-6, "low": -2e-6, "high": 1e-7})
    odd = run.model_copy(
        update={"phases": {**run.phases, "inference": part.model_copy(update={"energy_above_idle_j": below})}}
    )
    assert reading_of(odd, "energy", "inference", above_idle=True) is None
    assert reading_of(odd, "energy", "inference") is not None


def test_a_sum_of_phases(predicted: Mapping[str, Run]) -> None:
    run = predicted["kws"]
    found = reading_of(run, "latency", "input_load+inference")
    parts = [run.phases[name].latency_s for name in ("input_load", "inference")]
    assert found is not None
    assert found.value == pytest.approx(sum(part.mean for part in parts))
    # The model is wrong about both alike.
    assert found.model_high == pytest.approx(sum(part.high for part in parts))


def test_a_board_that_counts_whole_milliseconds_is_known_to_half_of_one(
    predicted: Mapping[str, Run], measure: Measure
) -> None:
    run = predicted["kws"]
    factor = 0.012 / run.phases["inference"].latency_s.mean
    coarse = reading_of(measure(run, factor, samples=(1.0, 1.0, 1.0)), "latency", "inference")
    fine = reading_of(measure(run, factor * 1.0001, samples=(1.0, 1.0, 1.0)), "latency", "inference")
    assert coarse is not None and fine is not None
    assert (coarse.resolution, fine.resolution) == (1e-3, 0.0)
    assert (coarse.low, coarse.high) == pytest.approx((0.0115, 0.0125), abs=2e-6)


def test_a_missing_phase_has_no_reading(predicted: Mapping[str, Run]) -> None:
    run = predicted["kws"]
    phases = {name: part for name, part in run.phases.items() if name != "boot"}
    assert reading_of(run.model_copy(update={"phases": phases}), "latency", "boot+inference") is None


def test_interval_of_a_publication(rows: tuple[Measurement, ...]) -> None:
    """Half a printed step, and 1.645 standard deviations of 2 % for grade A."""
    row = replace(row_of(rows, "337-t"), value=4e-3, resolution=1e-3, grade="A")
    found = reading_of_measurement(row)
    factor = math.exp(1.6449 * 0.02)
    assert (found.low, found.high) == pytest.approx((3.5e-3 / factor, 4.5e-3 * factor), rel=1e-4)


# Pairs


def test_a_run_meets_the_publications_of_its_condition(rows: tuple[Measurement, ...]) -> None:
    """MLPerf 1.2 measured the four networks with X-CUBE-AI 9 at 120 MHz (rows 336 to 343); many more at that clock were
    measured with other software."""
    target = make_target(load_platform("stm32l4r5"))
    plans = [make_plan(zoo.load(name), target) for name in ("ad", "ic", "kws", "vww")]
    runs = AnalyticBackend().run(plans, RunOptions())
    found = match(Side("runs", runs=tuple(runs)), Side(PUBLISHED, measurements=rows))
    assert all(not pair.differences for pair in found.pairs)
    origins = {pair.b.origin.split()[1] for pair in found.pairs if pair.a.metric == "latency"}
    assert origins == {"337-t", "339-t", "341-t", "343-t"}
    assert {pair.b.network for pair in found.pairs} == {"ad", "ic", "kws", "vww"}
    assert found.only_a == () and found.only_b == ()


def test_sides_keep_their_places(predicted: Mapping[str, Run], rows: tuple[Measurement, ...]) -> None:
    runs, published = Side("runs", runs=(predicted["ic"],)), Side(PUBLISHED, measurements=rows)
    one, other = match(runs, published), match(published, runs)
    assert [(p.a, p.b) for p in one.pairs] == [(p.b, p.a) for p in other.pairs]
    assert one.pairs


def test_networks_are_told_apart_by_their_ops(rows: tuple[Measurement, ...]) -> None:
    """SimpleNet with residual additions has the same MACs in every op, and is another network."""
    target = make_target(load_platform("max78000"))
    plans = [make_plan(zoo.load(name), target) for name in ("simplenet", "resnet")]
    simple, residual = AnalyticBackend().run(plans, RunOptions())
    assert pairs_of(simple, row_of(rows, "1055-t"))
    assert not pairs_of(residual, row_of(rows, "1055-t"))


def test_networks_are_told_apart_by_the_width_of_their_weights(rows: tuple[Measurement, ...]) -> None:
    """SimpleNet with weights of 1 to 8 bits loads in half the time, and is another network."""
    (run,) = AnalyticBackend().run(
        [make_plan(zoo.load("simplenet"), make_target(load_platform("max78002")))], RunOptions()
    )
    mixed = [row for row in rows if row.platform == "max78002" and row.network == "ai8x_cifar100_simplenet_mixed"]
    assert mixed and not pairs_of(run, *mixed)


def test_every_platform_states_the_clock_of_its_measurements(rows: tuple[Measurement, ...]) -> None:
    """A wrong clock in a platform file would show here: published and own clocks differ by under 2 %."""
    from hil.calibrate.dataset import target_of

    checked = 0
    for row in rows:
        if row.use != "fit" or row.clock_host_hz is None:
            continue
        target = target_of(row)
        assert row.clock_host_hz == pytest.approx(target.host_clock_hz, rel=0.02), row.id
        checked += 1
    assert checked > 500


def test_runs_without_counterpart_are_named(predicted: Mapping[str, Run]) -> None:
    found = match(Side("a", runs=(predicted["kws"], predicted["ad"])), Side("b", runs=(predicted["ad"],)))
    assert found.only_a == ("kws on efr32xg24 at 78mhz (analytic)",)
    assert {pair.a.network for pair in found.pairs} == {"ad"}


def test_two_publications_are_no_comparison(rows: tuple[Measurement, ...]) -> None:
    side = Side(PUBLISHED, measurements=rows)
    with pytest.raises(ConfigError, match="both sides are published"):
        match(side, side)


# Reasons


@pytest.fixture
def reading(predicted: Mapping[str, Run]) -> Reading:
    found = reading_of(predicted["kws"], "energy", "inference")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"platform": "gap9"}, "platform efr32xg24 against gap9"),
        ({"operating_point": "39mhz"}, "operating point 78mhz against 39mhz"),
        ({"overrides": (("supply_v", "1.5"),)}, "overrides none against supply_v=1.5"),
        ({"clocks_hz": (("host", 58.5e6), ("npu", 78e6))}, "host clock 78.0 MHz against 58.5 MHz"),
        ({"supply_v": 1.8}, "supply 3 V against 1.8 V"),
        ({"precision": "float32"}, "precision int8 against float32"),
        ({"software": "other 2.0"}, "against other 2.0"),
        ({"stack": "tflm+mvp-0.7"}, "software stack tflm+mvp against tflm+mvp-0.7"),
        ({"scope": "whole board, gross"}, "energy scope rail"),
        ({"doubt": "an application window"}, "an application window"),
    ],
)
def test_every_reason_names_the_property(reading: Reading, change: dict[str, Any], words: str) -> None:
    known = replace(reading, software="one 1.0", supply_v=3.0)
    assert differences(known, known) == ()
    (found,) = differences(known, replace(known, **change))
    assert words in found


@pytest.mark.parametrize(
    "change",
    [
        {"precision": "int"},
        {"software": ""},
        {"stack": "unstated"},
        {"supply_v": None},
        {"clocks_hz": ()},
        {"clocks_hz": (("host", 78.5e6),)},
    ],
)
def test_what_is_not_stated_or_nearly_equal_does_not_differ(reading: Reading, change: dict[str, Any]) -> None:
    assert differences(reading, replace(reading, **change)) == ()


def test_voltage_changes_no_time(predicted: Mapping[str, Run]) -> None:
    found = reading_of(predicted["kws"], "latency", "inference")
    assert found is not None
    assert differences(replace(found, supply_v=3.0), replace(found, supply_v=1.8)) == ()


def test_spellings_of_an_override_are_one(predicted: Mapping[str, Run]) -> None:
    one, other = (
        predicted["kws"].model_copy(
            update={"provenance": predicted["kws"].provenance.model_copy(update={"overrides": {"npu.clock_hz": text}})}
        )
        for text in ("30MHz", "3e7")
    )
    assert all(not pair.differences for pair in match(Side("a", runs=(one,)), Side("b", runs=(other,))).pairs)


def test_a_run_at_another_condition_is_paired_in_its_total(predicted: Mapping[str, Run]) -> None:
    run = predicted["kws"]
    other = run.model_copy(update={"operating_point": "39mhz"})
    pairs = match(Side("a", runs=(run,)), Side("b", runs=(other,))).pairs
    assert [(pair.a.metric, pair.a.phase) for pair in pairs] == [("latency", "total"), ("energy", "total")]
    assert all(pair.differences == ("operating point 78mhz against 39mhz",) for pair in pairs)


def test_another_network_of_the_same_name(predicted: Mapping[str, Run]) -> None:
    run = predicted["kws"]
    info = run.network_info.model_copy(update={"hash": "f" * 16, "macs": 1_000_000})
    other = run.model_copy(update={"network_info": info, "ops": run.ops[:3]})
    pairs = match(Side("a", runs=(run,)), Side("b", runs=(other,))).pairs
    assert all("network kws: 2.66 M MAC" in pair.differences[0] and "ffffffff" in pair.differences[0] for pair in pairs)


def test_a_swapped_energy_scope_is_incomparable(predicted: Mapping[str, Run], rows: tuple[Measurement, ...]) -> None:
    run = predicted["ic"]
    inference = run.phases["inference"]
    assert inference.energy_j is not None
    swapped = inference.model_copy(
        update={"energy_j": inference.energy_j.model_copy(update={"scope": "whole board, gross"})}
    )
    other = run.model_copy(update={"phases": {**run.phases, "inference": swapped}})
    energies = [pair for pair in pairs_of(other, *rows) if pair.a.metric == "energy"]
    assert energies and all("energy scope whole board, gross against rail" in pair.differences[0] for pair in energies)


def test_a_publication_in_doubt_keeps_its_reason(predicted: Mapping[str, Run], rows: tuple[Measurement, ...]) -> None:
    row = replace(row_of(rows, "164-t"), use="check", reason="a reading from a photograph")
    (pair,) = pairs_of(predicted["ic"], row)
    assert pair.differences == ("a reading from a photograph",)


def test_a_wrong_clock_shows_against_publications(predicted: Mapping[str, Run], rows: tuple[Measurement, ...]) -> None:
    run = predicted["ic"]
    clocks = {name: 1.25 * hertz for name, hertz in run.provenance.clocks_hz.items()}
    fast = run.model_copy(update={"provenance": run.provenance.model_copy(update={"clocks_hz": clocks})})
    (pair,) = pairs_of(fast, row_of(rows, "164-t"))
    assert "host clock 97.5 MHz against 78.0 MHz" in pair.differences


# Sides


def test_sides_are_files_folders_or_publications(predicted: Mapping[str, Run], tmp_path: Path) -> None:
    from hil.bench import Store

    Store(tmp_path / "folder").save(predicted["kws"])
    assert load_side(str(tmp_path / "folder")).runs == (predicted["kws"],)
    assert load_side(write(tmp_path / "one.json", predicted["kws"])).runs == (predicted["kws"],)
    assert len(load_side(PUBLISHED).measurements) > 2000
    with pytest.raises(ResultsError, match="no such folder of results"):
        load_side(str(tmp_path / "absent"))
    with pytest.raises(ResultsError, match="holds no runs"):
        load_side(write(tmp_path / "none.json"))
