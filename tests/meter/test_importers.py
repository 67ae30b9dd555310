"""Importers: every golden file's energy against a hand calculation; mutated bytes raise only MeterError."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hil.errors import MeterError, UnavailableError
from hil.meter.errors import FormatError, GapError
from hil.meter.importers import FORMATS, Columns, detect, import_trace, read_columns
from hil.meter.importers.generic import Column
from hil.meter.store import save_trace
from hil.meter.trace import Integrator, SampleTimes
from hil.meter.types import Gap, Trace

FIXTURES = Path(__file__).parent / "fixtures"

# Trapezoids by hand.  PPK2: 1, 1, 3, 3, 1 mA every 10 us at 3 V: (1 + 2 + 3 + 2) mA * 10 us * 3 V.
PPK2_J = 8e-3 * 10e-6 * 3.0
# Joulescope: the power column: 2, 2, 1.2, 1.2 W every 0.5 s: (2 + 1.6 + 1.2) * 0.5.  (V * I would give 2.25.)
JOULESCOPE_J = 4.8 * 0.5
# 0.4 A * 5 V over the 2 ms with a lost sample, then (0.4 + 0.2) / 2 A * 5 V over 1 ms.
JOULESCOPE_NAN_J = 2.0 * 2e-3 + 1.5 * 1e-3
# Otii: 10, 10, 30, 10 mA every 250 us at 3 V: (10 + 20 + 20) mA * 250 us * 3 V.
OTII_J = 50e-3 * 250e-6 * 3.0
# Monsoon: 100, 100, 200, 200, 100 mA at 5 kHz and 4 V: (100 + 150 + 200 + 150) mA * 200 us * 4 V.
MONSOON_J = 600e-3 * 200e-6 * 4.0
# PowerTool: 400, 400, (missing), 820, 400 mW: 400 * 200 us + 610 * 400 us + 610 * 200 us.
POWERTOOL_J = (400 * 200e-6 + 610 * 400e-6 + 610 * 200e-6) * 1e-3
# sigrok: 0.1, 0.1, 0.3, 0.1 A at 1 kHz and 2 V: (0.1 + 0.2 + 0.2) A * 1 ms * 2 V.
SIGROK_J = 0.5 * 1e-3 * 2.0
# generic: 100, 100, 300, (missing), 300, 100 mA every 2 ms at 3.3 V: (100 + 200) * 2 ms + 300 * 4 ms + 200 * 2 ms.
GENERIC_J = (300e-3 * 2e-3 + 300e-3 * 4e-3 + 200e-3 * 2e-3) * 3.3

# name, format, supply that the file does not know, energy, inputs by sample, gaps
GOLDEN: list[tuple[str, str, float | None, float, list[int] | None, tuple[Gap, ...]]] = [
    ("ppk2.csv", "ppk2-csv", 3.0, PPK2_J, None, ()),
    ("ppk2-bits.csv", "ppk2-csv", 3.0, PPK2_J, [0, 0, 1, 129, 0], ()),
    ("ppk2-d0-d7.csv", "ppk2-csv", 3.0, PPK2_J, [0, 0, 1, 129, 0], ()),
    ("ppk2-columns.csv", "ppk2-csv", 3.0, PPK2_J, [0, 0, 1, 129, 0], ()),
    ("joulescope.csv", "joulescope-csv", None, JOULESCOPE_J, None, ()),
    ("joulescope-nan.csv", "joulescope-csv", None, JOULESCOPE_NAN_J, None, (Gap(1, 1),)),
    ("otii.csv", "otii-csv", None, OTII_J, [0, 1, 1, 0], ()),
    ("Main current - Arc.csv", "otii-channel-csv", 3.0, OTII_J, None, ()),
    ("monsoon.csv", "monsoon-csv", None, MONSOON_J, None, ()),
    ("powertool.csv", "powertool-csv", None, POWERTOOL_J, None, (Gap(2, 1),)),
    ("sigrok.csv", "sigrok-csv", None, SIGROK_J, [0, 1, 1, 0], ()),
]


def total_j(trace: Trace) -> float:
    times = SampleTimes(trace)
    return Integrator(times).integral(times.first_s, times.last_s)


@pytest.mark.parametrize(("name", "kind", "supply_v", "energy_j", "inputs", "gaps"), GOLDEN, ids=[g[0] for g in GOLDEN])
def test_golden_files_give_the_energy_of_a_hand_calculation(
    name: str, kind: str, supply_v: float | None, energy_j: float, inputs: list[int] | None, gaps: tuple[Gap, ...]
) -> None:
    path = FIXTURES / name
    assert detect(path) == kind
    trace = import_trace(path, site="whole board", voltage_v=supply_v)
    assert total_j(trace) == pytest.approx(energy_j, rel=1e-9)
    assert trace.site == "whole board"
    assert trace.raw == str(path)
    assert (None if trace.digital is None else trace.digital.tolist()) == inputs
    assert trace.gaps == gaps


def test_the_generic_importer_follows_its_declaration() -> None:
    columns = read_columns(FIXTURES / "generic.toml")
    trace = import_trace(FIXTURES / "generic.csv", columns=columns)
    assert total_j(trace) == pytest.approx(GENERIC_J, rel=1e-9)
    assert trace.dt_s == pytest.approx(2e-3)
    assert trace.gaps == (Gap(3, 1),)
    assert trace.digital is not None
    assert trace.digital.tolist() == [0, 1, 1, 0, 0]
    assert trace.info.model == "bench"


def test_declared_columns_as_arguments_with_a_rate_and_power() -> None:
    columns = Columns(power=Column(column="power", unit="W"), rate_hz=2.0)
    trace = import_trace(FIXTURES / "joulescope.csv", columns=columns, voltage_v=5.0)
    assert total_j(trace) == pytest.approx(JOULESCOPE_J)


def test_a_file_that_cannot_show_losses_says_so() -> None:
    """Counted samples have no times that a loss would show in; times do, and so do marked samples."""
    for name, rate in (("monsoon.csv", "5000"), ("sigrok.csv", "1000")):
        (note,) = import_trace(FIXTURES / name).notes
        assert note == f"samples counted at {rate} Hz: those that were lost before do not show"
    for name in ("ppk2.csv", "joulescope-nan.csv", "powertool.csv"):
        assert import_trace(FIXTURES / name, voltage_v=3.0).notes == ()


def test_a_trace_folder_is_a_format_too(tmp_path: Path) -> None:
    path = save_trace(import_trace(FIXTURES / "otii.csv", site="chip"), tmp_path / "a.trace")
    again = import_trace(path)
    assert again.site == "chip"
    assert total_j(again) == pytest.approx(OTII_J, rel=1e-6)  # float32 on disk


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b\n1,2\n", "no known format"),
        ("", "no known format"),
        ("Timestamp(ms),Current(uA)\n", "no samples"),
        ("Timestamp(ms),Current(uA)\n0,1\n0.01,x\n", "below line 1"),
        ("Timestamp(ms),Current(uA)\n0,1\n0.01\n", "below line 1"),
        ("Timestamp(ms),Current(uA)\n0,1\n0,2\n0,3\n", "stand still"),
        ("Timestamp(ms),Current(uA),D0-D7\n0,1,00000002\n1,1,00000000\n", "neither 0 nor 1"),
        ("Timestamp(ms),Current(uA),D0-D7\n0,1,000000000000\n1,1,111111111111\n", "eight digits"),
        ("Timestamp(ms),Current(uA),Current(uA)\n0,1,1\n1,1,1\n", "2 columns of current"),
        ("Timestamp(ms),Current(uA)\n0,1\n", "expected at least two"),
    ],
)
def test_wrong_files_are_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(FormatError, match=says):
        import_trace(path, voltage_v=3.0)


def test_an_unknown_supply_is_asked_for() -> None:
    with pytest.raises(FormatError, match="no voltage") as caught:
        import_trace(FIXTURES / "ppk2.csv")
    assert "supply" in str(caught.value.hint)


def test_formats_are_found_by_near_names_and_listed() -> None:
    with pytest.raises(FormatError) as caught:
        import_trace(FIXTURES / "ppk2.csv", "ppk2csv")
    assert caught.value.hint == "did you mean 'ppk2-csv'?"
    with pytest.raises(FormatError) as listed:
        detect(Path(__file__))
    assert listed.value.hint is not None
    assert all(name in listed.value.hint for name in FORMATS)


def test_monsoon_stamps_that_do_not_fit_its_rate_are_lost_samples(tmp_path: Path) -> None:
    rows = "".join(f"{i * 0.000266:.6f},100,4.0,\n" for i in range(50))  # 3759 rows a second
    (tmp_path / "m.csv").write_text("Time(ms),Main(mA),Main Voltage(V),\n" + rows)
    with pytest.raises(GapError, match="expected 5000 a second"):
        import_trace(tmp_path / "m.csv")
    rows = "".join(f"{i * 0.2:.1f},100,4.0,\n" for i in range(50))  # really milliseconds
    (tmp_path / "m.csv").write_text("Time(ms),Main(mA),Main Voltage(V),\n" + rows)
    with pytest.raises(GapError, match="50 samples in 9.8 s") as caught:
        import_trace(tmp_path / "m.csv")
    assert "not seconds" in str(caught.value.hint)


def test_monsoon_stamps_are_per_packet(tmp_path: Path) -> None:
    """Three samples share a stamp: they are 200 us apart all the same."""
    rows = "".join(f"{i // 3 * 0.0006:.4f},100,4.0,\n" for i in range(301))
    (tmp_path / "m.csv").write_text("Time(ms),Main(mA),Main Voltage(V),\n" + rows)
    trace = import_trace(tmp_path / "m.csv")
    assert trace.dt_s == pytest.approx(200e-6)
    assert total_j(trace) == pytest.approx(0.4 * 0.06)


# --- JLS ------------------------------------------------------------------------------------------------------------


def write_jls(path: Path) -> None:
    """1000 samples at 1 kHz: 10 mA at 3 V, samples 500 to 509 lost, input 1 high from sample 300 on."""
    pyjls = pytest.importorskip("pyjls", reason="JLS files need pyjls")
    amperes = np.full(1000, 0.01, dtype=np.float32)
    amperes[500:510] = np.nan
    writer = pyjls.Writer(str(path))
    writer.source_def(source_id=1, name="js220", vendor="Jetperch", model="JS220", version="1", serial_number="000123")
    kinds = (
        ("current", pyjls.DataType.F32, "A"),
        ("voltage", pyjls.DataType.F32, "V"),
        ("gpi[1]", pyjls.DataType.U1, ""),
    )
    for signal_id, (name, kind, unit) in enumerate(kinds, start=1):
        writer.signal_def(
            signal_id=signal_id,
            source_id=1,
            signal_type=pyjls.SignalType.FSR,
            data_type=kind,
            sample_rate=1000,
            name=name,
            units=unit,
        )
    writer.fsr(1, 0, amperes)
    writer.fsr(2, 0, np.full(1000, 3.0, dtype=np.float32))
    levels = np.zeros(1000, dtype=np.uint8)
    levels[300:] = 1
    writer.fsr(3, 0, np.packbits(levels, bitorder="little"))
    writer.close()


def test_jls_keeps_lost_samples_as_gaps(tmp_path: Path) -> None:
    write_jls(tmp_path / "a.jls")
    trace = import_trace(tmp_path / "a.jls", site="rail VDD")
    assert len(trace.current_a) == 990
    assert (trace.gaps, trace.notes) == ((Gap(500, 10),), ())
    assert trace.info.model == "JS220"
    assert trace.info.serial == "000123"
    assert trace.digital is not None
    assert np.flatnonzero(trace.digital).tolist() == list(range(300, 990))
    assert set(trace.digital.tolist()) == {0, 2}
    # 30 mW over 999 intervals of 1 ms, the gap bridged.
    assert total_j(trace) == pytest.approx(0.03 * 0.999, rel=1e-6)


def test_jls_without_its_library_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a.jls").write_bytes(b"jlsfmt\r\n" + bytes(100))
    monkeypatch.setitem(sys.modules, "pyjls", None)
    with pytest.raises(UnavailableError) as caught:
        import_trace(tmp_path / "a.jls")
    assert "joulescope" in str(caught.value.hint)


def test_a_damaged_jls_file_is_a_format_error(tmp_path: Path) -> None:
    write_jls(tmp_path / "a.jls")
    (tmp_path / "b.jls").write_bytes((tmp_path / "a.jls").read_bytes()[:24])
    with pytest.raises(FormatError):
        import_trace(tmp_path / "b.jls")


# --- mutated bytes --------------------------------------------------------------------------------------------------

TEXTS = {
    **{name: (FIXTURES / name).read_bytes() for name, *_ in GOLDEN},
    "generic.csv": (FIXTURES / "generic.csv").read_bytes(),
}


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, bytes]:
    name = draw(st.sampled_from(sorted(TEXTS)))
    data = bytearray(TEXTS[name])
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(data) - 1))
        change: Callable[[], None] = draw(
            st.sampled_from(
                [
                    lambda at=at: data.__setitem__(at, draw(st.integers(0, 255))),
                    lambda at=at: data.insert(at, draw(st.sampled_from(list(b',;.-+eE0919\n\r"naif \xff')))),
                    lambda at=at: data.__delitem__(slice(at, at + draw(st.integers(1, 20)))),
                    lambda at=at: data.__setitem__(slice(at, at), data[max(0, at - 20) : at]),
                ]
            )
        )
        change()
        if not data:
            break
    return name, bytes(data)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=mutated(), forced=st.booleans())
def test_mutated_bytes_raise_only_meter_errors(tmp_path: Path, case: tuple[str, bytes], forced: bool) -> None:
    name, data = case
    path = tmp_path / name
    path.write_bytes(data)
    kinds = {golden[0]: golden[1] for golden in GOLDEN}
    columns = read_columns(FIXTURES / "generic.toml") if name == "generic.csv" else None
    try:
        trace = import_trace(path, kinds.get(name) if forced else None, voltage_v=3.0, columns=columns)
    except MeterError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert np.isfinite(trace.current_a).all()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300))
def test_any_bytes_raise_only_meter_errors(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "any.csv"
    path.write_bytes(data)
    for kind in (None, *(name for name in FORMATS if name != "trace")):
        with pytest.raises(MeterError):
            import_trace(path, kind, voltage_v=3.0)
    path.with_suffix(".toml").write_bytes(data)
    with pytest.raises(MeterError):
        read_columns(path.with_suffix(".toml"))
