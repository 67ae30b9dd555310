"""From a trace with a known resistor as the only load to one reading of it, or the reason why it is none."""

from __future__ import annotations

from dataclasses import replace
from math import hypot, sqrt

import numpy as np

from hil.meter.accuracy import Accuracy, ResistorReading
from hil.meter.align import same_clock
from hil.meter.energy import PhaseWindow, energy_by_phase
from hil.meter.errors import TraceError, UnsteadyError
from hil.meter.trace import SampleTimes
from hil.meter.types import Trace
from hil.units import format_si

SETTLE = 0.1  # of a recording: what the start of an acquisition and its ranges need is left out
DRIFT = 1e-3  # between the halves of a recording; what noise explains is allowed beside it
DRIFT_SIGMAS = 5.0
STATED = 0.05  # by how much the voltage stated may differ from the meter's own
UNKNOWN = 0.05  # of the current: a reading that is no better known tells no gain
FAR_OFF = 2.0  # times the true current, or one part in that: not the gain of an instrument


def resistor_reading(
    trace: Trace,
    resistance_ohm: float,
    resistor_sd: float,
    *,
    voltage_v: float | None = None,
    resolution_a: float | None = None,
) -> ResistorReading:
    """The mean current at a resistor, with its uncertainty by noise and resolution.

    ``resistor_sd``: relative, one sigma.  ``voltage_v``: across the resistor; None takes the trace's.
    ``resolution_a``: the step of the converter, which a reading that never changes does not show.
    Raises GapError, OverRangeError, WindowError; UnsteadyError for a reading that drifts or is far off; TraceError
    where the resolution cannot be told.
    """
    name = format_si(resistance_ohm, "ohm")
    times = SampleTimes(trace)
    start_s = times.first_s + SETTLE * (times.last_s - times.first_s)
    middle_s = (start_s + times.last_s) / 2
    halves = [PhaseWindow(name, start_s, middle_s), PhaseWindow(name, middle_s, times.last_s)]
    # At one volt energy is charge: its mean over time is the current, and its uncertainties are the current's, but for
    # that of the clock, which a mean over time does not have.
    found = energy_by_phase(
        replace(trace, voltage_v=1.0),
        halves,
        same_clock(),
        accuracy=Accuracy(gain_sd=0.0, lsb_a=resolution_a),
    )[name]
    current_a = found.power_w
    random_a = found.random_sd_j / found.duration_s
    common_j = [joules for part, joules in found.parts_j.items() if part not in ("noise", "jitter", "clock")]
    common_a = hypot(*common_j) / found.duration_s
    read_v = float(np.mean(trace.voltage_v, dtype=np.float64))
    if voltage_v is not None and abs(read_v / voltage_v - 1) > STATED:
        raise UnsteadyError(
            f"{name}: the meter has {format_si(read_v, 'V')}, {format_si(voltage_v, 'V')} stated",
            hint="measure the voltage across the resistor, and state that",
        )
    reading = ResistorReading(
        resistance_ohm,
        read_v if voltage_v is None else voltage_v,
        current_a,
        resistor_sd,
        hypot(random_a, common_a),
    )
    if not reading.true_a / FAR_OFF < current_a < reading.true_a * FAR_OFF:
        raise UnsteadyError(
            f"{name}: reads {format_si(current_a, 'A')}, expected {format_si(reading.true_a, 'A')} "
            f"({format_si(reading.voltage_v, 'V')} across it)",
            hint="is it the right resistor, the only load, and is the supply on?",
        )
    if reading.current_sd_a > UNKNOWN * current_a:  # a reading that never changes may be anything down to the next one
        raise TraceError(
            f"{name}: the reading never changes, so the resolution of the meter cannot be told",
            hint="say it, as --resolution 25uA (its data sheet has it), or take a resistor of more current",
        )
    first_a, second_a = (joules / found.duration_s for joules in found.samples_j)
    drift_a = second_a - first_a
    # The noise of the drift is twice that of the mean: sqrt(2) for a half, and for two of them.
    by_chance_a = hypot(DRIFT_SIGMAS * 2 * random_a, sqrt(12) * common_a)
    if abs(drift_a) > max(DRIFT * current_a, by_chance_a):
        raise UnsteadyError(
            f"{name}: the reading drifts from {format_si(first_a, 'A', 5)} to {format_si(second_a, 'A', 5)} "
            "between the halves of the recording",
            hint="wait until it is warm, take a resistor of more watts, and look at the contacts",
        )
    return replace(reading, current_sd_a=hypot(reading.current_sd_a, drift_a / sqrt(12)))
