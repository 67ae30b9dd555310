"""Links to PTYs, sockets and URLs; one process per port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from known_board import KnownModel

from hil.board.dut import Dut
from hil.board.errors import LinkLost
from hil.board.link import Link, PortLock, SocketLink, lock_folder, open_link
from hil.board.serve import DutLink, PtyBoard
from hil.errors import LinkError


@pytest.fixture(autouse=True)
def _locks_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


@pytest.fixture
def board() -> Iterator[PtyBoard]:
    with PtyBoard(DutLink(Dut(KnownModel()))) as board:
        yield board


def read_until(link: Link, end: bytes, patience: int = 100) -> bytes:
    data = b""
    for _ in range(patience):
        data += link.read(4096, 0.1)
        if data.endswith(end):
            break
    return data


def test_a_pty_is_a_link(board: PtyBoard) -> None:
    link = open_link(board.path)
    assert link.name == board.path
    read_until(link, b"m-ready\r\n", patience=3)  # the banner, unless opening the port flushed it
    assert link.read(10, 0.01) == b""
    link.write(b"name%")
    assert read_until(link, b"m-ready\r\n") == b"m-name-dut-[hil]\r\nm-ready\r\n"
    link.close()
    link.close()
    with pytest.raises(LinkLost):
        link.read(1, 0.1)


def test_a_port_that_hangs_up_is_lost_not_silent(board: PtyBoard) -> None:
    link = open_link(board.path)
    board.close()
    with pytest.raises(LinkLost, match="lost while"):
        for _ in range(10):
            link.write(b"name%")
            link.read(100, 0.05)
    link.close()


def test_loop_gives_back_what_was_written() -> None:
    link = open_link("loop://")
    link.write(b"abc")
    assert link.read(2, 1.0) + link.read(2, 1.0) == b"abc"
    link.close()


def test_a_socket_sends_at_once_reads_in_bulk_and_notices_the_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = open_link(f"socket://127.0.0.1:{server.getsockname()[1]}")
        assert isinstance(link, SocketLink)
        assert link._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        far, _ = server.accept()
        with far:
            link.write(b"name%")
            assert far.recv(10) == b"name%"
            assert link.read(10, 0.01) == b""
            far.sendall(b"x" * 1000)
            assert read_until(link, b"x" * 1000) == b"x" * 1000
        with pytest.raises(LinkLost, match="the far end closed"):
            link.read(10, 1.0)
        link.close()
        with pytest.raises(LinkLost):
            link.read(10, 0.0)


class Rfc2217Server:
    """pyserial's own RFC 2217 server in front of a port that gives back what it gets."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"rfc2217://127.0.0.1:{self._server.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def write(self, data: bytes) -> None:
        self._client.sendall(data)

    def _serve(self) -> None:
        from serial import rfc2217, serial_for_url

        self._client, _ = self._server.accept()
        port = serial_for_url("loop://", timeout=0)
        manager = rfc2217.PortManager(port, self)
        with self._client:
            while data := self._client.recv(1024):
                port.write(b"".join(manager.filter(data)))
                self.write(b"".join(manager.escape(port.read(1024))))
        port.close()

    def close(self) -> None:
        self._thread.join(10)
        self._server.close()


# pyserial 3.5 uses setDaemon() and setName() for the thread of RFC 2217.
@pytest.mark.filterwarnings("ignore:set(Daemon|Name):DeprecationWarning")
def test_a_port_of_another_machine_is_a_link() -> None:
    server = Rfc2217Server()
    link = open_link(server.url)
    link.write(b"name%\xff")
    assert read_until(link, b"\xff") == b"name%\xff"
    assert link.read(10, 0.01) == b""
    link.close()
    server.close()


@pytest.mark.parametrize(
    ("port", "said"),
    [
        ("/dev/none-such", "/dev/none-such: cannot be opened: "),
        ("socket://127.0.0.1", "expected socket://host:port"),
        ("socket://127.0.0.1:99999", "cannot be opened"),
        ("nonsense://x", "nonsense://x: cannot be opened"),
    ],
)
def test_a_port_that_cannot_be_opened_is_named(port: str, said: str) -> None:
    with pytest.raises(LinkError, match=said) as raised:
        open_link(port)
    assert raised.value.hint


def test_a_port_that_failed_to_open_is_not_locked(board: PtyBoard) -> None:
    for _ in range(2):
        with pytest.raises(LinkError, match="cannot be opened"):
            open_link("/dev/none-such")


def test_one_process_has_a_port_at_a_time(board: PtyBoard, tmp_path: Path) -> None:
    alias = tmp_path / "alias"
    alias.symlink_to(board.path)
    link = open_link(board.path)
    for name in (board.path, str(alias)):
        with pytest.raises(LinkError, match=f"in use by process {os.getpid()}"):
            open_link(name)
    link.close()
    open_link(str(alias)).close()


def test_the_lock_of_a_dead_process_is_taken_over() -> None:
    code = """
import sys
from hil.board.link import Link, PortLock
lock = PortLock("/dev/ttyTest")
print("locked", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"locked\n"
        with pytest.raises(LinkError, match=f"/dev/ttyTest: in use by process {process.pid}"):
            PortLock("/dev/ttyTest")
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
    (file,) = lock_folder().iterdir()
    assert file.read_text() == f"{process.pid}\n"  # it left its lock behind
    lock = PortLock("/dev/ttyTest")
    assert file.read_text() == f"{os.getpid()}\n"
    lock.release()
    lock.release()
    assert file.read_text() == ""


def test_a_lock_folder_that_cannot_be_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "file"))
    with pytest.raises(LinkError, match="cannot be made"):
        PortLock("/dev/ttyTest")
