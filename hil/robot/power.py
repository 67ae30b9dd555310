"""Keywords for power: a simulated instrument, and what a run under a meter measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from hil.backend.analytic import AnalyticBackend
from hil.backend.base import RunOptions
from hil.backend.borders import IDLE_S, INFERENCE
from hil.meter.sim import lpm01a, ppk2, stlink_v3pwr
from hil.meter.sim.instrument import Faults, PtyInstrument, Timeline
from hil.plan import END_TO_END, Plan
from hil.robot.keyword import keyword, require
from hil.robot.running import phase_of
from hil.robot.state import State

_SUPPLY_V = 3.3
# From the end of idle to the work: the host speaks a little later than the clock says.
_LEAD_S = 0.12
_KINDS: dict[str, Callable[..., PtyInstrument]] = {
    "ppk2": ppk2.Simulator,
    "lpm01a": lpm01a.Simulator,
    "stlink_v3pwr": stlink_v3pwr.Simulator,
}


class Power:
    """Needs ``state``."""

    state: State

    @keyword("Start Simulated Instrument")
    def start_simulated_instrument(
        self, kind: Literal["ppk2", "lpm01a", "stlink_v3pwr"] = "ppk2", repeat: int = 1, lose_samples: int = 0
    ) -> str:
        """Start a power meter that speaks its instrument's protocol and sees what the cost model says of the plan.

        It stands for a meter at a Python board (`Start Emulated Board`) that does ``repeat`` inferences without
        warm-ups. ``lose_samples`` are lost in the middle of them. It runs until the suite ends. Returns what
        `Use Meter` takes.

        | ${meter}= | Start Simulated Instrument | ppk2 | repeat=8 |
        | Use Meter | ${meter} | site=rail VCOREA |
        """
        timeline, middle_s = _timeline(self.state.plan(), repeat)
        drop = {round(middle_s * 100e3) + 100 * place: 50 for place in range(lose_samples // 50)}
        instrument = _KINDS[kind](timeline, faults=Faults(drop=drop))
        self.state.keep(instrument)
        return f"{kind}:{instrument.port}" + (f"?voltage_v={_SUPPLY_V}" if kind == "ppk2" else "")

    @keyword("Energy Should Be Measured")
    def energy_should_be_measured(self, phase: str = INFERENCE) -> None:
        """The latest run has an energy of the phase that a meter measured, gross and above idle.

        | Energy Should Be Measured | inference |
        """
        run = self.state.latest()
        require(run.meter is not None, f"{run.network} on {run.platform} ({run.backend}) was run without a meter")
        assert run.meter is not None
        part = phase_of(run, phase)
        why = run.meter.refused.get(phase, "it is the cost model's")
        energies = (part.energy_j, part.energy_above_idle_j)
        measured = all(one is not None and one.fidelity == "measured" for one in energies)
        require(measured, f"energy of {phase} by {run.meter.model}: {why}; traces: {', '.join(run.meter.traces)}")

    @keyword("Energy Should Be Refused")
    def energy_should_be_refused(self, phase: str = INFERENCE, because: str = "") -> None:
        """The meter could not measure the phase, and says why in words that hold ``because``.

        | Energy Should Be Refused | inference | samples missing |
        """
        run = self.state.latest()
        why = run.meter.refused.get(phase) if run.meter is not None else None
        require(why is not None and because in why, f"energy of {phase}: {why or 'not refused'}; expected '{because}'")


def _timeline(plan: Plan, repeat: int) -> tuple[Timeline, float]:
    """Current and pin over one recording, as the cost model has it; and the middle of the inferences."""
    (run,) = AnalyticBackend().run([plan], RunOptions())
    idle_w = run.idle_power_w.mean if run.idle_power_w is not None else 0.0
    at_s = IDLE_S + _LEAD_S
    steps, pin, middle_s = [(0.0, idle_w)], [], at_s
    for name in END_TO_END:
        part = run.phases[name]
        length_s = part.latency_s.mean * (repeat if name == INFERENCE else 1)
        if name == INFERENCE:
            pin, middle_s = [(at_s, 1), (at_s + length_s, 0)], at_s + length_s / 2
        steps.append((at_s, part.power_w if part.power_w is not None else idle_w))
        at_s += length_s
    times_s, power_w = zip(*steps, (at_s, idle_w), strict=True)
    return Timeline.from_power(times_s, power_w, _SUPPLY_V, tuple(pin)), middle_s
