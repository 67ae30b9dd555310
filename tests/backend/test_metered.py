"""A benchmark under a meter, end to end: an emulated board, and each instrument's own driver against its simulator.

The truth is the simulated course of power: idle, then a known power from the first lap to the last.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from hil.backend import BoardOptions, RunOptions, Surroundings
from hil.backend.analytic import AnalyticBackend
from hil.backend.metered import IDLE_S
from hil.backend.run import Run
from hil.backend.serial import SerialBackend
from hil.board.dut import Dut
from hil.cost import CostModel
from hil.emulator.board import EmulatedBoard
from hil.emulator.expose import DutServer
from hil.emulator.latency import latencies
from hil.emulator.process import Workspace
from hil.emulator.python_board import PythonBoard
from hil.errors import MeterError
from hil.meter.sim import ina2xx, lpm01a, otii, ppk2, stlink_v3pwr
from hil.meter.sim.instrument import Faults, Timeline
from hil.plan import END_TO_END, Plan
from tests.backend.conftest import plan_of
from tests.backend.test_serial import Stranger

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


@contextmanager
def at(address: str) -> Iterator[str]:
    yield address


def instruments() -> list[Any]:
    needs_otii = pytest.mark.skipif(
        importlib.util.find_spec("otii_tcp_client") is None, reason="no otii-tcp-client: pip install 'hil[otii]'"
    )
    return [
        pytest.param("ppk2", ppk2.Simulator, 10e3, True, id="ppk2"),
        pytest.param("lpm01a", lpm01a.Simulator, 10e3, False, id="lpm01a"),
        pytest.param("stlink_v3pwr", stlink_v3pwr.Simulator, 10e3, False, id="stlink_v3pwr"),
        pytest.param("ina228", ina2xx.Simulator, 2e3, False, id="ina228"),
        pytest.param("otii", otii.Simulator, 4e3, False, id="otii", marks=needs_otii),
    ]


def measure(
    plan: Plan, board: EmulatedBoard, spec: str, rate_hz: float, inferences: int, folder: Path, site: str = SITE
) -> Run:
    options = BoardOptions(port=board.url, warmups=0, meter=spec, meter_rate_hz=rate_hz, site=site)
    (run,) = SerialBackend(Surroundings(folder)).run([plan], RunOptions(repeat=inferences, board=options))
    return run


def simulated(kind: Any, source: Timeline, **more: Any) -> AbstractContextManager[Any]:
    simulator: AbstractContextManager[Any] = kind(source, **more)
    return simulator


@pytest.mark.parametrize(("name", "kind", "rate_hz", "edges"), instruments())
def test_each_instrument_measures_the_inference(
    plan: Plan,
    board: EmulatedBoard,
    before_s: float,
    latency_s: float,
    tmp_path: Path,
    name: str,
    kind: Any,
    rate_hz: float,
    edges: bool,
) -> None:
    inferences = round(WORK_S / latency_s)
    with simulated(kind, timeline(before_s, latency_s, inferences, edges)) as instrument:
        address = instrument.address if name == "otii" else instrument.port
        run = measure(
            plan, board, f"{name}:{address}{'?voltage_v=3.3' if name == 'ppk2' else ''}", rate_hz, inferences, tmp_path
        )
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
        options = BoardOptions(board="desk", warmups=0, meter=spec, site=SITE)
        try:
            monkeypatch.setattr("hil.backend.metered.IDLE_S", IDLE_S + WORK_S)  # the host cannot know how long it takes
            runs = SerialBackend(Surroundings(tmp_path)).run([plan], RunOptions(repeat=inferences, board=options))
        finally:
            server.close()
    energy = runs[0].phases["inference"].energy_j
    assert energy is not None and energy.low <= WORK_W * latency_s <= energy.high
    assert runs[0].phases["inference"].latency_s.mean == pytest.approx(latency_s, rel=1e-3)


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


def test_lost_samples_invalidate_the_figure_and_keep_the_recording(
    plan: Plan, board: EmulatedBoard, before_s: float, latency_s: float, tmp_path: Path
) -> None:
    """A tenth of a second of the window is missing, in pieces that the six-bit counter shows."""
    inferences = round(WORK_S / latency_s)
    faults = Faults(drop={60_000 + 200 * k: 60 for k in range(160)})
    with (
        simulated(ppk2.Simulator, timeline(before_s, latency_s, inferences, True), faults=faults) as instrument,
        pytest.raises(MeterError, match="missing|lost|gap"),
    ):
        measure(plan, board, f"ppk2:{instrument.port}?voltage_v=3.3", 100e3, inferences, tmp_path)
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
    with (
        simulated(lpm01a.Simulator, timeline(before_s, latency_s * 1.1, inferences, False)) as instrument,
        pytest.raises(MeterError),
    ):
        measure(plan, board, f"lpm01a:{instrument.port}", 10e3, inferences, tmp_path)


def test_a_board_that_tells_its_laps_once_is_refused(plan: Plan, tmp_path: Path) -> None:
    """hil would measure twice to be sure, and the trace would hold both."""
    server = DutServer(Dut(Stranger(plan)))
    try:
        with simulated(ppk2.Simulator, timeline(0.0, 1e-3, 10, True)) as instrument:
            options = BoardOptions(port=server.url, meter=f"ppk2:{instrument.port}?voltage_v=3.3")
            with pytest.raises(MeterError, match="tells its laps once"):
                SerialBackend(Surroundings(tmp_path)).run([plan], RunOptions(repeat=10, board=options))
    finally:
        server.close()


def test_a_meter_that_is_not_there_is_named(plan: Plan, board: EmulatedBoard, tmp_path: Path) -> None:
    with pytest.raises(MeterError, match="did you mean|no meter"):
        measure(plan, board, "ppk3", 1e3, 1, tmp_path)
