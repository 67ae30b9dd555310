"""Operations on traces: sample times with gaps, slices, validity, integration by chunks, envelopes for plots.

Everything works on memory-mapped arrays too: at most ``CHUNK`` samples are turned into float64 at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil

import numpy as np
import numpy.typing as npt

from hil.meter.errors import GapError, OutsideError, OverRangeError, TraceError
from hil.meter.spool import let_go
from hil.meter.types import Float, Gap, Trace
from hil.units import format_si

CHUNK = 1 << 16  # samples: 512 KiB per column, which caches hold
SPIKE_SAMPLES = 3  # range switches of instruments take that long
WINDOW_GAPS = 0.001  # of a window that may be missing; in a phase nothing may (MLPerf's EnergyRunner: 0.1 %)
# What no instrument reads: beyond it a file is damaged, and squares of it would overflow.  Times may count from 1970.
_BOUNDS = {"current": (1e6, "A"), "voltage": (1e6, "V"), "time": (1e12, "s")}
_INTERVALS_S, _LOST = (1e-12, 1e6), 10**15
_DAMAGED = "the file is damaged, or its units are others"


def checked(trace: Trace) -> Trace:
    """The trace itself, after a look at all of it.  Raises TraceError for shapes that differ, times that go backwards,
    values that are not numbers or beyond what can be (``_BOUNDS``), gaps and clipped spans outside."""
    n = len(trace.current_a)
    where = f"trace at {trace.site}"
    if trace.current_a.ndim != 1 or n < 2:
        raise TraceError(f"{where}: shape {trace.current_a.shape}, expected at least two samples in one column")
    if (trace.dt_s is None) == (trace.t_s is None):
        raise TraceError(f"{where}: expected either a constant interval or sample times")
    if trace.dt_s is not None and not (np.isfinite(trace.dt_s) and trace.dt_s > 0 and np.isfinite(trace.t0_s)):
        raise TraceError(
            f"{where}: sampling interval {trace.dt_s} s from {trace.t0_s} s, expected finite and above zero"
        )
    columns = {"voltage": trace.voltage_v, "digital": trace.digital, "time": trace.t_s}
    for name, column in columns.items():
        if isinstance(column, np.ndarray) and column.shape != (n,):
            raise TraceError(f"{where}: {name} has shape {column.shape}, current has {(n,)}")
    if not isinstance(trace.voltage_v, np.ndarray) and not np.isfinite(trace.voltage_v):
        raise TraceError(f"{where}: voltage {trace.voltage_v}, expected a number")
    for name, value in (("voltage", trace.voltage_v), ("time", trace.t0_s)):
        if not isinstance(value, np.ndarray) and abs(value) > _BOUNDS[name][0]:
            raise TraceError(f"{where}: a {name} of {_beyond(name, value)}", hint=_DAMAGED)
    if trace.dt_s is not None and not _INTERVALS_S[0] <= trace.dt_s <= _INTERVALS_S[1]:
        low_s, high_s = _INTERVALS_S
        raise TraceError(f"{where}: a sampling interval of {trace.dt_s:g} s, expected {low_s:g} s to {high_s:g} s")
    if any(gap.missing < 1 or not 0 < gap.index < n for gap in trace.gaps) or any(
        after.index <= before.index for before, after in zip(trace.gaps, trace.gaps[1:], strict=False)
    ):
        raise TraceError(f"{where}: gaps must be in order, inside the trace, and of at least one sample")
    if (lost := sum(gap.missing for gap in trace.gaps)) > _LOST:
        raise TraceError(f"{where}: {lost} samples missing, expected at most {_LOST}", hint=_DAMAGED)
    if trace.unplaced < 0:
        raise TraceError(f"{where}: {trace.unplaced} samples missing somewhere, expected none or more")
    if any(not np.isfinite(line.t_s) for line in trace.lines):
        raise TraceError(f"{where}: a line of the serial port without a time")
    if any(not 0 <= start < stop <= n for start, stop in trace.clipped_at):
        raise TraceError(f"{where}: clipped spans must lie inside the trace")
    last = -np.inf
    for start in range(0, n, CHUNK):
        part = slice(start, start + CHUNK)
        for name, column in (("current", trace.current_a), ("voltage", trace.voltage_v), ("time", trace.t_s)):
            if isinstance(column, np.ndarray) and not np.isfinite(column[part]).all():
                index = start + int(np.flatnonzero(~np.isfinite(column[part]))[0])
                raise TraceError(f"{where}: {name} of sample {index} is not a number", hint="lost samples are gaps")
            if isinstance(column, np.ndarray) and (over := np.abs(column[part]) > _BOUNDS[name][0]).any():
                index = start + int(np.flatnonzero(over)[0])
                raise TraceError(f"{where}: {name} of sample {index} is {_beyond(name, column[index])}", hint=_DAMAGED)
        if trace.t_s is not None:
            steps = np.diff(trace.t_s[part], prepend=last)
            if (steps <= 0).any():
                index = start + int(np.flatnonzero(steps <= 0)[0])
                raise TraceError(f"{where}: the time of sample {index} is not after the one before")
            last = float(trace.t_s[part][-1])
        let_go(trace.current_a, trace.voltage_v, trace.t_s)
    return trace


def _beyond(name: str, value: float) -> str:
    bound, unit = _BOUNDS[name]
    return f"{value:g} {unit}, expected at most {bound:g} {unit}"


@dataclass(frozen=True)
class SampleTimes:
    """When each sample of a trace was taken, in the meter's clock, gaps counted in."""

    trace: Trace

    @cached_property
    def _pieces(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Stretches without gaps: first sample, and samples lost before it."""
        gaps = self.trace.gaps
        starts = np.array([0, *(gap.index for gap in gaps)], dtype=np.int64)
        lost = np.cumsum([0, *(gap.missing for gap in gaps)], dtype=np.int64)
        return starts, lost

    @cached_property
    def _ticks(self) -> npt.NDArray[np.int64]:
        """The tick of the first sample of each stretch: samples and lost samples before it."""
        starts, lost = self._pieces
        return starts + lost

    @cached_property
    def interval_s(self) -> float:
        """The sampling interval; the median one where it is not constant."""
        if self.trace.dt_s is not None:
            return self.trace.dt_s
        assert self.trace.t_s is not None
        return float(np.median(np.diff(self.trace.t_s[:CHUNK])))

    @cached_property
    def first_s(self) -> float:
        return float(self.between(0, 1)[0])

    @cached_property
    def last_s(self) -> float:
        n = len(self.trace.current_a)
        return float(self.between(n - 1, n)[0])

    def between(self, start: int, stop: int) -> Float:
        """Times of the samples ``start`` to ``stop - 1``, shape ``[stop - start]``."""
        if self.trace.t_s is not None:
            return np.asarray(self.trace.t_s[start:stop], dtype=np.float64)
        assert self.trace.dt_s is not None
        index = np.arange(start, stop, dtype=np.int64)
        if self.trace.gaps:
            starts, lost = self._pieces
            index += lost[np.searchsorted(starts, index, side="right") - 1]
        return np.asarray(self.trace.t0_s + index * self.trace.dt_s, dtype=np.float64)

    def first_at(self, t_s: float) -> int:
        """The first sample at or after ``t_s``; the number of samples where there is none."""
        trace, n = self.trace, len(self.trace.current_a)
        if trace.t_s is not None:
            return int(np.searchsorted(trace.t_s, t_s))
        assert trace.dt_s is not None
        starts, lost = self._pieces
        tick = ceil(min(max((t_s - trace.t0_s) / trace.dt_s, -1.0), float(n + lost[-1] + 1)))
        # Division rounds: the tick may be one off.
        if trace.t0_s + tick * trace.dt_s < t_s:
            tick += 1
        elif trace.t0_s + (tick - 1) * trace.dt_s >= t_s:
            tick -= 1
        if tick <= 0:
            return 0
        piece = int(np.searchsorted(self._ticks, tick, side="right")) - 1 if trace.gaps else 0
        end = int(starts[piece + 1]) if piece + 1 < len(starts) else n
        return min(tick - int(lost[piece]), end)


def missing_between(trace: Trace, first: int, stop: int) -> int:
    """Lost samples between sample ``first`` and sample ``stop - 1``."""
    return sum(gap.missing for gap in trace.gaps if first < gap.index < stop)


def missing_in(times: SampleTimes, start_s: float, end_s: float) -> int:
    """Samples that are missing in a window of the meter's time, those without a place included."""
    first, stop = max(times.first_at(start_s) - 1, 0), times.first_at(end_s) + 1
    return missing_between(times.trace, first, stop) + times.trace.unplaced


def clipped_between(trace: Trace, first: int, stop: int) -> int:
    """Clipped samples among ``first`` to ``stop - 1``; all of them where the trace does not say where they are."""
    if not trace.clipped_at:
        return trace.clipped
    return sum(max(0, min(stop, end) - max(first, start)) for start, end in trace.clipped_at)


def check_window(times: SampleTimes, name: str, start_s: float, end_s: float, gaps_allowed: float = 0.0) -> None:
    """That a window of the meter's time can be trusted.

    ``gaps_allowed``: the share of the window that may be missing, 0 in a phase.  Raises OutsideError, GapError,
    OverRangeError.
    """
    trace = times.trace
    if not (np.isfinite(start_s) and np.isfinite(end_s) and start_s < end_s):
        raise OutsideError(f"{name}: a window from {start_s:.9g} s to {end_s:.9g} s has no length")
    if start_s < times.first_s or end_s > times.last_s:
        raise OutsideError(
            f"{name}: from {start_s:.6f} s to {end_s:.6f} s of the meter's clock, "
            f"the trace covers {times.first_s:.6f} s to {times.last_s:.6f} s",
            hint="start the meter before the board and stop it after, or check the alignment",
        )
    # The samples around the borders take part in the integral: a gap or clipping there counts.
    first, stop = max(times.first_at(start_s) - 1, 0), times.first_at(end_s) + 1
    missing = missing_in(times, start_s, end_s)
    share = missing * times.interval_s / (end_s - start_s)
    if share > gaps_allowed:
        where = " here or elsewhere in the trace" if trace.unplaced else ""
        raise GapError(
            f"{name}: {missing} samples missing{where}, {share:.2%} of its {format_si(end_s - start_s, 's')}; "
            f"{f'at most {gaps_allowed:.1%}' if gaps_allowed else 'none'} allowed",
            hint="measure again with a lower rate, another USB port or a quieter host",
        )
    if clipped := clipped_between(trace, first, stop):
        where = "" if trace.clipped_at else " somewhere in the trace"
        raise OverRangeError(
            f"{name}: {clipped} samples at the end of the range{where}: the true current was higher",
            hint="choose a higher range, or a meter that has one",
        )


def window(trace: Trace, start_s: float, end_s: float) -> Trace:
    """The samples from ``start_s`` to ``end_s`` of the meter's time, both included, as views.  Raises OutsideError."""
    times = SampleTimes(trace)
    first, stop = times.first_at(start_s), times.first_at(np.nextafter(end_s, np.inf))
    if stop - first < 2:
        raise OutsideError(f"fewer than two samples between {start_s:.6f} s and {end_s:.6f} s")
    spans = tuple(
        (max(start, first) - first, min(end, stop) - first)
        for start, end in trace.clipped_at
        if end > first and start < stop
    )
    part = slice(first, stop)
    return replace(
        trace,
        current_a=trace.current_a[part],
        voltage_v=trace.voltage_v[part] if isinstance(trace.voltage_v, np.ndarray) else trace.voltage_v,
        t0_s=float(times.between(first, first + 1)[0]) if trace.t_s is None else trace.t0_s,
        t_s=None if trace.t_s is None else trace.t_s[part],
        digital=None if trace.digital is None else trace.digital[part],
        gaps=tuple(Gap(g.index - first, g.missing) for g in trace.gaps if first < g.index < stop),
        lines=tuple(line for line in trace.lines if start_s <= line.t_s <= end_s),
        clipped=clipped_between(trace, first, stop),
        clipped_at=spans,
    )


def voltage_at(trace: Trace, start: int, stop: int) -> Float:
    """Voltage of the samples ``start`` to ``stop - 1``, shape ``[stop - start]`` or ``[1]`` where it is constant."""
    volts = trace.voltage_v
    return np.asarray(volts[start:stop] if isinstance(volts, np.ndarray) else [volts], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Moments:
    """An integral of power, and what sampling may have done to it.

    ``step_squares_j2``: the sum over all sampling intervals touched of (power step * interval)^2.  A step that falls
    anywhere within an interval makes the trapezoid rule err by at most half of its step times the interval, uniformly:
    that sum over 12 is the variance that sampling gives to the integral.
    ``spikes_j``: the area of excursions of at most ``SPIKE_SAMPLES`` samples that come back to where they left.
    """

    energy_j: float
    step_squares_j2: float
    spikes_j: float


def _spikes(dt_s: Float, step_w: Float, spike_w: float) -> float:
    """Joules in excursions that start with a step of at least ``spike_w`` and are back, to a quarter of that step,
    within ``SPIKE_SAMPLES`` samples.  ``dt_s``, ``step_w``: differences, shape ``[n - 1]``."""
    starts = np.flatnonzero(np.abs(step_w) >= spike_w)
    if len(starts) == 0:
        return 0.0
    ahead = np.pad(step_w, (0, SPIKE_SAMPLES))[starts[:, None] + np.arange(SPIKE_SAMPLES + 1)]
    height = np.cumsum(ahead, axis=1)
    back = np.abs(height[:, 1:]) <= 0.25 * np.abs(height[:, :1])
    found = back.any(axis=1)
    length = np.argmax(back, axis=1) + 1
    inside = np.arange(SPIKE_SAMPLES) < length[:, None]
    return float(np.sum((np.abs(height[:, :-1]) * inside).sum(axis=1)[found] * dt_s[starts[found]]))


@dataclass(frozen=True)
class Integrator:
    """Integrals of power over time by chunks.  A reading is ``gain * truth + offset_a``; both are taken out."""

    times: SampleTimes
    gain: float = 1.0
    offset_a: float = 0.0

    def power(self, start: int, stop: int) -> Float:
        """Power of the samples ``start`` to ``stop - 1``, shape ``[stop - start]``, watts."""
        amperes = np.asarray(self.times.trace.current_a[start:stop], dtype=np.float64)
        return (amperes - self.offset_a) / self.gain * voltage_at(self.times.trace, start, stop)

    def chunks(self, first: int, stop: int) -> Iterator[tuple[Float, Float]]:
        """Times and powers of the samples ``first`` to ``stop - 1``; neighbouring chunks share one sample."""
        for start in range(first, max(stop - 1, first + 1), CHUNK):
            end = min(start + CHUNK + 1, stop)
            yield self.times.between(start, end), self.power(start, end)
            let_go(self.times.trace.current_a, self.times.trace.voltage_v, self.times.trace.t_s)

    def power_at(self, t_s: float) -> float:
        """Power at a time between samples: on the straight line between both neighbours."""
        index = min(max(self.times.first_at(t_s), 1), len(self.times.trace.current_a) - 1)
        return float(np.interp(t_s, self.times.between(index - 1, index + 1), self.power(index - 1, index + 1)))

    def integral(self, start_s: float, end_s: float) -> float:
        """Joules from ``start_s`` to ``end_s``: the trapezoid rule on the samples' own times, partial intervals at both
        borders on the straight line between neighbours."""
        return self.moments(start_s, end_s).energy_j

    def moments(self, start_s: float, end_s: float, spike_w: float = np.inf) -> Moments:
        """The integral with what tells its error.  ``spike_w``: excursions from there on are summed up too."""
        if end_s <= start_s:
            return Moments(0.0, 0.0, 0.0)
        first, stop = self.times.first_at(start_s), self.times.first_at(end_s)
        joules = squares = spikes = 0.0
        if stop > first:
            for t_s, power_w in self.chunks(first, stop):
                dt_s, step_w = np.diff(t_s), np.diff(power_w)
                step_j = dt_s * step_w
                # einsum, not dot: the threads of a linear-algebra library cost more than they bring here.
                joules += float(np.einsum("i,i", dt_s, power_w[:-1])) + 0.5 * float(step_j.sum())
                squares += float(np.einsum("i,i", step_j, step_j))
                if np.isfinite(spike_w):
                    spikes += _spikes(dt_s, step_w, spike_w)
            inner_start, inner_end = self.times.between(first, first + 1)[0], self.times.between(stop - 1, stop)[0]
            joules += self._straight(start_s, float(inner_start)) + self._straight(float(inner_end), end_s)
        else:
            joules = self._straight(start_s, end_s)
        for border in {first, stop}:  # the intervals that the borders cut
            if 0 < border < len(self.times.trace.current_a):
                dt_s = np.diff(self.times.between(border - 1, border + 1))
                squares += float((dt_s[0] * np.diff(self.power(border - 1, border + 1))[0]) ** 2)
        return Moments(joules, squares, spikes)

    def _straight(self, start_s: float, end_s: float) -> float:
        """The integral between two times with no sample between them."""
        return 0.5 * (end_s - start_s) * (self.power_at(start_s) + self.power_at(end_s)) if end_s > start_s else 0.0


@dataclass(frozen=True)
class Envelope:
    """What a plot may show without hiding anything: per column the lowest, mean and highest value of its samples.

    All have shape ``[columns]``; columns without samples are left out, so gaps stay gaps.
    """

    t_s: Float
    low: Float
    mean: Float
    high: Float


def envelope(trace: Trace, columns: int, start_s: float | None = None, end_s: float | None = None) -> Envelope:
    """Power by plot column.  Every sample is within its column's bounds, however short its spike.

    Raises TraceError for no columns, OutsideError for a window without samples.
    """
    if columns < 1:
        raise TraceError(f"an envelope of {columns} columns", hint="at least 1")
    times = SampleTimes(trace)
    start_s = times.first_s if start_s is None else max(start_s, times.first_s)
    end_s = times.last_s if end_s is None else min(end_s, times.last_s)
    first, stop = times.first_at(start_s), times.first_at(np.nextafter(end_s, np.inf))
    if stop <= first:
        raise OutsideError(f"no samples between {start_s:.6f} s and {end_s:.6f} s")
    low, high = np.full(columns, np.inf), np.full(columns, -np.inf)
    total, count = np.zeros(columns), np.zeros(columns, dtype=np.int64)
    integrator = Integrator(times)
    scale = columns / (end_s - start_s) if end_s > start_s else 0.0
    for begin in range(first, stop, CHUNK):
        end = min(begin + CHUNK, stop)
        power_w = integrator.power(begin, end)
        # Times ascend, so every column is one run of samples.
        column = np.minimum(((times.between(begin, end) - start_s) * scale).astype(np.int64), columns - 1)
        runs = np.flatnonzero(np.diff(column, prepend=-1))
        found = column[runs]
        low[found] = np.minimum(low[found], np.minimum.reduceat(power_w, runs))
        high[found] = np.maximum(high[found], np.maximum.reduceat(power_w, runs))
        total[found] += np.add.reduceat(power_w, runs)
        count[found] += np.diff(runs, append=len(column))
        let_go(trace.current_a, trace.voltage_v, trace.t_s)
    seen = count > 0
    centres = start_s + (np.arange(columns) + 0.5) * (end_s - start_s) / columns
    return Envelope(centres[seen], low[seen], total[seen] / count[seen], high[seen])
