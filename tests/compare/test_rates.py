"""How often verdicts and the gate are right and wrong, on data whose truth is known; docs/verdicts.md states it."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hil.backend.timed import repeated
from hil.compare.statistics import bootstrap_interval, mean_interval, ratio_interval
from hil.compare.verdict import classify

DOCS = Path(__file__).parents[2] / "docs" / "verdicts.md"
TRIALS = 20_000
BOARD_TRIALS = 2_000
# Three standard errors of a rate of one half, over so many trials.
SLACK = 3 * 0.5 / math.sqrt(TRIALS)
BOARD_SLACK = 3 * 0.5 / math.sqrt(BOARD_TRIALS)


def documented(title: str) -> list[list[float]]:
    """The numbers of the table below a heading of docs/verdicts.md, per cent as shares of 1."""
    section = DOCS.read_text(encoding="utf-8").split(f"### {title}\n", 1)[1].split("\n#", 1)[0]
    rows = [line.strip("| \n").split("|") for line in section.splitlines() if re.match(r"\| *[\d+]", line)]
    return [[_number(cell) for cell in row] for row in rows]


def _number(cell: str) -> float:
    number = float(cell.replace("%", "").replace("<", "").strip())
    return number / 100 if "%" in cell else number


def outcomes(low: NDArray[np.float64], high: NDArray[np.float64], tolerance: float) -> tuple[float, float]:
    """The share that agrees and that disagrees."""
    found = [classify(one, other, tolerance) for one, other in zip(low.tolist(), high.tolist(), strict=True)]
    return found.count("agree") / len(found), found.count("disagree") / len(found)


def series_rates(n: int, scatter: float, bias: float) -> tuple[float, float]:
    """Series of ``n`` networks: log-normal ratios of this bias and scatter, against a tolerance of 10 %."""
    rng = np.random.default_rng(round(1e6 * (n + scatter + bias)))
    low, high = mean_interval(math.log1p(bias) + scatter * rng.standard_normal((TRIALS, n)))
    return outcomes(low, high, 0.10)


def board_ratios(windows: int, scatter: float, change: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Intervals of the ratio of two boards, each measured so many times at 10 ms with a clock of 1 us."""
    rng = np.random.default_rng(round(1e6 * (windows + scatter + change)))
    found = []
    for _ in range(BOARD_TRIALS):
        a, b = 0.010 * np.exp(scatter * rng.standard_normal((2, windows))) * np.array([[1.0], [1 + change]])
        one, other = repeated(a, 1e-6), repeated(b, 1e-6)
        found.append(ratio_interval((one.mean, one.low, one.high), (other.mean, other.low, other.high)))
    low, high = np.array(found).T
    return low, high


def gate_rate(windows: int, scatter: float, change: float) -> float:
    """How often the gate at 5 % calls a board slower."""
    low, high = board_ratios(windows, scatter, change)
    # The centre of the ratio is that of the medians; both bounds are about as far from it.
    return float(np.mean(((low + high) / 2 > math.log1p(0.05)) & (low > 0)))


@pytest.mark.parametrize("row", documented("Series"), ids=str)
def test_series_of_networks(row: list[float]) -> None:
    n, scatter = int(row[0]), row[1]
    found = [*series_rates(n, scatter, 0.0), *series_rates(n, scatter, 0.10), *series_rates(n, scatter, 0.25)]
    assert found == pytest.approx(row[2:], abs=SLACK)


def test_a_bias_at_the_edge_is_called_equivalent_in_one_of_twenty_at_most() -> None:
    """The size of the test, whatever the scatter: 5 %."""
    for n in (3, 5, 20):
        for scatter in (0.01, 0.05, 0.20):
            assert series_rates(n, scatter, 0.10)[0] <= 0.05 + SLACK


@pytest.mark.parametrize("row", documented("Boards"), ids=str)
def test_boards_measured_repeatedly(row: list[float]) -> None:
    windows, scatter = int(row[0]), row[1]
    agree, disagree = outcomes(*board_ratios(windows, scatter, 0.0), 0.10)
    edge, _ = outcomes(*board_ratios(windows, scatter, 0.10), 0.10)
    _, off = outcomes(*board_ratios(windows, scatter, 0.25), 0.10)
    assert [agree, disagree, edge, off] == pytest.approx(row[2:], abs=BOARD_SLACK)


@pytest.mark.parametrize("row", documented("Gate"), ids=str)
def test_gate_on_boards(row: list[float]) -> None:
    windows, scatter = int(row[0]), row[1]
    found = [gate_rate(windows, scatter, change) for change in (0.0, 0.10, 0.15)]
    assert found == pytest.approx(row[2:], abs=BOARD_SLACK)


@pytest.mark.parametrize("row", documented("Bootstrap"), ids=str)
def test_coverage_of_the_bootstrap(row: list[float]) -> None:
    """The MAPE of normal errors of 10 % is 10 % times the square root of 2 / pi."""
    n, truth = int(row[0]), 0.10 * math.sqrt(2 / math.pi)
    rng = np.random.default_rng(n)
    inside = 0
    for _ in range(BOARD_TRIALS):
        low, high = bootstrap_interval(
            np.abs(0.10 * rng.standard_normal(n)), lambda draws: draws.mean(axis=-1), resamples=500
        )
        inside += low <= truth <= high
    assert inside / BOARD_TRIALS == pytest.approx(row[1], abs=BOARD_SLACK)
