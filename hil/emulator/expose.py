"""Ways into an emulated board for any program: a TCP port of the loopback interface, or a PTY with a name."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import tty
from pathlib import Path

from hil.board.dut import Dut
from hil.emulator.process import Workspace
from hil.errors import ConfigError, LinkError

_PIECE_BYTES = 4096


class DutServer:
    """A board in Python behind a TCP port.  It boots when its port opens; one client at a time."""

    def __init__(self, dut: Dut, port: int = 0) -> None:
        self._dut = dut
        self._listener = listen(port)
        self.url = f"socket://127.0.0.1:{self._listener.getsockname()[1]}"
        self._wake, self._waker = socket.socketpair()
        self._client: socket.socket | None = None
        self._thread = threading.Thread(target=self._loop, name="python board", daemon=True)
        self._thread.start()

    def failure(self) -> str | None:
        return None

    def close(self) -> None:
        self._waker.close()
        _hang_up(self._client)  # it may not read what is being sent to it
        self._thread.join()
        self._listener.close()
        self._wake.close()

    def _loop(self) -> None:
        while self._ready(self._listener):
            client, _ = self._listener.accept()
            self._client = client
            with client, contextlib.suppress(OSError):
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                client.sendall(self._dut.boot())
                while self._ready(client) and (data := client.recv(_PIECE_BYTES)):
                    client.sendall(self._dut.feed(data))

    def _ready(self, source: socket.socket) -> bool:
        """Wait for the socket; False when the server closes."""
        readable, _, _ = select.select([source, self._wake], [], [])
        return self._wake not in readable


class PtyBridge:
    """A PTY behind ``path`` whose bytes go to and come from a board's TCP port.

    The path is a link that goes with the workspace.  Raises ConfigError where it is taken, LinkError where the board
    cannot be reached.
    """

    def __init__(self, path: Path, url: str, space: Workspace) -> None:
        host, _, port = url.removeprefix("socket://").partition(":")
        try:
            self._board = socket.create_connection((host, int(port)), timeout=10)
        except OSError as error:
            raise LinkError(f"{url}: no board there: {error.strerror or error}") from error
        self._board.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._board.settimeout(None)
        self._master, self._slave = os.openpty()  # our own end of the slave stays open: clients come and go
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = path
        if path.is_symlink() and not path.exists():
            path.unlink()  # left behind by a board that is no more
        try:
            path.symlink_to(os.ttyname(self._slave))
            space.adopt(path)
        except OSError as error:
            self._close_ends()
            raise ConfigError(
                f"--pty {path}: {error.strerror or error}", hint="name a file that does not exist yet"
            ) from error
        self._wake, self._waker = os.pipe()
        self._thread = threading.Thread(target=self._loop, name="pty", daemon=True)
        self._thread.start()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the board's end to close; True when it has."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def close(self) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self._waker)
        _hang_up(self._board)
        self._thread.join()
        os.close(self._wake)
        self._close_ends()

    def _close_ends(self) -> None:
        self._board.close()
        os.close(self._master)
        os.close(self._slave)

    def _loop(self) -> None:
        board = self._board.fileno()
        with contextlib.suppress(OSError):
            while ready := self._select([self._master, board], []):
                if self._master in ready:
                    self._board.sendall(os.read(self._master, _PIECE_BYTES))
                if board in ready:
                    data = self._board.recv(_PIECE_BYTES)
                    if not data:
                        return
                    while data:  # a client that does not read holds the board up, as flow control would
                        if not self._select([], [self._master]):
                            return
                        data = data[os.write(self._master, data) :]

    def _select(self, sources: list[int], sinks: list[int]) -> list[int]:
        """Descriptors that are ready; none when the bridge closes."""
        readable, writable, _ = select.select([*sources, self._wake], sinks, [])
        return [] if self._wake in readable else [*readable, *writable]


def _hang_up(connection: socket.socket | None) -> None:
    """End a connection that another thread may be blocked on."""
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


def listen(port: int) -> socket.socket:
    """A listening socket of the loopback interface; port 0: any free one.  Raises LinkError where it is taken."""
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise LinkError(
            f"no TCP port {port or ''} on 127.0.0.1: {error.strerror or error}", hint="choose another port"
        ) from error
