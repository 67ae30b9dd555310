"""Plots of an analysis: phases and causes as stacked bars, latency against MACs.  Needs matplotlib (``[plots]``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hil.analyze.causes import CAUSES
from hil.analyze.runs import RunAnalysis
from hil.analyze.scaling import Scaling
from hil.pictures import picture
from hil.plan import END_TO_END

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which colour-blind readers tell apart, and three greys.
_COLOURS = ("#009E73", "#E69F00", "#56B4E9", "#D55E00", "#CC79A7", "#F0E442", "#0072B2", "#555555", "#BBBBBB")
_BAR_INCHES = 0.24


def plot_runs(analyses: Sequence[RunAnalysis], file: Path) -> None:
    """A bar per run: the share of each phase end to end, and of each cause within the inference.

    Raises ConfigError for a suffix that is no picture, UnavailableError without matplotlib.
    """
    with picture(file, (14.0, 2.0 + _BAR_INCHES * len(analyses))) as figure:
        left, right = figure.subplots(1, 2, sharey=True)
        labels = [f"{a.run.network}, {a.run.platform} {a.run.operating_point}" for a in analyses]
        _bars(left, labels, [a.phases for a in analyses], END_TO_END)
        left.set(xlabel="phases: share of the time end to end", yticks=range(len(labels)), yticklabels=labels)
        left.tick_params(axis="y", labelsize=7)
        left.invert_yaxis()
        _bars(right, labels, [_shares(a) for a in analyses], tuple(CAUSES))
        right.set(xlabel="causes: share of the inference time")


def plot_scaling(scaling: Scaling, file: Path) -> None:
    """Latency over MACs with its interval, steps marked, and beside it what makes up the inference at every size.

    Raises as ``plot_runs``.
    """
    with picture(file, (13.0, 5.0)) as figure:
        left, right = figure.subplots(1, 2)
        points = scaling.points
        macs = [point.macs / 1e6 for point in points]
        for name, spans, colour in (
            ("inference", [point.inference_s for point in points], _COLOURS[6]),
            ("end to end", [point.total_s for point in points], _COLOURS[7]),
        ):
            left.plot(macs, [span.mean * 1e3 for span in spans], marker="o", markersize=3, color=colour, label=name)
            low, high = [span.low * 1e3 for span in spans], [span.high * 1e3 for span in spans]
            left.fill_between(macs, low, high, color=colour, alpha=0.15, linewidth=0)
        by_value = {point.value: point for point in points}
        for change in scaling.changes:
            if change.kind == "step":
                point = by_value[change.after]
                text = f"{scaling.axis} {change.before} to {change.after}: {change.cause}"
                where = (point.macs / 1e6, point.inference_s.mean * 1e3)
                left.annotate(text, where, (6, -10), textcoords="offset points", fontsize=7)
        left.set(xlabel="million MACs", ylabel="ms", title=f"{scaling.template} on {scaling.platform}", xlim=0, ylim=0)
        left.legend()
        bottom = [0.0] * len(points)
        where_to = [str(point.value) for point in points]
        for cause, colour in zip(CAUSES, _COLOURS, strict=True):
            heights = [point.causes.seconds[cause] * 1e3 for point in points]
            if any(heights):
                right.bar(where_to, heights, bottom=bottom, color=colour, label=cause)
                bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
        right.set(xlabel=scaling.axis, ylabel="ms", title="Causes behind the inference time")
        right.legend(fontsize=8)


def _shares(analysis: RunAnalysis) -> Mapping[str, float]:
    if analysis.causes is None or analysis.inference_s <= 0:
        return {}
    return {cause: seconds / analysis.inference_s for cause, seconds in analysis.causes.seconds.items()}


def _bars(axes: Axes, labels: Sequence[str], rows: Sequence[Mapping[str, float]], names: Sequence[str]) -> None:
    """Horizontal bars, one per row, stacked by name."""
    left = [0.0] * len(labels)
    for name, colour in zip(names, _COLOURS, strict=False):
        widths = [row.get(name, 0.0) for row in rows]
        axes.barh(range(len(labels)), widths, left=left, color=colour, label=name)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=5, fontsize=7, frameon=False)
