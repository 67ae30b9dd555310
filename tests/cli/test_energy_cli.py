"""``hil energy``: regulators, rails, phases of a run, laps on the serial port, exit codes; against closed forms."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hil.cli.main import main
from hil.meter.simulated import Faults, Scene, SimulatedMeter
from hil.meter.store import save_trace
from hil.meter.types import Line, Trace

# The board's time: idle, initialisation, inference, idle; its line changes at each border of the three in the middle.
BORDERS_S = (1.0, 1.25, 1.75)
PHASES = "name,start_s,end_s,inferences\nidle,0.5,0.9,\nnpu_init,1.0,1.25,\ninference,1.25,1.75,10\nidle,1.85,2.4,\n"
CORE_W, IO_W = (0.010, 0.050, 0.110, 0.010), (0.002, 0.002, 0.022, 0.002)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    Path("phases-board.csv").write_text(PHASES)


def watched(
    power_w: Sequence[float], site: str, t0_s: float, ratio: float, voltage_v: float = 3.0, lost: int = 0
) -> Trace:
    """What a meter of its own clock saw: ``t0_s`` at board time 0, ``ratio`` of its seconds per board second; ``lost``
    samples are missing in the middle of the inference."""
    scene = Scene((0.0, *BORDERS_S), power_w, 2.5, BORDERS_S, voltage_v)
    faults = Faults(noise_a=20e-6, clock_ratio=ratio, start_s=0.0, t0_s=t0_s, gaps=((1.5, lost),) if lost else ())
    meter = SimulatedMeter(scene, faults, site=site, seed=5)
    meter.configure(20e3)
    meter.start()
    return meter.stop()


@pytest.fixture
def core() -> Path:
    return save_trace(watched(CORE_W, "rail CORE", 7.0, 1.0002), Path("core.trace"))


@pytest.fixture
def io() -> Path:
    return save_trace(watched(IO_W, "rail IO", -3.0, 0.9999, 1.8), Path("io.trace"))


def document(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


ALIGNED = ("--phases", "phases-board.csv", "--edges")


# --- regulators -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", ["0.90+-0.02", "0.9 ± 0.02", "90%+/-2%"])
def test_energy_behind_a_regulator(spelling: str, core: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["energy", str(core), *ALIGNED, "--regulator", f"chip supply={spelling}", "--json"]) == 0
    found = document(capsys)
    energy = found["phases"]["inference"]
    # 110 mW for 0.5 s over 10 inferences, 90 % of it behind the regulator; seconds are the meter's.
    assert energy["mean_j"] == pytest.approx(0.9 * 5.5e-3, rel=1e-3)
    assert energy["above_idle"]["mean_j"] == pytest.approx(0.9 * 5.0e-3, rel=1e-3)
    assert energy["parts_j"]["regulator"] == pytest.approx(0.02 / 0.9 * energy["mean_j"])
    assert energy["site"] == "chip supply"
    assert (found["regulator"]["input_site"], found["regulator"]["efficiency"]) == ("rail CORE", 0.9)
    assert main(["energy", str(core), *ALIGNED, "--regulator", f"chip supply={spelling}"]) == 0
    assert "measured at rail CORE, before a regulator of 0.9 ± 0.02" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text", ["chip supply", "chip supply=0.9", "=0.9+-0.1", "chip=0+-0", "chip=1.2+-0.1", "chip=1.2.3+-0.1"]
)
def test_a_wrong_regulator_is_one_line(text: str, core: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["energy", str(core), "--regulator", text]) == 2
    assert len(capsys.readouterr().err.splitlines()) <= 2


# --- rails ----------------------------------------------------------------------------------------------------------


def test_rails_are_aligned_each_by_itself_and_added(core: Path, io: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["energy", str(core), str(io), "--rails", "chip supply", *ALIGNED]
    assert main([*arguments, "--json"]) == 0
    found = document(capsys)
    total = found["phases"]["inference"]
    assert total["mean_j"] == pytest.approx((0.110 + 0.022) * 0.05, rel=1e-3)
    assert total["above_idle"]["mean_j"] == pytest.approx((0.100 + 0.020) * 0.05, rel=1e-3)
    assert total["site"] == "chip supply"
    assert total["low_j"] < total["mean_j"] < total["high_j"]
    rails = found["rails"]
    assert list(rails) == ["rail CORE", "rail IO"]
    assert rails["rail IO"]["phases"]["npu_init"]["mean_j"] == pytest.approx(0.002 * 0.25, rel=5e-3)
    for site, ppm in (("rail CORE", 200.0), ("rail IO", -100.0)):
        skew, sd = re.findall(r"skew (\S+) ± (\S+) ppm", rails[site]["alignment"])[0]
        assert abs(float(skew) - ppm) < 3 * float(sd) < 100
    assert main(arguments) == 0
    written = capsys.readouterr().out
    rows = [line.split() for line in written.splitlines()]
    assert max(map(len, written.splitlines())) <= 100
    assert rows[4][:3] == ["inference", "rail", "CORE"] and rows[5][:2] == ["rail", "IO"]
    assert rows[6][:2] == ["chip", "supply"] and "6.60 mJ" in written


def test_a_phase_that_one_rail_lacks_has_no_sum(core: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save_trace(watched(IO_W, "rail IO", 0.0, 1.0, lost=30), Path("lossy.trace"))
    phases = Path("long.csv")
    phases.write_text("name,start_s,end_s\nnpu_init,1.0,1.25\ninference,1.25,1.75\n")
    code = main(["energy", str(core), str(path), "--rails", "chip", "--phases", str(phases), "--edges", "--json"])
    written = capsys.readouterr()
    assert code == 4
    assert list(json.loads(written.out)["phases"]) == ["npu_init"]
    assert "rail IO: inference: 30 samples missing" in written.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["core.trace", "io.trace"], "2 traces"),
        (["core.trace", "--rails", "chip"], "--rails adds up two traces or more"),
        (["core.trace", "io.trace", "--rails", "chip", "--regulator", "a=0.9+-0.1"], "knows no regulator"),
        (["core.trace", "core.trace", "--rails", "chip", *ALIGNED], "one is in there twice"),
        (["core.trace", "io.trace", "--rails", "chip"], "clocks that were not brought together"),
        (["core.trace", "io.trace", "--rails", "chip", *ALIGNED, "--scope", "whole board"], "'whole board'"),
        (["core.trace", "--edges"], "--phases FILE"),
        (["core.trace", "--site", "a", "--site", "b"], "--site: 2 given for 1 traces"),
        (["core.trace", "--tolerance", "few"], "'few' is not a quantity"),
        (["core.trace", "--check", "nothing.json"], "nothing.json: cannot be read"),
    ],
)
def test_requests_that_do_not_fit(
    arguments: list[str], words: str, core: Path, io: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["energy", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_files_of_other_tools_get_a_site_and_a_voltage_each(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.csv", "b.csv"):  # 2 mA, but 10 mA and input 0 high from 0.3 s to 0.7 s
        rows = [(10_000, "10000000") if 300 <= k < 700 else (2_000, "00000000") for k in range(1001)]
        lines = [f"{k},{current:.3f},{bits}" for k, (current, bits) in enumerate(rows)]
        Path(name).write_text("\n".join(["Timestamp(ms),Current(uA),D0-D7", *lines]) + "\n")
    Path("p.csv").write_text("name,start_s,end_s\ninference,0.3,0.7\n")
    arguments = ["energy", "a.csv", "b.csv", "--rails", "chip", "--phases", "p.csv", "--edges", "--json"]
    assert main([*arguments, "--voltage", "3V"]) == 2
    assert "--site for each" in capsys.readouterr().err
    assert main([*arguments, "--site", "A", "--site", "B", "--voltage", "3V", "--voltage", "1.5V"]) == 0
    assert document(capsys)["phases"]["inference"]["mean_j"] == pytest.approx(4.5 * 0.01 * 0.4, rel=5e-3)


# --- phases of a run ------------------------------------------------------------------------------------------------


def test_phases_in_the_folder_of_a_trace_are_used_and_named(core: Path, capsys: pytest.CaptureFixture[str]) -> None:
    borders = [7.0 + 1.0002 * at_s for at_s in BORDERS_S]  # in the meter's time
    rows = [f"npu_init,{borders[0]},{borders[1]},1", f"inference,{borders[1]},{borders[2]},10"]
    (core / "phases.csv").write_text("\n".join(["name,start_s,end_s,inferences", *rows]) + "\n")
    assert main(["energy", str(core), "--json"]) == 0
    written = capsys.readouterr()
    assert "phases of core.trace/phases.csv, in the meter's time" in written.err
    phases = json.loads(written.out)["phases"]
    assert phases["inference"]["mean_j"] == pytest.approx(5.5e-3, rel=1e-3)
    assert phases["npu_init"]["mean_j"] == pytest.approx(0.050 * 0.25, rel=1e-3)
    # Those that are given win.
    assert main(["energy", str(core), *ALIGNED, "--json"]) == 0
    written = capsys.readouterr()
    assert "core.trace/phases.csv" not in written.err
    assert json.loads(written.out)["phases"]["inference"]["above_idle"] is not None
    # Without any (a run that could not be aligned leaves a header) it is the whole trace: the sum of the steps.
    for text in (None, "name,start_s,end_s,inferences\n", ""):
        (core / "phases.csv").unlink(missing_ok=True)
        if text is not None:
            (core / "phases.csv").write_text(text)
        assert main(["energy", str(core), "--json"]) == 0
        whole = document(capsys)["phases"]["all"]
        assert whole["mean_j"] == pytest.approx(0.01 * 1.85 + 0.05 * 0.25 + 0.11 * 0.5, rel=2e-3)
        assert main(["meter", "show", str(core)]) == 0
        capsys.readouterr()


def test_a_window_over_many_inferences_may_lose_what_a_phase_may_not(capsys: pytest.CaptureFixture[str]) -> None:
    """Five samples of 10 000: 0.05 %."""
    path = save_trace(watched(CORE_W, "rail CORE", 0.0, 1.0, lost=5), Path("lossy.trace"))
    for inferences, code in ((10, 0), (1, 4)):
        (path / "phases.csv").write_text(f"name,start_s,end_s,inferences\ninference,1.25,1.75,{inferences}\n")
        assert main(["energy", str(path)]) == code
    assert "inference: 5 samples missing" in capsys.readouterr().err


def test_a_trace_is_sketched_with_its_phases(core: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (core / "phases.csv").write_text("name,start_s,end_s\nnpu_init,8.0,8.25\ninference,8.25,8.75\n")
    assert main(["meter", "show", str(core)]) == 0
    lines = {line.partition("|")[0].strip(): line.partition("|")[2] for line in capsys.readouterr().out.splitlines()}
    assert len(lines["mean"]) == 73
    # 72 columns over 2.6 s: the inference is 0.5 s of 110 mW, idle a tenth of it, initialisation not half.
    assert lines["mean"].count("█") == pytest.approx(72 * 0.5 / 2.6, abs=1)
    assert lines["mean"].count("▁") == pytest.approx(72 * 1.85 / 2.6, abs=2)
    begin = lines["mean"].index("█")
    assert abs(lines["phases"].index("|inference") - begin) <= 1
    assert "|npu_in" in lines["phases"]


# --- laps on the serial port ----------------------------------------------------------------------------------------


def heard(trace: Trace, ratio: float, t0_s: float, baud: int = 115_200) -> Trace:
    """With the laps around the inference as lines, stamped when they are out (8N1, CR LF)."""
    lines = []
    for board_s in BORDERS_S[1:]:
        text = f"m-lap-us-{round(board_s * 1e6)}"
        lines.append(Line(t0_s + ratio * board_s + (len(text) + 2) * 10 / baud, text))
    return replace(trace, digital=None, lines=(Line(lines[0].t_s - 0.5, "m-ready"), *lines))


def test_phases_are_aligned_by_the_laps_that_the_meter_heard(capsys: pytest.CaptureFixture[str]) -> None:
    trace = watched(CORE_W, "rail CORE", 7.0, 1.0002)
    path = save_trace(heard(trace, 1.0002, 7.0), Path("heard.trace"))
    arguments = ["energy", str(path), "--phases", "phases-board.csv", "--json"]
    assert main([*arguments, "--laps", "115200"]) == 0
    found = document(capsys)
    assert found["alignment"].startswith("uart, 2 edges, skew +200.")
    energy = found["phases"]["inference"]
    assert energy["low_j"] < 5.5e-3 < energy["high_j"]
    # The delay of a stamp is known to half a line, 1.6 ms / 2: of the step of power at the end that is lost or gained.
    assert energy["mean_j"] == pytest.approx(5.5e-3, abs=0.8e-3 * 0.1 / 10 + 1e-5)
    silent = save_trace(replace(trace, lines=()), Path("silent.trace"))
    assert main(["energy", str(silent), "--phases", "phases-board.csv", "--laps", "115200"]) == 4
    assert "the meter heard no line m-lap-us-N" in capsys.readouterr().err


# --- exit codes -----------------------------------------------------------------------------------------------------


def test_exit_codes_tell_input_from_failure(core: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """2: what was asked for or given; 4: what the instrument or the wiring did."""
    Path("short.csv").write_text("name,start_s,end_s\nx,8.0,8.001\n")
    Path("outside.csv").write_text("name,start_s,end_s\nx,8.0,80.0\n")
    Path("edges.csv").write_text("name,start_s,end_s\nx,1.0,1.1\ny,1.25,1.75\n")
    cases = {
        ("energy", "nothing.trace"): 2,  # FormatError
        ("energy", str(core), "--scope", "whole board"): 2,  # ScopeError
        ("energy", str(core), "--phases", "short.csv"): 2,  # WindowError
        ("energy", str(core), "--phases", "outside.csv"): 2,  # OutsideError
        ("meter", "record", "--meter", "ppk3", "--out", "new"): 2,  # SettingError
        ("energy", str(core), "--phases", "edges.csv", "--edges"): 4,  # four edges on the board, three in the trace
        ("meter", "record", "--meter", "ppk2:/dev/no-such-port", "--out", "new"): 4,  # MeterLost
    }
    assert {arguments: main(list(arguments)) for arguments in cases} == cases
    capsys.readouterr()
