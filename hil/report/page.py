"""The page of a set of runs, with what the platform files say of their platforms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hil.analyze.runs import Sources, analyze_runs
from hil.backend.run import Run
from hil.platform import Platform, load_platform, platform_files
from hil.report.html import write_report
from hil.report.paper import Statement, paper_statements


def write_page(runs: Sequence[Run], file: Path, extra: Sequence[Path] = (), cache: Path | None = None) -> None:
    """Write ``report.html``.  A platform whose file has gone is shown by its runs alone.

    Where the runs hold both platforms that the paper compares, its statements are tested too.  Networks from files are
    looked for in the working folder and beside the page, to analyze their plans.
    """
    known = platform_files(extra)
    platforms: dict[str, Platform] = {
        name: load_platform(name, extra) for name in dict.fromkeys(run.platform for run in runs) if name in known
    }
    sources = Sources(folders=(Path.cwd(), file.parent), platforms=extra, cache=cache)
    write_report(
        runs,
        platforms,
        file,
        statements=statements_about(runs, cache),
        analyses=analyze_runs(runs, sources),
    )


def statements_about(runs: Sequence[Run], cache: Path | None) -> list[Statement]:
    """The paper's statements, where the runs hold both platforms that it compares."""
    compared = {"max78000", "hx-we2"} <= {run.platform for run in runs}
    return paper_statements(cache) if compared else []
