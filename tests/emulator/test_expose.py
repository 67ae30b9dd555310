"""Ways into a board: bytes arrive as they were sent, clients come and go, and nothing stays behind."""

from __future__ import annotations

import os
import socket
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hil.emulator.expose import Bridge, Direct, PtyBridge, TcpBridge, expose, listen
from hil.emulator.process import Workspace
from hil.errors import ConfigError, LinkError

EVERYTHING = bytes(range(256))
LARGE = EVERYTHING * 1024


class Board:
    """Sends back what it is sent, behind one end of a PTY or of a TCP connection."""

    def __init__(self, kind: str) -> None:
        self._listener: socket.socket | None = None
        self._slave = -1
        if kind == "pty":
            self._end, self._slave = os.openpty()
            tty.setraw(self._slave)
            self.url = os.ttyname(self._slave)
        else:
            self._listener = listen(0)
            self.url = f"socket://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._echo)
        self._thread.start()

    def _echo(self) -> None:
        try:
            if self._listener is not None:
                self._end = self._listener.accept()[0].detach()
            while data := os.read(self._end, 1024):
                while data:
                    data = data[os.write(self._end, data) :]
        except OSError:
            pass  # hung up, or never connected to

    def close(self) -> None:
        """To be called when nobody is connected any more."""
        if self._listener is None:
            termios.tcflush(self._slave, termios.TCIOFLUSH)  # it may be sending to nobody
            os.close(self._slave)  # the last one: the master reports a hang-up
        else:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        self._thread.join(20)
        assert not self._thread.is_alive()


@pytest.fixture(params=["pty", "tcp"])
def board(request: pytest.FixtureRequest) -> Iterator[Board]:
    made = Board(request.param)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def space() -> Iterator[Workspace]:
    with Workspace() as made:
        yield made


Way = Callable[[Board, Workspace], Bridge]
WAYS: dict[str, Way] = {
    "tcp": lambda board, space: TcpBridge(0, board.url),
    "pty": lambda board, space: PtyBridge(space.path / "port", board.url, space),
}


@pytest.fixture
def clients(board: Board) -> Iterator[list[int]]:
    """Descriptors that are closed once the bridge is."""
    opened: list[int] = []
    yield opened
    for client in opened:
        os.close(client)


@pytest.fixture(params=WAYS)
def bridge(request: pytest.FixtureRequest, board: Board, space: Workspace, clients: list[int]) -> Iterator[Bridge]:
    made = WAYS[request.param](board, space)
    try:
        yield made
    finally:
        made.close()
        assert not any(thread.name == "bridge" for thread in threading.enumerate())


def _connect(name: str) -> int:
    if not name.startswith("socket://"):
        return os.open(name, os.O_RDWR | os.O_NOCTTY)
    host, _, port = name.removeprefix("socket://").partition(":")
    connection = socket.create_connection((host, int(port)), timeout=20)
    connection.settimeout(None)
    return connection.detach()


def _send(client: int, data: bytes) -> None:
    while data:
        data = data[os.write(client, data) :]


def _receive(client: int, count: int) -> bytes:
    data = b""
    while len(data) < count and (piece := os.read(client, count - len(data))):
        data += piece
    return data


def test_clients_come_and_go(bridge: Bridge) -> None:
    for _ in range(3):
        client = _connect(bridge.name)
        _send(client, EVERYTHING)
        assert _receive(client, len(EVERYTHING)) == EVERYTHING
        os.close(client)


def test_much_goes_both_ways_at_once(bridge: Bridge) -> None:
    client = _connect(bridge.name)
    writer = threading.Thread(target=_send, args=[client, LARGE])
    writer.start()
    assert _receive(client, len(LARGE)) == LARGE
    writer.join()
    os.close(client)


def test_it_closes_under_a_client_that_does_not_read(bridge: Bridge, clients: list[int]) -> None:
    client = _connect(bridge.name)
    clients.append(client)
    os.set_blocking(client, False)
    with pytest.raises(BlockingIOError):
        while True:  # until every buffer on the way there and back is full
            os.write(client, LARGE)
    assert not bridge.wait(0.1)  # and now the fixture closes it


@pytest.mark.parametrize("way", WAYS)
def test_the_end_of_the_board_ends_it(way: str, space: Workspace) -> None:
    near, far = os.openpty()
    bridge = WAYS[way](type("Gone", (), {"url": os.ttyname(far)})(), space)
    client = _connect(bridge.name)
    assert not bridge.wait(0.1)
    os.close(near)
    assert bridge.wait(20)
    bridge.close()
    os.close(client)
    os.close(far)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("url", ["socket://127.0.0.1:1", "/dev/pts/none"])
def test_no_board(way: str, url: str, space: Workspace) -> None:
    with pytest.raises(LinkError, match=f"{url}: no board there"):
        WAYS[way](type("None", (), {"url": url})(), space)


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_taken_port_or_name_leaves_nothing_open(board: Board, space: Workspace, tmp_path: Path) -> None:
    before = _descriptors()
    if not board.url.startswith("socket://"):
        with listen(0) as other, pytest.raises(LinkError, match="no TCP port"):
            TcpBridge(other.getsockname()[1], board.url)
        with pytest.raises(ConfigError, match=r"--pty .*: File exists"):
            PtyBridge(tmp_path, board.url, space)
        assert _descriptors() == before
    assert not any(thread.name == "bridge" for thread in threading.enumerate())


def test_expose_takes_the_shortest_way(board: Board, space: Workspace, tmp_path: Path) -> None:
    own_tcp = board.url.startswith("socket://")
    path = tmp_path / "port"
    path.symlink_to("/nowhere")  # left behind by an earlier board
    ways = [expose(board.url, space, pty=path), expose(board.url, space), expose(board.url, space, tcp=0)]
    try:
        assert [type(way) for way in ways] == (
            [PtyBridge, PtyBridge, Direct] if own_tcp else [Direct, Direct, TcpBridge]
        )
        assert ways[0].name == str(path) and path.resolve().parent == Path("/dev/pts")
        assert ways[1].name == str(space.path / "port")
        assert ways[2].name == board.url if own_tcp else ways[2].name.startswith("socket://127.0.0.1:")
        assert not any(way.wait(0) for way in ways)
    finally:
        for way in ways:
            way.close()
    space.close()
    assert not path.is_symlink()  # a link goes with the workspace, a PTY of ours with its bridge
