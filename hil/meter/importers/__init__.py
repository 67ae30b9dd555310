"""Traces from files of other tools: the dialect is found from the file, its units become SI here and nowhere else."""

from __future__ import annotations

from pathlib import Path

from hil.errors import did_you_mean
from hil.meter.errors import FormatError
from hil.meter.importers.dialects import DIALECTS, read_dialect
from hil.meter.importers.generic import Columns, read_columns, read_generic
from hil.meter.importers.jls import MAGIC, read_jls
from hil.meter.importers.table import head_of
from hil.meter.store import load_trace
from hil.meter.trace import checked
from hil.meter.types import Trace

__all__ = ["FORMATS", "Columns", "detect", "import_trace", "read_columns"]

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
    site: str = "unknown",
    voltage_v: float | None = None,
    columns: Columns | None = None,
) -> Trace:
    """A trace from a file of any known format; None detects it.

    ``site``: what the current flows into, in the words of a power scope; files do not know it.  ``voltage_v``: the
    supply, for files without a voltage.  ``columns``: the declaration that ``generic`` needs.
    Raises FormatError, TraceError, and UnavailableError where a format's library is missing.
    """
    if not path.exists():
        raise FormatError(f"{path}: no such file")
    if format is not None and format not in FORMATS:
        raise FormatError(f"'{format}' is no trace format", hint=did_you_mean(format, FORMATS))
    name = format or ("generic" if columns is not None else detect(path))
    if name == "trace":
        return load_trace(path)
    if path.is_dir():
        raise FormatError(f"{path}: a folder, expected a file in the format {name}")
    if name == "joulescope-jls":
        return checked(read_jls(path, site, voltage_v))
    if name == "generic":
        if columns is None:
            raise FormatError(f"{path}: 'generic' needs its columns declared", hint="docs/meters.md has an example")
        return checked(read_generic(path, columns, site, voltage_v))
    return checked(read_dialect(path, DIALECTS[name], site, voltage_v))
