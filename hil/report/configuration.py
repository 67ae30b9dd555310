"""One configuration of a platform: what every network costs there, where its ops run, and whether it fits."""

from __future__ import annotations

from hil.backend.run import Energy, PhaseFigures, Run
from hil.platform import Platform
from hil.report.figures import badge, duration_text, interval_cell, percent
from hil.report.markup import Html, join, table, tag
from hil.report.origin import provenance
from hil.report.plots import fallback_summary, outside_share
from hil.report.rows import Row
from hil.units import format_bytes, format_si

# A duty table with more lines than this is folded.
_DUTY_LINES = 24
_PHASE_TITLES = {
    "boot": "Boot",
    "npu_init": "NPU init",
    "weight_load": "Weight load",
    "input_load": "Input load",
    "inference": "Inference",
    "output_read": "Output read",
    "post_process": "Post-process",
    "idle": "Idle",
}


def configuration(row: Row, platform: Platform | None) -> Html:
    runs = list(row.runs.values())
    return tag(
        "section",
        tag("h4", "Operating point ", tag("code", row.operating_point), f", backend {row.backend}"),
        tag("p", _operating_point(row, platform), class_="quiet"),
        _time_table(row),
        _energy_table(row),
        _placement_table(row),
        _fallback_list(row),
        _duty_tables(row),
        provenance(runs, list(row.runs)),
    )


def _operating_point(row: Row, platform: Platform | None) -> str:
    """The point's summary with the clocks and supply that the runs used, overrides included."""
    origin = next(iter(row.runs.values())).provenance
    point = platform.operating_points.get(row.operating_point) if platform is not None else None
    parts = [point.summary] if point is not None else []
    parts += [f"{domain} {format_si(clock, 'Hz')}" for domain, clock in origin.clocks_hz.items()]
    if origin.supply_v is not None:
        parts.append(f"supply {format_si(origin.supply_v, 'V')}")
    if origin.overrides:
        parts.append("overridden: " + ", ".join(f"{key} = {value}" for key, value in origin.overrides.items()))
    peak = next((run.peak_macs_per_s for run in row.runs.values() if run.peak_macs_per_s), None)
    if peak is not None:
        parts.append(f"peak {2 * peak / 1e9:.3g} GOPS")
    return " · ".join(parts)


def _network_cell(network: str, run: Run) -> Html:
    """The network's name, its fidelity, and whether its figures are only as if it did fit."""
    unfit = tag("span", "does not fit", class_="unfit", title="; ".join(run.reasons)) if not run.fits else Html("")
    return join((network, badge(run.fidelity, short=True), unfit), " ")


def _part(part: PhaseFigures | None, run: Run, cell: Html) -> Html:
    """A cell, with a badge only where its fidelity is not that of the row."""
    other = part is not None and part.fidelity != run.fidelity
    return join((cell, badge(part.fidelity, short=True))) if part is not None and other else cell


def _phases_seen(row: Row) -> list[str]:
    return [phase for phase in _PHASE_TITLES if any(phase in run.phases for run in row.runs.values())]


def _time_table(row: Row) -> Html:
    phases = _phases_seen(row)
    head = ["Network", "End to end", "Next inference", *(_PHASE_TITLES[phase] for phase in phases)]
    rows = [
        [
            _network_cell(network, run),
            *(
                _part(part, run, interval_cell(part.latency_s if part else None, "s"))
                for part in (run.total, run.steady, *(run.phases.get(phase) for phase in phases))
            ),
        ]
        for network, run in row.runs.items()
    ]
    return table(head, rows, "Time by phase, with 90 % interval", kind="figures")


def _energy_table(row: Row) -> Html:
    runs = row.runs
    if all(run.total.energy_j is None for run in runs.values()):
        return tag("p", "No energy figures.", class_="quiet")
    scope = next(run.total.energy_j.scope for run in runs.values() if run.total.energy_j is not None)
    head = ["Network", "End to end", "Above idle", "Next inference", "NPU init", "Memory I/O", "Inference"]
    head += ["Post-process", "Mean power", "Idle power"]
    rows = [
        [
            _network_cell(network, run),
            _energy_cell(run, run.total.energy_j, scope),
            _energy_cell(run, run.total.energy_above_idle_j, None),
            *(
                _energy_cell(run, part.energy_j if part else None, scope)
                for part in (
                    run.steady,
                    run.phases.get("npu_init"),
                    run.memory_io,
                    run.phases.get("inference"),
                    run.phases.get("post_process"),
                )
            ),
            tag("b", format_si(run.total.power_w, "W")),
            interval_cell(run.idle_power_w, "W"),
        ]
        for network, run in runs.items()
    ]
    return table(head, rows, f"Energy by phase ({scope}), with 90 % interval, and power", kind="figures")


def _energy_cell(run: Run, energy: Energy | None, scope: str | None) -> Html:
    """An energy; a badge where its fidelity is not that of the row, its scope where the caption names another."""
    cell = interval_cell(energy, "J")
    if energy is not None and energy.fidelity not in (None, run.fidelity):
        cell = join((cell, badge(energy.fidelity, short=True)))
    if energy is None or scope is None or energy.scope == scope:
        return cell
    return join((cell, tag("span", energy.scope, class_="unfit")))


def _placement_table(row: Row) -> Html:
    rows = [
        [
            _network_cell(network, run),
            _fit_cell(run),
            _memory_cell(run),
            percent(run.npu_macs / run.network_info.macs if run.network_info.macs else None),
            _count(len(run.fallback_ops), "op"),
            percent(outside_share(run)),
        ]
        for network, run in row.runs.items()
    ]
    head = ["Network", "Fits", "Memory needed", "MACs on the NPU", "Fall-back to CPU", "Time outside the NPU"]
    return table(head, rows, "Placement and memory", kind="words placement")


def _fit_cell(run: Run) -> Html:
    if run.fits:
        return tag("span", "✓ fits", class_="fits")
    return join((tag("span", "does not fit", class_="unfit"), " " + "; ".join(run.reasons)))


def _memory_cell(run: Run) -> Html:
    lines = []
    for use in run.memory.uses:
        capacity = f" of {format_bytes(use.capacity_bytes)}" if use.capacity_bytes is not None else ""
        where = f" ({use.name})" if use.name != use.role else ""
        text = f"{use.role} {format_bytes(use.needed_bytes)}{capacity}{where}"
        lines.append(tag("div", text, class_=None if use.fits else "unfit"))
    memory = run.memory
    totals = f"weights {format_bytes(memory.weight_bytes)}, activations {format_bytes(memory.activation_bytes)}"
    return join(lines) if lines else join((totals,))


def _count(number: int, noun: str) -> str:
    return "none" if number == 0 else f"{number} {noun}{'s' if number > 1 else ''}"


def _fallback_list(row: Row) -> Html:
    """Which ops leave the accelerator and why, networks with the same list together."""
    groups: dict[tuple[tuple[str, str, int], ...], list[str]] = {}
    for network, run in row.runs.items():
        if run.fallback_ops:
            groups.setdefault(tuple(fallback_summary(run.fallback_ops)), []).append(network)
    if not groups:
        return Html("")
    rows = [
        [", ".join(networks) if i == 0 else "", f"{kind} × {count}" if count > 1 else kind, reason or "not stated"]
        for summary, networks in groups.items()
        for i, (kind, reason, count) in enumerate(summary)
    ]
    return table(["Network", "Ops on the CPU", "Why"], rows, "Ops that leave the accelerator", kind="words")


def _duty_tables(row: Row) -> Html:
    """One line per network and state in which to wait between inferences."""
    rows = [
        [
            network if i == 0 else "",
            join((duty.state, " ", tag("span", "least power", class_="fits")) if duty.best else (duty.state,)),
            interval_cell(duty.average_power_w, "W"),
            format_si(duty.energy_per_period_j, "J"),
            format_si(duty.active_s, "s"),
            "again each time" if duty.reloads_weights else "kept",
            duration_text(duty.battery_life_s),
        ]
        for network, run in row.runs.items()
        for i, duty in enumerate(run.duty)
    ]
    if not rows:
        return Html("")
    period = next(run.period_s for run in row.runs.values() if run.duty)
    caption = f"One inference every {format_si(period, 's')}, waiting in a power state"
    head = ["Network", "Waits in", "Average power", "Energy per period", "Active", "Weights", "Battery lasts"]
    content = (table(head, rows, caption, kind="figures"), _too_long(row))
    if len(rows) <= _DUTY_LINES:
        return join(content)
    return tag("details", tag("summary", f"Duty cycle: {caption[0].lower()}{caption[1:]}"), *content)


def _too_long(row: Row) -> Html:
    missing = [network for network, run in row.runs.items() if run.period_s is not None and not run.duty]
    if not missing:
        return Html("")
    return tag("p", f"Longer than the period: {', '.join(missing)}.", class_="quiet")
