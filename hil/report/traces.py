"""Power traces and their energies: a table, and a picture that hides no spike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hil.meter.energy import PhaseEnergy
from hil.meter.trace import Envelope
from hil.pictures import picture
from hil.report.tables import say
from hil.units import format_si

if TYPE_CHECKING:
    from rich.console import Console


def print_energies(found: Mapping[str, PhaseEnergy], alignment: str, out: Console) -> None:
    """Energy of one inference by phase, with its 90 % interval."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("phase")
    for name in ("time", "windows", "energy", "low", "high", "above idle", "power"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, energy in found.items():
        joules = [format_si(value, "J") for value in (energy.mean_j, energy.low_j, energy.high_j)]
        above = format_si(energy.above_idle.mean_j, "J") if energy.above_idle is not None else "-"
        power = format_si(energy.power_w, "W")
        table.add_row(name, format_si(energy.duration_s, "s"), str(energy.windows), *joules, above, power)
    out.print(table)
    site = next(iter(found.values())).site
    say(out, f"energy of one inference at {site}, 90 % interval; aligned: {alignment}")


def write_trace_plot(shape: Envelope, phases: Sequence[tuple[str, float, float]], site: str, path: Path) -> None:
    """Power over time: the band from the lowest to the highest sample of each column, and its mean; phases behind it.

    Raises what ``hil.pictures.picture`` raises.
    """
    with picture(path, (10.0, 3.5)) as figure:
        axes = figure.subplots()
        axes.fill_between(shape.t_s, shape.low * 1e3, shape.high * 1e3, step="mid", alpha=0.4, linewidth=0)
        axes.plot(shape.t_s, shape.mean * 1e3, linewidth=0.8)
        for number, (name, start_s, end_s) in enumerate(phases):
            axes.axvspan(start_s, end_s, alpha=0.12, color=f"C{number % 10}")
            middle = ((start_s + end_s) / 2, 0.98)
            axes.annotate(name, middle, xycoords=("data", "axes fraction"), ha="center", va="top")
        axes.set(xlabel="time, s (meter)", ylabel=f"power, mW ({site})")
        axes.set_ylim(bottom=0)
