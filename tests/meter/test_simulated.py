"""The simulated meter against closed forms, and the coverage study: the whole way from a known truth to an interval."""

from __future__ import annotations

import numpy as np
import pytest
from meter_study import coverage, detections, table
from scipy.stats import binom

from hil.errors import MeterError
from hil.meter.errors import NotSupported, TraceError
from hil.meter.simulated import Faults, Scene, SimulatedMeter
from hil.meter.trace import SampleTimes, checked
from hil.meter.types import Gap, PowerMeter, Trace

SCENE = Scene([-1.0, 0.0, 0.5], [3.3e-3, 33e-3, 3.3e-3], 1.0, (0.0, 0.5), 3.3)


def record(faults: Faults, seed: int = 0, rate_hz: float = 1000.0, trigger: bool = False) -> Trace:
    meter: PowerMeter = SimulatedMeter(SCENE, faults, seed=seed)
    meter.open()
    assert meter.configure(rate_hz) == rate_hz
    meter.start("hardware" if trigger else "software")
    trace = checked(meter.stop())
    meter.close()
    return trace


def test_a_perfect_instrument_shows_the_truth() -> None:
    trace = record(Faults(start_s=-0.1, tail_s=0.1, t0_s=5.0))
    assert len(trace.current_a) == 1200
    assert trace.current_a[50] == pytest.approx(1e-3)
    assert trace.current_a[200] == pytest.approx(10e-3)
    assert trace.voltage_v == 3.3
    assert SampleTimes(trace).first_s == 5.0
    assert trace.digital is not None
    assert np.flatnonzero(np.diff(trace.digital.astype(int))).tolist() == [99, 599]
    assert SCENE.energy_j(-0.1, 1.1) == pytest.approx(0.7 * 3.3e-3 + 0.5 * 33e-3)


def test_every_fault_does_what_it_says() -> None:
    flat = record(Faults(gain=1.1, offset_a=1e-3, lsb_a=1e-3)).current_a
    assert np.unique(np.round(flat * 1e3, 9)).tolist() == [2.0, 12.0]  # 2.1 and 12 mA in steps of 1 mA
    noisy = record(Faults(noise_a=1e-4), seed=1).current_a
    assert float((noisy[:90] - 1e-3).std()) == pytest.approx(1e-4, rel=0.3)
    assert record(Faults(noise_a=1e-4), seed=1).current_a.tolist() == noisy.tolist()
    assert record(Faults(noise_a=1e-4), seed=2).current_a.tolist() != noisy.tolist()
    gapped = record(Faults(gaps=((0.1995, 5), (0.3995, 1))))
    assert gapped.gaps == (Gap(300, 5), Gap(495, 1))
    assert len(gapped.current_a) == 1194
    assert record(Faults(gaps=((0.1995, 5),), unseen=True)).gaps == ()
    clipped = record(Faults(limit_a=5e-3))
    assert (clipped.clipped, clipped.clipped_at) == (500, ((100, 600),))
    assert float(clipped.current_a.max()) == 5e-3
    assert float(record(Faults(spikes=((0.7, 0.1),))).current_a[798:805].sum()) == pytest.approx(7e-3 + 0.3)
    slow = record(Faults(clock_ratio=2.0))  # half the board's time between samples of the meter's second
    assert len(slow.current_a) == 2400
    lost = record(Faults(lost_edges=(1,), extra_edges_s=(0.8,))).digital
    assert lost is not None
    assert np.flatnonzero(np.diff(lost.astype(int))).tolist() == [99, 899]


def test_a_hardware_trigger_starts_at_the_first_edge() -> None:
    trace = record(Faults(start_s=-0.1, tail_s=0.0), trigger=True)
    assert len(trace.current_a) == 1000
    assert trace.current_a[0] == pytest.approx(10e-3)


def test_wrong_use_is_named() -> None:
    meter = SimulatedMeter()
    with pytest.raises(TraceError, match="without a start"):
        meter.stop()
    meter.start()
    with pytest.raises(TraceError, match="nothing to watch"):
        meter.stop()
    with pytest.raises(NotSupported, match="expected 1 Hz to 10 MHz"):
        meter.configure(0.1)
    meter.supply(None)
    meter.scene = SCENE
    meter.start()
    assert not meter.stop().current_a.any()


# --- the study ------------------------------------------------------------------------------------------------------

PLANTED = {
    "gap in a phase": "GapError",
    "samples lost unseen": "StretchError",
    "misaligned word": "GapError",
    "clock stretched 1.33 times": "StretchError",
    "clock stretched 2 times": "StretchError",
    "over-range": "OverRangeError",
    "wrong scope": "ScopeError",
    "missing edge": "MissingEdgeError",
    "missing pulse": "MissingEdgeError",
    "extra edge": "ExtraEdgeError",
    "no edge at all": "MissingEdgeError",
    "started too late": "MissingEdgeError",
    "together": "MissingEdgeError",
}


def test_phase_energies_of_twenty_timelines_lie_within_their_intervals() -> None:
    """At 90 % stated, fewer than the 1 % quantile of a binomial would be wrong.

    The phases of a timeline share gain and offset: where those are the fault there are twenty independent draws.
    """
    found = coverage(timelines=20)
    for fault, row in found.items():
        assert row.figures == 120
        draws = 20 if fault in ("gain", "offset", "together") else 120
        least = binom.ppf(0.01, draws, 0.9) / draws
        assert row.within / row.figures >= least, fault
        assert row.within_above_idle / row.figures >= least, fault
        # An interval so wide that it always holds says nothing: half of it stays near a percent.
        assert row.half_width < 0.012, fault
    lines = list(table(found, {"gap": [None, MeterError("x")]}))
    assert len(lines) == len(found) + 6
    assert lines[-1] == "| gap | 2 | 1 | MeterError |"


def test_every_planted_fault_is_detected_and_named() -> None:
    found = detections(timelines=20)
    assert {fault: {type(error).__name__ for error in errors} for fault, errors in found.items()} == {
        fault: {name} for fault, name in PLANTED.items()
    }
