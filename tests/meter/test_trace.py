"""Traces: times with gaps, slices, validity, integration against closed forms, envelopes, and the files on disk."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.errors import MeterError
from hil.meter.errors import FormatError, GapError, OutsideError, OverRangeError, TraceError
from hil.meter.store import HEADER, TraceWriter, load_trace, save_trace
from hil.meter.trace import WINDOW_GAPS, Integrator, SampleTimes, check_window, checked, envelope, window
from hil.meter.types import Gap, MeterInfo, Trace


def simple(**changes: object) -> Trace:
    """Ten samples every 0.1 s from 1 s on, three lost before sample 4: 1, 2, ... 10 A at 2 V."""
    base = Trace("chip supply", np.arange(1.0, 11.0), 2.0, dt_s=0.1, t0_s=1.0, gaps=(Gap(4, 3),))
    return replace(base, **changes)  # type: ignore[arg-type]


def test_times_count_lost_samples_in() -> None:
    times = SampleTimes(simple())
    assert times.between(0, 10) == pytest.approx([1.0, 1.1, 1.2, 1.3, 1.7, 1.8, 1.9, 2.0, 2.1, 2.2])
    assert (times.first_s, times.last_s) == pytest.approx((1.0, 2.2))
    # At, between, in the gap, before and after.
    assert [times.first_at(t) for t in (1.0, 1.05, 1.3, 1.31, 1.5, 1.65, 1.75, 0.0, 2.2, 2.3, 99.0)] == [
        0, 1, 3, 4, 4, 4, 5, 0, 9, 10, 10,
    ]  # fmt: skip


@settings(deadline=None)
@given(
    gaps=st.lists(st.tuples(st.integers(1, 199), st.integers(1, 50)), max_size=8, unique_by=lambda gap: gap[0]),
    t0_s=st.floats(-1e3, 1e3),
    dt_s=st.sampled_from([1e-6, 1e-5, 2.5e-4, 0.1]),
    at=st.floats(-0.1, 1.1),
)
def test_first_at_is_the_first_sample_at_or_after(
    gaps: list[tuple[int, int]], t0_s: float, dt_s: float, at: float
) -> None:
    trace = Trace("a", np.zeros(200), 1.0, dt_s=dt_s, t0_s=t0_s, gaps=tuple(Gap(i, m) for i, m in sorted(gaps)))
    times = SampleTimes(checked(trace))
    all_s = times.between(0, 200)
    t_s = times.first_s + at * (times.last_s - times.first_s)
    assert times.first_at(t_s) == int(np.searchsorted(all_s, t_s))
    for index in (0, 57, 199):
        assert times.first_at(float(all_s[index])) == index


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"voltage_v": np.ones(9)}, "voltage has shape"),
        ({"digital": np.zeros(11, dtype=np.uint8)}, "digital has shape"),
        ({"dt_s": None}, "either a constant interval or sample times"),
        ({"dt_s": -1.0}, "above zero"),
        ({"current_a": np.array([1.0])}, "at least two samples"),
        ({"current_a": np.array([1.0] * 9 + [np.nan])}, "current of sample 9"),
        ({"dt_s": None, "t_s": np.array([0.0, *range(9)], dtype=np.float64)}, "time of sample 1"),
        ({"gaps": (Gap(4, 3), Gap(4, 1))}, "in order"),
        ({"gaps": (Gap(10, 1),)}, "inside the trace"),
        ({"clipped": 1, "clipped_at": ((9, 11),)}, "clipped spans"),
        ({"voltage_v": float("nan")}, "expected a number"),
    ],
)
def test_a_trace_that_is_none_is_named(changes: dict[str, object], says: str) -> None:
    checked(simple())
    with pytest.raises(TraceError, match=says):
        checked(simple(**changes))


def test_windows_with_gaps_clipping_or_outside_are_refused() -> None:
    times = SampleTimes(simple(clipped=2, clipped_at=((8, 10),)))
    check_window(times, "fine", 1.0, 1.25)
    check_window(times, "fine", 1.75, 1.95)
    with pytest.raises(GapError, match="3 samples missing"):
        check_window(times, "inference", 1.25, 1.9)
    with pytest.raises(GapError, match="3 samples missing"):  # a border within the gap
        check_window(times, "inference", 1.5, 1.9)
    with pytest.raises(OverRangeError, match="2 samples"):
        check_window(times, "inference", 1.75, 2.2)
    with pytest.raises(OutsideError, match="the trace covers"):
        check_window(times, "inference", 0.9, 1.2)
    with pytest.raises(OutsideError, match="no length"):
        check_window(times, "inference", 1.2, 1.2)
    with pytest.raises(OverRangeError, match="somewhere"):
        check_window(SampleTimes(simple(clipped=1)), "inference", 1.0, 1.1)


def test_a_thousandth_of_a_long_window_may_be_missing() -> None:
    for missing, allowed in ((9, True), (11, False)):
        trace = Trace("a", np.ones(10_000), 1.0, dt_s=1e-3, gaps=(Gap(5000, missing),))
        times = SampleTimes(trace)
        if allowed:
            check_window(times, "window", 0.0, 9.9, WINDOW_GAPS)
        else:
            with pytest.raises(GapError, match="at most 0.1%"):
                check_window(times, "window", 0.0, 9.9, WINDOW_GAPS)


def test_a_window_is_a_view_with_its_gaps_and_clipping() -> None:
    trace = simple(
        clipped=3, clipped_at=((1, 2), (5, 7)), digital=np.arange(10, dtype=np.uint8), voltage_v=np.arange(10.0)
    )
    part = checked(window(trace, 1.2, 1.8))
    assert part.current_a.tolist() == [3, 4, 5, 6]
    assert np.shares_memory(part.current_a, trace.current_a)
    assert part.gaps == (Gap(2, 3),)
    assert (part.clipped, part.clipped_at) == (1, ((3, 4),))
    assert SampleTimes(part).between(0, 4) == pytest.approx([1.2, 1.3, 1.7, 1.8])
    irregular = replace(trace, dt_s=None, gaps=(), t_s=SampleTimes(trace).between(0, 10))
    assert window(irregular, 1.2, 1.8).t_s == pytest.approx([1.2, 1.3, 1.7, 1.8])
    with pytest.raises(OutsideError):
        window(trace, 1.4, 1.6)


def test_the_integral_of_a_ramp_is_exact_with_partial_borders_and_gaps() -> None:
    """Power 3 t + 1 is a straight line: the trapezoid rule is exact, whatever the borders and gaps."""
    t_s = SampleTimes(Trace("a", np.zeros(50), 1.0, dt_s=0.1, gaps=(Gap(20, 5),))).between(0, 50)
    trace = Trace("a", (3 * t_s + 1) / 4, 4.0, dt_s=0.1, gaps=(Gap(20, 5),))
    for given_times in (trace, replace(trace, dt_s=None, gaps=(), t_s=t_s)):
        integrator = Integrator(SampleTimes(given_times))
        for start, end in ((0.0, 5.4), (0.03, 4.97), (1.0, 1.1), (1.02, 1.07), (1.95, 2.2), (2.11, 2.13)):
            assert integrator.integral(start, end) == pytest.approx(1.5 * (end**2 - start**2) + end - start)


def test_gain_and_offset_are_taken_out() -> None:
    trace = Trace("a", 1.02 * np.full(11, 0.5) + 0.01, 2.0, dt_s=0.1)
    assert Integrator(SampleTimes(trace), 1.02, 0.01).integral(0.0, 1.0) == pytest.approx(1.0)


def test_short_excursions_are_summed_up_and_longer_ones_are_not() -> None:
    """Spikes of 1, 2 and 3 samples of 5 W over 1 W are 6 samples * 5 W * 10 ms; a plateau of 4 samples is work."""
    power = np.ones(100)
    power[10] = power[20:22] = power[30:33] = power[50:54] = 6.0
    trace = Trace("a", power, 1.0, dt_s=0.01)
    found = Integrator(SampleTimes(trace)).moments(0.0, 0.99, spike_w=2.0)
    assert found.spikes_j == pytest.approx(6 * 5 * 0.01)
    assert found.step_squares_j2 == pytest.approx(8 * (5 * 0.01) ** 2)


def test_the_envelope_hides_no_spike() -> None:
    rng = np.random.default_rng(3)
    amperes = rng.normal(0.01, 0.001, 100_000)
    amperes[77_777] = 0.5
    trace = Trace("a", amperes, 2.0, dt_s=1e-5, gaps=(Gap(20_000, 40_000),))
    found = envelope(trace, 350)
    assert found.high.max() == pytest.approx(1.0)
    assert found.low.min() == pytest.approx(2.0 * amperes.min())
    assert (found.low <= found.mean).all()
    assert (found.mean <= found.high).all()
    # The gap from 0.2 s to 0.6 s of 1.4 s stays one: two sevenths of the columns.
    assert len(found.t_s) == pytest.approx(250, abs=2)
    assert not ((found.t_s > 0.21) & (found.t_s < 0.59)).any()
    part = envelope(trace, 10, 0.0, 0.1)
    assert part.t_s == pytest.approx(np.arange(10) * 0.01 + 0.005)
    with pytest.raises(OutsideError):
        envelope(trace, 10, 0.3, 0.4)


def test_an_envelope_by_hand() -> None:
    trace = Trace("a", np.array([1.0, 3.0, 2.0, 8.0, 5.0, 6.0]), 1.0, dt_s=1.0)
    found = envelope(trace, 2)  # columns 0 to 2.5 s and 2.5 to 5 s
    assert (found.low.tolist(), found.mean.tolist(), found.high.tolist()) == (
        [1, 5], pytest.approx([2, 19 / 3]), [3, 8],
    )  # fmt: skip


# --- on disk --------------------------------------------------------------------------------------------------------


def test_a_trace_comes_back_from_disk(tmp_path: Path) -> None:
    trace = simple(
        voltage_v=np.full(10, 2.5),
        digital=np.arange(10, dtype=np.uint8),
        clipped=1,
        clipped_at=((2, 3),),
        info=MeterInfo("PPK2", "1234"),
        raw="ppk2.bin",
        notes=("resynchronised once",),
    )
    again = load_trace(save_trace(trace, tmp_path / "a.trace"))
    assert isinstance(again.current_a, np.memmap)
    assert again.current_a.tolist() == trace.current_a.tolist()
    assert again.voltage_v.tolist() == [2.5] * 10  # type: ignore[union-attr]
    assert again.digital is not None
    assert again.digital.tolist() == list(range(10))
    for name in ("site", "dt_s", "t0_s", "gaps", "clipped", "clipped_at", "info", "raw", "notes"):
        assert getattr(again, name) == getattr(trace, name)
    irregular = replace(simple(), dt_s=None, gaps=(), t_s=np.cumsum(np.arange(1.0, 11.0)))
    assert load_trace(save_trace(irregular, tmp_path / "a.trace")).t_s == pytest.approx(irregular.t_s)


def test_a_recording_that_was_cut_off_says_so(tmp_path: Path) -> None:
    with TraceWriter(tmp_path / "a.trace") as writer:
        writer.append(current_a=np.ones(7))
    with pytest.raises(FormatError) as caught:
        load_trace(tmp_path / "a.trace")
    assert "after 7 samples" in str(caught.value.hint)
    with TraceWriter(tmp_path / "b.trace") as writer:
        writer.append(current_a=np.ones(7), digital=np.ones(7))
        with pytest.raises(TraceError, match="same columns"):
            writer.append(current_a=np.ones(7))
        with pytest.raises(TraceError, match="expected current_a"):
            writer.append(power=np.ones(7))


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_damaged_folder_raises_only_meter_errors(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = save_trace(simple(), tmp_path_factory.mktemp("damaged") / "a.trace")
    header = bytearray((path / HEADER).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        header[data.draw(st.integers(0, len(header) - 1))] = data.draw(st.integers(0, 255))
    (path / HEADER).write_bytes(bytes(header))
    try:
        load_trace(path)
    except MeterError as error:
        assert len(str(error).splitlines()) == 1


def test_a_long_trace_is_integrated_in_bounded_memory(tmp_path: Path) -> None:
    """Six million samples (a minute at 100 kS/s) as ten minutes would be: what is held does not grow with the trace."""
    peaks = []
    for minutes in (1, 2):
        with TraceWriter(tmp_path / f"{minutes}.trace") as writer:
            for _ in range(6 * minutes):
                writer.append(current_a=np.full(1_000_000, 0.01, dtype=np.float32))
            path = writer.finish(site="a", dt_s=1e-5, voltage_v=3.0)
        tracemalloc.start()
        trace = load_trace(path)
        integrator = Integrator(SampleTimes(trace))
        joules = [integrator.integral(start, start + 10.0) for start in np.arange(0.0, 59.0 * minutes, 10.0)]
        envelope(trace, 1000)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert sum(joules[:5]) == pytest.approx(50 * 0.03, rel=1e-6)
    assert peaks[1] < 1.1 * peaks[0]
    assert max(peaks) < 150e6
