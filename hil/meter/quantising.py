"""The steps of an instrument's converter, as its own readings tell them, and the error that they make.

Instruments that change their range have larger steps at larger currents (PPK2: five ranges; ST's meters: 16-bit
floating point), so steps are kept by magnitude: by the power of two of the reading.  Two facts bound the step at a
magnitude from above: two readings of one magnitude differ by whole steps, and a step never shrinks when the magnitude
grows, so that what differs little at large currents differs by no more at small ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi, sqrt

import numpy as np
import numpy.typing as npt

from hil.meter.types import Float, Samples

# Exponents of two from 2**-60 (far below any instrument's step) to 2**20 A; all below count as the lowest.
_LOWEST, _HIGHEST = -60, 20
_ROUNDING = 2.0**-22  # relative: what differs by less differs by float32's rounding
_RARE = 1e-3  # of the readings of one magnitude: levels below that are the instrument's filters, between two ranges
_TO_SIGMA = 1 / (0.6744897501960817 * sqrt(2.0))  # of the median absolute difference of neighbours in normal noise


@dataclass(frozen=True)
class Steps:
    """What is known of the steps, amperes.

    ``within``, shape ``[magnitudes]``: the smallest difference of readings of that magnitude.  ``below``: the distance
    from the lowest reading of that magnitude to the next one below.  Infinite where no readings tell.
    ``fixed``: the step is known.
    """

    within: Float
    below: Float
    fixed: float | None = None

    @classmethod
    def constant(cls, lsb_a: float) -> Steps:
        """One step for all readings."""
        return cls(NO_STEPS.within, NO_STEPS.below, lsb_a)

    def with_readings(self, readings: Samples) -> Steps:
        """What is known with more readings, shape ``[n]``, in any order."""
        if self.fixed is not None:
            return self
        within, below = self.within.copy(), self.below.copy()
        levels, counts = np.unique(np.abs(np.asarray(readings, dtype=np.float64)), return_counts=True)
        places = _places(levels)
        lowest = 0.0
        for place in np.unique(places):
            here = places == place
            held = _levels(levels[here], counts[here])
            apart = np.diff(held)
            apart = apart[apart > _ROUNDING * held[1:]]
            within[place] = min(within[place], apart.min(initial=np.inf))
            if held[0] > 0:
                below[place] = min(below[place], held[0] - lowest)
            lowest = held[-1]
        return Steps(within, below)

    def at(self, places: npt.NDArray[np.intp]) -> Float:
        """The step at each of some magnitudes, 0 where there is none to tell."""
        if self.fixed is not None:
            return np.full(places.shape, self.fixed)
        known, down = (np.minimum.accumulate(bounds[::-1])[::-1] for bounds in (self.within, self.below))
        # Nothing at or above that magnitude ever differed: the step is at most the way down to the next reading.
        steps = np.where(np.isfinite(known), known, down)[places]
        return np.where(np.isfinite(steps), steps, 0.0)


NO_STEPS = Steps(np.full(_HIGHEST - _LOWEST + 1, np.inf), np.full(_HIGHEST - _LOWEST + 1, np.inf))


def quantising_a(stretches: Sequence[Float], steps: Steps) -> tuple[float, float]:
    """The standard uncertainty that quantising gives to the mean of readings, and their typical step, amperes.

    ``stretches``: readings of neighbours in time, each of shape ``[n]``.  At each magnitude the error is
    step / sqrt(12) unless noise dithers it; errors of different magnitudes are added up as if they were one, because
    the same constant current may lie in two of them.
    """
    places = [_places(np.abs(readings)) for readings in stretches]
    everywhere = np.concatenate(places)
    found, counts = np.unique(everywhere, return_counts=True)
    step_a = steps.at(found)
    before = np.concatenate([place[:-1] for place in places])
    same = before == np.concatenate([place[1:] for place in places])
    change_a = np.concatenate([np.abs(np.diff(readings)) for readings in stretches])[same]
    before = before[same]
    error_a = np.zeros(len(found))
    for index, place in enumerate(found):
        if step_a[index] > 0:
            changes = change_a[before == place]
            if 2 * len(changes) < counts[index]:  # the tail of what lies at another magnitude
                changes = change_a
            sigma_a = float(np.median(changes)) * _TO_SIGMA if len(changes) else 0.0
            error_a[index] = step_a[index] / sqrt(12) * np.exp(-2 * (pi * sigma_a / step_a[index]) ** 2)
    middle = int(np.median(everywhere))
    typical = float(steps.at(np.array([middle]))[0])
    return float(np.average(error_a, weights=counts)), typical


def _places(magnitudes: Float) -> npt.NDArray[np.intp]:
    """The index of each magnitude's power of two."""
    exponents = np.where(magnitudes > 0, np.frexp(magnitudes)[1], _LOWEST)
    return np.clip(exponents, _LOWEST, _HIGHEST).astype(np.intp) - _LOWEST


def _levels(levels: Float, counts: npt.NDArray[np.int64]) -> Float:
    """The levels that readings come back to; all of them where they come back to none, as averaged readings do."""
    often = counts >= max(2, _RARE * counts.sum())
    return levels[often] if 2 * counts[often].sum() >= counts.sum() else levels
