"""Energy by phase: the integral of voltage times current between the borders of phases, gross and above idle, with an
interval that says how sure it is.

The standard uncertainties that are combined (in quadrature; those that are the same for all windows of a phase add up
over its windows first):

========== ============================================================================================================
noise      white noise of standard deviation s on n samples: s * dt * sqrt(n); s from the median absolute successive
           difference (robust against the phase's own steps)
sampling   steps between samples: ``Moments.step_squares_j2`` / 12; added up over windows, because a board in step
           with the meter errs alike each time
quantising step / sqrt(12), the same for all samples of a constant signal; noise dithers it away as
           exp(-2 (pi s / step)^2) (the first harmonic of the quantiser's error: Carbone and Petri, IEEE Trans. Instrum.
           Meas. 43(3), 1994).  Step and noise by magnitude, because instruments change their range
           (``hil.meter.quantising``); the time spent at each weighs them
spikes     excursions of at most three samples cannot be told from range switching: their whole energy
gain       gain and voltage of the instrument, relative
offset     current offset times voltage times time; not in energies above idle, where it cancels
clock      seconds of the meter's clock, relative
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
from hil.meter.align import UNKNOWN_SKEW, Alignment, check_length
from hil.meter.errors import ClockError, ScopeError, TraceError, WindowError
from hil.meter.quantising import NO_STEPS, Steps, quantising_a
from hil.meter.trace import Integrator, SampleTimes, check_window, voltage_at
from hil.meter.types import Float, Trace
from hil.units import format_si

COVERAGE = 0.9
COVERAGE_FACTOR = 1.6448536269514722  # of a normal distribution, as for every interval of hil
_SAMPLED = 1 << 16  # samples that noise and step of a phase are estimated from
_BLOCK = 1 << 12  # of neighbours among them
_FEWEST = 16  # samples of one window that tell noise
_SPIKE_SIGMAS, _SPIKE_LEVEL = 20.0, 0.25  # of the noise, and of the phase's own power


@dataclass(frozen=True, slots=True)
class PhaseWindow:
    """A stretch of board time; windows of the same name are repetitions of one phase.

    ``inferences``: how many went by in it.  ``gaps_allowed``: the share of it that may be missing (``WINDOW_GAPS`` for
    long windows over many inferences).
    """

    name: str
    start_s: float
    end_s: float
    inferences: int = 1
    gaps_allowed: float = 0.0


@dataclass(frozen=True, slots=True)
class Regulator:
    """A regulator between the meter and what is asked for: energy behind it = ``efficiency`` * energy before it.

    Raises TraceError for an efficiency that is no share.
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


def _words(site: str) -> str:
    plain = " ".join(site.split(",")[0].replace("-", " ").casefold().split())
    return {"chip": "chip supply"}.get(plain, plain)


def idle_power(
    trace: Trace, windows: Sequence[PhaseWindow], alignment: Alignment, accuracy: Accuracy | None = None
) -> IdlePower:
    """Idle power from windows before and after the work, first and last in time.

    Raises WindowError for fewer than two, and what ``check_window`` does.
    """
    if len(windows) < 2:
        raise WindowError(
            f"idle measured in {len(windows)} windows, expected one before and one after the work",
            hint="a drift between both is seen only so",
        )
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


def energy_by_phase(
    trace: Trace,
    phases: Sequence[PhaseWindow],
    alignment: Alignment,
    *,
    scope: str | None = None,
    idle: Sequence[PhaseWindow] = (),
    accuracy: Accuracy | None = None,
    regulator: Regulator | None = None,
    tolerance: float = 0.05,
    refused: dict[str, MeterError] | None = None,
) -> dict[str, PhaseEnergy]:
    """The energy of every phase, by name in the order of their first windows.

    ``scope``: what the figures are to be of; None takes the site of the trace.  ``idle``: windows before and after the
    work.  ``tolerance``: relative, what the figures must be good for; a window whose borders sampling blurs by more
    than a fifth of it is refused.
    Raises ScopeError; GapError, OverRangeError, OutsideError, WindowError for a phase that cannot be measured: with
    ``refused`` given they are put there by name and the other phases are returned.
    """
    accuracy = accuracy or Accuracy()
    steps = _converter_steps(trace, accuracy)
    site = check_scope(trace.site, scope or (regulator.output_site if regulator else trace.site), regulator)
    if not 0 < tolerance < 1:
        raise WindowError(f"a tolerance of {tolerance:g}, expected a share between 0 and 1")
    base = idle_power(trace, idle, alignment, accuracy) if idle else None
    found: dict[str, PhaseEnergy] = {}
    for name in dict.fromkeys(phase.name for phase in phases):
        windows = [phase for phase in phases if phase.name == name]
        try:
            found[name] = _phase(trace, windows, alignment, site, base, accuracy, steps, regulator, tolerance)
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
            "sampling": fsum(sqrt(moment.step_squares_j2 / 12) for moment in moments),
            "quantising": character.quantising_w * time_s,
            "spikes": fsum(moment.spikes_j for moment in moments),
            "gain": hypot(accuracy.gain_sd, accuracy.voltage_sd) * relative,
            "clock": UNKNOWN_SKEW * relative,
            "borders": common,
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


def add_rails(rails: Sequence[Mapping[str, PhaseEnergy]], site: str) -> dict[str, PhaseEnergy]:
    """The sum over several rails, phase by phase, named ``site``.

    Each rail's trace was aligned with the board by itself; what is common to a rail's windows may be common to the
    rails too (one instrument, one reference), so it is added up, not in quadrature; above idle the intervals add up.
    Raises ClockError where a rail was not aligned, ScopeError for rails that are one, TraceError for different phases.
    """
    if not rails or any(set(rail) != set(rails[0]) for rail in rails):
        raise TraceError("rails with different phases cannot be added", hint="measure all of them over the same run")
    found: dict[str, PhaseEnergy] = {}
    for name in rails[0]:
        parts = [rail[name] for rail in rails]
        sites = [_words(part.site) for part in parts]
        if len(set(sites)) < len(sites):
            raise ScopeError(f"{name}: rails {', '.join(part.site for part in parts)}: one is in there twice")
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
    """What the samples of a phase are like: noise and quantising error of power, the level of spikes, mean voltage."""

    noise_w: float
    quantising_w: float
    spike_w: float
    voltage_v: float


def _integrator(trace: Trace, accuracy: Accuracy) -> Integrator:
    return Integrator(SampleTimes(trace), accuracy.gain, accuracy.offset_a)


def _joules(mean_j: float, sd_j: float) -> Joules:
    return Joules(mean_j, mean_j - COVERAGE_FACTOR * sd_j, mean_j + COVERAGE_FACTOR * sd_j)


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
    return _Character(noise_w, error_a * watts, spike_w or np.inf, voltage)


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

    A border that moves by ``d`` adds or takes the power on the side that it moves to.  Sigma points: one column of the
    Cholesky factor of the alignment's covariance at a time, in both directions, the worse counts.
    """
    jitter = alignment.jitter_s * float(np.sqrt((np.abs(sides_w).max(axis=2) ** 2).sum()))
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
