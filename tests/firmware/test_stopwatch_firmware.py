"""The firmware on a board whose true time is known (``stopwatch_port.c``): what a power meter sees of it.

The board's clock and the meter's must differ by one constant from the first border to the last, printing included:
else no border that the board tells could be found in a trace.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from qemu_board import build, copy, delay, npu

from hil.board import answers, codec
from hil.emulator.layout import PhaseCode

HERE = Path(__file__).resolve().parent
FIRMWARE = HERE.parents[1] / "firmware"
FLAGS = ("-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-fsanitize=undefined", "-fno-sanitize-recover")
INPUT_US, INFERENCE_US, OUTPUT_US, POST_US = 3_000, 5_000, 700, 200
NPU_US = 2_000
BYTE_US = 87
PROGRAM = build(
    [
        delay(INPUT_US * 1000, phase=PhaseCode.INPUT_LOAD),
        delay(INFERENCE_US * 1000),
        delay(OUTPUT_US * 1000, phase=PhaseCode.OUTPUT_READ),
        delay(POST_US * 1000, phase=PhaseCode.POST_PROCESS),
    ],
    npu=1,
    weight_load=1,
    input_bytes=4,
    outputs=[(0, 1, 1.0, 0)],
)


@dataclass(frozen=True)
class Session:
    """What the board printed, and what happened in true time: (what, from, to) in microseconds."""

    lines: tuple[str, ...]
    events: tuple[tuple[str, int, int], ...]

    def of(self, *whats: str) -> list[tuple[str, int, int]]:
        return [event for event in self.events if event[0] in whats]

    def answered(self, kind: type[codec.Line]) -> list[codec.Line]:
        return [line for line in map(codec.parse_line, self.lines) if isinstance(line, kind)]

    def laps_us(self) -> list[int]:
        return [line.us for line in self.answered(codec.Lap) if isinstance(line, codec.Lap)]


Talk = Callable[..., Session]


@pytest.fixture(scope="module")
def talk(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> Talk:
    """Talk to a board that runs a program: commands in, a session out."""
    sources = [*sorted((FIRMWARE / "core").glob("*.c")), *sorted((FIRMWARE / "kernels").glob("*.c"))]
    folder = tmp_path_factory.mktemp("stopwatch")
    includes = (f"-I{FIRMWARE / 'include'}", f"-I{FIRMWARE / 'core'}")
    for energy in (0, 1):
        command = [compiler, *FLAGS, *includes, f"-DENERGY_MODE={energy}", "-o", folder / f"board{energy}"]
        subprocess.run([*command, HERE / "stopwatch_port.c", *sources], check=True, timeout=120)

    def ask(*commands: str, program: bytes = PROGRAM, energy: bool = False) -> Session:
        (folder / "program.bin").write_bytes(program)
        text = "".join(f"{command}%" for command in commands)
        done = subprocess.run(
            [folder / f"board{int(energy)}"],
            cwd=folder,
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        events = [line.split() for line in done.stderr.splitlines()]
        return Session(
            tuple(done.stdout.splitlines()), tuple((what, int(start), int(end)) for what, start, end in events)
        )

    return ask


def test_the_pin_is_high_between_the_laps(talk: Talk) -> None:
    """And its changes are as far apart as the laps, although the board prints one of them in between."""
    said = talk("timestamp", "infer 3 2", "timestamp", "infer 1 0")
    pin = said.of("high", "low", "edge")
    assert [what for what, _, _ in pin] == ["high", "low"] * 2
    _, *laps, _, third, fourth = said.laps_us()
    assert [pin[1][1] - pin[0][1], pin[3][1] - pin[2][1]] == [laps[1] - laps[0], fourth - third]
    printed_us = BYTE_US * len(f"m-lap-us-{laps[0]}\r\n")
    assert laps[1] - laps[0] == 3 * INFERENCE_US + printed_us
    # Between the changes lie the inferences that count, and nothing else that takes time.
    within = [event for event in said.events if pin[0][1] <= event[1] and event[2] <= pin[1][1]]
    assert [event[0] for event in within] == ["high", "sleep", "sleep", "sleep", "low"]


def test_the_borders_are_those_of_true_time(talk: Talk) -> None:
    """Every phase began and ended when it did, by the clock that the pin shows, prints between them or not."""
    said = talk("name", "infer 3 2", "phases", "borders", "laps")
    (_, true_lap_us, _) = said.of("high")[0]
    start_us, end_us = said.laps_us()
    found = answers.borders([*said.answered(codec.Border), *said.answered(codec.BordersDone)], start_us, end_us)
    offset_us = true_lap_us - start_us
    work = said.of("npu", "sleep")
    assert len(work) == 2 + 1 + (2 + 3) + 2
    true = {
        "npu_init": work[0],
        "weight_load": work[1],
        "input_load": work[2],
        "inference": ("", work[5][1], work[7][2]),
        "output_read": work[8],
        "post_process": work[9],
    }
    assert [border.name for border in found] == list(true)
    assert [(b.start_ns, b.end_ns) for b in found] == [
        ((start - offset_us) * 1000, (end - offset_us) * 1000) for _, start, end in true.values()
    ]
    # A phase that happened once took the time between its borders; the inference's are three, one after the other.
    times = [line for line in said.answered(codec.PhaseTime) if isinstance(line, codec.PhaseTime)]
    assert [time.ns for time in times] == [border.end_ns - border.start_ns for border in found]
    assert [time.ns // 1000 for time in times] == [NPU_US, NPU_US, INPUT_US, 3 * INFERENCE_US, OUTPUT_US, POST_US]


def test_waiting_for_the_host_is_no_board_time(talk: Talk) -> None:
    """The board's clock stands still between commands: it would wrap, and a counter before it."""
    said = talk("infer 1 0", "borders", "help", "db load 4", "infer 1 0", "borders")
    lines = answers_of(said)
    assert len(lines) == 2
    first, second = (answers.borders(part, None, None) for part in lines)
    last_ns, next_ns = first[-1].end_ns, second[0].start_ns
    assert next_ns == last_ns
    assert [(b.start_ns - next_ns, b.end_ns - next_ns) for b in second] == [
        (b.start_ns - first[0].start_ns, b.end_ns - first[0].start_ns) for b in first
    ]


def answers_of(said: Session) -> list[Sequence[codec.Line]]:
    """The answers to `borders`, one after the other."""
    found: list[Sequence[codec.Line]] = []
    part: list[codec.Line] = []
    for line in map(codec.parse_line, said.lines):
        if isinstance(line, codec.Border):
            part.append(line)
        elif isinstance(line, codec.BordersDone):
            found.append([*part, line])
            part = []
    return found


def test_in_energy_mode_every_timestamp_is_an_edge_and_the_level_is_left_alone(talk: Talk) -> None:
    said = talk("timestamp", "infer 3 2", "borders", energy=True)
    pin = said.of("high", "low", "edge")
    assert [what for what, _, _ in pin] == ["edge"] * 3
    assert pin[2][1] - pin[1][1] == 3 * INFERENCE_US
    assert said.laps_us() == []
    (lines,) = answers_of(said)
    (inference,) = (b for b in answers.borders(lines, None, None) if b.name == "inference")
    assert inference.end_ns - inference.start_ns == 3 * INFERENCE_US * 1000


def test_an_inference_that_fails_leaves_the_pin_low(talk: Talk) -> None:
    """The accelerator refuses its job, after a step that works: the next infer must find the level as it expects it."""
    steps = [copy(0, 64, 4), npu(0, [(0, 4)], [(8, 4)])]
    said = talk("infer 2 0", "borders", program=build(steps, input_bytes=4))
    assert "e-[NPU error]" in said.lines and "e-[No results]" in said.lines
    assert [what for what, _, _ in said.of("high", "low")] == ["high", "low"]
