"""``hil energy`` on the trace of a benchmark: its phases, its tolerances, its intervals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hil.backend import BoardOptions, RunOptions, Surroundings
from hil.backend.run import Energy, Run
from hil.backend.serial import SerialBackend
from hil.cli.main import main
from hil.emulator.board import EmulatedBoard
from hil.emulator.process import Workspace
from hil.meter.accuracy import Accuracy, checks_folder, save_check
from hil.meter.types import MeterInfo
from tests.backend.conftest import plan_of

MEASURED = ("weight_load", "input_load", "inference")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def benched(folder: Path) -> Run:
    """A simulated meter at 50 kHz: 2 x 20 us blur input_load (2.5 ms) by 1.6 %, good for 25 % and not for 5 %."""
    plan = plan_of("vww", "max78000")
    with Workspace() as space:
        board = EmulatedBoard.of_plan(plan, "python", space)
        try:
            spec = "simulated?noise_a=20e-6&clock_ratio=1.0001&seed=3"
            options = BoardOptions(port=board.url, warmups=0, meter=spec, meter_rate_hz=50e3)
            (run,) = SerialBackend(Surroundings(folder)).run([plan], RunOptions(repeat=8, board=options))
        finally:
            board.close()
    return run


def integrated(run: Run, capsys: pytest.CaptureFixture[str], *more: str, code: int = 0) -> dict[str, Any]:
    assert run.meter is not None
    assert main(["energy", run.meter.traces[0], "--json", *more]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def pairs(run: Run, found: dict[str, Any]) -> list[tuple[str, Energy, dict[str, float]]]:
    result = []
    for name in MEASURED:
        gross, above = run.phases[name].energy_j, run.phases[name].energy_above_idle_j
        assert gross is not None and above is not None
        result += [(name, gross, found["phases"][name]), (name, above, found["phases"][name]["above_idle"])]
    return result


def test_the_intervals_of_a_benchmark_come_out_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = benched(tmp_path)
    found = integrated(run, capsys)
    # What was too short for the benchmark is so here, is named, and is no failure.
    assert run.meter is not None
    assert found["refused"].keys() == run.meter.refused.keys() == {"npu_init", "output_read", "post_process"}
    assert tuple(found["phases"]) == MEASURED
    for name, bench, here in pairs(run, found):
        assert here["mean_j"] == pytest.approx(bench.mean, rel=1e-4), name
        assert here["high_j"] - here["low_j"] == pytest.approx(bench.high - bench.low, rel=0.03), name
    border = run.meter.alignment.rpartition(" ± ")[2]
    assert found["alignment"] == f"phases in the meter's time, borders ± {border}"
    assert found["phases"]["input_load"]["parts_j"]["jitter"] > 0
    assert main(["energy", run.meter.traces[0]]) == 0
    said = capsys.readouterr()
    assert f"aligned: phases in the meter's time, borders ± {border}" in said.out
    assert "npu_init: 109" in said.err
    # A tolerance that is asked for holds for all.
    strict = integrated(run, capsys, "--tolerance", "5%", code=2)
    assert {"input_load", "npu_init"} <= strict["refused"].keys()


def test_borders_show_under_a_checked_meter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a gain known to 0.1 % the borders count.  The benchmark knows that they move together; the file says only
    how far: never narrower, of long phases the same."""
    checked = Accuracy(gain_sd=0.001, source="resistor check, 3 readings")
    save_check(checks_folder(), MeterInfo("simulated", "0"), checked)
    run = benched(tmp_path)
    found = integrated(run, capsys)
    assert found["accuracy"]["source"] == "resistor check, 3 readings"
    for name, bench, here in pairs(run, found):
        ratio = (here["high_j"] - here["low_j"]) / (bench.high - bench.low)
        assert 0.99 < ratio < (1.02 if name == "inference" else 4.0), name


def test_idle_around_another_phase_is_judged_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that somebody edited: idle begins in the last phase."""
    run = benched(tmp_path)
    assert run.meter is not None
    path = Path(run.meter.traces[0]) / "phases.csv"
    rows = [line.split(",") for line in path.read_text().splitlines()]
    last = next(row for row in rows if row[0] == "post_process")
    rows[-1][1] = last[1]
    path.write_text("\n".join(map(",".join, rows)) + "\n")
    assert rows[-1][0] == "idle"
    assert main(["energy", run.meter.traces[0]]) == 2
    assert "lies in post_process" in capsys.readouterr().err
