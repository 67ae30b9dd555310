"""Captures: nothing lost, read back whatever happened, and played back as a board."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from known_board import KnownModel, results_of
from test_faults import EXACT, INPUT, KINDS, ROUGH, FaultyBoard

from hil.board import codec
from hil.board.capture import (
    Capture,
    Header,
    Record,
    Recording,
    ReplayLink,
    captures_dir,
    import_transcript,
    new_capture_path,
    read_capture,
    transcript,
)
from hil.board.clock import VirtualClock
from hil.board.dut import Dut
from hil.board.serve import DutLink
from hil.board.session import InferResult, Limits, Session
from hil.errors import LinkError


def recorded_session(path: Path) -> Session:
    clock = VirtualClock()
    capture = Capture(path, port="ttyX", baud=115_200, clock=clock)
    return Session(lambda: DutLink(Dut(KnownModel()), clock), capture=capture, clock=clock)


def story(session: Session) -> list[object]:
    """All that a session says, its error included."""
    said: list[object] = []
    try:
        said.append(session.connect())
        session.load(INPUT)
        for _ in range(2):
            said.append(session.infer(5, 2))
            if session.identity is not None and session.identity.features:
                said += [session.phases(), session.ops(), session.outputs(), session.point(), session.memory()]
            if session.identity is not None and "borders" in session.identity.features:
                said.append(session.borders())
        said.append(session.timestamp())
    except LinkError as error:
        said += [type(error), error.message]
    finally:
        session.close()
    return [*said, session.stats]


def test_a_capture_is_what_the_documentation_says(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "capture.jsonl"
    story(recorded_session(path))
    header, *records = [json.loads(line) for line in path.read_text().splitlines()]
    assert set(header) == {"schema", "port", "host", "baud", "started", "limits", "mode"}
    assert (header["schema"], header["port"], header["baud"]) == (1, "ttyX", 115_200)
    assert records[0] == {"t_ns": 0, "dir": "event", "text": "opened"}
    assert records[1] == {
        "t_ns": 0,
        "dir": "in",
        "hex": b"m-timestamp-mode-performance\r\nm-init-done\r\nm-ready\r\n".hex(),
    }
    assert {record["dir"] for record in records} == {"event", "in", "out"}
    assert [record["t_ns"] for record in records] == sorted(record["t_ns"] for record in records)


def test_a_replayed_session_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "capture.jsonl"
    said = story(recorded_session(path))
    replay = ReplayLink(read_capture(path))
    assert story(Session(replay.open, clock=replay)) == said
    assert replay.finished


@pytest.mark.parametrize("seed", range(40))
def test_a_faulty_session_replays_fault_by_fault(seed: int, tmp_path: Path) -> None:
    clock = VirtualClock()
    board = FaultyBoard(seed, ROUGH, KINDS[seed % len(KINDS)], clock)
    capture = Capture(tmp_path / "capture.jsonl", port="ttyX", baud=115_200, clock=clock)
    said = story(Session(board.open, capture=capture, clock=clock, limits=EXACT))
    replay = ReplayLink(read_capture(capture.path))
    assert story(Session(replay.open, clock=replay, limits=EXACT)) == said
    assert replay.finished


def test_a_session_whose_writes_take_long_replays(tmp_path: Path) -> None:
    """Deadlines begin when a write is over: a replay that did not know how long it took would give up too early."""

    class Slow(DutLink):
        def __init__(self, clock: VirtualClock) -> None:
            super().__init__(Dut(KnownModel()), clock)
            self.time = clock

        def write(self, data: bytes) -> None:
            self.time.sleep(3.0)  # beyond the first wait for an answer to the handshake
            super().write(data)

        def read(self, max_bytes: int, timeout_s: float) -> bytes:
            return super().read(min(max_bytes, 25), timeout_s)

    clock = VirtualClock()
    capture = Capture(tmp_path / "capture.jsonl", port="ttyX", baud=115_200, clock=clock)
    limits = Limits(handshake_s=60, run_s=600)
    said = story(Session(lambda: Slow(clock), capture=capture, clock=clock, limits=limits))
    assert isinstance(said[1], InferResult)
    recording = read_capture(capture.path)
    assert (
        sum(record.text == "written" for record in recording.records) == len(recording.bytes_of("out").split(b"%")) - 1
    )
    replay = ReplayLink(recording)
    assert story(Session(replay.open, clock=replay, limits=limits)) == said
    assert replay.finished


def test_replay_insists_on_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "capture.jsonl"
    story(recorded_session(path))

    def again() -> Session:
        replay = ReplayLink(read_capture(path))
        return Session(replay.open, clock=replay)

    session = again()
    session.connect()
    with pytest.raises(LinkError, match=r"replay of ttyX: line \d+: the host writes b'db load 3%', but the host wrote"):
        session.load(b"abc")
    session = again()
    session.connect()
    session.load(INPUT)
    with pytest.raises(LinkError, match=r"writes b'infer 5 3%', but the host wrote b'infer 5 2%' then"):
        session.infer(5, 3)
    session = again()
    story(session)
    with pytest.raises(LinkError, match="after the end of the capture|closed"):
        session.connect()


def test_a_cut_off_last_line_is_left_out_and_other_damage_named(tmp_path: Path) -> None:
    path = tmp_path / "capture.jsonl"
    story(recorded_session(path))
    whole = read_capture(path)
    assert not whole.truncated
    path.write_bytes(path.read_bytes()[:-5])
    cut = read_capture(path)
    assert cut.truncated and cut.records == whole.records[:-1]
    lines = path.read_text().splitlines()
    for number, wrong in {1: '{"schema": 2}', 3: "nonsense", 4: '{"t_ns": 1, "dir": "up", "hex": ""}'}.items():
        path.write_text("\n".join([*lines[: number - 1], wrong, *lines[number:]]))
        with pytest.raises(LinkError, match=rf"capture.jsonl:{number}: not a line of a capture"):
            read_capture(path)
    path.write_bytes(b"")
    with pytest.raises(LinkError, match="no header"):
        read_capture(path)
    with pytest.raises(LinkError, match="cannot be read"):
        read_capture(tmp_path / "none")


@given(st.binary(max_size=200))
def test_any_file_is_read_or_named(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "x.jsonl"
    path.write_bytes(data)
    with pytest.raises(LinkError):
        read_capture(path)


def test_a_killed_process_loses_nothing_that_was_recorded(tmp_path: Path) -> None:
    path = tmp_path / "capture.jsonl"
    code = f"""
import os, sys
from pathlib import Path
from hil.board.capture import Capture
capture = Capture(Path({str(path)!r}), port="x", baud=1)
for i in range(1000):
    capture.record("in", bytes([i % 256]))
print("done", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"done\n"
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
    assert read_capture(path).bytes_of("in") == bytes(i % 256 for i in range(1000))


def test_a_capture_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LinkError, match="cannot be written"):
        Capture(tmp_path / "file" / "capture.jsonl", port="x", baud=1)


def test_captures_have_a_place_and_names_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIL_CACHE", str(tmp_path))
    assert captures_dir() == tmp_path / "captures"
    assert new_capture_path("/dev/ttyACM0").name.endswith(f"-{os.getpid()}-dev_ttyACM0.jsonl")


HEADER = Header(1, "ttyX", "here", 115_200, "2026-01-01T00:00:00.000+00:00")


def test_a_transcript_is_for_people() -> None:
    records = (
        Record(0, "event", text="opened"),
        Record(1_500_000_000, "out", b"na"),
        Record(1_500_000_000, "out", b"me%"),
        Record(1_600_000_000, "in", b"m-name-du"),
        Record(1_700_000_000, "in", b"t-[hil]\r\nm-re\xff"),
    )
    assert transcript(Recording(HEADER, records)).splitlines() == [
        "     0.000 ! opened",
        "     1.500 > name%",
        "     1.700 < m-name-dut-[hil]",
        "     1.700 < m-re\\xff (no line end)",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "name%\nm-name-dut-[hil]\nm-ready\n",
        "  0.000 > name%\n 0.100 < m-name-dut-[hil]\n 0.100 < m-ready\n",
        "dut name%\n[dut]: m-name-dut-[hil]\n[dut]: m-ready\n".replace("dut name%", "name%"),
    ],
)
def test_the_transcript_of_a_stranger_becomes_a_capture(text: str) -> None:
    recording = import_transcript(text)
    assert recording.bytes_of("out") == b"name%"
    assert recording.bytes_of("in") == b"m-name-dut-[hil]\r\nm-ready\r\n"
    replay = ReplayLink(recording)
    link = replay.open()
    link.write(b"name%")
    lines = codec.LineSplitter().feed(link.read(100, 1) + link.read(100, 1))
    assert [line.text for line in lines] == ["m-name-dut-[hil]", "m-ready"]


def test_a_session_survives_the_way_through_its_transcript(tmp_path: Path) -> None:
    path = tmp_path / "capture.jsonl"
    story(recorded_session(path))
    recording = read_capture(path)
    back = import_transcript(transcript(recording))
    assert back.bytes_of("out") == recording.bytes_of("out")
    assert back.bytes_of("in") == recording.bytes_of("in")
    assert f"m-results-[{results_of(INPUT)[0]:.3f},".encode() in back.bytes_of("in")


def test_a_text_without_commands_is_no_transcript() -> None:
    with pytest.raises(LinkError, match="no command"):
        import_transcript("hello\nworld\n")
