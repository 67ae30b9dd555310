"""The page's analysis: what inference time is spent on, against the peak rate, per configuration and network."""

from __future__ import annotations

from collections.abc import Sequence

from hil.analyze import CAUSES, RunAnalysis
from hil.analyze.best import Budget, best_platforms
from hil.report.figures import interval_cell, percent
from hil.report.markup import Html, join, table, tag
from hil.report.rows import Arrangement, Row

_HEADS = {"peak": "At peak rate", "data": "Data ops", "fallback": "On the CPU"}


def analysis_section(arrangement: Arrangement, analyses: Sequence[RunAnalysis]) -> Html:
    """A line per configuration, the same per network folded below, and the Pareto fronts.  Nothing where no plan could
    be made again."""
    by_run = {id(analysis.run): analysis for analysis in analyses}
    groups = [(row, _known(row, by_run)) for row in arrangement.rows]
    groups = [(row, members) for row, members in groups if members]
    if not groups:
        return Html("")
    meanings = (join((tag("dt", _head(name)), tag("dd", meaning))) for name, meaning in CAUSES.items())
    return tag(
        "section",
        tag("h2", "What the inference time is spent on"),
        tag("p", "The inference time of each plan, split by the cost model into causes that add up to it."),
        tag("details", tag("summary", "What the causes mean"), tag("dl", *meanings)),
        _summary(groups),
        *(tag("details", tag("summary", row.label), _networks(members)) for row, members in groups),
        _missing(analyses),
        _fronts(arrangement),
        id="analysis",
    )


def _known(row: Row, by_run: dict[int, RunAnalysis]) -> dict[str, RunAnalysis]:
    found = {network: by_run[id(run)] for network, run in row.runs.items() if id(run) in by_run}
    return {network: analysis for network, analysis in found.items() if analysis.causes is not None}


def _head(cause: str) -> str:
    return _HEADS.get(cause, cause.capitalize())


def _shares(members: Sequence[RunAnalysis]) -> list[str]:
    """The share of each cause in the summed inference time of runs."""
    total = sum(analysis.inference_s for analysis in members)
    seconds = {
        cause: sum(analysis.causes.seconds[cause] for analysis in members if analysis.causes is not None)
        for cause in CAUSES
    }
    return [percent(seconds[cause] / total) if total > 0 and seconds[cause] else "–" for cause in CAUSES]


def _summary(groups: Sequence[tuple[Row, dict[str, RunAnalysis]]]) -> Html:
    rows = [
        [row.label, str(len(members)), _utilization(list(members.values())), *_shares(list(members.values()))]
        for row, members in groups
    ]
    head = ["Platform", "Networks", "Of peak", *(_head(cause) for cause in CAUSES)]
    return table(head, rows, "Causes as a share of the inference time of all networks together", kind="figures")


def _utilization(members: Sequence[RunAnalysis]) -> str:
    """MACs of the accelerator over what it could have done in the inference time of all runs."""
    possible = sum(analysis.inference_s * (analysis.run.peak_macs_per_s or 0.0) for analysis in members)
    return percent(sum(analysis.run.npu_macs for analysis in members) / possible if possible > 0 else None)


def _networks(members: dict[str, RunAnalysis]) -> Html:
    rows = []
    for network, analysis in members.items():
        rate = analysis.achieved_macs_per_s
        rows.append(
            [
                network,
                f"{rate / 1e9:.3g}" if rate is not None else "–",
                percent(analysis.utilization),
                *_shares([analysis]),
                interval_cell(analysis.inferences_per_j, ""),
                _worst(analysis),
            ]
        )
    head = ["Network", "GMAC/s", "Of peak", *(_head(cause) for cause in CAUSES), "Inferences per J", "Most lost at"]
    return table(head, rows, "Per network; inferences per joule with the weights in place", kind="figures")


def _worst(analysis: RunAnalysis) -> str:
    """The op with most of the loss, for the cause that takes most."""
    loss = analysis.causes.main_loss if analysis.causes is not None else None
    text = (analysis.why or {}).get(loss) if loss is not None else None
    return f"{_head(loss)}: {text}" if loss is not None and text else "–"


def _missing(analyses: Sequence[RunAnalysis]) -> Html:
    texts = dict.fromkeys(text for a in analyses for text in (a.missing, *a.notes) if text)
    return tag("ul", *(tag("li", text) for text in texts)) if texts else Html("")


def _fronts(arrangement: Arrangement) -> Html:
    """Per network and energy scope, the platforms that no other beats in both latency and energy end to end."""
    labels = {id(run): row.label for row in arrangement.rows for run in row.runs.values()}
    runs = [run for row in arrangement.rows for run in row.runs.values()]
    rows = []
    for best in best_platforms(runs, Budget()):
        fronts = {scope: members for scope, members in best.fronts.items() if len(members) > 1}
        rows += [
            [best.network, scope, ", ".join(labels[id(run)] for run in members)] for scope, members in fronts.items()
        ]
    if not rows:
        return Html("")
    caption = "Pareto fronts: neither faster nor less energy can be had without more of the other"
    return table(["Network", "Energy covers", "By latency"], rows, caption, kind="words")
