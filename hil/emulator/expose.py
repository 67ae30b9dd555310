"""Ways into an emulated board for any program: a TCP port of the loopback interface, or a PTY with a name."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from hil.board.dut import Dut
from hil.emulator.process import Workspace
from hil.errors import ConfigError, LinkError

_PIECE_BYTES = 4096
_CONNECT_S = 10.0
_SOCKET = "socket://"


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


class Bridge:
    """Carries bytes between a board's own port and one client after the other, in a thread, until ``close`` or the
    board's end.

    At most one piece waits in either direction: a side that does not read holds the other one up, as flow control
    would.  ``name`` is what a client opens.  Raises LinkError where no board answers at ``url``.
    """

    name: str

    def __init__(self, url: str) -> None:
        with contextlib.ExitStack() as stack:
            self._board = _open_board(url)
            stack.callback(os.close, self._board)
            self._open(stack)
            self._wake, self._waker = os.pipe()
            stack.callback(os.close, self._wake)
            self._thread = threading.Thread(target=self._loop, name="bridge", daemon=True)
            self._thread.start()
            self._opened = stack.pop_all()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the board's end; True when it has come."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def close(self) -> None:
        os.close(self._waker)  # the end of this pipe wakes the thread from any wait
        self._thread.join()
        self._opened.close()

    def _open(self, stack: contextlib.ExitStack) -> None:
        """Open what clients come through, and set ``name``; ``stack`` closes it."""
        raise NotImplementedError

    @contextlib.contextmanager
    def _client(self) -> Iterator[int]:
        """The next client, as a descriptor that never blocks.  Raises _Ended when closing."""
        raise NotImplementedError

    def _loop(self) -> None:
        with contextlib.suppress(_Ended):
            while True:
                with contextlib.suppress(ConnectionError, BlockingIOError), self._client() as client:
                    self._carry(client)

    def _carry(self, client: int) -> None:
        """Until the client leaves.  Raises _Ended at the board's end, or when closing."""
        far = {client: self._board, self._board: client}
        waiting = {client: b"", self._board: b""}  # what is to be written there
        while True:
            sources = [end for end in far if not waiting[far[end]]]
            sinks = [end for end in far if waiting[end]]
            readable, writable = self._select(sources, sinks)
            for end in writable:
                waiting[end] = _write(end, waiting[end])
            for end in readable:
                data = _read(end)
                if not data and end == client:
                    return
                if not data:
                    raise _Ended
                waiting[far[end]] = data

    def _select(self, sources: list[int], sinks: list[int]) -> tuple[list[int], list[int]]:
        """Descriptors that are ready for reading and for writing.  Raises _Ended when closing."""
        readable, writable, _ = select.select([*sources, self._wake], sinks, [])
        if self._wake in readable:
            raise _Ended
        return readable, writable


class _Ended(Exception):
    """The board is gone, or the bridge closes."""


class PtyBridge(Bridge):
    """A PTY behind the link ``path``; clients come and go.

    Raises ConfigError where something else is at ``path``.
    """

    def __init__(self, path: Path, url: str, space: Workspace) -> None:
        self.name = str(path)
        self._path, self._space = path, space
        super().__init__(url)

    def _open(self, stack: contextlib.ExitStack) -> None:
        self._master, slave = os.openpty()
        stack.callback(os.close, self._master)
        stack.callback(os.close, slave)  # ours stays open: without any opener the master would report a hang-up
        make_raw(slave)
        os.set_blocking(self._master, False)
        link(self._path, os.ttyname(slave), self._space)
        stack.callback(self._path.unlink, missing_ok=True)

    @contextlib.contextmanager
    def _client(self) -> Iterator[int]:
        yield self._master


class TcpBridge(Bridge):
    """A port of the loopback interface, 0: any free one; one client at a time.  Raises LinkError where it is taken."""

    def __init__(self, port: int, url: str) -> None:
        self._port = port
        super().__init__(url)

    def _open(self, stack: contextlib.ExitStack) -> None:
        self._listener = stack.enter_context(listen(self._port))
        self._listener.setblocking(False)
        self.name = f"socket://127.0.0.1:{self._listener.getsockname()[1]}"

    @contextlib.contextmanager
    def _client(self) -> Iterator[int]:
        self._select([self._listener.fileno()], [])
        connection, _ = self._listener.accept()
        with connection:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield connection.fileno()


class Direct:
    """A board whose own port is the way in: nothing to carry."""

    def __init__(self, name: str) -> None:
        self.name = name

    def wait(self, timeout_s: float) -> bool:
        time.sleep(timeout_s)
        return False

    def close(self) -> None:
        pass


def expose(url: str, space: Workspace, *, pty: Path | None = None, tcp: int | None = None) -> Bridge | Direct:
    """A way into the board at ``url`` (``socket://host:port``, or a PTY's path): the TCP port ``tcp`` where one is
    asked for, else a PTY, linked at ``pty`` (None: in the workspace).

    A board that has a TCP port has the one that it was started with.  Raises ConfigError, LinkError.
    """
    path = pty or space.path / "port"
    if _is_socket(url):
        return PtyBridge(path, url, space) if tcp is None else Direct(url)
    if tcp is not None:
        return TcpBridge(tcp, url)
    link(path, os.path.realpath(url), space)
    return Direct(str(path))


def link(path: Path, target: str, space: Workspace) -> None:
    """A name for a port, which goes with the workspace.  Raises ConfigError where something else has the name."""
    if path.is_symlink() and not path.exists():
        path.unlink()  # left behind by a board that is no more
    try:
        path.symlink_to(target)
    except OSError as error:
        raise ConfigError(
            f"--pty {path}: {error.strerror or error}", hint="name a file that does not exist yet"
        ) from error
    space.adopt(path)


def make_raw(terminal: int) -> None:
    """Bytes as they are, whatever the terminal did before: no echo, no translation, no flow control by bytes."""
    speed = termios.B115200
    codes: list[bytes | int] = [b"\0"] * len(termios.tcgetattr(terminal)[6])
    codes[termios.VMIN], codes[termios.VTIME] = 1, 0
    flags = termios.CS8 | termios.CREAD | termios.CLOCAL
    attributes: list[int | list[bytes | int]] = [0, 0, flags, 0, speed, speed, codes]
    termios.tcsetattr(terminal, termios.TCSANOW, attributes)


def _is_socket(url: str) -> bool:
    return url.startswith(_SOCKET)


def _open_board(url: str) -> int:
    """A descriptor of a board's own port, which never blocks.  Raises LinkError."""
    try:
        if not _is_socket(url):
            return os.open(url, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        host, _, port = url.removeprefix(_SOCKET).partition(":")
        connection = socket.create_connection((host, int(port)), timeout=_CONNECT_S)
    except OSError as error:
        raise LinkError(f"{url}: no board there: {error.strerror or error}") from error
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setblocking(False)
    return connection.detach()


def _read(descriptor: int) -> bytes:
    """What is there; nothing at the end, a reset or a hang-up included."""
    try:
        return os.read(descriptor, _PIECE_BYTES)
    except OSError:
        return b""


def _write(descriptor: int, data: bytes) -> bytes:
    """What is left to write.  Nothing is where nobody is: the next read tells."""
    try:
        return data[os.write(descriptor, data) :]
    except BlockingIOError:
        return data
    except OSError:
        return b""


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
