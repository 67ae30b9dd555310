"""Fitting a unit: latency first, then energy with the latency parameters held; leave-one-group-out on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hil.calibrate.design import Unit
from hil.calibrate.fit import Solution, solve
from hil.calibrate.units import ENERGY_NAMES
from hil.cost import Z_90
from hil.cost.workload import Float

Mask = npt.NDArray[np.bool_]

# Structural error before anything is known, and its floor: no model of this kind is right to better than 2 %.
START_SIGMA = 0.10
LEAST_SIGMA = 0.02
# What stands in where there are too few groups to leave one out.
UNKNOWN_SIGMA = 0.20
LEAST_GROUPS = 3

# Stacks with ten networks and more show 0.02 to 0.12; this is the cautious half.
TYPICAL_SIGMA = 0.08
ENOUGH_NETWORKS = 10

STAGES: tuple[str, ...] = ("latency_s", "energy_j")


@dataclass(frozen=True)
class Held:
    """Predictions of rows whose group was left out: logarithms, and their variance without the structural part."""

    log_predicted: Float
    variance: Float
    rows: npt.NDArray[np.int64]


@dataclass
class StageFit:
    """One stage of one unit: the active parameters, the solution, the structural error, the held-out predictions.

    ``held``: each network left out, with its twins.  ``unseen``: each architecture left out, with all its variants.
    """

    quantity: str
    active: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    solution: Solution
    structural_sigma: float
    held: Held | None
    unseen: Held | None = None


@dataclass
class UnitFit:
    """A fitted unit: the whole parameter vector and its stages by quantity."""

    unit: Unit
    vector: Float
    stages: dict[str, StageFit]


def fit_unit(unit: Unit, *, hold_out: bool = True) -> UnitFit:
    """Fit latency, then energy.  ``hold_out`` false leaves nothing out (then the structural error is a guess)."""
    vector = unit.prior.copy()
    stages: dict[str, StageFit] = {}
    for quantity in STAGES:
        kinds = ("latency_s",) if quantity == "latency_s" else ("energy_j", "power_w")
        rows = np.array([i for i, row in enumerate(unit.rows) if row.quantity in kinds], dtype=np.int64)
        if not len(rows):
            continue
        active = _active(unit, vector, rows, energy=quantity == "energy_j")
        if not len(active):
            continue
        stage = _fit_stage(unit, quantity, vector, active, rows, hold_out)
        vector = vector.copy()
        vector[active] = stage.solution.vector
        stages[quantity] = stage
    return UnitFit(unit, vector, stages)


def _active(unit: Unit, vector: Float, rows: npt.NDArray[np.int64], *, energy: bool) -> npt.NDArray[np.int64]:
    """Parameters of the stage that move any of its rows."""
    _, slope = unit.jacobian(vector)
    moves = np.abs(slope[rows]).max(axis=0) > 1e-6
    own = np.array([(slot.parameter.name in ENERGY_NAMES) == energy for slot in unit.slots])
    return np.flatnonzero(moves & own)


def _fit_stage(
    unit: Unit,
    quantity: str,
    vector: Float,
    active: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    hold_out: bool,
) -> StageFit:
    groups = np.array([unit.twins[unit.rows[i].network] for i in rows])
    names = sorted(set(groups))
    sigma = START_SIGMA
    held: Held | None = None
    if hold_out and len(names) >= LEAST_GROUPS:
        for _ in range(2):  # the structural error weights the rows, and the rows tell the structural error
            held = _leave_out(unit, vector, active, rows, groups, sigma)
            found = structural_sigma(unit.log_measured[rows] - held.log_predicted, held.variance, unit.noise[rows])
            sigma = towards_typical(found, len(names))
    else:
        sigma = UNKNOWN_SIGMA
    solution = _solve(unit, vector, active, rows, sigma, None)
    architectures = np.array([unit.rows[i].group or unit.rows[i].network for i in rows])
    unseen: Held | None = None
    if hold_out and len(set(architectures)) >= LEAST_GROUPS:
        unseen = _leave_out(unit, vector, active, rows, architectures, sigma)
    return StageFit(quantity, active, rows, solution, sigma, held, unseen)


def _solve(
    unit: Unit,
    vector: Float,
    active: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    sigma: float,
    start: Float | None,
) -> Solution:
    return solve(
        _restricted(unit, vector, active, rows),
        unit.log_measured[rows],
        np.hypot(unit.noise[rows], max(sigma, LEAST_SIGMA)),
        unit.prior[active],
        unit.prior_sigma[active],
        start,
    )


def _restricted(
    unit: Unit, vector: Float, active: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
) -> Callable[[Float], tuple[Float, Float]]:
    """The unit's prediction of some rows as a function of some parameters, the others held."""

    def jacobian(x: Float, step: float = 1e-3) -> tuple[Float, Float]:
        vectors = np.repeat(vector[None, :], 1 + len(active), axis=0)
        vectors[:, active] = np.vstack([x, x + step * np.eye(len(active))])
        values = unit.predict(vectors)[:, rows]
        return values[0], ((values[1:] - values[0]) / step).T

    return jacobian


def _leave_out(
    unit: Unit,
    vector: Float,
    active: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    groups: npt.NDArray[np.str_],
    sigma: float,
) -> Held:
    """Predict every group from a fit to the others."""
    whole = _solve(unit, vector, active, rows, sigma, None)
    predicted, variance = np.zeros(len(rows)), np.zeros(len(rows))
    for name in sorted(set(groups)):
        out = groups == name
        solution = _solve(unit, vector, active, rows[~out], sigma, whole.vector)
        values, slope = _restricted(unit, vector, active, rows[out])(solution.vector)
        predicted[out] = values
        variance[out] = np.einsum("rp,pq,rq->r", slope, solution.covariance, slope)
    return Held(predicted, variance, rows)


def towards_typical(sigma: float, networks: int) -> float:
    """A structural error drawn towards the typical one, the more the fewer networks (below ten) it rests on.

    With few networks each kernel is told by one of them: leaving it out makes the parameters, not the model, uncertain,
    and the structural error seems to vanish.
    """
    missing = max(0, ENOUGH_NETWORKS - networks)
    return float(np.sqrt((networks * sigma**2 + missing * TYPICAL_SIGMA**2) / (networks + missing)))


def structural_sigma(residual: Float, variance: Float, noise: Float) -> float:
    """The structural error with which nine of ten held-out rows lie within their 90 % interval.

    Each row needs some ``sigma`` for ``|residual| <= 1.645 sqrt(variance + noise^2 + sigma^2)``; the answer is the
    need of the row at the ninth tenth.
    """
    need = np.sort(np.maximum((residual / Z_90) ** 2 - variance - noise**2, 0.0))
    rank = int(np.ceil(0.90 * len(need))) - 1
    return float(max(np.sqrt(need[rank]), LEAST_SIGMA))
