"""Boards that are programs: a ``Dut`` as a link, behind a PTY, or behind any file descriptor."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from contextlib import suppress

from hil.board.clock import Clock, MonotonicClock
from hil.board.dut import Dut
from hil.board.errors import LinkLost
from hil.board.link import Link
from hil.errors import LinkError

_PUMP_BYTES = 4096
_PUMP_POLL_S = 0.005
_STOP_S = 5.0


class DutLink:
    """A board in this process: what is written is answered at once."""

    def __init__(self, dut: Dut, clock: Clock | None = None, name: str = "dut") -> None:
        self.name = name
        self._dut = dut
        self._clock = clock or MonotonicClock()
        self._out = bytearray(dut.boot())

    def reboot(self) -> None:
        """As a power cycle: what was not read yet is gone."""
        self._out[:] = self._dut.boot()

    def read(self, max_bytes: int, timeout_s: float) -> bytes:
        if not self._out:
            self._clock.sleep(timeout_s)
        data = bytes(self._out[:max_bytes])
        del self._out[: len(data)]
        return data

    def write(self, data: bytes) -> None:
        self._out += self._dut.feed(data)

    def close(self) -> None:
        pass


class FdLink:
    """A file descriptor as a link, which owns it: the master of a PTY, a socket."""

    def __init__(self, fd: int, name: str) -> None:
        self.name = name
        self._fd: int | None = fd

    def read(self, max_bytes: int, timeout_s: float) -> bytes:
        try:
            if not select.select([self._open()], [], [], timeout_s)[0]:
                return b""
            data = os.read(self._open(), max_bytes)
        except OSError as error:
            raise LinkLost(f"{self.name}: lost while reading: {error.strerror}") from error
        if not data:
            raise LinkLost(f"{self.name}: the far end closed")
        return data

    def write(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._open(), data) :]
        except OSError as error:
            raise LinkLost(f"{self.name}: lost while writing: {error.strerror}") from error

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _open(self) -> int:
        if self._fd is None:
            raise LinkLost(f"{self.name}: closed")
        return self._fd


class Pump:
    """A thread that carries bytes between two links until one is lost or ``close`` is called; closes both."""

    def __init__(self, near: Link, far: Link, on_end: Callable[[], None] | None = None) -> None:
        self._near, self._far, self._on_end = near, far, on_end
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"pump {near.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop and wait for the thread.  May be called more than once."""
        self._stopping.set()
        self._thread.join(_STOP_S)

    def _run(self) -> None:
        with suppress(LinkError):
            while not self._stopping.is_set():
                if data := self._near.read(_PUMP_BYTES, _PUMP_POLL_S):
                    self._far.write(data)
                while (data := self._far.read(_PUMP_BYTES, 0.0)) and not self._stopping.is_set():
                    self._near.write(data)
        self._near.close()
        self._far.close()
        if self._on_end is not None:
            self._on_end()


class PtyBoard:
    """A PTY at ``path`` behind which a link answers: a context manager."""

    def __init__(self, far: Link) -> None:
        import tty

        master, slave = os.openpty()
        tty.setraw(slave)  # neither echo nor translation, whatever opens it first
        self.path = os.ttyname(slave)
        # The slave stays open here: without any opener the master would report a hang-up between two sessions.
        self._pump = Pump(FdLink(master, f"master of {self.path}"), far, on_end=lambda: os.close(slave))

    def close(self) -> None:
        """Hang up.  May be called more than once."""
        self._pump.close()

    def __enter__(self) -> PtyBoard:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
