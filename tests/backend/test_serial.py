"""The benchmark over a port: hil's own boards, a stranger's, and the same again from a capture."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hil import zoo
from hil.backend import BoardOptions, RunOptions, Surroundings
from hil.backend.analytic import AnalyticBackend
from hil.backend.observe import observe, random_input
from hil.backend.run import Run
from hil.backend.serial import ReplayBackend, SerialBackend
from hil.backend.timed import repeated
from hil.board.clock import VirtualClock
from hil.board.codec import MemoryUse, OpTime, PhaseTime, Point
from hil.board.dut import Dut, InferOutcome
from hil.board.faults import FaultSchedule, FaultyLink, Rates
from hil.board.serve import DutLink
from hil.board.session import Session
from hil.cost import CostModel
from hil.emulator.board import EmulatedBoard
from hil.emulator.expose import DutServer, PtyBridge
from hil.emulator.latency import latencies
from hil.emulator.process import Workspace
from hil.emulator.python_board import PythonBoard
from hil.errors import ConfigError, LinkError
from hil.network.reference import Reference
from hil.plan import END_TO_END, Plan
from tests.backend.conftest import plan_of

LATENCY_US = 2345


class Stranger:
    """An MLPerf Tiny board that knows nothing of hil: no optional verbs, a name of its own, laps in microseconds."""

    vendor = "ACME"
    profile = "ULPMark for tinyML Firmware V0.0.1"
    model = "ic01"
    features = ()

    def __init__(self, plan: Plan, wrong: bool = False) -> None:
        network = plan.network
        assert network.model is not None
        self.input_bytes = network.input_bytes
        self._reference = Reference(network.model)
        quantization = network.tensors[network.outputs[0]].quantization
        assert quantization is not None
        self._scale, self._zero_point = quantization.scales[0], quantization.zero_points[0]
        self._input = b""
        self._wrong = wrong
        self._now_ns = 0

    def load(self, data: bytes) -> None:
        self._input = data.ljust(self.input_bytes, b"\0")

    def infer(self, inferences: int, warmups: int) -> InferOutcome:
        self._now_ns += warmups * LATENCY_US * 1000
        start = self._now_ns
        self._now_ns += inferences * LATENCY_US * 1000
        (output,) = self._reference.run([self._input])
        values = (np.frombuffer(output, np.int8).astype(np.float32) - self._zero_point) * np.float32(self._scale)
        values[0] += 0.25 if self._wrong else 0.0
        return InferOutcome(start, self._now_ns, tuple(float(value) for value in values))

    def timestamp_ns(self) -> int:
        return self._now_ns

    def phases(self) -> list[PhaseTime]:
        raise AssertionError("not announced")

    def ops(self) -> list[OpTime]:
        raise AssertionError("not announced")

    def point(self) -> Point:
        raise AssertionError("not announced")

    def memory(self) -> list[MemoryUse]:
        raise AssertionError("not announced")

    def outputs(self) -> list[bytes]:
        raise AssertionError("not announced")


@pytest.fixture
def plan() -> Plan:
    return plan_of("ic", "max78000")


@pytest.fixture
def python_board(plan: Plan) -> Iterator[EmulatedBoard]:
    with Workspace() as space:
        board = EmulatedBoard.of_plan(plan, "python", space)
        yield board
        board.close()


def serve(plan: Plan, *, wrong: bool = False) -> DutServer:
    return DutServer(Dut(Stranger(plan, wrong)))


def measure(plan: Plan, url: str, folder: Path, repeat: int = 1, **options: object) -> Run:
    board = BoardOptions(port=url, **options)  # type: ignore[arg-type]
    (run,) = SerialBackend(Surroundings(folder)).run([plan], RunOptions(repeat=repeat, board=board))
    return run


def test_a_strangers_board_is_measured(plan: Plan, tmp_path: Path) -> None:
    server = serve(plan)
    try:
        run = measure(plan, server.url, tmp_path, repeat=10, windows=3)
    finally:
        server.close()
    assert run.fidelity == "measured"
    assert set(run.phases) == {"inference"}
    latency = run.phases["inference"]
    assert latency.latency_s.mean == pytest.approx(LATENCY_US * 1e-6)
    assert latency.samples_s == pytest.approx([LATENCY_US * 1e-6] * 3)
    assert run.board is not None and (run.board.name, run.board.model, run.board.warmups) == ("ACME", "ic01", 10)
    assert run.outputs is not None and run.outputs.results_equal and run.outputs.equal is None
    assert any("'ic01'" in note for note in run.notes)


def test_wrong_results_are_seen(plan: Plan, tmp_path: Path) -> None:
    server = serve(plan, wrong=True)
    try:
        run = measure(plan, server.url, tmp_path)
    finally:
        server.close()
    assert run.outputs is not None and run.outputs.results_equal is False


def test_a_window_takes_as_many_inferences_as_it_needs(plan: Plan, tmp_path: Path) -> None:
    """MLPerf Tiny: at least ten seconds, the median of five."""
    server = serve(plan)
    try:
        run = measure(plan, server.url, tmp_path, window_s=10.0, windows=5)
    finally:
        server.close()
    assert run.board is not None and run.board.inferences * LATENCY_US * 1e-6 >= 10.0
    assert run.board.windows == 5
    assert run.phases["inference"].latency_s.mean == pytest.approx(LATENCY_US * 1e-6)


def test_hils_own_board_gives_every_phase_and_the_models_time(
    plan: Plan, python_board: EmulatedBoard, tmp_path: Path
) -> None:
    run = measure(plan, python_board.url, tmp_path)
    (model,) = AnalyticBackend().run([plan], RunOptions())
    for phase, figures in run.phases.items():
        assert figures.latency_s.mean == pytest.approx(model.phases[phase].latency_s.mean, abs=1e-9)
    assert set(run.phases) == set(model.phases) - {"boot"}
    assert run.fidelity == model.fidelity  # a prediction is no measurement, whatever the cable
    assert run.phases["inference"].fidelity == model.phases["inference"].fidelity
    assert run.outputs is not None and run.outputs.equal


def test_another_network_on_the_board_is_an_error(python_board: EmulatedBoard, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the board's network is 'ic'; asked for 'kws'"):
        measure(plan_of("kws", "max78000"), python_board.url, tmp_path)


def test_another_platform_is_an_error(python_board: EmulatedBoard, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the board's platform is 'max78000'; asked for 'max78002'"):
        measure(plan_of("ic", "max78002"), python_board.url, tmp_path)


@pytest.mark.parametrize("own", [True, False])
def test_a_capture_replays_to_the_identical_record(
    plan: Plan, python_board: EmulatedBoard, tmp_path: Path, own: bool
) -> None:
    server = None if own else serve(plan)
    try:
        run = measure(plan, python_board.url if server is None else server.url, tmp_path, windows=2)
    finally:
        if server is not None:
            server.close()
    (capture,) = tmp_path.glob("*.jsonl")
    options = RunOptions(board=BoardOptions(capture=str(capture), windows=2))
    (again,) = ReplayBackend().run([plan], options)
    assert again.model_copy(update={"backend": "serial"}) == run


def test_replay_with_other_options_names_the_deviation(plan: Plan, python_board: EmulatedBoard, tmp_path: Path) -> None:
    measure(plan, python_board.url, tmp_path)
    (capture,) = tmp_path.glob("*.jsonl")
    options = RunOptions(board=BoardOptions(capture=str(capture), seed=2))
    with pytest.raises(LinkError, match="replay"):
        ReplayBackend().run([plan], options)


def test_replay_of_a_changed_capture_never_gives_another_figure(
    plan: Plan, python_board: EmulatedBoard, tmp_path: Path
) -> None:
    """A digit of a time changed in one place: the second reading disagrees."""
    run = measure(plan, python_board.url, tmp_path)
    (capture,) = tmp_path.glob("*.jsonl")
    lines = capture.read_text().splitlines()
    wanted = b"m-phase-[inference,".hex()
    changed = next(index for index, line in enumerate(lines) if wanted in line)
    record = json.loads(lines[changed])
    data = bytearray.fromhex(record["hex"])
    at = data.index(b"m-phase-[inference,") + len(b"m-phase-[inference,")
    data[at] = ord("9") if data[at] != ord("9") else ord("8")
    lines[changed] = json.dumps({**record, "hex": data.hex()})
    capture.write_text("\n".join(lines) + "\n")
    try:
        (again,) = ReplayBackend().run([plan], RunOptions(board=BoardOptions(capture=str(capture))))
    except LinkError:
        return
    assert again.phases == run.phases


def test_a_pty_with_a_name_is_a_board(plan: Plan, python_board: EmulatedBoard, tmp_path: Path) -> None:
    path = tmp_path / "ttyBOARD"
    with Workspace() as space:
        bridge = PtyBridge(path, python_board.url, space)
        try:
            run = measure(plan, str(path), tmp_path)
        finally:
            bridge.close()
    assert run.outputs is not None and run.outputs.equal
    assert not path.is_symlink()


def test_a_pty_never_replaces_a_file(python_board: EmulatedBoard, tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with Workspace() as space, pytest.raises(ConfigError, match="precious"):
        PtyBridge(path, python_board.url, space)
    assert path.read_text() == "data"


def test_no_board_no_port() -> None:
    with pytest.raises(ConfigError, match="needs a board"):
        SerialBackend().run([plan_of("digits", "max78000")], RunOptions())


def test_a_dead_port_is_named(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="/dev/ttyNOWHERE"):
        measure(plan_of("digits", "max78000"), "/dev/ttyNOWHERE", tmp_path)


def test_the_board_map_finds_the_board(
    plan: Plan, python_board: EmulatedBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boards = tmp_path / "boards.toml"
    boards.write_text(f'[boards.desk]\nplatform = "max78000"\nport = "{python_board.url}"\n')
    monkeypatch.setenv("HIL_BOARDS", str(boards))
    (run,) = SerialBackend(Surroundings(tmp_path)).run([plan], RunOptions(board=BoardOptions(board="desk")))
    assert run.platform == "max78000"
    with pytest.raises(ConfigError, match="board desk is a max78000; asked for max78002"):
        SerialBackend(Surroundings(tmp_path)).run(
            [plan_of("ic", "max78002")], RunOptions(board=BoardOptions(board="desk"))
        )


def test_a_data_set_of_ones_own(plan: Plan, python_board: EmulatedBoard, tmp_path: Path) -> None:
    """Labels that are the reference's own answers: every one is right, on the board as in the reference."""
    network = plan.network
    assert network.model is not None
    inputs = [random_input(network, seed) for seed in range(3)]
    reference = Reference(network.model)
    labels = [int(np.argmax(np.frombuffer(reference.run([data])[0], np.int8))) for data in inputs]
    file = tmp_path / "set.npz"
    samples = np.stack([np.frombuffer(data, np.int8) for data in inputs])
    np.savez(file, inputs=samples.reshape(3, 32, 32, 3), labels=np.array(labels))
    run = measure(plan, python_board.url, tmp_path, data_set=str(file))
    assert run.accuracy is not None
    assert (run.accuracy.samples, run.accuracy.correct, run.accuracy.different_predictions) == (3, 3, 0)


def test_a_data_set_that_does_not_fit_is_an_error(plan: Plan, python_board: EmulatedBoard, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="digits: samples of 64 bytes"):
        measure(plan, python_board.url, tmp_path, data_set="digits")
    with pytest.raises(ConfigError, match=r"nothing\.npz"):
        measure(plan, python_board.url, tmp_path, data_set=str(tmp_path / "nothing.npz"))


def test_repeated_measurements_have_students_interval() -> None:
    """Five samples: half width 2.132 s / sqrt(5), from the table of Student's t; the clock adds in quadrature."""
    samples = [1.0, 1.1, 0.9, 1.05, 0.95]
    deviation = float(np.std(samples, ddof=1))
    half = 2.13185 * deviation / 5**0.5
    found = repeated(samples, 0.0)
    assert found.mean == pytest.approx(1.0)
    assert found.high - found.mean == pytest.approx(half, rel=1e-4)
    wide = repeated(samples, half)
    assert wide.high - wide.mean == pytest.approx(half * 2**0.5, rel=1e-4)
    alone = repeated([2.0], 0.1)
    assert (alone.low, alone.high) == pytest.approx((1.9, 2.1))


def test_scales_of_the_models_behind_the_python_board(plan: Plan) -> None:
    """The prediction behind a board is the analytic backend's."""
    model = CostModel(plan.target)
    (run,) = AnalyticBackend().run([plan], RunOptions())
    assert model.predict([plan]).costs["inference"].latency_s.mean[0] == run.phases["inference"].latency_s.mean


def test_zoo_names_fit_the_protocol() -> None:
    from hil.emulator.program import label

    assert [label(name) for name in zoo.names()] == list(zoo.names())


def test_wrong_results_are_of_another_network(plan: Plan, tmp_path: Path) -> None:
    server = serve(plan)
    try:
        with pytest.raises(ConfigError, match="the board prints 10 results; kws has 12"):
            measure(plan_of("kws", "max78000"), server.url, tmp_path)
    finally:
        server.close()


LOG = """\
>>> name%
m-name-dut-[ACME]
m-ready
profile%
m-profile-[ULPMark for tinyML Firmware V0.0.1]
m-model-[ic01]
m-ready
infer 100 10%
m-warmup-start-10
m-warmup-done
m-infer-start-100
m-lap-us-1000
m-lap-us-235500
m-infer-done
m-results-[0.1,0.9,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0]
m-ready
infer 100 10%
m-warmup-start-10
m-warmup-done
m-infer-start-100
m-lap-us-300000
m-lap-us-534700
m-infer-done
m-results-[0.1,0.9,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0]
m-ready
infer 100 10%
m-warmup-start-10
m-warmup-done
m-infer-st
"""


def test_a_strangers_log_is_a_measurement(plan: Plan, tmp_path: Path) -> None:
    """Two windows of 234.5 and 234.7 ms for a hundred inferences; the third was cut off."""
    log = tmp_path / "runner.log"
    log.write_text(LOG.replace(">>> ", ""))
    (run,) = ReplayBackend().run([plan], RunOptions(board=BoardOptions(capture=str(log))))
    assert run.fidelity == "measured"
    assert run.phases["inference"].samples_s == pytest.approx([2.345e-3, 2.347e-3])
    assert run.phases["inference"].latency_s.mean == pytest.approx(2.346e-3)
    assert run.board is not None
    assert (run.board.name, run.board.model, run.board.inferences, run.board.windows) == ("ACME", "ic01", 100, 2)
    with pytest.raises(ConfigError, match="10 results; kws has 12"):
        ReplayBackend().run([plan_of("kws", "max78000")], RunOptions(board=BoardOptions(capture=str(log))))


def test_a_log_without_an_inference_is_named(plan: Plan, tmp_path: Path) -> None:
    log = tmp_path / "runner.log"
    log.write_text("name%\nm-name-dut-[ACME]\nm-ready\n")
    with pytest.raises(LinkError, match="no whole infer"):
        ReplayBackend().run([plan], RunOptions(board=BoardOptions(capture=str(log))))


# Per byte, or per line; a benchmark of ic exchanges some 10 KB.
FAULTS = Rates(flip=3e-5, drop=3e-5, duplicate=5e-4, split=5e-4, stall=5e-4, noise=5e-4, disconnect=1e-4, reboot=1e-4)


@pytest.mark.parametrize("seed", range(40))
def test_the_benchmark_over_a_faulty_cable_is_right_or_named(plan: Plan, seed: int, tmp_path: Path) -> None:
    """The product's own path, not the session's: what comes through is the truth, bytes and times."""
    clock = VirtualClock()
    model, prediction = CostModel(plan.target), CostModel(plan.target).predict([plan])
    phases = {phase: round(prediction.costs[phase].latency_s.mean[0] * 1e9) for phase in END_TO_END}
    op_ns = latencies(plan, model, prediction, 0).op_ns
    link = DutLink(Dut(PythonBoard(plan, phases_ns={str(p): ns for p, ns in phases.items()}, op_ns=op_ns)), clock)
    ways = FaultSchedule(2 * seed, FAULTS), FaultSchedule(2 * seed + 1, FAULTS)
    start_s = clock.now_s()
    session = Session(lambda: FaultyLink(link, *ways, clock, link.reboot), clock=clock)
    try:
        session.connect()
        seen = observe(session, plan, BoardOptions(windows=2), 3)
    except LinkError:
        pass
    else:
        assert seen.outputs is not None and seen.outputs.equal
        for phase, samples in seen.phase_samples_s.items():
            assert samples == pytest.approx([phases[phase] * 1e-9] * 2)
    assert clock.now_s() - start_s < 600
