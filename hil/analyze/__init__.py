"""Analysis of runs: where time goes and why, how it scales with the network, and which platform keeps a budget."""

from __future__ import annotations

from hil.analyze.causes import CAUSES, Decomposition, OpCauses, decompose
from hil.analyze.runs import RunAnalysis, analyze_runs

__all__ = ["CAUSES", "Decomposition", "OpCauses", "RunAnalysis", "analyze_runs", "decompose"]
