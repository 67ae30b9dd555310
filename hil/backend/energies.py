"""Measured energies in the place of the model's: phase by phase, and in the sums of phases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from hil.backend.assemble import Figures
from hil.backend.borders import INFERENCE
from hil.backend.metered import MeteredEnergy
from hil.backend.run import FIDELITIES, Energy, Fidelity, Interval, PhaseFigures
from hil.backend.timed import repeated
from hil.cost import SUMS
from hil.meter.energy import Joules, PhaseEnergy, same_site

Kind = Literal["energy_j", "energy_above_idle_j"]
# A sum counts as measured where the parts that nobody measured make up less than this.
NEGLIGIBLE = 0.01


def with_energy(figures: Figures, energy: MeteredEnergy | None, scope: str) -> Figures:
    """The figures with what the meter measured.  ``scope`` is that of the model's energies.

    A phase that is too short for the meter keeps the model's energy.  An inference that was refused has none: what was
    asked for is not known.  Sums are of parts of one scope, or there is none.
    """
    if energy is None:
        return figures
    phases, notes = dict(figures.phases), figures.notes
    if not same_site(energy.meter.site, scope):
        notes = (*notes, f"measured at {energy.meter.site}, the model's figures are of {scope}: no sum has both")
    for name, windows in energy.phases.items():
        if name in phases:
            phases[name] = _measured(phases[name], windows, simulated=energy.simulated)
    if INFERENCE not in energy.phases:
        nothing = {"energy_j": None, "energy_above_idle_j": None, "power_w": None}
        phases[INFERENCE] = phases[INFERENCE].model_copy(update=nothing)
    sums = {name: _summed(figures.sums[name], [phases[p] for p in SUMS[name] if p in phases]) for name in SUMS}
    return replace(
        figures, phases=phases, sums=sums, meter=energy.meter, idle_power_w=_idle(energy, scope), notes=notes
    )


def _idle(energy: MeteredEnergy, scope: str) -> Interval | None:
    """Measured idle power, where it is of the scope that the model's is: what the board takes while it waits."""
    if not energy.idle or not same_site(energy.idle[0].site, scope):
        return None
    joules = combined([Joules(one.mean_j, one.low_j, one.high_j) for one in energy.idle], scope, "measured")
    assert joules is not None
    second = float(np.median([one.duration_s for one in energy.idle]))
    return Interval(mean=joules.mean / second, low=joules.low / second, high=joules.high / second)


def _measured(old: PhaseFigures, windows: Sequence[PhaseEnergy], *, simulated: bool) -> PhaseFigures:
    model = old.energy_j.fidelity if old.energy_j is not None else None
    fidelity: Fidelity = (model or old.fidelity) if simulated else "measured"
    gross = [Joules(window.mean_j, window.low_j, window.high_j) for window in windows]
    site = windows[0].site
    return old.model_copy(
        update={
            "energy_j": combined(gross, f"{site}, gross", fidelity),
            "energy_above_idle_j": combined([w.above_idle for w in windows], f"{site}, above idle", fidelity),
            "power_w": float(np.median([window.power_w for window in windows])),
        }
    )


def combined(parts: Sequence[Joules | None], scope: str, fidelity: Fidelity) -> Energy | None:
    """The median of the windows (MLPerf Tiny's rule) with an interval that holds their scatter and the instrument's
    own; None where a window has no such figure."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    centre = float(np.median([part.mean_j for part in known]))
    own = max((part.high_j - part.low_j) / 2 for part in known)
    # A median of more than two scatters more than a mean: sqrt(pi / 2) times for many normal ones.
    scatter = repeated([part.mean_j for part in known], 0.0)
    more = math.sqrt(math.pi / 2) if len(known) > 2 else 1.0
    half = math.hypot(own, more * (scatter.high - scatter.mean))
    return Energy(mean=centre, low=centre - half, high=centre + half, scope=scope, fidelity=fidelity)


def _summed(old: PhaseFigures, parts: Sequence[PhaseFigures]) -> PhaseFigures:
    gross = summed(parts, "energy_j")
    seconds = old.latency_s.mean
    return old.model_copy(
        update={
            "energy_j": gross,
            "energy_above_idle_j": summed(parts, "energy_above_idle_j"),
            "power_w": gross.mean / seconds if gross is not None and seconds > 0 else None,
        }
    )


def summed(parts: Sequence[PhaseFigures], kind: Kind) -> Energy | None:
    """The sum of the parts that take time.

    The errors of one instrument are common to its parts, and those of the model to its own: half widths add up within
    each, and combine in quadrature.  None where a part has no energy, or one of another scope.
    """
    taking = [part for part in parts if part.latency_s.mean > 0]
    energies: list[Energy] = [one for part in taking if (one := getattr(part, kind)) is not None]
    if not energies or len(energies) < len(taking) or len({one.scope.casefold() for one in energies}) > 1:
        return None
    fidelities = [one.fidelity or part.fidelity for one, part in zip(energies, taking, strict=True)]
    halves: dict[bool, float] = {True: 0.0, False: 0.0}
    for one, fidelity in zip(energies, fidelities, strict=True):
        halves[fidelity == "measured"] += (one.high - one.low) / 2
    mean = math.fsum(one.mean for one in energies)
    half = math.hypot(*halves.values())
    return energies[0].model_copy(
        update={"mean": mean, "low": mean - half, "high": mean + half, "fidelity": _worst(energies, fidelities)}
    )


def _worst(energies: Sequence[Energy], fidelities: Sequence[Fidelity]) -> Fidelity:
    """The fidelity of a sum: the worst of its parts, leaving out those that are negligible together."""
    whole = math.fsum(abs(one.mean) for one in energies)
    for fidelity in reversed(FIDELITIES):
        parts = [
            abs(one.mean)
            for one, of in zip(energies, fidelities, strict=True)
            if FIDELITIES.index(of) >= FIDELITIES.index(fidelity)
        ]
        if parts and math.fsum(parts) >= NEGLIGIBLE * whole:
            return fidelity
    return fidelities[0]
