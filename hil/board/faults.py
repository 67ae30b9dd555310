"""What real links do to bytes, on purpose and repeatably: for tests of everything that talks to boards.

A ``FaultyLink`` goes around any link; behind ``hil.board.serve.Pump`` it makes a faulty cable between two ends.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hil.board.clock import Clock
from hil.board.errors import LinkLost
from hil.board.link import Link

_STALL_S = (0.01, 3.0)  # from a slow bridge to beyond the wait for an answer
_NOISE_BYTES = (1, 40)


@dataclass(frozen=True)
class Rates:
    """Probabilities: of `flip` and `drop` per byte, of `noise` per transfer, of the others per line.

    ``budget`` bounds the faults of one schedule: after them the line is clean.
    """

    flip: float = 0.0  # one bit of the byte
    drop: float = 0.0
    duplicate: float = 0.0  # the whole line
    split: float = 0.0  # a line end in the middle of it
    stall: float = 0.0
    noise: float = 0.0  # random bytes, as at a wrong baud rate
    disconnect: float = 0.0
    reboot: float = 0.0  # the board starts anew and forgets what it was printing
    budget: int = 1_000_000


@dataclass(frozen=True)
class Deliver:
    data: bytes


@dataclass(frozen=True)
class Stall:
    seconds: float


@dataclass(frozen=True)
class Disconnect:
    pass


@dataclass(frozen=True)
class Reboot:
    pass


Action = Deliver | Stall | Disconnect | Reboot


class FaultSchedule:
    """What becomes of the bytes that go one way.  The same seed and bytes give the same faults."""

    def __init__(self, seed: int, rates: Rates) -> None:
        self._random = random.Random(seed)
        self._rates = rates
        self._left = rates.budget
        self.faults = 0

    def actions(self, data: bytes) -> Iterator[Action]:
        """What happens in place of the transfer of ``data``."""
        chance, rates = self._random, self._rates
        if self._hit(rates.noise):
            yield Deliver(chance.randbytes(chance.randint(*_NOISE_BYTES)))
        for line in data.splitlines(keepends=True):
            if self._hit(rates.stall):
                yield Stall(chance.uniform(*_STALL_S))
            if self._hit(rates.reboot):
                yield Reboot()
                return
            if self._hit(rates.disconnect):
                yield Disconnect()
                return
            spoiled = self._spoil(line)
            if self._hit(rates.split):
                at = chance.randint(0, len(spoiled))
                spoiled = spoiled[:at] + b"\r\n" + spoiled[at:]
            yield Deliver(spoiled)
            if self._hit(rates.duplicate):
                yield Deliver(spoiled)

    def _spoil(self, line: bytes) -> bytes:
        kept = bytearray()
        for byte in line:
            if not self._hit(self._rates.drop):
                kept.append(byte ^ (1 << self._random.randrange(8)) if self._hit(self._rates.flip) else byte)
        return bytes(kept)

    def _hit(self, probability: float) -> bool:
        if self._left <= 0 or self._random.random() >= probability:
            return False
        self._left -= 1
        self.faults += 1
        return True


class FaultyLink:
    """A link whose bytes meet faults both ways.

    ``reboot`` restarts the board; ``stale`` are bytes that wait in the bridge when the link is opened.
    """

    def __init__(
        self,
        link: Link,
        to_board: FaultSchedule,
        from_board: FaultSchedule,
        clock: Clock,
        reboot: Callable[[], None],
        stale: bytes = b"",
    ) -> None:
        self.name = f"faulty {link.name}"
        self._link = link
        self._to_board, self._from_board = to_board, from_board
        self._clock = clock
        self._reboot = reboot
        self._coming: deque[Action] = deque([Deliver(stale)] if stale else [])
        self._silent_until_s = clock.now_s()
        self._cut = False

    def read(self, max_bytes: int, timeout_s: float) -> bytes:
        end_s = self._clock.now_s() + timeout_s
        while True:
            self._check()
            silent_s = self._silent_until_s - self._clock.now_s()
            left_s = max(0.0, end_s - self._clock.now_s())
            if silent_s > 0:
                self._clock.sleep(min(silent_s, left_s))
                if silent_s >= left_s:
                    return b""
            elif self._coming:
                if data := self._next(max_bytes):
                    return data
            elif data := self._link.read(max_bytes, left_s):
                self._coming.extend(self._from_board.actions(data))
            else:
                return b""

    def _next(self, max_bytes: int) -> bytes:
        """Do the next thing that comes from the board; the bytes that it delivers, if any."""
        action = self._coming.popleft()
        if isinstance(action, Deliver):
            if len(action.data) > max_bytes:
                self._coming.appendleft(Deliver(action.data[max_bytes:]))
            return action.data[:max_bytes]
        if isinstance(action, Stall):
            self._silent_until_s = self._clock.now_s() + action.seconds
        else:
            self._break(action)
        return b""

    def write(self, data: bytes) -> None:
        self._check()
        for action in self._to_board.actions(data):
            if isinstance(action, Deliver):
                self._link.write(action.data)
            elif isinstance(action, Stall):
                self._clock.sleep(action.seconds)
            else:
                self._break(action)
                self._check()

    def close(self) -> None:
        self._cut = True
        self._link.close()

    def _break(self, action: Disconnect | Reboot) -> None:
        self._coming.clear()
        if isinstance(action, Reboot):
            self._reboot()
        else:
            self._cut = True

    def _check(self) -> None:
        if self._cut:
            raise LinkLost(f"{self.name}: unplugged")
