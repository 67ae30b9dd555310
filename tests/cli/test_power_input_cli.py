"""What is typed about meters and traces and cannot be: one line that says so, exit code 2, before anything happens."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hil.board.boards import PortInfo
from hil.cli.main import main
from hil.meter.accuracy import Accuracy, checks_folder, save_check
from hil.meter.store import save_trace
from hil.meter.types import MeterInfo, Trace


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    for name in ("core", "io"):
        save_trace(Trace(f"rail {name}", np.full(1000, 0.01), 3.0, dt_s=1e-3), Path(f"{name}.trace"))
    save_trace(Trace("whole board", np.full(1000, 0.01), 3.0, dt_s=1e-3), Path("board.trace"))
    Path("a.csv").write_text("Timestamp(ms),Current(uA)\n0,1000\n1,1000\n2,1000\n")
    Path("p.csv").write_text("name,start_s,end_s\ninference,0.1,0.9\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["energy", "a.csv", "--voltage", "0V"], "--voltage 0V: expected more than 0 V"),
        (["energy", "a.csv", "--voltage=-3.3V"], "--voltage -3.3V: expected more than 0 V"),
        (["meter", "show", "a.csv", "--voltage", "0"], "--voltage 0: expected more than 0 V"),
        (["meter", "check", "--meter", "ppk2:/dev/none", "--resistor", "1kohm", "--voltage=-1V"], "--voltage -1V"),
        (["energy", "core.trace", "--site", "whole board"], "was taken at 'rail core', 'whole board' asked for"),
        (["energy", "core.trace", "--voltage", "3.3V"], "has a voltage of 3 V, 3.3 V asked for"),
        (["meter", "show", "core.trace", "--site", "rail io"], "was taken at 'rail core'"),
        (["energy", "core.trace", "io.trace", "--rails", ""], "cannot be called ''"),
        (["energy", "core.trace", "io.trace", "--rails", "Rail-IO"], "cannot be called 'Rail-IO'"),
        (["energy", "core.trace", "board.trace", "--rails", "chip"], "'whole board' is not one rail"),
        (["energy", "core.trace", "--regulator", "rail-core=0.9+-0.02"], "both are one site"),
        (["energy", "core.trace", "--phases", "p.csv", "--laps", "0"], "--laps 0: expected a baud rate above 0"),
        (["energy", "core.trace", "--phases", "p.csv", "--laps=-1"], "--laps -1: expected a baud rate above 0"),
        (
            ["meter", "record", "--meter", "simulated", "--out", "new"],
            "simulated: a simulated meter watches a benchmark",
        ),
        (["meter", "record", "--meter", "simulated?seed=3", "--out", "new"], "hil bench --meter simulated"),
        (["meter", "check", "--meter", "simulated", "--resistor", "1kohm"], "watches a benchmark only"),
        (["meter", "supply", "--meter", "simulated", "3.3V"], "watches a benchmark only"),
        (["meter", "record", "--meter", "ppk2:/dev/none", "--out", "new", "--seconds", "1e7"], "at most 1e+06"),
        (
            ["meter", "record", "--meter", "ppk2:/dev/none", "--out", "new", "--seconds", "nan"],
            "--seconds nan: expected",
        ),
    ],
)
def test_requests_that_cannot_be(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert words in said.err and said.out == ""
    assert len(said.err.splitlines()) <= 2
    assert not Path("new").exists()


def test_what_a_trace_says_may_be_said_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["energy", "core.trace", "--site", "Rail core", "--voltage", "3V", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["phases"]["all"]["site"] == "rail core"


def test_a_check_is_of_one_model_and_serial_number(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Makers count for themselves: two instruments may have one number."""
    ports = [
        PortInfo("/dev/ttyACM0", 0x1915, 0xC00A, "C0FFEE", description="PPK2"),
        PortInfo("/dev/ttyACM1", 0x0483, 0x5740, "C0FFEE", description="PowerShield"),
        PortInfo("/dev/ttyACM2", 0x0483, 0x3755, "C0FFEE", description="STLink Virtual COM Port PWR"),
    ]
    monkeypatch.setattr("hil.meter.registry.list_ports", lambda: ports)
    monkeypatch.setattr("hil.meter.registry._usb_ids", lambda folder: [(0x16D0, 0x10BA, "C0FFEE")])
    gains = {"PPK2": 1.01, "X-NUCLEO-LPM01A": 1.02, "STLINK-V3PWR": 1.03, "JS220": 1.04, "JS110": 1.05, "INA228": 1.06}
    for model, gain in gains.items():
        save_check(checks_folder(), MeterInfo(model, "C0FFEE"), Accuracy(gain=gain, gain_sd=0.001))
    save_check(checks_folder(), MeterInfo("PPK2", "BEEF"), Accuracy(gain=1.5))
    assert main(["meters", "--json"]) == 0
    attached = json.loads(capsys.readouterr().out)["attached"]
    found = {meter["spec"].partition(":")[0]: meter["check"]["accuracy"]["gain"] for meter in attached}
    # USB tells a Joulescope, not which of both: either of its checks may be shown.
    assert found.pop("joulescope") in (1.04, 1.05)
    assert found == {"ppk2": 1.01, "lpm01a": 1.02, "stlink_v3pwr": 1.03}
    assert main(["meters"]) == 0
    said = capsys.readouterr().out
    assert "INA228 C0FFEE, not seen here" in said and "PPK2 BEEF, not seen here" in said
    assert "PPK2 C0FFEE, not seen here" not in said


def test_a_check_of_another_model_is_no_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    port = PortInfo("/dev/ttyACM0", 0x1915, 0xC00A, "C0FFEE", description="PPK2")
    monkeypatch.setattr("hil.meter.registry.list_ports", lambda: [port])
    monkeypatch.setattr("hil.meter.registry._usb_ids", lambda folder: [])
    save_check(checks_folder(), MeterInfo("Monsoon HVPM", "C0FFEE"), Accuracy())
    assert main(["meters"]) == 0
    said = capsys.readouterr().out
    assert "never checked: hil meter check" in said and "Monsoon HVPM C0FFEE, not seen here" in said
