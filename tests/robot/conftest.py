"""Running suites of ``robot/`` in a process of their own, and what became of their tests."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from hil.data import data_dir
from hil.robot.suites import Summary, summarize

ROBOT = data_dir("robot")


@dataclass(frozen=True)
class Ran:
    code: int
    summary: Summary

    def messages(self) -> dict[str, str]:
        """The message of each failed test, by the test's own name."""
        return {name.rpartition(".")[2]: message for name, message in self.summary.failures}


class Runner:
    """Runs a suite with variables, plants (listeners of ``plants``) and platforms of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *suites: str | Path, plant: str = "", platforms: Path | None = None, **variables: str) -> Ran:
        command = [sys.executable, "-m", "robot", "--console", "none", "--outputdir", str(self.folder)]
        command += ["--pythonpath", str(Path(__file__).parent)]
        command += ["--listener", f"plants.{plant}"] if plant else []
        for name, value in variables.items():
            command += ["--variable", f"{name}:{value}"]
        command += [str(ROBOT / suite) if isinstance(suite, str) else str(suite) for suite in suites]
        own = {"HIL_PLATFORM_PATH": str(platforms)} if platforms is not None else {}
        done = subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True, timeout=240)
        output = self.folder / "output.xml"
        assert output.is_file(), done.stderr
        return Ran(done.returncode, summarize(self.folder))


@pytest.fixture
def run_robot(tmp_path: Path) -> Runner:
    return Runner(tmp_path / "robot")
