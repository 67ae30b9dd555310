"""Duty cycles: one inference per period, then wait in a power state; which state costs least?

A state that loses the accelerator's weights makes every period pay initialisation and weight loading again; a state
that keeps them leaks more.  Which wins depends on the period: the cross-over is where
``(E_reload - E_keep) = period * (P_keep - P_lose)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hil.sim.timeline import PhaseCost, Schedule, simulate


@dataclass(frozen=True, slots=True)
class WaitState:
    """A state to wait in.  ``wake_s`` is spent at static power before anything else happens.

    ``sigma`` is the standard deviation of the logarithm of ``power_w``.  ``wake_known`` is false where nobody published
    the way back from a state that loses everything: such a state is shown, never recommended.
    """

    name: str
    power_w: float
    wake_s: float = 0.0
    retains_weights: bool = True
    retains_registers: bool = True
    sigma: float = 0.0
    wake_known: bool = True


@dataclass(frozen=True, slots=True)
class DutyResult:
    """A period spent with one wait state.  ``feasible`` is false where the work does not fit into the period."""

    state: WaitState
    period_s: float
    active_s: float
    active_energy_j: float
    wait_energy_j: float
    reloads_weights: bool
    feasible: bool

    @property
    def energy_j(self) -> float:
        return self.active_energy_j + self.wait_energy_j

    @property
    def average_power_w(self) -> float:
        return self.energy_j / self.period_s


def duty_cycle(costs: Mapping[str, PhaseCost], static_power_w: float, state: WaitState, period_s: float) -> DutyResult:
    """Simulate one period: wake, run, wait.  Boot is part of ``wake_s`` and is not run again."""
    reload = not state.retains_weights
    phases = {name: cost for name, cost in costs.items() if name not in ("boot", "idle")}
    if not reload:
        phases.pop("weight_load", None)
    if not reload and state.retains_registers:
        phases.pop("npu_init", None)
    work = simulate(phases, static_power_w, Schedule())
    active = state.wake_s + work.end_s
    wait = max(0.0, period_s - active)
    active_energy = static_power_w * state.wake_s + work.energy_j()
    return DutyResult(state, period_s, active, active_energy, state.power_w * wait, reload, active <= period_s)


def best_state(results: Sequence[DutyResult]) -> DutyResult | None:
    """The feasible result with the least average power; None where the work never fits into the period."""
    feasible = [result for result in results if result.feasible and result.state.wake_known]
    return min(feasible, key=lambda result: result.average_power_w) if feasible else None
