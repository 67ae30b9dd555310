"""Energy by phase: the integral of voltage times current between the borders of phases, gross and above idle, with an
interval that says how sure it is.

The standard uncertainties that are combined (in quadrature; those that are the same for all windows of a phase add up
over its windows first):

========== ============================================================================================================
noise      white noise of standard deviation s on n samples: s * dt * sqrt(n); s from the median absolute successive
           difference (robust against the phase's own steps)
sampling   steps between samples: ``Moments.step_squares_j2`` / 12 without what noise makes of it; added up over
           windows and over the inferences of a window, because a board in step with the meter errs alike each time
quantising step / sqrt(12), the same for all samples of a constant signal; noise dithers it away as
           exp(-2 (pi s / step)^2) (the first harmonic of the quantiser's error: Carbone and Petri, IEEE Trans. Instrum.
           Meas. 43(3), 1994).  Step and noise by magnitude, because instruments change their range
           (``hil.meter.quantising``); the time spent at each weighs them
spikes     excursions of at most three samples cannot be told from range switching: their whole energy
gain       gain and voltage of the instrument, relative
offset     current offset times voltage times time; not in energies above idle, where it cancels
clock      seconds of the meter's clock, relative; all of the skew where no two crystals differ so much: samples that
           were lost unseen look the same
gaps       where samples may be missing: their time, times half of the range of power
borders    offset and skew of the alignment move all borders together; jitter moves each by itself: what lies on the
           side that a border moves to is gained or lost
idle       of the idle power that is subtracted: noise, quantising, and the drift between before and after / sqrt(12)
regulator  its efficiency, relative
========== ============================================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, fsum, hypot, sqrt

import numpy as np

from hil.errors import MeterError
from hil.meter.accuracy import Accuracy
from hil.meter.align import UNKNOWN_SKEW, Alignment, check_length, no_crystals
from hil.meter.errors import ClockError, ScopeError, TraceError, WindowError
from hil.meter.quantising import NO_STEPS, Steps, quantising_a
from hil.meter.trace import Integrator, Moments, SampleTimes, check_window, missing_in, voltage_at
from hil.meter.types import Float, Trace
from hil.units import format_si

COVERAGE = 0.9
COVERAGE_FACTOR = 1.6448536269514722  # of a normal distribution, as for every interval of hil
_SAMPLED = 1 << 16  # samples that noise and step of a phase are estimated from
_BLOCK = 1 << 12  # of neighbours among them
_FEWEST = 16  # samples of one window that tell noise
_SPIKE_SIGMAS, _SPIKE_LEVEL = 20.0, 0.25  # of the noise, and of the phase's own power
_TOUCH_S = 1e-9  # windows may overlap by the rounding of their borders
_NO_RAILS = {"", "unknown", "whole board", "chip supply"}  # several rails, or nobody knows


@dataclass(frozen=True, slots=True)
class PhaseWindow:
    """A stretch of board time; windows of the same name are repetitions of one phase.

    ``inferences``: how many went by in it.  ``gaps_allowed``: the share of it that may be missing (``WINDOW_GAPS`` for
    long windows over many inferences).  ``border_sd_s``: of each border, beside the alignment's (one sigma).
    """

    name: str
    start_s: float
    end_s: float
    inferences: int = 1
    gaps_allowed: float = 0.0
    border_sd_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Regulator:
    """A regulator between the meter and what is asked for: energy behind it = ``efficiency`` * energy before it.

    Raises TraceError for an efficiency that is no share, ScopeError where both sites are one.
    """

    input_site: str
    output_site: str
    efficiency: float
    efficiency_sd: float
    source: str

    def __post_init__(self) -> None:
        if not (0 < self.efficiency <= 1 and self.efficiency_sd >= 0):
            raise TraceError(
                f"a regulator with an efficiency of {self.efficiency:g} ± {self.efficiency_sd:g}",
                hint="expected a share above 0, at most 1",
            )
        if same_site(self.input_site, self.output_site):
            raise ScopeError(
                f"a regulator from {self.input_site} to {self.output_site}: both are one site",
                hint="the meter is before it; name what is behind it, such as 'chip supply'",
            )


@dataclass(frozen=True, slots=True)
class Joules:
    """An energy with the bounds of its interval."""

    mean_j: float
    low_j: float
    high_j: float


@dataclass(frozen=True, slots=True)
class IdlePower:
    """Power before and after the work, where the meter is (before a regulator).  ``drift_w``: after minus before."""

    power_w: float
    sd_w: float
    drift_w: float


@dataclass(frozen=True)
class PhaseEnergy:
    """The energy of one inference in a phase, mean over its windows.

    ``low_j`` and ``high_j`` bound the interval that holds the truth with probability ``coverage``: mean ∓
    ``coverage_factor`` standard uncertainties.  ``above_idle`` and ``idle`` where idle was measured.
    ``random_sd_j`` and ``common_sd_j``: the part that differs from window to window, and the part that does not, both
    of the mean; ``parts_j`` has them by name.  ``samples_j``: the gross energy of one inference in each window.
    """

    name: str
    site: str
    mean_j: float
    low_j: float
    high_j: float
    above_idle: Joules | None
    idle: IdlePower | None
    power_w: float
    duration_s: float
    windows: int
    inferences: int
    samples_j: tuple[float, ...]
    random_sd_j: float
    common_sd_j: float
    parts_j: Mapping[str, float]
    border_s: float
    aligned_by: str | None
    coverage: float = COVERAGE
    coverage_factor: float = COVERAGE_FACTOR


def check_scope(site: str, scope: str, regulator: Regulator | None = None) -> str:
    """The site that the figures are for.  Raises ScopeError where it is not the scope asked for.

    A scope may be a record's (``rail VDDCORE, gross``); what follows the comma does not matter here.
    """
    if regulator is not None:
        if _words(regulator.input_site) != _words(site):
            raise ScopeError(f"a regulator at {regulator.input_site}, but the trace was taken at {site}")
        site = regulator.output_site
    if _words(site) != _words(scope):
        raise ScopeError(
            f"the trace was taken at '{site}', the figure asked for is of '{scope}'",
            hint="move the meter, ask for the scope that it measures, or state the regulator between both",
        )
    return site


def same_site(one: str, other: str) -> bool:
    """Whether two sites, or scopes, name the same place."""
    return _words(one) == _words(other)


def _words(site: str) -> str:
    plain = " ".join(site.split(",")[0].replace("-", " ").casefold().split())
    return {"chip": "chip supply"}.get(plain, plain)


def idle_power(
    trace: Trace,
    windows: Sequence[PhaseWindow],
    alignment: Alignment,
    accuracy: Accuracy | None = None,
    work: Sequence[PhaseWindow] = (),
) -> IdlePower:
    """Idle power from windows before and after the work, first and last in time.

    Raises WindowError for fewer than two and, where ``work`` is given, for windows that are not around it; and what
    ``check_window`` does.
    """
    if len(windows) < 2:
        raise WindowError(
            f"idle measured in {len(windows)} windows, expected one before and one after the work",
            hint="a drift between both is seen only so",
        )
    _require_around(windows, work, alignment)
    accuracy = accuracy or Accuracy()
    steps = _converter_steps(trace, accuracy)
    integrator = _integrator(trace, accuracy)
    ordered = sorted(windows, key=lambda window: window.start_s)
    power, variance, quantising = [], [], []
    for window in ordered:
        start_s, end_s = alignment.to_meter(window.start_s), alignment.to_meter(window.end_s)
        check_window(integrator.times, f"idle ({window.name})", start_s, end_s, window.gaps_allowed)
        character = _character(integrator, [(start_s, end_s)], steps)
        moments = integrator.moments(start_s, end_s, character.spike_w)
        length = end_s - start_s
        if length < integrator.times.interval_s:
            raise WindowError(
                f"idle ({window.name}): {format_si(length, 's')}, shorter than the sampling interval of "
                f"{format_si(integrator.times.interval_s, 's')}",
                hint="give it some hundred samples",
            )
        power.append(moments.energy_j / length)
        quantising.append(character.quantising_w)
        noise = character.noise_w**2 * integrator.times.interval_s / length
        variance.append(noise + (moments.step_squares_j2 / 12 + moments.spikes_j**2) / length**2)
    drift = power[-1] - power[0]
    return IdlePower(
        power_w=float(np.mean(power)),
        sd_w=sqrt(fsum(variance) / len(power) ** 2 + drift**2 / 12 + max(quantising) ** 2),
        drift_w=drift,
    )


def _require_around(idle: Sequence[PhaseWindow], work: Sequence[PhaseWindow], alignment: Alignment) -> None:
    """Raises WindowError unless there is idle before all work and after it, and none in it.

    A border may be off by its uncertainty, but not by half of an idle window.
    """
    if not work:
        return
    first_s, last_s = min(phase.start_s for phase in work), max(phase.end_s for phase in work)
    border_s = max(alignment.border_s, *(window.border_sd_s for window in (*idle, *work)))
    before = after = False
    for rest in idle:
        slack_s = min(border_s, (rest.end_s - rest.start_s) / 2) + _TOUCH_S
        for phase in work:
            if min(rest.end_s, phase.end_s) - max(rest.start_s, phase.start_s) > slack_s:
                raise WindowError(
                    f"{rest.name} from {rest.start_s:.6f} s to {rest.end_s:.6f} s lies in {phase.name}, "
                    f"from {phase.start_s:.6f} s to {phase.end_s:.6f} s",
                    hint="idle is where the board does nothing else: before and after the work",
                )
        before |= rest.end_s <= first_s + slack_s
        after |= rest.start_s >= last_s - slack_s
    if not (before and after):
        raise WindowError(
            f"no idle {'after' if before else 'before'} the work, which is from {first_s:.6f} s to {last_s:.6f} s",
            hint="one idle window before all of the work, and one after it: a drift between both is seen only so",
        )


def energy_by_phase(
    trace: Trace,
    phases: Sequence[PhaseWindow],
    alignment: Alignment,
    *,
    scope: str | None = None,
    idle: Sequence[PhaseWindow] = (),
    accuracy: Accuracy | None = None,
    regulator: Regulator | None = None,
    tolerance: float | Mapping[str, float] = 0.05,
    refused: dict[str, MeterError] | None = None,
) -> dict[str, PhaseEnergy]:
    """The energy of every phase, by name in the order of their first windows.

    ``scope``: what the figures are to be of; None takes the site of the trace.  ``idle``: windows before and after the
    work.  ``tolerance``: relative, what the figures must be good for, all of them or by name; a window whose borders
    sampling blurs by more than a fifth of it is refused.
    Raises ScopeError; WindowError for idle that is not around the work; GapError, OverRangeError, OutsideError,
    WindowError for a phase that cannot be measured: with ``refused`` given they are put there by name and the other
    phases are returned.
    """
    accuracy = accuracy or Accuracy()
    steps = _converter_steps(trace, accuracy)
    site = check_scope(trace.site, scope or (regulator.output_site if regulator else trace.site), regulator)
    names = list(dict.fromkeys(phase.name for phase in phases))
    tolerances = tolerance if isinstance(tolerance, Mapping) else dict.fromkeys([*names, ""], tolerance)
    if (wrong := next((share for share in tolerances.values() if not 0 < share < 1), None)) is not None:
        raise WindowError(f"a tolerance of {wrong:g}, expected a share between 0 and 1")
    base = idle_power(trace, idle, alignment, accuracy, phases) if idle else None
    found: dict[str, PhaseEnergy] = {}
    for name in names:
        windows = [phase for phase in phases if phase.name == name]
        try:
            found[name] = _phase(trace, windows, alignment, site, base, accuracy, steps, regulator, tolerances[name])
        except MeterError as error:
            if refused is None:
                raise
            refused[name] = error
    return found


def _phase(
    trace: Trace,
    windows: Sequence[PhaseWindow],
    alignment: Alignment,
    site: str,
    idle: IdlePower | None,
    accuracy: Accuracy,
    steps: Steps,
    regulator: Regulator | None,
    tolerance: float,
) -> PhaseEnergy:
    integrator = _integrator(trace, accuracy)
    name, dt_s = windows[0].name, integrator.times.interval_s
    if min(window.inferences for window in windows) < 1:
        raise WindowError(f"{name}: a window without inferences")
    borders = [(alignment.to_meter(window.start_s), alignment.to_meter(window.end_s)) for window in windows]
    for window, (start_s, end_s) in zip(windows, borders, strict=True):
        check_window(integrator.times, name, start_s, end_s, window.gaps_allowed)
        check_length(alignment, name, end_s - start_s)
        _check_rate(name, dt_s, end_s - start_s, window.inferences, tolerance)
    character = _character(integrator, borders, steps)
    moments = [integrator.moments(start_s, end_s, character.spike_w) for start_s, end_s in borders]
    energy_j = np.array([moment.energy_j for moment in moments])
    length_s = np.array([end_s - start_s for start_s, end_s in borders])
    time_s, volts = float(length_s.sum()), character.voltage_v
    sides = _sides(integrator, borders, max(alignment.border_s, dt_s))
    efficiency = regulator.efficiency if regulator else 1.0
    missing_s = dt_s * sum(missing_in(integrator.times, start_s, end_s) for start_s, end_s in borders)

    def _sampling(moment: Moments, seconds: float, window: PhaseWindow) -> float:
        noise_j2 = 2 * character.noise_w**2 * dt_s * seconds  # squares of steps that noise makes
        squares_j2 = max(moment.step_squares_j2 - noise_j2, 0.0)
        if window.inferences == 1:
            return sqrt(squares_j2 / 12)
        # In step, the error of a burst takes two values, up to a whole sampling interval: an interval for uniform
        # errors holds only one of them.
        return sqrt(squares_j2 / 6 * window.inferences)

    def parts(baseline_w: float) -> tuple[float, dict[str, float], dict[str, float]]:
        """Total energy above ``baseline_w``, and its standard uncertainties: of each window its own, and common."""
        total = float(energy_j.sum()) - baseline_w * time_s
        relative = abs(total)
        jitter, common = _border_parts(sides - baseline_w, windows, alignment)
        own = {
            "noise": character.noise_w * sqrt(dt_s * time_s),
            "jitter": jitter,
        }
        shared = {
            "sampling": fsum(map(_sampling, moments, length_s, windows)),
            "quantising": character.quantising_w * time_s,
            "spikes": fsum(moment.spikes_j for moment in moments),
            "gain": hypot(accuracy.gain_sd, accuracy.voltage_sd) * relative,
            "clock": clock_sd(alignment) * relative,
            "borders": common,
            "gaps": missing_s * character.range_w / 2,
        }
        if regulator is not None:
            shared["regulator"] = regulator.efficiency_sd / regulator.efficiency * relative
        return total, own, shared

    inferences = sum(window.inferences for window in windows)
    per = efficiency / inferences
    gross, own, shared = parts(0.0)
    shared["offset"] = accuracy.offset_sd_a / accuracy.gain * volts * time_s
    above: Joules | None = None
    if idle is not None:
        net, net_own, net_shared = parts(idle.power_w)
        net_shared["idle"] = idle.sd_w * time_s
        above = _joules(net * per, hypot(*net_own.values(), *net_shared.values()) * per)
    mean = _joules(gross * per, hypot(*own.values(), *shared.values()) * per)
    return PhaseEnergy(
        name=name,
        site=site,
        mean_j=mean.mean_j,
        low_j=mean.low_j,
        high_j=mean.high_j,
        above_idle=above,
        idle=idle,
        power_w=gross * efficiency / time_s,
        duration_s=time_s / inferences,
        windows=len(windows),
        inferences=inferences,
        samples_j=tuple(
            float(joules) * efficiency / window.inferences for joules, window in zip(energy_j, windows, strict=True)
        ),
        random_sd_j=hypot(*own.values()) * per,
        common_sd_j=hypot(*shared.values()) * per,
        parts_j={part: value * per for part, value in (own | shared).items()},
        border_s=alignment.border_s,
        aligned_by=alignment.method,
    )


def check_rails(sites: Sequence[str], total: str) -> None:
    """Raises ScopeError unless ``sites`` are single rails, all of them others, and ``total`` is what they add up to."""
    parts = [_words(site) for site in sites]
    if len(set(parts)) < len(parts):
        raise ScopeError(
            f"rails at {', '.join(map(repr, sites))}: one is in there twice",
            hint="files of other tools do not know their site: --site for each",
        )
    for part, site in zip(parts, sites, strict=True):
        if part in _NO_RAILS:
            raise ScopeError(
                f"'{site}' is not one rail", hint="what is added up are single rails, such as 'rail VDDIO'"
            )
    if not (whole := _words(total)) or whole in parts:
        raise ScopeError(
            f"the sum of {', '.join(map(repr, sites))} cannot be called '{total}'",
            hint="say what they add up to: 'chip supply'",
        )


def add_rails(rails: Sequence[Mapping[str, PhaseEnergy]], site: str) -> dict[str, PhaseEnergy]:
    """The sum over several rails, phase by phase, named ``site``.

    Each rail's trace was aligned with the board by itself; what is common to a rail's windows may be common to the
    rails too (one instrument, one reference), so it is added up, not in quadrature; above idle the intervals add up.
    Raises ClockError where a rail was not aligned, ScopeError for parts that are no single rails, are one, or are the
    sum itself (``check_rails``), TraceError for different phases.
    """
    if not rails or any(set(rail) != set(rails[0]) for rail in rails):
        raise TraceError("rails with different phases cannot be added", hint="measure all of them over the same run")
    found: dict[str, PhaseEnergy] = {}
    for name in rails[0]:
        parts = [rail[name] for rail in rails]
        check_rails([part.site for part in parts], site)
        if len(parts) > 1 and any(part.aligned_by in (None, "host clock") for part in parts):
            raise ClockError(
                f"{name}: rails measured by clocks that were not brought together",
                hint="align every rail's trace by a digital input, a trigger or UART lines",
            )
        first = parts[0]
        if any((part.inferences, part.windows) != (first.inferences, first.windows) for part in parts):
            raise TraceError(f"{name}: rails measured over different windows cannot be added")
        random = hypot(*(part.random_sd_j for part in parts))
        common = fsum(part.common_sd_j for part in parts)
        total = _joules(fsum(part.mean_j for part in parts), hypot(random, common))
        nets = [part.above_idle for part in parts if part.above_idle is not None]
        idles = [part.idle for part in parts if part.idle is not None]
        complete = len(nets) == len(parts) == len(idles)
        found[name] = replace(
            first,
            site=site,
            mean_j=total.mean_j,
            low_j=total.low_j,
            high_j=total.high_j,
            above_idle=Joules(
                *(fsum(column) for column in zip(*((n.mean_j, n.low_j, n.high_j) for n in nets), strict=True))
            )
            if complete
            else None,
            idle=IdlePower(
                fsum(i.power_w for i in idles), hypot(*(i.sd_w for i in idles)), fsum(i.drift_w for i in idles)
            )
            if complete
            else None,
            power_w=fsum(part.power_w for part in parts),
            samples_j=tuple(fsum(column) for column in zip(*(part.samples_j for part in parts), strict=True)),
            random_sd_j=random,
            common_sd_j=common,
            parts_j={},
            border_s=max(part.border_s for part in parts),
        )
    return found


# --- the parts ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Character:
    """What the samples of a phase are like: noise and quantising error of power, the level of spikes, mean voltage, and
    how far the highest power is from the lowest."""

    noise_w: float
    quantising_w: float
    spike_w: float
    voltage_v: float
    range_w: float


def _integrator(trace: Trace, accuracy: Accuracy) -> Integrator:
    return Integrator(SampleTimes(trace), accuracy.gain, accuracy.offset_a)


def _joules(mean_j: float, sd_j: float) -> Joules:
    return Joules(mean_j, mean_j - COVERAGE_FACTOR * sd_j, mean_j + COVERAGE_FACTOR * sd_j)


def clock_sd(alignment: Alignment) -> float:
    """Standard uncertainty of the meter's seconds, relative: crystals, or all of a skew that no crystals have."""
    lost = no_crystals(alignment.skew, alignment.skew_sd_ppm * 1e-6)
    return abs(alignment.skew) if lost else UNKNOWN_SKEW


def _check_rate(name: str, dt_s: float, length_s: float, inferences: int, tolerance: float) -> None:
    """The minimum-window rule: the sampling interval at both borders is less than a fifth of the tolerance."""
    if 2 * dt_s / length_s < tolerance / 5:
        return
    needed = int(10 * dt_s / tolerance / (length_s / inferences)) + 1
    raise WindowError(
        f"{name}: {format_si(length_s, 's')} at {format_si(1 / dt_s, 'Hz')} blurs its borders by "
        f"{2 * dt_s / length_s:.1%}, at most {tolerance / 5:.1%} allowed for a tolerance of {tolerance:.1%}",
        hint=f"at least {needed} inferences per window, or a rate of {format_si(10 / tolerance / length_s, 'Hz')}",
    )


def _character(integrator: Integrator, borders: Sequence[tuple[float, float]], steps: Steps) -> _Character:
    """Noise and quantisation from at most about ``_SAMPLED`` samples, spread over the windows of a phase.

    ``steps``: those of the converter, as far as the whole trace tells them; the phase's own readings may tell more.
    """
    times, trace = integrator.times, integrator.times.trace
    sampled = borders[:: ceil(len(borders) * _FEWEST / _SAMPLED)]
    each = max(_SAMPLED // len(sampled), _FEWEST)
    spans: list[tuple[int, int]] = []
    for start_s, end_s in sampled:
        first, stop = times.first_at(start_s), times.first_at(end_s)
        if stop - first < _FEWEST:  # too few to tell noise: the neighbours help
            first, stop = max(first - _FEWEST // 2, 0), min(stop + _FEWEST // 2, len(trace.current_a))
        spans += _spread(first, stop, each)
    power = [integrator.power(first, stop) for first, stop in spans]
    amperes = [np.asarray(trace.current_a[first:stop], dtype=np.float64) for first, stop in spans]
    voltage = abs(float(np.mean([voltage_at(trace, first, stop).mean() for first, stop in spans])))
    # Of normal noise the median absolute difference of neighbours is 0.6745 * sqrt(2) standard deviations.
    differences = np.concatenate([np.abs(np.diff(part)) for part in power])
    noise_w = float(np.median(differences)) / (0.6744897501960817 * sqrt(2.0))
    steps = steps.with_readings(np.concatenate(amperes))
    error_a, step_a = quantising_a(amperes, steps)
    level_w = float(np.median(np.abs(np.concatenate(power))))
    watts = voltage / integrator.gain
    spike_w = max(_SPIKE_SIGMAS * max(noise_w, step_a * watts), _SPIKE_LEVEL * level_w)
    range_w = float(max(part.max() for part in power) - min(part.min() for part in power))
    return _Character(noise_w, error_a * watts, spike_w or np.inf, voltage, range_w)


def _spread(first: int, stop: int, most: int) -> list[tuple[int, int]]:
    """Stretches of neighbours, at most about ``most`` samples in all, spread evenly from ``first`` to ``stop``."""
    if stop - first <= most:
        return [(first, stop)]
    size = min(most, _BLOCK)
    return [(int(start), int(start) + size) for start in np.linspace(first, stop - size, max(most // size, 1))]


def _converter_steps(trace: Trace, accuracy: Accuracy) -> Steps:
    """The steps of the converter: the given one, or what blocks spread over the whole trace tell."""
    if accuracy.lsb_a is not None:
        return Steps.constant(accuracy.lsb_a)
    spans = _spread(0, len(trace.current_a), _SAMPLED)
    return NO_STEPS.with_readings(np.concatenate([trace.current_a[start:stop] for start, stop in spans]))


def _sides(integrator: Integrator, borders: Sequence[tuple[float, float]], reach_s: float) -> Float:
    """Mean power within ``reach_s`` on each side of each border, shape ``[windows, start or end, before or after]``."""
    times = integrator.times

    def mean(start_s: float, end_s: float) -> float:
        start_s, end_s = max(start_s, times.first_s), min(end_s, times.last_s)
        return integrator.integral(start_s, end_s) / (end_s - start_s) if end_s > start_s else 0.0

    return np.array(
        [[[mean(at_s - reach_s, at_s), mean(at_s, at_s + reach_s)] for at_s in window] for window in borders]
    )


def _border_parts(sides_w: Float, windows: Sequence[PhaseWindow], alignment: Alignment) -> tuple[float, float]:
    """Joules (one sigma) by the borders' own jitter, and by offset and skew, which move them all.

    A border that moves by ``d`` adds or takes the power on the side that it moves to.  Sigma points: one
    principal axis of the alignment's covariance at a time, in both directions, the worse counts.
    """
    own_s = np.hypot(alignment.jitter_s, [window.border_sd_s for window in windows])[:, None]
    jitter = float(np.sqrt(((own_s * np.abs(sides_w).max(axis=2)) ** 2).sum()))
    at_s = np.array([[window.start_s, window.end_s] for window in windows]) - alignment.pivot_s
    variance = np.asarray(alignment.covariance) + np.array([[alignment.common_s**2, 0.0], [0.0, 0.0]])
    values, vectors = np.linalg.eigh(variance)
    common = 0.0
    for offset, skew in (vectors * np.sqrt(np.maximum(values, 0.0))).T:
        changes = []
        for sign in (1.0, -1.0):
            moved = sign * (offset + skew * at_s)
            gained = moved * np.where(moved > 0, sides_w[:, :, 1], sides_w[:, :, 0])
            changes.append(float(gained[:, 1].sum() - gained[:, 0].sum()))
        common = hypot(common, max(map(abs, changes)))
    return jitter, common
