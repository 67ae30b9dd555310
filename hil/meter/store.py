"""Traces on disk: a folder with a JSON header and one raw little-endian file per column.

The columns are float32 (times float64, digital inputs one byte), written as they come and memory-mapped when read, so
that a recording of any length takes no memory.  The header is written last, whole: a folder without one is a recording
that was cut off.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from hil.files import unwritable, write_atomic
from hil.meter.errors import FormatError, TraceError
from hil.meter.spool import COLUMN_TYPES, let_go
from hil.meter.trace import CHUNK, checked
from hil.meter.types import Gap, Line, MeterInfo, Trace

SCHEMA = 1
HEADER = "trace.json"


class TraceWriter:
    """Appends samples to a trace folder; the trace exists once ``finish`` was called.

    ``with TraceWriter(path) as writer: writer.append(current_a=…); writer.finish(site=…, dt_s=…)``
    """

    def __init__(self, path: Path) -> None:
        """Makes the folder, and ends a trace that was there.  Raises ResultsError where it cannot be written."""
        self.path = path
        self.samples = 0
        self._files: dict[str, IO[bytes]] = {}
        try:
            path.mkdir(parents=True, exist_ok=True)
            for name in (HEADER, *map(_file, COLUMN_TYPES)):
                (path / name).unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(path, error) from error

    def __enter__(self) -> TraceWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()

    def append(self, **columns: npt.NDArray[Any]) -> None:
        """Samples of every column that the trace has, all of one length; the same columns each time.

        Raises TraceError, ResultsError.
        """
        if "current_a" not in columns or not set(columns) <= set(COLUMN_TYPES):
            raise TraceError(f"columns {', '.join(columns)}: expected current_a and some of {', '.join(COLUMN_TYPES)}")
        if len({len(column) for column in columns.values()}) > 1 or (self._files and set(columns) != set(self._files)):
            raise TraceError("every part of a trace needs the same columns, all of one length")
        try:
            for name, column in columns.items():
                if name not in self._files:
                    self._files[name] = (self.path / _file(name)).open("wb")
                self._files[name].write(np.ascontiguousarray(column, dtype=COLUMN_TYPES[name]).tobytes())
        except OSError as error:
            raise unwritable(self.path, error) from error
        self.samples += len(columns["current_a"])

    def finish(
        self,
        *,
        site: str,
        dt_s: float | None = None,
        t0_s: float = 0.0,
        voltage_v: float | None = None,
        gaps: tuple[Gap, ...] = (),
        clipped: int = 0,
        clipped_at: tuple[tuple[int, int], ...] = (),
        unplaced: int = 0,
        lines: tuple[Line, ...] = (),
        info: MeterInfo | None = None,
        raw: str | None = None,
        notes: tuple[str, ...] = (),
    ) -> Path:
        """Write the header: from now on this is a trace.  ``voltage_v``: where no column holds it."""
        for file in self._files.values():
            file.close()
        header = {
            "schema": SCHEMA,
            "samples": self.samples,
            "columns": sorted(self._files),
            "site": site,
            "dt_s": dt_s,
            "t0_s": t0_s,
            "voltage_v": voltage_v,
            "gaps": [[gap.index, gap.missing] for gap in gaps],
            "clipped": clipped,
            "clipped_at": [list(span) for span in clipped_at],
            "unplaced": unplaced,
            "lines": [[line.t_s, line.text] for line in lines],
            "info": asdict(info or MeterInfo("unknown")),
            "raw": raw,
            "notes": list(notes),
        }
        write_atomic(self.path / HEADER, json.dumps(header, indent=1).encode() + b"\n")
        return self.path


def save_trace(trace: Trace, path: Path) -> Path:
    """Write a trace as a folder.  Raises TraceError, ResultsError."""
    arrays = {name: column for name in COLUMN_TYPES if isinstance(column := getattr(trace, name), np.ndarray)}
    with TraceWriter(path) as writer:
        for start in range(0, len(trace.current_a), CHUNK):
            writer.append(**{name: column[start : start + CHUNK] for name, column in arrays.items()})
            let_go(*arrays.values())
        return writer.finish(
            site=trace.site,
            dt_s=trace.dt_s,
            t0_s=trace.t0_s,
            voltage_v=None if isinstance(trace.voltage_v, np.ndarray) else trace.voltage_v,
            gaps=trace.gaps,
            clipped=trace.clipped,
            clipped_at=trace.clipped_at,
            unplaced=trace.unplaced,
            lines=trace.lines,
            info=trace.info,
            raw=trace.raw,
            notes=trace.notes,
        )


def load_trace(path: Path) -> Trace:
    """A trace folder, its columns memory-mapped.  Raises FormatError, TraceError."""
    if not (path / HEADER).is_file():
        held = path / _file("current_a")
        hint = (
            f"it was cut off after {held.stat().st_size // 4} samples" if held.is_file() else f"expected {HEADER} in it"
        )
        raise FormatError(f"{path}: not a finished trace", hint=hint)
    try:
        header = json.loads((path / HEADER).read_bytes())
        if header["schema"] != SCHEMA:
            raise FormatError(f"{path}: trace schema {header['schema']}, this version reads {SCHEMA}")
        there = (path / _file("current_a")).stat().st_size // np.dtype(COLUMN_TYPES["current_a"]).itemsize
        if not 0 < header["samples"] <= there:
            raise ValueError(f"{header['samples']} samples stated, {there} held")
        columns: dict[str, Any] = {
            name: np.memmap(path / _file(name), dtype=COLUMN_TYPES[name], mode="r", shape=(header["samples"],))
            for name in header["columns"]
        }
        columns.setdefault("voltage_v", header["voltage_v"])
        return checked(
            Trace(
                site=str(header["site"]),
                dt_s=header["dt_s"],
                t0_s=header["t0_s"],
                gaps=tuple(Gap(index, missing) for index, missing in header["gaps"]),
                clipped=header["clipped"],
                clipped_at=tuple((start, stop) for start, stop in header["clipped_at"]),
                unplaced=header.get("unplaced", 0),
                lines=tuple(Line(float(t_s), str(text)) for t_s, text in header.get("lines", ())),
                info=MeterInfo(**header["info"]),
                raw=header["raw"],
                notes=tuple(map(str, header["notes"])),
                **columns,
            )
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise FormatError(f"{path}: not a trace: {error}", hint="record or import it again") from error


def _file(column: str) -> str:
    return f"{column}.raw"
