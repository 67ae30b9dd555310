"""Traces from files of other tools: the dialect is found from the file, its units become SI here and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hil.errors import did_you_mean
from hil.meter.energy import same_site
from hil.meter.errors import FormatError, ScopeError, SettingError
from hil.meter.importers.dialects import DIALECTS, read_dialect
from hil.meter.importers.generic import Columns, read_columns, read_generic
from hil.meter.importers.jls import MAGIC, read_jls
from hil.meter.importers.table import head_of
from hil.meter.store import load_trace
from hil.meter.trace import checked
from hil.meter.types import Trace

__all__ = ["FORMATS", "Columns", "detect", "import_trace", "read_columns"]

UNKNOWN = "unknown"  # the site of a file that does not know it
_SAME, _NEAR = 1e-6, 0.05  # how far a voltage may be from the trace's: from the constant one, from the mean of a column
FORMATS = ("trace", "joulescope-jls", *DIALECTS, "generic")


def detect(path: Path) -> str:
    """The format of a file.  Raises FormatError that lists the candidates where none or several fit."""
    if path.is_dir():
        return "trace"
    head = head_of(path)
    if head.startswith(MAGIC):
        return "joulescope-jls"
    found = [name for name, dialect in DIALECTS.items() if dialect.recognises(path, head)]
    if len(found) == 1:
        return found[0]
    if found:
        raise FormatError(f"{path}: could be {' or '.join(found)}", hint="say which one it is")
    first = next(iter(head.decode("utf-8", "replace").splitlines()), "")
    raise FormatError(
        f"{path}: no known format; it starts with '{first:.60}'",
        hint=f"known: {', '.join(FORMATS)}; 'generic' takes any table whose columns and units are declared",
    )


def import_trace(
    path: Path,
    format: str | None = None,
    *,
    site: str = UNKNOWN,
    voltage_v: float | None = None,
    columns: Columns | None = None,
) -> Trace:
    """A trace from a file of any known format; None detects it.

    ``site``: what the current flows into, in the words of a power scope; files do not know it.  ``voltage_v``: the
    supply, for files without a voltage.  ``columns``: the declaration that ``generic`` needs.  A trace of hil knows its
    site and voltage: to say another is an error.
    Raises FormatError, TraceError, ScopeError, SettingError, and UnavailableError where a format's library is missing.
    """
    if not path.exists():
        raise FormatError(f"{path}: no such file")
    if format is not None and format not in FORMATS:
        raise FormatError(f"'{format}' is no trace format", hint=did_you_mean(format, FORMATS))
    name = format or ("generic" if columns is not None else detect(path))
    if name == "trace":
        trace = load_trace(path)
        _require_same(path, trace, site, voltage_v)
        return trace
    if path.is_dir():
        raise FormatError(f"{path}: a folder, expected a file in the format {name}")
    if name == "joulescope-jls":
        return checked(read_jls(path, site, voltage_v))
    if name == "generic":
        if columns is None:
            raise FormatError(f"{path}: 'generic' needs its columns declared", hint="docs/meters.md has an example")
        return checked(read_generic(path, columns, site, voltage_v))
    return checked(read_dialect(path, DIALECTS[name], site, voltage_v))


def _require_same(path: Path, trace: Trace, site: str, voltage_v: float | None) -> None:
    """Raises ScopeError, SettingError where a trace says another site or voltage than asked for."""
    if site != UNKNOWN and not same_site(site, trace.site):
        raise ScopeError(
            f"{path}: was taken at '{trace.site}', '{site}' asked for",
            hint="leave the site out: it is in the trace",
        )
    if voltage_v is None:
        return
    held_v = float(np.mean(trace.voltage_v, dtype=np.float64))
    near = _NEAR if isinstance(trace.voltage_v, np.ndarray) else _SAME
    if abs(voltage_v - held_v) > near * abs(held_v):
        raise SettingError(
            f"{path}: has a voltage of {held_v:.6g} V, {voltage_v:.6g} V asked for",
            hint="leave the voltage out: it is in the trace",
        )
