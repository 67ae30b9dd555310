"""The firmware images in QEMU: the protocol to the byte, and time that counts instructions exactly."""

from __future__ import annotations

import filecmp
import os
import random
import re
import shutil
import subprocess
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from qemu_board import (
    BOOT,
    IMAGES,
    IMAGES_DIR,
    INSTRUCTION_NS,
    Answer,
    Board,
    build,
    copy,
    delay,
    fill,
    npu,
    reply,
    seal,
)

from hil.board import answers, codec
from hil.emulator.layout import PhaseCode, Program, TimeClass

FIRMWARE = Path(__file__).parents[2] / "firmware"
# Board nanoseconds per tick as an emulated board has them: printing and waiting for commands are free.
EMULATED = dict.fromkeys(TimeClass, 2.5) | {TimeClass.OFF: 0.0}
Start = Callable[..., Board]


@pytest.fixture(params=sorted(IMAGES))
def image(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def start(image: str, tmp_path: Path, request: pytest.FixtureRequest) -> Start:
    """Starts boards with the image, and ends them."""
    count = 0

    def start_board(program: bytes | None = None, answer: Answer | None = None) -> Board:
        nonlocal count
        count += 1
        board = Board(image, tmp_path / f"board{count}", program, answer)
        request.addfinalizer(lambda: board.__exit__(None, None, None))
        return board

    return start_board


def ticks_per_instruction(image: str) -> float:
    return IMAGES[image]["tick_hz"] * INSTRUCTION_NS * 1e-9


# ---- the protocol ----


def test_without_a_program_the_board_answers(start: Start) -> None:
    board = start()
    assert board.boot == BOOT
    assert board.ask("name") == b"m-name-dut-[hil]\r\nm-ready\r\n"
    assert board.ask("profile") == b"m-profile-[hil firmware 1, emulated]\r\nm-model-[none]\r\nm-ready\r\n"
    assert board.ask("timestamp") == b"m-lap-us-0\r\nm-ready\r\n"
    for command in ("infer 1 1", "db load 4", "point"):
        assert board.ask(command) == b"e-[No program]\r\nm-ready\r\n"
    for command in ("results", "outputs", "laps", "borders"):
        assert board.ask(command) == b"e-[No results]\r\nm-ready\r\n"
    assert board.ask("ops") == b"m-ops-done\r\nm-ready\r\n"
    assert board.ask("phases") == b"m-phases-done\r\nm-ready\r\n"


def test_commands(start: Start) -> None:
    program = build(host_clock_hz=100_000_000, npu_clock_hz=50_000_000, supply_mv=1800, input_bytes=8, arena_bytes=4096)
    board = start(program)
    assert board.boot == BOOT
    assert board.ask("name") == b"m-name-dut-[somewhere]\r\nm-ready\r\n"
    assert board.ask("profile") == b"m-profile-[hil firmware 1, emulated]\r\nm-model-[tiny]\r\nm-ready\r\n"
    assert board.ask("features") == b"m-features-[phases,point,memory,outputs,ops,laps,borders]\r\nm-ready\r\n"
    assert board.ask("point") == b"m-point-[somewhere,slow,100000000,50000000,1800]\r\nm-ready\r\n"
    help_text = board.lines("help")
    assert {line.split(":")[0] for line in help_text} >= {"name", "profile", "timestamp", "db", "infer", "results"}
    assert board.ask("foo bar") == b"e-[Unknown command: foo]\r\nm-ready\r\n"
    assert board.ask("names") == b"e-[Unknown command: names]\r\nm-ready\r\n"
    assert board.ask("") == b"e-[Unknown command: ]\r\nm-ready\r\n"
    assert board.ask(b"\r\n  na\r\nme \r\n") == b"m-name-dut-[somewhere]\r\nm-ready\r\n"


def test_memory_is_what_the_program_leaves(image: str, start: Start) -> None:
    program = build(arena_bytes=4096)
    capacity = IMAGES[image]["memory_bytes"] - -(-len(program) // 16) * 16
    expected = ["m-memory-[weights,0,0]", f"m-memory-[activations,4096,{capacity}]"]
    expected += [f"m-memory-[program,{len(program)},0]", "m-memory-done"]
    assert start(program).lines("memory") == expected


def test_an_overlong_command_is_an_error_and_no_overrun(start: Start) -> None:
    board = start()
    # 80 bytes with the terminator: 79 characters are a command, 80 are not.
    assert board.ask("x" * 79) == b"e-[Unknown command: " + b"x" * 79 + b"]\r\nm-ready\r\n"
    for length in (80, 81, 1000, 5_000):
        assert board.ask("x" * length) == b"e-[Command too long]\r\nm-ready\r\n"
    assert board.ask("name") == b"m-name-dut-[hil]\r\nm-ready\r\n"


def test_any_bytes_leave_the_board_alive(start: Start) -> None:
    board = start(build(input_bytes=64))
    noise = random.Random(1).randbytes(3000).replace(b"%", b"")
    for i in range(0, len(noise), 60):
        assert board.ask(noise[i : i + 60]).endswith(b"m-ready\r\n")
    assert board.ask("name") == b"m-name-dut-[somewhere]\r\nm-ready\r\n"


@pytest.mark.parametrize("image", ["mps2-an386", "virt-rv32"], indirect=True)
def test_an_input_of_the_largest_mlperf_size_arrives(start: Start) -> None:
    data = random.Random(2).randbytes(96 * 96 * 3)
    board = start(build(input_bytes=len(data), input_arena=64))
    board.load(data)
    lines = board.lines("db print")
    assert lines[0] == "m-buffer-" + data[:8].hex("-")
    assert bytes.fromhex("".join(line.removeprefix("m-buffer-") for line in lines).replace("-", "")) == data


def test_mistakes_in_loading_are_errors(start: Start) -> None:
    board = start(build(input_bytes=4))
    for command in ("db", "db 00", "db load", "db load 0", "db load x", "db load 5", "db load 99999999999"):
        (line,) = board.lines(command)
        assert line.startswith("e-["), command
    assert board.lines("db load 4") == ["m-[Expecting 4 bytes]"]
    for command in ("db 0", "db 0g", "db 0001020304"):
        (line,) = board.lines(command)
        assert line.startswith("e-["), command
    assert board.lines("db 0a0B") == []
    assert board.lines("db print") == ["m-buffer-0a-0b"]
    assert board.lines("db 0c0d") == ["m-load-done"]
    assert board.lines("db print") == ["m-buffer-0a-0b-0c-0d"]


@pytest.mark.parametrize("arguments", ["0", "-1", "x", "1 -1", "1 x", "9999999999"])
def test_mistakes_in_infer_are_errors(arguments: str, tmp_path: Path) -> None:
    with Board("mps2-an386", tmp_path / "board", build()) as board:
        (line,) = board.lines(f"infer {arguments}")
        assert line.startswith("e-[Inference ")


# ---- running a program ----


def test_infer_runs_every_phase_in_order(start: Start) -> None:
    """The input goes through input load, inference, output read; every inference adds nothing to the next."""
    program = build(
        [
            copy(0, 100, 4, phase=PhaseCode.INPUT_LOAD),
            fill(200, 8, 7),
            copy(100, 202, 4, op=3),
            copy(200, 300, 8, phase=PhaseCode.OUTPUT_READ),
            fill(310, 2, 1, phase=PhaseCode.POST_PROCESS),
        ],
        input_bytes=4,
        outputs=[(300, 8, 0.5, -1), (310, 2, 1.0, 0)],
        scales=EMULATED,
    )
    board = start(program)
    board.load(bytes([1, 2, 0x80, 0xFF]))
    lines = board.lines("infer 3 2")
    laps = [int(line.removeprefix("m-lap-us-")) for line in lines if line.startswith("m-lap-us-")]
    results = "m-results-[4.000,4.000,1.000,1.500,-63.500,0.000,4.000,4.000,1.000,1.000]"
    assert lines == [
        "m-warmup-start-2",
        "m-warmup-done",
        "m-infer-start-3",
        f"m-lap-us-{laps[0]}",
        f"m-lap-us-{laps[1]}",
        "m-infer-done",
        results,
    ]
    assert board.lines("results") == [results]
    assert board.lines("laps") == [f"m-laps-[{laps[0]},{laps[1]}]"]
    assert board.lines("outputs") == ["m-output-[0,0,0707010280ff0707]", "m-output-[1,0,0101]", "m-outputs-done"]
    phases = board.phases()
    counts = {name: count for name, (_, count) in phases.items()}
    assert counts == {"input_load": 1, "inference": 3, "output_read": 1, "post_process": 1}
    assert abs(phases["inference"][0] - (laps[1] - laps[0]) * 1000) <= 1000
    assert [(index, count) for index, _, _, count in board.ops()] == [(3, 3)]


@pytest.mark.parametrize("scaled", [True, False])
def test_borders_are_where_the_phases_were(start: Start, scaled: bool) -> None:
    """Of a phase that happens once they are as far apart as it took; those of the inference lie within the laps."""
    program = build(
        [
            delay(30_000, phase=PhaseCode.INPUT_LOAD),
            delay(1_234_567, op=0),
            copy(0, 100, 77, phase=PhaseCode.OUTPUT_READ),
            fill(300, 9, 1, phase=PhaseCode.POST_PROCESS),
        ],
        npu=1,
        weight_load=1,
        input_bytes=77,
        scales=EMULATED if scaled else None,
    )
    board = start(program, lambda command, job, data: reply(0, 500_000))
    assert board.lines("borders") == ["e-[No results]"]
    for inferences, warmups in ((3, 2), (1, 0)):
        board.ask(f"infer {inferences} {warmups}")
        laps = codec.parse_line(board.lines("laps")[0])
        assert isinstance(laps, codec.Laps)
        found = answers.borders(list(map(codec.parse_line, board.lines("borders"))), laps.start_us, laps.end_us)
        phases = board.phases()
        assert [border.name for border in found] == list(phases) == list(answers.PHASE_NAMES)
        for border in found:
            between_ns, (spent_ns, count) = border.end_ns - border.start_ns, phases[border.name]
            # Between two inferences the loop around them takes its instructions, where they take anything.
            loop_ns = 0 if scaled else (count - 1) * 300 * INSTRUCTION_NS
            assert -1 <= between_ns - spent_ns <= 1 + loop_ns
        before, inference = found[2], found[3]
        # The warm-ups lie between loading and the inferences that count.
        warm_ns = warmups * phases["inference"][0] / inferences
        assert inference.start_ns - before.end_ns >= 0.99 * warm_ns
        assert board.ask("borders") == board.ask("borders")
    assert board.lines("infer 0")[0].startswith("e-[")
    assert board.lines("borders")[-1] == "m-borders-done"


def test_infer_defaults_to_one_inference_after_ten_warm_ups(start: Start) -> None:
    lines = start(build()).lines("infer")
    assert lines[0] == "m-warmup-start-10"
    assert lines[2] == "m-infer-start-1"
    assert lines[-1] == "m-results-[]"


def test_long_outputs_come_in_lines_of_32_bytes(tmp_path: Path) -> None:
    with Board("mps2-an386", tmp_path / "board", build([fill(0, 70, 5)], outputs=[(0, 70, 1.0, 0)])) as board:
        board.ask("infer 1 0")
        expected = [f"m-output-[0,{start},{'05' * min(32, 70 - start)}]" for start in (0, 32, 64)]
        assert board.lines("outputs") == [*expected, "m-outputs-done"]


def test_results_are_printed_as_printf_would(start: Start) -> None:
    """All int8 values on scales of many sizes, exact ties among them."""
    scales = [1.0, 0.5, 1 / 256, 0.0625 / 125, 0.0123, 1e-30, 3e9, 0.99999]
    values = np.arange(-128, 128).astype(np.int8)
    outputs = [(256 * i, 256, scale, i - 4) for i, scale in enumerate(scales)]
    steps = [copy(0, 256 * i, 256) for i in range(1, len(scales))]
    board = start(build(steps, outputs=outputs, input_bytes=256))
    board.load(values.tobytes())
    (line,) = [line for line in board.lines("infer 1 0") if line.startswith("m-results-[")]
    real = [np.float32(scale) * (values.astype(np.float32) - zero) for _, _, scale, zero in outputs]
    expected = [f"{float(value):.3f}" for row in real for value in row]
    assert line.removeprefix("m-results-[").removesuffix("]").split(",") == expected


def test_a_program_that_is_not_sound_is_refused(tmp_path: Path) -> None:
    sound = build([copy(0, 8, 8)])
    header = Program.from_buffer_copy(sound)
    rest = sound[len(bytes(header)) :]

    def changed(**fields: int | bytes) -> bytes:
        other = Program.from_buffer_copy(sound)
        for name, value in fields.items():
            setattr(other, name, value)
        return seal(other, rest)

    job = build([npu(0, [(0, 4)], [(65530, 8)])])
    cases = {
        sound[:-1] + b"\x55": "Program damaged",
        changed(magic=1): "No program",
        changed(version=2): "Program of another version",
        changed(total_bytes=64): "Program damaged",
        changed(total_bytes=0xFFFFFFF0): "No program",
        changed(arena_bytes=0xFFFFFFF0): "Program needs more memory",
        changed(step_count=100_000): "Program has too many steps",
        changed(step_count=1000): "Program inconsistent",
        changed(steps=header.steps + 2): "Program inconsistent",
        changed(input_arena=65536, input_bytes=1): "Program inconsistent",
        changed(output_count=9): "Program inconsistent",
        changed(network=b"n" * 32): "Program inconsistent",
        job: "Program inconsistent",
    }
    for index, (program, reason) in enumerate(cases.items()):
        with Board("mps2-an386", tmp_path / str(index), program) as board:
            assert board.lines("infer 1 1") == [f"e-[{reason}]"]


def test_a_fault_is_reported_and_restarts_the_board(image: str, start: Start) -> None:
    """A step that reads where there is no memory."""
    size = len(build([copy(0, 0, 1)]))
    arena = IMAGES[image]["program_address"] + -(-size // 16) * 16
    board = start(build([copy(0xF0000000 - arena, 0, 1)]))
    answer = board.ask("infer 1 0")
    pattern = rb"m-warmup-start-0\r\n.*e-\[Fault: [a-z ]+ at 0x[0-9a-f]{8}\]\r\n"
    assert re.fullmatch(pattern + re.escape(BOOT), answer, re.DOTALL)
    assert board.ask("name") == b"m-name-dut-[somewhere]\r\nm-ready\r\n"


# ---- time ----


@pytest.mark.parametrize("requested_ns", [1000, 1_234_567, 4_000_000_000])
def test_a_delay_lasts_as_long_as_it_says(image: str, start: Start, requested_ns: int) -> None:
    """Scales as an emulated board has them: the driver's own code is free, a tick of waiting is 2.5 ns."""
    scale_ns = 2.5
    board = start(build([delay(requested_ns)], scales={TimeClass.WAIT: scale_ns}))
    laps = [line for line in board.lines("infer 2 1") if line.startswith("m-lap-us-")]
    passed_ns, count = board.phases()["inference"]
    # Beside the sleep a few instructions around it count as waiting.
    slack_ns = 2 * 120 * ticks_per_instruction(image) * scale_ns
    assert count == 2
    assert 2 * requested_ns - 2 * scale_ns <= passed_ns <= 2 * requested_ns + slack_ns
    lap_us = int(laps[1].removeprefix("m-lap-us-")) - int(laps[0].removeprefix("m-lap-us-"))
    assert abs(lap_us * 1000 - passed_ns) <= 1000


def test_without_scales_time_is_the_counters(image: str, start: Start) -> None:
    board = start(build([delay(1_000_000)]))
    board.ask("infer 1 0")
    passed_ns, _ = board.phases()["inference"]
    assert 1_000_000 <= passed_ns <= 1_000_000 + 1000 * INSTRUCTION_NS


def test_ticks_count_instructions_exactly(image: str, start: Start) -> None:
    """Copies of 1, 2, 3 KiB: the same instructions more each time, the same ticks in every execution."""
    steps = [copy(0, 20480, 1024 * i, op=i) for i in range(1, 4)]
    scales = {TimeClass.MOVE: 3.0}
    board = start(build(steps, scales=scales))
    counts = []
    for _ in range(2):
        board.ask("infer 1 0")
        rows = board.ops()
        for _, ns, ticks, count in rows:
            assert count == 1
            assert ns == 3 * ticks
        counts.append([round(ticks / ticks_per_instruction(image)) for _, _, ticks, _ in rows])
    assert counts[0] == counts[1]
    one, two, three = counts[0]
    assert three - two == two - one > 0
    board.ask("infer 5 0")
    repeated = [ticks / 5 / ticks_per_instruction(image) for _, _, ticks, _ in board.ops()]
    assert repeated == pytest.approx(counts[0], abs=1)


def test_fresh_runs_are_identical_whatever_the_host_does(start: Start) -> None:
    """A slow host of the accelerator, bytes that trickle in, other commands between: no figure changes."""
    steps = [copy(0, 100, 77, op=0), npu(4, [(100, 77)], [(200, 50)], op=1), fill(300, 9, 1, op=2), delay(50_001)]
    scales = dict.fromkeys(TimeClass, 1.7) | {TimeClass.OFF: 0.0, TimeClass.CODE: 3.3}
    program = build(steps, scales=scales, npu=1, weight_load=1, outputs=[(200, 50, 0.1, 3)], input_bytes=77)

    def session(pause_s: float) -> list[bytes]:
        def answer(command: int, job: int, data: bytes) -> bytes:
            time.sleep(10 * pause_s)
            return reply(0, 123_456, bytes(50) if command == 3 else b"")

        board = start(program, answer)
        board.load(bytes(range(77)))
        if pause_s:
            board.ask("help", pause_s=pause_s)
            board.ask("db print")
        return [board.ask(command, pause_s=pause_s) for command in ("infer 3 2", "phases", "ops", "outputs")]

    assert session(0.0) == session(0.0) == session(0.002)


def test_a_waiting_board_rests(start: Start) -> None:
    """A machine that waits for a command must not turn over the host's processor."""
    board = start(build([delay(1000)]))
    board.ask("infer 1 0")

    def used_s() -> float:
        fields = Path(f"/proc/{board.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before = used_s()
    time.sleep(0.5)
    assert used_s() - before < 0.25


# ---- the accelerator ----


def test_the_accelerator_computes_and_takes_its_time(image: str, start: Start) -> None:
    latency_ns = {1: 5_000_000, 2: 7_000_001, 3: 12_345_678}

    def answer(command: int, job: int, data: bytes) -> bytes:
        return reply(0, latency_ns[command], data[::-1] if command == 3 else b"")

    scale_ns = 2.0
    program = build(
        [npu(9, [(0, 3), (100, 2)], [(200, 4), (300, 1)])],
        npu=1,
        weight_load=1,
        input_bytes=102,
        outputs=[(200, 4, 1.0, 0), (300, 1, 1.0, 0)],
        scales={TimeClass.WAIT: scale_ns},
    )
    board = start(program, answer)
    board.load(bytes(range(102)))
    assert board.lines("infer 2 1")[-1] == "m-results-[101.000,100.000,2.000,1.000,0.000]"
    assert board.lines("outputs") == ["m-output-[0,0,65640201]", "m-output-[1,0,00]", "m-outputs-done"]
    assert board.host is not None
    job = (3, 9, bytes([0, 1, 2, 100, 101]))
    assert board.host.requests == [(1, 0, b""), (2, 0, b""), job, job, job]
    slack_ns = 120 * ticks_per_instruction(image) * scale_ns
    phases = board.phases()
    for name, command, count in (("npu_init", 1, 1), ("weight_load", 2, 1), ("inference", 3, 2)):
        passed_ns, executions = phases[name]
        assert executions == count
        assert -2 * scale_ns <= passed_ns / count - latency_ns[command] <= slack_ns


def test_jobs_larger_than_a_pipe_arrive_whole(start: Start) -> None:
    size = 1 << 20
    data = random.Random(3).randbytes(size)
    program = build([npu(0, [(0, size)], [(size, size)])], arena_bytes=2 * size, outputs=[(2 * size - 8, 8, 1.0, 0)])
    board = start(program, lambda command, job, sent: reply(0, 1000, bytes(255 - byte for byte in sent[:8]) + data[8:]))
    board.ask("infer 1 0")
    assert board.host is not None
    assert board.host.requests == [(3, 0, bytes(size))]
    assert board.lines("outputs")[0] == f"m-output-[0,0,{data[-8:].hex()}]"


@pytest.mark.parametrize(
    ("answer", "works_again"),
    [
        pytest.param(reply(1, 500), True, id="status"),
        pytest.param(b"", False, id="host closes"),
        pytest.param(reply(0, 500, bytes(3)), False, id="too short"),
        pytest.param(reply(0, 500, bytes(5)), False, id="too long"),
        pytest.param(bytes(100), False, id="noise"),
    ],
)
def test_a_failing_accelerator_is_an_error_and_no_hang(start: Start, answer: bytes, works_again: bool) -> None:
    """The second command finds a host that is well again; a broken link stays broken until a restart."""
    count = 0

    def answers(command: int, job: int, data: bytes) -> bytes:
        nonlocal count
        count += 1
        return answer if count == 1 else reply(0, 500, bytes(4))

    board = start(build([npu(0, [], [(0, 4)])], outputs=[(0, 4, 1.0, 0)]), answers)
    assert board.lines("infer 2 1") == ["m-warmup-start-1", "e-[NPU error]"]
    assert board.lines("results") == ["e-[No results]"]
    again = board.lines("infer 2 1")
    assert (again[-1] == "m-results-[0.000,0.000,0.000,0.000]") == works_again
    assert (again[-1] == "e-[NPU error]") != works_again


def test_a_board_without_a_host_for_its_accelerator_says_so(start: Start) -> None:
    assert start(build(npu=1)).lines("infer 1 1") == ["e-[NPU error]"]


# ---- the build ----


def _compilers() -> dict[str, str]:
    """The compilers that made the images, with their versions."""
    images = tomllib.loads((IMAGES_DIR / "images.toml").read_text())
    return dict(image["compiler"].split(" ") for image in images.values())


@pytest.mark.slow
def test_the_images_are_what_the_sources_make(tmp_path: Path) -> None:
    """Built from a copy elsewhere, by two jobs at a time: the same bytes."""
    for compiler, version in _compilers().items():
        if shutil.which(compiler) is None:
            pytest.skip(f"{compiler} is not installed")
        found = subprocess.run([compiler, "-dumpfullversion"], capture_output=True, text=True, check=True).stdout
        if found.strip() != version:
            pytest.skip(f"{compiler} is {found.strip()}; the images were made by {version}")
    shutil.copytree(FIRMWARE, tmp_path / "elsewhere", ignore=shutil.ignore_patterns("build"))
    out = tmp_path / "images"
    command = ["make", "-s", "-j2", "-C", str(tmp_path / "elsewhere"), f"OUT={out}", f"BUILD={tmp_path / 'build'}"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    names = sorted(path.name for path in IMAGES_DIR.iterdir() if path.suffix in {".elf", ".toml"})
    assert sorted(path.name for path in out.iterdir()) == names
    assert filecmp.cmpfiles(IMAGES_DIR, out, names, shallow=False) == (names, [], [])
