"""The board's side of the protocol as a pure state machine: bytes in, bytes out.

The firmware in ``firmware/core/protocol.c`` does the same in C; the tests of both compare with ``docs/protocol.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from hil.board import codec
from hil.board.codec import Border, Line, MemoryUse, OpTime, PhaseTime, Point
from hil.board.errors import BoardFault

DEFAULT_INFERENCES = 1
DEFAULT_WARMUPS = 10
_HELP = (
    "help         : this text",
    "name         : the name of the device",
    "profile      : firmware and model",
    "timestamp    : read the clock, or pulse the pin",
    "db load N    : expect N bytes of input",
    "db HH[HH]    : input bytes",
    "db print     : the input buffer",
    "infer N [W]  : N inferences after W warm-ups",
    "results      : the results of the last inference",
)


@dataclass(frozen=True)
class InferOutcome:
    """What ``infer`` measured: the board's clock around the N inferences, and the dequantized results."""

    lap_start_ns: int
    lap_end_ns: int
    results: tuple[float, ...]


class BoardModel(Protocol):
    """What is behind the protocol.  Times are nanoseconds of the board's own clock, which never goes backwards.

    ``infer``, ``load`` and the readers raise ``BoardFault(text)`` to answer ``e-[text]``; ``BoardFault("NPU error")``
    is an accelerator that failed.  Readers whose feature is not announced are never called.
    """

    @property
    def vendor(self) -> str: ...
    @property
    def profile(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def input_bytes(self) -> int:
        """The size of the input buffer: the most that ``db load`` takes."""
        ...

    @property
    def features(self) -> Sequence[str]:
        """Any of ``codec.FEATURES``; empty: a plain MLPerf Tiny board.  ``laps`` needs nothing from the model."""
        ...

    def load(self, data: bytes) -> None:
        """The input buffer was filled."""
        ...

    def infer(self, inferences: int, warmups: int) -> InferOutcome: ...
    def timestamp_ns(self) -> int: ...
    def phases(self) -> Sequence[PhaseTime]:
        """Of the last ``infer``; ``inference`` counts its N, warm-ups are not counted."""
        ...

    def ops(self) -> Sequence[OpTime]: ...
    def point(self) -> Point: ...
    def memory(self) -> Sequence[MemoryUse]: ...
    def outputs(self) -> Sequence[bytes]:
        """Raw output tensors of the last ``infer``."""
        ...

    def borders(self) -> Sequence[Border]:
        """When each phase of the last ``infer`` happened: those that did, in order.  ``inference`` is from the start of
        the first to the end of the last of its N, within the laps."""
        ...


class Dut:
    """A board: ``boot`` gives the banner, ``feed`` the answer to bytes from the host."""

    def __init__(self, model: BoardModel, mode: Literal["performance", "energy"] = "performance") -> None:
        self._model = model
        self._mode = mode
        self._commands = codec.CommandSplitter()
        self._buffer = bytearray()
        self._expected = 0
        self._outcome: InferOutcome | None = None
        self._verbs: dict[str, Callable[[tuple[str, ...]], Iterable[Line]]] = {
            "name": lambda _: [codec.Name(model.vendor)],
            "profile": lambda _: [codec.Profile(model.profile), codec.Model(model.model)],
            "timestamp": lambda _: self._lap(model.timestamp_ns()),
            "help": lambda _: map(codec.Other, _HELP),
            "db": self._db,
            "infer": self._infer,
            "results": lambda _: [codec.Results(self._last().results)],
        }
        optional: dict[str, Callable[[tuple[str, ...]], Iterable[Line]]] = {
            "phases": lambda _: [*model.phases(), codec.PhasesDone()],
            "ops": lambda _: [*model.ops(), codec.OpsDone()],
            "point": lambda _: [model.point()],
            "memory": lambda _: [*model.memory(), codec.MemoryDone()],
            "outputs": lambda _: [*_output_lines(model.outputs()), codec.OutputsDone()],
            "laps": lambda _: [codec.Laps(self._last().lap_start_ns // 1000, self._last().lap_end_ns // 1000)],
            "borders": lambda _: self._borders(),
        }
        if model.features:
            self._verbs["features"] = lambda _: [codec.Features(tuple(model.features))]
            self._verbs |= {name: optional[name] for name in model.features}

    def boot(self) -> bytes:
        """Start, or start again: the input buffer and the results are gone.  Returns the banner."""
        self._commands.clear()
        self._buffer.clear()
        self._expected = 0
        self._outcome = None
        return _bytes([codec.TimestampMode(self._mode), codec.InitDone(), codec.Ready()])

    def feed(self, data: bytes) -> bytes:
        """Bytes from the host.  Returns what the board prints; never raises for what the host sent."""
        return b"".join(_bytes(self._answer(words)) for words in self._commands.feed(data))

    def _answer(self, words: tuple[str, ...] | None) -> Iterator[Line]:
        if words is None:
            yield codec.Refusal("Command too long")
        elif not words or words[0] not in self._verbs:
            yield codec.Refusal(f"Unknown command: {words[0] if words else ''}")
        else:
            try:
                yield from self._verbs[words[0]](words[1:])
            except BoardFault as fault:
                yield codec.Refusal(fault.message)
        yield codec.Ready()

    def _lap(self, ns: int) -> list[Line]:
        return [codec.Lap(ns // 1000)] if self._mode == "performance" else []

    def _last(self) -> InferOutcome:
        if self._outcome is None:
            raise BoardFault("No results")
        return self._outcome

    def _borders(self) -> list[Line]:
        self._last()  # refuses where there is none
        return [*self._model.borders(), codec.BordersDone()]

    def _db(self, words: tuple[str, ...]) -> Iterator[Line]:
        if not words:
            raise BoardFault("Command 'db' requires a subcommand")
        if words[0] == "load":
            count = _count(words[1:2], 0)
            if count == 0:
                raise BoardFault("Command 'db load' must be >0 bytes")
            if count > self._model.input_bytes:
                raise BoardFault(f"Supplied buffer size {count} exceeds maximum of {self._model.input_bytes}")
            self._buffer.clear()
            self._expected = count
            yield codec.Expecting(count)
        elif words[0] == "print":
            for start in range(0, len(self._buffer), codec.BUFFER_LINE_BYTES):
                yield codec.Buffer(bytes(self._buffer[start : start + codec.BUFFER_LINE_BYTES]))
        else:
            yield from self._digits(words[0])

    def _digits(self, digits: str) -> Iterator[Line]:
        try:
            data = bytes.fromhex(digits)
        except ValueError:
            raise BoardFault("Invalid hex digits") from None
        missing = self._expected - len(self._buffer)
        if missing == 0:
            raise BoardFault("No bytes expected")
        self._buffer += data[:missing]  # digits beyond the last expected byte are disregarded
        if len(data) >= missing:
            self._model.load(bytes(self._buffer))
            yield codec.LoadDone()

    def _infer(self, words: tuple[str, ...]) -> Iterator[Line]:
        inferences, warmups = _count(words[:1], DEFAULT_INFERENCES), _count(words[1:2], DEFAULT_WARMUPS)
        if inferences == 0:
            raise BoardFault("Inference iterations must be >0")
        yield codec.WarmupStart(warmups)
        yield codec.WarmupDone()
        yield codec.InferStart(inferences)
        self._outcome = None
        self._outcome = outcome = self._model.infer(inferences, warmups)
        yield from self._lap(outcome.lap_start_ns)
        yield from self._lap(outcome.lap_end_ns)
        yield codec.InferDone()
        yield codec.Results(outcome.results)


def _bytes(lines: Iterable[Line]) -> bytes:
    return b"".join(map(codec.encode_line, lines))


def _output_lines(outputs: Sequence[bytes]) -> Iterator[Line]:
    for index, data in enumerate(outputs):
        for offset in range(0, len(data), codec.OUTPUT_LINE_BYTES):
            yield codec.Output(index, offset, data[offset : offset + codec.OUTPUT_LINE_BYTES])


def _count(words: Sequence[str], default: int) -> int:
    """A decimal count of a command; 0 where the word is none, as C's ``atoi`` has it."""
    if not words:
        return default
    return int(words[0]) if words[0].isdecimal() and len(words[0]) < 10 else 0
