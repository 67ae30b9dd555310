"""Verdicts: do two figures, or two series of them, agree within a declared tolerance?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hil.compare.match import Pair, Side, match
from hil.compare.reading import UNITS, Metric, Reading, is_immaterial
from hil.compare.statistics import (
    bootstrap_interval,
    equivalence_p,
    errors,
    mean_interval,
    ratio_interval,
)
from hil.compare.tolerance import Tolerance, tolerance_for
from hil.units import format_si

SCHEMA_VERSION = 1
Outcome = Literal["agree", "marginal", "disagree", "incomparable"]
# The worse, the later.  What cannot be compared counts where nothing else can.
OUTCOMES: tuple[Outcome, ...] = ("incomparable", "agree", "marginal", "disagree")
# With fewer networks there is no test: their scatter is not known, and each pair speaks for itself.
LEAST_SERIES = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome for one pair (``n`` is 1, ``a`` and ``b`` are its readings), or for the ``n`` networks of a series
    (one platform, operating point, metric and phase; ``network`` is empty, ``a`` and ``b`` are None).

    ``bias`` is the geometric mean of b/a less 1 (for one pair b/a - 1), ``interval`` its 90 % interval; ``mape`` and
    ``rmse`` are of the relative differences b/a - 1, ``mape_interval`` by bootstrap.  ``p_value``: of the equivalence
    test.  All are shares of 1 and None where they are not defined.  ``covered``: does the 90 % interval that a
    prediction gives itself hold the other figure?  None where neither or both are predictions.
    """

    metric: Metric
    phase: str
    network: str
    platform: str
    operating_point: str
    outcome: Outcome
    reason: str
    tolerance: Tolerance
    n: int = 1
    a: Reading | None = None
    b: Reading | None = None
    bias: float | None = None
    interval: tuple[float, float] | None = None
    mape: float | None = None
    mape_interval: tuple[float, float] | None = None
    rmse: float | None = None
    p_value: float | None = None
    covered: bool | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """One verdict per pair, and one per series of at least three networks.  ``a`` and ``b`` name the sides."""

    a: str
    b: str
    verdicts: tuple[Verdict, ...]
    series: tuple[Verdict, ...] = ()
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """The worst outcome; ``incomparable`` where nothing could be compared."""
        return worst(verdict.outcome for verdict in (*self.verdicts, *self.series))


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    return max(outcomes, key=OUTCOMES.index, default="incomparable")


def compare(
    a: Side, b: Side, tolerances: Mapping[str, float] | None = None, platform_path: Sequence[Path] = ()
) -> Comparison:
    """Match two sides, judge every pair and every series.  ``tolerances``: the user's, from ``parse_tolerances``."""
    found = match(a, b, platform_path)
    asked = tolerances or {}

    def allowed(reading: Reading) -> Tolerance:
        return tolerance_for(reading.metric, reading.phase, reading.platform, asked, platform_path)

    verdicts = tuple(judge(pair, allowed(pair.a)) for pair in found.pairs)
    together: dict[object, list[Pair]] = {}
    for pair in found.pairs:
        positive = pair.a.value > 0 and pair.b.value > 0
        if positive and not pair.differences and not is_immaterial(pair.a, pair.b):
            one = pair.a
            key = (one.platform, one.operating_point, one.overrides, one.metric, one.phase, one.scope)
            together.setdefault(key, []).append(pair)
    series = tuple(
        judge_series(pairs, allowed(pairs[0].a))
        for pairs in together.values()
        if len({pair.a.network for pair in pairs}) >= LEAST_SERIES
    )
    return Comparison(a.name, b.name, verdicts, series, found.only_a, found.only_b)


def judge(pair: Pair, tolerance: Tolerance) -> Verdict:
    """One pair: no test is possible, so what chance and the clock leave open of both figures decides."""
    a, b = pair.a, pair.b
    common: dict[str, Any] = {
        "metric": a.metric,
        "phase": a.phase,
        "network": a.network,
        "platform": a.platform,
        "operating_point": a.operating_point,
        "tolerance": tolerance,
        "a": a,
        "b": b,
    }
    if pair.differences:
        return Verdict(outcome="incomparable", reason="; ".join(pair.differences), **common)
    if is_immaterial(a, b):
        moved = format_si(abs(b.value - a.value), UNITS[a.metric])
        bias = b.value / a.value - 1 if a.value > 0 else None
        return Verdict(outcome="agree", reason=f"{moved} apart: under 1 % of one inference", bias=bias, **common)
    if a.value <= 0 or b.value <= 0:
        shown = " against ".join(format_si(reading.value, UNITS[a.metric]) for reading in (a, b))
        return Verdict(outcome="disagree", reason=f"{shown}: one side has none", **common)
    low, high = ratio_interval((a.value, a.low, a.high), (b.value, b.low, b.high))
    outcome = classify(low, high, tolerance.value)
    bias = b.value / a.value - 1
    interval = (math.expm1(low), math.expm1(high))
    covered = _covered(a, b)
    words = [_words(bias, interval, tolerance, outcome)]
    if covered is not None and outcome != "agree":
        words.append(f"the prediction's own 90 % interval {'holds' if covered else 'does not hold'} the other figure")
    words += _caveats(a, b)
    return Verdict(
        outcome=outcome,
        reason="; ".join(words),
        bias=bias,
        interval=interval,
        mape=abs(bias),
        rmse=abs(bias),
        covered=covered,
        **common,
    )


def judge_series(pairs: Sequence[Pair], tolerance: Tolerance) -> Verdict:
    """Comparable pairs of one platform, metric and phase, over at least three networks: is their bias within the
    tolerance?  Two one-sided t tests at 5 % on the logarithm of the ratios, which the 90 % interval of the mean shows.

    Several figures of one network count as one: they share what the network does to the prediction.  A clock or printed
    digits round all figures in the same direction, which no scatter shows: half a step widens the interval.
    """
    networks: dict[str, list[Pair]] = {}
    for pair in pairs:
        networks.setdefault(pair.a.network, []).append(pair)
    groups = list(networks.values())
    logs = np.array([np.mean([math.log(p.b.value / p.a.value) for p in group]) for group in groups])
    blur = float(np.mean([np.mean([_blur(p.a) + _blur(p.b) for p in group]) for group in groups]))
    low, high = mean_interval(logs)
    low, high = float(low) - blur, float(high) + blur
    outcome = classify(low, high, tolerance.value)
    ratios = np.exp(logs)
    found = errors(np.ones_like(ratios), ratios)
    interval = (math.expm1(low), math.expm1(high))
    one = pairs[0].a
    return Verdict(
        metric=one.metric,
        phase=one.phase,
        network="",
        platform=one.platform,
        operating_point=one.operating_point,
        outcome=outcome,
        reason=f"bias over {len(logs)} networks {_words(found.bias, interval, tolerance, outcome)}",
        tolerance=tolerance,
        n=len(logs),
        bias=found.bias,
        interval=interval,
        mape=found.mape,
        mape_interval=bootstrap_interval(np.abs(ratios - 1), lambda draws: draws.mean(axis=-1)),
        rmse=found.rmse,
        p_value=equivalence_p(logs, margin(tolerance.value) - blur),
        covered=None,
    )


def margin(tolerance: float) -> float:
    """A tolerance on the scale of logarithms: 10 % allows a factor of 1.1 either way."""
    return math.log1p(tolerance)


def classify(low: float, high: float, tolerance: float) -> Outcome:
    """The interval of a logarithm of a ratio against a tolerance: within it, beyond it, or across its edge."""
    edge = margin(tolerance)
    if -edge <= low and high <= edge:
        return "agree"
    return "disagree" if low > edge or high < -edge else "marginal"


def document(comparison: Comparison) -> dict[str, Any]:
    """The comparison for JSON, which knows no infinity: such bounds are null."""
    found: dict[str, Any] = finite(asdict(comparison))
    return {"schema": SCHEMA_VERSION, "outcome": comparison.outcome, **found}


def finite(node: Any) -> Any:
    """The same document with null for what is not a finite number."""
    if isinstance(node, float):
        return node if math.isfinite(node) else None
    if isinstance(node, dict):
        return {key: finite(value) for key, value in node.items()}
    return [finite(value) for value in node] if isinstance(node, (list, tuple)) else node


def percent(share: float) -> str:
    """A signed change: ``+12.3 %``; a factor where per cent would be silly."""
    return f"{share:+.1%}".replace("%", " %") if share < 9 else f"x {1 + share:.3g}"


def _words(bias: float, interval: tuple[float, float], tolerance: Tolerance, outcome: Outcome) -> str:
    low, high = interval
    bounds = f" ({percent(low)} to {percent(high)})" if high - low > 5e-4 else ""
    how = {"agree": "within", "marginal": "crosses", "disagree": "outside"}[outcome]
    return f"{percent(bias)}{bounds} {how} the tolerance of {100 * tolerance.value:.3g} %"


def _covered(a: Reading, b: Reading) -> bool | None:
    predicted = [reading for reading in (a, b) if reading.model_low is not None and reading.model_high is not None]
    if len(predicted) != 1:
        return None
    prediction, other = (a, b) if predicted[0] is a else (b, a)
    assert prediction.model_low is not None and prediction.model_high is not None
    return prediction.model_low <= other.value <= prediction.model_high


def _caveats(a: Reading, b: Reading) -> list[str]:
    """What the smallness of a sample hides."""
    single = any(reading.fidelity == "measured" and reading.n == 1 for reading in (a, b))
    return ["measured once: repeatability is unknown"] if single else []


def _blur(reading: Reading) -> float:
    """Half a step of the clock, on the scale of logarithms."""
    return math.log1p(reading.resolution / 2 / reading.value)
