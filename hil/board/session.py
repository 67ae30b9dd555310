"""A session with a board: an explicit state machine over a link.

The protocol has no checksum, so trust comes from structure and redundancy: answers are checked line by line
(``hil.board.answers``), read-only verbs are asked twice, laps are compared with a second source, and after any trouble
an unknown command with a fresh number is sent: once the board complains about exactly that one, nothing stale is left.
Steps that went wrong are repeated whole, a bounded number of times, and every attempt is recorded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Literal, TypeVar

from hil.board import answers, codec
from hil.board.answers import Inference
from hil.board.capture import Capture, Mode, new_capture_path, recorded
from hil.board.clock import Clock, Deadline, MonotonicClock
from hil.board.codec import Border, Line, MemoryUse, OpTime, PhaseTime, Point
from hil.board.errors import BoardRefused, LinkLost, LinkTimeout, ProtocolError
from hil.board.link import Link, open_link
from hil.errors import LinkError

_READ_BYTES = 4096
_ANSWER_LINES = 1 << 16
_LAST_LINES = 5
_BANNER, _PROMPT = str(codec.InitDone()), str(codec.Ready())
_UNKNOWN = "Unknown command: "
_BACKOFF_S = (0.2, 5.0)  # first and longest pause between attempts to open the port

Stage = Literal["open", "boot", "handshake", "load", "run"]
T = TypeVar("T")


class State(Enum):
    CLOSED = "closed"
    OPEN = "open"
    DRAINED = "drained"
    READY = "ready"
    BUSY = "busy"
    LOST = "lost"


_NEXT = {
    State.CLOSED: {State.OPEN, State.LOST},
    State.OPEN: {State.DRAINED, State.LOST, State.CLOSED},
    State.DRAINED: {State.OPEN, State.READY, State.LOST, State.CLOSED},
    State.READY: {State.BUSY, State.OPEN, State.LOST, State.CLOSED},
    State.BUSY: {State.READY, State.OPEN, State.LOST, State.CLOSED},
    State.LOST: {State.OPEN, State.CLOSED},
}


@dataclass(frozen=True)
class Limits:
    """How long each stage may take, and how much may go wrong."""

    open_s: float = 0.0  # keep trying to open the port for so long; 0: once
    boot_s: float = 5.0  # until the line is quiet, or until the banner where one is awaited
    handshake_s: float = 10.0
    answer_s: float = 2.0  # silence in an answer, except while the board computes
    run_s: float = 60.0  # one whole answer, computing included
    reconnect_s: float = 30.0
    quiet_s: float = 0.05
    attempts: int = 3
    # How far two sources of the time between the laps may differ: clock reading and truncation, then jitter.
    lap_tolerance_us: int = 2
    lap_tolerance: float = 0.01

    @classmethod
    def of(cls, recorded: Mapping[str, float]) -> Limits:
        """The limits of a capture's header; those that it does not name are the usual ones."""
        known = asdict(cls())
        found = {name: type(known[name])(value) for name, value in recorded.items() if name in known}
        return replace(cls(), **found)


@dataclass(frozen=True)
class Identity:
    """What a board says it is."""

    vendor: str
    firmware: str
    model: str
    features: tuple[str, ...]


@dataclass(frozen=True)
class InferResult:
    """One ``infer``: the board's clock before the first and after the last of ``inferences``; None in energy mode."""

    inferences: int
    warmups: int
    lap_start_us: int | None
    lap_end_us: int | None
    results: tuple[float, ...]
    attempts: int

    @property
    def latency_s(self) -> float | None:
        """Mean over the inferences."""
        if self.lap_start_us is None or self.lap_end_us is None:
            return None
        return (self.lap_end_us - self.lap_start_us) * 1e-6 / self.inferences


@dataclass(frozen=True)
class Attempt:
    """A step that went wrong and what was wrong with it."""

    stage: Stage
    step: str
    number: int
    error: str


@dataclass
class LinkStats:
    """What the link did so far."""

    bytes_in: int = 0
    bytes_out: int = 0
    bad_bytes: int = 0
    stray_lines: int = 0
    resyncs: int = 0
    reconnects: int = 0
    restarts: int = 0
    retries: int = 0
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing was ever wrong."""
        return not (self.bad_bytes or self.attempts or self.reconnects or self.restarts)


class Session:
    """A board behind a link.

    ``open_link`` opens the link anew each time; ``capture`` takes everything that goes over it and is closed with the
    session; ``verify`` asks for redundancy (docs/protocol.md).  Every method raises a LinkError before its deadline.
    """

    def __init__(
        self,
        open_link: Callable[[], Link],
        *,
        capture: Capture | None = None,
        clock: Clock | None = None,
        limits: Limits | None = None,
        mode: Mode = "performance",
        verify: bool = True,
    ) -> None:
        self._open_link = recorded(open_link, capture) if capture is not None else open_link
        self._capture = capture
        self._clock = clock or MonotonicClock()
        self._limits = limits or Limits()
        self._laps = mode == "performance"
        self._verify = verify
        self.stats = LinkStats()
        self.state = State.CLOSED
        self.identity: Identity | None = None
        self._link: Link | None = None
        self._splitter = codec.LineSplitter()
        self._lines: deque[codec.RawLine] = deque()
        self._last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._nonce = 0
        self._trusted = False  # nothing stale between the board and us
        self._input = b""
        self._verify_input: bool | None = None
        self._loaded = False  # the board holds our input, as far as we know
        self._board_us = 0  # the last lap: an earlier one after it means that the board restarted
        self._expected_s = 0.0
        self._last: InferResult | None = None
        self._last_in_doubt = False

    @property
    def port(self) -> str:
        """The link's name; empty while there is none."""
        return self._link.name if self._link is not None else ""

    @property
    def tells_laps(self) -> bool:
        """Whether ``infer`` prints its laps: not in energy mode."""
        return self._laps

    # --- what callers use -------------------------------------------------------------------------------------------

    def connect(self, *, expect_boot: bool = False) -> Identity:
        """Open, drain, shake hands.  ``expect_boot``: wait for the banner first, as after flashing or power-on."""
        if self.state not in (State.CLOSED, State.LOST):
            raise LinkError(f"the session is {self.state.value} already", hint="close() it first")
        self._open(Deadline.after(self._clock, self._limits.open_s))
        try:
            if expect_boot:
                self._await_banner(Deadline.after(self._clock, self._limits.boot_s))
            self._drain("boot", Deadline.after(self._clock, self._limits.boot_s))
        except LinkLost as error:
            self._distrust(lost=True)
            raise self._explained(error, "boot") from error
        self.identity = self._handshake(Deadline.after(self._clock, self._limits.handshake_s))
        return self.identity

    def load(self, data: bytes, *, verify: bool | None = None) -> None:
        """Bring ``data`` into the board's input buffer.

        ``verify``: read it back with ``db print``; None: only where the link was not clean.
        """
        if not data:
            raise LinkError("no input to load", hint="the network's input has at least one byte")
        self._input, self._verify_input, self._loaded = data, verify, False
        self._step("load", f"db load {len(data)}", self._load)

    def infer(
        self,
        inferences: int = 1,
        warmups: int = 0,
        expected_s: float = 0.0,
        answered: Callable[[Inference], None] | None = None,
    ) -> InferResult:
        """N inferences on the loaded input; it is loaded again where the board may have lost it.

        ``expected_s``: how long they should take; ``limits.run_s`` comes on top of twice that.  ``answered`` is called
        in each attempt as soon as the board has answered, before the answer is verified: verifying asks the board more.
        """
        if inferences < 1 or warmups < 0:
            raise LinkError(f"infer {inferences} {warmups}: needs at least 1 inference and 0 warm-ups")
        self._last = None

        def action() -> Inference:
            if self._input and not self._loaded:
                self._load()
            return self._infer(inferences, warmups, answered)

        self._expected_s = expected_s
        before = self.stats.retries
        found = self._step("run", f"infer {inferences} {warmups}", action)
        attempts = 1 + self.stats.retries - before
        self._last = InferResult(inferences, warmups, found.start_us, found.end_us, found.results, attempts)
        self._last_in_doubt = False
        return self._last

    def results(self) -> tuple[float, ...]:
        """The results of the last ``infer`` once more."""
        return self._of_last("results", lambda lines, _: answers.one(lines, codec.Results).values)

    def phases(self) -> tuple[PhaseTime, ...]:
        """Times by phase of the last ``infer``."""
        self._require("phases")
        return self._of_last("phases", lambda lines, last: answers.phases(lines, last.inferences))

    def ops(self) -> tuple[OpTime, ...]:
        """Times by op of the last ``infer``."""
        self._require("ops")
        return self._of_last("ops", lambda lines, last: answers.ops(lines, last.inferences))

    def outputs(self, expected_bytes: Sequence[int] | None = None) -> list[bytes]:
        """Raw output tensors of the last ``infer``; ``expected_bytes`` are their sizes, where known."""
        self._require("outputs")
        return list(self._of_last("outputs", lambda lines, _: answers.outputs(lines, expected_bytes)))

    def borders(self) -> tuple[Border, ...]:
        """When each phase of the last ``infer`` happened, on the clock of its laps."""
        self._require("borders")
        return self._of_last("borders", lambda lines, last: answers.borders(lines, last.lap_start_us, last.lap_end_us))

    def point(self) -> Point:
        """The operating point that the board says it runs at."""
        self._require("point")
        return self._step("run", "point", lambda: self._read(("point",), answers.point))

    def memory(self) -> tuple[MemoryUse, ...]:
        """Memory use that the board reports."""
        self._require("memory")
        return self._step("run", "memory", lambda: self._read(("memory",), answers.memory))

    def timestamp(self) -> int:
        """The board's clock in microseconds: the middle one of three readings that must be in order.

        In energy mode the board would pulse its pin instead: an error.
        """
        if not self._laps:
            raise LinkError("timestamp: a board in energy mode prints none", hint="use performance mode")

        def action() -> int:
            readings = [answers.one(self._ask(("timestamp",)), codec.Lap).us for _ in range(3 if self._verify else 1)]
            if readings != sorted(readings):
                raise ProtocolError(f"timestamps go backwards: {readings}")
            return readings[len(readings) // 2]

        return self._step("run", "timestamp", action)

    def close(self) -> None:
        """Give the port free and end the capture.  May be called more than once."""
        if self._link is not None:
            self._link.close()
            self._link = None
        self.state = State.CLOSED
        self._trusted = self._loaded = False
        if self._capture is not None:
            self._capture.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- steps: attempts, trust, reconnection -----------------------------------------------------------------------

    def _step(self, stage: Stage, name: str, action: Callable[[], T]) -> T:
        """Do a step until it is done without any trouble, at most ``limits.attempts`` times."""
        if self.state is State.CLOSED or self.identity is None:
            raise LinkError(f"{name}: the session is {self.state.value}", hint="connect() first")
        refused: BoardRefused | None = None
        for number in range(1, self._limits.attempts + 1):
            try:
                self._regain_trust()
                self._go(State.BUSY)
                done = action()
                self._go(State.READY)
            except (ProtocolError, LinkTimeout, LinkLost, BoardRefused) as error:
                self._distrust(lost=isinstance(error, LinkLost))
                self.stats.attempts.append(Attempt(stage, name, number, error.message))
                # The same refusal twice is the board's word, not the line's.
                confirmed = refused is not None and isinstance(error, BoardRefused) and error.text == refused.text
                refused = error if isinstance(error, BoardRefused) else None
                if confirmed or number == self._limits.attempts:
                    raise self._explained(error, stage) from error
                self.stats.retries += 1
            else:
                return done
        raise AssertionError("unreachable: limits.attempts is at least 1")

    def _distrust(self, *, lost: bool) -> None:
        """After trouble: what the board holds and what is under way is unknown."""
        self._trusted = self._loaded = False  # the trouble may have been a restart whose banner was lost
        self._last_in_doubt = True
        if lost and self._link is not None:
            self._link.close()
            self._link = None
        self._go(State.LOST if lost else State.OPEN)

    def _regain_trust(self) -> None:
        """Before an attempt: a link that is open and holds nothing stale, to the same board as before."""
        if self._link is None:
            self._reconnect()
        elif not self._trusted:
            self._go(State.OPEN)
            self._synchronise(Deadline.after(self._clock, self._limits.handshake_s))
            self._go(State.READY)

    def _reconnect(self) -> None:
        """Open the port again and insist on the same board.  Raises LinkError, which ends the step."""
        before = self.identity
        deadline = Deadline.after(self._clock, self._limits.reconnect_s)
        self.stats.reconnects += 1
        self._open(deadline)
        self._drain("boot", deadline)
        now = self._handshake(deadline)
        if before is not None and now != before:
            self._distrust(lost=True)
            raise LinkError(
                f"another board answers after the link was lost: {now.vendor} {now.firmware} {now.model}, "
                f"before it was {before.vendor} {before.firmware} {before.model}",
                hint="match boards by serial number in boards.toml",
            )

    def _open(self, deadline: Deadline) -> None:
        pause_s, longest_s = _BACKOFF_S
        while True:
            try:
                self._link = self._open_link()
            except LinkError:
                if pause_s >= deadline.remaining_s:
                    self._go(State.LOST)
                    raise
                self._clock.sleep(pause_s)
                pause_s = min(2 * pause_s, longest_s)
            else:
                self._splitter, self._lines = codec.LineSplitter(), deque()
                self._go(State.OPEN)
                return

    def _await_banner(self, deadline: Deadline) -> None:
        while self._next_line("boot", deadline, what="no m-ready").text != _PROMPT:
            pass

    def _drain(self, stage: Stage, deadline: Deadline) -> None:
        """Read until the line is quiet."""
        quiet_s = self._limits.quiet_s
        while deadline.remaining_s > 0:
            if not self._receive(deadline.within(quiet_s).remaining_s):
                if (rest := self._splitter.take()) is not None:
                    self._lines.append(self._seen(rest))
                self._discard()
                self._go(State.DRAINED)
                return
            self._discard()
        raise self._timeout(stage, deadline, "the line was never quiet", hint="does another program write to it?")

    def _discard(self) -> None:
        """Drop the lines that nobody waits for."""
        self.stats.stray_lines += len(self._lines)
        self._lines.clear()

    def _synchronise(self, deadline: Deadline) -> None:
        """Drain, then send a command that no board knows, with a number never used before, until the board complains
        about exactly that: whatever was under way is over then."""
        self.stats.resyncs += 1
        wait_s = self._limits.answer_s / 4
        while deadline.remaining_s > 0:
            self._drain("handshake", deadline)
            self._nonce += 1
            word = f"hil-sync-{self._nonce:04x}"
            self._send((word,))
            if self._echoed(word, deadline.within(wait_s)):
                self._trusted = True
                return
            wait_s *= 2  # a board that is busy with a long step answers when it is done
        raise self._timeout("handshake", deadline, "no valid answer")

    def _echoed(self, word: str, deadline: Deadline) -> bool:
        """Whether the complaint about ``word`` came, and the prompt right behind it."""
        complaint = str(codec.Refusal(_UNKNOWN + word))
        try:
            while (text := self._next_line("handshake", deadline).text) != complaint:
                self.stats.stray_lines += 1
                if isinstance(codec.parse_line(text), codec.Refusal):
                    return False  # ours came mangled, or it is an old one: ask anew rather than wait
            return self._next_line("handshake", deadline).text == _PROMPT
        except LinkTimeout:
            return False

    def _handshake(self, deadline: Deadline) -> Identity:
        """Until the deadline: synchronise, ``name`` twice equal, ``profile`` and ``features`` twice equal."""
        while True:
            try:
                self._synchronise(deadline)
                identity = self._identify(deadline)
            except (ProtocolError, LinkTimeout, BoardRefused) as error:
                self._distrust(lost=False)
                if deadline.remaining_s <= 0:
                    raise self._explained(error, "handshake") from error
                self.stats.attempts.append(Attempt("handshake", "handshake", self._nonce, error.message))
            except LinkLost as error:
                self._distrust(lost=True)
                raise self._explained(error, "handshake") from error
            else:
                self._go(State.READY)
                return identity

    def _identify(self, deadline: Deadline) -> Identity:
        def twice(words: tuple[str, ...], read: Callable[[Sequence[Line]], T]) -> T:
            first, second = (self._ask(words, "handshake", deadline) for _ in range(2))
            if first != second:
                raise ProtocolError(f"two answers to {words[0]} differ")
            return read(first)

        vendor = twice(("name",), lambda lines: answers.one(lines, codec.Name).vendor)
        firmware, model = twice(("profile",), _profile)
        try:
            features = twice(("features",), lambda lines: answers.one(lines, codec.Features).names)
        except BoardRefused as refusal:
            if refusal.text != _UNKNOWN + "features":
                raise
            features = ()
        return Identity(vendor, firmware, model, features)

    # --- the verbs, once --------------------------------------------------------------------------------------------

    def _load(self) -> None:
        data, verify = self._input, self._verify_input
        commands = list(codec.load_commands(data))
        for i, words in enumerate(commands):
            lines = self._ask(words, "load")
            if i == 0 and lines != [codec.Expecting(len(data))]:
                raise ProtocolError(f"{_shown(lines)} in answer to db load {len(data)}")
            if i > 0:
                answers.exactly(lines, *[codec.LoadDone] * (i == len(commands) - 1))
        if (verify is None and not self.stats.clean) or verify:
            back = answers.buffer(self._ask(("db", "print"), "load", self._transfer(len(data))))
            if back != data:
                raise ProtocolError(f"the input buffer holds other bytes than the {len(data)} that were loaded")
        self._loaded = True

    def _infer(self, inferences: int, warmups: int, answered: Callable[[Inference], None] | None) -> Inference:
        first = self._infer_once(inferences, warmups)
        if answered is not None:
            answered(first)
        if not self._verify:
            return first
        again = self._ask(("results",))
        if _encoded(again) != _encoded([codec.Results(first.results)]):
            raise ProtocolError("infer and results give different results")
        if first.start_us is not None and first.end_us is not None:
            self._verify_laps(first, inferences, warmups)
            self._board_us = first.end_us
        return first

    def _infer_once(self, inferences: int, warmups: int) -> Inference:
        deadline = Deadline.after(self._clock, self._limits.run_s + 2 * self._expected_s)
        lines = self._ask(("infer", str(inferences), str(warmups)), deadline=deadline, closing=codec.InferDone)
        found = answers.inference(lines, inferences, warmups, laps=self._laps)
        if found.start_us is not None and found.start_us < self._board_us:
            self._board_us = 0
            raise ProtocolError(f"lap {found.start_us} us is before the last one: the board restarted")
        return found

    def _verify_laps(self, first: Inference, inferences: int, warmups: int) -> None:
        """Laps have no redundancy of their own: ask again, or compare with the phase, or measure again."""
        assert first.start_us is not None and first.end_us is not None
        features = self.identity.features if self.identity is not None else ()
        if "laps" in features:
            laps = answers.one(self._ask(("laps",)), codec.Laps)
            if laps != codec.Laps(first.start_us, first.end_us):
                raise ProtocolError(f"laps {first.start_us} and {first.end_us} us of infer, then {laps}")
            return
        if "phases" in features:
            phases = self._twice(("phases",), lambda lines: answers.phases(lines, inferences))
            second_us = next(phase.ns for phase in phases if phase.name == "inference") / 1000
        else:
            second = self._infer_once(inferences, warmups)
            assert second.start_us is not None and second.end_us is not None
            second_us = second.end_us - second.start_us
            if _encoded([codec.Results(second.results)]) != _encoded([codec.Results(first.results)]):
                raise ProtocolError("the same input gives different results")
        first_us = first.end_us - first.start_us
        if abs(first_us - second_us) > self._limits.lap_tolerance_us + self._limits.lap_tolerance * first_us:
            raise ProtocolError(f"laps are {first_us} us apart, a second source says {second_us:g} us")

    def _of_last(self, verb: str, read: Callable[[Sequence[Line], InferResult], T]) -> T:
        """Figures of the last ``infer``."""
        last = self._last
        if last is None:
            raise LinkError(f"{verb}: no infer before it", hint="infer() first")

        def action() -> T:
            if self._last_in_doubt:
                self._insist_on(last)
            return self._read((verb,), lambda lines: read(lines, last))

        return self._step("run", verb, action)

    def _insist_on(self, last: InferResult) -> None:
        """After trouble: the board must still hold the results of the last ``infer``."""
        try:
            held = self._ask(("results",))
        except BoardRefused as refusal:
            raise LinkError(
                "the board restarted: the figures of the last infer are gone", hint="infer() again"
            ) from refusal
        if _encoded(held) != _encoded([codec.Results(last.results)]):
            raise ProtocolError("the board holds other results than those of the last infer")
        self._last_in_doubt = False

    def _read(self, words: tuple[str, ...], read: Callable[[Sequence[Line]], T]) -> T:
        return self._twice(words, read) if self._verify else read(self._ask(words))

    def _twice(self, words: tuple[str, ...], read: Callable[[Sequence[Line]], T]) -> T:
        first = self._ask(words)
        found = read(first)
        if _encoded(first) != _encoded(self._ask(words)):
            raise ProtocolError(f"two answers to {' '.join(words)} differ")
        return found

    def _require(self, feature: str) -> None:
        if self.identity is None:
            raise LinkError(f"{feature}: the session is {self.state.value}", hint="connect() first")
        if feature not in self.identity.features:
            raise LinkError(
                f"{feature}: the board does not have this verb",
                hint=f"it announces: {', '.join(self.identity.features) or 'none'}",
            )

    # --- one command and its answer ---------------------------------------------------------------------------------

    def _ask(
        self,
        words: tuple[str, ...],
        stage: Stage = "run",
        deadline: Deadline | None = None,
        closing: type[Line] | None = None,
    ) -> list[Line]:
        """Send a command; the lines of its answer up to the prompt.

        The answer must be whole by the deadline (``limits.run_s`` where none is given) and never pause for longer than
        ``limits.answer_s``; where the board computes, only after a line of kind ``closing``.
        """
        if self._lines or self._splitter.pending:
            raise ProtocolError(f"{words[0]}: the board speaks unasked")
        deadline = deadline or Deadline.after(self._clock, self._limits.run_s)
        pause_s = self._limits.answer_s if closing is None else self._limits.run_s
        self._send(words)
        lines: list[Line] = []
        while len(lines) <= _ANSWER_LINES:
            raw = self._next_line(stage, deadline, pause_s)
            line = codec.parse_line(raw.text)
            if raw.bad_bytes or raw.overlong:
                raise ProtocolError(f"{words[0]}: garbage in the answer: '{raw.text:.60}'")
            if isinstance(line, codec.TimestampMode | codec.InitDone):
                raise ProtocolError(f"{words[0]}: the board restarted")
            if isinstance(line, codec.Ready):
                return lines
            if isinstance(line, codec.Refusal):
                prompt = self._next_line(stage, deadline, self._limits.answer_s).text
                if prompt != _PROMPT:
                    raise ProtocolError(f"'{prompt:.60}' after a refusal, where {_PROMPT} was expected")
                raise BoardRefused(" ".join(words), line.text)
            lines.append(line)
            if closing is not None and isinstance(line, closing):
                pause_s = self._limits.answer_s
        raise ProtocolError(f"{words[0]}: more than {_ANSWER_LINES} lines of answer")

    def _send(self, words: tuple[str, ...]) -> None:
        data = codec.encode_command(*words)
        self._connected().write(data)
        self.stats.bytes_out += len(data)

    def _next_line(
        self, stage: Stage, deadline: Deadline, pause_s: float | None = None, what: str = "no answer"
    ) -> codec.RawLine:
        """The next line; LinkTimeout at the deadline, or when nothing came for ``pause_s``."""
        while not self._lines:
            patience_s = min(deadline.remaining_s, pause_s if pause_s is not None else deadline.remaining_s)
            if patience_s <= 0 or not self._receive(patience_s):
                raise self._timeout(stage, deadline, what)
        return self._lines.popleft()

    def _receive(self, timeout_s: float) -> bool:
        """Read once; whether anything came."""
        data = self._connected().read(_READ_BYTES, timeout_s)
        self.stats.bytes_in += len(data)
        self._lines.extend(map(self._seen, self._splitter.feed(data)))
        return bool(data)

    def _seen(self, raw: codec.RawLine) -> codec.RawLine:
        self._last_lines.append(raw.text[:80])
        self.stats.bad_bytes += raw.bad_bytes
        if raw.text == _BANNER:
            self.stats.restarts += self.state in (State.READY, State.BUSY)
            self._loaded = False
            self._board_us = 0
        return raw

    def _connected(self) -> Link:
        if self._link is None:
            raise LinkLost(f"the link is {self.state.value}")
        return self._link

    def _transfer(self, count: int) -> Deadline:
        """For so many bytes in hex at the slowest rate: 9600 baud are 960 characters in a second."""
        return Deadline.after(self._clock, self._limits.answer_s + count * 5 / 900)

    # --- words and states -------------------------------------------------------------------------------------------

    def _go(self, state: State) -> None:
        if state is not self.state:
            assert state in _NEXT[self.state], f"{self.state} -> {state}"
            self.state = state

    def _timeout(self, stage: Stage, deadline: Deadline, what: str, hint: str | None = None) -> LinkTimeout:
        return LinkTimeout(stage, deadline.waited_s, self._last_lines, what=what, hint=hint or self._where())

    def _where(self) -> str:
        """The last lines and the capture, for hints."""
        parts = [f"last lines: {' | '.join(self._last_lines)}" if self._last_lines else "nothing was ever received"]
        if self.stats.bad_bytes > self.stats.bytes_in / 4:
            parts.append("mostly undecodable bytes: is the baud rate right?")
        if self._capture is not None:
            parts.append(f"capture: {self._capture.path}")
        return "; ".join(parts)

    def _explained(self, error: LinkError, stage: Stage) -> LinkError:
        """The same error with the stage in front and a hint that says where to look."""
        if not isinstance(error, LinkTimeout):  # which names its stage itself
            error.message = f"{stage}: {error.message}"
        error.hint = error.hint or self._where()
        return error


def open_session(
    port: str,
    baud: int | None = None,
    *,
    capture_path: Path | None = None,
    limits: Limits | None = None,
    mode: Mode = "performance",
    verify: bool = True,
) -> Session:
    """A session with the board at a port or URL, not connected yet.

    The capture goes to ``capture_path``, otherwise to a new file in ``hil.board.capture.captures_dir()``.
    """
    rate = baud or codec.BAUD[mode]
    limits = limits or Limits()
    capture = Capture(capture_path or new_capture_path(port), port=port, baud=rate, limits=asdict(limits), mode=mode)
    return Session(lambda: open_link(port, rate), capture=capture, limits=limits, mode=mode, verify=verify)


def _profile(lines: Sequence[Line]) -> tuple[str, str]:
    answers.exactly(lines, codec.Profile, codec.Model)
    profile, model = lines
    assert isinstance(profile, codec.Profile) and isinstance(model, codec.Model)
    return profile.firmware, model.model


def _encoded(lines: Iterable[Line]) -> list[str]:
    """Lines for comparison: text, because a result may be NaN."""
    return [str(line) for line in lines]


def _shown(lines: Sequence[Line]) -> str:
    return " ".join(str(line) for line in lines)[:60] or "nothing"
