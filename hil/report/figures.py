"""Figures as people read them: value, unit, interval, fidelity."""

from __future__ import annotations

import math
from typing import NamedTuple

from hil.backend.run import Fidelity, Interval
from hil.report.markup import Html, join, tag
from hil.units import format_bytes, format_si

_FACTORS = {"p": 1e-12, "n": 1e-9, "µ": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}


class FidelityWords(NamedTuple):
    """How a fidelity is shown: a sign that reads without colour, and what it means."""

    sign: str
    meaning: str


FIDELITY_WORDS: dict[Fidelity, FidelityWords] = {
    "measured": FidelityWords("●", "read from a board, with a meter where energy is given"),
    "emulated": FidelityWords(
        "◕", "the firmware ran on an emulated board in virtual time; the cost model gave the NPU's time"
    ),
    "calibrated": FidelityWords("◑", "a cost model whose parameters were fitted to measurements"),
    "estimated": FidelityWords(
        "○", "a cost model on priors only: data sheets and assumptions, no measurement was fitted"
    ),
}

# How the last part of a figure's key tells its unit; the longest ending wins.
_UNIT_BY_ENDING = {
    "_hz": "Hz",
    "_bytes": "B",
    "_w": "W",
    "_s": "s",
    "_v": "V",
    "_j": "J",
    "_cycles": "cycles",
    "_cycles_per_byte": "cycles/B",
    "_cycles_per_value": "cycles/value",
    "_macs_per_cycle": "MAC/cycle",
    "_bytes_per_cycle": "B/cycle",
    "_energy_per_cycle_j": "J/cycle",
    "energy_per_mac_j": "J/MAC",
    "energy_per_byte_j": "J/B",
}


def badge(fidelity: Fidelity, *, short: bool = False) -> Html:
    words = FIDELITY_WORDS[fidelity]
    text = words.sign if short else f"{words.sign} {fidelity}"
    kind = f"badge {fidelity}" + (" short" if short else "")
    return tag("span", text, class_=kind, title=f"{fidelity}: {words.meaning}")


def interval_text(figure: Interval, unit: str) -> str:
    """Value and interval in one line: ``2.59 ms (2.31–2.90 ms)``."""
    if figure.low == figure.high:
        return format_si(figure.mean, unit)
    return f"{format_si(figure.mean, unit)} ({_bounds(figure, unit)})"


def interval_cell(figure: Interval | None, unit: str) -> Html:
    """Value over interval, for a table cell; a dash where it is unknown."""
    if figure is None:
        return tag("span", "–", class_="none")
    exact = figure.low == figure.high
    return join((tag("b", format_si(figure.mean, unit)), Html("") if exact else tag("i", _bounds(figure, unit))))


def _bounds(figure: Interval, unit: str) -> str:
    """Both bounds under one prefix where they are near enough, else each under its own."""
    low, high = figure.low, figure.high
    if not (math.isfinite(low) and math.isfinite(high)) or low <= 0 or high / low > 1000:
        return f"{format_si(low, unit)} – {format_si(high, unit)}"
    shown = format_si(high, unit)
    factor = _FACTORS[shown.rpartition(" ")[2].removesuffix(unit)]
    return f"{_three_digits(low / factor)}–{shown}"


def _three_digits(value: float) -> str:
    decimals = max(0, 2 - math.floor(math.log10(value)))
    return f"{value:.{decimals}f}"


def percent(share: float | None) -> str:
    """A share of 1; one decimal where rounding would claim nothing or everything."""
    if share is None:
        return "–"
    decimals = 1 if 0 < share < 0.0995 or 0.99 < share < 1 else 0
    return f"{100 * share:.{decimals}f} %"


def duration_text(seconds: float) -> str:
    """A long time in days or years, a short one with an SI prefix."""
    for length, word in ((365.25 * 86400, "years"), (86400, "days"), (3600, "hours")):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {word}" if math.isfinite(seconds) else "unlimited"
    return format_si(seconds, "s")


def keyed_figure(key: str, value: float) -> str:
    """A figure of the platform file, with the unit that its dotted key tells: the last part, or the table's name."""
    parts = key.split(".")
    endings = [ending for part in parts[-2:] for ending in sorted(_UNIT_BY_ENDING, key=len) if part.endswith(ending)]
    unit = _UNIT_BY_ENDING[endings[-1]] if endings else ""
    if unit == "B":
        return f"{format_bytes(value)} ({value:,.0f} B)" if value >= 1024 else format_bytes(value)
    if "/" in unit and unit[0] != "J" or unit in ("cycles", ""):
        return f"{value:.6g} {unit}".rstrip()
    return format_si(value, unit)
