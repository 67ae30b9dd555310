"""The statistics against closed forms, and against SciPy's own implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from hil.compare.statistics import (
    bootstrap_interval,
    equivalence_p,
    errors,
    mean_interval,
    ratio_interval,
)

RATIOS = np.array([1.08, 0.97, 1.21, 1.02, 0.93, 1.15, 1.00, 1.06])


def test_errors_by_hand() -> None:
    """Twice as much and half as much: no bias of the ratio, +25 % mean error."""
    found = errors([1.0, 2.0], [2.0, 1.0])
    assert found.bias == pytest.approx(0.0, abs=1e-15)
    assert found.mean_error == pytest.approx(0.25)
    assert found.mape == pytest.approx(0.75)
    assert found.rmse == pytest.approx(math.sqrt((1 + 0.25) / 2))
    assert found.n == 2


def test_interval_of_a_ratio_of_log_normal_figures() -> None:
    """Symmetric on the logarithm: standard deviations add as squares."""
    a, b = (3.0, 3.0 * math.exp(-0.3), 3.0 * math.exp(0.3)), (6.0, 6.0 * math.exp(-0.4), 6.0 * math.exp(0.4))
    assert ratio_interval(a, b) == pytest.approx((math.log(2) - 0.5, math.log(2) + 0.5))


def test_interval_of_a_ratio_takes_each_side_by_itself() -> None:
    """b can only be higher, a only lower: both push the ratio up."""
    low, high = ratio_interval((1.0, math.exp(-0.3), 1.0), (1.0, 1.0, math.exp(0.4)))
    assert (low, high) == pytest.approx((0.0, 0.5))


def test_a_figure_that_may_be_zero_leaves_the_ratio_open() -> None:
    assert ratio_interval((1.0, 1.0, 1.0), (1.0, 0.0, 1.1))[0] == -math.inf


def test_mean_interval_is_students() -> None:
    logs = np.log(RATIOS)
    expected = stats.ttest_1samp(logs, 0.0).confidence_interval(0.90)
    assert mean_interval(logs) == pytest.approx((expected.low, expected.high))


def test_equivalence_is_two_one_sided_t_tests() -> None:
    logs = np.log(RATIOS)
    for margin in (0.05, 0.10, 0.20):
        upper = stats.ttest_1samp(logs, margin, alternative="less").pvalue
        lower = stats.ttest_1samp(logs, -margin, alternative="greater").pvalue
        assert equivalence_p(logs, margin) == pytest.approx(max(upper, lower))
        low, high = mean_interval(logs)
        assert (equivalence_p(logs, margin) < 0.05) == (-margin < low and high < margin)


def test_equivalence_of_equal_figures_is_certain() -> None:
    assert equivalence_p([0.02, 0.02, 0.02], 0.05) == 0.0
    assert equivalence_p([0.08, 0.08, 0.08], 0.05) == 1.0


def test_bootstrap_is_bca() -> None:
    """SciPy's BCa interval of the same data; both draw at random, 20,000 times."""
    values = np.abs(RATIOS - 1)
    expected = stats.bootstrap(
        (values,), np.mean, confidence_level=0.9, n_resamples=20_000, method="BCa", rng=np.random.default_rng(2)
    ).confidence_interval
    found = bootstrap_interval(values, lambda draws: draws.mean(axis=-1), resamples=20_000)
    assert found == pytest.approx((expected.low, expected.high), rel=0.02)


def test_bootstrap_repeats_itself_and_survives_equal_values() -> None:
    def mean(draws: np.ndarray) -> np.ndarray:
        return draws.mean(axis=-1)

    assert bootstrap_interval(RATIOS, mean) == bootstrap_interval(RATIOS, mean)
    assert bootstrap_interval(RATIOS, mean) != bootstrap_interval(RATIOS, mean, seed=7)
    assert bootstrap_interval([0.1, 0.1, 0.1], mean) == pytest.approx((0.1, 0.1))
