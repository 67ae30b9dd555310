"""Energy by phase against closed forms: the integral, every part of its uncertainty, and what is refused by name."""

from __future__ import annotations

from dataclasses import replace
from math import pi, sqrt
from pathlib import Path

import numpy as np
import pytest

from hil.errors import MeterError
from hil.meter.accuracy import Accuracy, ResistorReading, check_path, load_check, resistor_check, save_check
from hil.meter.align import Alignment, fit, same_clock
from hil.meter.energy import (
    COVERAGE_FACTOR,
    PhaseWindow,
    Regulator,
    add_rails,
    check_scope,
    energy_by_phase,
    idle_power,
)
from hil.meter.errors import (
    ClockError,
    FormatError,
    GapError,
    OutsideError,
    ScopeError,
    TraceError,
    WindowError,
)
from hil.meter.trace import WINDOW_GAPS
from hil.meter.types import Gap, MeterInfo, Trace

EXACT = Accuracy(gain_sd=0.0, lsb_a=0.0)
DIGITAL = Alignment("digital", 0.0, 0.0, 4)


def steps(*power_w: float, seconds: float = 1.0, rate_hz: float = 1000.0, volts: float = 2.0) -> Trace:
    """``seconds`` of each power, one after the other."""
    amperes = np.repeat(np.array(power_w) / volts, round(seconds * rate_hz))
    return Trace("rail VDD", amperes, volts, dt_s=1 / rate_hz)


def test_energy_of_constant_power_is_power_times_time() -> None:
    found = energy_by_phase(steps(0.02), [PhaseWindow("inference", 0.1, 0.6)], same_clock(), accuracy=EXACT)[
        "inference"
    ]
    assert found.mean_j == pytest.approx(0.01)
    assert found.power_w == pytest.approx(0.02)
    assert found.duration_s == pytest.approx(0.5)
    assert found.site == "rail VDD"
    assert (found.coverage, found.coverage_factor) == (0.9, pytest.approx(1.645, abs=1e-3))
    # Only the clock's 100 ppm are left.
    assert found.high_j - found.mean_j == pytest.approx(COVERAGE_FACTOR * 100e-6 * 0.01)


def test_windows_of_one_name_are_repetitions() -> None:
    trace = steps(0.01, 0.03, 0.01, 0.05, 0.01)
    windows = [PhaseWindow("inference", 1.2, 1.8, inferences=2), PhaseWindow("inference", 3.2, 3.8, inferences=4)]
    found = energy_by_phase(trace, windows, same_clock(), accuracy=EXACT)["inference"]
    assert found.samples_j == pytest.approx((0.6 * 0.03 / 2, 0.6 * 0.05 / 4))
    assert found.mean_j == pytest.approx(0.6 * (0.03 + 0.05) / 6)
    assert (found.windows, found.inferences) == (2, 6)
    assert found.duration_s == pytest.approx(1.2 / 6)


def test_energy_above_idle_and_the_drift_of_idle() -> None:
    """Idle 1 mW before and 3 mW after: 2 mW are subtracted, the drift is 2 mW, its uncertainty 2 mW / sqrt(12)."""
    trace = steps(0.001, 0.02, 0.003)
    idle = [PhaseWindow("before", 0.2, 0.8), PhaseWindow("after", 2.2, 2.8)]
    found = energy_by_phase(trace, [PhaseWindow("x", 1.2, 1.7)], same_clock(), idle=idle, accuracy=EXACT)["x"]
    assert found.idle is not None
    assert found.above_idle is not None
    assert (found.idle.power_w, found.idle.drift_w) == (pytest.approx(0.002), pytest.approx(0.002))
    assert found.idle.sd_w == pytest.approx(0.002 / sqrt(12))
    assert found.above_idle.mean_j == pytest.approx(0.5 * 0.018)
    width = COVERAGE_FACTOR * sqrt((0.5 * 0.002 / sqrt(12)) ** 2 + (1e-4 * 0.009) ** 2)
    assert found.above_idle.high_j - found.above_idle.mean_j == pytest.approx(width)
    with pytest.raises(WindowError, match="one before and one after"):
        idle_power(trace, idle[:1], same_clock())


def test_the_voltage_of_every_sample_counts() -> None:
    """I and V both swing: the mean of the product is not the product of the means, nor has RMS a place here."""
    t_s = np.arange(0, 1.0, 1e-4)
    swing = 0.5 * np.sin(2 * pi * 50 * t_s)
    trace = Trace("rail VDD", 0.01 * (1 + swing), 3.0 * (1 + swing), dt_s=1e-4)
    found = energy_by_phase(trace, [PhaseWindow("x", 0.1, 0.9)], same_clock())["x"]
    assert found.mean_j == pytest.approx(0.8 * 0.03 * (1 + 0.125), rel=1e-6)


# --- the parts of the uncertainty -----------------------------------------------------------------------------------


def test_noise_of_n_samples() -> None:
    rng = np.random.default_rng(1)
    trace = Trace("a", 0.01 + rng.normal(0, 1e-3, 100_000), 2.0, dt_s=1e-5)
    parts = energy_by_phase(trace, [PhaseWindow("x", 0.2, 0.7)], same_clock(), accuracy=EXACT)["x"].parts_j
    assert parts["noise"] == pytest.approx(2e-3 * 1e-5 * sqrt(50_000), rel=0.02)
    # Differences of noise are sqrt(2) s, which would make sqrt(2 n / 12) s dt: it is no step, and counted above.
    assert parts["sampling"] < 0.15 * 2e-3 * 1e-5 * sqrt(50_000 / 6)


def test_steps_between_samples() -> None:
    """Two steps of 20 mW in the window, sampled every ms: sqrt(2 / 12) * 20 mW * 1 ms."""
    trace = steps(0.01, 0.03, 0.01)
    parts = energy_by_phase(trace, [PhaseWindow("x", 0.5, 2.5)], same_clock(), accuracy=EXACT)["x"].parts_j
    assert parts["sampling"] == pytest.approx(0.02 * 1e-3 * sqrt(2 / 12))
    assert parts["noise"] == 0


@pytest.mark.parametrize(("period", "burst"), [(20, 6.4), (50, 11.5), (40, 9.2)])
def test_inferences_in_step_with_the_meter_err_alike(period: int, burst: float) -> None:
    """Each burst is sampled at the same places, so its error does not average out over 200 of them: the interval must
    hold the truth wherever the first one begins."""
    held = 0
    for seed in range(40):
        start = np.random.default_rng(seed).uniform(10, 20)  # in samples
        place = (np.arange(10 + 200 * period + 20) - start) % period
        trace = Trace("a", np.where(place < burst, 0.03, 0.001), 1.0, dt_s=1e-4)
        window = PhaseWindow("x", start * 1e-4, (start + 200 * period) * 1e-4, inferences=200)
        figure = energy_by_phase(trace, [window], same_clock(), accuracy=EXACT)["x"]
        truth_j = (0.03 * burst + 0.001 * (period - burst)) * 1e-4
        held += figure.low_j <= truth_j <= figure.high_j
        assert figure.high_j - figure.low_j < 0.35 * truth_j
    assert held >= 36


def test_a_skew_that_no_crystals_have_may_be_samples_lost_unseen() -> None:
    """Two edges absorb a loss of 2 % as skew: the interval must hold the energy that is missing."""
    trace = Trace("a", np.full(10_000, 0.01), 1.0, dt_s=1e-3)
    alignment = fit("digital", (0.0, 9.0), (0.5, 0.5 + 9.0 * 0.98), "pin", 1e-3, 1e-6)
    figure = energy_by_phase(trace, [PhaseWindow("x", 0.0, 9.0)], alignment, accuracy=EXACT)["x"]
    assert figure.mean_j == pytest.approx(0.98 * 0.09, rel=1e-3)
    assert figure.low_j <= 0.09 <= figure.high_j
    # In the middle of it nobody knows where samples are missing: 0.09 s to either side.
    assert alignment.border_s == pytest.approx(0.09, rel=0.01)


def test_what_a_long_window_may_lack_is_uncertain() -> None:
    """Nine gaps of ten samples, each where a burst is: 0.9 % of the energy in 0.09 % of the time."""
    current = np.zeros(100_000)
    bursts = [slice(k, k + 10) for k in range(500, 100_000, 100)]
    for burst in bursts:
        current[burst] = 0.1
    truth_j = float(current.sum()) * 1e-5
    kept = np.ones(100_000, np.bool_)
    for burst in bursts[::111]:
        kept[burst] = False
    lost = [burst.start - 10 * number for number, burst in enumerate(bursts[::111])]
    trace = Trace("a", current[kept], 1.0, dt_s=1e-5, gaps=tuple(Gap(index, 10) for index in lost))
    window = PhaseWindow("x", 1e-5, 99_998e-5, inferences=995, gaps_allowed=WINDOW_GAPS)
    figure = energy_by_phase(trace, [window], same_clock(), accuracy=EXACT)["x"]
    assert figure.mean_j * 995 < 0.995 * truth_j
    assert figure.low_j * 995 <= truth_j <= figure.high_j * 995


def test_the_step_of_the_converter() -> None:
    """Readings in steps of 1 mA at 2 V: 2 mW / sqrt(12) over 1 s, unless noise of a whole step dithers them."""
    rng = np.random.default_rng(2)
    quiet, loud = (np.round(10.3 + rng.normal(0, s, 100_000)) * 1e-3 for s in (0.1, 1.0))
    for amperes, expected in ((quiet, 2e-3 / sqrt(12)), (loud, 0.0)):
        trace = Trace("a", amperes, 2.0, dt_s=1e-4)
        found = energy_by_phase(trace, [PhaseWindow("x", 1.0, 2.0)], same_clock(), accuracy=Accuracy(gain_sd=0.0))["x"]
        assert found.parts_j["quantising"] == pytest.approx(expected, abs=1e-9)
        assert abs(found.mean_j - 0.0206) < found.high_j - found.mean_j


def test_gain_offset_and_voltage() -> None:
    accuracy = Accuracy(gain=1.1, offset_a=1e-3, gain_sd=0.03, offset_sd_a=1e-4, voltage_sd=0.04, lsb_a=0.0)
    found = energy_by_phase(steps(0.024), [PhaseWindow("x", 0.2, 0.7)], same_clock(), accuracy=accuracy)["x"]
    true_w = (0.012 - 1e-3) / 1.1 * 2.0
    assert found.mean_j == pytest.approx(0.5 * true_w)
    assert found.parts_j["gain"] == pytest.approx(0.05 * 0.5 * true_w)
    assert found.parts_j["offset"] == pytest.approx(1e-4 / 1.1 * 2.0 * 0.5)


def test_borders_that_jitter_and_borders_that_move_together() -> None:
    """10 mW, then 30 mW from 1 s to 2 s.  One sigma of jitter takes 30 mW at each border; a common shift loses 30 mW at
    one end and gains 10 mW at the other; a skew of 1 % lengthens it by 10 ms of 30 mW (and moves it)."""
    trace = steps(0.01, 0.03, 0.01, rate_hz=10_000)
    window = [PhaseWindow("x", 1.0, 2.0)]
    jitter = energy_by_phase(trace, window, same_clock(5e-3), accuracy=EXACT)["x"].parts_j
    assert jitter["jitter"] == pytest.approx(5e-3 * 0.03 * sqrt(2), rel=0.02)
    assert jitter["borders"] == 0
    together = replace(DIGITAL, common_s=5e-3)
    assert energy_by_phase(trace, window, together, accuracy=EXACT)["x"].parts_j["borders"] == pytest.approx(
        5e-3 * 0.02, rel=0.02
    )
    skewed = replace(DIGITAL, pivot_s=1.0, covariance=((0.0, 0.0), (0.0, 0.01**2)), jitter_s=1e-3)
    # Outwards 10 mW more, inwards 30 mW less: the worse direction counts.
    assert energy_by_phase(trace, window, skewed, accuracy=EXACT)["x"].parts_j["borders"] == pytest.approx(
        0.01 * 0.03, rel=0.05
    )


def test_a_spike_of_a_range_switch_counts_as_uncertain() -> None:
    trace = steps(0.01)
    trace.current_a[500:503] += 0.1
    found = energy_by_phase(trace, [PhaseWindow("x", 0.2, 0.8)], same_clock(), accuracy=EXACT)["x"]
    assert found.parts_j["spikes"] == pytest.approx(3 * 0.1 * 2.0 * 1e-3)
    assert found.low_j < 0.6 * 0.01 < found.mean_j


def test_a_regulator_is_explicit_and_uncertain() -> None:
    regulator = Regulator("rail VDD", "chip supply", 0.85, 0.03, "data sheet, figure 7")
    found = energy_by_phase(
        steps(0.02), [PhaseWindow("x", 0.2, 0.7)], same_clock(), scope="chip", regulator=regulator, accuracy=EXACT
    )["x"]
    assert found.site == "chip supply"
    assert found.mean_j == pytest.approx(0.85 * 0.01)
    assert found.parts_j["regulator"] == pytest.approx(0.03 * 0.01)
    with pytest.raises(ScopeError, match="a regulator at"):
        check_scope("whole board", "chip", regulator)
    for wrong in (0.0, -0.5, 85.0, float("nan")):
        with pytest.raises(TraceError, match="efficiency of"):
            replace(regulator, efficiency=wrong)


# --- refused --------------------------------------------------------------------------------------------------------


def test_scopes_are_compared_in_the_words_of_records() -> None:
    assert check_scope("whole-board", "whole board, gross") == "whole-board"
    assert check_scope("chip", "chip supply, above idle") == "chip"
    check_scope("rail VDDCORE", "Rail VDDCORE")
    for site, scope in (("rail VDDCORE", "rail VDDIO"), ("whole board", "chip"), ("unknown", "whole board")):
        with pytest.raises(ScopeError, match=f"taken at '{site}'"):
            check_scope(site, scope)
    with pytest.raises(ScopeError):
        energy_by_phase(steps(0.02), [PhaseWindow("x", 0.2, 0.7)], same_clock(), scope="whole board")


def test_the_minimum_window_says_how_many_inferences_it_needs() -> None:
    """2 dt / T < tolerance / 5: at 1 kHz and 5 % that is more than 200 ms."""
    trace = steps(0.02)
    energy_by_phase(trace, [PhaseWindow("x", 0.2, 0.401)], same_clock())
    with pytest.raises(WindowError, match="blurs its borders by 2.0%") as caught:
        energy_by_phase(trace, [PhaseWindow("x", 0.2, 0.3, inferences=4)], same_clock())
    # 200 ms / 25 ms per inference = 8: more than that.
    assert str(caught.value.hint) == "at least 9 inferences per window, or a rate of 2.00 kHz"
    energy_by_phase(trace, [PhaseWindow("x", 0.2, 0.3)], same_clock(), tolerance=0.11)
    with pytest.raises(WindowError, match="host clock"):
        clock = replace(DIGITAL, method="host clock", min_window_s=0.7)
        energy_by_phase(trace, [PhaseWindow("x", 0.2, 0.8)], clock)


def test_faults_of_single_phases_leave_the_others() -> None:
    trace = replace(steps(0.02, 0.03), gaps=(Gap(500, 2),))
    phases = [PhaseWindow("a", 0.3, 0.8), PhaseWindow("b", 1.2, 1.7), PhaseWindow("c", 1.9, 2.4)]
    refused: dict[str, MeterError] = {}
    found = energy_by_phase(trace, phases, same_clock(), refused=refused)
    assert list(found) == ["b"]
    assert {name: type(error) for name, error in refused.items()} == {"a": GapError, "c": OutsideError}
    with pytest.raises(GapError):
        energy_by_phase(trace, phases, same_clock())
    long = [PhaseWindow("window", 0.1, 1.9, inferences=9, gaps_allowed=0.01)]
    assert energy_by_phase(trace, long, same_clock())["window"].inferences == 9


# --- rails ----------------------------------------------------------------------------------------------------------


def test_rails_are_added_only_when_their_clocks_are_aligned() -> None:
    window = [PhaseWindow("x", 0.2, 0.7)]
    core = replace(steps(0.02), site="rail VDDCORE")
    io = replace(steps(0.004), site="rail VDDIO")
    rails = [energy_by_phase(trace, window, DIGITAL, accuracy=Accuracy(gain_sd=0.01, lsb_a=0)) for trace in (core, io)]
    total = add_rails(rails, "chip supply")["x"]
    assert total.mean_j == pytest.approx(0.5 * 0.024)
    assert total.site == "chip supply"
    assert total.above_idle is None
    # Gain may be common: it adds up.  (The clock's 100 ppm beside it.)
    assert total.high_j - total.mean_j == pytest.approx(COVERAGE_FACTOR * 0.01 * 0.5 * 0.024, rel=1e-3)
    with pytest.raises(ScopeError, match="twice"):
        add_rails([rails[0], rails[0]], "chip supply")
    with pytest.raises(ClockError, match="not brought together"):
        add_rails([rails[0], energy_by_phase(io, window, same_clock())], "chip supply")
    with pytest.raises(TraceError, match="different phases"):
        add_rails([rails[0], {}], "chip supply")


def test_idle_of_rails_is_added_too() -> None:
    idle = [PhaseWindow("before", 0.1, 0.9), PhaseWindow("after", 2.1, 2.9)]
    rails = [
        energy_by_phase(
            replace(steps(low, high, low), site=site), [PhaseWindow("x", 1.2, 1.7)], DIGITAL, idle=idle, accuracy=EXACT
        )
        for site, low, high in (("rail A", 0.001, 0.02), ("rail B", 0.002, 0.01))
    ]
    total = add_rails(rails, "chip supply")["x"]
    assert total.above_idle is not None
    assert total.idle is not None
    assert total.above_idle.mean_j == pytest.approx(0.5 * (0.019 + 0.008))
    assert total.idle.power_w == pytest.approx(0.003)


# --- the resistor check ---------------------------------------------------------------------------------------------


def reading(ohm: float, gain: float, offset_a: float) -> ResistorReading:
    return ResistorReading(ohm, 3.0, gain * 3.0 / ohm + offset_a, resistor_sd=0.001)


def test_known_resistors_give_gain_and_offset(tmp_path: Path) -> None:
    info = MeterInfo("PPK2", "E3:4F/1")
    found = resistor_check(info, [reading(ohm, 1.02, 15e-6) for ohm in (100.0, 1000.0, 10_000.0)])
    assert found.gain == pytest.approx(1.02)
    assert found.offset_a == pytest.approx(15e-6)
    # Currents of 1, 0.1, 0.01 weigh 1, 100, 10000: S = 10101, Sx = 111, Sxx = 3; var = S / (S Sxx - Sx^2).
    assert found.gain_sd == pytest.approx(0.001 * sqrt(10101 / (10101 * 3 - 111**2)) / 1.02)
    one = resistor_check(info, [reading(100.0, 0.97, 0.0)])
    assert (one.gain, one.gain_sd) == (pytest.approx(0.97), pytest.approx(0.001 / 0.97))
    path = save_check(tmp_path, info, found)
    assert path.name == "PPK2-E3_4F_1.json"
    assert load_check(tmp_path, info) == found
    assert load_check(tmp_path, MeterInfo("PPK2", "other")) is None
    assert load_check(tmp_path, MeterInfo("PPK2")) is None
    path.write_text('{"schema": 1, "serial": "someone else"}')
    with pytest.raises(FormatError, match="someone else"):
        load_check(tmp_path, info)
    path.write_bytes(b"\xff{")
    with pytest.raises(FormatError, match="not a resistor check"):
        load_check(tmp_path, info)
    with pytest.raises(TraceError, match="no serial number"):
        check_path(tmp_path, MeterInfo("PPK2"))


def test_a_check_that_gives_no_line_is_refused() -> None:
    info = MeterInfo("PPK2", "1")
    with pytest.raises(TraceError, match="without readings"):
        resistor_check(info, [])
    with pytest.raises(TraceError, match="one current only"):
        resistor_check(info, [reading(100.0, 1, 0), reading(100.0, 1, 0)])
    with pytest.raises(TraceError, match="1e\\+03 times|1000 times"):
        resistor_check(info, [reading(100.0, 1000, 0)])
    with pytest.raises(TraceError, match="above zero"):
        resistor_check(info, [reading(100.0, 1, 0), replace(reading(100.0, 1, 0), resistance_ohm=0.0)])
    scattered = [
        replace(reading(ohm, 1, 0), current_a=3.0 / ohm * f) for ohm, f in ((10, 1.05), (20, 0.95), (40, 1.05))
    ]
    assert resistor_check(info, scattered).gain_sd > 0.03
