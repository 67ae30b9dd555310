"""Maximum a posteriori in log space: Gauss-Newton with damping, priors as extra rows, and robust weights.

A Student-t likelihood with four degrees of freedom by iterative re-weighting: a row ten times off ends with a weight of
a few per cent.  The covariance is the inverse curvature at the optimum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hil.cost.workload import Float

DEGREES_OF_FREEDOM = 4.0
_ROUNDS = 12
_STEPS = 6

Jacobian = Callable[[Float], tuple[Float, Float]]


@dataclass(frozen=True)
class Solution:
    """The optimum: parameters (log), covariance, and the robust weight of every row."""

    vector: Float
    covariance: Float
    weights: Float


def solve(
    jacobian: Jacobian,
    measured: Float,
    noise: Float,
    prior: Float,
    prior_sigma: Float,
    start: Float | None = None,
) -> Solution:
    """Minimise ``sum w (y - f(x))^2 / noise^2 + sum (x - prior)^2 / prior_sigma^2`` with Student-t weights ``w``.

    ``jacobian(x)`` gives ``f`` and its derivative; all of it in logarithms.  Deterministic.
    """
    x = prior.copy() if start is None else start.copy()
    weights = np.ones_like(measured)
    precision = 1.0 / prior_sigma**2
    for _ in range(_ROUNDS):
        before = x.copy()
        x = _gauss_newton(jacobian, measured, noise / np.sqrt(weights), prior, precision, x)
        values, _ = jacobian(x)
        scaled = (measured - values) / noise
        weights = (DEGREES_OF_FREEDOM + 1) / (DEGREES_OF_FREEDOM + scaled**2)
        if np.max(np.abs(x - before), initial=0.0) < 1e-4:
            break
    _, slope = jacobian(x)
    curvature = (slope * (weights / noise**2)[:, None]).T @ slope + np.diag(precision)
    return Solution(x, np.asarray(np.linalg.inv(curvature), dtype=np.float64), weights)


def _gauss_newton(jacobian: Jacobian, measured: Float, noise: Float, prior: Float, precision: Float, x: Float) -> Float:
    def cost(values: Float, at: Float) -> float:
        return float((((measured - values) / noise) ** 2).sum() + (precision * (at - prior) ** 2).sum())

    values, slope = jacobian(x)
    current = cost(values, x)
    damping = 1e-3
    for _ in range(_STEPS):
        scaled = slope / noise[:, None]
        normal = scaled.T @ scaled + np.diag(precision)
        gradient = scaled.T @ ((measured - values) / noise) - precision * (x - prior)
        while damping < 1e6:
            step = np.linalg.solve(normal + damping * np.diag(np.diag(normal)), gradient)
            # No parameter moves more than a factor e^2 at once: the model is far from linear out there.
            trial = x + np.clip(step, -2.0, 2.0)
            values_there, slope_there = jacobian(trial)
            there = cost(values_there, trial)
            if there <= current:
                break
            damping *= 10.0
        else:
            return x
        moved = float(np.max(np.abs(trial - x), initial=0.0))
        x, values, slope, current = trial, values_there, slope_there, there
        damping = max(damping / 10.0, 1e-9)
        if moved < 1e-4:
            break
    return x
