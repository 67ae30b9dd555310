"""A benchmark under a meter, end to end: an emulated board, and each instrument's own driver against its simulator.

The truth is the simulated course of power: idle, then a known power from the first lap to the last.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from hil.backend import BoardOptions, RunOptions, Surroundings
from hil.backend.analytic import AnalyticBackend
from hil.backend.borders import IDLE_S
from hil.backend.run import Run
from hil.backend.serial import ReplayBackend, SerialBackend
from hil.board.dut import Dut
from hil.cost import CostModel
from hil.emulator.board import EmulatedBoard
from hil.emulator.expose import DutServer
from hil.emulator.latency import latencies
from hil.emulator.process import Workspace
from hil.emulator.python_board import PythonBoard
from hil.errors import LinkError, MeterError
from hil.meter.align import digital_edges
from hil.meter.phases import read_phases
from hil.meter.sim import lpm01a, otii, ppk2, stlink_v3pwr
from hil.meter.sim.instrument import Faults, Timeline
from hil.meter.store import load_trace
from hil.plan import END_TO_END, Plan
from tests.backend.conftest import plan_of
from tests.backend.test_serial import LATENCY_US, Stranger

IDLE_W, WORK_W, SUPPLY_V = 6e-3, 24e-3, 3.3
WORK_S = 0.6  # the length of a window
LEAD_S = 0.12  # from the end of the idle to the work, so that idle is surely over when the host says so
SITE = "rail VCOREA"
BEFORE = ("npu_init", "weight_load", "input_load")


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of("digits", "max78000")


@pytest.fixture(scope="module")
def board(plan: Plan) -> Iterator[EmulatedBoard]:
    with Workspace() as space:
        emulated = EmulatedBoard.of_plan(plan, "python", space)
        yield emulated
        emulated.close()


@pytest.fixture(scope="module")
def latency_s(plan: Plan) -> float:
    (run,) = AnalyticBackend().run([plan], RunOptions())
    return round(run.phases["inference"].latency_s.mean * 1e9) * 1e-9


@pytest.fixture(scope="module")
def before_s(plan: Plan) -> float:
    """How long the board works before the first lap: it begins to take power then."""
    (run,) = AnalyticBackend().run([plan], RunOptions())
    return sum(run.phases[phase].latency_s.mean for phase in BEFORE)


def timeline(before_s: float, latency_s: float, inferences: int, edges: bool) -> Timeline:
    start_s = IDLE_S + LEAD_S
    end_s = start_s + latency_s * inferences
    pin = ((start_s, 1), (end_s, 0)) if edges else ()
    return Timeline.from_power((0.0, start_s - before_s, end_s), (IDLE_W, WORK_W, IDLE_W), SUPPLY_V, pin)


def measure(
    plan: Plan, board: EmulatedBoard, spec: str, rate_hz: float, inferences: int, folder: Path, site: str = SITE
) -> Run:
    options = BoardOptions(port=board.url, warmups=0, meter=spec, meter_rate_hz=rate_hz, site=site)
    (run,) = SerialBackend(Surroundings(folder)).run([plan], RunOptions(repeat=inferences, board=options))
    return run


def simulated(kind: Any, source: Timeline, **more: Any) -> AbstractContextManager[Any]:
    simulator: AbstractContextManager[Any] = kind(source, **more)
    return simulator


@pytest.mark.parametrize(
    ("name", "kind", "edges"),
    [("ppk2", ppk2.Simulator, True), ("stlink_v3pwr", stlink_v3pwr.Simulator, False)],
)
def test_the_inference_is_measured_with_a_pin_and_without(
    plan: Plan,
    board: EmulatedBoard,
    before_s: float,
    latency_s: float,
    tmp_path: Path,
    name: str,
    kind: Any,
    edges: bool,
) -> None:
    """Every instrument by way of the command: ``test_metered_cli.py``."""
    inferences = round(WORK_S / latency_s)
    with simulated(kind, timeline(before_s, latency_s, inferences, edges)) as instrument:
        spec = f"{name}:{instrument.port}{'?voltage_v=3.3' if name == 'ppk2' else ''}"
        run = measure(plan, board, spec, 10e3, inferences, tmp_path)
    energy = run.phases["inference"].energy_j
    above = run.phases["inference"].energy_above_idle_j
    assert energy is not None and above is not None and run.meter is not None
    assert energy.fidelity == "measured" and energy.scope == f"{SITE}, gross"
    assert energy.low <= WORK_W * latency_s <= energy.high
    assert energy.mean == pytest.approx(WORK_W * latency_s, rel=0.02)
    assert above.low <= (WORK_W - IDLE_W) * latency_s <= above.high
    assert run.meter.idle_power_w == pytest.approx(IDLE_W, rel=0.05)
    assert run.meter.alignment.startswith("digital" if edges else "change-point")
    assert [Path(trace).is_dir() for trace in run.meter.traces] == [True]
    assert run.idle_power_w is not None and run.idle_power_w.low <= IDLE_W <= run.idle_power_w.high
    assert run.idle_power_w.mean == pytest.approx(IDLE_W, rel=0.02)
    # The platform's own scope: sums take the measured part in.
    assert run.total.energy_j is not None and run.total.energy_j.scope == energy.scope


@pytest.mark.parametrize("pulse", [True, False])
def test_a_board_in_energy_mode_tells_its_laps_by_the_pin(
    plan: Plan, latency_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pulse: bool
) -> None:
    """MLPerf Tiny's energy mode: no lap lines; a falling edge for each lap (or one change of level)."""
    inferences = round(WORK_S / latency_s)
    start_s = IDLE_S + LEAD_S
    end_s = start_s + latency_s * inferences
    high = ((0.0, 1), (start_s, 0))
    pin = (*high, (start_s + 1e-3, 1), (end_s, 0), (end_s + 1e-3, 1)) if pulse else (*high, (end_s, 1))
    source = Timeline.from_power((0.0, start_s, end_s), (IDLE_W, WORK_W, IDLE_W), SUPPLY_V, pin)
    model = CostModel(plan.target)
    phases = dict.fromkeys(END_TO_END, 0) | {"inference": round(latency_s * 1e9)}
    op_ns = latencies(plan, model, model.predict([plan]), 0).op_ns
    server = DutServer(Dut(PythonBoard(plan, phases_ns=phases, op_ns=op_ns), mode="energy"))
    boards = tmp_path / "boards.toml"
    boards.write_text(f'[boards.desk]\nplatform = "max78000"\nport = "{server.url}"\nmode = "energy"\n')
    monkeypatch.setenv("HIL_BOARDS", str(boards))
    with simulated(ppk2.Simulator, source) as instrument:
        spec = f"ppk2:{instrument.port}?voltage_v=3.3"
        options = BoardOptions(board="desk", warmups=0, meter=spec, site=SITE, window_s=WORK_S / 2, windows=2)
        try:
            monkeypatch.setattr("hil.backend.metered.IDLE_S", IDLE_S + WORK_S)  # the host cannot know how long it takes
            runs = SerialBackend(Surroundings(tmp_path)).run([plan], RunOptions(repeat=inferences, board=options))
        finally:
            server.close()
    energy = runs[0].phases["inference"].energy_j
    assert energy is not None and energy.low <= WORK_W * latency_s <= energy.high
    assert runs[0].phases["inference"].latency_s.mean == pytest.approx(latency_s, rel=1e-3)
    # Nobody knew how long an inference takes: a first recording told.
    meter = runs[0].meter
    assert meter is not None and [trace[-7:] for trace in meter.traces] == ["trace-2", "trace-3"]
    assert any("MLPerf Tiny asks for 5 of 10 s" in note for note in meter.notes)


def test_another_site_is_another_scope_and_no_sum(
    plan: Plan, board: EmulatedBoard, before_s: float, latency_s: float, tmp_path: Path
) -> None:
    inferences = round(WORK_S / latency_s)
    with simulated(ppk2.Simulator, timeline(before_s, latency_s, inferences, True)) as instrument:
        run = measure(
            plan, board, f"ppk2:{instrument.port}?voltage_v=3.3", 10e3, inferences, tmp_path, site="whole board"
        )
    energy = run.phases["inference"].energy_j
    assert energy is not None and energy.scope == "whole board, gross"
    assert run.total.energy_j is None
    (model,) = AnalyticBackend().run([plan], RunOptions())
    assert run.idle_power_w == model.idle_power_w


def test_lost_samples_invalidate_the_energy_and_keep_everything_else(
    plan: Plan, board: EmulatedBoard, before_s: float, latency_s: float, tmp_path: Path
) -> None:
    """A tenth of a second of the window is missing, in pieces that the six-bit counter shows."""
    inferences = round(WORK_S / latency_s)
    faults = Faults(drop={60_000 + 200 * k: 60 for k in range(160)})
    with simulated(ppk2.Simulator, timeline(before_s, latency_s, inferences, True), faults=faults) as instrument:
        run = measure(plan, board, f"ppk2:{instrument.port}?voltage_v=3.3", 100e3, inferences, tmp_path)
    assert run.meter is not None and "missing" in run.meter.refused["inference"]
    assert any("missing" in note for note in run.notes)
    figures = run.phases["inference"]
    assert figures.energy_j is None and figures.energy_above_idle_j is None and run.total.energy_j is None
    assert figures.latency_s.mean == pytest.approx(latency_s, rel=1e-6)
    assert list(tmp_path.glob("*.bin"))
    assert list(tmp_path.glob("*-trace-1/*"))


@pytest.mark.parametrize("name", ["ppk2", "lpm01a"])
def test_warm_ups_are_not_counted_as_inferences(
    plan: Plan, board: EmulatedBoard, before_s: float, latency_s: float, tmp_path: Path, name: str
) -> None:
    """The power rises with the first warm-up; the energy is of what lies between the laps."""
    inferences, warmups = round(WORK_S / latency_s), round(WORK_S / 4 / latency_s)
    begin_s = IDLE_S + LEAD_S
    start_s = begin_s + before_s + warmups * latency_s
    end_s = start_s + inferences * latency_s
    pin = ((start_s, 1), (end_s, 0)) if name == "ppk2" else ()
    source = Timeline.from_power((0.0, begin_s, end_s), (IDLE_W, WORK_W, IDLE_W), SUPPLY_V, pin)
    kind = {"ppk2": ppk2.Simulator, "lpm01a": lpm01a.Simulator}[name]
    with simulated(kind, source) as instrument:
        setting = "?voltage_v=3.3" if name == "ppk2" else ""
        options = BoardOptions(
            port=board.url,
            warmups=warmups,
            windows=2,
            meter=f"{name}:{instrument.port}{setting}",
            meter_rate_hz=10e3,
            site=SITE,
        )
        (run,) = SerialBackend(Surroundings(tmp_path)).run([plan], RunOptions(repeat=inferences, board=options))
    energy = run.phases["inference"].energy_j
    assert energy is not None and run.meter is not None
    assert energy.mean == pytest.approx(WORK_W * latency_s, rel=0.02)
    assert abs(run.meter.skew_ppm) < 1000
    assert run.meter.idle_power_w == pytest.approx(IDLE_W, rel=0.05)
    assert len(run.meter.windows_j) == len(run.meter.traces) == len(set(run.meter.traces)) == 2


def test_power_that_does_not_follow_the_laps_is_refused(
    plan: Plan, board: EmulatedBoard, before_s: float, latency_s: float, tmp_path: Path
) -> None:
    """Something else switches on and off: a tenth longer than the inferences took."""
    inferences = round(WORK_S / latency_s)
    with simulated(lpm01a.Simulator, timeline(before_s, latency_s * 1.1, inferences, False)) as instrument:
        run = measure(plan, board, f"lpm01a:{instrument.port}", 10e3, inferences, tmp_path)
    assert run.meter is not None and "inference" in run.meter.refused
    assert run.phases["inference"].energy_j is None


def test_a_board_that_knows_mlperf_tiny_only_is_measured(plan: Plan, tmp_path: Path) -> None:
    """It tells its laps once, so hil measures again to be sure of them: after the recording."""
    latency_s = LATENCY_US * 1e-6
    inferences = round(WORK_S / latency_s)
    server = DutServer(Dut(Stranger(plan)))
    start_s = IDLE_S + LEAD_S
    end_s = start_s + inferences * latency_s
    source = Timeline.from_power((0.0, start_s, end_s), (IDLE_W, WORK_W, IDLE_W), SUPPLY_V, ((start_s, 1), (end_s, 0)))
    try:
        with simulated(ppk2.Simulator, source) as instrument:
            options = BoardOptions(port=server.url, warmups=0, meter=f"ppk2:{instrument.port}?voltage_v=3.3", site=SITE)
            (run,) = SerialBackend(Surroundings(tmp_path)).run([plan], RunOptions(repeat=inferences, board=options))
    finally:
        server.close()
    assert run.board is not None and run.board.features == ()
    energy = run.phases["inference"].energy_j
    assert energy is not None and energy.low <= WORK_W * latency_s <= energy.high


def test_a_meter_that_goes_away_ends_the_recording_at_once(
    plan: Plan, board: EmulatedBoard, before_s: float, latency_s: float, tmp_path: Path
) -> None:
    """Not only when it is stopped: a window may take minutes."""
    inferences = round(20 * WORK_S / latency_s)
    faults = Faults(hang_up_at=80_000)
    with simulated(ppk2.Simulator, timeline(before_s, latency_s, inferences, True), faults=faults) as instrument:
        start_s = time.monotonic()
        with pytest.raises(MeterError, match="went away|lost"):
            measure(plan, board, f"ppk2:{instrument.port}?voltage_v=3.3", 100e3, inferences, tmp_path)
        assert time.monotonic() - start_s < 10 * WORK_S
    assert list(tmp_path.glob("*.bin"))


def test_a_meter_that_is_not_there_is_named(plan: Plan, board: EmulatedBoard, tmp_path: Path) -> None:
    with pytest.raises(MeterError, match="did you mean|no meter"):
        measure(plan, board, "ppk3", 1e3, 1, tmp_path)


@pytest.mark.parametrize("name", ["lpm01a", "stlink_v3pwr"])
def test_the_boards_pin_starts_the_meter(
    plan: Plan, board: EmulatedBoard, before_s: float, latency_s: float, tmp_path: Path, name: str
) -> None:
    """Recording begins at the first lap, so there is no idle before it: gross energy only."""
    inferences = round(WORK_S / latency_s)
    kind = {"lpm01a": lpm01a.Simulator, "stlink_v3pwr": stlink_v3pwr.Simulator}[name]
    end_s = LEAD_S + latency_s * inferences
    steps = (0.0, LEAD_S - before_s, end_s)
    source = Timeline.from_power(steps, (IDLE_W, WORK_W, IDLE_W), SUPPLY_V, ((LEAD_S, 1), (end_s, 0)))
    with simulated(kind, source) as instrument:
        options = BoardOptions(
            port=board.url,
            warmups=0,
            meter=f"{name}:{instrument.port}",
            meter_rate_hz=10e3,
            meter_trigger="hardware",
            site=SITE,
        )
        (run,) = SerialBackend(Surroundings(tmp_path)).run([plan], RunOptions(repeat=inferences, board=options))
    energy = run.phases["inference"].energy_j
    assert energy is not None and run.meter is not None
    assert run.meter.alignment.startswith("trigger") and run.meter.trigger == "hardware"
    assert energy.low <= WORK_W * latency_s <= energy.high
    assert energy.mean == pytest.approx(WORK_W * latency_s, rel=0.02)
    assert run.phases["inference"].energy_above_idle_j is None and run.meter.idle_power_w is None


def test_the_meter_hears_the_boards_laps(plan: Plan, before_s: float, latency_s: float, tmp_path: Path) -> None:
    """No pin is wired; an Otii stamps the lines that the board prints."""
    pytest.importorskip("otii_tcp_client", reason="no otii-tcp-client: pip install 'hil[otii]'")
    inferences = round(WORK_S / latency_s)
    source = timeline(before_s, latency_s, inferences, edges=False)
    start_s = IDLE_S + LEAD_S
    with Workspace() as space:
        fresh = EmulatedBoard.of_plan(plan, "python", space)  # its clock starts at nothing
        try:
            laps_s = (before_s, before_s + inferences * latency_s)
            lines = [(start_s + lap_s - before_s, f"m-lap-us-{int(lap_s * 1e6)}") for lap_s in laps_s]
            with simulated(otii.Simulator, source, lines=lines) as instrument:
                options = BoardOptions(
                    port=fresh.url, warmups=0, meter=f"otii:{instrument.address}?uart=115200", site=SITE
                )
                (run,) = SerialBackend(Surroundings(tmp_path)).run([plan], RunOptions(repeat=inferences, board=options))
        finally:
            fresh.close()
    energy = run.phases["inference"].energy_j
    assert run.meter is not None and run.meter.alignment.startswith("uart"), run.notes
    assert energy is not None and energy.low <= WORK_W * latency_s <= energy.high


# --- phases ---------------------------------------------------------------------------------------------------------

PHASE_W = {"npu_init": 12e-3, "weight_load": 40e-3, "input_load": 9e-3, "inference": WORK_W, "output_read": 11e-3}


@pytest.fixture(scope="module")
def large() -> Plan:
    """Loading its weights takes 14 ms, loading its input 2 ms."""
    return plan_of("vww", "max78000")


@pytest.fixture(scope="module")
def measured_twice(large: Plan, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """Two windows of eight inferences under a PPK2 that sees each phase take its own power."""
    folder = tmp_path_factory.mktemp("phases")
    (predicted,) = AnalyticBackend().run([large], RunOptions())
    seconds = {name: part.latency_s.mean for name, part in predicted.phases.items() if name in END_TO_END}
    at_s, powers = IDLE_S + LEAD_S, [(0.0, IDLE_W)]
    pin = []
    for name in END_TO_END:
        if name == "inference":
            pin = [(at_s, 1), (at_s + 8 * seconds[name], 0)]
        powers.append((at_s, PHASE_W.get(name, IDLE_W)))
        at_s += seconds[name] * (8 if name == "inference" else 1)
    powers.append((at_s, IDLE_W))
    times_s, watts = zip(*powers, strict=True)
    source = Timeline.from_power(times_s, watts, SUPPLY_V, tuple(pin))
    with Workspace() as space, simulated(ppk2.Simulator, source) as instrument:
        board = EmulatedBoard.of_plan(large, "python", space)
        try:
            options = BoardOptions(
                port=board.url, warmups=0, windows=2, meter=f"ppk2:{instrument.port}?voltage_v=3.3", site=SITE
            )
            (run,) = SerialBackend(Surroundings(folder)).run([large], RunOptions(repeat=8, board=options))
        finally:
            board.close()
    return run, folder


def test_each_phase_that_is_long_enough_is_measured(measured_twice: tuple[Run, Path]) -> None:
    run, _ = measured_twice
    assert run.meter is not None
    for name in ("weight_load", "input_load", "inference"):
        figures = run.phases[name]
        truth_j = PHASE_W[name] * figures.latency_s.mean
        above_j = (PHASE_W[name] - IDLE_W) * figures.latency_s.mean
        assert figures.energy_j is not None and figures.energy_above_idle_j is not None, name
        assert figures.energy_j.fidelity == "measured"
        assert figures.energy_j.low <= truth_j <= figures.energy_j.high
        assert figures.energy_j.mean == pytest.approx(truth_j, rel=0.03)
        assert figures.energy_above_idle_j.low <= above_j <= figures.energy_above_idle_j.high
        assert figures.power_w == pytest.approx(PHASE_W[name], rel=0.03)


def test_a_phase_that_is_too_short_keeps_the_models_energy_and_says_so(measured_twice: tuple[Run, Path]) -> None:
    run, _ = measured_twice
    assert run.meter is not None and {"npu_init", "post_process"} <= run.meter.refused.keys()
    assert "inference" not in run.meter.refused
    energy = run.phases["npu_init"].energy_j
    assert energy is not None and energy.fidelity in ("calibrated", "estimated")
    assert any(note.startswith("npu_init not measured") for note in run.notes)
    # What nobody measured is below a hundredth of the total, so that the total is a measured figure.
    assert run.total.energy_j is not None and run.total.energy_j.fidelity == "measured"


def test_the_phases_of_a_trace_lie_beside_it_in_the_meters_time(measured_twice: tuple[Run, Path]) -> None:
    run, folder = measured_twice
    assert run.meter is not None
    traces = [Path(trace) for trace in run.meter.traces]
    assert [trace.parent for trace in traces] == [folder] * 2
    work, idle = read_phases(traces[1] / "phases.csv")
    assert [window.name for window in work] == list(END_TO_END) and len(idle) == 2
    inference = next(window for window in work if window.name == "inference")
    assert inference.inferences == 8
    # The pin rose at the first lap.
    assert inference.start_s == pytest.approx(digital_edges(load_trace(traces[1]), 0)[0], abs=20e-6)


def test_a_metered_run_is_replayed_with_its_energies(large: Plan, measured_twice: tuple[Run, Path]) -> None:
    run, _ = measured_twice
    assert run.board is not None and run.board.capture is not None
    options = BoardOptions(capture=run.board.capture, warmups=0, windows=2)
    (again,) = ReplayBackend().run([large], RunOptions(repeat=8, board=options))
    first, second = run.model_dump(), again.model_dump()
    assert first.pop("backend") == "serial" and second.pop("backend") == "replay"
    assert first == second


def test_a_replay_without_its_traces_says_so(large: Plan, measured_twice: tuple[Run, Path], tmp_path: Path) -> None:
    run, folder = measured_twice
    assert run.board is not None and run.board.capture is not None
    capture = Path(run.board.capture)
    for name in (capture.name, f"{capture.stem}-meter.json"):
        shutil.copy(folder / name, tmp_path / name)
    options = BoardOptions(capture=str(tmp_path / capture.name), warmups=0, windows=2)
    with pytest.raises(MeterError, match="not a finished trace"):
        ReplayBackend().run([large], RunOptions(repeat=8, board=options))


def test_a_simulated_meter_shows_what_the_model_says(large: Plan, tmp_path: Path) -> None:
    """Nothing was measured: the figures keep the model's label."""
    with Workspace() as space:
        board = EmulatedBoard.of_plan(large, "python", space)
        try:
            spec = "simulated?noise_a=20e-6&lsb_a=1e-6&clock_ratio=1.0001&seed=3"
            options = BoardOptions(port=board.url, warmups=3, meter=spec)
            (run,) = SerialBackend(Surroundings(tmp_path)).run([large], RunOptions(repeat=8, board=options))
        finally:
            board.close()
    (model,) = AnalyticBackend().run([large], RunOptions())
    assert run.meter is not None and run.meter.model == "simulated"
    assert run.meter.skew_ppm == pytest.approx(100, abs=5)
    for name in ("weight_load", "input_load", "inference"):
        found, expected = run.phases[name].energy_j, model.phases[name].energy_j
        assert found is not None and expected is not None
        assert found.fidelity == expected.fidelity != "measured"
        assert found.low <= expected.mean <= found.high
        assert found.mean == pytest.approx(expected.mean, rel=0.02)


def test_a_replay_of_a_simulated_meter_measures_nothing(large: Plan, tmp_path: Path) -> None:
    with Workspace() as space:
        board = EmulatedBoard.of_plan(large, "python", space)
        try:
            options = BoardOptions(port=board.url, meter="simulated?noise_a=1e-4", windows=2)
            (run,) = SerialBackend(Surroundings(tmp_path)).run([large], RunOptions(repeat=8, board=options))
        finally:
            board.close()
    assert run.board is not None and run.meter is not None
    # Two recordings have noise of their own.
    assert run.meter.windows_j[0] != run.meter.windows_j[1]
    replay = BoardOptions(capture=run.board.capture, windows=2)
    (again,) = ReplayBackend().run([large], RunOptions(repeat=8, board=replay))
    for one in (run, again):
        energies = [part.energy_j for part in one.phases.values()]
        assert all(energy is not None and energy.fidelity != "measured" for energy in energies)
    assert again.model_dump(exclude={"backend"}) == run.model_dump(exclude={"backend"})


def test_the_pin_may_start_a_meter_that_sees_it_too(large: Plan, tmp_path: Path) -> None:
    """The first edge is the one before the first sample."""
    with Workspace() as space:
        board = EmulatedBoard.of_plan(large, "python", space)
        try:
            options = BoardOptions(port=board.url, meter="simulated?seed=1", meter_trigger="hardware")
            (run,) = SerialBackend(Surroundings(tmp_path)).run([large], RunOptions(repeat=8, board=options))
        finally:
            board.close()
    assert run.meter is not None and run.meter.alignment.startswith("trigger")
    assert "inference" not in run.meter.refused


def test_an_energy_that_is_not_known_makes_no_battery_life(
    plan: Plan, board: EmulatedBoard, before_s: float, latency_s: float, tmp_path: Path
) -> None:
    """Refused, or of another scope than the waiting: a sum of both would be a figure of nothing."""
    for spec, site in (("simulated?seed=1", None), ("simulated?gain=10", "whole board")):
        rate_hz = 100.0 if site is None else None
        options = BoardOptions(port=board.url, warmups=0, meter=spec, meter_rate_hz=rate_hz, site=site)
        (run,) = SerialBackend(Surroundings(tmp_path)).run([plan], RunOptions(repeat=100, period_s=1.0, board=options))
        assert run.total.energy_j is None and run.duty == ()
        assert run.timeline is not None and run.timeline.trace_power_w == ()
        if site is not None:
            assert any("measured at whole board" in note for note in run.notes)


class Sleeper(Stranger):
    """It takes the time that it says, in real time."""

    def infer(self, inferences: int, warmups: int) -> Any:
        time.sleep((inferences + warmups) * LATENCY_US * 1e-6)
        return super().infer(inferences, warmups)


@pytest.mark.parametrize(
    ("pulses", "kind"),
    [
        ((0, 1), None),
        ((1,), "host waited"),  # looks like a level that changes twice, 10 ms apart
        ((0, 1, 2), "3 laps in the trace"),
    ],
)
def test_energy_mode_with_an_edge_too_few_or_too_many(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pulses: tuple[int, ...], kind: str | None
) -> None:
    """Nothing else tells the laps: the host's clock is the second witness."""
    latency_s = LATENCY_US * 1e-6
    inferences = round(WORK_S / latency_s)
    start_s = IDLE_S + 0.02
    laps_s = (start_s, start_s + inferences * latency_s, start_s + inferences * latency_s + 0.05)
    pin = [(0.0, 1)]
    for pulse in pulses:
        pin += [(laps_s[pulse], 0), (laps_s[pulse] + 0.01, 1)]
    source = Timeline.from_power((0.0, laps_s[0], laps_s[1]), (IDLE_W, WORK_W, IDLE_W), SUPPLY_V, tuple(pin))
    server = DutServer(Dut(Sleeper(plan), mode="energy"))
    boards = tmp_path / "boards.toml"
    boards.write_text(f'[boards.desk]\nplatform = "max78000"\nport = "{server.url}"\nmode = "energy"\n')
    monkeypatch.setenv("HIL_BOARDS", str(boards))
    try:
        with simulated(ppk2.Simulator, source) as instrument:
            options = BoardOptions(board="desk", warmups=0, meter=f"ppk2:{instrument.port}?voltage_v=3.3", site=SITE)
            backend = SerialBackend(Surroundings(tmp_path))
            if kind is None:
                (run,) = backend.run([plan], RunOptions(repeat=inferences, board=options))
                assert run.phases["inference"].latency_s.mean == pytest.approx(latency_s, rel=1e-3)
                # To a sampling interval of the meter, not to the microsecond of a lap.
                assert run.phases["inference"].latency_s.high - latency_s > 1e-5 / inferences
            else:
                with pytest.raises(LinkError, match=kind):
                    backend.run([plan], RunOptions(repeat=inferences, board=options))
    finally:
        server.close()


@pytest.mark.parametrize(
    "change", [{"rate_hz": float("inf")}, {"trigger": "gravity"}, {"site": ""}, {"accuracy": {"gain": 0}}]
)
def test_a_damaged_setup_is_named(
    large: Plan, measured_twice: tuple[Run, Path], tmp_path: Path, change: dict[str, Any]
) -> None:
    run, folder = measured_twice
    assert run.board is not None and run.board.capture is not None
    stem = Path(run.board.capture).stem
    shutil.copytree(folder, tmp_path / "copy")
    setup = tmp_path / "copy" / f"{stem}-meter.json"
    setup.write_text(json.dumps({**json.loads(setup.read_text()), **change}))
    options = BoardOptions(capture=str(tmp_path / "copy" / f"{stem}.jsonl"), warmups=0, windows=2)
    with pytest.raises(MeterError, match="not the setup of a meter"):
        ReplayBackend().run([large], RunOptions(repeat=8, board=options))
    setup.unlink()
    with pytest.raises(MeterError, match="-meter.json"):
        ReplayBackend().run([large], RunOptions(repeat=8, board=options))
