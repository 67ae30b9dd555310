"""The system in time: phases as SimPy processes, power traces, and duty cycles."""

from __future__ import annotations

from hil.sim.duty import DutyResult, WaitState, best_state, duty_cycle
from hil.sim.timeline import PhaseCost, Schedule, Segment, SocTimeline, simulate

__all__ = [
    "DutyResult",
    "PhaseCost",
    "Schedule",
    "Segment",
    "SocTimeline",
    "WaitState",
    "best_state",
    "duty_cycle",
    "simulate",
]
