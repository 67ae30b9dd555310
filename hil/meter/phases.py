"""Phase windows from a file: a CSV with ``name,start_s,end_s`` and, where it has them, ``inferences`` and
``border_sd_s`` (how uncertain each border is, one sigma).

Rows named ``idle`` are idle.  A benchmark leaves such a file in the folder of each trace, in the meter's time.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from hil.meter.energy import PhaseWindow
from hil.meter.errors import FormatError
from hil.meter.trace import WINDOW_GAPS

IDLE = "idle"
BESIDE = "phases.csv"  # in the folder of a trace: its phases
_NEEDED = {"name", "start_s", "end_s"}
# Beyond these nothing was measured: lengths, times, and inferences in one window.
_SHORTEST_S, _LONGEST_S, _MOST = 1e-12, 1e12, 10**12
_TOUCH_S = 1e-9  # windows may overlap by the rounding of their borders
COLUMNS = ("name", "start_s", "end_s", "inferences", "border_sd_s")
_HINT = "a CSV with the columns name,start_s,end_s[,inferences,border_sd_s]; rows named idle are what is subtracted"


def phases_beside(trace: Path) -> Path | None:
    """The file of phases that the folder of a trace holds, in the meter's time; None where it holds none, or where its
    run could not be aligned and left a header only.  What is neither is damaged: ``read_phases`` says so."""
    path = trace / BESIDE
    if not path.is_file():
        return None
    lines = path.read_bytes().decode("utf-8-sig", "replace").splitlines()
    empty = not any(line.strip() for line in lines[1:])
    return None if empty and (not lines or set(lines[0].split(",")) >= _NEEDED) else path


def read_phases(path: Path) -> tuple[list[PhaseWindow], list[PhaseWindow]]:
    """Windows of work, and windows of idle, in the file's order.

    Idle, and windows over several inferences, may lack ``WINDOW_GAPS`` of their samples.  Raises FormatError for what
    is no row, and for windows of one name that overlap.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            if not set(reader.fieldnames or ()) >= _NEEDED:
                raise FormatError(f"{path}: columns {', '.join(reader.fieldnames or ()) or 'none'}", hint=_HINT)
            lines = [(reader.line_num, _window(path, reader.line_num, row)) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f"{path}: cannot be read: {error}", hint=_HINT) from error
    _require_apart(path, lines)
    windows = [window for _, window in lines]
    work = [window for window in windows if window.name != IDLE]
    if not work:
        raise FormatError(f"{path}: no phase", hint=_HINT)
    return work, [window for window in windows if window.name == IDLE]


def _require_apart(path: Path, lines: Sequence[tuple[int, PhaseWindow]]) -> None:
    """Windows of one name are repetitions: what lies in two of them would count twice."""
    ordered = sorted(lines, key=lambda line: (line[1].name, line[1].start_s, line[1].end_s))
    for (line, window), (other, after) in pairwise(ordered):
        if after.name == window.name and after.start_s < window.end_s - _TOUCH_S:
            first, second = sorted((line, other))
            raise FormatError(
                f"{path}: lines {first} and {second}: two windows of '{window.name}' overlap, "
                f"{window.start_s:.9g} to {window.end_s:.9g} and {after.start_s:.9g} to {after.end_s:.9g}",
                hint="windows of one name are repetitions; give what lies in another phase a name of its own",
            )


def _window(path: Path, line: int, row: dict[str | None, Any]) -> PhaseWindow:
    try:
        if any(row.get(None, ())):  # cells beyond the header's
            raise ValueError(f"{len(row[None])} cells too many")
        name, inferences = row["name"].strip(), int(row.get("inferences") or 1)
        gaps_allowed = WINDOW_GAPS if name == IDLE or inferences > 1 else 0.0
        start_s, end_s, border_sd_s = float(row["start_s"]), float(row["end_s"]), float(row.get("border_sd_s") or 0.0)
        window = PhaseWindow(name, start_s, end_s, inferences, gaps_allowed, border_sd_s)
    except (TypeError, ValueError, AttributeError) as error:
        said = "no row with a name, a start and an end" if isinstance(error, TypeError | AttributeError) else error
        raise FormatError(f"{path}: line {line}: {said}", hint=_HINT) from error
    if not 1 <= inferences <= _MOST:
        raise FormatError(
            f"{path}: line {line}: '{name}' with {inferences} inferences, expected at least 1", hint=_HINT
        )
    if not (name and start_s >= -_LONGEST_S and end_s <= _LONGEST_S and end_s - start_s >= _SHORTEST_S):
        raise FormatError(f"{path}: line {line}: '{name}' from {start_s} to {end_s}", hint=_HINT)
    if not 0 <= border_sd_s <= _LONGEST_S:
        raise FormatError(f"{path}: line {line}: '{name}' with a border_sd_s of {border_sd_s}", hint=_HINT)
    return window


def phases_csv(windows: Sequence[PhaseWindow]) -> bytes:
    """The content of such a file."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows(
        (w.name, f"{w.start_s:.9f}", f"{w.end_s:.9f}", w.inferences, f"{w.border_sd_s:.3e}") for w in windows
    )
    return text.getvalue().encode()
