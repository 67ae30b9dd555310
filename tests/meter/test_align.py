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
    lap_lines,
    same_clock,
    uart_evidence,
)
from hil.meter.errors import AlignmentError, ExtraEdgeError, MissingEdgeError, StretchError, WindowError
from hil.meter.simulated import Faults, Scene, SimulatedMeter
from hil.meter.types import Line, Trace

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


# --- UART lines -----------------------------------------------------------------------------------------------------


def heard(*lines: tuple[float, str]) -> Trace:
    return Trace("a", np.zeros(9), 1.0, dt_s=1.0, lines=tuple(Line(t_s, text) for t_s, text in lines))


def printed(
    laps_us: Sequence[int], clock: Clock, *, share: float, buffered: bool, baud: int = 115_200, step_s: float = 0.0
) -> Trace:
    """A board that prints two lines and its laps; the meter stamps each line at ``share`` of its duration.

    Without a buffer the board reads its clock when the last line is out; with one it reads it before they are.
    """
    free_s, lines = -1e9, []
    for us in laps_us:
        read_s = clock(us / 1e6)
        before = ("m-warmup-done", "m-infer-start-100") if us == laps_us[0] else ()
        wait_s = sum(len(text) + 2 for text in before) * 10 / baud
        free_s = max(free_s, read_s - (0.0 if buffered else wait_s))
        for text in (*before, f"m-lap-us-{us}"):
            start_s, free_s = free_s, free_s + (len(text) + 2) * 10 / baud
            stamp_s = start_s + share * (free_s - start_s)
            lines.append((round(stamp_s / step_s) * step_s if step_s else stamp_s, text))
    return heard(*lines)


class Clock:
    """Meter time of a board's time."""

    def __init__(self, offset_s: float, ppm: float) -> None:
        self.offset_s, self.ratio = offset_s, 1 + ppm * 1e-6

    def __call__(self, board_s: float) -> float:
        return self.offset_s + self.ratio * board_s


def test_laps_are_whole_lines() -> None:
    trace = heard(
        (1.0, "m-lap-us-1500000\r\n"),
        (2.0, " m-lap-us-2 "),
        (3.0, "m-lap-us-"),
        (4.0, "xm-lap-us-4"),
        (5.0, "m-lap-us-5?7"),
        (6.0, "m-laps-[1,2]"),
        (7.0, "m-lap-us-\u0664"),
        (8.0, f"m-lap-us-{2**64}"),
        (9.0, "m-lap-us-" + "9" * 21),
    )
    assert lap_lines(trace) == ((1.5, 1.0), (2e-6, 2.0), (2**64 / 1e6, 8.0))
    assert lap_lines(heard()) == ()


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize("step_s", [0.0, 1e-3])
@pytest.mark.parametrize("baud", [115_200, 9_600])
def test_heard_laps_hold_the_truth_wherever_the_stamps_are(
    share: float, buffered: bool, step_s: float, baud: int
) -> None:
    clock, laps_us = Clock(offset_s=-17.25, ppm=120.0), (98_765_432, 108_900_001)
    evidence = uart_evidence(
        printed(laps_us, clock, share=share, buffered=buffered, baud=baud, step_s=step_s), baud, laps_us
    )
    assert evidence is not None
    found = align(heard(), evidence, ("uart",))
    assert found.edges == 2
    # 20 characters of ten bits, or 19: half of it is the delay, and unknown.
    line_s = 19.5 * 10 / baud
    assert evidence.uart_delay_s == pytest.approx(line_s / 2)
    assert found.common_s >= line_s / 2
    half_s = (laps_us[1] - laps_us[0]) / 2e6
    border_s = 1.645 * np.hypot(found.border_s, found.skew_sd_ppm * 1e-6 * half_s)
    for us in laps_us:
        assert abs(found.to_meter(us / 1e6) - clock(us / 1e6)) < border_s
    assert abs(found.skew_ppm - 120) < 1.645 * found.skew_sd_ppm


def test_what_delays_a_stamp_by_hand() -> None:
    """At 9600 baud a character takes 10 / 9600 s.  Stamps at the first start bit, a board with a buffer."""
    char_s = 10 / 9600
    laps_us = (1_000_000, 20_000_000)
    text = [f"m-lap-us-{us}" for us in laps_us]  # 16 and 17 characters, 18 and 19 with the line end
    queued = 1.0 + 9 * char_s  # behind "m-ready"
    evidence = uart_evidence(heard((1.0, "m-ready"), (queued, text[0]), (20.0, text[1])), 9600, laps_us)
    assert evidence is not None
    assert [board for board, _ in evidence.uart] == [1.0, 20.0]
    assert evidence.uart_delay_s == evidence.uart_common_sd_s == pytest.approx(18.5 * char_s / 2)
    # Half of the nine characters that it may have waited, and half of the half character by which it is shorter.
    assert evidence.uart[0][1] == pytest.approx(queued - 4.5 * char_s + 0.25 * char_s)
    assert evidence.uart[1][1] == pytest.approx(20.0 - 0.25 * char_s)
    assert evidence.uart_sd_s == pytest.approx(char_s * np.sqrt(4.5**2 + 0.5**2 + 1 / 12))
    # With a pause before it the lap waited for nothing.
    alone = uart_evidence(heard((0.9, "m-ready"), (1.00001, text[0]), (20.0, text[1])), 9600, laps_us)
    assert alone is not None
    assert alone.uart_sd_s == pytest.approx(np.hypot(char_s * np.sqrt(0.5**2 + 1 / 12), 1e-5 / 12**0.5))


def test_laps_of_others_are_left_out_and_the_last_of_repeated_ones_count() -> None:
    laps_us = (5_000_000, 6_000_000)
    trace = heard(
        (1.0, "m-lap-us-1000000"),  # a handshake
        (2.0, "m-lap-us-6000000"),
        (3.0, "m-lap-us-5000000"),
        (4.0, "m-lap-us-6000000"),
        (7.000007, "m-lap-us-5000000"),
        (8.000007, "m-lap-us-6000000"),
        (9.0, "m-lap-us-9000000"),
        (9.5, "m-lap-us-5000000"),  # a timestamp that says the same
    )
    evidence = uart_evidence(trace, 115_200, laps_us)
    assert evidence is not None
    assert [stamp for _, stamp in evidence.uart] == pytest.approx([7.000007, 8.000007])


def test_no_line_is_no_evidence_and_a_missing_lap_is_an_error() -> None:
    laps_us = (5_000_000, 6_000_000)
    assert uart_evidence(heard(), 115_200, laps_us) is None
    assert uart_evidence(heard((1.0, "m-ready")), 115_200, ()) is None
    with pytest.raises(
        MissingEdgeError, match="m-lap-us-6000000 is not among the 2 lines .*, 1 of them laps"
    ) as caught:
        uart_evidence(heard((5.0, "m-lap-us-5000000"), (6.0, "m-lap-us-6000?00")), 115_200, laps_us)
    assert "baud rate" in str(caught.value.hint)
    with pytest.raises(MissingEdgeError, match="m-lap-us-5000000 is not among"):  # in the wrong order
        uart_evidence(heard((5.0, "m-lap-us-6000000"), (6.0, "m-lap-us-5000000")), 115_200, laps_us)
    with pytest.raises(MissingEdgeError, match="the 1 lines that the meter heard; the last was '\\\\x80'"):
        uart_evidence(heard((5.0, "\x80")), 115_200, laps_us)
    with pytest.raises(AlignmentError, match="0 baud"):
        uart_evidence(heard((5.0, "m-lap-us-5000000")), 0, laps_us)
    stretched = uart_evidence(heard((5.0, "m-lap-us-5000000"), (6.4, "m-lap-us-6000000")), 115_200, laps_us)
    assert stretched is not None
    with pytest.raises(StretchError, match="meter's clock runs 1.400"):
        align(heard(), stretched)


@settings(max_examples=200, deadline=None)
@given(
    lines=st.lists(
        st.tuples(st.floats(-1e6, 1e6), st.text(max_size=30) | st.integers(0, 9).map(lambda n: f"m-lap-us-{n}")),
        max_size=12,
    ).map(sorted),
    laps=st.lists(st.integers(0, 9), max_size=4, unique=True).map(sorted),
)
def test_any_lines_give_evidence_or_an_alignment_error(lines: list[tuple[float, str]], laps: list[int]) -> None:
    trace = heard(*lines)
    try:
        evidence = uart_evidence(trace, 115_200, laps)
        if evidence is not None:
            assert [board for board, _ in evidence.uart] == [us / 1e6 for us in laps]
            align(trace, evidence)
    except AlignmentError as error:
        assert len(str(error).splitlines()) == 1


def test_the_common_delay_is_in_the_borders() -> None:
    pairs = [(0.0, 3.0), (10.0, 13.0)]
    sharp = align(heard(), Evidence(uart=pairs, uart_sd_s=1e-6))
    unsure = align(heard(), Evidence(uart=pairs, uart_sd_s=1e-6, uart_common_sd_s=2e-3))
    assert (unsure.offset_s, unsure.skew) == (sharp.offset_s, sharp.skew)
    assert unsure.common_s == pytest.approx(2e-3, rel=1e-3)
    assert unsure.border_s > 100 * sharp.border_s
    assert unsure.skew_sd_ppm == sharp.skew_sd_ppm  # what is common to both is not in their distance
    one = align(heard(), Evidence(uart=pairs[:1], uart_sd_s=1e-6, uart_common_sd_s=2e-3))
    assert one.border_s == pytest.approx(2e-3, rel=1e-3)


# --- the others -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trigger_s", [0.3, 1e5 / 3, -1e5 / 3])
@pytest.mark.parametrize("t0_s", [0.0, 7.0, 1e4 / 7])
def test_a_window_from_the_trigger_on_begins_in_the_trace(trigger_s: float, t0_s: float) -> None:
    """However the sums round."""
    trace = Trace("a", np.zeros(9), 1.0, dt_s=1e-3, t0_s=t0_s)
    found = align(trace, Evidence(trigger_s=trigger_s))
    assert 0 <= found.to_meter(trigger_s) - t0_s < 1e-10


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
