"""A board's line for raw keywords: what is sent goes out as it is, what comes back comes line by line.

Unlike a session it repeats nothing and forgives nothing: it is for testing boards, not for measuring on them.
"""

from __future__ import annotations

import re
from collections import deque
from pathlib import Path

from hil.board.capture import Capture, new_capture_path, recorded
from hil.board.clock import Deadline, MonotonicClock
from hil.board.codec import COMMAND_END, LineSplitter, Ready
from hil.board.errors import LinkTimeout, ProtocolError
from hil.board.link import open_link

_READ_BYTES = 4096
_KEPT_LINES = 5
PROMPT = str(Ready())


class Wire:
    """An open line to a board, captured in ``path``.  Every wait has a deadline on the host's clock."""

    def __init__(self, port: str, baud: int, captures: Path | None) -> None:
        self.path = new_capture_path(port, captures)
        self._capture = Capture(self.path, port=port, baud=baud)
        self._link = recorded(lambda: open_link(port, baud), self._capture)()
        self._splitter = LineSplitter()
        self._lines: deque[str] = deque()
        self._said: deque[str] = deque(maxlen=_KEPT_LINES)
        self._clock = MonotonicClock()

    def send(self, data: bytes) -> None:
        self._link.write(data)

    def command(self, text: str) -> None:
        self.send(text.encode("ascii", "replace") + COMMAND_END)

    def line(self, deadline: Deadline) -> str:
        """The next line.  Raises LinkTimeout with the last lines and the capture: also where the board never stops."""
        while not self._lines or deadline.remaining_s <= 0:
            if not self._lines:
                data = self._link.read(_READ_BYTES, deadline.remaining_s)
                self._lines += [line.text for line in self._splitter.feed(data)]
            if deadline.remaining_s <= 0:
                what = f"no line after {' | '.join(self._said) or 'nothing'}"
                raise LinkTimeout("expect", deadline.waited_s, tuple(self._said), what=what, hint=self.where)
        self._said.append(self._lines[0])
        return self._lines.popleft()

    def answer(self, within_s: float) -> list[str]:
        """All lines up to the prompt, without it."""
        deadline, found = self.deadline(within_s), list[str]()
        while (line := self.line(deadline)) != PROMPT:
            found.append(line)
        return found

    def expect(self, pattern: str, within_s: float) -> re.Match[str]:
        """The next line, which must match all of a regular expression.  Raises ProtocolError where it does not."""
        line = self.line(self.deadline(within_s))
        match = re.fullmatch(pattern, line)
        if match is None:
            raise ProtocolError(f"expected a line like '{pattern}', the board said '{line}'", hint=self.where)
        return match

    def settle(self, quiet_s: float, within_s: float) -> list[str]:
        """Wait for the first line, then read until the line was quiet for ``quiet_s``; what came."""
        deadline, found = self.deadline(within_s), list[str]()
        try:
            while True:
                found.append(self.line(deadline.within(quiet_s) if found else deadline))
        except LinkTimeout:
            return found

    def deadline(self, within_s: float) -> Deadline:
        return Deadline.after(self._clock, within_s)

    @property
    def where(self) -> str:
        return f"capture: {self.path}"

    def close(self) -> None:
        self._link.close()
        self._capture.close()
