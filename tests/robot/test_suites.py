"""The suites as data: what they cover, that none can hang, and how ``hil robot`` runs them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import ROBOT

from hil.calibrate.dataset import load_measurements
from hil.calibrate.units import tasks
from hil.cli import robot as verb
from hil.emulator.images import images
from hil.errors import ConfigError, UnavailableError
from hil.platform import load_platform, platform_files
from hil.robot.cases import Selection, boards, emulated, measured, platforms
from hil.robot.cross_validation import joinable, known, zoo_twins
from hil.robot.foreach import Expander
from hil.robot.suites import suite_paths
from robot import running


def parsed(*names: str) -> running.TestSuite:
    suite = running.TestSuite.from_file_system(*[ROBOT / name for name in names] or [ROBOT])
    suite.visit(Expander(Selection()))
    return suite


def hil_robot(*words: str) -> int:
    parser = argparse.ArgumentParser()
    verb.add_parser(parser.add_subparsers())
    args = parser.parse_args(["robot", *words])
    return int(args.run(args))


def test_every_test_has_a_timeout() -> None:
    tests = list(parsed().all_tests)
    assert len(tests) > 500
    assert [test.full_name for test in tests if not test.timeout] == []


def test_no_name_comes_twice() -> None:
    names = [test.full_name for test in parsed().all_tests]
    assert len(names) == len(set(names))


def test_every_row_that_calibration_fits_has_a_test() -> None:
    """Counted from the other end: the fit problems of every platform."""
    fitted = {
        (row.platform, row.network)
        for platform in platform_files(())
        for task in tasks(load_platform(platform), load_measurements())
        for row in task.rows
    }
    made = {(case.name, network) for case in measured(Selection()) for network in case.tests["each:measured"]}
    assert fitted <= made == set(joinable())


def test_pairs_carry_platform_network_and_grade() -> None:
    for test in parsed("cross_validation").all_tests:
        kinds = {tag.partition(":")[0] for tag in test.tags}
        assert "platform" in kinds
        assert test.name == "All networks together" or {"network", "grade", "backend"} <= kinds


def test_known_disagreements_are_of_measurements_that_a_test_judges() -> None:
    rows = {row.id: row for found in joinable().values() for row in found}
    for (measurement, backend), entry in known().items():
        assert len(entry.reason) > 40
        assert measurement in rows
        assert backend == "analytic" or rows[measurement].network in zoo_twins()


def test_twins_are_what_their_names_say() -> None:
    twins = zoo_twins()
    assert twins["mlperf_tiny_ic_resnet8"] == "ic" and twins["mlperf_tiny_kws_dscnn"] == "kws"
    assert twins["unpu_resnet"] == "resnet" and twins["unpu_cifar10_nas"] == "cifar10_nas"


def test_boards_cover_every_engine_and_qemu_machine() -> None:
    machines = {image.name for image in images().values() if image.engine == "qemu"}
    found = [case.variables["BOARD_ENGINE"] for case in boards(Selection())]
    assert found.count("qemu") == len(machines) and {"python", "renode"} < set(found)


def test_selections() -> None:
    assert [case.variables for case in boards(Selection(port="/dev/x"))] == [{"BOARD_PORT": "/dev/x"}]
    chosen = Selection.of({"PLATFORM": "max78000, gap9", "BACKEND": "qemu"})
    assert [case.name for case in boards(chosen)] == ["qemu gap9", "qemu max78000"]
    assert [case.name for case in platforms(chosen)] == ["gap9", "max78000"]
    assert [case.name for case in emulated(chosen)] == ["qemu gap9", "qemu max78000"]
    with pytest.raises(ConfigError, match="there is no platform 'max7800'"):
        platforms(Selection(("max7800",)))


def test_suite_names() -> None:
    assert suite_paths([]) == [ROBOT]
    assert suite_paths(["protocol"]) == [ROBOT / "protocol"]
    with pytest.raises(ConfigError, match="there is no suite 'protocl'") as caught:
        suite_paths(["protocl"])
    assert caught.value.hint == "did you mean 'protocol'?"


def test_hil_robot_runs_and_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = hil_robot("platforms", "--platform", "stm32u575", "--out", str(tmp_path), "--json", "--exclude", "x")
    document = json.loads(capsys.readouterr().out)
    assert code == document["exit_code"] == 0
    assert document["passed"] >= 2 and document["failed"] == 0
    reasons = list(document["skipped"])
    assert any("stm32u575 has no accelerator" in reason for reason in reasons)
    cases = ElementTree.parse(tmp_path / "xunit.xml").getroot().iter("testcase")
    assert len(list(cases)) == document["passed"] + sum(document["skipped"].values())


def test_hil_robot_returns_robots_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "own.robot"
    own.write_text(
        "*** Test Cases ***\nOne\n    Fail    first word\nTwo\n    Fail    second\nThree\n    No Operation\n"
    )
    assert hil_robot(str(own), "--out", str(tmp_path / "out")) == 2
    assert "FAILED Own.One\n  first word" in capsys.readouterr().out
    assert hil_robot(str(own), "--out", str(tmp_path / "out"), "--include", "nothing") == 252


def test_without_robot_framework_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UnavailableError, match="Robot Framework is not installed"):
        hil_robot("protocol")
