"""The page of a set of runs, with what the platform files say of their platforms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hil.backend.run import Run
from hil.platform import Platform, load_platform, platform_files
from hil.report.html import write_report


def write_page(runs: Sequence[Run], file: Path, extra: Sequence[Path] = ()) -> None:
    """Write ``report.html``.  A platform whose file has gone is shown by its runs alone."""
    known = platform_files(extra)
    platforms: dict[str, Platform] = {
        name: load_platform(name, extra) for name in dict.fromkeys(run.platform for run in runs) if name in known
    }
    write_report(runs, platforms, file)
