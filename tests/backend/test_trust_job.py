"""From a board and a meter to a better cost model, by the commands that a user types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hil.backend import RunOptions
from hil.backend.analytic import AnalyticBackend
from hil.backend.borders import IDLE_S
from hil.board.dut import Dut
from hil.cli.main import main
from hil.cost import CostModel
from hil.emulator.expose import DutServer
from hil.emulator.latency import latencies
from hil.emulator.python_board import PythonBoard
from hil.meter.sim import ppk2
from hil.meter.sim.instrument import Timeline
from hil.plan import END_TO_END
from tests.backend.conftest import plan_of

PLATFORM, NETWORK = "cv1800b", "ic"  # nobody has published a measurement of this platform
LEAD_S, IDLE_W, WORK_W = 0.12, 0.12, 0.90
WORK_S = 0.5


class Real(PythonBoard):
    """It does not say that its time is virtual, so its figures count as measured."""

    profile = "a board on a cable"


def hil(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    """What a command prints with --json."""
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def energy_of(document: Any) -> Any:
    return document["runs"][0]["phases"]["inference"]["energy_j"]


def test_a_metered_board_calibrates_its_cost_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(NETWORK, PLATFORM)
    model = CostModel(plan.target)
    prediction = model.predict([plan])
    (predicted,) = AnalyticBackend().run([plan], RunOptions())
    seconds = {phase: predicted.phases[phase].latency_s.mean for phase in END_TO_END}
    inferences = round(WORK_S / seconds["inference"])
    start_s = IDLE_S + LEAD_S + sum(seconds[phase] for phase in ("npu_init", "weight_load", "input_load"))
    end_s = start_s + inferences * seconds["inference"]
    last_s = end_s + seconds["output_read"] + seconds["post_process"]
    source = Timeline.from_power(
        (0.0, IDLE_S + LEAD_S, last_s), (IDLE_W, WORK_W, IDLE_W), 5.0, ((start_s, 1), (end_s, 0))
    )
    board = Real(
        plan,
        phases_ns={phase: round(seconds[phase] * 1e9) for phase in END_TO_END},
        op_ns=latencies(plan, model, prediction, 0).op_ns,
    )
    server = DutServer(Dut(board))
    words = ("bench", f"zoo:{NETWORK}", "--platform", PLATFORM)
    board_words = ("--backend", "serial", "--port", server.url, "--warmups", "0", "--repeat", str(inferences))
    results = tmp_path / "measured"
    try:
        with ppk2.Simulator(source) as instrument:
            meter = ("--meter", f"ppk2:{instrument.port}?voltage_v=5", "--windows", "2")
            measured = hil(capsys, *words, *board_words, *meter, "--out", str(results))
    finally:
        server.close()
    truth_j = WORK_W * seconds["inference"]
    found = energy_of(measured)
    assert found["fidelity"] == "measured" and found["low"] <= truth_j <= found["high"]

    before = energy_of(hil(capsys, *words))
    assert before["fidelity"] == "estimated" and abs(before["mean"] / truth_j - 1) > 0.2
    (record,) = (results / "records").glob("*.json")
    fitted = tmp_path / "fitted"
    hil(capsys, "calibrate", PLATFORM, "--data", str(record), "--out", str(fitted))
    monkeypatch.setenv("HIL_CALIBRATION_PATH", str(fitted))
    after = energy_of(hil(capsys, *words))
    assert after["fidelity"] == "calibrated"
    assert after["mean"] == pytest.approx(truth_j, rel=0.1)
    assert after["low"] <= truth_j <= after["high"]
    assert after["high"] / after["low"] < before["high"] / before["low"]
