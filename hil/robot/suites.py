"""Running the suites that come with hil, and counting what became of the tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robot.api import ExecutionResult, ResultVisitor
from robot.run import run  # type: ignore[import-untyped]

from hil.data import data_dir
from hil.errors import ConfigError, did_you_mean
from hil.robot.cases import Selection
from hil.robot.foreach import Expander

OUTPUT, XUNIT, LOG = "output.xml", "xunit.xml", "log.html"


@dataclass
class Summary:
    """What became of the tests.  ``skipped``: how many by reason; ``known``: documented disagreements that hold."""

    passed: int = 0
    failed: int = 0
    known: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, str]] = field(default_factory=list)


def suite_paths(names: Sequence[str]) -> list[Path]:
    """Suites by name (``protocol``), or files and folders of the user's own; none: all that come with hil.

    Raises ConfigError for what is neither.
    """
    root = data_dir("robot")
    known = sorted(folder.name for folder in root.iterdir() if any(folder.glob("*.robot")))
    paths = []
    for name in names:
        own = Path(name)
        if name in known:
            paths.append(root / name)
        elif own.exists():
            paths.append(own)
        else:
            raise ConfigError(f"there is no suite '{name}'", hint=did_you_mean(name, known))
    return paths or [root]


def run_suites(
    paths: Sequence[Path], variables: Mapping[str, str], folder: Path, options: Mapping[str, Any] | None = None
) -> int:
    """Run suites; files go to ``folder``.  ``options`` are Robot's own.  Returns Robot's exit code: the number of
    failed tests up to 250, 252 for wrong input, 253 where it was interrupted."""
    code: int = run(
        *map(str, paths),
        outputdir=str(folder),
        output=OUTPUT,
        xunit=XUNIT,
        log=LOG,
        variable=[f"{name}:{value}" for name, value in variables.items()],
        prerunmodifier=[Expander(Selection.of(variables))],
        **(options or {}),
    )
    return code


def summarize(folder: Path) -> Summary:
    """Read the results back."""
    collector = _Collector()
    ExecutionResult(str(folder / OUTPUT), include_keywords=False).visit(collector)
    return collector.summary


class _Collector(ResultVisitor):  # type: ignore[misc]
    def __init__(self) -> None:
        self.summary = Summary()

    def visit_test(self, test: Any) -> None:
        if test.skipped:
            self.summary.skipped[_reason(test.message)] += 1
        elif test.passed:
            self.summary.passed += 1
            self.summary.known += "known-disagreement" in test.tags
        else:
            self.summary.failed += 1
            self.summary.failures.append((test.full_name, test.message))


def _reason(message: str) -> str:
    """The reason of a skip, without where it was raised."""
    lines = [line for line in message.splitlines() if line and not line.startswith("Skipped in parent suite setup")]
    return " ".join(lines) or "no reason given"
