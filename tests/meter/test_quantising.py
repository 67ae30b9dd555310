"""The steps of converters that change their range, from readings; and intervals of constant loads between two steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

import numpy as np
import pytest

from hil.meter.accuracy import Accuracy
from hil.meter.align import same_clock
from hil.meter.drivers import lpm01a, ppk2
from hil.meter.drivers.raw import Header
from hil.meter.energy import PhaseWindow, energy_by_phase, idle_power
from hil.meter.errors import WindowError
from hil.meter.quantising import NO_STEPS, Steps, quantising_a
from hil.meter.sim.powershield import encode_binary
from hil.meter.sim.ppk2 import CALIBRATION, encode, resolution_a
from hil.meter.types import Float, MeterInfo, Trace

SUPPLY_V = 3.0
EXACT = Accuracy(gain_sd=0.0)


def step_at(steps: Steps, ampere: float) -> float:
    """What is known of the step at a current: that of readings which all are this current."""
    return quantising_a([np.full(2, ampere)], steps)[1]


# --- the steps ------------------------------------------------------------------------------------------------------


def test_steps_by_magnitude() -> None:
    """10 uA apart at 100 uA, 1 mA apart at 20 mA; 3 mA lies alone: no coarser than what is above it."""
    readings = np.repeat([100e-6, 110e-6, 120e-6, 3e-3, 20e-3, 21e-3, 24e-3], 10)
    for of in (readings, -readings, readings.astype(np.float32)):
        steps = NO_STEPS.with_readings(of)
        for ampere, step in ((110e-6, 10e-6), (3e-3, 1e-3), (21e-3, 1e-3), (-110e-6, 10e-6)):
            assert step_at(steps, ampere) == pytest.approx(step, rel=1e-4)
        # What is fine at large currents is as fine at small ones; not the other way round.
        finer = steps.with_readings(np.repeat([50e-3, 50.002e-3], 5))
        assert step_at(finer, 110e-6) == pytest.approx(2e-6, rel=1e-2)
        assert step_at(finer, 21e-3) == pytest.approx(2e-6, rel=1e-2)
        assert step_at(steps.with_readings(np.repeat([1e-6, 1.01e-6], 5)), 21e-3) == pytest.approx(1e-3)


def test_what_readings_do_not_tell_is_bounded_by_the_way_down() -> None:
    steps = NO_STEPS.with_readings(np.repeat([1e-3, 1.1e-3, 20e-3], 10))
    assert step_at(steps, 20e-3) == pytest.approx(18.9e-3)
    assert step_at(NO_STEPS.with_readings(np.full(9, 20e-3)), 20e-3) == pytest.approx(20e-3)
    # Of nothing there are no steps, nor of what no reading was like.
    assert step_at(NO_STEPS.with_readings(np.zeros(9)), 0.0) == 0.0
    assert step_at(NO_STEPS, 1e-3) == 0.0
    # Around nothing: one step up, one down.
    around = NO_STEPS.with_readings(np.repeat([-2e-6, -1e-6, 0.0, 1e-6, 2e-6], 10))
    assert step_at(around, 0.0) == pytest.approx(1e-6)
    assert step_at(around, -1e-6) == pytest.approx(1e-6)


def test_levels_of_a_filter_between_ranges_are_no_steps_of_the_converter() -> None:
    rng = np.random.default_rng(1)
    lattice = np.round(20.3 + rng.normal(0, 0.4, 20_000)) * 1e-3
    settling = rng.uniform(18e-3, 22e-3, 60)  # three samples at each of 20 changes of range
    steps = NO_STEPS.with_readings(np.concatenate([lattice, settling]))
    assert step_at(steps, 20e-3) == pytest.approx(1e-3)
    # Averaged readings come back to no level: hardly any step is left.
    assert step_at(NO_STEPS.with_readings(20e-3 + rng.normal(0, 1e-3, 20_000)), 20e-3) < 1e-6


def test_a_known_step_is_the_step_everywhere() -> None:
    steps = Steps.constant(0.5e-3).with_readings(np.repeat([1e-3, 1.001e-3], 10))
    assert [step_at(steps, ampere) for ampere in (1e-6, 1.0)] == [0.5e-3, 0.5e-3]


def test_the_time_at_each_magnitude_weighs_its_error() -> None:
    """Three quarters at 1 mA in steps of 10 uA, without noise; a quarter at 20 mA in steps of 1 mA: the same there, and
    nothing where noise of two steps dithers them."""
    rng = np.random.default_rng(2)
    low, high = np.full(3000, 1e-3), np.full(1000, 20e-3)
    steps = NO_STEPS.with_readings(np.repeat([1e-3, 1.01e-3, 20e-3, 21e-3], 10))
    error_a, typical_a = quantising_a([low, high], steps)
    assert error_a == pytest.approx((0.75 * 10e-6 + 0.25 * 1e-3) / sqrt(12))
    assert typical_a == pytest.approx(10e-6)
    dithered = np.round(24 + rng.normal(0, 2, 1000)) * 1e-3
    assert quantising_a([low, dithered], steps)[0] == pytest.approx(0.75 * 10e-6 / sqrt(12), rel=1e-3)


# --- coverage -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Instrument:
    """``read``: what it reads of a true current, shape ``[n]``; ``step_a``: its step at 20 mA."""

    read: Callable[[Float], Float]
    step_a: float


def two_ranges(true_a: Float) -> Float:
    step_a = np.where(np.abs(true_a) < 1e-3, 1e-6, 100e-6)
    return np.round(true_a / step_a) * step_a


def by_ppk2(true_a: Float) -> Float:
    words = encode(np.arange(true_a.size), true_a, np.zeros(true_a.size, np.uint8), calibration=CALIBRATION)
    header = Header("ppk2", "P", "", 1e5, MeterInfo("X"), {"modifiers": CALIBRATION, "voltage_v": SUPPLY_V})
    return np.asarray(ppk2.decode(header, words.astype("<u4").view(np.uint8)).current_a, dtype=np.float64)


def by_lpm01a(true_a: Float) -> Float:
    header = Header("lpm01a", "P", "", 1e5, MeterInfo("X"), {"format": "bin", "voltage_v": SUPPLY_V})
    data = b"\xf0\xf3\0\0\0\0\0\xff\xff" + encode_binary(true_a)
    return np.asarray(lpm01a.decode(header, np.frombuffer(data, np.uint8)).current_a, dtype=np.float64)


INSTRUMENTS = {
    "two ranges": Instrument(two_ranges, 100e-6),
    "PPK2": Instrument(by_ppk2, float(resolution_a(np.array([20e-3]), CALIBRATION)[0])),
    "LPM01A": Instrument(by_lpm01a, 16.0**-4),
}
RATE_HZ = 10_000.0
IDLE_S, BEFORE_S, WORK_S = 0.1, 0.2, 0.2
WORK = PhaseWindow("inference", IDLE_S + BEFORE_S + 0.01, IDLE_S + BEFORE_S + WORK_S - 0.01)


def true_course(instrument: Instrument, rng: np.random.Generator, noise: float) -> tuple[Float, float]:
    """Idle at 0.2 mA, other work between 16 and 30 mA, then a constant load somewhere between two steps at 20 mA, with
    noise of so many of these steps.  And that load."""
    load_a = 20e-3 + float(rng.uniform(0, 1)) * instrument.step_a
    idle, before, work = (round(length_s * RATE_HZ) for length_s in (IDLE_S, BEFORE_S, WORK_S))
    amperes = np.concatenate(
        [
            0.2e-3 + rng.normal(0, 1e-6, idle),
            np.repeat(rng.uniform(16e-3, 30e-3, before // 100), 100) + rng.normal(0, 0.7 * instrument.step_a, before),
            load_a + rng.normal(0, noise * instrument.step_a, work),
        ]
    )
    return amperes, load_a


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("name", INSTRUMENTS)
def test_a_constant_load_between_two_steps_lies_in_its_interval(name: str, noise: float) -> None:
    """With the smallest difference of the whole trace as the step, which is that of idle, it would not."""
    instrument = INSTRUMENTS[name]
    within = within_old = 0
    for seed in range(100):
        true_a, load_a = true_course(instrument, np.random.default_rng([seed, 7]), noise)
        trace = Trace("board", instrument.read(true_a), SUPPLY_V, dt_s=1 / RATE_HZ)
        length_s = WORK.end_s - WORK.start_s
        truth_j = load_a * SUPPLY_V * length_s
        found = energy_by_phase(trace, [WORK], same_clock(), accuracy=EXACT)["inference"]
        within += found.low_j <= truth_j <= found.high_j
        # No wider than it must be: the step itself is found, whatever the load.
        assert found.parts_j["quantising"] <= 1.01 * instrument.step_a / sqrt(12) * SUPPLY_V * length_s
        smallest_a = float(np.diff(np.unique(trace.current_a)).min())
        old = energy_by_phase(trace, [WORK], same_clock(), accuracy=Accuracy(gain_sd=0.0, lsb_a=smallest_a))
        within_old += old["inference"].low_j <= truth_j <= old["inference"].high_j
    assert within >= 90
    assert within_old < 75


def test_the_lowest_power_has_its_own_step() -> None:
    """Idle of a two-range instrument is uncertain by the fine step, not by that of the work between."""
    true_a, _ = true_course(INSTRUMENTS["two ranges"], np.random.default_rng(3), 0.1)
    amperes = two_ranges(np.concatenate([true_a, true_a[:1000]]))
    trace = Trace("board", amperes, SUPPLY_V, dt_s=1 / RATE_HZ)
    rest = [PhaseWindow("before", 0.0, 0.09), PhaseWindow("after", 0.51, 0.59)]
    assert idle_power(trace, rest, same_clock(), EXACT).sd_w < 0.5e-6 * SUPPLY_V


def test_a_long_phase_is_known_by_all_of_it() -> None:
    """The busy second half of a long window counts, although the first holds more samples than are looked at."""
    rng = np.random.default_rng(4)
    low = 0.2e-3 + rng.normal(0, 1e-6, 200_000)
    high = 20.04e-3 + rng.normal(0, 10e-6, 200_000)
    trace = Trace("board", two_ranges(np.concatenate([low, high])), SUPPLY_V, dt_s=1e-5)
    found = energy_by_phase(trace, [PhaseWindow("x", 0.0, 3.9)], same_clock(), accuracy=EXACT)["x"]
    # Half of the time in steps of 100 uA without enough noise to dither them.
    assert found.parts_j["quantising"] == pytest.approx(0.5 * 100e-6 / sqrt(12) * SUPPLY_V * 3.9, rel=0.1)


@pytest.mark.parametrize("amperes", [[0.0] * 50, [-2e-3] * 30 + [1e-3] * 20, [1e-3] * 50])
def test_currents_of_nothing_negative_ones_and_such_that_never_change(amperes: list[float]) -> None:
    trace = Trace("board", np.array(amperes), SUPPLY_V, dt_s=1.0)
    found = energy_by_phase(trace, [PhaseWindow("x", 0.0, 49.0)], same_clock(), accuracy=EXACT, tolerance=0.5)["x"]
    assert found.mean_j == pytest.approx(float(np.trapezoid(amperes)) * SUPPLY_V)
    # A reading that is never another one says of the step only that it is no larger.
    largest_a = {0: 0.0, 20: 3e-3, 30: 1e-3, 50: 1e-3}[sum(ampere > 0 for ampere in amperes)]
    assert found.parts_j["quantising"] <= largest_a / sqrt(12) * SUPPLY_V * 49.0
    assert (found.parts_j["quantising"] > 0) == any(amperes)


def test_two_samples_are_a_trace_and_no_phase() -> None:
    trace = Trace("board", np.array([1e-3, 2e-3]), SUPPLY_V, dt_s=1.0)
    with pytest.raises(WindowError, match="blurs its borders"):
        energy_by_phase(trace, [PhaseWindow("x", 0.0, 1.0)], same_clock(), tolerance=0.9)
    halves = [PhaseWindow("before", 0.0, 0.5), PhaseWindow("after", 0.5, 1.0)]
    with pytest.raises(WindowError, match="shorter than the sampling interval"):
        idle_power(trace, halves, same_clock())
