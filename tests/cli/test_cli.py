"""The command line: exit codes, one-line errors, JSON that a script can read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hil import __version__, zoo
from hil.cli.main import main
from hil.platform import platform_files


def call(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main(argv)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def call_json(capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    code, out, _ = call(capsys, *argv, "--json")
    assert code == 0
    return json.loads(out)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"hil {__version__}\n"


@pytest.mark.parametrize(
    "verb", ["bench", "check", "networks", "platforms", "data", "calibrate", "validate", "sweep", "report", "doctor"]
)
def test_help_of_every_verb_has_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([verb, "--help"])
    assert stopped.value.code == 0
    assert f"example:\n  hil {verb}" in capsys.readouterr().out


def test_networks_lists_the_zoo_with_its_totals(capsys: pytest.CaptureFixture[str]) -> None:
    document = call_json(capsys, "networks")
    found = {n["name"]: (n["macs"], n["parameters"]) for n in document["networks"]}
    assert found == {name: (zoo.entry(name).macs, zoo.entry(name).parameters) for name in zoo.names()}


def test_networks_show_has_a_row_per_op(capsys: pytest.CaptureFixture[str]) -> None:
    document = call_json(capsys, "networks", "show", "zoo:kws")["networks"][0]
    assert len(document["ops"]) == document["op_count"]
    assert sum(op["macs"] for op in document["ops"]) == document["macs"] == 2_656_768


def test_platforms_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    document = call_json(capsys, "platforms")
    assert [p["id"] for p in document["platforms"]] == list(platform_files())
    code, out, _ = call(capsys, "platforms", "show", "max78000")
    assert code == 0 and "AN7417" in out


def test_check_names_ops_that_leave_the_npu(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "check", "zoo:kws", "--platform", "max78000")
    assert code == 0
    assert "kws on max78000: op 0 conv2d runs on the host: kernel 10x4: only 1x1, 3x3" in out


def test_bench_json_follows_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    document = call_json(capsys, "bench", "zoo:simplenet", "--platform", "max78000")
    assert document["schema"] == 1
    run = document["runs"][0]
    assert {"network", "platform", "operating_point", "backend", "fidelity", "fits", "reasons"} <= run.keys()
    inference = run["phases"]["inference"]
    assert inference["latency_s"].keys() == {"mean", "low", "high"}
    assert inference["energy_j"].keys() >= {"mean", "low", "high", "scope"}
    assert inference["latency_s"]["mean"] == pytest.approx(2.593e-3, rel=0.02)
    assert run["memory"]["weight_bytes"] == 381_792
    assert run["provenance"]["plan_hash"]


def test_an_override_changes_the_clock(capsys: pytest.CaptureFixture[str]) -> None:
    def inference(*extra: str) -> float:
        document = call_json(capsys, "bench", "zoo:simplenet", "--platform", "max78000", *extra)
        value: float = document["runs"][0]["phases"]["inference"]["latency_s"]["mean"]
        return value

    slow, fast = inference("--set", "npu.clock_hz=25MHz"), inference("--set", "npu.clock_hz=50e6")
    # Everything but the few microseconds of the host is accelerator cycles.
    assert slow / fast == pytest.approx(2.0, rel=0.01)


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["bench", "zoo:kwss"], 2, "hil: the zoo has no network 'kwss'\n     did you mean 'kws'?\n"),
        (["bench", "zoo:kws", "-p", "max7800"], 2, "hil: no platform 'max7800'\n     did you mean 'max78002'?\n"),
        (
            ["bench", "zoo:kws", "-p", "max78000", "--operating-point", "arm"],
            2,
            "hil: max78000 has no operating point 'arm'\n",
        ),
        (["bench", "zoo:kws", "--set", "npu.clock_hz"], 2, "hil: --set npu.clock_hz: not KEY=VALUE\n"),
        (
            ["bench", "zoo:kws", "-p", "max78000", "--set", "npu.clock=1"],
            2,
            "hil: --set npu.clock: no 'clock' there\n     did you mean 'clock_hz'?\n",
        ),
        (
            ["bench", "zoo:kws", "-p", "max78000", "--set", "npu.clock_hz=fast"],
            2,
            "hil: --set npu.clock_hz: 'fast' is not a quantity in Hz\n",
        ),
        (
            ["bench", "zoo:kws", "-p", "max78000", "--set", "npu.clock_hz=-1"],
            2,
            "hil: --set: operating_points.arm-100mhz.clocks_hz.npu: the value is -1, it must be greater than zero\n",
        ),
        (["bench", "zoo:kws", "--backend", "serial"], 2, "hil: a board is one platform that runs one network"),
        (["bench", "zoo:kws", "--period", "0s"], 2, "hil: --period 0s: must be longer than nothing\n"),
        (["bench", "nowhere.tflite"], 2, "hil: nowhere.tflite: no such file; expected"),
        (["report", "nowhere"], 2, "hil: nowhere: no such folder of results\n"),
        (["platforms", "--platform-path", "nowhere"], 2, "hil: nowhere: no such folder of platforms\n"),
    ],
)
def test_wrong_input_is_one_line_and_a_hint(
    argv: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found, out, err = call(capsys, *argv)
    assert (found, out) == (code, "")
    assert err.startswith(message)
    assert len(err.splitlines()) <= 2


def test_bench_writes_what_report_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "out"
    code, _, _ = call(capsys, "bench", "zoo:digits", "-p", "max78000,stm32l4r5", "--out", str(folder))
    assert code == 0
    assert {"bench.json", "records", "report.html", "runs.csv", "phases.csv"} <= {f.name for f in folder.iterdir()}
    code, out, _ = call(capsys, "report", str(folder), "--html", str(tmp_path / "page.html"))
    assert code == 0 and "max78000" in out and (tmp_path / "page.html").stat().st_size > 10_000


def test_tables_fit_a_hundred_columns(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(capsys, "bench", "zoo:all", "-p", "all")
    tables = [line for line in out.splitlines() if line[:1].isalnum() and "%" in line and ":" not in line]
    assert len(tables) >= 11 * 19
    assert max(len(line) for line in tables) <= 100


def test_doctor_lists_every_part(capsys: pytest.CaptureFixture[str]) -> None:
    document = call_json(capsys, "doctor")
    assert {"Vela", "TensorFlow", "Renode", "QEMU (Arm)"} <= {check["name"] for check in document["checks"]}
    assert all(check["found"] or check["get"] for check in document["checks"])


def test_a_closed_pipe_is_not_an_error() -> None:
    command = f"{sys.executable} -m hil networks show zoo:vww | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0 and done.stderr == ""
