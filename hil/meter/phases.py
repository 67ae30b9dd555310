"""Phase windows from a file: a CSV with ``name,start_s,end_s`` and, where it has it, ``inferences``."""

from __future__ import annotations

import csv
from pathlib import Path

from hil.meter.energy import PhaseWindow
from hil.meter.errors import FormatError

IDLE = "idle"
_NEEDED = {"name", "start_s", "end_s"}
_HINT = "a CSV with the columns name,start_s,end_s[,inferences]; rows named idle are what is subtracted"


def read_phases(path: Path) -> tuple[list[PhaseWindow], list[PhaseWindow]]:
    """Windows of work, and windows of idle, in the file's order.  Raises FormatError."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if not set(reader.fieldnames or ()) >= _NEEDED:
                raise FormatError(f"{path}: columns {', '.join(reader.fieldnames or ()) or 'none'}", hint=_HINT)
            windows = [_window(path, reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f"{path}: cannot be read: {error}", hint=_HINT) from error
    work = [window for window in windows if window.name != IDLE]
    if not work:
        raise FormatError(f"{path}: no phase", hint=_HINT)
    return work, [window for window in windows if window.name == IDLE]


def _window(path: Path, line: int, row: dict[str, str]) -> PhaseWindow:
    try:
        window = PhaseWindow(
            row["name"].strip(), float(row["start_s"]), float(row["end_s"]), int(row.get("inferences") or 1)
        )
    except (TypeError, ValueError, AttributeError) as error:
        raise FormatError(f"{path}: line {line}: {error}", hint=_HINT) from error
    if not window.name or not window.start_s < window.end_s or window.inferences < 1:
        raise FormatError(f"{path}: line {line}: '{window.name}' from {window.start_s} to {window.end_s}", hint=_HINT)
    return window
