"""Links: bytes to and from a board.  A link knows no protocol.

``open_link`` takes what pyserial takes: a device, a PTY, ``socket://host:port``, ``rfc2217://host:port``, ``loop://``.
"""

from __future__ import annotations

import os
import re
import select
import socket
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import urlsplit

from hil.board.errors import LinkLost
from hil.errors import LinkError

_POLL_S = 0.02  # pyserial's own timeout: changing it for each read would renegotiate on rfc2217://
_CONNECT_S = 5.0
_WRITE_S = 10.0


class Link(Protocol):
    """Bytes to and from the far end.  ``read`` and ``write`` raise LinkLost where it is gone."""

    @property
    def name(self) -> str: ...
    def read(self, max_bytes: int, timeout_s: float) -> bytes:
        """Wait for the first byte; what is there, at most ``max_bytes``; empty after ``timeout_s``."""
        ...

    def write(self, data: bytes) -> None: ...
    def close(self) -> None:
        """May be called more than once."""
        ...


def open_link(port: str, baud: int = 115_200) -> Link:
    """Open a device or URL, for this process alone.  Raises LinkError that names the port and the candidates."""
    if port.startswith("socket://"):
        return SocketLink(port)
    return SerialLink(port, baud)


class SerialLink:
    """A serial port, PTY or pyserial URL."""

    def __init__(self, port: str, baud: int) -> None:
        import serial  # type: ignore[import-untyped]

        self.name = port
        is_url = "://" in port
        self._lock = None if is_url else PortLock(port)
        try:
            exclusive = {} if is_url else {"exclusive": True}
            self._port: Any = serial.serial_for_url(
                port, baud, timeout=_POLL_S, write_timeout=None if is_url else _WRITE_S, **exclusive
            )
        except (OSError, ValueError) as error:  # pyserial's SerialException is an OSError
            self._release()
            raise LinkError(f"{port}: cannot be opened: {_reason(error)}", hint=_candidates_hint()) from error

    def read(self, max_bytes: int, timeout_s: float) -> bytes:
        from serial.serialutil import Timeout  # type: ignore[import-untyped]

        timeout = Timeout(timeout_s)
        try:
            while True:
                there = min(max_bytes, max(1, self._port.in_waiting))
                data = bytes(self._port.read(there))
                if data or timeout.expired():
                    return data
        except (OSError, TypeError) as error:  # TypeError: pyserial after another thread closed the port
            raise LinkLost(f"{self.name}: lost while reading: {_reason(error)}") from error

    def write(self, data: bytes) -> None:
        try:
            self._port.write(data)  # and no flush: it has no deadline, and hangs on a USB board that hangs
        except (OSError, TypeError) as error:
            raise LinkLost(f"{self.name}: lost while writing: {_reason(error)}") from error

    def close(self) -> None:
        with suppress(OSError):
            self._port.close()
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()


class SocketLink:
    """A TCP connection that carries the bytes as they are.

    Not through pyserial: its ``socket://`` gives one byte per read and leaves Nagle's algorithm on, which delays every
    short command behind the acknowledgement of the one before.
    """

    def __init__(self, url: str) -> None:
        self.name = url
        try:
            parts = urlsplit(url)
            if not parts.hostname or parts.port is None:
                raise ValueError("expected socket://host:port")
            self._socket = socket.create_connection((parts.hostname, parts.port), timeout=_CONNECT_S)
        except (OSError, ValueError) as error:
            raise LinkError(
                f"{url}: cannot be opened: {_reason(error)}", hint="is the emulator or serial server running?"
            ) from error
        self._socket.settimeout(_WRITE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read(self, max_bytes: int, timeout_s: float) -> bytes:
        try:
            if not select.select([self._socket], [], [], timeout_s)[0]:
                return b""
            data = self._socket.recv(max_bytes)
        except (OSError, ValueError) as error:  # ValueError: closed
            raise LinkLost(f"{self.name}: lost while reading: {_reason(error)}") from error
        if not data:
            raise LinkLost(f"{self.name}: the far end closed the connection")
        return data

    def write(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise LinkLost(f"{self.name}: lost while writing: {_reason(error)}") from error

    def close(self) -> None:
        self._socket.close()


class PortLock:
    """One process per port.

    The kernel's lock on the file counts, so the lock of a process that died is free; the process id in it is for the
    error.  The file stays: removing it would let two processes hold locks on two files of one name.
    """

    def __init__(self, port: str) -> None:
        import fcntl

        device = Path(port).resolve()
        path = lock_folder() / (re.sub(r"[^A-Za-z0-9]+", "_", str(device)).strip("_") + ".lock")
        try:
            self._file: IO[str] | None = path.open("a+", encoding="ascii")
        except OSError as error:
            raise LinkError(f"{path}: cannot be written: {error.strerror}", hint="set XDG_RUNTIME_DIR") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.seek(0)
            holder = self._file.read(20).strip() or "unknown"
            self._file.close()
            raise LinkError(
                f"{port}: in use by process {holder}", hint=f"wait for it or end it; its lock is {path}"
            ) from error
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()

    def release(self) -> None:
        """Give the port free.  May be called more than once."""
        if self._file is not None:
            self._file.truncate(0)
            self._file.close()
            self._file = None


def lock_folder() -> Path:
    """Where this user's port locks lie."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(base) / "hil" if base else Path(tempfile.gettempdir()) / f"hil-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise LinkError(f"{folder}: cannot be made: {error.strerror}", hint="set XDG_RUNTIME_DIR") from error
    return folder


def _candidates_hint() -> str:
    from serial.tools.list_ports import comports  # type: ignore[import-untyped]

    ports = [f"{port.device} ({port.description})" for port in comports()]
    return f"ports here: {', '.join(ports)}" if ports else "no serial port is here; is the board plugged in?"


def _reason(error: BaseException) -> str:
    """One line of an exception of pyserial or the system."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())
