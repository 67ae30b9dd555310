"""The codec against the text of the protocol."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.board import codec
from hil.errors import LinkError

WORDS = st.from_regex(r"[a-z0-9_]{1,12}", fullmatch=True)
COUNTS = st.integers(0, 2**64 - 1)

# The lines as docs/protocol.md writes them.
SPOKEN = [
    ("m-timestamp-mode-performance", codec.TimestampMode("performance")),
    ("m-timestamp-mode-energy", codec.TimestampMode("energy")),
    ("m-init-done", codec.InitDone()),
    ("m-ready", codec.Ready()),
    ("m-name-dut-[Analog Devices, Inc.]", codec.Name("Analog Devices, Inc.")),
    ("m-profile-[hil 1 [dev]]", codec.Profile("hil 1 [dev]")),
    ("m-model-[ic01]", codec.Model("ic01")),
    ("m-lap-us-4294967295", codec.Lap(4_294_967_295)),
    ("m-[Expecting 27648 bytes]", codec.Expecting(27_648)),
    ("m-load-done", codec.LoadDone()),
    ("m-buffer-00-7f-ff", codec.Buffer(b"\x00\x7f\xff")),
    ("m-warmup-start-10", codec.WarmupStart(10)),
    ("m-warmup-done", codec.WarmupDone()),
    ("m-infer-start-1", codec.InferStart(1)),
    ("m-infer-done", codec.InferDone()),
    ("m-results-[0.996,0.004,-1.500]", codec.Results((0.996, 0.004, -1.5))),
    ("e-[Unknown command: foo]", codec.Refusal("Unknown command: foo")),
    ("m-features-[phases,point]", codec.Features(("phases", "point"))),
    ("m-features-[]", codec.Features(())),
    ("m-phase-[weight_load,123456,1]", codec.PhaseTime("weight_load", 123_456, 1)),
    ("m-phases-done", codec.PhasesDone()),
    ("m-op-[7,1000,25,10]", codec.OpTime(7, 1000, 25, 10)),
    ("m-ops-done", codec.OpsDone()),
    ("m-point-[max78000,100MHz,100000000,50000000,0]", codec.Point("max78000", "100MHz", 100_000_000, 50_000_000, 0)),
    ("m-memory-[weights,442,0]", codec.MemoryUse("weights", 442, 0)),
    ("m-memory-done", codec.MemoryDone()),
    ("m-output-[0,32,00ff]", codec.Output(0, 32, b"\x00\xff")),
    ("m-outputs-done", codec.OutputsDone()),
    ("m-laps-[10,25]", codec.Laps(10, 25)),
    ("m-border-[inference,10000,25999]", codec.Border("inference", 10_000, 25_999)),
    ("m-borders-done", codec.BordersDone()),
]


@pytest.mark.parametrize(("text", "line"), SPOKEN)
def test_every_line_is_written_and_read_as_specified(text: str, line: codec.Line) -> None:
    assert codec.encode_line(line) == text.encode() + b"\r\n"
    assert codec.parse_line(text) == line


def test_a_result_that_is_no_number_is_read_as_such() -> None:
    line = codec.parse_line("m-results-[nan,-inf]")
    assert isinstance(line, codec.Results)
    assert math.isnan(line.values[0]) and line.values[1] == -math.inf
    assert str(line) == "m-results-[nan,-inf]"


@pytest.mark.parametrize(
    "text",
    [
        "m-readyy",
        " m-ready",
        "m-lap-us-",
        "m-lap-us-0123",
        "m-lap-us--1",
        "m-results-[1.0,]",
        "m-results-[1e3]",
        "m-output-[0,0,0]",
        "m-phase-[inference,1]",
        "m-phase-[inference,1,2,3]",
        "m-border-[inference,1]",
        "m-border-[inference,1,-2]",
        "m-buffer-0",
    ],
)
def test_a_line_that_is_nearly_right_is_kept_as_text(text: str) -> None:
    assert codec.parse_line(text) == codec.Other(text)


@given(st.lists(WORDS, min_size=1, max_size=6))
def test_commands_round_trip(words: list[str]) -> None:
    wire = codec.encode_command(*words)
    assert list(codec.CommandSplitter().feed(wire)) == [tuple(words)]


@given(st.lists(st.text(max_size=90), max_size=4))
def test_words_that_do_not_fit_raise_link_error(words: list[str]) -> None:
    try:
        wire = codec.encode_command(*words)
    except LinkError:
        return
    assert len(wire) <= codec.COMMAND_BYTES
    assert list(codec.CommandSplitter().feed(wire)) == [tuple(words)]


@given(st.binary(min_size=1, max_size=200))
def test_input_bytes_arrive_in_commands_of_at_most_31(data: bytes) -> None:
    first, *chunks = codec.load_commands(data)
    assert first == ("db", "load", str(len(data)))
    assert all(len(codec.encode_command(*words)) <= 66 for words in chunks)
    assert b"".join(bytes.fromhex(words[1]) for words in chunks) == data


def test_the_command_buffer_is_never_overrun_and_recovers() -> None:
    board = codec.CommandSplitter()
    assert list(board.feed(b"x" * 79 + b"%")) == [("x" * 79,)]
    assert list(board.feed(b"x" * 80 + b"%name%")) == [None, ("name",)]
    assert list(board.feed(b"x" * 1_000_000)) == []
    assert list(board.feed(b"%\r\nna\r\nme%")) == [None, ("name",)]


@given(st.binary(max_size=300), st.integers(1, 17))
def test_arbitrary_bytes_to_the_board_never_raise(data: bytes, step: int) -> None:
    whole = list(codec.CommandSplitter().feed(data))
    board = codec.CommandSplitter()
    pieces = [words for start in range(0, len(data), step) for words in board.feed(data[start : start + step])]
    assert pieces == whole
    assert len(whole) == data.count(b"%")


@given(st.binary(max_size=300), st.integers(1, 17))
def test_arbitrary_bytes_from_the_board_make_lines_and_never_raise(data: bytes, step: int) -> None:
    whole = codec.LineSplitter(limit=50)
    lines = whole.feed(data)
    splitter = codec.LineSplitter(limit=50)
    pieces = [line for start in range(0, len(data), step) for line in splitter.feed(data[start : start + step])]
    assert pieces == lines and splitter.pending == whole.pending
    for line in lines:
        assert line.text and line.text.isascii() and line.text.isprintable() and len(line.text) <= 4 * 50
        codec.parse_line(line.text)
    if not any(line.overlong for line in lines) and (rest := whole.take()) is not None and not rest.overlong:
        bad = sum(line.bad_bytes for line in (*lines, rest))
        assert bad == sum(not 0x20 <= byte < 0x7F and byte not in b"\r\n" for byte in data)


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r", b"\n\r", b"\r\r\n"])
def test_any_line_end_will_do(end: bytes) -> None:
    lines = codec.LineSplitter().feed(b"m-init-done" + end + b"m-ready" + end)
    assert lines == [codec.RawLine("m-init-done"), codec.RawLine("m-ready")]


def test_undecodable_bytes_are_shown_and_counted() -> None:
    assert codec.LineSplitter().feed(b"m-\xffready\x00\n") == [codec.RawLine("m-\\xffready\\x00", 2)]


def test_an_endless_line_is_cut_and_marked() -> None:
    splitter = codec.LineSplitter(limit=10)
    assert splitter.feed(b"x" * 100_000) == []
    assert splitter.pending == "x" * 10
    assert splitter.feed(b"x\nm-ready\n") == [codec.RawLine("x" * 10, 0, True), codec.RawLine("m-ready")]


LINES: st.SearchStrategy[Any] = st.one_of(
    st.builds(codec.Lap, COUNTS),
    st.builds(codec.PhaseTime, WORDS, COUNTS, COUNTS),
    st.builds(codec.Border, WORDS, COUNTS, COUNTS),
    st.builds(codec.OpTime, COUNTS, COUNTS, COUNTS, COUNTS),
    st.builds(codec.Point, WORDS, WORDS, COUNTS, COUNTS, COUNTS),
    st.builds(codec.Output, COUNTS, COUNTS, st.binary(min_size=1, max_size=32)),
    st.builds(codec.Buffer, st.binary(min_size=1, max_size=8)),
    st.builds(codec.Features, st.lists(WORDS).map(tuple)),
    st.builds(codec.Results, st.lists(st.integers(-(10**9), 10**9).map(lambda n: n / 1000)).map(tuple)),
    st.builds(codec.Name, st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E))),
)


@given(LINES)
def test_lines_round_trip(line: codec.Line) -> None:
    (raw,) = codec.LineSplitter().feed(codec.encode_line(line))
    assert raw.bad_bytes == 0 and codec.parse_line(raw.text) == line


@given(st.text(max_size=40))
def test_a_text_that_cannot_be_a_line_raises_link_error(text: str) -> None:
    try:
        wire = codec.encode_line(codec.Refusal(text))
    except LinkError:
        assert not text.isascii() or not text.isprintable()
    else:
        assert wire == f"e-[{text}]\r\n".encode()
