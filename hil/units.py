"""Conversion of units at the edges: what people type and what people read.  Inside, everything is SI."""

from __future__ import annotations

import math
import re

from hil.errors import ConfigError, did_you_mean

_PREFIX = {"p": 1e-12, "n": 1e-9, "u": 1e-6, "µ": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
_SCALED_UNITS = ("s", "J", "W", "Hz", "V", "A", "ohm", "Wh", "Ah")
_UNITS: dict[str, tuple[str, float]] = {
    **{prefix + unit: (unit, factor) for unit in _SCALED_UNITS for prefix, factor in _PREFIX.items()},
    "min": ("s", 60.0),
    "h": ("s", 3600.0),
    "B": ("B", 1.0),
    "KiB": ("B", 1024.0),
    "MiB": ("B", 1024.0**2),
    "kB": ("B", 1e3),
    "MB": ("B", 1e6),
    "%": ("%", 0.01),
}
_QUANTITY = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-zµ%]*)\s*")


def parse_quantity(text: str, unit: str) -> float:
    """Read a quantity such as ``1s``, ``30 MHz``, ``225mAh`` or a plain SI number.

    Returns the value in ``unit`` (SI).  Raises ConfigError where the text is not a finite number in that unit.
    """
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ConfigError(f"'{text}' is not a quantity in {unit}", hint=f"write a number and a unit, such as 1m{unit}")
    value, suffix = float(match[1]), match[2]
    if suffix:
        if suffix not in _UNITS:
            raise ConfigError(f"'{text}': unknown unit '{suffix}', expected {unit}", hint=did_you_mean(suffix, _UNITS))
        base, factor = _UNITS[suffix]
        if base != unit:
            raise ConfigError(f"'{text}': '{suffix}' is not a unit of {unit}", hint=f"write it in {unit}")
        value *= factor
    if not math.isfinite(value):
        raise ConfigError(f"'{text}' is not a finite quantity in {unit}")
    return value


def format_si(value: float | None, unit: str, digits: int = 3) -> str:
    """A value with an SI prefix and ``digits`` significant digits: ``2.59 ms``.  ``-`` where it is unknown."""
    if value is None or math.isnan(value):
        return "-"
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}"
    prefixes = {-12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G"}
    exponent = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    thousand = min(9, max(-12, 3 * math.floor(exponent / 3)))
    decimals = max(0, digits - 1 - (exponent - thousand))
    return f"{value / 10.0**thousand:.{decimals}f} {prefixes[thousand]}{unit}"


def format_bytes(count: float | None) -> str:
    """A byte count in B, KiB or MiB: ``432 KiB``."""
    if count is None:
        return "-"
    if count < 1024:
        return f"{count:.0f} B"
    kib = count / 1024
    if kib < 10_000:
        return f"{kib:.0f} KiB" if kib >= 100 else f"{kib:.1f} KiB"
    return f"{kib / 1024:.1f} MiB"


def format_count(count: float) -> str:
    """A large count with a decimal prefix: ``36.2 M``."""
    for limit, suffix in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if abs(count) >= limit:
            return f"{count / limit if limit != 1e4 else count / 1e3:.3g}{suffix}"
    return f"{count:g}"
