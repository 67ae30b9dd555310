"""Readings of known resistors, and how often the uncertainty of what they give holds."""

from __future__ import annotations

import json
from dataclasses import replace
from math import hypot, sqrt
from pathlib import Path

import numpy as np
import pytest

from hil.meter.accuracy import ResistorReading, read_check, resistor_check, save_check
from hil.meter.energy import COVERAGE_FACTOR
from hil.meter.errors import FormatError, OverRangeError, TraceError, UnsteadyError
from hil.meter.resistor import resistor_reading
from hil.meter.types import MeterInfo, Trace

RATE_HZ, SAMPLES = 10_000.0, 20_000
INFO = MeterInfo("PPK2", "C0FFEE")


def trace(current_a: float = 3.3e-3, noise_a: float = 10e-6, step_a: float = 1e-6, slope: float = 0.0) -> Trace:
    rng = np.random.default_rng(3)
    level = current_a * (1 + slope * np.arange(SAMPLES) / SAMPLES)
    read = np.round((level + rng.normal(0.0, noise_a, SAMPLES)) / step_a) * step_a
    return Trace("known resistor", read, 3.3, dt_s=1 / RATE_HZ, info=INFO)


def test_the_mean_current_and_what_noise_leaves_of_it() -> None:
    reading = resistor_reading(trace(), 1000.0, 0.001)
    assert (reading.true_a, reading.voltage_v, reading.resistor_sd) == (pytest.approx(3.3e-3), 3.3, 0.001)
    # 10 uA of noise on the 18 000 samples that count, and a drift by chance: 2 sigma / sqrt(12), at most thrice that.
    noise_a = 10e-6 / sqrt(0.9 * SAMPLES)
    assert abs(reading.current_a - 3.3e-3) < 4 * noise_a
    assert 0.98 * noise_a < reading.current_sd_a < hypot(1.02, 3 * 2 / sqrt(12)) * noise_a


def test_the_start_of_a_recording_is_left_out() -> None:
    late = trace()
    late.current_a[: SAMPLES // 20] = 50e-3
    assert resistor_reading(late, 1000.0, 0.001).current_a == pytest.approx(3.3e-3, rel=1e-3)


def test_a_coarse_converter_is_an_uncertainty() -> None:
    """25 uA steps and no noise to speak of: the reading may be off by half a step wherever the truth lies."""
    reading = resistor_reading(trace(noise_a=3e-6, step_a=25e-6), 1000.0, 0.001, resolution_a=25e-6)
    assert reading.current_sd_a == pytest.approx(25e-6 / sqrt(12), rel=0.3)


def test_readings_that_are_none() -> None:
    with pytest.raises(UnsteadyError, match=r"1.00 kohm: the reading drifts from 3\.3\d+ mA to 3\.3\d+ mA"):
        resistor_reading(trace(slope=0.01), 1000.0, 0.001)
    with pytest.raises(UnsteadyError, match=r"reads 3.30 mA, expected 33.0 mA \(3.30 V across it\)"):
        resistor_reading(trace(), 100.0, 0.001)
    with pytest.raises(UnsteadyError, match="reads 0 A"):
        resistor_reading(replace(trace(), current_a=np.zeros(SAMPLES)), 1000.0, 0.001)
    with pytest.raises(UnsteadyError, match="the meter has 3.30 V, 1.80 V stated"):
        resistor_reading(trace(), 1000.0, 0.001, voltage_v=1.8)
    with pytest.raises(TraceError, match="never changes"):
        resistor_reading(trace(noise_a=0.0, step_a=25e-6), 1000.0, 0.001)
    with pytest.raises(OverRangeError, match="1.00 kohm: 1 samples at the end of the range"):
        resistor_reading(replace(trace(), clipped=1, clipped_at=((15_000, 15_001),)), 1000.0, 0.001)


def test_the_stated_uncertainty_holds_as_often_as_it_says() -> None:
    """Resistors anywhere within 0.1 %, a voltage anywhere within 0.5 % that is wrong in the check and in the product
    later: 2000 instruments.  Bounds of uniform errors at 1.645 sigma hold more than 90 %, but not always."""
    rng = np.random.default_rng(11)
    ohms, volts, gain, offset_a = np.array([100.0, 330.0, 1000.0]), 3.3, 1.02, 2e-6
    gains = powers = without = 0
    for _ in range(2000):
        stated_v = volts * (1 + rng.uniform(-0.005, 0.005))
        true_a = volts / (ohms * (1 + rng.uniform(-0.001, 0.001, 3)))
        read_a = gain * true_a + offset_a + rng.normal(0.0, 1e-6, 3)
        readings = [
            ResistorReading(float(ohm), stated_v, float(amps), 0.001 / sqrt(3), 1e-6)
            for ohm, amps in zip(ohms, read_a, strict=True)
        ]
        found = resistor_check(INFO, readings, voltage_sd=0.005 / sqrt(3))
        gains += abs(found.gain - gain) < COVERAGE_FACTOR * found.gain_sd * gain
        later_a = (gain * 5e-3 + offset_a - found.offset_a) / found.gain
        error = later_a * stated_v / (5e-3 * volts) - 1
        powers += abs(error) < COVERAGE_FACTOR * hypot(found.gain_sd, found.voltage_sd)
        without += abs(error) < COVERAGE_FACTOR * found.gain_sd
    assert 0.88 < gains / 2000 < 0.99
    assert 0.88 < powers / 2000 < 0.99
    assert without / 2000 < 0.7  # the voltage counts twice


def test_a_stored_check_names_its_date_and_readings(tmp_path: Path) -> None:
    readings = [ResistorReading(ohm, 3.3, 1.01 * 3.3 / ohm) for ohm in (100.0, 1000.0)]
    path = save_check(tmp_path, INFO, resistor_check(INFO, readings), readings)
    check = read_check(path)
    assert (check.model, check.serial) == ("PPK2", "C0FFEE")
    assert check.accuracy.gain == pytest.approx(1.01)
    document = json.loads(path.read_text())
    assert document["date"] == check.date and document["date"].endswith("+00:00")
    assert [reading["resistance_ohm"] for reading in document["readings"]] == [100.0, 1000.0]
    # A check that was stored before dates were.
    del document["date"], document["readings"]
    path.write_text(json.dumps(document))
    assert read_check(path) == replace(check, date="")


@pytest.mark.parametrize(
    "change",
    [
        {"gain": 0},
        {"gain": -1.0},
        {"gain": "1"},
        {"gain_sd": float("nan")},
        {"offset_sd_a": -1e-6},
        {"voltage_sd": True},
    ],
)
def test_a_check_with_impossible_figures_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    path = save_check(tmp_path, INFO, resistor_check(INFO, [ResistorReading(100.0, 3.3, 33e-3)]))
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(FormatError, match="not a resistor check"):
        read_check(path)
