"""``hil meters``, ``hil meter`` and ``hil energy``, against figures worked by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hil.cli.main import main
from hil.meter.importers import import_trace
from hil.meter.sim import ppk2
from hil.meter.sim.instrument import Timeline

# A second at 1 kHz and 3 V: 2 mA, but 10 mA from 0.3 s to 0.7 s, with input 0 high.
PHASES = "name,start_s,end_s,inferences\nidle,0.05,0.25,\ninference,0.3,0.7,8\nidle,0.75,0.95,\n"


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "ppk2.csv"
    rows = [(10_000, "10000000") if 300 <= k < 700 else (2_000, "00000000") for k in range(1001)]
    lines = [f"{k},{current:.3f},{bits}" for k, (current, bits) in enumerate(rows)]
    path.write_text("\n".join(["Timestamp(ms),Current(uA),D0-D7", *lines]) + "\n")
    return path


def test_energy_by_phase_is_the_hand_calculation(
    trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    phases = tmp_path / "phases.csv"
    phases.write_text(PHASES)
    arguments = ["energy", str(trace), "--voltage", "3V", "--site", "whole board", "--phases", str(phases)]
    assert main([*arguments, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["phases"].values()
    # 3 V * 10 mA * 0.4 s / 8, and less 2 mA of idle.
    assert found["mean_j"] == pytest.approx(1.5e-3, rel=2e-3)
    assert found["above_idle"]["mean_j"] == pytest.approx(1.2e-3, rel=2e-3)
    assert found["low_j"] < 1.5e-3 < found["high_j"]
    assert main(arguments) == 0
    assert "1.50 mJ" in capsys.readouterr().out


def test_phases_in_board_time_are_aligned_by_the_line(
    trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The board's clock began 100 s before the meter's."""
    phases = tmp_path / "phases.csv"
    phases.write_text("name,start_s,end_s\ninference,100.3,100.7\n")
    arguments = ["energy", str(trace), "--voltage", "3V", "--phases", str(phases), "--edges", "--json"]
    assert main(arguments) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["alignment"].startswith("digital, 2 edges")
    assert document["phases"]["inference"]["mean_j"] == pytest.approx(12e-3, rel=5e-3)


def test_another_scope_is_refused(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["energy", str(trace), "--voltage", "3V", "--site", "whole board", "--scope", "rail VCOREA"]
    assert main(arguments) == 2
    assert "the trace was taken at 'whole board'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("phase,from,to\n", "columns phase, from, to"),
        ("name,start_s,end_s\ninference,0.7,0.3\n", "line 2: 'inference' from 0.7 to 0.3"),
        ("name,start_s,end_s\ninference,soon,0.3\n", "line 2: could not convert"),
        ("name,start_s,end_s\nidle,0.1,0.3\n", "no phase"),
    ],
)
def test_a_wrong_phase_file_is_one_line(
    trace: Path, tmp_path: Path, text: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    phases = tmp_path / "phases.csv"
    phases.write_text(text)
    assert main(["energy", str(trace), "--voltage", "3V", "--phases", str(phases)]) == 2
    assert words in capsys.readouterr().err


def test_a_trace_is_shown_with_its_phases(trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="plots need matplotlib (pip install 'hil[plots]')")
    phases, plot = tmp_path / "phases.csv", tmp_path / "trace.svg"
    phases.write_text(PHASES)
    arguments = ["meter", "show", str(trace), "--voltage", "3V", "--phases", str(phases), "--plot", str(plot)]
    assert main([*arguments, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    # 2 mA and 40 % of the time 8 mA more.
    assert facts["mean_power_w"] == pytest.approx(3 * (2e-3 + 0.4 * 8e-3), rel=2e-3)
    assert facts["samples"] == 1001 and facts["missing_samples"] == 0
    assert "inference" in plot.read_text()


def test_a_recording_is_a_trace_and_its_raw_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "trace"
    with ppk2.Simulator(Timeline((0.0,), (5e-3,))) as instrument:
        spec = f"ppk2:{instrument.port}?voltage_v=3.3"
        assert main(["meter", "record", "--meter", spec, "--seconds", "0.3", "--rate", "10kHz", "--out", str(out)]) == 0
    assert "PPK2" in capsys.readouterr().out
    trace = import_trace(out)
    assert trace.site == "whole board"
    assert float(trace.current_a.mean()) == pytest.approx(5e-3, rel=0.01)
    assert list(out.glob("*.bin"))


def test_the_known_meters_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["meters", "--json"]) == 0
    assert {"ppk2", "joulescope", "otii", "lpm01a"} <= set(json.loads(capsys.readouterr().out)["known"])
    assert main(["meters"]) == 0
    assert "Nordic Power Profiler Kit II" in capsys.readouterr().out


def test_a_meter_supplies_the_board_and_switches_it_off(capsys: pytest.CaptureFixture[str]) -> None:
    """Opcodes of the PPK2: 0x0D millivolts, 0x11 mode 2 (source), 0x0C on or off."""
    with ppk2.Simulator(Timeline((0.0,), (1e-3,), 3.3)) as instrument:
        meter = ["--meter", f"ppk2:{instrument.port}"]
        assert main(["meter", "supply", "1.8V", *meter]) == 0
        assert "supplied with 1.80 V" in capsys.readouterr().out
        assert instrument.eventually(lambda: len(instrument.supply_changes) >= 3)
        assert instrument.supply_changes == [(0x0D, 1800), (0x11, 2), (0x0C, 1)]
        assert main(["meter", "supply", "off", *meter, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["voltage_v"] is None
        assert instrument.eventually(lambda: instrument.supply_changes[-1] == (0x0C, 0))


@pytest.mark.parametrize(
    ("voltage", "words"),
    [("9V", "voltage 9 V asked for, 0.8 to 5 V possible"), ("-1V", "above 0 V"), ("on", "'on'"), ("3A", "V")],
)
def test_a_supply_that_cannot_be_is_refused(voltage: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with ppk2.Simulator(Timeline((0.0,), (1e-3,), 3.3)) as instrument:
        assert main(["meter", "supply", "--meter", f"ppk2:{instrument.port}", "--", voltage]) == 2
        assert words in capsys.readouterr().err
        assert instrument.supply_changes == []
