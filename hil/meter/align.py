"""Bringing a board's clock and a meter's together: where in the meter's time a phase begins and ends.

Both clocks count seconds, each with its own zero and its own rate: meter = offset + (1 + skew) * board.  Two or more
moments known in both give offset and skew by least squares.  The best evidence decides (``METHODS``); evidence that is
there and wrong is an error, never a reason to fall back silently to a worse one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import product
from typing import Literal

import numpy as np
import numpy.typing as npt

from hil.errors import UnavailableError
from hil.meter.errors import AlignmentError, ExtraEdgeError, MissingEdgeError, StretchError, WindowError
from hil.meter.trace import CHUNK, Integrator, SampleTimes, voltage_at
from hil.meter.types import Float, Trace
from hil.units import format_si

Method = Literal["digital", "trigger", "uart", "change-point", "host clock"]
METHODS: tuple[Method, ...] = ("digital", "trigger", "uart", "change-point", "host clock")  # the best first

HOLD_S = 50e-6  # a level counts once it has held for so long (MLPerf's EnergyRunner)
PULSE_SAMPLES = 3  # and for more than two samples
STRETCH = 0.05  # clocks that differ by more: no oscillator does (an untuned RC one is within 3 %)
UNKNOWN_SKEW = 100e-6  # one sigma of a skew that was not measured: two crystals of 50 ppm each, and some
CRYSTALS = 500e-6  # two crystals differ by less: beyond it is an RC oscillator, or samples were lost unseen
BENT = 20e-6  # of the span: how far oscillators that warm up may leave the line
HOST_JITTERS = 100  # a window timed by the host's clock must be that many times its jitter
_TRANSITIONS = 1_000_000  # more on one input is a wire that floats
_MATCHED = 4  # so many edges may be missing or extra and still be named one by one
_DISTINCT_S, _LONGEST_S = 1e-9, 1e12  # edges nearer to each other, and times beyond, are no measurements
_COARSE = 2000  # samples that the change-point search looks at


@dataclass(frozen=True, slots=True)
class HostClock:
    """The host's clock on both sides: meter time = board time + ``offset_s``, to ``jitter_s`` (one sigma)."""

    offset_s: float
    jitter_s: float


@dataclass(frozen=True)
class Evidence:
    """What is known about both clocks.

    ``edges_s``: board times at which the board changed its line (or its power), ascending.  ``trigger_s``: board time
    of the edge that started the meter.  ``uart``: pairs of the board time in a line and the meter's stamp of that line.
    The delay is ``uart_delay_s``, give or take ``uart_common_sd_s`` for all alike and ``uart_sd_s`` for each by itself
    (one sigma each); ``uart_evidence`` finds them all.
    """

    edges_s: Sequence[float] = ()
    channel: int = 0
    trigger_s: float | None = None
    uart: Sequence[tuple[float, float]] = ()
    uart_delay_s: float = 0.0
    uart_sd_s: float = 100e-6
    uart_common_sd_s: float = 0.0
    host: HostClock | None = None
    board_resolution_s: float = 1e-6


@dataclass(frozen=True)
class Alignment:
    """meter time = ``offset_s + (1 + skew) * board time``, and how sure that is.

    ``covariance`` (2 x 2, of the offset at board time ``pivot_s`` and of the skew) moves all borders together;
    ``common_s`` too; ``jitter_s`` moves each border by itself.  All are standard uncertainties.
    ``residual_s`` is the largest distance of an edge from the line.  ``min_window_s``: shorter ones are refused.
    """

    method: Method | None
    offset_s: float
    skew: float
    edges: int
    pivot_s: float = 0.0
    covariance: tuple[tuple[float, float], tuple[float, float]] = ((0.0, 0.0), (0.0, 0.0))
    common_s: float = 0.0
    jitter_s: float = 0.0
    residual_s: float = 0.0
    min_window_s: float = 0.0

    @property
    def skew_ppm(self) -> float:
        return self.skew * 1e6

    @property
    def skew_sd_ppm(self) -> float:
        return float(np.sqrt(self.covariance[1][1])) * 1e6

    @property
    def border_s(self) -> float:
        """Standard uncertainty of one border, at the middle of the edges."""
        return float(np.sqrt(self.covariance[0][0] + self.common_s**2 + self.jitter_s**2))

    def to_meter(self, board_s: float) -> float:
        return self.offset_s + (1.0 + self.skew) * board_s

    def to_board(self, meter_s: float) -> float:
        return (meter_s - self.offset_s) / (1.0 + self.skew)

    def describe(self) -> str:
        """One line for a record or a terminal."""
        if self.method is None:
            return "phases in the meter's own time"
        return (
            f"{self.method}, {self.edges} edges, skew {self.skew_ppm:+.1f} ± {self.skew_sd_ppm:.1f} ppm, "
            f"border ± {format_si(self.border_s, 's')}"
        )


def same_clock(resolution_s: float = 0.0) -> Alignment:
    """For phases given in the meter's own time, each border to ``resolution_s`` (one sigma)."""
    return Alignment(None, 0.0, 0.0, 0, jitter_s=resolution_s)


def align(trace: Trace, evidence: Evidence, accept: Sequence[Method] = METHODS) -> Alignment:
    """The alignment by the best accepted method that there is evidence for.

    Raises AlignmentError (or MissingEdgeError, ExtraEdgeError, StretchError) where the evidence is wrong or there is
    none, UnavailableError where the change-point search lacks its library.
    """
    methods: dict[Method, tuple[bool, Callable[[Trace, Evidence], Alignment]]] = {
        "digital": (trace.digital is not None and len(evidence.edges_s) > 0, _by_digital),
        "trigger": (evidence.trigger_s is not None, _by_trigger),
        "uart": (len(evidence.uart) > 0, _by_uart),
        "change-point": (len(evidence.edges_s) > 1, _by_change_points),
        "host clock": (evidence.host is not None, _by_host),
    }
    for method in METHODS:
        there, run = methods[method]
        if there and method in accept:
            return run(trace, evidence)
    raise AlignmentError(
        f"trace at {trace.site}: nothing to align it by ({', '.join(accept) or 'no method'} accepted)",
        hint="wire a pin of the board to a digital input of the meter, or give phases in the meter's own time",
    )


# --- edges ----------------------------------------------------------------------------------------------------------


def digital_edges(trace: Trace, channel: int, hold_s: float = HOLD_S) -> Float:
    """Meter times at which a digital input changed for good, shape ``[edges]``.

    An edge is where the level first changed; bouncing for ``hold_s`` after it is ignored, and pulses that are gone
    again by then, or of less than three samples, are no edges.  Raises AlignmentError.
    """
    if trace.digital is None or not 0 <= channel < 8:
        raise AlignmentError(f"trace at {trace.site}: no digital input {channel}", hint="inputs count from 0 to 7")
    times = SampleTimes(trace)
    changes: list[npt.NDArray[np.int64]] = []
    count = 0
    for start in range(0, len(trace.digital), CHUNK):
        levels = (np.asarray(trace.digital[start : start + CHUNK + 1]) >> channel) & 1
        changes.append(np.flatnonzero(np.diff(levels.astype(np.int8))) + start + 1)
        count += len(changes[-1])
        if count > _TRANSITIONS:
            raise AlignmentError(
                f"trace at {trace.site}: digital input {channel} changes more than {_TRANSITIONS} times",
                hint="an input that floats does that: check its wire and the common ground",
            )
    index = np.concatenate(changes)
    hold_s = max(hold_s, (PULSE_SAMPLES - 0.5) * times.interval_s)
    at_s = np.array([_between(times, int(i)) for i in index])
    # Levels alternate: after change k it is the first level where k is odd.
    ends = np.searchsorted(at_s, at_s + hold_s) if len(at_s) else np.empty(0, dtype=np.int64)
    found: list[float] = []
    k = 0
    while k < len(at_s):
        last = int(ends[k])  # changes k to last - 1 happen within the hold time
        if (last - k) % 2 == 1:
            found.append(float(at_s[k]))
        k = last
    return np.array(found)


def _between(times: SampleTimes, index: int) -> float:
    """The middle between a sample and the one before: where a change between them most likely was."""
    return float(times.between(index - 1, index + 1).mean())


def _by_digital(trace: Trace, evidence: Evidence) -> Alignment:
    found = digital_edges(trace, evidence.channel)
    where = f"digital input {evidence.channel}"
    return fit("digital", evidence.edges_s, found, where, SampleTimes(trace).interval_s, evidence.board_resolution_s)


def _by_trigger(trace: Trace, evidence: Evidence) -> Alignment:
    """The first sample is the trigger's; how both clocks run is not known beyond what oscillators do."""
    assert evidence.trigger_s is not None
    times = SampleTimes(trace)
    first_s = times.first_s
    sd_s = float(np.hypot(times.interval_s, evidence.board_resolution_s)) / 12**0.5
    found = _offset_only("trigger", evidence.trigger_s, first_s, sd_s)
    while found.to_meter(evidence.trigger_s) < first_s:  # rounded: a window from the trigger on must begin in the trace
        found = replace(found, offset_s=float(np.nextafter(found.offset_s, np.inf)))
    return found


def _by_uart(trace: Trace, evidence: Evidence) -> Alignment:
    board, meter = (np.array(column, dtype=np.float64) for column in zip(*evidence.uart, strict=True))
    delayed = meter - evidence.uart_delay_s
    step_s = evidence.uart_sd_s * 12**0.5  # of a uniform distribution with that spread
    found = fit("uart", board, delayed, "UART lines", step_s, evidence.board_resolution_s)
    return replace(found, common_s=float(np.hypot(found.common_s, evidence.uart_common_sd_s)))


def _by_change_points(trace: Trace, evidence: Evidence) -> Alignment:
    found = change_points(trace, len(evidence.edges_s))
    # A change point is as sharp as the noise allows, at best one sample: ask for no more than three.
    step_s = 3 * SampleTimes(trace).interval_s
    return fit("change-point", evidence.edges_s, found, "power", step_s, evidence.board_resolution_s)


def _by_host(trace: Trace, evidence: Evidence) -> Alignment:
    assert evidence.host is not None
    jitter_s = evidence.host.jitter_s
    if jitter_s <= 0:
        raise AlignmentError("a host clock without jitter", hint="measure it: no host stamps without")
    return Alignment(
        "host clock",
        evidence.host.offset_s,
        0.0,
        0,
        covariance=((0.0, 0.0), (0.0, UNKNOWN_SKEW**2)),
        jitter_s=jitter_s,
        min_window_s=HOST_JITTERS * jitter_s,
    )


# --- UART lines -----------------------------------------------------------------------------------------------------

_LAP = re.compile(r"m-lap-us-([0-9]{1,20})")
_BITS = 10  # of a character on the line: start, eight data, stop
_LINE_END = 2  # characters: carriage return and line feed
_STAMP_STEPS_S = (1e-2, 1e-3, 1e-4, 1e-5)  # in which a server may count


def lap_lines(trace: Trace) -> tuple[tuple[float, float], ...]:
    """The laps among the lines that the meter heard: the board's time in the line, and the meter's stamp of it."""
    return tuple((us / 1e6, trace.lines[index].t_s) for index, us in _laps(trace))


def uart_evidence(trace: Trace, baud: int, laps_us: Sequence[int]) -> Evidence | None:
    """The evidence in the lines that the meter heard; None where it heard none or no laps are known.

    ``laps_us``: the laps of the ``infer`` to align by, ascending, in microseconds of the board's clock; lines of others
    are left out, of repeated ones the last count.  Raises MissingEdgeError where lines were heard and a lap is not
    among them, AlignmentError for a baud rate that is none.

    What delays a stamp against the board's reading of its clock:

    ======= ===========================================================================================================
    common  the stamp is between the first start bit and the last stop bit, where no instrument says: at a share f of
            the line's duration D (8N1, CR LF), the same for all.  D / 2 is taken off, and the standard uncertainty is
            D / 2 too: f is rather 0 or 1 than between (1.645 * D / sqrt(12) would not hold either of both ends)
    length  lines of different length differ by f times the difference; a half is taken off
    queue   a line right behind others waits until they are out, if the UART has a buffer: between 0 and their
            duration; a half is taken off, and is the standard uncertainty
    stamps  the step in which the stamps count, as far as they show it, and one character: each / sqrt(12)
    ======= ===========================================================================================================
    """
    if not laps_us or not trace.lines:
        return None
    if baud <= 0:
        raise AlignmentError(f"UART lines at {baud} baud", hint="the board's baud rate, such as 115200")
    character_s = _BITS / baud
    length_s = [(len(line.text.strip()) + _LINE_END) * character_s for line in trace.lines]
    step_s = _stamp_step_s(trace)
    places = _places(trace, laps_us)
    waits_s = np.array([_queue_s(trace, place, length_s, step_s + 2 * character_s) for place in places])
    own_s = np.array([length_s[place] for place in places])
    common_s = float(own_s.mean())
    stamps_s = np.array([trace.lines[place].t_s for place in places]) - waits_s / 2 - (own_s - common_s) / 2
    spread_s = [step_s / 12**0.5, character_s / 12**0.5, float(waits_s.max()) / 2, float(np.ptp(own_s)) / 2]
    return Evidence(
        uart=[(us / 1e6, float(stamp_s)) for us, stamp_s in zip(laps_us, stamps_s, strict=True)],
        uart_delay_s=common_s / 2,
        uart_sd_s=float(np.linalg.norm(spread_s)),
        uart_common_sd_s=common_s / 2,
    )


def _laps(trace: Trace) -> list[tuple[int, int]]:
    """Which lines are laps, and their microseconds."""
    found = ((index, _LAP.fullmatch(line.text.strip())) for index, line in enumerate(trace.lines))
    return [(index, int(match[1])) for index, match in found if match is not None]


def _places(trace: Trace, laps_us: Sequence[int]) -> list[int]:
    """Which lines have these laps: the last of each that comes before the next one.  Raises MissingEdgeError."""
    heard = _laps(trace)
    places: list[int] = []
    for us in reversed(laps_us):
        matching = [index for index, found in heard if found == us and (not places or index < places[-1])]
        places += matching[-1:]
        if not matching:
            missing = f"m-lap-us-{us} is not among the {len(trace.lines)} lines that the meter heard"
            near = f", {len(heard)} of them laps" if heard else f"; the last was {trace.lines[-1].text.strip()[:40]!r}"
            raise MissingEdgeError(
                f"trace at {trace.site}: {missing}{near}",
                hint="check the baud rate, the wire from the board's TX to the meter's RX, and the ground",
            )
    return places[::-1]


def _queue_s(trace: Trace, place: int, length_s: Sequence[float], slack_s: float) -> float:
    """The duration of the lines right before a line, without a pause that the stamps would show."""
    waited_s = 0.0
    for index in range(place, 0, -1):
        apart_s = trace.lines[index].t_s - trace.lines[index - 1].t_s
        if apart_s > max(length_s[index], length_s[index - 1]) + slack_s:
            break
        waited_s += length_s[index - 1]
    return waited_s


def _stamp_step_s(trace: Trace) -> float:
    """The step in which the stamps of all lines count; 0 where it is not to be seen."""
    stamps_s = np.array([line.t_s for line in trace.lines])
    for step_s in _STAMP_STEPS_S:
        counts = stamps_s / step_s
        if bool((np.abs(counts - np.rint(counts)) < 1e-3).all()):
            return step_s
    return 0.0


# --- the line -------------------------------------------------------------------------------------------------------


def fit(
    method: Method,
    board_s: Sequence[float] | Float,
    meter_s: Sequence[float] | Float,
    where: str,
    meter_step_s: float,
    board_step_s: float,
) -> Alignment:
    """Offset and skew from the same edges in both clocks, each read to its step.

    An edge further from the line than the steps explain, or another number of edges, raises MissingEdgeError or
    ExtraEdgeError that names them; a slope that no oscillator has raises StretchError.
    """
    board, meter = np.asarray(board_s, dtype=np.float64), np.asarray(meter_s, dtype=np.float64)
    if any(not (np.abs(side) < _LONGEST_S).all() or (np.diff(side) <= _DISTINCT_S).any() for side in (board, meter)):
        raise AlignmentError(f"{where}: edges must be in order of time, each later than the one before, and finite")
    if len(meter) == 0:
        raise MissingEdgeError(
            f"{where}: no edge in the trace, {len(board)} expected", hint="check the wire, the ground and the channel"
        )
    reach_s = 5 * (meter_step_s + board_step_s)
    if len(board) != len(meter):
        raise _unmatched(board, meter, where, reach_s)
    edge_sd_s = meter_step_s / 12**0.5
    board_sd_s = board_step_s / 12**0.5
    if max(np.ptp(board), np.ptp(meter)) <= reach_s:  # one edge, or too near to each other to tell the skew
        return _offset_only(method, float(board[0]), float(meter[0]), float(np.hypot(edge_sd_s, board_sd_s)))
    pivot = float(board.mean())
    x = np.column_stack([np.ones_like(board), board - pivot])
    (at_pivot, slope), *_ = np.linalg.lstsq(x, meter, rcond=None)
    residual = meter - x @ np.array([at_pivot, slope])
    if len(board) > 2 and float(np.abs(residual).max()) > max(reach_s, BENT * float(np.ptp(meter))):
        raise _unmatched(board, meter, where, reach_s)
    if abs(slope - 1) > STRETCH:
        raise _stretched(float(slope), where)
    # Edges in step with the sampling all err alike: averaging does not help against that (``common_s``).
    spare = len(board) - 2
    scatter = float(residual @ residual) / spare if spare > 0 else 0.0
    variance = max(scatter, edge_sd_s**2 + board_sd_s**2)
    covariance = variance * np.linalg.inv(x.T @ x)
    return Alignment(
        method,
        offset_s=float(at_pivot - slope * pivot),
        skew=float(slope - 1),
        edges=len(board),
        pivot_s=pivot,
        covariance=(
            (float(covariance[0, 0]), float(covariance[0, 1])),
            (float(covariance[1, 0]), float(covariance[1, 1])),
        ),
        common_s=float(np.hypot(edge_sd_s, _unseen_s(board, float(slope - 1), float(covariance[1, 1]) ** 0.5))),
        # What the meter's steps do not explain is the board's: it moves the borders of phases too.
        jitter_s=float(np.sqrt(max(scatter - edge_sd_s**2, 0.0) + board_sd_s**2)),
        residual_s=float(np.abs(residual).max()),
    )


def _unseen_s(board_s: Float, skew: float, skew_sd: float) -> float:
    """How far two edges may mislead: samples lost unseen between them look like a skew, and move what lies between."""
    return abs(skew) * float(np.ptp(board_s)) / 2 if len(board_s) == 2 and no_crystals(skew, skew_sd) else 0.0


def no_crystals(skew: float, skew_sd: float) -> bool:
    """Whether clocks differ by more than two crystals do, and by more than is uncertain."""
    return abs(skew) > max(CRYSTALS, 3 * skew_sd)


def _offset_only(method: Method, board_s: float, meter_s: float, sd_s: float) -> Alignment:
    """One moment known in both clocks, the skew unknown."""
    return Alignment(
        method,
        offset_s=meter_s - board_s,
        skew=0.0,
        edges=1,
        pivot_s=board_s,
        covariance=((sd_s**2, 0.0), (0.0, UNKNOWN_SKEW**2)),
        jitter_s=sd_s,
    )


def _stretched(slope: float, where: str) -> StretchError:
    fast, slow = ("meter", "board") if slope > 1 else ("board", "meter")
    return StretchError(
        f"{where}: the {fast}'s clock runs {max(slope, 1 / slope):.3f} times as fast as the {slow}'s; "
        f"oscillators differ by less than {STRETCH:.0%}",
        hint="a wrong sampling rate, a wrong clock frequency in the firmware, or samples lost unseen",
    )


def _unmatched(board: Float, meter: Float, where: str, reach_s: float) -> AlignmentError:
    """The error that says which edges are missing or extra (and that the clocks are stretched, where they are)."""
    lost, extra, slope = _consensus(board, meter, reach_s)
    if len(board) == len(meter) and lost == extra:
        return _jumped(board, meter, where)
    parts = [f"{where}: {len(meter)} edges in the trace, {len(board)} on the board"]
    if lost:
        parts.append(f"missing edge {', '.join(f'{i} (board time {board[i]:.6f} s)' for i in lost)}")
    if extra:
        parts.append(f"extra edge at {', '.join(f'{meter[i]:.6f} s' for i in extra)} of the meter's clock")
    if not lost and not extra:
        parts.append("which ones cannot be told")
    if slope is not None and abs(slope - 1) > STRETCH:
        parts.append(f"and one clock runs {max(slope, 1 / slope):.3f} times as fast as the other")
    kind: type[AlignmentError] = MissingEdgeError if len(meter) < len(board) else ExtraEdgeError
    if len(meter) == len(board) or (lost and extra):
        kind = AlignmentError
    return kind(
        "; ".join(parts), hint="check wire and ground, the channel, and that pulses are longer than the debounce"
    )


def _jumped(board: Float, meter: Float, where: str) -> StretchError:
    """As many edges as expected, but at times that no clock explains: the interval that is most wrong."""
    ratio = np.diff(meter) / np.diff(board)
    worst = int(np.argmax(np.abs(np.log(ratio))))
    return StretchError(
        f"{where}: all {len(board)} edges are there, but from edge {worst} to {worst + 1} the meter counts "
        f"{np.diff(meter)[worst]:.6f} s and the board {np.diff(board)[worst]:.6f} s ({ratio[worst]:.3f} times)",
        hint="samples lost unseen, or a clock that stops while the board sleeps",
    )


def _consensus(board: Float, meter: Float, reach_s: float) -> tuple[list[int], list[int], float | None]:
    """Edges of either side without a partner on the line that pairs most of them, and the line's slope.

    Every line through one of the first and one of the last few edges of both sides is tried; among those that pair
    equally many the one nearest to equal clocks wins.  Nothing is named where less than two thirds find partners.
    """
    best: tuple[int, float] = (0, -np.inf)
    named: tuple[list[int], list[int], float | None] = ([], [], None)
    ends = [range(min(_MATCHED + 1, len(side) - 1)) for side in (board, meter)]
    for (i, j), (k, m) in product(product(*ends), product(*ends)):
        b0, m0, b1, m1 = board[i], meter[j], board[len(board) - 1 - k], meter[len(meter) - 1 - m]
        if b1 <= b0 or m1 <= m0:
            continue
        slope = float((m1 - m0) / (b1 - b0))
        expected = m0 + slope * (board - b0)
        near = np.clip(np.searchsorted(meter, expected), 1, len(meter) - 1)
        near -= expected - meter[near - 1] < meter[near] - expected
        paired = np.abs(meter[near] - expected) <= reach_s
        score = (int(paired.sum()), -abs(np.log(slope)))
        if score > best:
            best = score
            partners = set(near[paired].tolist())
            named = (
                np.flatnonzero(~paired).tolist(),
                [index for index in range(len(meter)) if index not in partners],
                slope,
            )
    if best[0] < 3 or best[0] < 2 / 3 * max(len(board), len(meter)):
        return [], [], None
    return named


# --- change points --------------------------------------------------------------------------------------------------


def change_points(trace: Trace, count: int) -> Float:
    """Meter times of the ``count`` largest changes of mean power, shape ``[count]``.

    The search (``ruptures``: kernel change-point detection with a linear kernel, exact for a given number of changes)
    sees means of blocks; each change is then put where the two means at full rate fit best.
    Raises AlignmentError for traces without such changes, UnavailableError without the library.
    """
    try:
        ruptures = import_module("ruptures")
    except ImportError as error:
        raise UnavailableError("change-point detection needs ruptures", hint="pip install 'hil[meters]'") from error
    times = SampleTimes(trace)
    n = len(trace.current_a)
    block = max(1, n // _COARSE)
    blocks = n // block
    if blocks < 3 * (count + 1):
        raise AlignmentError(f"trace at {trace.site}: {n} samples hold no {count} changes of power")
    means = np.concatenate(
        [
            (np.asarray(trace.current_a[s : s + size], dtype=np.float64) * voltage_at(trace, s, s + size))
            .reshape(-1, block)
            .mean(axis=1)
            for s, size in _parts(blocks * block, max(1, CHUNK // block) * block)
        ]
    )
    spread = float(means.std())
    if spread == 0:
        raise MissingEdgeError(f"trace at {trace.site}: power never changes, {count} changes expected")
    found = ruptures.KernelCPD(kernel="linear", min_size=2).fit((means / spread)[:, None]).predict(n_bkps=count)[:-1]
    borders = [0, *(int(b) * block for b in found), n]
    integrator = Integrator(times)
    return np.array(
        [
            _between(
                times,
                _refined(
                    integrator,
                    borders[i],
                    max(borders[i - 1], borders[i] - 2 * block),
                    min(borders[i + 1], borders[i] + 2 * block),
                ),
            )
            for i in range(1, len(borders) - 1)
        ]
    )


def _parts(n: int, size: int) -> list[tuple[int, int]]:
    return [(start, min(size, n - start)) for start in range(0, n, size)]


def _refined(integrator: Integrator, coarse: int, start: int, stop: int) -> int:
    """The split of samples ``start`` to ``stop - 1`` into two means that leaves the least squares."""
    power_w = integrator.power(start, stop)
    if len(power_w) < 3:
        return coarse
    power_w = power_w - power_w.mean()
    left = np.arange(1, len(power_w))
    sums = np.cumsum(power_w)[:-1]
    # Between-group sum of squares: the total is 0 after centring.
    return start + 1 + int(np.argmax(sums**2 * (1 / left + 1 / (len(power_w) - left))))


def check_length(alignment: Alignment, name: str, length_s: float) -> None:
    """Raises WindowError where a window is too short for the clock that its borders come from."""
    if length_s < alignment.min_window_s:
        raise WindowError(
            f"{name}: {format_si(length_s, 's')} long, a window timed by the {alignment.method} needs "
            f"{format_si(alignment.min_window_s, 's')} ({HOST_JITTERS} times its jitter)",
            hint="wire a digital input, or put more inferences into one window",
        )
