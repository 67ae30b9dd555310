"""One self-contained HTML page about a set of runs: matrix, plots, and a section per platform.

The page opens offline.  Its content security policy forbids every load and every script but the page's own, so that a
network's file name can neither fetch nor run anything.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

from hil.analyze import RunAnalysis
from hil.backend.run import Run
from hil.errors import ResultsError
from hil.files import write_atomic
from hil.platform import Platform
from hil.report.analysis import analysis_section
from hil.report.markup import Html, escape, join, json_for_script, table, tag
from hil.report.overview import best_section, fidelity_legend, header_lines, matrix
from hil.report.paper import Statement
from hil.report.plots import plot_data
from hil.report.power import power_section
from hil.report.rows import Arrangement, arrange
from hil.report.sections import platform_section

TITLE = "Neural networks on µNPUs"
_SCRIPTS = ("draw.js", "matrix.js", "charts.js", "page.js")


def write_report(
    runs: Sequence[Run],
    platforms: Mapping[str, Platform],
    file: Path,
    title: str = TITLE,
    statements: Sequence[Statement] = (),
    analyses: Sequence[RunAnalysis] = (),
) -> None:
    """Write the page about ``runs`` to ``file``, whole or not at all.  ``statements`` of the paper and
    ``analyses`` of the runs get a section each.

    ``platforms`` maps platform ids to their files; a platform that is missing there is shown by its runs alone.
    Raises ResultsError where there are no runs or the file cannot be written.
    """
    if not runs:
        raise ResultsError("no runs to report", hint="run `hil bench` first, or name a folder that holds its results")
    write_atomic(file, render(runs, platforms, title, statements, analyses).encode())


def render(
    runs: Sequence[Run],
    platforms: Mapping[str, Platform],
    title: str = TITLE,
    statements: Sequence[Statement] = (),
    analyses: Sequence[RunAnalysis] = (),
) -> str:
    """The page as text.  ``runs`` must not be empty."""
    arrangement = arrange(runs)
    style = _asset("page.css")
    script = "\n".join(_asset(name) for name in _SCRIPTS)
    return Template(_asset("page.html")).substitute(
        policy=escape(_policy(style, script)),
        title=escape(title),
        style=style,
        script=script,
        data=json_for_script(plot_data(arrangement, platforms)),
        header=header_lines(arrangement, runs),
        legend=fidelity_legend(runs),
        best=best_section(arrangement),
        matrix=matrix(arrangement),
        paper=join((power_section(runs), _paper(statements), analysis_section(arrangement, analyses))),
        platforms=_sections(arrangement, platforms),
    )


def _paper(statements: Sequence[Statement]) -> Html:
    """What the paper says that can be tested, beside what is predicted; nothing where nothing was asked."""
    if not statements:
        return Html("")
    rows = [(s.text, s.predicted, s.verdict, s.fidelity) for s in statements]
    caption = "Statements of arXiv 2503.22567 against the analytic backend (HX-WE2 at the 100 MHz of its firmware)"
    inner = table(("The paper says", "hil predicts", "verdict", "fidelity"), rows, caption)
    return tag("section", tag("h2", "Against the paper"), inner, id="paper")


def _sections(arrangement: Arrangement, platforms: Mapping[str, Platform]) -> Html:
    alone = len(arrangement.platforms) == 1
    return join(
        platform_section(name, platforms.get(name), arrangement.of_platform(name), is_open=alone)
        for name in arrangement.platforms
    )


def _policy(style: str, script: str) -> str:
    """Nothing may be loaded, and nothing may run but the style and script whose hashes are given."""
    allowed = f"style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _asset(name: str) -> str:
    return (files("hil.report") / "assets" / name).read_text(encoding="utf-8")
