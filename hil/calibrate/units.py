"""Which fit problems there are: one per platform and software stack that an operating point stands for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hil.calibrate.dataset import Measurement, scope_label
from hil.calibrate.design import LoadNetwork, Unit, build_unit, usable
from hil.cost.parameters import ENERGY_PARAMETERS, Parameter
from hil.errors import CalibrationError
from hil.platform import Platform

# Priors of platform files were often read off the same publications that are fitted here.  So that a held-out network
# is really held out, no prior of a fitted parameter counts as surer than a factor of two.
LEAST_PRIOR_SIGMA = math.log(2.0)

ENERGY_NAMES = frozenset(parameter.name for parameter in ENERGY_PARAMETERS)


def loosen(parameter: Parameter) -> Parameter:
    """The parameter with a prior no narrower than a factor of two, where it was measured or inferred."""
    prior = parameter.prior
    if prior.certainty in ("datasheet", "assumed"):
        return parameter
    return replace(parameter, prior=replace(prior, sigma=max(prior.sigma, LEAST_PRIOR_SIGMA)))


def stacks_of(platform: Platform) -> dict[str, tuple[str, ...]]:
    """Stack to the operating points that stand for it."""
    found: dict[str, list[str]] = {}
    for name, point in platform.operating_points.items():
        found.setdefault(point.stack_name, []).append(name)
    return {stack: tuple(points) for stack, points in found.items()}


@dataclass(frozen=True)
class Task:
    """The measurements of one platform and stack, before anything is planned."""

    platform: Platform
    stack: str
    points: tuple[str, ...]
    rows: tuple[Measurement, ...]

    def build(self, load: LoadNetwork, cache: Path | None) -> Unit:
        """Plan and count; the slow part."""
        unit = build_unit(self.platform, self.stack, self.rows, load, cache, loosen)
        unit.points = self.points
        return unit


def tasks(platform: Platform, measurements: Sequence[Measurement]) -> list[Task]:
    """The fit problems of one platform that have measurements.

    Raises CalibrationError where an energy or power of another scope than the platform's is marked for fitting.
    """
    found = []
    for stack, points in stacks_of(platform).items():
        rows = tuple(
            row
            for row in measurements
            if row.platform == platform.id and row.software == stack and row.operating_point in points and usable(row)
        )
        for row in rows:
            _check_scope(platform, row)
        if rows:
            found.append(Task(platform, stack, points, rows))
    return found


def _check_scope(platform: Platform, row: Measurement) -> None:
    """Energies of different scope never meet in one fit."""
    own = scope_label(platform.power)
    if row.quantity in ("energy_j", "power_w") and row.scope != own:
        raise CalibrationError(
            f"measurement {row.id}: {row.quantity} covers '{row.scope}', {platform.id} is modelled for '{own}'",
            hint="mark the row use = check with the reason, or change the platform's [power]",
        )
