"""The text formats of power instruments, as data: how each is recognised and what its columns mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from hil.errors import ConfigError
from hil.meter.errors import FormatError, GapError
from hil.meter.importers.table import (
    bits_of,
    cells_of,
    head_of,
    lines_of,
    make_trace,
    read_columns_at,
    unpack_digits,
)
from hil.meter.types import Float, MeterInfo, Trace
from hil.units import parse_quantity

_MONSOON_HZ = 5000.0
_MONSOON_PARTS = 100  # of samples in one row at most: fewer rows a second are times in another unit
_MONSOON_SLACK = 0.02  # of the rate, by which the host's stamps may be off before samples must have been lost


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a column holds: ``time``, ``current``, ``voltage``, ``power``, ``bit`` (one input), ``digits`` or
    ``digits-reversed`` (eight inputs in one cell, input 0 left or right); and the factor to SI."""

    role: str
    factor: float = 1.0


@dataclass(frozen=True)
class Dialect:
    """One text format.

    ``header`` matches the line with the column names; ``columns`` maps patterns of names to what they mean, the first
    match counts, other columns are ignored.  ``stem`` matches the file name and ``opening`` the first line, where the
    header says too little.
    ``rate`` reads the sampling rate from the lines above the header; ``retime`` corrects the times.
    """

    header: re.Pattern[str]
    columns: Mapping[str, Meaning]
    model: str
    stem: re.Pattern[str] | None = None
    opening: re.Pattern[str] | None = None
    rate: Callable[[list[str]], float | None] = field(default=lambda above: None)
    retime: Callable[[Path, Float], tuple[Float | None, float | None]] = field(
        default=lambda path, time_s: (time_s, None)
    )

    def header_line(self, lines: list[str]) -> int | None:
        return next((index for index, line in enumerate(lines[:64]) if self.header.search(line)), None)

    def recognises(self, path: Path, head: bytes) -> bool:
        lines = lines_of(head)
        named = self.stem is None or self.stem.search(path.stem) is not None
        opened = self.opening is None or (len(lines) > 0 and self.opening.search(lines[0]) is not None)
        return named and opened and self.header_line(lines) is not None


def read_dialect(path: Path, dialect: Dialect, site: str, voltage_v: float | None) -> Trace:
    """A trace from a file of a known dialect.  Raises FormatError, GapError."""
    lines = lines_of(head_of(path))
    at = dialect.header_line(lines)
    if at is None:
        raise FormatError(f"{path}: no header of {dialect.model} in its first lines")
    meanings = [
        (index, meaning)
        for index, cell in enumerate(cells_of(lines[at]))
        if (meaning := next((m for p, m in dialect.columns.items() if re.fullmatch(p, cell, re.IGNORECASE)), None))
    ]
    roles = [meaning.role for _, meaning in meanings]
    for role in ("time", "current", "voltage", "power", "digits"):
        if roles.count(role) > 1:
            raise FormatError(f"{path}: {roles.count(role)} columns of {role}", hint="declare the columns (generic)")
    if not meanings:
        raise FormatError(f"{path}: none of its columns is known", hint="declare the columns (generic)")
    table = read_columns_at(path, at + 1, [index for index, _ in meanings])
    columns = {
        role: table[:, i] * meaning.factor for i, (role, (_, meaning)) in enumerate(zip(roles, meanings, strict=True))
    }
    bits = [table[:, i] for i, role in enumerate(roles) if role == "bit"]
    digital = bits_of(path, bits) if bits else None
    for role in ("digits", "digits-reversed"):
        if role in columns:
            digital = unpack_digits(path, columns[role], lowest_first=role == "digits")
    rate_hz = dialect.rate(lines[:at])
    if "time" in columns and rate_hz is None:
        time_s, rate_hz = dialect.retime(path, columns.pop("time"))
        if time_s is not None:
            columns["time"] = time_s
    return make_trace(
        path,
        columns,
        digital,
        site=site,
        voltage_v=voltage_v,
        rate_hz=rate_hz,
        info=MeterInfo(dialect.model, driver="file"),
    )


def _monsoon_times(path: Path, time_s: Float) -> tuple[None, float]:
    """The stamps are the host's, one per USB packet, seconds whatever the header says.  Samples count: at 5 kHz
    or, with a granularity, a whole part of it.  Raises GapError where the stamps say that samples were lost.
    """
    span_s = float(time_s[-1] - time_s[0]) if np.isfinite(time_s[[0, -1]]).all() else np.nan
    if span_s == 0 or len(time_s) < 2:  # all of one packet
        return None, _MONSOON_HZ
    seen_hz = (len(time_s) - 1) / span_s
    part = max(1, round(_MONSOON_HZ / seen_hz)) if seen_hz > 1 else 0
    if not 1 <= part <= _MONSOON_PARTS or not abs(seen_hz * part / _MONSOON_HZ - 1) < _MONSOON_SLACK:
        raise GapError(
            f"{path}: {len(time_s)} samples in {span_s:.6g} s of the host's time, expected {_MONSOON_HZ:.0f} a second",
            hint="samples were dropped, or the times are not seconds: record again",
        )
    return None, _MONSOON_HZ / part


def _sigrok_rate(above: list[str]) -> float | None:
    """From ``; Samplerate: 10 MHz`` (``Sample rate`` in older files)."""
    for line in above:
        if found := re.fullmatch(r";\s*Sample ?rate:\s*(.+?)\s*", line, re.IGNORECASE):
            try:
                rate_hz = parse_quantity(found[1], "Hz")
            except ConfigError:
                return None
            return rate_hz if rate_hz > 0 else None
    return None


_SECONDS, _AMPERES, _VOLTS, _WATTS = Meaning("time"), Meaning("current"), Meaning("voltage"), Meaning("power")
_MILLI = 1e-3


def _milli(meaning: Meaning) -> Meaning:
    return replace(meaning, factor=_MILLI)


_OTII_COLUMNS = {
    r"time(stamp)?( ?\(s\))?": _SECONDS,
    r"(.*\bmain )?current.*": _AMPERES,
    r"value": _AMPERES,
    r"(.*\bmain )?voltage.*": _VOLTS,
    r"(.*\bmain )?power.*": _WATTS,
    r"(.*\b)?(gpi|digital).*": Meaning("bit"),
}

DIALECTS: dict[str, Dialect] = {
    "ppk2-csv": Dialect(
        header=re.compile(r"^\W*Timestamp ?\(ms\),\s*Current ?\([uµμ]A\)", re.IGNORECASE),
        columns={
            r"timestamp ?\(ms\)": _milli(_SECONDS),
            r"current ?\([uµμ]a\)": Meaning("current", 1e-6),
            r"bits": Meaning("digits-reversed"),
            r"d0-d7": Meaning("digits"),
            r"d[0-7]": Meaning("bit"),
        },
        model="PPK2",
    ),
    "joulescope-csv": Dialect(
        header=re.compile(r"^#?time,current,voltage(,power(,charge,energy)?)?\s*$", re.IGNORECASE),
        columns={r"#?time": _SECONDS, "current": _AMPERES, "voltage": _VOLTS, "power": _WATTS},
        model="Joulescope",
    ),
    "otii-csv": Dialect(
        header=re.compile(r"^\W*time(stamp)?( ?\(s\))?\W*,.*\bmain (current|power)", re.IGNORECASE),
        columns=_OTII_COLUMNS,
        model="Otii",
    ),
    "otii-channel-csv": Dialect(
        header=re.compile(r"^\W*timestamp\W*,\W*value\W*$", re.IGNORECASE),
        columns=_OTII_COLUMNS,
        model="Otii",
        stem=re.compile(r"\bmain current\b", re.IGNORECASE),
    ),
    "monsoon-csv": Dialect(
        header=re.compile(r"^\W*Time\((ms|s)\),\s*Main\(mA\)", re.IGNORECASE),
        columns={
            r"time\((ms|s)\)": _SECONDS,
            r"main\(ma\)": _milli(_AMPERES),
            r"main voltage\(v\)": _VOLTS,
        },
        model="Monsoon",
        retime=_monsoon_times,
    ),
    "powertool-csv": Dialect(
        header=re.compile(r"^\W*Time \(s\),.*Main Avg (Current \(mA\)|Power \(mW\))", re.IGNORECASE),
        columns={
            r"time \(s\)": _SECONDS,
            r"main avg current \(ma\)": _milli(_AMPERES),
            r"main avg voltage \(v\)": _VOLTS,
            r"main avg power \(mw\)": _milli(_WATTS),
        },
        model="Monsoon",
    ),
    "sigrok-csv": Dialect(
        header=re.compile(r"^(?!;)\D*\b(current|A|mA|uA|W|mW)\b", re.IGNORECASE),
        columns={
            r"(time|seconds)( ?\[?\(?s\]?\)?)?": _SECONDS,
            r"milliseconds": _milli(_SECONDS),
            r"microseconds": Meaning("time", 1e-6),
            r"nanoseconds": Meaning("time", 1e-9),
            r"(.*\bcurrent|A)( \(?A\)?)?( DC)?": _AMPERES,
            r"mA( DC)?": _milli(_AMPERES),
            r"uA( DC)?": Meaning("current", 1e-6),
            r"(.*\bvoltage|V)( \(?V\)?)?( DC)?": _VOLTS,
            r"mV( DC)?": _milli(_VOLTS),
            r"(.*\bpower|W)( \(?W\)?)?": _WATTS,
            r"mW": _milli(_WATTS),
            r"(d\d|logic)": Meaning("bit"),
        },
        model="sigrok",
        opening=re.compile(r"^;.*sigrok", re.IGNORECASE),
        rate=_sigrok_rate,
    ),
}
