"""The calibration run recovers planted parameters, and notices when it does not."""

from __future__ import annotations

import json
from pathlib import Path

from conftest import Runner

from hil.calibrate.dataset import read_csv


def test_planted_parameters_are_recovered(run_robot: Runner) -> None:
    ran = run_robot("calibration")
    assert (ran.code, ran.summary.passed, ran.messages()) == (0, 2, {})
    records = run_robot.folder / "calibration" / "records"
    rows = read_csv(records / "measurements.csv")
    assert len({row.network for row in rows}) >= 5 and {row.use for row in rows} == {"fit"}
    artefact = json.loads((records / "fitted" / "max78000.json").read_text())
    found = {p["name"]: p["value"] for fit in artefact["fits"] for p in fit["parameters"]}
    assert abs(found["npu_init_s"] / 30e-6 - 1) < 0.05
    assert abs(found["cycle_scale"] / 1.3 - 1) < 0.05


def test_another_truth_than_the_planted_one_is_noticed(run_robot: Runner, tmp_path: Path) -> None:
    suite = tmp_path / "wrong.robot"
    suite.write_text(
        """*** Settings ***
Library    hil.robot.Calibration

*** Test Cases ***
Wrong Truth
    [Timeout]    2 minutes
    FOR    ${network}    IN    zoo:kws    zoo:ic    zoo:digits    zoo:autoencoder
        ${url}=    Start Stand-In    mcxn947    ${network}    npu_init_s=2e-3
        Measure Network    mcxn947    ${network}    ${url}    ${OUTPUT_DIR}
    END
    Store Measurements    ${OUTPUT_DIR}    ${OUTPUT_DIR}/own.csv
    Refit Platform    mcxn947    ${OUTPUT_DIR}/own.csv    ${OUTPUT_DIR}/fitted
    True Parameters Should Be Recovered    mcxn947    npu_init_s=9e-3
""",
        encoding="utf-8",
    )
    (message,) = run_robot(suite).messages().values()
    assert "not recovered: npu_init_s: prior 1.00 ms, true 9.00 ms, fitted 2.00 ms" in message
