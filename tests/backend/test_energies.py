"""Windows of a trace to energies, and energies to sums: against figures worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hil.backend.borders import Told, energies
from hil.backend.energies import combined, summed
from hil.backend.run import Energy, Fidelity, Interval, PhaseFigures
from hil.board.codec import Border
from hil.meter.align import same_clock
from hil.meter.energy import Joules
from hil.meter.types import Gap, Trace

SITE = "rail VCOREA"


def test_one_inference_may_not_lose_a_sample() -> None:
    """A long window over many may lose one in a thousand; a phase may not."""
    border = Border("inference", 0, 10**9)
    current = np.full(199_000, 0.01)
    trace = Trace(SITE, current, 1.0, dt_s=1e-5, t0_s=-0.5, gaps=(Gap(100_000, 10),))
    for inferences, refused in ((1, True), (2, False)):
        told = Told(inferences, (0.0, 1.0), (border,))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("hil.backend.borders.align", lambda *_: same_clock())
            found = energies(trace, told, scope=SITE, accuracy=None, trigger="hardware")
        assert ("inference" in found.refused) is refused


def test_idle_that_is_none_gives_no_energy_above_it() -> None:
    """Warm-ups that the host did not know of went by before the first lap."""
    times = np.arange(200_000) * 1e-5
    power = np.where(times < 0.5, 20e-3, np.where(times < 1.5, 24e-3, 6e-3))
    trace = Trace(SITE, power, 1.0, dt_s=1e-5)
    told = Told(100, (0.5, 1.5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hil.backend.borders.align", lambda *_: same_clock())
        found = energies(trace, told, scope=SITE, accuracy=None, trigger="hardware")
    assert "one of both is not idle" in found.refused["idle"].message
    assert found.phases["inference"].above_idle is None and found.idle is None
    assert found.phases["inference"].mean_j == pytest.approx(24e-5, rel=1e-3)


def test_a_meter_the_wrong_way_round_is_named() -> None:
    trace = Trace(SITE, np.full(200_000, -0.01), 1.0, dt_s=1e-5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hil.backend.borders.align", lambda *_: same_clock())
        found = energies(trace, Told(100, (0.5, 1.5)), scope=SITE, accuracy=None, trigger="hardware")
    assert "wrong way round" in found.refused["inference"].message


def part(mean: float, fidelity: Fidelity = "measured") -> PhaseFigures:
    half = abs(mean) / 10
    energy = Energy(mean=mean, low=mean - half, high=mean + half, scope="x, gross", fidelity=fidelity)
    return PhaseFigures(latency_s=Interval(mean=1.0, low=1.0, high=1.0), energy_j=energy, fidelity="measured")


def test_sums_of_energies() -> None:
    """Half widths of one instrument add up; what was not measured is left out where all of it is negligible."""
    both = summed([part(1.0), part(3.0)], "energy_j")
    assert both is not None and (both.low, both.mean, both.high) == pytest.approx((3.6, 4.0, 4.4))
    few = [part(1.0), *[part(0.002, "estimated")] * 4]
    many = [part(1.0), *[part(0.009, "estimated")] * 5]  # each below a hundredth, together not
    for parts, expected in ((few, "measured"), (many, "estimated")):
        total = summed(parts, "energy_j")
        assert total is not None and total.fidelity == expected
    below = summed([part(1.0), part(-0.2)], "energy_j")
    assert below is not None and (below.low, below.mean, below.high) == pytest.approx((0.68, 0.8, 0.92))


def test_an_energy_above_idle_may_be_negative() -> None:
    """A board that polls while it waits and sleeps while it works."""
    found = combined([Joules(-5e-6, -6e-6, -4e-6)] * 2, "x, above idle", "measured")
    assert found is not None and (found.low, found.mean, found.high) == pytest.approx((-6e-6, -5e-6, -4e-6))
