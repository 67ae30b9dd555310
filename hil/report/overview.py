"""The top of the page: what was run, how sure it is, which platform wins on which network, and the matrix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from hil.backend.run import FIDELITIES, Fidelity, Interval, NetworkFigures, Run
from hil.report.figures import FIDELITY_WORDS, badge, interval_text
from hil.report.markup import Html, join, table, tag
from hil.report.plots import fallback_summary, platform_anchor
from hil.report.rows import Arrangement
from hil.units import format_count, format_si

_NAMED = 4


def header_lines(arrangement: Arrangement, runs: Sequence[Run]) -> Html:
    """What, how many, when, by which version."""
    made = sorted(run.provenance.created.replace("T", " ").replace("+00:00", " UTC") for run in runs)
    when = made[0] if made[0] == made[-1] else f"{made[0]} to {made[-1]}"
    counts = (
        (len(arrangement.networks), "network"),
        (len(arrangement.platforms), "platform"),
        (len(runs), "run"),
        (sum(not run.fits for run in runs), "that does not fit", "that do not fit"),
    )
    what = " · ".join(_plural(*count) for count in counts if count[0])
    versions = ", ".join(sorted({run.provenance.hil_version for run in runs}))
    backends = ", ".join(dict.fromkeys(run.backend for run in runs))
    return join(
        (
            tag("p", what, class_="counts"),
            tag("p", f"Run {when} with hil {versions}, backend {backends}", class_="quiet"),
        )
    )


def fidelity_legend(runs: Sequence[Run]) -> Html:
    """Every fidelity with its meaning; those that this page holds come with their number."""
    counts = Counter(run.fidelity for run in runs)
    items = (
        tag(
            "li",
            badge(name),
            f" {FIDELITY_WORDS[name].meaning}. ",
            tag("span", _plural(counts[name], "run") if counts[name] else "none here", class_="quiet"),
            class_=None if counts[name] else "absent",
        )
        for name in FIDELITIES
    )
    return tag("ul", *items, class_="legend")


def best_section(arrangement: Arrangement) -> Html:
    """Per network: where it fits, the fastest platform, and the least energy within each energy scope.

    Nothing where there is nothing to choose from.
    """
    if len(arrangement.rows) < 2:
        return Html("")
    title = tag("h2", "Best per network")
    return tag("section", title, _fastest_table(arrangement), _energy_table(arrangement), id="best")


def _fastest_table(arrangement: Arrangement) -> Html:
    rows = []
    for network in arrangement.networks:
        runs = _runs(arrangement, network)
        fitting = {label: run for label, run in runs.items() if run.fits}
        rows.append(
            [
                join((network, _size(next(iter(runs.values())).network_info))),
                tag("span", f"{len(fitting)} of {len(runs)}", class_="tight"),
                _winner(fitting, lambda run: run.total.latency_s),
                _winner(fitting, lambda run: run.steady.latency_s),
            ]
        )
    head = ["Network", "Fits on", "Fastest end to end", "Fastest next inference"]
    return table(head, rows, "Fastest, among the platforms on which the network fits", kind="words best")


def _energy_table(arrangement: Arrangement) -> Html:
    """A column per energy scope that several platforms share: energies of different scope are not comparable."""
    labels: dict[str, dict[str, str]] = {}
    for row in arrangement.rows:
        for run in row.runs.values():
            if run.total.energy_j is not None:
                labels.setdefault(run.total.energy_j.scope, {})[row.label] = row.platform
    few = len(arrangement.platforms) == 1
    shared = [scope for scope, members in labels.items() if few or len(set(members.values())) > 1]
    if not shared:
        return tag("p", "No two platforms here state energies that cover the same: there is nothing to compare.")
    rows = [
        [network, *(_least_energy(_runs(arrangement, network), scope) for scope in shared)]
        for network in arrangement.networks
    ]
    head = ["Network", *(f"{scope} ({_plural(len(labels[scope]), 'platform')})" for scope in shared)]
    caption = "Least energy end to end, by what the energy covers: columns do not compare"
    result = table(head, rows, caption, kind="words best")
    lonely = [label for scope, members in labels.items() if scope not in shared for label in members]
    if not lonely:
        return result
    note = f"The energies of {', '.join(lonely)} compare with no other platform’s."
    return join((result, tag("p", note, class_="quiet")))


def _size(info: NetworkFigures) -> Html:
    return tag("small", f"{format_count(info.macs)} MAC, {format_count(info.parameters)} parameters")


def _runs(arrangement: Arrangement, network: str) -> dict[str, Run]:
    return {row.label: row.runs[network] for row in arrangement.rows if network in row.runs}


def matrix(arrangement: Arrangement) -> Html:
    """The matrix as it is without JavaScript: end-to-end latency, reasons in titles.  ``page.js`` takes it over."""
    rows = [
        [
            tag("a", row.label, href=f"#{platform_anchor(row.platform)}"),
            *(_matrix_cell(row.runs.get(network)) for network in arrangement.networks),
        ]
        for row in arrangement.rows
    ]
    return table(["Platform", *arrangement.networks], rows, "End-to-end latency", kind="matrix")


def _matrix_cell(run: Run | None) -> Html:
    if run is None:
        return tag("span", "–", class_="none")
    text = interval_text(run.total.latency_s, "s")
    if not run.fits:
        return tag("span", "no fit", class_="unfit", title=f"{'; '.join(run.reasons)}. As if it did: {text}")
    lines = [f"{text}, {run.total.fidelity}"]
    lines += [f"{kind} × {count} on the CPU: {why}" for kind, why, count in fallback_summary(run.fallback_ops)]
    mark = tag("small", f"{len(run.fallback_ops)} on CPU") if run.fallback_ops else Html("")
    return tag("span", format_si(run.total.latency_s.mean, "s"), mark, title="\n".join(lines))


def _winner(runs: dict[str, Run], figure: Callable[[Run], Interval]) -> Html:
    """The platform with the least mean, and those that the intervals do not tell apart from it."""
    if not runs:
        return tag("span", "fits nowhere", class_="unfit")
    order = sorted(runs, key=lambda label: figure(runs[label]).mean)
    best = runs[order[0]]
    rivals = [label for label in order[1:] if figure(runs[label]).low <= figure(best).high]
    winner = _with_badge(order[0], interval_text(figure(best), "s"), best.total.fidelity)
    if not rivals:
        return winner
    named = ", ".join(rivals[:_NAMED]) + (f" and {len(rivals) - _NAMED} more" if len(rivals) > _NAMED else "")
    return join((winner, tag("div", f"not told apart by the intervals: {named}", class_="quiet")))


def _least_energy(runs: dict[str, Run], scope: str) -> Html:
    energies = {
        label: energy
        for label, run in runs.items()
        if run.fits and (energy := run.total.energy_j) is not None and energy.scope == scope
    }
    if not energies:
        return tag("span", "–", class_="none")
    best = min(energies, key=lambda label: energies[label].mean)
    return _with_badge(best, interval_text(energies[best], "J"), energies[best].fidelity or runs[best].fidelity)


def _with_badge(label: str, value: str, fidelity: Fidelity) -> Html:
    figure = join((value, badge(fidelity, short=True)), " ")
    return join((tag("b", label), tag("span", figure, class_="tight")), " ")


def _plural(number: int, noun: str, plural: str | None = None) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {plural or noun + 's'}"
