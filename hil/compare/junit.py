"""Outcomes as JUnit XML, which every CI system reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree

# Everything that XML 1.0 cannot hold, escaped or not (https://www.w3.org/TR/xml/#charsets).
_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ELEMENT = {"failed": "failure", "skipped": "skipped"}


@dataclass(frozen=True, slots=True)
class Case:
    """One test case: ``group`` is its class, ``message`` says what was found."""

    group: str
    name: str
    status: Literal["passed", "failed", "skipped"]
    message: str


def junit_xml(suite: str, cases: Sequence[Case]) -> bytes:
    """A test suite; what a passed case has to say goes to ``system-out``."""
    counts = {status: str(sum(case.status == status for case in cases)) for status in ("failed", "skipped")}
    root = ElementTree.Element(
        "testsuite",
        {"name": _legal(suite), "tests": str(len(cases)), "failures": counts["failed"], "errors": "0"}
        | {"skipped": counts["skipped"]},
    )
    for case in cases:
        element = ElementTree.SubElement(
            root, "testcase", {"classname": _legal(case.group), "name": _legal(case.name), "time": "0"}
        )
        if case.status == "passed":
            ElementTree.SubElement(element, "system-out").text = _legal(case.message)
        else:
            ElementTree.SubElement(element, _ELEMENT[case.status], {"message": _legal(case.message)})
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'.encode()


def _legal(text: str) -> str:
    return _ILLEGAL.sub("\ufffd", text)
