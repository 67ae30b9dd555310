"""Suites that run once for each board, platform or measurement: made when they start, from the data as it is then.

``Library    hil.robot.ForEach    board`` in a suite makes a child suite per board, with the suite's tests, setup and
teardown, and with the variables of ``hil.robot.cases``.  A test with a tag ``each:…`` is a template: it becomes one
test per item, and ``${ITEM}`` in its name and its steps stands for the item.
"""

from __future__ import annotations

from typing import Any

from robot.api import SuiteVisitor
from robot.api.deco import library
from robot.libraries.BuiltIn import BuiltIn
from robot.running import TestSuite  # type: ignore[import-untyped]

from hil.errors import ConfigError, did_you_mean
from hil.robot.cases import KINDS, Case, Selection

NAME = "hil.robot.ForEach"
_TEMPLATE = "each:"
_ITEM = "${ITEM}"
# Marks what was made here: once is enough.
_MADE = "Made For"


@library(scope="SUITE", auto_keywords=False)
class ForEach:
    """Runs the suite once for each board, platform or measured platform.

    | Library | hil.robot.ForEach | board |
    | Library | hil.robot.ForEach | platform |

    The variables ``PLATFORM``, ``BACKEND`` (names separated by commas) and ``PORT`` choose among them:

    | robot --variable PORT:/dev/ttyACM0 robot/protocol |
    """

    ROBOT_LISTENER_API_VERSION = 3

    def __init__(self, kind: str) -> None:
        if kind not in KINDS:
            raise ConfigError(f"ForEach: no kind '{kind}'", hint=did_you_mean(kind, KINDS))
        self.kind = kind
        self.ROBOT_LIBRARY_LISTENER = self

    def start_suite(self, data: Any, result: Any) -> None:
        expand(data, self.kind, Selection.of(BuiltIn().get_variables(no_decoration=True)))


class Expander(SuiteVisitor):  # type: ignore[misc]
    """The same before the run, so that ``--include`` sees the tags of what is made: a pre-run modifier."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection

    def start_suite(self, suite: Any) -> None:
        for imported in suite.resource.imports:
            if imported.name == NAME:
                expand(suite, imported.args[0], self._selection)


def expand(suite: Any, kind: str, selection: Selection) -> None:
    """Replace the tests of a suite by child suites, one per case."""
    if _MADE in suite.metadata:
        return
    model = suite.to_dict()
    children = [_child(model, case) for case in KINDS[kind](selection)]
    suite.metadata[_MADE] = f"each {kind}"
    suite.tests.clear()
    suite.setup.config(name="")
    suite.teardown.config(name="")
    suite.suites.extend(children)


def _child(model: dict[str, Any], case: Case) -> Any:
    child = TestSuite.from_dict(model)
    child.name = case.name
    child.metadata[_MADE] = case.name
    for name, value in case.variables.items():
        child.resource.variables.create(f"${{{name}}}", [value])
    child.tests = [made for test in child.tests for made in _tests(test, case)]
    for test in child.tests:
        test.tags.add(case.tags)
    return child


def _tests(test: Any, case: Case) -> list[Any]:
    """The test itself, or what is made of a template."""
    kind = next((tag for tag in test.tags if tag.startswith(_TEMPLATE)), None)
    if kind is None:
        return [test]
    test.tags.remove(kind)
    model, made = test.to_dict(), []
    for item, tags in case.tests.get(kind, {}).items():
        copy = type(test).from_dict(model)
        copy.name = test.name.replace(_ITEM, item)
        copy.tags.add(tags)
        for step in copy.body:
            step.args = tuple(item if argument == _ITEM else argument for argument in step.args)
        made.append(copy)
    return made
