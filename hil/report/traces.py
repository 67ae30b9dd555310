"""Power traces and their energies: a table, and a picture that hides no spike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import hypot
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hil.meter.accuracy import Accuracy, ResistorReading, StoredCheck
from hil.meter.energy import PhaseEnergy
from hil.meter.trace import Envelope
from hil.pictures import picture
from hil.report.tables import say
from hil.units import format_si

if TYPE_CHECKING:
    from rich.console import Console

_LEVELS = " ▁▂▃▄▅▆▇█"
_FULL = len(_LEVELS) - 1


def print_energies(found: Mapping[str, PhaseEnergy], alignment: str, out: Console) -> None:
    """Energy of one inference by phase, with its 90 % interval."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("phase")
    for name in ("time", "windows", "energy", "low", "high", "above idle", "power"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, energy in found.items():
        table.add_row(name, format_si(energy.duration_s, "s"), str(energy.windows), *_figures(energy))
    out.print(table)
    site = next(iter(found.values())).site
    say(out, f"energy of one inference at {site}, 90 % interval")
    say(out, f"aligned: {alignment}")


def print_rails(total: Mapping[str, PhaseEnergy], rails: Sequence[Mapping[str, PhaseEnergy]], out: Console) -> None:
    """Energy of one inference by phase: each rail, and their sum below."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("phase", "site"):
        table.add_column(name)
    for name in ("time", "energy", "low", "high", "above idle", "power"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, whole in total.items():
        for part in (*(rail[name] for rail in rails), whole):
            first = part is (rails[0][name] if rails else whole)
            table.add_row(name if first else "", part.site, format_si(part.duration_s, "s"), *_figures(part))
    out.print(table)
    if total:
        say(out, f"energy of one inference, 90 % interval; {next(iter(total.values())).site} is the sum of its rails")


def _figures(energy: PhaseEnergy) -> list[str]:
    joules = [format_si(value, "J") for value in (energy.mean_j, energy.low_j, energy.high_j)]
    above = format_si(energy.above_idle.mean_j, "J") if energy.above_idle is not None else "-"
    return [*joules, above, format_si(energy.power_w, "W")]


def print_check(check: StoredCheck, readings: Sequence[ResistorReading], out: Console) -> None:
    """Readings against known resistors, and what they gave."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("resistor", "voltage", "true current", "reading", "±", "reading is off by"):
        table.add_column(name, justify="right", no_wrap=True)
    for reading in readings:
        table.add_row(
            format_si(reading.resistance_ohm, "ohm"),
            format_si(reading.voltage_v, "V", 4),
            format_si(reading.true_a, "A", 4),
            format_si(reading.current_a, "A", 4),
            format_si(reading.current_sd_a, "A", 2),
            f"{reading.current_a / reading.true_a - 1:+.2%}",
        )
    out.print(table)
    say(out, f"{check.model}, serial {check.serial}; hil bench and hil energy use this from now on:")
    say(out, describe_accuracy(check.accuracy, check.date))
    say(out, f"stored: {check.path}")


def describe_accuracy(accuracy: Accuracy, date: str = "") -> str:
    """One line: where it comes from, what is corrected, and what remains, as standard uncertainties."""
    when = f", {date[:10]}" if date else ""
    parts = [accuracy.source + when]
    if accuracy.gain != 1.0:
        parts.append(f"gain {accuracy.gain:.4f}")
    if accuracy.offset_a or accuracy.offset_sd_a:
        parts.append(f"offset {format_si(accuracy.offset_a, 'A')} ± {format_si(accuracy.offset_sd_a, 'A', 2)}")
    return f"{'; '.join(parts)}; power ± {100 * hypot(accuracy.gain_sd, accuracy.voltage_sd):.2g} %"


def print_sketch(shape: Envelope, phases: Sequence[tuple[str, float, float]], columns: int, out: Console) -> None:
    """Power over time in characters: the highest and the mean of each column, and phases below.

    Nothing where the terminal has no characters for it.
    """
    try:
        _LEVELS.encode(out.encoding)
    except (LookupError, UnicodeEncodeError):
        return
    top = float(shape.high.max())
    if top <= 0 or len(shape.t_s) < 2:
        return
    # Times are the middles of columns.
    column_s = float(np.diff(shape.t_s).min())
    begin_s = float(shape.t_s[0]) - column_s / 2

    def at(t_s: float) -> int:
        return min(max(round((t_s - begin_s) / column_s), 0), columns)

    say(out, f"power over {format_si(column_s * columns, 's')}, highest {format_si(top, 'W')}")
    for name, values in (("highest", shape.high), ("mean", shape.mean)):
        line = [" "] * columns
        for t_s, value in zip(shape.t_s, values, strict=True):
            line[min(int((t_s - begin_s) / column_s), columns - 1)] = _LEVELS[round(max(value, 0.0) / top * _FULL)]
        say(out, f"{name:8}|{''.join(line)}|")
    if phases:
        line = [" "] * columns
        for name, start_s, end_s in phases:
            width = at(end_s) - at(start_s)
            line[at(start_s) : at(end_s)] = f"{'|' + name:-<{width}}"[:width]
        say(out, f"{'phases':8}|{''.join(line)}|")


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
