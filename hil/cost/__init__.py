"""Cost models: from a plan to latency and energy by phase, each with an interval."""

from __future__ import annotations

from hil.cost.model import SUMS, Z_50, Z_90, Cost, CostModel, Estimate, Prediction

__all__ = ["SUMS", "Z_50", "Z_90", "Cost", "CostModel", "Estimate", "Prediction"]
