"""What is known to disagree stands in docs/fidelity.md, measurement by measurement."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_known_disagreement_is_documented() -> None:
    known = tomllib.loads((ROOT / "robot/cross_validation/known.toml").read_text(encoding="utf-8"))["known"]
    page = (ROOT / "docs/fidelity.md").read_text(encoding="utf-8").partition("## Known disagreements")[2]
    rows = {row: off for entry in known for row, off in entry.get("off_by", {}).items()}
    assert len(rows) > 10
    assert [row for row, off in rows.items() if f"{row} {off:+.0%}" not in page] == []
