"""``hil analyze``: tables that fit, JSON that a script reads, pictures, and errors in one line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from hil import zoo
from hil.analyze.runs import Sources, analyze_runs
from hil.backend.analytic import AnalyticBackend
from hil.bench import Bench, Store
from hil.cli import analyze
from hil.cli import main as command
from hil.platform import load_platform, make_target
from hil.report.page import write_page
from hil.report.paper import Statement

NETWORKS = ("kws", "resnet")
PLATFORMS = ("max78000", "gap9", "stm32l4r5")


@pytest.fixture(autouse=True)
def _with_verb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "VERBS", tuple(dict.fromkeys((*command.VERBS, analyze))))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    targets = [make_target(load_platform(name)) for name in PLATFORMS]
    Bench([zoo.load(name) for name in NETWORKS], targets, AnalyticBackend()).run(Store(folder))
    return folder


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert command.main(["analyze", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_tables_fit_a_hundred_columns(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["analyze", str(results), "--budget", "latency=50ms", "memory=1MiB"]) == 0
    text = capsys.readouterr().out
    for start in ("share of each phase", "achieved against peak", "energy per inference", "best platform under"):
        assert start in text
    tables = [line for line in text.splitlines() if re.match(r"(network|kws|resnet) +\S+ {2,}", line)]
    assert tables and max(map(len, tables)) <= 100
    # Six runs are few enough for sentences about single ops.
    assert "kws on max78000: 98% fallback, most at op 0 (conv0, conv2d): kernel 10x4" in text


def test_json_holds_causes_that_add_up(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, str(results))
    assert found["schema"] == 1 and len(found["runs"]) == len(NETWORKS) * len(PLATFORMS)
    for run in found["runs"]:
        assert sum(run["causes_s"].values()) == pytest.approx(run["inference_s"], rel=1e-9)
        assert sum(run["phase_shares"].values()) == pytest.approx(1.0)
        rate, energy = run["inferences_per_j"], run["steady_energy_j"]
        assert rate["mean"] * energy["mean"] == pytest.approx(1.0)
        assert rate["low"] * energy["high"] == pytest.approx(1.0)
    assert {best["network"] for best in found["best"]} == set(NETWORKS)
    assert all(best["fastest"]["run"]["platform"] in PLATFORMS for best in found["best"])


def test_runs_may_be_chosen_and_given_as_records(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = document(capsys, str(results), "--platform", "gap9")
    assert {run["platform"] for run in chosen["runs"]} == {"gap9"}
    record = next((results / "records").glob("kws--gap9*"))
    assert [run["network"] for run in document(capsys, str(record))["runs"]] == ["kws"]


def test_the_papers_statements_come_along(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that the report tests (``hil.report.paper``), where the runs hold both platforms."""
    statement = Statement("it is fast", "2 times", True, "calibrated")
    assert document(capsys, str(results))["paper"] == []
    monkeypatch.setattr("hil.report.page.statements_about", lambda runs, cache: [statement])
    assert [one["verdict"] for one in document(capsys, str(results))["paper"]] == ["agrees"]
    assert command.main(["analyze", str(results)]) == 0
    assert "agrees: it is fast" in capsys.readouterr().out


def test_a_lost_source_is_said_and_can_be_given(
    results: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    record = next((results / "records").glob("kws--gap9*"))
    moved = tmp_path / "moved.json"
    moved.write_text(record.read_text(encoding="utf-8").replace('"zoo:kws"', '"gone.tflite"'), encoding="utf-8")
    (lost,) = document(capsys, str(moved))["runs"]
    assert lost["causes_s"] is None and "not there any more" in lost["missing"]
    (found,) = document(capsys, str(moved), "--network", "zoo:kws")["runs"]
    assert found["causes_s"] is not None and found["missing"] == ""
    assert command.main(["analyze", str(moved)]) == 0
    assert "gone.tflite' is not there any more" in capsys.readouterr().out


def test_scaling_in_table_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--scale", "width", "--platform", "max78000", "--values", "56:80:8"]
    assert command.main(["analyze", *arguments]) == 0
    text = capsys.readouterr().out
    assert "width 64 to 72: a step" in text and "72 input channels take 2 passes of 64" in text
    assert max(len(line) for line in text.splitlines() if re.match(r" *(width|\d+) ", line)) <= 200
    (found,) = document(capsys, *arguments)["scalings"]
    assert [point["value"] for point in found["points"]] == [56, 64, 72, 80]
    assert [change["after"] for change in found["changes"] if change["kind"] == "step"] == [72]
    assert found["points"][0]["inference_s"]["mean"] == pytest.approx(sum(found["points"][0]["causes_s"].values()))


def test_pictures(results: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pictures need matplotlib (pip install 'hil[plots]')")
    shares, scaling = tmp_path / "shares.png", tmp_path / "scaling.svg"
    assert command.main(["analyze", str(results), "--plot", str(shares)]) == 0
    assert shares.read_bytes().startswith(b"\x89PNG")
    arguments = ["--scale", "width", "--platform", "gap9", "--values", "8:40:8", "--plot", str(scaling)]
    assert command.main(["analyze", *arguments]) == 0
    assert b"<svg" in scaling.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "nothing to analyze"),
        (["no-such-folder"], "no such folder of results"),
        (["RESULTS", "--platform", "hx-we2"], "no run on hx-we2"),
        (["RESULTS", "--budget", "latency=fast"], "'fast' is not a quantity"),
        (["RESULTS", "--plot", "shares.txt"], "no kind of picture"),
        (["RESULTS", "--values", "1,2"], "need --scale"),
        (["RESULTS", "--scale", "width", "--platform", "gap9"], "takes no RUNS"),
        (["--scale", "width"], "--scale needs a platform"),
        (["--scale", "girth", "--platform", "gap9"], "no such axis"),
        (["--scale", "width", "--platform", "gap9", "--network", "zoo:kws"], "only be scaled in depth"),
        (["--scale", "width", "--platform", "gap9,gap8", "--plot", "a.png"], "--plot shows one platform"),
        (["--scale", "width", "--platform", "gap9", "--budget", "latency=1ms"], "not about --scale"),
    ],
)
def test_wrong_use_is_one_line_and_code_2(
    arguments: list[str], says: str, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["analyze", *(str(results) if word == "RESULTS" else word for word in arguments)]) == 2
    error = capsys.readouterr().err
    assert says in error.splitlines()[0] and "Traceback" not in error


def test_the_page_has_the_analysis(results: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    runs = Store(results).load()
    write_page(runs, page)
    text = page.read_text(encoding="utf-8")
    section = text[text.index('<section id="analysis">') :].partition("</section>")[0]
    for platform in PLATFORMS:
        assert platform in section
    assert "kernel 10x4: only 1x1, 3x3" in section and "style=" not in section
    # The summary line of GAP9 has the share of tiles in both networks' time together.
    gap9 = [a for a in analyze_runs(runs, Sources()) if a.run.platform == "gap9" and a.causes is not None]
    tiles = sum(a.causes.seconds["tiles"] for a in gap9 if a.causes) / sum(a.inference_s for a in gap9)
    assert f"<td>{100 * tiles:.0f} %</td>" in section


def test_the_page_without_any_plan_has_no_analysis(results: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    runs = [
        run.model_copy(update={"network_info": run.network_info.model_copy(update={"source": "gone.tflite"})})
        for run in Store(results).load()
    ]
    write_page(runs, page)
    assert 'id="analysis"' not in page.read_text(encoding="utf-8")
