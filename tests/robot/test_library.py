"""The keyword library: its documentation, its types, and what its keywords say."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from conftest import Runner
from robot.api import Failure
from robot.libdoc import libdoc
from robot.libdocpkg import LibraryDocumentation

from hil.backend.run import Run
from hil.robot import Calibration, CrossValidation, HilLibrary
from hil.robot.attaching import picture

LIBRARIES = ("hil.robot.HilLibrary", "hil.robot.CrossValidation", "hil.robot.Calibration")


def library(platform: str = "max78000", network: str = "zoo:digits") -> HilLibrary:
    made = HilLibrary()
    made.use_platform(platform)
    made.load_network(network)
    return made


@pytest.mark.parametrize("name", LIBRARIES)
def test_libdoc_makes_html_and_every_keyword_has_a_doc_with_an_example(name: str, tmp_path: Path) -> None:
    file = tmp_path / "out.html"
    libdoc(name, str(file), quiet=True)
    assert file.stat().st_size > 100_000
    documentation = LibraryDocumentation(name)
    assert len(documentation.keywords) >= 4
    assert [k.name for k in documentation.keywords if f"| {k.name} |" not in k.doc and f"| {k.name}" not in k.doc] == []


@pytest.mark.parametrize("made", [HilLibrary, CrossValidation, Calibration])
def test_every_argument_of_every_keyword_has_a_type(made: type) -> None:
    keywords = [f for _, f in inspect.getmembers(made, inspect.isfunction) if hasattr(f, "robot_name")]
    for function in keywords:
        hints = get_type_hints(function)
        assert set(inspect.signature(function).parameters) - {"self"} <= set(hints), function.__name__


def test_figures_are_those_of_the_run() -> None:
    made = library()
    run = made.run_benchmark()
    assert made.get_latency("inference") == run.phases["inference"].latency_s.mean
    assert made.get_latency("input_load+inference") == pytest.approx(
        run.phases["input_load"].latency_s.mean + run.phases["inference"].latency_s.mean
    )
    assert run.total.energy_j is not None and made.get_energy() == pytest.approx(run.total.energy_j.mean)
    assert made.get_power() == pytest.approx(run.total.energy_j.mean / run.total.latency_s.mean)
    assert made.get_memory("weights") == run.memory.weight_bytes
    assert made.get_fidelity() == "calibrated"


def test_a_figure_and_its_tolerance() -> None:
    made = library()
    made.run_benchmark()
    seconds = made.get_latency("inference")
    made.latency_should_agree_with(f"{seconds * 1.09e3} ms", "inference", "10%")
    with pytest.raises(Failure, match=r"latency of inference: disagree; found .* \(calibrated, .*tolerance 10%"):
        made.latency_should_agree_with(f"{seconds * 1.2e3} ms", "inference", "10%")
    made.verdict_should_be("disagree", f"{seconds * 2} s", "latency", "inference")
    with pytest.raises(Failure, match="expected agree, but .*disagree"):
        made.verdict_should_be("agree", f"{seconds * 2} s", "latency", "inference")


def test_runs_at_other_clocks_are_incomparable() -> None:
    made = library()
    before = made.run_benchmark()
    made.use_platform("max78000", **{"npu.clock_hz": "25MHz"})
    made.run_benchmark()
    made.verdict_should_be("incomparable", before)
    with pytest.raises(Failure, match="clock"):
        made.latency_should_agree_with(before)


def test_what_is_missing_skips_and_what_is_wrong_fails() -> None:
    made = library()
    made.use_meter("ppk2", site="whole board", rate_hz=1e4)
    asked = made.state.options.board
    assert (asked.meter, asked.site, asked.meter_rate_hz) == ("ppk2", "whole board", 1e4)
    with pytest.raises(Failure, match=r"no platform 'max7800' \(did you mean 'max7800[02]'"):
        made.use_platform("max7800")
    with pytest.raises(Failure, match=r"nothing was run yet \(Run Benchmark\)"):
        made.get_latency()
    with pytest.raises(Failure, match="no board is open"):
        made.ask_board("name")


def test_the_timeline_becomes_a_picture() -> None:
    run = library().run_benchmark()
    assert isinstance(run, Run)
    drawn = picture(run)
    assert drawn.count("<rect") == len(run.timeline.segments) if run.timeline else False
    assert "inference: " in drawn


def test_a_board_that_says_nothing_is_a_timeout_with_its_capture(tmp_path: Path) -> None:
    made = library()
    made.open_board(made.start_emulated_board(engine="python"))
    try:
        made.send_to_board("name")  # without its end
        with pytest.raises(Failure, match=r"no line after .*m-ready within 0\.1\d* s \(capture: \S+\.jsonl\)"):
            made.expect_from_board("m-ready", "0.1 s")
        with pytest.raises(Failure, match=r"expected a line like 'm-ready', the board said 'm-name-dut-\[hil\]'"):
            made.send_to_board("%")
            made.expect_from_board("m-ready")
    finally:
        made.stop_emulated_boards()


def test_a_deadline_on_the_boards_own_clock() -> None:
    """The digits take 0.2 ms of virtual time on MAX78000 and more; the host's deadline is a minute away."""
    made = library()
    made.open_board(made.start_emulated_board(engine="python"))
    try:
        made.ask_board("infer 1 0", within="60 s", within_board="1 s")
        with pytest.raises(Failure, match="of its own time"):
            made.ask_board("infer 1 0", within="60 s", within_board="1 us")
    finally:
        made.stop_emulated_boards()


def test_renode_is_skipped_in_one_line(run_robot: Runner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HIL_RENODE", str(tmp_path / "no-renode"))
    ran: Any = run_robot("platforms/renode_descriptions.robot")
    assert ran.code == 0 and ran.summary.passed == 0
    (reason,) = ran.summary.skipped
    assert "no-renode" in reason and "\n" not in reason
