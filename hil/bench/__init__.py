"""The benchmark runner and the results store."""

from __future__ import annotations

from hil.bench.runner import Bench, BenchResult
from hil.bench.store import Store, read_runs, to_json

__all__ = ["Bench", "BenchResult", "Store", "read_runs", "to_json"]
