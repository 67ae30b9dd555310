"""What no instrument reads is refused by name, so that no overflow and no NaN comes later."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hil.cli.main import main
from hil.meter.errors import FormatError, SettingError, TraceError
from hil.meter.importers import Columns, import_trace
from hil.meter.importers.generic import Column
from hil.meter.registry import open_meter
from hil.meter.simulated import with_faults
from hil.meter.store import save_trace
from hil.meter.trace import checked
from hil.meter.types import Gap, Trace

FIXTURES = Path(__file__).parent / "fixtures"
TRACE = Trace("rail A", np.full(5, 0.01), 3.0, dt_s=1e-3)


def fifth(value: float, others: float = 0.01) -> np.ndarray[Any, Any]:
    return np.array([others] * 4 + [value])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"current_a": fifth(1e308)}, "current of sample 4 is 1e+308 A, expected at most 1e+06 A"),
        ({"current_a": fifth(-2e6)}, "current of sample 4 is -2e+06 A"),
        ({"voltage_v": fifth(1e7, 3.0)}, "voltage of sample 4 is 1e+07 V"),
        ({"voltage_v": 1e308}, "a voltage of 1e+308 V"),
        ({"t0_s": -1e13}, "a time of -1e+13 s"),
        ({"dt_s": None, "t_s": np.array([0.0, 1.0, 2.0, 3.0, 1e300])}, "time of sample 4 is 1e+300 s"),
        ({"dt_s": 1e-300}, "a sampling interval of 1e-300 s"),
        ({"dt_s": 1e300}, "a sampling interval of 1e+300 s"),
        ({"gaps": (Gap(1, 10**30),)}, "samples missing, expected at most"),
    ],
)
def test_figures_beyond_all_instruments_are_named(change: dict[str, Any], says: str) -> None:
    checked(TRACE)
    with pytest.raises(TraceError) as caught:
        checked(replace(TRACE, **change))
    assert says in str(caught.value)


def test_times_since_1970_and_large_currents_are_measurements() -> None:
    checked(replace(TRACE, t0_s=1.8e9, current_a=fifth(2000.0), voltage_v=-800.0))


def test_a_cell_beyond_all_numbers_is_no_lost_sample(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for cell in ("1e308", "1e999", "-inf"):
        path.write_text(f"Timestamp(ms),Current(uA)\n0,1\n1,{cell}\n2,1\n")
        with pytest.raises(FormatError, match="sample 1, column 1: .* is no reading"):
            import_trace(path, voltage_v=3.0)
    path.write_text("Timestamp(ms),Current(uA)\n0,1\n1,nan\n2,1\n3,1\n4,1\n")
    assert import_trace(path, voltage_v=3.0).gaps == (Gap(1, 1),)


def test_power_over_no_voltage_is_a_lost_sample_and_no_warning(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("t,p,u\n" + "".join(f"{k},0.03,{0 if k == 3 else 3}\n" for k in range(6)))
    second = Column(column="t", unit="s")
    columns = Columns(time=second, power=Column(column="p", unit="W"), voltage=Column(column="u", unit="V"))
    assert import_trace(path, columns=columns).gaps == (Gap(3, 1),)


# --- mutated files, by the command ----------------------------------------------------------------------------------

CELLS = ("1e308", "-1e308", "1e999", "nan", "inf", "1e-320", "0", "1e12", "9" * 20, "", "x", "1e30", "-1", "[/x]")
NAMES = sorted(path.name for path in FIXTURES.glob("*.csv"))
PHASES = "name,start_s,end_s\nidle,0,0.00001\n[/x],0.00001,0.00003\nidle,0.00003,0.00004\n"


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, str]:
    """A golden file with one to three cells, or a column, of something else."""
    name = draw(st.sampled_from(NAMES))
    rows = [line.split(",") for line in (FIXTURES / name).read_text().splitlines()]
    if draw(st.booleans()):
        column, cell = draw(st.integers(0, 3)), draw(st.sampled_from(CELLS))
        rows = [rows[0], *([*row[:column], cell, *row[column + 1 :]] if column < len(row) else row for row in rows[1:])]
    else:
        for _ in range(draw(st.integers(1, 3))):
            row = rows[draw(st.integers(0, len(rows) - 1))]
            row[draw(st.integers(0, len(row) - 1))] = draw(st.sampled_from(CELLS))
    return name, "\n".join(",".join(row) for row in rows) + "\n"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=mutated())
@example(case=("ppk2.csv", "Timestamp(ms),Current(uA)\n0,1000\n0.01,1e308\n0.02,1000\n"))
@example(case=("otii.csv", "Timestamp,Main current (A),Main voltage (V)\n0,1e200,1e200\n1,1e200,1e200\n"))
def test_mutated_files_are_shown_and_integrated_or_refused_in_one_line(tmp_path: Path, case: tuple[str, str]) -> None:
    """Warnings are errors here, so that neither an overflow nor a NaN passes."""
    name, text = case
    path, phases = tmp_path / name, tmp_path / "p.csv"
    path.write_text(text)
    phases.write_text(PHASES)
    table = ["--columns", str(FIXTURES / "generic.toml")] if name == "generic.csv" else []
    for verb in (["meter", "show", str(path)], ["energy", str(path), "--tolerance", "99%", "--phases", str(phases)]):
        for form in ([], ["--json"]):
            out, err = io.StringIO(), io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = main([*verb, "--voltage", "3V", *table, *form])
            assert code in (0, 2, 4), err.getvalue()
            assert "Traceback" not in err.getvalue()
            if code == 0 and form:
                json.loads(out.getvalue(), parse_constant=pytest.fail)


@pytest.mark.parametrize("samples", [1e300, -1, 0, 6, 10**30, "x", None])
def test_a_header_that_states_other_samples_is_no_trace(tmp_path: Path, samples: Any) -> None:
    path = save_trace(TRACE, tmp_path / "a.trace")
    header = json.loads((path / "trace.json").read_text())
    (path / "trace.json").write_text(json.dumps({**header, "samples": samples}))
    with pytest.raises(FormatError, match="not a trace"):
        import_trace(path)


# --- the simulated meter --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("simulated?noise_a=-1e-6", "noise_a is -1e-06"),
        ("simulated?lsb_a=-1e-6", "lsb_a is -1e-06"),
        ("simulated?seed=-3", "seed is -3"),
        ("simulated?noise_a=nan", "noise_a is nan"),
        ("simulated?offset_a=inf", "offset_a is inf"),
        ("simulated?clock_ratio=0", "clock_ratio"),
        ("simulated?gain=0", "gain"),
    ],
)
def test_a_simulated_meter_that_cannot_be_is_refused(spec: str, says: str) -> None:
    with pytest.raises(SettingError) as caught:
        open_meter(spec)
    assert says in str(caught.value)


def test_errors_of_both_signs_can_be_simulated() -> None:
    make: Callable[..., Any] = with_faults
    meter = make(gain=-1.0, offset_a=-1e-6, noise_a=0.0, seed=0)
    assert (meter.faults.gain, meter.faults.offset_a) == (-1.0, -1e-6)
