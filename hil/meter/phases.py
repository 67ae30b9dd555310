"""Phase windows from a file: a CSV with ``name,start_s,end_s`` and, where it has it, ``inferences``.

Rows named ``idle`` are idle.  A benchmark leaves such a file in the folder of each trace, in the meter's time.
"""

from __future__ import annotations

import csv
from pathlib import Path

from hil.meter.energy import PhaseWindow
from hil.meter.errors import FormatError
from hil.meter.trace import WINDOW_GAPS

IDLE = "idle"
BESIDE = "phases.csv"  # in the folder of a trace: its phases
_NEEDED = {"name", "start_s", "end_s"}
_HINT = "a CSV with the columns name,start_s,end_s[,inferences]; rows named idle are what is subtracted"


def phases_beside(trace: Path) -> Path | None:
    """The file of phases that the folder of a trace holds, in the meter's time; None where it holds none, or where its
    run could not be aligned and left a header only."""
    path = trace / BESIDE
    return path if path.is_file() and path.read_bytes().partition(b"\n")[2].strip() else None


def read_phases(path: Path) -> tuple[list[PhaseWindow], list[PhaseWindow]]:
    """Windows of work, and windows of idle, in the file's order.

    Idle, and windows over several inferences, may lack ``WINDOW_GAPS`` of their samples.  Raises FormatError.
    """
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
        name, inferences = row["name"].strip(), int(row.get("inferences") or 1)
        gaps_allowed = WINDOW_GAPS if name == IDLE or inferences > 1 else 0.0
        window = PhaseWindow(name, float(row["start_s"]), float(row["end_s"]), inferences, gaps_allowed)
    except (TypeError, ValueError, AttributeError) as error:
        raise FormatError(f"{path}: line {line}: {error}", hint=_HINT) from error
    if not window.name or not window.start_s < window.end_s or window.inferences < 1:
        raise FormatError(f"{path}: line {line}: '{window.name}' from {window.start_s} to {window.end_s}", hint=_HINT)
    return window
