"""docs/protocol.md is true: its transcript is what a board says, its examples are read, its lines are known."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from known_board import KnownModel

from hil.board import codec
from hil.board.boards import load_boards
from hil.board.capture import Record, import_transcript, read_capture
from hil.board.dut import Dut
from hil.board.session import Limits

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
BLOCKS = re.findall(r"```\w*\n(.*?)```", PAGE, flags=re.DOTALL)


def block(begin: str) -> str:
    (found,) = (text for text in BLOCKS if text.startswith(begin))
    return str(found)


def test_the_transcript_is_what_a_board_says() -> None:
    recording = import_transcript(block("< m-timestamp-mode"))
    dut = Dut(KnownModel())
    said = dut.boot() + b"".join(dut.feed(record.data) for record in recording.records if record.dir == "out")
    assert said == recording.bytes_of("in")


def test_every_line_of_the_codec_is_on_the_page() -> None:
    for line, _ in codec._patterns():
        start = re.split(r"\[?\{", line.template)[0]
        assert start in PAGE, f"{line.__name__}: {start}"
    assert all(f"`{feature}%`" in PAGE for feature in codec.FEATURES)


def test_the_capture_on_the_page_is_read(tmp_path: Path) -> None:
    path = tmp_path / "page.jsonl"
    path.write_text(block('{"schema"'))
    recording = read_capture(path)
    assert recording.header.port == "/dev/ttyACM0" and len(recording.records) == 4
    assert recording.records[1] == Record(1_200_345, "in", b"m-ready\r\n")
    assert recording.bytes_of("out") == b"name%"


def test_the_board_map_on_the_page_is_read(tmp_path: Path) -> None:
    path = tmp_path / "boards.toml"
    path.write_text(block("[boards.feather]"))
    (board,) = load_boards(path).values()
    assert board.limits == Limits(run_s=120, answer_s=5)


@pytest.mark.parametrize("name", ["open_s", "boot_s", "handshake_s", "answer_s", "run_s", "reconnect_s"])
def test_every_timeout_is_on_the_page(name: str) -> None:
    assert name in PAGE and hasattr(Limits(), name)
