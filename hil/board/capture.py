"""Raw captures of links: written always, readable by people, and played back as a board.

A capture is a JSON-lines file: a header, then one record per read, write or event (``docs/protocol.md``).  Every record
is handed to the system at once: a process that is killed loses nothing that it recorded.
"""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Literal

from hil.board.clock import Clock, MonotonicClock
from hil.board.codec import COMMAND_END, LINE_END, LineSplitter
from hil.board.errors import LinkLost
from hil.board.link import Link
from hil.errors import LinkError

SCHEMA = 1
Direction = Literal["in", "out", "event"]
Mode = Literal["performance", "energy"]
_OPENED, _WRITTEN, _FAILED, _LOST_READING, _LOST_WRITING = (
    "opened",
    "written",
    "open failed: ",
    "lost while reading: ",
    "lost while writing: ",
)
_SLOW_WRITE_NS = 1_000_000


@dataclass(frozen=True)
class Header:
    """The first line.  ``t_ns`` of the records count from ``started``.

    ``limits`` and ``mode`` are the session's (``hil.board.session``): with others a replay would go elsewhere.
    """

    schema: int
    port: str
    host: str
    baud: int
    started: str
    limits: Mapping[str, float] = field(default_factory=dict)
    mode: Mode = "performance"


@dataclass(frozen=True)
class Record:
    """``in``: bytes from the board (none: a read that ran into its timeout); ``out``: to it; ``event``: a text."""

    t_ns: int
    dir: Direction
    data: bytes = b""
    text: str = ""


@dataclass(frozen=True)
class Recording:
    """A capture that was read back."""

    header: Header
    records: tuple[Record, ...]
    truncated: bool = False

    def bytes_of(self, direction: Direction) -> bytes:
        """Everything that went that way."""
        return b"".join(record.data for record in self.records if record.dir == direction)


class Capture:
    """A capture being written.  Raises LinkError where the file cannot be."""

    def __init__(
        self,
        path: Path,
        *,
        port: str,
        baud: int,
        limits: Mapping[str, float] | None = None,
        clock: Clock | None = None,
        mode: Mode = "performance",
    ) -> None:
        self.path = path
        self._clock = clock or MonotonicClock()
        self._start_s = self._clock.now_s()
        self._last_ns = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] = path.open("wb", buffering=0)
        except OSError as error:
            raise LinkError(f"{path}: cannot be written: {error.strerror}", hint="choose another folder") from error
        started = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._write(asdict(Header(SCHEMA, port, platform.node(), baud, started, dict(limits or {}), mode)))

    def record(self, direction: Direction, data: bytes = b"", text: str = "") -> None:
        """Append a record with the time of now."""
        t_ns = round((self._clock.now_s() - self._start_s) * 1e9)
        content = {"text": text} if direction == "event" else {"hex": data.hex()}
        self._last_ns = t_ns
        self._write({"t_ns": t_ns, "dir": direction, **content})

    def written(self) -> None:
        """Note the end of a write that took its time: what the session waits for from there on has its deadline."""
        if (self._clock.now_s() - self._start_s) * 1e9 - self._last_ns > _SLOW_WRITE_NS:
            self.record("event", text=_WRITTEN)

    def close(self) -> None:
        """May be called more than once."""
        self._file.close()

    def _write(self, document: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps(document, separators=(",", ":")).encode() + b"\n")
        except (OSError, ValueError) as error:
            raise LinkError(f"{self.path}: the capture cannot be written: {error}", hint="make room") from error


def captures_dir() -> Path:
    """Where captures go that were given no name: ``$HIL_CACHE``, else the user's cache folder."""
    own = os.environ.get("HIL_CACHE")
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(own) if own else (Path(base) if base else Path.home() / ".cache") / "hil") / "captures"


def new_capture_path(name: str, folder: Path | None = None) -> Path:
    """A file that no capture has: time, process and a name, such as the port; in ``captures_dir()`` by default."""
    time = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    file = f"{time}-{os.getpid()}-{re.sub(r'[^A-Za-z0-9-]+', '_', name).strip('_')[:80]}.jsonl"
    return (folder or captures_dir()) / file


class RecordingLink:
    """A link whose traffic goes into a capture.  What is to be written is recorded before it is."""

    def __init__(self, link: Link, capture: Capture) -> None:
        self.name = link.name
        self._link = link
        self._capture = capture

    def read(self, max_bytes: int, timeout_s: float) -> bytes:
        try:
            data = self._link.read(max_bytes, timeout_s)
        except LinkLost as error:
            self._capture.record("event", text=_LOST_READING + error.message)
            raise
        self._capture.record("in", data)
        return data

    def write(self, data: bytes) -> None:
        self._capture.record("out", data)
        try:
            self._link.write(data)
        except LinkLost as error:
            self._capture.record("event", text=_LOST_WRITING + error.message)
            raise
        self._capture.written()

    def close(self) -> None:
        self._link.close()


def recorded(open_link: Callable[[], Link], capture: Capture) -> Callable[[], Link]:
    """An opener whose links, and failures to open, go into the capture."""

    def opener() -> Link:
        try:
            link = open_link()
        except LinkError as error:
            capture.record("event", text=_FAILED + error.message)
            raise
        capture.record("event", text=_OPENED)
        return RecordingLink(link, capture)

    return opener


def is_capture(path: Path) -> bool:
    """Whether the file starts like a capture; a log of another runner is text."""
    with path.open("rb") as file:
        return file.read(1) == b"{"


def read_capture(path: Path) -> Recording:
    """Read a capture back.  A last line that was cut off is left out; anything else wrong raises LinkError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LinkError(f"{path}: cannot be read: {error.strerror}") from error
    whole, _, rest = data.rpartition(b"\n")
    lines = whole.split(b"\n") if whole else []
    if not lines:
        raise LinkError(f"{path}: not a capture: no header", hint="docs/protocol.md describes captures")
    header = _parse(path, 1, lines[0], _header)
    records = tuple(_parse(path, number, line, _record) for number, line in enumerate(lines[1:], start=2))
    return Recording(header, records, truncated=bool(rest))


def _parse(path: Path, number: int, line: bytes, make: Callable[[Any], Any]) -> Any:
    try:
        return make(json.loads(line))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise LinkError(
            f"{path}:{number}: not a line of a capture: {line[:40]!r}", hint="docs/protocol.md describes captures"
        ) from error


def _header(document: Any) -> Header:
    if document["schema"] != SCHEMA:
        raise ValueError
    limits = {str(name): float(value) for name, value in document.get("limits", {}).items()}
    port, host, started = (str(document[name]) for name in ("port", "host", "started"))
    mode: Mode = "energy" if document.get("mode") == "energy" else "performance"
    return Header(SCHEMA, port, host, int(document["baud"]), started, limits, mode)


def _record(document: Any) -> Record:
    t_ns, direction = int(document["t_ns"]), document["dir"]
    if direction == "event":
        return Record(t_ns, "event", text=str(document["text"]))
    if direction not in ("in", "out"):
        raise ValueError
    return Record(t_ns, direction, bytes.fromhex(document["hex"]))


class ReplayLink:
    """A capture as a board: gives back what was read and insists on what was written.

    It is the session's clock too: ``Session(replay.open, clock=replay)``.  Time is that of the capture; nothing sleeps.
    """

    def __init__(self, recording: Recording) -> None:
        self.name = f"replay of {recording.header.port}"
        self._records = recording.records
        self._next = 0
        self._now_s = 0.0

    def now_s(self) -> float:
        return self._now_s

    def sleep(self, seconds: float) -> None:
        self._now_s += seconds

    def open(self) -> ReplayLink:
        """Open the link as the session did then.  Raises LinkError where it failed then."""
        record = self._take("event", "opens the port")
        if record.text.startswith(_FAILED):
            raise LinkError(record.text.removeprefix(_FAILED))
        if record.text != _OPENED:
            raise self._deviation("opens the port", record)
        return self

    def read(self, max_bytes: int, timeout_s: float) -> bytes:
        self._raise_if_lost(_LOST_READING)
        record = self._take("in", "reads")
        if len(record.data) > max_bytes:
            raise self._deviation(f"reads at most {max_bytes} bytes", record)
        return record.data

    def write(self, data: bytes) -> None:
        record = self._take("out", f"writes {data!r}")
        if record.data != data:
            raise self._deviation(f"writes {data!r}", record)
        self._raise_if_lost(_LOST_WRITING)
        self._event(_WRITTEN)

    def close(self) -> None:
        pass

    @property
    def finished(self) -> bool:
        """Whether everything recorded was played back."""
        return self._next == len(self._records)

    def _raise_if_lost(self, how: str) -> None:
        event = self._event(how)
        if event is not None:
            raise LinkLost(event.removeprefix(how))

    def _event(self, begin: str) -> str | None:
        """Take the next record where it is an event of that kind; its text."""
        record = self._records[self._next] if not self.finished else None
        if record is None or record.dir != "event" or not record.text.startswith(begin):
            return None
        return self._take("event", begin).text

    def _take(self, direction: Direction, what: str) -> Record:
        if self.finished:
            raise LinkError(f"{self.name}: the host {what} after the end of the capture", hint=_DEVIATION_HINT)
        record = self._records[self._next]
        if record.dir != direction:
            raise self._deviation(what, record)
        self._next += 1
        self._now_s = max(self._now_s, record.t_ns / 1e9)
        return record

    def _deviation(self, what: str, record: Record) -> LinkError:
        number = self._records.index(record, max(0, self._next - 1)) + 2  # line of the file
        then = {"in": "the board sent", "out": "the host wrote", "event": "there was"}[record.dir]
        shown = record.text if record.dir == "event" else repr(record.data)
        return LinkError(
            f"{self.name}: line {number}: the host {what:.100}, but {then} {shown:.100} then", hint=_DEVIATION_HINT
        )


_DEVIATION_HINT = "a capture can only be replayed with the request that it was made with"

# --- for people -----------------------------------------------------------------------------------------------------


def transcript(recording: Recording) -> str:
    """The capture as text: seconds, ``>`` to the board, ``<`` from it, ``!`` an event."""
    return "".join(f"{t_s:10.3f} {mark} {text}\n" for t_s, mark, text in _spoken(recording.records))


def _spoken(records: Sequence[Record]) -> Iterator[tuple[float, str, str]]:
    incoming, outgoing = LineSplitter(), bytearray()
    for record in records:
        t_s = record.t_ns / 1e9
        if record.dir == "event":
            yield t_s, "!", record.text
        elif record.dir == "in":
            yield from ((t_s, "<", line.text) for line in incoming.feed(record.data))
        else:
            outgoing += record.data
            *commands, rest = bytes(outgoing).split(COMMAND_END)
            outgoing[:] = rest
            yield from ((t_s, ">", ascii(command.decode("latin-1"))[1:-1] + "%") for command in commands)
    if (line := incoming.take()) is not None:
        yield records[-1].t_ns / 1e9, "<", f"{line.text} (no line end)"


_TRANSCRIPT_LINE = re.compile(r"\s*(?:\d+(?:\.\d+)?\s+)?(?:([<>!])\s)?\s*(?:\[dut\]:\s*)?(.*?)\s*")


def import_transcript(text: str, port: str = "transcript") -> Recording:
    """A session that somebody else logged as text.

    A line that ends with ``%`` is a command, any other an answer.  Leading seconds, ``<``, ``>`` and the ``[dut]:`` of
    the MLPerf Tiny runner may be there.  Times are unknown and count up.  Raises LinkError where no command is in it.
    """
    records = [Record(0, "event", text=_OPENED)]
    for line in text.splitlines():
        match = _TRANSCRIPT_LINE.fullmatch(line)
        mark, said = (match[1], match[2]) if match is not None else (None, "")
        if not said or mark == "!":
            continue
        to_board = mark == ">" or (mark is None and said.endswith("%"))
        data = said.rstrip("%").encode() + COMMAND_END if to_board else said.encode() + LINE_END
        records.append(Record(len(records), "out" if to_board else "in", data))
    if not any(record.dir == "out" for record in records):
        raise LinkError(f"{port}: no command in this transcript", hint="commands end with %")
    return Recording(Header(SCHEMA, port, "unknown", 0, "unknown"), tuple(records))
