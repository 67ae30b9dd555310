"""What a power meter measured in a benchmark: energy by phase, and what stands behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hil.backend.run import MeterFigures, Run
from hil.report.tables import say
from hil.units import format_si

if TYPE_CHECKING:
    from rich.console import Console


def print_measured(runs: Sequence[Run], out: Console) -> None:
    """A table per run under a meter; nothing for the others."""
    for run in runs:
        if run.meter is not None:
            _print_run(run, run.meter, out)


def _print_run(run: Run, meter: MeterFigures, out: Console) -> None:
    from rich.table import Table

    serial = f" {meter.serial}" if meter.serial else ""
    windows = f"{len(meter.traces)} window{'s' if len(meter.traces) > 1 else ''}"
    say(out, f"\n{run.network} on {run.platform}, energy of one inference at {meter.site} by {meter.model}{serial}:")
    say(out, f"{windows} at {format_si(meter.rate_hz, 'Hz')}; aligned: {meter.alignment}")
    table = Table(box=None, pad_edge=False)
    table.add_column("phase")
    for name in ("time", "energy", "low", "high", "above idle", "power"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("fidelity")
    for name, part in {**run.phases, "total": run.total}.items():
        energy, above = part.energy_j, part.energy_above_idle_j
        if part.latency_s.mean <= 0:
            continue
        joules = [energy.mean, energy.low, energy.high] if energy is not None else [None] * 3
        table.add_row(
            name,
            format_si(part.latency_s.mean, "s"),
            *(format_si(value, "J") if value is not None else "-" for value in joules),
            format_si(above.mean, "J") if above is not None else "-",
            format_si(part.power_w, "W") if part.power_w is not None else "-",
            (energy.fidelity or part.fidelity) if energy is not None else "not measured",
        )
    out.print(table)
    if meter.idle_power_w and meter.idle_drift_w is not None:
        drift = round(meter.idle_drift_w / meter.idle_power_w, 3) + 0.0  # no minus before a zero
        say(out, f"idle: {format_si(meter.idle_power_w, 'W')}, {drift:+.1%} from before to after")
    say(out, f"accuracy: {meter.accuracy}")
    for note in meter.notes:
        say(out, f"note: {note}")
    for trace in meter.traces:
        say(out, f"trace: {trace} (hil meter show)")
