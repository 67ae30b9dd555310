"""What simulated instruments share: what flows (a source), what goes wrong (faults), and the PTY they answer on."""

from __future__ import annotations

import os
import select
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from hil.meter.types import Float

Bits = npt.NDArray[np.uint8]
_POLL_S = 0.002
_LAST_READ_S = 0.1  # until what was sent before a hang-up has been read
_STOP_S = 5.0
_CHUNK_BYTES = 4096
_BATCH = 4096  # samples made at a time
_LOOKS_HZ, _LOOKS = 1_000_000, 50_000  # how often it looks for an edge of its trigger, and how often at once


class Source(Protocol):
    """What the instrument is connected to.  ``t_s``, shape ``[n]``, counts from the start of the acquisition: from the
    command, also where a trigger makes the samples begin later."""

    def current_a(self, t_s: Float) -> Float: ...
    def voltage_v(self, t_s: Float) -> Float: ...
    def digital(self, t_s: Float) -> Bits: ...


@dataclass(frozen=True)
class Timeline:
    """Steps: from ``t_s[i]`` on it is ``current[i]`` amperes; before the first step as at it.  ``supply_v`` is
    constant.  ``edges`` are times with the inputs that are high from then on, one bit each; all are low before."""

    t_s: Sequence[float]
    current: Sequence[float]
    supply_v: float = 3.3
    edges: Sequence[tuple[float, int]] = ()

    @classmethod
    def from_power(
        cls, t_s: Sequence[float], power_w: Sequence[float], supply_v: float, edges: Sequence[tuple[float, int]] = ()
    ) -> Self:
        """The steps of ``hil.sim.timeline.SocTimeline.power_trace`` at a supply voltage."""
        return cls(tuple(t_s), tuple(power / supply_v for power in power_w), supply_v, edges)

    def current_a(self, t_s: Float) -> Float:
        current: Float = np.asarray(self.current, np.float64)[_step(self.t_s, t_s).clip(0)]
        return current

    def voltage_v(self, t_s: Float) -> Float:
        return np.full(t_s.shape, self.supply_v)

    def digital(self, t_s: Float) -> Bits:
        levels = np.array([0, *(bits for _, bits in self.edges)], np.uint8)
        return levels[_step([t for t, _ in self.edges], t_s) + 1]


def _step(steps: Sequence[float], t_s: Float) -> npt.NDArray[np.intp]:
    """The last step at or before each time, -1 before the first; a nanosecond of rounding does not matter."""
    return np.searchsorted(np.asarray(steps, np.float64), t_s + 1e-9, side="right") - 1


@dataclass(frozen=True)
class Live:
    """What flows now, asked for whenever samples are due: for a board that runs beside the instrument."""

    current: Callable[[], float]
    supply_v: float = 3.3
    inputs: Callable[[], int] = lambda: 0

    def current_a(self, t_s: Float) -> Float:
        return np.full(t_s.shape, self.current())

    def voltage_v(self, t_s: Float) -> Float:
        return np.full(t_s.shape, self.supply_v)

    def digital(self, t_s: Float) -> Bits:
        return np.full(t_s.shape, self.inputs(), np.uint8)


@dataclass(frozen=True)
class Faults:
    """What goes wrong, and where.

    ``drop``: sample index to how many samples the instrument loses from there on, although it counts them.
    ``lose_bytes``: bytes of the sample stream that the line loses.  ``garbage``: what it inserts before a byte.
    ``hang_up_at``: the byte before which the port goes away.  ``silent_from``: the sample from which nothing comes.
    """

    drop: dict[int, int] = field(default_factory=dict)
    lose_bytes: frozenset[int] = frozenset()
    garbage: dict[int, bytes] = field(default_factory=dict)
    hang_up_at: int | None = None
    silent_from: int | None = None

    @classmethod
    def random(
        cls, seed: int, samples: int, sample_bytes: int, drops: int = 0, lost_bytes: int = 0, garbage: int = 0
    ) -> Self:
        """So many of each, spread over the stream, at least 40 samples from each other and from both ends."""
        rng = np.random.default_rng(seed)
        wanted = drops + lost_bytes + garbage
        spread = samples // (wanted + 1)
        if spread <= 80:
            raise ValueError(f"{wanted} faults do not fit into {samples} samples")
        places = [spread * (k + 1) + int(rng.integers(-spread // 2 + 40, spread // 2 - 40)) for k in range(wanted)]
        rng.shuffle(places)
        return cls(
            drop={place: int(rng.integers(1, 64)) for place in places[:drops]},
            lose_bytes=frozenset(
                place * sample_bytes + int(rng.integers(sample_bytes)) for place in places[drops : drops + lost_bytes]
            ),
            garbage={
                place * sample_bytes + int(rng.integers(sample_bytes)): rng.bytes(int(rng.integers(1, 40)))
                for place in places[drops + lost_bytes :]
            },
        )

    def kept(self, index: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which samples are sent."""
        keep = np.ones(index.shape, bool)
        for first, count in self.drop.items():
            keep &= (index < first) | (index >= first + count)
        return keep


class HungUp(Exception):
    """The simulated port goes away."""


class PtyInstrument(ABC):
    """An instrument behind a PTY: a context manager, its port at ``port``.

    ``samples``: how many it has; then it falls silent (``sent`` is set).  ``speed``: in how many seconds of signal per
    second; None is as fast as the line takes them, which needs ``samples``.
    """

    def __init__(
        self,
        source: Source,
        *,
        faults: Faults | None = None,
        samples: int | None = None,
        speed: float | None = 1.0,
    ) -> None:
        if speed is None and samples is None:
            raise ValueError("as fast as the line takes needs a number of samples")
        self.source = source
        self.faults = faults or Faults()
        self.received = bytearray()  # from the host
        self.sent = threading.Event()
        self._samples = samples
        self._speed = speed
        self._replies = bytearray()
        self._stream = bytearray()
        self._next = 0  # sample
        self._line_at = 0  # byte of the stream, before the line's faults
        self._started_s: float | None = None
        self._first_s = 0.0  # of the source, when the first sample is taken
        self._edges: tuple[int, ...] = ()  # that it waits for
        self._looked, self._level = 0, 0

    # What a subclass says.

    @abstractmethod
    def _answer(self, data: bytes) -> None:
        """The host sent this: change state, call ``_reply``, ``_start`` and ``_stop``."""

    @property
    @abstractmethod
    def rate_hz(self) -> float: ...

    @abstractmethod
    def _encode(self, index: npt.NDArray[np.int64], t_s: Float) -> bytes:
        """The bytes of samples, shape ``[n]``; those in ``faults.drop`` are left out."""

    # What a subclass uses.

    def _reply(self, data: bytes) -> None:
        self._replies += data

    def _start(self, edges: tuple[int, ...] = ()) -> None:
        """Sample from now on; with ``edges`` (1 rising, -1 falling) from the first one of input 0 that comes."""
        self._started_s, self._next, self._line_at = time.monotonic(), 0, 0
        self._first_s, self._edges, self._looked = 0.0, edges, 0
        self._level = int(self.source.digital(np.zeros(1))[0]) & 1
        self._stream.clear()
        self.sent.clear()

    def _stop(self) -> None:
        self._started_s = None
        self._stream.clear()

    @property
    def running(self) -> bool:
        return self._started_s is not None

    @property
    def taken(self) -> int:
        """Samples since the start; none while it waits for its trigger."""
        return self._next

    def _emit(self, data: bytes) -> None:
        """Bytes of the sample stream onto the line, with what the line does to them."""
        faults, start = self.faults, self._line_at
        self._line_at += len(data)
        places = {place for place in faults.lose_bytes | faults.garbage.keys() if start <= place < self._line_at}
        done = 0
        for place in sorted(places):
            self._stream += data[done : place - start] + faults.garbage.get(place, b"")
            done = place - start + (place in faults.lose_bytes)
        self._stream += data[done:]

    # The PTY.

    def __enter__(self) -> Self:
        import tty

        master, slave = os.openpty()
        tty.setraw(slave)  # neither echo nor translation, whatever opens it first
        os.set_blocking(master, False)
        self.port = os.ttyname(slave)
        self._closing = threading.Event()
        # The slave stays open here: without any opener the master would report a hang-up between two sessions.
        self._thread = threading.Thread(target=self._serve, args=(master, slave), name=f"sim {self.port}", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join(_STOP_S)

    def eventually(self, condition: Callable[[], bool], patience_s: float = 5.0) -> bool:
        """Wait until something is so: what the host writes takes a moment to arrive."""
        end_s = time.monotonic() + patience_s
        while not condition():
            if time.monotonic() > end_s:
                return False
            time.sleep(_POLL_S)
        return True

    def _serve(self, master: int, slave: int) -> None:
        out = b""
        try:
            with suppress(OSError, HungUp):
                while not self._closing.is_set():
                    out = out or self._due()
                    readable, writable, _ = select.select([master], [master] if out else [], [], _POLL_S)
                    if readable and (data := os.read(master, _CHUNK_BYTES)):
                        self.received += data
                        self._answer(data)
                        if not self.running:
                            out = b""
                    if writable:
                        with suppress(BlockingIOError):
                            out = out[os.write(master, out) :]
                            self._line_written(out)
        finally:
            os.close(master)
            os.close(slave)

    def _line_written(self, rest: bytes) -> None:
        if not rest and not self._stream and self._samples is not None and self._next >= self._samples:
            self.sent.set()

    def _due(self) -> bytes:
        """What is to be sent now."""
        if self._replies:
            data, self._replies = bytes(self._replies), bytearray()
            return data
        if not self._stream:
            self._make()
        data = bytes(self._stream[:_CHUNK_BYTES])
        if data and self.faults.hang_up_at is not None:
            left = self.faults.hang_up_at - (self._line_at - len(self._stream))
            if left <= 0:
                time.sleep(_LAST_READ_S)
                raise HungUp
            data = data[:left]
        del self._stream[: len(data)]
        return data

    def _make(self) -> None:
        if self._started_s is None:
            return
        now_s = None if self._speed is None else (time.monotonic() - self._started_s) * self._speed
        if self._edges and not self._triggered(now_s):
            return
        due = self._next + _BATCH if now_s is None else int((now_s - self._first_s) * self.rate_hz)
        end = min(limit for limit in (due, self._samples, self.faults.silent_from) if limit is not None)
        if end > self._next:
            index = np.arange(self._next, end, dtype=np.int64)
            self._next = end
            self._emit(self._encode(index, self._first_s + index / self.rate_hz))

    def _triggered(self, now_s: float | None) -> bool:
        """Look for the edge, further ahead each time."""
        looks = _LOOKS if now_s is None else min(int(now_s * _LOOKS_HZ) - self._looked, _LOOKS)
        if looks < 1:
            return False
        t_s = (self._looked + 1 + np.arange(looks)) / _LOOKS_HZ
        levels = (self.source.digital(t_s) & 1).astype(np.int8)
        found = np.flatnonzero(np.isin(np.diff(levels, prepend=np.int8(self._level)), self._edges))
        if found.size == 0:
            self._looked, self._level = self._looked + looks, int(levels[-1])
            return False
        self._first_s, self._edges = float(t_s[found[0]]), ()
        return True
