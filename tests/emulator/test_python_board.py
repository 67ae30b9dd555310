"""The Python board: the reference's answers and the given times, through the protocol."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from hil import zoo
from hil.board.dut import Dut
from hil.board.serve import DutLink, PtyBoard
from hil.board.session import open_session
from hil.emulator.python_board import PythonBoard
from hil.errors import NetworkError
from hil.network import Network
from hil.network.load import load_network
from hil.network.reference import Reference
from hil.plan import END_TO_END, make_plan
from hil.platform import load_platform, make_target

FIXTURES = Path(__file__).parents[1] / "network" / "fixtures"
PHASES = dict(zip(END_TO_END, (1_000, 20_000, 300_000, 4_000_000, 50_000_000, 600_000_000), strict=True))


@cache
def network(name: str) -> Network:
    return zoo.load(name)


def board(name: str = "digits", platform: str = "max78000") -> PythonBoard:
    plan = make_plan(network(name), make_target(load_platform(platform)))
    return PythonBoard(plan, phases_ns=PHASES, op_ns=range(len(plan.network.ops)))


def ask(dut: Dut, *commands: str) -> list[str]:
    return dut.feed("".join(f"{command}%" for command in commands).encode()).decode().split("\r\n")[:-1]


def load(dut: Dut, data: bytes) -> None:
    commands = [f"db load {len(data)}", *(f"db {data[i : i + 31].hex()}" for i in range(0, len(data), 31))]
    assert ask(dut, *commands)[-2:] == ["m-load-done", "m-ready"]


@pytest.mark.parametrize("name", zoo.names())
def test_outputs_are_the_reference_s(name: str) -> None:
    model = network(name).model
    assert model is not None
    data = np.random.default_rng(5).bytes(network(name).input_bytes)
    found = board(name, "stm32h7a3")
    found.load(data)
    outcome = found.infer(3, 1)
    expected = Reference(model).run([data])
    assert found.outputs() == expected
    real: list[float] = []
    for index, raw in zip(network(name).outputs, expected, strict=True):
        quantization = network(name).tensors[index].quantization
        assert quantization is not None
        values = np.frombuffer(raw, np.int8).astype(float) - quantization.zero_points[0]
        real += (values * quantization.scales[0]).tolist()
    assert outcome.results == pytest.approx(real, rel=1e-6)


def test_time_is_virtual_and_only_the_inference_repeats() -> None:
    found = board()
    outcome = found.infer(5, 2)
    before = 1_000 + 20_000 + 300_000
    assert outcome.lap_start_ns == before + 2 * 4_000_000
    assert outcome.lap_end_ns == outcome.lap_start_ns + 5 * 4_000_000
    assert found.timestamp_ns() == outcome.lap_end_ns + 650_000_000
    times = {phase.name: (phase.ns, phase.count) for phase in found.phases()}
    assert times == {**{name: (ns, 1) for name, ns in PHASES.items()}, "inference": (20_000_000, 5)}
    assert found.infer(1, 0).lap_start_ns == outcome.lap_end_ns + 650_000_000 + before


def test_borders_follow_each_other_in_virtual_time() -> None:
    found = board()
    for began_ns in (0, 654_321_000 + 6 * 4_000_000):
        found.infer(5, 2)
        borders = {border.name: (border.start_ns - began_ns, border.end_ns - began_ns) for border in found.borders()}
        assert borders == {
            "npu_init": (0, 1_000),
            "weight_load": (1_000, 21_000),
            "input_load": (21_000, 321_000),
            "inference": (8_321_000, 28_321_000),
            "output_read": (28_321_000, 78_321_000),
            "post_process": (78_321_000, 678_321_000),
        }
        assert list(borders) == list(END_TO_END)


def test_what_a_core_alone_does_not_do_is_not_counted() -> None:
    found = board(platform="stm32h7a3")
    assert found.infer(1, 0).lap_start_ns == 300_000
    times = {phase.name: (phase.ns, phase.count) for phase in found.phases()}
    assert times["npu_init"] == times["weight_load"] == (0, 0)
    assert [border.name for border in found.borders()] == list(END_TO_END[2:])


def test_ops_take_their_time_in_every_inference() -> None:
    found = board("kws")
    found.infer(4, 10)
    times = {op.index: (op.ns, op.count) for op in found.ops()}
    # Op 0 takes no time here; op 11, the soft-max, is post-processing on this platform.
    assert times == {index: (4 * index, 4) for index in range(1, 11)}


def test_the_whole_protocol() -> None:
    dut = Dut(board())
    assert dut.boot() == b"m-timestamp-mode-performance\r\nm-init-done\r\nm-ready\r\n"
    assert ask(dut, "name") == ["m-name-dut-[hil]", "m-ready"]
    assert ask(dut, "profile") == [f"m-profile-[{PythonBoard.profile}]", "m-model-[digits]", "m-ready"]
    load(dut, bytes(64))
    answer = ask(dut, "infer 2 1")
    assert answer[:3] == ["m-warmup-start-1", "m-warmup-done", "m-infer-start-2"]
    assert answer[3:6] == ["m-lap-us-4321", "m-lap-us-12321", "m-infer-done"]
    assert re.fullmatch(r"m-results-\[(-?\d+\.\d{3},){9}-?\d+\.\d{3}\]", answer[6])
    assert ask(dut, "point")[0].startswith("m-point-[max78000,")
    assert ask(dut, "memory")[0].startswith("m-memory-[weights,")
    assert ask(dut, "outputs")[-2:] == ["m-outputs-done", "m-ready"]
    assert ask(dut, "borders")[3] == "m-border-[inference,4321000,12321000]"


def test_readers_before_any_inference_decline() -> None:
    dut = Dut(board())
    for verb in ("phases", "ops", "outputs", "results", "laps", "borders"):
        assert ask(dut, verb) == ["e-[No results]", "m-ready"]


def test_what_it_says_of_itself() -> None:
    found = board("vww", "max78000")
    plan = make_plan(network("vww"), make_target(load_platform("max78000")))
    point = found.point()
    assert (point.platform, point.name) == ("max78000", plan.target.operating_point)
    assert (point.host_hz, point.npu_hz) == (plan.target.host_clock_hz, plan.target.npu_clock_hz)
    assert {use.role for use in found.memory()} == {"weights", "activations"}
    for use in found.memory():
        assert use.used_bytes == max(one.needed_bytes for one in plan.memory if one.role == use.role)
    assert board(platform="stm32h7a3").point().npu_hz == 0


def test_a_short_load_keeps_the_rest() -> None:
    model = network("digits").model
    assert model is not None
    found = board()
    found.load(bytes(range(64)))
    found.load(b"\x55" * 10)
    found.infer(1, 0)
    assert found.outputs() == Reference(model).run([b"\x55" * 10 + bytes(range(10, 64))])


def test_two_runs_are_identical() -> None:
    def session() -> list[str]:
        dut = Dut(board("kws"))
        load(dut, bytes(range(245)) * 2)
        return ask(dut, "infer 3 2", "phases", "ops", "outputs", "borders", "timestamp")

    assert session() == session()


@pytest.mark.parametrize(
    ("file", "what"), [("ai8x_kws20_v3_max78000.json", "no weights"), ("float16.tflite", "is float32; expected int8")]
)
def test_networks_that_it_cannot_run_are_named(file: str, what: str) -> None:
    plan = make_plan(load_network(FIXTURES / file), make_target(load_platform("stm32h7a3")))
    with pytest.raises(NetworkError, match=what):
        PythonBoard(plan, phases_ns={}, op_ns=[0] * len(plan.network.ops))


def test_a_session_reads_the_borders_over_a_pty(tmp_path: Path) -> None:
    """Each phase that happens once takes the time between its borders, to the nanosecond."""
    with (
        PtyBoard(DutLink(Dut(board("kws")))) as pty,
        open_session(pty.path, capture_path=tmp_path / "capture.jsonl") as session,
    ):
        session.connect()
        session.load(bytes(490))
        result = session.infer(4, 3)
        borders, phases = session.borders(), session.phases()
        assert session.stats.clean
    assert [border.name for border in borders] == [phase.name for phase in phases] == list(END_TO_END)
    assert [border.end_ns - border.start_ns for border in borders] == [phase.ns for phase in phases]
    assert (result.lap_start_us, result.lap_end_us) == (12_321, 28_321)
    assert (borders[3].start_ns, borders[3].end_ns) == (12_321_000, 28_321_000)
