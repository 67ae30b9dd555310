"""Comparison: figures of two runs, or of runs and publications, matched and judged; and the regression gate."""

from __future__ import annotations

from hil.compare.gate import Change, Gate, gate
from hil.compare.match import PUBLISHED, Pair, Side, load_side, match
from hil.compare.reading import METRICS, Metric, Reading, reading_of, reading_of_measurement
from hil.compare.tolerance import Tolerance, parse_tolerances, tolerance_for
from hil.compare.verdict import Comparison, Outcome, Verdict, compare, judge

__all__ = [
    "METRICS",
    "PUBLISHED",
    "Change",
    "Comparison",
    "Gate",
    "Metric",
    "Outcome",
    "Pair",
    "Reading",
    "Side",
    "Tolerance",
    "Verdict",
    "compare",
    "gate",
    "judge",
    "load_side",
    "match",
    "parse_tolerances",
    "reading_of",
    "reading_of_measurement",
    "tolerance_for",
]
