"""The verbs ``compare`` and ``gate`` from the command line to the exit code."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import pytest

from hil.backend import Run
from hil.cli import compare as compare_verb
from hil.cli import gate as gate_verb
from hil.compare.junit import Case, junit_xml
from hil.errors import ConfigError, HilError, UnavailableError
from tests.compare.conftest import Measure, scaled, write


def hil(*argv: str) -> int:
    """What ``hil.cli.main`` does with a verb, errors left to the test."""
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers(required=True)
    for verb in (compare_verb, gate_verb):
        verb.add_parser(verbs)
    args = parser.parse_args(argv)
    code: int = args.run(args)
    return code


@pytest.fixture
def files(tmp_path: Path, predicted: Mapping[str, Run]) -> dict[str, str]:
    run = predicted["kws"]
    other_point = run.model_copy(update={"operating_point": "39mhz"})
    return {
        "all": write(tmp_path / "all.json", *predicted.values()),
        "kws": write(tmp_path / "kws.json", run),
        "slow": write(tmp_path / "slow.json", scaled(run, "inference", 1.15)),
        "point": write(tmp_path / "point.json", other_point),
    }


def test_exit_codes_of_compare(files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert hil("compare", files["kws"], files["kws"]) == 0
    assert "agree: 14 agree" in capsys.readouterr().out
    assert hil("compare", files["kws"], files["slow"]) == 1
    out = capsys.readouterr().out
    assert "+15.0 %" in out and out.rstrip().splitlines()[-1].startswith("disagree: 3 disagree")
    assert hil("compare", files["kws"], files["slow"], "--tolerance", "latency=20%", "energy=30%") == 0
    assert hil("compare", files["kws"], files["point"]) == 2
    assert "operating point 78mhz against 39mhz: kws (latency total), kws (energy total)" in capsys.readouterr().out


def test_a_marginal_comparison_passes_and_says_so(
    files: dict[str, str],
    tmp_path: Path,
    predicted: Mapping[str, Run],
    measure: Measure,
    capsys: pytest.CaptureFixture[str],
) -> None:
    board = write(tmp_path / "board.json", measure(predicted["kws"], 1.05, samples=(0.94, 1.0, 1.06)))
    assert hil("compare", files["kws"], board) == 0
    assert capsys.readouterr().out.rstrip().splitlines()[-1].startswith("marginal: ")


def test_tables_fit_and_name_both_sides(files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert hil("compare", "published", files["all"]) in (0, 1)
    out = capsys.readouterr().out
    assert out.startswith("A: published\nB: ")
    assert hil("compare", files["all"], files["all"]) == 0
    out += capsys.readouterr().out
    assert "over all networks of a platform" in out
    tables = [line for line in out.splitlines() if line.rstrip().endswith(("agree", "marginal", "verdict"))]
    assert len(tables) > 40 and max(map(len, tables)) <= 100


def test_json_is_all_that_is_printed(files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert hil("compare", files["kws"], files["slow"], "--json") == 1
    found = json.loads(capsys.readouterr().out)
    (inference,) = [v for v in found["verdicts"] if (v["metric"], v["phase"]) == ("latency", "inference")]
    assert inference["outcome"] == "disagree" and inference["bias"] == pytest.approx(0.15)
    assert inference["tolerance"]["value"] == 0.10 and inference["b"]["fidelity"] == "calibrated"


def test_own_measurements_join_the_publications(
    files: dict[str, str], tmp_path: Path, predicted: Mapping[str, Run], capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = predicted["kws"].phases["inference"].latency_s.mean
    own = tmp_path / "own.csv"
    own.write_text(
        "id,platform,operating_point,network,software,quantity,phase,value\n"
        f"own-t,efr32xg24,78mhz,zoo:kws,tflm+mvp,latency_s,inference,{1.3 * seconds}\n",
        encoding="utf-8",
    )
    assert hil("compare", "published", files["kws"], "--data", str(own)) == 1
    assert "-23.1 %" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="neither side"):
        hil("compare", files["kws"], files["kws"], "--data", str(own))


def test_wrong_tolerances_are_a_usage_error(files: dict[str, str]) -> None:
    with pytest.raises(HilError) as caught:
        hil("compare", files["kws"], files["kws"], "--tolerance", "latncy=10%")
    assert caught.value.exit_code == 2 and caught.value.hint == "did you mean 'latency'?"


@pytest.mark.parametrize(("suffix", "start"), [(".svg", b"<?xml"), (".png", b"\x89PNG")])
def test_plots(files: dict[str, str], tmp_path: Path, suffix: str, start: bytes) -> None:
    pytest.importorskip("matplotlib", reason="plots need matplotlib (pip install 'hil[plots]')")
    once, again = tmp_path / f"once{suffix}", tmp_path / f"again{suffix}"
    for path in (once, again):
        assert hil("compare", files["kws"], files["slow"], "--plot", str(path)) == 1
    assert once.read_bytes().startswith(start)
    assert once.read_bytes() == again.read_bytes()


def test_plots_that_cannot_be_made(files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no kind of picture"):
        hil("compare", files["kws"], files["kws"], "--plot", str(tmp_path / "plot.doc"))
    pytest.importorskip("matplotlib", reason="plots need matplotlib (pip install 'hil[plots]')")
    with pytest.raises(ConfigError, match="nothing to plot"):
        hil("compare", files["kws"], files["point"], "--plot", str(tmp_path / "plot.svg"))
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(UnavailableError, match="matplotlib is missing"):
        hil("compare", files["kws"], files["kws"], "--plot", str(tmp_path / "plot.svg"))


def test_junit_of_a_comparison(files: dict[str, str], tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    hil("compare", files["kws"], files["slow"], "--junit", str(report))
    suite = ElementTree.parse(report).getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("14", "3", "0")
    failed = [case.get("name") or "" for case in suite if case.find("failure") is not None]
    assert any(name.startswith("kws: latency inference") for name in failed)
    hil("compare", files["kws"], files["point"], "--junit", str(report))
    suite = ElementTree.parse(report).getroot()
    assert [case.find("skipped") is not None for case in suite] == [True, True]


def test_junit_holds_what_xml_cannot() -> None:
    nasty = "a\x00b\x1b[31m<&>\"'\ud800\ufffe\tµ😀"
    suite = ElementTree.fromstring(
        junit_xml(nasty, [Case(nasty, nasty, "failed", nasty), Case("g", "n", "passed", nasty)])
    )
    case = suite[0]
    assert case.get("name") == "a\ufffdb\ufffd[31m<&>\"'\ufffd\ufffd\tµ😀"
    assert case.find("failure") is not None and suite[1].find("system-out") is not None


def test_exit_codes_of_the_gate(files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hil("gate", files["kws"], files["kws"]) == 0
    assert "passed; 1 runs compared, threshold 5 %" in capsys.readouterr().out
    report = tmp_path / "gate.xml"
    assert hil("gate", files["kws"], files["slow"], "--junit", str(report)) == 1
    out = capsys.readouterr().out
    assert "latency inference: " in out and "FAILED: 3 regressions" in out
    assert ElementTree.parse(report).getroot().get("failures") == "3"
    assert hil("gate", files["kws"], files["slow"], "--threshold", "20%", "--junit", str(report)) == 0
    assert ElementTree.parse(report).getroot().get("failures") == "0"


def test_json_of_the_gate(files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert hil("gate", files["kws"], files["slow"], "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["passed"] is False and found["threshold"] == 0.05
    (change,) = [c for c in found["changes"] if c["what"] == "latency inference"]
    assert change["worse"] and change["change"] == pytest.approx(0.15)


@pytest.mark.parametrize("verb", ["compare", "gate"])
def test_help_has_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        hil(verb, "--help")
    assert stopped.value.code == 0
    assert f"example:\n  hil {verb}" in capsys.readouterr().out
