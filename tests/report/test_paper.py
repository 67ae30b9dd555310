"""The paper's statements: judged by interval, and never across energy scopes."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.plan.vela import available
from hil.report.paper import paper_statements


@pytest.mark.skipif(available() is None, reason="HX-WE2 needs Vela (pip install 'hil[vela]')")
def test_every_testable_statement_has_a_verdict(tmp_path: Path) -> None:
    found = paper_statements(tmp_path)
    assert len(found) == 4
    assert {statement.verdict for statement in found} <= {"agrees", "disagrees", "open"}
    power = next(statement for statement in found if "power" in statement.text)
    assert power.agrees is None and "different scope" in power.predicted
