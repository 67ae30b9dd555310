"""Phases from a file: what is read, and what is no phase, by line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hil.cli.main import main
from hil.meter.energy import PhaseWindow
from hil.meter.errors import FormatError
from hil.meter.phases import phases_beside, phases_csv, read_phases
from hil.meter.store import save_trace
from hil.meter.trace import WINDOW_GAPS
from hil.meter.types import Trace

HEADER = "name,start_s,end_s,inferences\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "phases.csv"


def test_what_is_written_is_read_again(path: Path) -> None:
    windows = [
        PhaseWindow("idle", 0.25, 0.5, gaps_allowed=WINDOW_GAPS, border_sd_s=2e-6),
        PhaseWindow("inference", 0.5, 0.75, 8, WINDOW_GAPS, 2e-6),
        PhaseWindow("output_read", 0.75, 0.8125, border_sd_s=2e-6),
    ]
    path.write_bytes(phases_csv(windows))
    assert read_phases(path) == (windows[1:], windows[:1])


def test_a_file_of_a_spreadsheet_begins_with_a_mark(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + f"{HEADER}inference,0.1,0.5,2\n".replace("\n", "\r\n").encode())
    (window,), idle = read_phases(path)
    assert (window.name, window.inferences, idle) == ("inference", 2, [])


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        # Sorted by time lines 2 and 4 meet; the lines are those of the file.
        ("inference,0.1,0.3,1\nother,0.1,0.2,1\ninference,0.2,0.4,1\n", "lines 2 and 4: two windows of 'inference'"),
        ("inference,0.5,0.6,1\ninference,0.1,0.9,1\n", "lines 2 and 3: two windows of 'inference'"),
        ("idle,0.1,0.3,\ninference,0.5,0.6,1\nidle,0.2,0.4,\n", "lines 2 and 4: two windows of 'idle'"),
        ("inference,0.1,0.3,0\n", "line 2: 'inference' with 0 inferences"),
        ("x,0.0,0.1,1\ninference,0.1,0.3,-4\n", "line 3: 'inference' with -4 inferences"),
        (f"inference,0.1,0.3,{10**400}\n", "line 2: 'inference' with 1000"),
        ("inference,0.1,0.3,1,5\n", "line 2: 1 cells too many"),
        ("inference\n", "line 2: no row with a name, a start and an end"),
        ("inference,0.1,inf,1\n", "line 2: 'inference' from 0.1 to inf"),
        ("inference,0.1,1e300,1\n", "line 2: 'inference' from 0.1 to 1e"),
        ("inference,0,1e-320,1\n", "line 2: 'inference' from 0.0 to 1e-320"),
        ("inference,nan,0.3,1\n", "line 2: 'inference' from nan"),
    ],
)
def test_what_is_no_phase_is_named_by_its_line(path: Path, rows: str, says: str) -> None:
    path.write_text(HEADER + rows)
    with pytest.raises(FormatError) as caught:
        read_phases(path)
    assert says in str(caught.value)
    assert caught.value.hint


def test_repetitions_may_touch(path: Path) -> None:
    """0.1 + 0.2 is more than 0.3 in binary."""
    path.write_text(f"{HEADER}a,0.1,{0.1 + 0.2!r},1\na,0.3,0.5,1\nb,0.2,0.4,1\n")
    assert len(read_phases(path)[0]) == 3


@pytest.mark.parametrize("damaged", ["garbage", "name,start\n", f"{HEADER}inference\n", "\x00\xff", "idle,0.1,0.2,1\n"])
def test_damaged_phases_beside_a_trace_are_an_error_and_not_the_whole_trace(
    tmp_path: Path, damaged: str, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = save_trace(Trace("rail A", np.full(1000, 0.01), 3.0, dt_s=1e-3), tmp_path / "trace")
    (trace / "phases.csv").write_text(damaged, encoding="latin-1")
    assert main(["energy", str(trace), "--json"]) == 2
    said = capsys.readouterr()
    assert "phases.csv" in said.err and said.out == ""
    # A run that could not be aligned leaves a header only.
    for text in (HEADER, HEADER.strip(), "\ufeff" + HEADER, ""):
        (trace / "phases.csv").write_text(text, encoding="utf-8")
        assert phases_beside(trace) is None
    assert main(["energy", str(trace), "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["phases"]) == ["all"]


def test_a_name_is_printed_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Brackets are the markup of the terminal's library."""
    trace = save_trace(Trace("rail [/A]", np.full(1000, 0.01), 3.0, dt_s=1e-3), tmp_path / "trace")
    other = save_trace(Trace("rail B", np.full(1000, 0.01), 3.0, dt_s=1e-3), tmp_path / "other")
    (tmp_path / "p.csv").write_text(f"{HEADER}[/x],0.1,0.9,1\n")
    assert main(["energy", str(trace), "--phases", str(tmp_path / "p.csv")]) == 0
    said = capsys.readouterr().out
    assert "[/x]" in said and "rail [/A]" in said
    assert main(["meter", "show", str(trace), "--phases", str(tmp_path / "p.csv")]) == 0
    assert main(["energy", str(trace), str(other), "--rails", "chip [b]", "--phases", str(tmp_path / "p.csv")]) == 2
    assert "not brought together" in capsys.readouterr().err
