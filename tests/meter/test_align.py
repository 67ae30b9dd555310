"""Alignment: edges, offset and skew against clocks that are known, and every wrong evidence by its name."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.errors import UnavailableError
from hil.meter.align import (
    METHODS,
    Evidence,
    HostClock,
    align,
    change_points,
    check_length,
    digital_edges,
    fit,
    same_clock,
)
from hil.meter.errors import AlignmentError, ExtraEdgeError, MissingEdgeError, StretchError, WindowError
from hil.meter.simulated import Faults, Scene, SimulatedMeter
from hil.meter.types import Trace

EDGES = (0.0, 0.1, 0.13, 0.2, 0.27, 0.4, 0.47, 0.7)


def recorded(faults: Faults, edges_s: Sequence[float] = EDGES, rate_hz: float = 100e3, trigger: bool = False) -> Trace:
    """A board that takes 10 and 30 mW in turn from edge to edge."""
    power = [10e-3, *(30e-3 if i % 2 == 0 else 10e-3 for i in range(len(edges_s)))]
    meter = SimulatedMeter(Scene([-1.0, *edges_s], power, edges_s[-1], tuple(edges_s)), faults, seed=5)
    meter.configure(rate_hz)
    meter.start("hardware" if trigger else "software")
    return meter.stop()


def levels(text: str, dt_s: float = 10e-6) -> Trace:
    digital = np.array([int(c) << 2 for c in text], dtype=np.uint8)
    return Trace("a", np.zeros(len(text)), 1.0, dt_s=dt_s, digital=digital)


# --- edges ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("0" * 10 + "1" * 10, [10]),
        ("0" * 10 + "1" * 10 + "0" * 10, [10, 20]),
        ("0" * 10 + "1" + "0" * 10, []),  # a glitch of one sample
        ("0" * 10 + "11" + "0" * 10, []),  # two samples are none either
        ("0" * 10 + "1111" + "0" * 10, []),  # 40 us do not hold for 50 us
        ("0" * 10 + "101011" + "1" * 10, [10]),  # bounces: the first change counts
        ("0" * 10 + "101011" + "1" * 10 + "01000" + "0" * 10, [10, 26]),
        ("1" * 20, []),
    ],
)
def test_edges_are_debounced(text: str, at: list[int]) -> None:
    assert digital_edges(levels(text), 2) == pytest.approx([(i - 0.5) * 10e-6 for i in at])


def test_slow_sampling_asks_for_three_samples() -> None:
    slow = levels("000" + "11" + "000" + "111" + "0000", dt_s=1e-3)
    assert digital_edges(slow, 2) == pytest.approx([7.5e-3, 10.5e-3])


def test_another_input_sees_nothing_and_a_wrong_one_is_refused() -> None:
    assert len(digital_edges(levels("0" * 9 + "1" * 9), 1)) == 0
    with pytest.raises(AlignmentError, match="no digital input 9"):
        digital_edges(levels("01"), 9)
    with pytest.raises(AlignmentError, match="no digital input 0"):
        digital_edges(Trace("a", np.zeros(4), 1.0, dt_s=1.0), 0)


# --- offset and skew ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ppm", [0.0, 40.0, -250.0, 20_000.0])
def test_offset_and_skew_of_known_clocks(ppm: float) -> None:
    ratio = 1 + ppm * 1e-6
    faults = Faults(clock_ratio=ratio, start_s=-0.2, t0_s=1000.0)
    edges = tuple(np.arange(0.0, 10.0, 0.37))
    found = align(recorded(faults, edges, rate_hz=20e3), Evidence(edges_s=edges))
    assert found.method == "digital"
    assert found.skew_ppm == pytest.approx(ppm, abs=4 * found.skew_sd_ppm)
    assert found.skew_sd_ppm < 5  # 50 us steps over 10 s with 27 edges
    for board_s in (0.0, 4.2, 9.9):
        truth = 1000.0 + ratio * (board_s + 0.2)
        assert abs(found.to_meter(board_s) - truth) < 3 * found.border_s
        assert found.to_board(found.to_meter(board_s)) == pytest.approx(board_s, abs=1e-9)
    assert "ppm" in found.describe()


@settings(max_examples=60, deadline=None)
@given(
    gaps=st.lists(st.floats(1e-3, 5.0), min_size=3, max_size=30),
    offset=st.floats(-1e4, 1e4),
    ppm=st.floats(-3e4, 3e4),
)
def test_a_line_is_found_exactly(gaps: list[float], offset: float, ppm: float) -> None:
    board = np.cumsum(gaps)
    meter = offset + (1 + ppm * 1e-6) * board
    found = fit("digital", board, meter, "test", 1e-6, 1e-6)
    assert found.to_meter(float(board[-1])) == pytest.approx(float(meter[-1]), abs=1e-8)
    assert found.skew_ppm == pytest.approx(ppm, abs=1e-3)


def test_the_stated_uncertainty_of_offset_and_skew_holds() -> None:
    """Edges read with steps of 100 us: over many draws the errors are as large as stated, or less."""
    rng = np.random.default_rng(8)
    board = np.arange(0.0, 2.0, 0.1)
    errors = []
    for _ in range(300):
        meter = board * (1 + 30e-6) + rng.uniform(-50e-6, 50e-6, len(board))
        found = fit("digital", board, meter, "test", 100e-6, 0.0)
        errors.append((found.skew - 30e-6) / np.sqrt(found.covariance[1][1]))
    assert 0.85 < float(np.std(errors)) < 1.1


def test_two_edges_are_enough_and_one_leaves_the_skew_open() -> None:
    two = align(recorded(Faults(clock_ratio=1.01), (0.0, 0.5)), Evidence(edges_s=(0.0, 0.5)))
    assert two.skew == pytest.approx(0.01, abs=1e-4)
    one = align(recorded(Faults(), (0.0,)), Evidence(edges_s=(0.0,)))
    assert one.skew == 0
    assert one.skew_sd_ppm == pytest.approx(100)


# --- wrong evidence -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [(0,), (3,), (7,), (2, 3), (0, 1), (6, 7)])
@pytest.mark.parametrize("ratio", [1.0, 4 / 3])
def test_missing_edges_are_named(lost: tuple[int, ...], ratio: float) -> None:
    with pytest.raises(MissingEdgeError) as caught:
        align(recorded(Faults(lost_edges=lost, clock_ratio=ratio)), Evidence(edges_s=EDGES))
    said = str(caught.value)
    assert f"{8 - len(lost)} edges in the trace, 8 on the board" in said
    assert all(f"{index} (board time {EDGES[index]:.6f} s)" in said for index in lost)
    assert ("1.333 times" in said) == (ratio > 1)


def test_no_edge_at_all_and_extra_edges_are_named() -> None:
    with pytest.raises(MissingEdgeError, match="no edge in the trace, 8 expected") as caught:
        align(recorded(Faults(lost_edges=tuple(range(8)))), Evidence(edges_s=EDGES))
    assert "wire" in str(caught.value.hint)
    with pytest.raises(ExtraEdgeError, match=r"extra edge at 0\.4\d+ s"):
        align(recorded(Faults(extra_edges_s=(0.33,))), Evidence(edges_s=EDGES))
    with pytest.raises(AlignmentError, match="missing edge 3 .*; extra edge at"):
        align(recorded(Faults(extra_edges_s=(0.33,), lost_edges=(3,))), Evidence(edges_s=EDGES))


@pytest.mark.parametrize(
    ("ratio", "says"), [(4 / 3, "meter's clock runs 1.333"), (2.0, "2.000"), (0.5, "board's clock")]
)
@pytest.mark.parametrize("edges", [EDGES, (0.0, 0.7)])
def test_stretched_clocks_are_named(ratio: float, says: str, edges: tuple[float, ...]) -> None:
    with pytest.raises(StretchError, match=says):
        align(recorded(Faults(clock_ratio=ratio), edges), Evidence(edges_s=edges))


def test_samples_lost_unseen_show_where_the_clock_jumps() -> None:
    with pytest.raises(StretchError, match="from edge 4 to 5 the meter counts 0.120"):
        align(recorded(Faults(gaps=((0.35, 1000),), unseen=True)), Evidence(edges_s=EDGES))


TIMES = st.lists(st.floats(-1e3, 1e3), max_size=12).map(sorted) | st.lists(st.floats(), max_size=12)


@settings(max_examples=300, deadline=None)
@given(board=TIMES, meter=TIMES)
def test_any_edges_give_a_line_or_an_alignment_error(board: list[float], meter: list[float]) -> None:
    try:
        found = fit("digital", board, meter, "test", 1e-5, 1e-6)
    except AlignmentError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert abs(found.skew) <= 0.05
        assert len(board) == len(meter)
        assert found.edges in (1, len(board))


def test_edges_out_of_order_are_refused() -> None:
    with pytest.raises(AlignmentError, match="in order of time"):
        align(recorded(Faults()), Evidence(edges_s=(0.1, 0.0)))


# --- the order of the evidence --------------------------------------------------------------------------------------


def test_the_best_evidence_decides_and_is_never_replaced_by_worse() -> None:
    trace = recorded(Faults(start_s=-0.5))
    everything = Evidence(
        edges_s=EDGES, trigger_s=0.0, uart=[(0.0, 0.5), (0.7, 1.2)], host=HostClock(offset_s=0.5, jitter_s=1e-4)
    )
    for method in METHODS:
        assert align(trace, everything, accept=METHODS[METHODS.index(method) :]).method == method
    blind = recorded(Faults(lost_edges=tuple(range(8))))
    with pytest.raises(MissingEdgeError):
        align(blind, everything)
    with pytest.raises(AlignmentError, match="nothing to align it by"):
        align(trace, Evidence())


def test_a_hardware_trigger_gives_the_offset() -> None:
    trace = recorded(Faults(t0_s=7.0), trigger=True)
    found = align(trace, Evidence(trigger_s=EDGES[0]))
    assert found.to_meter(EDGES[0]) == pytest.approx(7.0, abs=10e-6)


def test_uart_lines_with_a_constant_delay() -> None:
    rng = np.random.default_rng(2)
    board = np.arange(0.0, 5.0, 0.25)
    meter = 3.0 + 1.00005 * board + 260e-6 + rng.normal(0, 50e-6, len(board))
    evidence = Evidence(uart=list(zip(board, meter, strict=True)), uart_delay_s=260e-6, uart_sd_s=50e-6)
    found = align(Trace("a", np.zeros(9), 1.0, dt_s=1.0), evidence)
    assert found.method == "uart"
    assert found.to_meter(2.0) == pytest.approx(3.0 + 1.00005 * 2.0, abs=3 * found.border_s)
    assert found.border_s < 100e-6


@pytest.mark.parametrize("noise_a", [0.0, 0.5e-3])
def test_change_points_of_power_replace_a_wire(noise_a: float) -> None:
    pytest.importorskip("ruptures", reason="change points need ruptures")
    trace = recorded(Faults(noise_a=noise_a, start_s=-0.3, tail_s=0.3), rate_hz=50e3)
    found = align(trace, Evidence(edges_s=EDGES), accept=("change-point",))
    assert found.edges == 8
    for edge in EDGES:
        assert found.to_meter(edge) == pytest.approx(edge + 0.3, abs=100e-6)


def test_power_that_never_changes_has_no_change_points() -> None:
    pytest.importorskip("ruptures", reason="change points need ruptures")
    with pytest.raises(MissingEdgeError, match="never changes"):
        change_points(Trace("a", np.ones(1000), 1.0, dt_s=1.0), 2)
    with pytest.raises(AlignmentError, match="hold no 9 changes"):
        change_points(Trace("a", np.arange(20.0), 1.0, dt_s=1.0), 9)


def test_change_points_without_the_library_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ruptures", None)
    with pytest.raises(UnavailableError, match="ruptures") as caught:
        change_points(Trace("a", np.ones(1000), 1.0, dt_s=1.0), 2)
    assert "meters" in str(caught.value.hint)


def test_the_host_clock_is_refused_for_short_windows() -> None:
    trace = Trace("a", np.zeros(9), 1.0, dt_s=1.0)
    found = align(trace, Evidence(host=HostClock(offset_s=2.0, jitter_s=1e-3)))
    assert found.border_s == pytest.approx(1e-3)
    check_length(found, "inference", 0.101)
    with pytest.raises(WindowError, match="needs 100 ms"):
        check_length(found, "inference", 0.099)
    with pytest.raises(AlignmentError, match="without jitter"):
        align(trace, Evidence(host=HostClock(0.0, 0.0)))


def test_the_same_clock_needs_no_evidence() -> None:
    found = same_clock(1e-6)
    assert found.to_meter(3.25) == 3.25
    assert found.border_s == pytest.approx(1e-6)
