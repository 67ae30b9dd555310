"""Verdicts of pairs and series with known answers, and where tolerances come from."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hil.backend import Run
from hil.compare.match import Pair, Side
from hil.compare.reading import METRICS, Reading
from hil.compare.tolerance import DEFAULTS, Tolerance, parse_tolerances, tolerance_for
from hil.compare.verdict import OUTCOMES, classify, compare, document, judge, judge_series, worst
from hil.data import data_dir
from hil.errors import ConfigError, PlatformError
from hil.platform import load_platform, platform_files, platform_hash
from tests.compare.conftest import Measure, scaled

TEN = Tolerance(0.10, "test", "")


def reading(value: float, spread: float = 1.0, **more: Any) -> Reading:
    """A figure of a board, known to a factor ``spread`` either way."""
    fields: dict[str, Any] = {
        "metric": "latency",
        "phase": "inference",
        "network": "net",
        "platform": "board",
        "operating_point": "fast",
        "fidelity": "measured",
        "origin": "here",
        "n": 5,
    }
    return Reading(value=value, low=value / spread, high=value * spread, **{**fields, **more})


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [
        (math.log(1 / 1.1) + 1e-9, math.log(1.1) - 1e-9, "agree"),
        (math.log(1 / 1.1) - 1e-9, 0.0, "marginal"),
        (0.0, math.log(1.1) + 1e-9, "marginal"),
        (math.log(1.1) + 1e-9, 1.0, "disagree"),
        (-1.0, math.log(1 / 1.1) - 1e-9, "disagree"),
        (-1.0, 1.0, "marginal"),
        (-math.inf, 0.0, "marginal"),
    ],
)
def test_the_interval_against_the_tolerance(low: float, high: float, outcome: str) -> None:
    """10 % is a factor of 1.1 either way."""
    assert classify(low, high, 0.10) == outcome


@pytest.mark.parametrize(
    ("ratio", "spread", "outcome"),
    [
        (1.05, 1.0, "agree"),
        (1.05, 1.03, "agree"),
        (1.05, 1.06, "marginal"),
        (1.15, 1.0, "disagree"),
        (1.15, 1.10, "marginal"),
        (0.92, 1.0, "agree"),
        (0.90, 1.0, "disagree"),
    ],
)
def test_pairs(ratio: float, spread: float, outcome: str) -> None:
    found = judge(Pair(reading(0.02), reading(0.02 * ratio, spread)), TEN)
    assert found.outcome == outcome
    assert found.bias == pytest.approx(ratio - 1)
    assert found.interval == pytest.approx((ratio / spread - 1, ratio * spread - 1))
    assert found.n == 1 and found.p_value is None


def test_reasons_say_what_to_act_on() -> None:
    found = judge(Pair(reading(0.02), reading(0.023)), TEN)
    assert found.reason == "+15.0 % outside the tolerance of 10 %"
    once = judge(Pair(reading(0.02, n=1), reading(0.02)), TEN)
    assert once.reason.endswith("measured once: repeatability is unknown")


def test_an_incomparable_pair_has_no_figures() -> None:
    found = judge(Pair(reading(1.0), reading(1.0), ("supply 3 V against 1.8 V",)), TEN)
    assert (found.outcome, found.reason) == ("incomparable", "supply 3 V against 1.8 V")
    assert found.bias is None and found.interval is None


def test_a_phase_that_one_side_does_not_have_disagrees() -> None:
    found = judge(Pair(reading(0.0), reading(0.003)), TEN)
    assert (found.outcome, found.reason) == ("disagree", "0 s against 3.00 ms: one side has none")


def test_a_model_that_claims_little_does_not_agree_by_that() -> None:
    """The prediction is 30 % off; its interval of a factor of 2 is told, and decides nothing."""
    prediction = reading(0.013, fidelity="estimated", model_low=0.0065, model_high=0.026)
    found = judge(Pair(reading(0.010), prediction), TEN)
    assert found.outcome == "disagree" and found.covered is True
    assert "own 90 % interval holds the other figure" in found.reason
    sure = judge(Pair(reading(0.010), replace(prediction, model_low=0.012, model_high=0.014)), TEN)
    assert sure.covered is False
    assert judge(Pair(prediction, prediction), TEN).covered is None


def test_what_nobody_would_act_on_agrees() -> None:
    """1 us against 20 us beside an inference of 5 ms: 19 us are under 1 % of it."""
    small = {"phase": "output_read", "immaterial": 50e-6}
    found = judge(Pair(reading(1e-6, **small), reading(20e-6, **small)), TEN)
    assert (found.outcome, found.reason) == ("agree", "19.0 µs apart: under 1 % of one inference")
    longer = judge(Pair(reading(100e-6, **small), reading(160e-6, **small)), TEN)
    assert longer.outcome == "disagree"


def test_the_inference_always_matters(predicted: Mapping[str, Run]) -> None:
    """However much longer the rest takes: 15 % more is 15 % more."""
    run = predicted["ad"]
    slow = scaled(run, "inference", 1.15)
    found = compare(Side("a", runs=(run,)), Side("b", runs=(slow,)))
    (verdict,) = [v for v in found.verdicts if (v.metric, v.phase) == ("latency", "inference")]
    assert verdict.outcome == "disagree" and found.outcome == "disagree"


# Series


def series(*ratios: float, **more: Any) -> list[Pair]:
    return [
        Pair(reading(0.01, network=f"net{i}", **more), reading(0.01 * ratio, network=f"net{i}", **more))
        for i, ratio in enumerate(ratios)
    ]


def test_a_series_by_hand() -> None:
    """Logs of -s, 0, +s: bias 0, half width t(2; 0.95) s / sqrt(3) with t = 2.91999."""
    step = 0.02
    found = judge_series(series(math.exp(-step), 1.0, math.exp(step)), TEN)
    half = 2.919986 * step / math.sqrt(3)
    assert found.n == 3 and found.outcome == "agree"
    assert found.bias == pytest.approx(0.0, abs=1e-12)
    assert found.interval == pytest.approx((math.exp(-half) - 1, math.exp(half) - 1), rel=1e-5)
    assert found.mape == pytest.approx((math.exp(step) - math.exp(-step)) / 3)
    assert found.p_value is not None and found.p_value < 0.05


def test_single_figures_may_be_off_while_the_bias_is_not() -> None:
    """+15 % and -13 % in turns: no pair agrees, and the bias is not known well enough."""
    found = judge_series(series(1.15, 0.87, 1.15, 0.87, 1.0), TEN)
    assert found.outcome == "marginal"
    assert found.mape == pytest.approx((2 * 0.15 + 2 * 0.13) / 5)


def test_figures_of_one_network_count_once() -> None:
    """Twenty repetitions of one network tell no more about the others."""
    three = series(1.02, 1.08, 0.98)
    again = judge_series([*three, *[three[1]] * 19], TEN)
    assert again.n == 3
    assert again.interval == pytest.approx(judge_series(three, TEN).interval)


def test_a_whole_millisecond_clock_widens_a_series() -> None:
    """10 ms with a step of 1 ms on one side: half a step is 5 %, and rounding moves all figures alike."""
    pairs = series(1.06, 1.06, 1.06)
    coarse = [Pair(replace(pair.a, resolution=1e-3), pair.b) for pair in pairs]
    assert judge_series(pairs, TEN).outcome == "agree"
    found = judge_series(coarse, TEN)
    assert found.outcome == "marginal" and found.p_value is not None and found.p_value > 0.05
    assert found.interval == pytest.approx((1.06 / 1.05 - 1, 1.06 * 1.05 - 1))


def test_two_networks_make_no_series(predicted: Mapping[str, Run]) -> None:
    two, three = ((predicted[name] for name in names) for names in (("kws", "ad"), ("kws", "ad", "ic")))
    few, enough = (Side("runs", runs=tuple(runs)) for runs in (two, three))
    assert compare(few, few).series == ()
    found = compare(enough, enough)
    assert {(v.metric, v.phase) for v in found.series} >= {("latency", "total"), ("energy", "inference")}
    assert all(v.outcome == "agree" and v.n == 3 for v in found.series)


def test_the_worst_outcome_counts() -> None:
    assert worst(("agree", "disagree", "incomparable", "marginal")) == "disagree"
    assert worst(("incomparable", "agree")) == "agree"
    assert worst(("incomparable",)) == worst(()) == "incomparable"
    assert set(OUTCOMES) == {"agree", "marginal", "disagree", "incomparable"}


def test_a_board_that_repeats_itself_agrees_and_a_slower_one_does_not(
    predicted: Mapping[str, Run], measure: Measure
) -> None:
    samples = (0.99, 1.0, 1.01, 1.0, 0.995)
    analytic = Side("analytic", runs=tuple(predicted.values()))
    same, slow = (
        compare(analytic, Side("board", runs=tuple(measure(run, factor, samples) for run in predicted.values())))
        for factor in (1.01, 1.15)
    )
    assert same.outcome == "agree"
    assert slow.outcome == "disagree"
    assert {v.outcome for v in slow.series if v.metric == "latency"} == {"disagree"}


def test_the_json_document_holds_no_infinity(predicted: Mapping[str, Run], measure: Measure) -> None:
    run = predicted["kws"]
    board = measure(run, samples=(0.5, 1.5))  # so few and so far apart that the interval reaches zero
    text = json.dumps(document(compare(Side("a", runs=(run,)), Side("b", runs=(board,)))), allow_nan=False)
    found = json.loads(text)
    assert found["schema"] == 1 and found["outcome"] == "marginal"
    verdict = next(v for v in found["verdicts"] if v["phase"] == "inference")
    assert verdict["interval"][0] == -1.0 and verdict["a"]["value"] > 0


# Tolerances


def test_the_user_comes_before_the_file_and_the_file_before_the_default() -> None:
    asked = parse_tolerances(["latency=10%", "latency.inference=5%", "energy=0.25"])
    assert asked == {"latency": 0.10, "latency.inference": 0.05, "energy": 0.25}
    assert tolerance_for("latency", "inference", "ndp120", asked).value == 0.05
    assert tolerance_for("latency", "total", "ndp120", asked).value == 0.10
    assert tolerance_for("energy", "total", "ndp120", asked).value == 0.25
    declared = tolerance_for("energy", "total", "ndp120", {})
    assert (declared.value, declared.origin) == (0.15, "platform file of ndp120")
    assert "13 % apart" in declared.reason and "MLPerf" in declared.reason
    assert tolerance_for("latency", "total", "ndp120", {}) == DEFAULTS["latency"]
    assert tolerance_for("energy", "total", "not-here", {}) == DEFAULTS["energy"]


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("latency", "not METRIC"),
        ("latncy=10%", "no metric 'latncy'"),
        ("latency.infernce=10%", "no phase 'infernce'"),
        ("latency=10", "at most 100 %"),
        ("latency=0%", "more than 0 %"),
        ("latency=ten", "'ten' is not a quantity"),
    ],
)
def test_wrong_tolerances_are_told(item: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_tolerances([item])


def own_platform(folder: Path, text: str) -> Path:
    """The NDP120's file with another table of tolerances."""
    original = (data_dir("platforms") / "ndp120" / "platform.toml").read_text(encoding="utf-8")
    (folder / "ndp120").mkdir()
    (folder / "ndp120" / "platform.toml").write_text(original.split("[tolerances")[0] + text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('[tolerances.speed]\nvalue = 0.1\nreason = "r"\nsource = "mlperf"', "tolerances.speed"),
        ('[tolerances.latency]\nvalue = 10\nreason = "r"\nsource = "mlperf"', "less than or equal to 1"),
        ('[tolerances.latency]\nvalue = 0.1\nreason = ""\nsource = "mlperf"', "at least 1 character"),
        ('[tolerances.latency]\nvalue = 0.1\nreason = "r"\nsource = "hearsay"', "source 'hearsay' is not in"),
        ('[tolerances."latency.inferenc"]\nvalue = 0.1\nreason = "r"\nsource = "mlperf"', "no phase 'inferenc'"),
    ],
)
def test_wrong_tables_of_tolerances_are_told(tmp_path: Path, table: str, words: str) -> None:
    path = [own_platform(tmp_path, table)]
    with pytest.raises(PlatformError, match=words):
        tolerance_for("latency", "inference", "ndp120", {}, path)


def test_a_tolerance_of_one_phase_comes_first_and_changes_no_hash(tmp_path: Path) -> None:
    table = "".join(
        f'[tolerances.{key}]\nvalue = {value}\nreason = "r"\nsource = "mlperf"\n'
        for key, value in (("latency", 0.3), ('"latency.inference"', 0.2))
    )
    path = [own_platform(tmp_path, table)]
    assert tolerance_for("latency", "inference", "ndp120", {}, path).value == 0.2
    assert tolerance_for("latency", "total", "ndp120", {}, path).value == 0.3
    assert platform_hash(load_platform("ndp120", path)) == platform_hash(load_platform("ndp120"))


def test_tolerances_of_every_platform_file_can_be_used() -> None:
    for name in platform_files():
        for metric in METRICS:
            assert 0 < tolerance_for(metric, "inference", name, {}).value <= 0.5
