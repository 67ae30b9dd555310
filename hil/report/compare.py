"""Verdicts and regressions as tables of at most 100 columns, as JUnit cases and as a plot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hil.compare.gate import Change, Gate
from hil.compare.junit import Case
from hil.compare.reading import METRICS, UNITS, Metric
from hil.compare.verdict import OUTCOMES, Comparison, Outcome, Verdict, percent
from hil.errors import ConfigError
from hil.pictures import picture
from hil.report.tables import say
from hil.units import format_si

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# So many names are listed before the rest is counted.
_LISTED = 6
# Colours that differ for colour-blind readers too (Okabe and Ito), and markers that differ in print.
_STYLE: dict[Outcome, tuple[str, str]] = {
    "agree": ("#009e73", "o"),
    "marginal": ("#e69f00", "D"),
    "disagree": ("#d55e00", "X"),
}
_STATUS: dict[Outcome, Literal["passed", "failed", "skipped"]] = {
    "agree": "passed",
    "marginal": "passed",
    "disagree": "failed",
    "incomparable": "skipped",
}


def print_comparison(comparison: Comparison, out: Console) -> None:
    """A table per platform, operating point and metric, series below it, then what could not be compared, and a sum."""
    say(out, f"A: {comparison.a}\nB: {comparison.b}")
    judged = [verdict for verdict in comparison.verdicts if verdict.outcome != "incomparable"]
    for (platform, point, metric, scope), group in _grouped(judged).items():
        say(out, f"\n{platform} at {point}: {metric}{f' ({scope})' if scope else ''}, B against A")
        out.print(_pair_table(group))
        for text in dict.fromkeys(v.tolerance.reason for v in group if v.tolerance.origin != "default"):
            say(out, f"  tolerance: {text}")
    if comparison.series:
        say(out, "\nover all networks of a platform (bias with its 90 % interval, p of the equivalence test):")
        out.print(_series_table(comparison.series))
    _print_incomparable([v for v in comparison.verdicts if v.outcome == "incomparable"], out)
    for side, names in (("A", comparison.only_a), ("B", comparison.only_b)):
        if names:
            say(out, f"\nonly in {side}: {_listed(names)}")
    for verdict in comparison.verdicts:
        if verdict.outcome in ("marginal", "disagree") and ";" in verdict.reason:
            what = f"{verdict.network} on {verdict.platform}, {verdict.metric} of {verdict.phase}"
            say(out, f"{verdict.outcome}: {what}: {verdict.reason}")
    counts = Counter(verdict.outcome for verdict in comparison.verdicts)
    summed = ", ".join(f"{counts[outcome]} {outcome}" for outcome in reversed(OUTCOMES) if counts[outcome])
    say(out, f"\n{comparison.outcome}: {summed or 'nothing to compare'}")


def _grouped(verdicts: Iterable[Verdict]) -> dict[tuple[str, str, Metric, str], list[Verdict]]:
    groups: dict[tuple[str, str, Metric, str], list[Verdict]] = {}
    for verdict in verdicts:
        scope = verdict.a.scope if verdict.a is not None else ""
        groups.setdefault((verdict.platform, verdict.operating_point, verdict.metric, scope), []).append(verdict)
    return groups


def _table(left: Sequence[str], right: Sequence[str], last: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in left:
        table.add_column(name, max_width=28, no_wrap=True, overflow="ellipsis")
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column(last, no_wrap=True)
    return table


def _pair_table(verdicts: Sequence[Verdict]) -> Table:
    table = _table(("network", "phase"), ("A", "B", "differs", "90 % interval", "tol."), "verdict")
    for verdict in verdicts:
        assert verdict.a is not None and verdict.b is not None
        unit = UNITS[verdict.metric]
        table.add_row(
            verdict.network,
            verdict.phase,
            format_si(verdict.a.value, unit),
            format_si(verdict.b.value, unit),
            percent(verdict.bias) if verdict.bias is not None else "-",
            _interval(verdict.interval),
            f"{100 * verdict.tolerance.value:.3g} %",
            verdict.outcome,
        )
    return table


def _series_table(series: Sequence[Verdict]) -> Table:
    table = _table(("platform", "of"), ("n", "bias", "90 % interval", "MAPE", "p", "tol."), "verdict")
    for verdict in series:
        table.add_row(
            f"{verdict.platform} {verdict.operating_point}",
            f"{verdict.metric} {verdict.phase}",
            str(verdict.n),
            percent(verdict.bias) if verdict.bias is not None else "-",
            _interval(verdict.interval),
            f"{100 * verdict.mape:.1f} %" if verdict.mape is not None else "-",
            f"{verdict.p_value:.3f}" if verdict.p_value is not None else "-",
            f"{100 * verdict.tolerance.value:.3g} %",
            verdict.outcome,
        )
    return table


def _interval(interval: tuple[float, float] | None) -> str:
    """Both bounds; a dash for a figure without chance in it."""
    if interval is None or interval[1] - interval[0] < 5e-4:
        return "-"
    return f"{100 * interval[0]:+.1f} to {100 * interval[1]:+.1f} %"


def _print_incomparable(verdicts: Sequence[Verdict], out: Console) -> None:
    """One line for all figures that cannot be compared for the same reason."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for verdict in verdicts:
        names = reasons.setdefault((verdict.platform, verdict.reason), [])
        names.append(f"{verdict.network} ({verdict.metric} {verdict.phase})")
    if reasons:
        say(out, "\nincomparable:")
    for (platform, reason), names in reasons.items():
        say(out, f"  {platform}: {reason}: {_listed(names)}")


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def print_gate(result: Gate, out: Console) -> None:
    """What got worse, then what got better, then what else changed; a line for each, by run."""
    say(out, f"baseline: {result.baseline}\nnew:      {result.new}")
    better = [change for change in result.changes if not change.worse and change.kind not in ("note", "op time")]
    beside = [change for change in result.changes if not change.worse and change.kind in ("note", "op time")]
    for title, changes in (("worse", result.regressions), ("better", better), ("beside", beside)):
        _print_changes(title, changes, out)
    word = "passed" if result.passed else f"FAILED: {len(result.regressions)} regressions"
    say(out, f"\n{word}; {result.runs} runs compared, threshold {100 * result.threshold:.3g} %")


def _print_changes(title: str, changes: Sequence[Change], out: Console) -> None:
    run = None
    if changes:
        say(out, f"\n{title}:")
    for change in changes:
        if change.run != run:
            run = change.run
            say(out, f"  {run}")
        say(out, f"    {change.what}: {change.text}")


def comparison_cases(comparison: Comparison) -> list[Case]:
    """A case per verdict: a disagreement fails, what cannot be compared is skipped."""
    return [
        Case(
            group=f"{verdict.platform}.{verdict.operating_point}",
            name=f"{verdict.network or f'all {verdict.n} networks'}: {verdict.metric} {verdict.phase}"
            + (f" against {verdict.a.origin}" if verdict.a is not None else ""),
            status=_STATUS[verdict.outcome],
            message=f"{verdict.outcome}: {verdict.reason}",
        )
        for verdict in (*comparison.verdicts, *comparison.series)
    ]


def gate_cases(result: Gate) -> list[Case]:
    """A case per regression, or a single passed one."""
    failed = [Case(change.run, change.what, "failed", change.text) for change in result.regressions]
    return failed or [Case("gate", f"{result.runs} runs", "passed", "nothing got worse")]


def write_plot(comparison: Comparison, path: Path) -> None:
    """Parity, and difference against size, a row per metric.

    Raises ConfigError where there is nothing to plot, and what ``hil.pictures.picture`` raises.
    """
    judged = [verdict for verdict in comparison.verdicts if verdict.interval is not None]
    metrics = [metric for metric in METRICS if any(verdict.metric == metric for verdict in judged)]
    if not judged:
        raise ConfigError(f"{path}: nothing to plot, no figures are comparable", hint="leave --plot out to see why")
    with picture(path, (11, 4.6 * len(metrics))) as figure:
        axes = figure.subplots(len(metrics), 2, squeeze=False)
        for row, metric in zip(axes, metrics, strict=True):
            _plot_row(row, [verdict for verdict in judged if verdict.metric == metric], comparison, metric)


def _plot_row(axes: Any, verdicts: Sequence[Verdict], comparison: Comparison, metric: Metric) -> None:
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    parity, difference = axes
    for outcome, (colour, marker) in _STYLE.items():
        own = [verdict for verdict in verdicts if verdict.outcome == outcome]
        if not own:
            continue
        style = {"color": colour, "marker": marker, "linestyle": "none", "markersize": 5, "label": outcome}
        a = [verdict.a.value for verdict in own if verdict.a is not None]
        parity.plot(a, [verdict.b.value for verdict in own if verdict.b is not None], **style)
        sizes = [max(v.a.macs, v.b.macs, 1) for v in own if v.a is not None and v.b is not None]
        centres = [100 * verdict.bias for verdict in own if verdict.bias is not None]
        bounds = [(100 * low, 100 * high) for low, high in (v.interval for v in own if v.interval is not None)]
        down = [centre - low for centre, (low, _) in zip(centres, bounds, strict=True)]
        up = [min(high - centre, 1e4) for centre, (_, high) in zip(centres, bounds, strict=True)]
        difference.errorbar(sizes, centres, yerr=[down, up], elinewidth=0.7, **style)
    values = [reading.value for verdict in verdicts for reading in (verdict.a, verdict.b) if reading is not None]
    ends = [min(values), max(values)]
    widest = max(verdict.tolerance.value for verdict in verdicts)
    parity.plot(ends, ends, color="0.5", linewidth=0.8)
    parity.fill_between(ends, [v / (1 + widest) for v in ends], [v * (1 + widest) for v in ends], color="0.9", zorder=0)
    unit = UNITS[metric]
    if ends[1] > 3 * ends[0]:
        parity.set(xscale="log", yscale="log")
        for axis in (parity.xaxis, parity.yaxis):
            axis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
            axis.set_minor_formatter(NullFormatter())
    for axis in (parity.xaxis, parity.yaxis):
        axis.set_major_formatter(EngFormatter(unit))
    parity.set(xlabel=f"A: {metric}", ylabel=f"B: {metric}")
    parity.set_title(f"A: {Path(comparison.a).name}, B: {Path(comparison.b).name}", fontsize=10, parse_math=False)
    parity.legend(fontsize=8)
    difference.axhline(0.0, color="0.5", linewidth=0.8)
    difference.axhspan(-100 * widest / (1 + widest), 100 * widest, color="0.9", zorder=0)
    difference.set(xscale="log", xlabel="MACs", ylabel="B against A (%)")
    difference.set_title(f"{metric} against size; grey: tolerance, {100 * widest:.3g} %", fontsize=10)
