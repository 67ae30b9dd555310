"""Raw words with a board end in time, whatever the board says."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hil.board.errors import LinkTimeout
from hil.cli.main import main
from hil.robot.wire import Wire


@pytest.fixture
def chatterbox() -> Iterator[str]:
    """A board that never stops talking."""
    listener = socket.create_server(("127.0.0.1", 0))

    def talk() -> None:
        client, _ = listener.accept()
        with client, suppress(OSError):
            while True:
                client.sendall(b"debug: hello\r\n" * 20)
                time.sleep(0.001)

    thread = threading.Thread(target=talk, daemon=True)
    thread.start()
    yield f"socket://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()


def test_a_board_that_never_stops_talking_ends_every_wait(chatterbox: str, tmp_path: Path) -> None:
    wire = Wire(chatterbox, None, tmp_path / "capture.jsonl")
    try:
        assert wire.settle(0.2, 1.0)
        with pytest.raises(LinkTimeout, match="debug: hello"):
            wire.answer(0.5)
    finally:
        wire.close()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--platform", "max7800"], "there is no platform 'max7800'"), (["--backend", "qmeu"], "did you mean 'qemu'?")],
)
def test_wrong_names_are_told_before_robot_starts(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["robot", "protocol", *arguments, "--out", str(tmp_path), "--json"]) == 2
    assert words in capsys.readouterr().err
