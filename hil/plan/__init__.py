"""Plans: a network placed on a target, every op with its reason, and whether it fits."""

from __future__ import annotations

from hil.plan.make import make_plan
from hil.plan.types import END_TO_END, MEMORY_IO, PHASES, STEADY, HwLayer, MemoryUse, Phase, Placement, Plan

__all__ = [
    "END_TO_END",
    "MEMORY_IO",
    "PHASES",
    "STEADY",
    "HwLayer",
    "MemoryUse",
    "Phase",
    "Placement",
    "Plan",
    "make_plan",
]
