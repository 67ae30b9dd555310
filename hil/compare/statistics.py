"""The statistics behind verdicts: errors, intervals of ratios and means, an equivalence test, a bootstrap.

Differences of times and energies are ratios, so everything works on natural logarithms: twice as long and half as long
are equally far off, and a tolerance of 10 % means a factor of at most 1.1 either way (+10 %, -9.1 %).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit

Float = NDArray[np.float64]
# Intervals are of 90 % throughout hil; an equivalence test at 5 % is one whose 90 % interval lies within the margin.
LEVEL = 0.90
RESAMPLES = 2000
SEED = 1


@dataclass(frozen=True, slots=True)
class Errors:
    """How far ``n`` figures are off their references, as shares of 1.

    ``bias`` is the geometric mean of the ratios less 1, ``mean_error`` the mean of the relative errors, ``mape`` the
    mean of their absolute values, ``rmse`` the root of the mean of their squares.
    """

    n: int
    bias: float
    mean_error: float
    mape: float
    rmse: float


def errors(reference: ArrayLike, figures: ArrayLike) -> Errors:
    """Errors of ``figures`` against ``reference``, both positive and of shape ``[n]``."""
    ratio = np.asarray(figures, dtype=np.float64) / np.asarray(reference, dtype=np.float64)
    relative = ratio - 1.0
    return Errors(
        n=len(ratio),
        bias=math.expm1(float(np.log(ratio).mean())),
        mean_error=float(relative.mean()),
        mape=float(np.abs(relative).mean()),
        rmse=math.sqrt(float((relative**2).mean())),
    )


def ratio_interval(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """The interval of ``ln(b/a)`` from the intervals of both, each ``(value, low, high)`` and positive.

    Independent errors: the distances to the bounds add as squares, each side by itself (MOVER, Zou and Donner,
    Statistics in Medicine 27, 2008).  A bound of zero leaves that side open.
    """
    down_a, up_a = _distances(a)
    down_b, up_b = _distances(b)
    centre = math.log(b[0] / a[0])
    return centre - math.hypot(down_b, up_a), centre + math.hypot(up_b, down_a)


def _distances(figure: Sequence[float]) -> tuple[float, float]:
    value, low, high = figure
    return (math.log(value / low) if low > 0 else math.inf), math.log(high / value)


def mean_interval(values: ArrayLike, level: float = LEVEL) -> tuple[Any, Any]:
    """Student's interval of the mean along the last axis, shape ``[..., n]``, at least two values."""
    data = np.asarray(values, dtype=np.float64)
    n = data.shape[-1]
    half = stdtrit(n - 1, (1 + level) / 2) * data.std(axis=-1, ddof=1) / math.sqrt(n)
    centre = data.mean(axis=-1)
    return centre - half, centre + half


def equivalence_p(values: ArrayLike, margin: float) -> float:
    """Two one-sided t tests that the mean lies within ``±margin``: the larger p value (Schuirmann 1987).

    Below 0.05 exactly where the 90 % interval of the mean (``mean_interval``) lies within the margin.
    """
    data = np.asarray(values, dtype=np.float64)
    centre, error = float(data.mean()), float(data.std(ddof=1)) / math.sqrt(len(data))
    nearest = margin - abs(centre)  # the side that is closer to the margin has the larger p value
    if error == 0.0:
        return 0.0 if nearest > 0 else 1.0
    return float(stdtr(len(data) - 1, -nearest / error))


def bootstrap_interval(
    values: ArrayLike,
    statistic: Callable[[Float], Any],
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> tuple[float, float]:
    """A bias-corrected and accelerated (BCa) bootstrap interval (Efron 1987).

    ``values`` (shape ``[n]``) are one figure per pair, so that resampling them keeps pairs together; ``statistic``
    takes shape ``[..., n]`` and reduces the last axis.  BCa rather than percentile, because a mean of absolute errors
    is skewed and a percentile interval then sits too low.  Where all resamples are alike, that figure twice.
    """
    data = np.asarray(values, dtype=np.float64)
    n = len(data)
    seen = float(statistic(data))
    picked = np.random.default_rng(seed).integers(0, n, size=(resamples, n))
    drawn = np.sort(np.asarray(statistic(data[picked]), dtype=np.float64))
    below = (np.count_nonzero(drawn < seen) + np.count_nonzero(drawn <= seen)) / (2 * resamples)
    left_out = np.asarray(statistic(np.tile(data, (n, 1))[~np.eye(n, dtype=bool)].reshape(n, n - 1)), dtype=np.float64)
    away = left_out.mean() - left_out
    spread = float((away**2).sum())
    if spread == 0.0 or not 0.0 < below < 1.0:
        return float(drawn[0]), float(drawn[-1])
    acceleration = float((away**3).sum()) / (6 * spread**1.5)
    shift = float(ndtri(below))
    z = shift + np.array([-1.0, 1.0]) * float(ndtri((1 + level) / 2))
    low, high = np.quantile(drawn, ndtr(shift + z / (1 - acceleration * z)))
    return float(low), float(high)
