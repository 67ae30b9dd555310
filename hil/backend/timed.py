"""Figures of a board: latencies that it reported, energies from the cost model's power.

No board here tells its power by itself: energy of a phase is the model's mean power of that phase times the time that
the board took, with the relative interval of the model's energy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import stdtrit

from hil.backend.run import Energy, Fidelity, Interval, PhaseFigures
from hil.cost import SUMS, Z_90


def around(mean: float, sigma: float) -> Interval:
    """The 90 % interval of a log-normal figure whose logarithm has the standard deviation ``sigma``."""
    return Interval(mean=mean, low=mean * math.exp(-Z_90 * sigma), high=mean * math.exp(Z_90 * sigma))


def log_sigma(interval: Interval) -> float:
    """The standard deviation of the logarithm behind a 90 % interval; zero for a figure of zero."""
    return math.log(interval.high / interval.low) / (2 * Z_90) if interval.low > 0 else 0.0


def repeated(samples_s: Sequence[float], resolution_s: float) -> Interval:
    """Median and 90 % interval of repeated measurements: Student's t over the samples (shape ``[n]``), and the clock's
    resolution below it.  A single sample has the resolution only: its repeatability is unknown.
    """
    values = np.asarray(samples_s, dtype=np.float64)
    centre = float(np.median(values))
    spread = 0.0
    if len(values) > 1:
        spread = float(stdtrit(len(values) - 1, 0.95) * values.std(ddof=1) / math.sqrt(len(values)))
    half = math.hypot(spread, resolution_s)
    return Interval(mean=centre, low=max(centre - half, 0.0), high=centre + half)


def timed(
    predicted: PhaseFigures | None, latency_s: Interval, fidelity: Fidelity, samples_s: Sequence[float] = ()
) -> PhaseFigures:
    """A phase (or a sum of phases) that a board timed, with the energy that the model's power gives it."""
    expected = predicted.latency_s.mean if predicted is not None else 0.0
    ratio = latency_s.mean / expected if expected > 0 else None
    return PhaseFigures(
        latency_s=latency_s,
        energy_j=_scaled(predicted.energy_j if predicted else None, ratio),
        energy_above_idle_j=_scaled(predicted.energy_above_idle_j if predicted else None, ratio),
        power_w=predicted.power_w if predicted else None,
        fidelity=fidelity,
        samples_s=tuple(samples_s),
    )


def sums(
    phases: Mapping[str, PhaseFigures],
    predicted: Mapping[str, PhaseFigures],
    fidelity: Fidelity | None,
    scatter: Mapping[str, float] | None = None,
) -> dict[str, PhaseFigures]:
    """Every sum of phases.  ``fidelity``: None for that of the prediction.

    ``scatter``: the times rest on the cost model, whose interval of the sum holds; beside it each phase has this
    standard deviation of its logarithm.  None: measured times, which vary independently.
    """
    found: dict[str, PhaseFigures] = {}
    for name, members in SUMS.items():
        parts = {phase: phases[phase] for phase in members if phase in phases}
        mean = math.fsum(part.latency_s.mean for part in parts.values())
        if scatter is not None:
            own = [scatter.get(phase, 0.0) * part.latency_s.mean / mean for phase, part in parts.items() if mean > 0]
            latency = around(mean, math.hypot(log_sigma(predicted[name].latency_s), *own))
        else:
            half = math.hypot(*(part.latency_s.high - part.latency_s.low for part in parts.values())) / 2
            latency = Interval(mean=mean, low=max(mean - half, 0.0), high=mean + half)
        energy = _added(list(parts.values()), "energy_j", predicted[name].energy_j)
        found[name] = PhaseFigures(
            latency_s=latency,
            energy_j=energy,
            energy_above_idle_j=_added(
                list(parts.values()), "energy_above_idle_j", predicted[name].energy_above_idle_j
            ),
            power_w=energy.mean / mean if energy is not None and mean > 0 else None,
            fidelity=fidelity or predicted[name].fidelity,
        )
    return found


def _added(parts: Sequence[PhaseFigures], field: str, predicted: Energy | None) -> Energy | None:
    """The sum of the parts' energies with the relative interval of the prediction; None where a part has time but no
    energy."""
    energies: list[Energy | None] = [getattr(part, field) for part in parts]
    if predicted is None or any(e is None and p.latency_s.mean > 0 for p, e in zip(parts, energies, strict=True)):
        return None
    return _at(predicted, math.fsum(energy.mean for energy in energies if energy is not None))


def _scaled(energy: Energy | None, ratio: float | None) -> Energy | None:
    return _at(energy, energy.mean * ratio) if energy is not None and ratio is not None else None


def _at(energy: Energy, mean: float) -> Energy:
    """The same energy moved to another centre, its relative interval kept."""
    ratio = mean / energy.mean if energy.mean > 0 else 0.0
    return energy.model_copy(update={"mean": mean, "low": energy.low * ratio, "high": energy.high * ratio})
