"""The DUT protocol, byte by byte and in both directions: commands, answer lines, and where a line ends.

``docs/protocol.md`` is the specification.  Nothing here knows links, time or state.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, ClassVar, NamedTuple, TypeVar

from hil.errors import LinkError

COMMAND_END = b"%"
COMMAND_BYTES = 80  # the board's command buffer, with the terminator
CHUNK_BYTES = 31  # of data in one `db` command: 3 + 62 digits fit the smallest buffer known
BUFFER_LINE_BYTES = 8  # of data in one line of `db print`
OUTPUT_LINE_BYTES = 32  # of data in one line of `outputs`
LINE_BYTES = 1 << 16  # longest line that the host accepts: results of some thousand values fit
BAUD = {"performance": 115_200, "energy": 9_600}
LINE_END = b"\r\n"

# Optional verbs, as `features` names them.
FEATURES = ("phases", "point", "memory", "outputs", "ops", "laps", "borders")

# --- commands -------------------------------------------------------------------------------------------------------


def encode_command(*words: str | int) -> bytes:
    """A command as it goes over the wire.  Raises LinkError where the words do not fit the protocol."""
    text = " ".join(str(word) for word in words)
    if not text or any(not str(word) for word in words) or not text.isascii() or not text.isprintable() or "%" in text:
        raise LinkError(f"'{text!r:.60}' is not a command", hint="printable ASCII words without %")
    if text.count(" ") != len(words) - 1:
        raise LinkError(f"'{text:.60}': a word of a command holds a space", hint="give the words one by one")
    if len(text) >= COMMAND_BYTES:
        raise LinkError(f"'{text:.20}…' has {len(text)} characters, a command has at most {COMMAND_BYTES - 1}")
    return text.encode("ascii") + COMMAND_END


def load_commands(data: bytes) -> Iterator[tuple[str, ...]]:
    """The words of the commands that bring ``data`` into the board's input buffer: ``db load``, then ``db HEX``."""
    yield ("db", "load", str(len(data)))
    for start in range(0, len(data), CHUNK_BYTES):
        yield ("db", data[start : start + CHUNK_BYTES].hex())


class CommandSplitter:
    """The board's command buffer: bytes in, commands out, never more than ``COMMAND_BYTES`` held."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._overlong = False

    def feed(self, data: bytes) -> Iterator[tuple[str, ...] | None]:
        """The words of each command that ``data`` completes; None stands for one that was too long."""
        for byte in data:
            if byte == COMMAND_END[0]:
                words = tuple(_readable(bytes(self._held))[0].split(" "))
                overlong = self._overlong
                self.clear()
                yield None if overlong else tuple(word for word in words if word)
            elif byte in b"\r\n":
                continue
            elif len(self._held) < COMMAND_BYTES - 1:
                self._held.append(byte)
            else:
                self._overlong = True

    def clear(self) -> None:
        """Forget an unfinished command."""
        self._held.clear()
        self._overlong = False


# --- answer lines ---------------------------------------------------------------------------------------------------


class _Kind(NamedTuple):
    """How one sort of field is written: a pattern without groups, text to value, value to text."""

    pattern: str
    read: Callable[[str], Any]
    write: Callable[[Any], str]


# Sorts of fields.  Dataclasses below name them as annotations; `_KINDS` finds them by name.
Word = str
Text = str
Words = tuple[str, ...]
Floats = tuple[float, ...]
Hex = bytes
DashedHex = bytes

_WORD = r"[A-Za-z0-9_.:+/-]+"
# What C's printf("%.3f") may print; boards that print fewer or more digits are read as well.
_FLOAT = r"-?(?:\d{1,39}(?:\.\d{1,9})?|nan|inf)"
_KINDS = {
    "int": _Kind(r"(?:0|[1-9]\d{0,19})", int, str),
    "Word": _Kind(_WORD, str, str),
    "Text": _Kind(r".*", str, str),
    "Words": _Kind(
        rf"(?:{_WORD}(?:,{_WORD})*)?",
        lambda text: tuple(text.split(",")) if text else (),
        lambda words: ",".join(words),
    ),
    "Floats": _Kind(
        rf"(?:{_FLOAT}(?:,{_FLOAT})*)?",
        lambda text: tuple(float(part) for part in text.split(",")) if text else (),
        lambda values: ",".join(f"{value:.3f}" for value in values),
    ),
    "Hex": _Kind(r"(?:[0-9a-fA-F]{2})+", bytes.fromhex, bytes.hex),
    "DashedHex": _Kind(
        r"[0-9a-fA-F]{2}(?:-[0-9a-fA-F]{2})*",
        lambda text: bytes.fromhex(text.replace("-", "")),
        lambda data: data.hex("-"),
    ),
}


@dataclass(frozen=True)
class Line:
    """One line of an answer.  ``template`` is what stands in the protocol, with the names of the fields."""

    template: ClassVar[str] = ""

    @classmethod
    def shape(cls) -> str:
        """The template for people: ``m-lap-us-…``."""
        return re.sub(r"\{\w+\}", "…", cls.template)

    def __str__(self) -> str:
        written = {field.name: _KINDS[str(field.type)].write(getattr(self, field.name)) for field in fields(self)}
        return self.template.format(**written)


LineT = TypeVar("LineT", bound=type[Line])
_LINES: list[type[Line]] = []


def _line(template: str) -> Callable[[LineT], LineT]:
    """Register a kind of line."""

    def register(cls: LineT) -> LineT:
        cls.template = template
        _LINES.append(cls)
        return cls

    return register


@_line("m-ready")
@dataclass(frozen=True)
class Ready(Line):
    """The prompt: closes every answer."""


@_line("m-timestamp-mode-{mode}")
@dataclass(frozen=True)
class TimestampMode(Line):
    """Boot: ``performance`` or ``energy``."""

    mode: Word


@_line("m-init-done")
@dataclass(frozen=True)
class InitDone(Line):
    """Boot."""


@_line("m-name-dut-[{vendor}]")
@dataclass(frozen=True)
class Name(Line):
    vendor: Text


@_line("m-profile-[{firmware}]")
@dataclass(frozen=True)
class Profile(Line):
    firmware: Text


@_line("m-model-[{model}]")
@dataclass(frozen=True)
class Model(Line):
    model: Text


@_line("m-lap-us-{us}")
@dataclass(frozen=True)
class Lap(Line):
    """The board's clock in microseconds."""

    us: int


@_line("m-[Expecting {count} bytes]")
@dataclass(frozen=True)
class Expecting(Line):
    count: int


@_line("m-load-done")
@dataclass(frozen=True)
class LoadDone(Line):
    pass


@_line("m-buffer-{data}")
@dataclass(frozen=True)
class Buffer(Line):
    """Up to eight bytes of the input buffer."""

    data: DashedHex


@_line("m-warmup-start-{count}")
@dataclass(frozen=True)
class WarmupStart(Line):
    count: int


@_line("m-warmup-done")
@dataclass(frozen=True)
class WarmupDone(Line):
    pass


@_line("m-infer-start-{count}")
@dataclass(frozen=True)
class InferStart(Line):
    count: int


@_line("m-infer-done")
@dataclass(frozen=True)
class InferDone(Line):
    pass


@_line("m-results-[{values}]")
@dataclass(frozen=True)
class Results(Line):
    """Dequantized results, three decimals."""

    values: Floats


@_line("e-[{text}]")
@dataclass(frozen=True)
class Refusal(Line):
    text: Text


@_line("m-features-[{names}]")
@dataclass(frozen=True)
class Features(Line):
    names: Words


@_line("m-phase-[{name},{ns},{count}]")
@dataclass(frozen=True)
class PhaseTime(Line):
    """Nanoseconds of a phase in the last ``infer``, in sum over ``count`` executions."""

    name: Word
    ns: int
    count: int


@_line("m-phases-done")
@dataclass(frozen=True)
class PhasesDone(Line):
    pass


@_line("m-op-[{index},{ns},{ticks},{count}]")
@dataclass(frozen=True)
class OpTime(Line):
    """Nanoseconds and ticks of the port's counter of the op ``index``, in sum over ``count`` executions."""

    index: int
    ns: int
    ticks: int
    count: int


@_line("m-ops-done")
@dataclass(frozen=True)
class OpsDone(Line):
    pass


@_line("m-point-[{platform},{name},{host_hz},{npu_hz},{millivolt}]")
@dataclass(frozen=True)
class Point(Line):
    """The operating point that the board says it runs at; 0: unknown."""

    platform: Word
    name: Word
    host_hz: int
    npu_hz: int
    millivolt: int


@_line("m-memory-[{role},{used_bytes},{capacity_bytes}]")
@dataclass(frozen=True)
class MemoryUse(Line):
    """``role`` is weights, activations or program; 0: unknown."""

    role: Word
    used_bytes: int
    capacity_bytes: int


@_line("m-memory-done")
@dataclass(frozen=True)
class MemoryDone(Line):
    pass


@_line("m-output-[{index},{offset},{data}]")
@dataclass(frozen=True)
class Output(Line):
    """At most 32 bytes of output ``index``."""

    index: int
    offset: int
    data: Hex


@_line("m-outputs-done")
@dataclass(frozen=True)
class OutputsDone(Line):
    pass


@_line("m-laps-[{start_us},{end_us}]")
@dataclass(frozen=True)
class Laps(Line):
    """The two laps of the last ``infer`` again."""

    start_us: int
    end_us: int


@_line("m-border-[{name},{start_ns},{end_ns}]")
@dataclass(frozen=True)
class Border(Line):
    """When a phase of the last ``infer`` began and ended, in nanoseconds of the clock that the laps are read from."""

    name: Word
    start_ns: int
    end_ns: int


@_line("m-borders-done")
@dataclass(frozen=True)
class BordersDone(Line):
    pass


@dataclass(frozen=True)
class Other(Line):
    """A line that the protocol does not know: help, boot ROM text, noise."""

    text: str

    def __str__(self) -> str:
        return self.text


@cache
def _patterns() -> tuple[tuple[type[Line], re.Pattern[str]], ...]:
    def pattern(line: type[Line]) -> re.Pattern[str]:
        groups = {field.name: f"(?P<{field.name}>{_KINDS[str(field.type)].pattern})" for field in fields(line)}
        parts = re.split(r"\{(\w+)\}", line.template)
        return re.compile("".join(groups[part] if i % 2 else re.escape(part) for i, part in enumerate(parts)))

    return tuple((line, pattern(line)) for line in _LINES)


def parse_line(text: str) -> Line:
    """The line that ``text`` (without its end) is; ``Other`` where the protocol knows none."""
    for line, pattern in _patterns():
        match = pattern.fullmatch(text)
        if match is not None:
            kinds = {field.name: _KINDS[str(field.type)] for field in fields(line)}
            return line(**{name: kinds[name].read(found) for name, found in match.groupdict().items()})
    return Other(text)


def encode_line(line: Line) -> bytes:
    """A line as it goes over the wire.  Raises LinkError where it could not be read back."""
    text = str(line)
    if not text.isascii() or not text.isprintable():
        raise LinkError(f"{text!r:.60} is not a line", hint="printable ASCII")
    return text.encode("ascii") + LINE_END


# --- bytes to lines -------------------------------------------------------------------------------------------------


class RawLine(NamedTuple):
    """A line as it came.  ``bad_bytes`` counts those that are not printable ASCII; ``text`` shows them as ``\\xNN``."""

    text: str
    bad_bytes: int = 0
    overlong: bool = False


def _readable(data: bytes) -> tuple[str, int]:
    """Bytes as text, those that are not printable ASCII as ``\\xNN``, and how many of them there are."""
    if data.isascii() and (text := data.decode("ascii")).isprintable():
        return text, 0
    bad = sum(not 0x20 <= byte < 0x7F for byte in data)
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}" for byte in data), bad


class LineSplitter:
    """Bytes to lines.  CR, LF and any mixture end a line; empty lines are dropped; memory is bounded."""

    def __init__(self, limit: int = LINE_BYTES) -> None:
        self._limit = limit
        self._held = bytearray()
        self._overlong = False

    def feed(self, data: bytes) -> list[RawLine]:
        """The lines that ``data`` completes.  One beyond the limit comes cut off there and marked."""
        lines = []
        pieces = data.replace(b"\r", b"\n").split(b"\n")
        for i, piece in enumerate(pieces):
            room = self._limit - len(self._held)
            self._overlong |= len(piece) > room
            self._held += piece[:room]
            if i < len(pieces) - 1 and (line := self.take()) is not None:
                lines.append(line)
        return lines

    @property
    def pending(self) -> str:
        """What came since the last line end."""
        return _readable(bytes(self._held))[0]

    def take(self) -> RawLine | None:
        """Give the unfinished line away, if there is one."""
        line = RawLine(*_readable(bytes(self._held)), self._overlong) if self._held else None
        self._held.clear()
        self._overlong = False
        return line
