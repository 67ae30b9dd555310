"""Time as sessions see it: a clock that can be replaced, and deadlines on it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """A clock that never goes backwards; its zero means nothing."""

    def now_s(self) -> float: ...
    def sleep(self, seconds: float) -> None: ...


class MonotonicClock:
    """The host's clock."""

    def now_s(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class VirtualClock:
    """A clock that only moves when somebody sleeps: tests of timeouts that take no time."""

    def __init__(self, start_s: float = 0.0) -> None:
        self._now_s = start_s

    def now_s(self) -> float:
        return self._now_s

    def sleep(self, seconds: float) -> None:
        self._now_s += max(0.0, seconds)


@dataclass(frozen=True)
class Deadline:
    """The end of one step.  Whatever the step does inside shares it."""

    clock: Clock
    start_s: float
    end_s: float

    @classmethod
    def after(cls, clock: Clock, seconds: float) -> Deadline:
        now = clock.now_s()
        return cls(clock, now, now + seconds)

    def within(self, seconds: float) -> Deadline:
        """A deadline for a part of the step: so many seconds from now, but not beyond this one."""
        now = self.clock.now_s()
        return Deadline(self.clock, now, min(self.end_s, now + seconds))

    @property
    def remaining_s(self) -> float:
        return max(0.0, self.end_s - self.clock.now_s())

    @property
    def waited_s(self) -> float:
        return self.clock.now_s() - self.start_s
