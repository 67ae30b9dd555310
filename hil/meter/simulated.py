"""A meter without hardware: a known course of power as an instrument with faults would have recorded it, seeded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hil.meter.errors import NotSupported, SettingError, TraceError
from hil.meter.types import Float, Gap, MeterCaps, MeterInfo, Trace, Trigger

_MOST = 100_000_000  # samples


@dataclass(frozen=True)
class Scene:
    """What happens, in board time.

    From ``t_s[i]`` on the board takes ``power_w[i]`` (as ``SocTimeline.power_trace`` says it), until ``end_s`` and a
    little longer; its line changes at each of ``edges_s``.  ``supply_v`` does not sag.
    """

    t_s: Sequence[float] | Float
    power_w: Sequence[float] | Float
    end_s: float
    edges_s: Sequence[float] = ()
    supply_v: float = 3.3

    def power_at(self, board_s: Float) -> Float:
        """Power at each of ``board_s``, watts; before the first step it is the first power."""
        index = np.searchsorted(np.asarray(self.t_s, dtype=np.float64), board_s, side="right") - 1
        return np.asarray(self.power_w, dtype=np.float64)[np.maximum(index, 0)]

    def energy_j(self, start_s: float, end_s: float) -> float:
        """The truth: the integral of the steps."""
        borders = np.unique(np.concatenate([[start_s, end_s], np.clip(self.t_s, start_s, end_s)]))
        return float(np.dot(self.power_at(borders[:-1]), np.diff(borders)))


@dataclass(frozen=True)
class Faults:
    """Everything that an instrument does to the truth.  Times are the board's.

    A reading is ``gain * truth + offset_a`` plus noise and spikes, in steps of ``lsb_a``, at most ``limit_a``.
    ``clock_ratio``: meter seconds per board second.  The first sample is taken at ``start_s``, when the meter's clock
    says ``t0_s``.  ``gaps``: when, and how many samples; ``unseen``: the instrument does not know of them.
    ``spikes``: when, and how many amperes, for three samples.  ``lost_edges``: indices into ``Scene.edges_s``.
    """

    noise_a: float = 0.0
    lsb_a: float = 0.0
    gain: float = 1.0
    offset_a: float = 0.0
    clock_ratio: float = 1.0
    start_s: float = -0.1
    t0_s: float = 0.0
    tail_s: float = 0.1
    gaps: tuple[tuple[float, int], ...] = ()
    unseen: bool = False
    spikes: tuple[tuple[float, float], ...] = ()
    limit_a: float | None = None
    lost_edges: tuple[int, ...] = ()
    extra_edges_s: tuple[float, ...] = ()


NO_FAULTS = Faults()


class SimulatedMeter:
    """A ``PowerMeter`` that watches a ``scene``, which may be given any time before ``stop``.

    Digital input 0 is the board's line.  A hardware trigger starts at the first edge.
    """

    info = MeterInfo("simulated", serial="0", driver="hil")
    caps = MeterCaps(
        rate_min_hz=1.0,
        rate_max_hz=10e6,
        measures_voltage=True,
        supplies_dut=True,
        digital_inputs=1,
        hw_trigger=True,
    )

    def __init__(
        self, scene: Scene | None = None, faults: Faults = NO_FAULTS, *, site: str = "whole board", seed: int = 0
    ) -> None:
        self.scene, self.faults, self.site, self.seed = scene, faults, site, seed
        self.rate_hz = 100e3
        self._records = 0  # each has noise of its own
        self._powered = True
        self._trigger: Trigger | None = None

    def open(self, *, keep_power: bool = True) -> None:
        self._powered = self._powered or not keep_power

    def configure(self, rate_hz: float, range_a: float | None = None) -> float:
        """Takes any rate between its limits as it is.  Raises NotSupported."""
        if not self.caps.rate_min_hz <= rate_hz <= self.caps.rate_max_hz:
            raise NotSupported(f"simulated meter: {rate_hz:g} Hz, expected 1 Hz to 10 MHz")
        self.rate_hz = rate_hz
        return rate_hz

    def supply(self, voltage_v: float | None, limit_a: float | None = None) -> None:
        """On or off; the voltage is the scene's."""
        self._powered = voltage_v is not None

    def start(self, trigger: Trigger = "software") -> None:
        self._trigger = trigger

    def problem(self) -> None:
        """It has none."""

    def stop(self) -> Trace:
        """The trace from the start to ``tail_s`` after the scene's end.  Raises TraceError without start or scene."""
        if self._trigger is None:
            raise TraceError("simulated meter: stopped without a start")
        if self.scene is None:
            raise TraceError("simulated meter: nothing to watch", hint="give it a Scene before stop")
        at_edge = self._trigger == "hardware"
        self._trigger = None
        if at_edge and not self.scene.edges_s:
            raise TraceError("simulated meter: the trigger never came", hint="a scene without edges starts no meter")
        start_s = self.scene.edges_s[0] if at_edge else self.faults.start_s
        return self._record(self.scene, start_s)

    def close(self) -> None:
        self._trigger = None

    def _record(self, scene: Scene, start_s: float) -> Trace:
        faults, rng = self.faults, np.random.default_rng([self.seed, self._records])
        self._records += 1
        step_s = 1 / (self.rate_hz * faults.clock_ratio)  # of board time between samples
        count = int((scene.end_s + faults.tail_s - start_s) / step_s)
        if not 2 <= count <= _MOST:
            raise TraceError(f"simulated meter: {count} samples, expected 2 to {_MOST}", hint="choose another rate")
        board_s: Float = start_s + np.arange(count, dtype=np.float64) * step_s
        true_a = scene.power_at(board_s) / scene.supply_v * self._powered
        read_a = faults.gain * true_a + faults.offset_a + rng.normal(0.0, faults.noise_a, count)
        for at_s, amperes in faults.spikes:
            first = int(np.searchsorted(board_s, at_s))
            read_a[first : first + 3] += amperes
        if faults.lsb_a > 0:
            read_a = np.round(read_a / faults.lsb_a) * faults.lsb_a
        over = np.zeros(count, dtype=np.bool_)
        if faults.limit_a is not None:
            over = read_a >= faults.limit_a
            read_a = np.minimum(read_a, faults.limit_a)
        seen = sorted([*np.delete(np.array(scene.edges_s), list(faults.lost_edges)), *faults.extra_edges_s])
        digital = (np.searchsorted(np.array(seen), board_s, side="right") % 2).astype(np.uint8)
        kept = np.ones(count, dtype=np.bool_)
        for at_s, missing in faults.gaps:
            first = int(np.searchsorted(board_s, at_s))
            kept[first : first + missing] = False
        index = np.flatnonzero(kept)
        lost = np.diff(index) - 1
        gaps = tuple(Gap(int(i) + 1, int(lost[i])) for i in np.flatnonzero(lost))
        borders = np.flatnonzero(np.diff(over[kept].astype(np.int8), prepend=0, append=0))
        return Trace(
            site=self.site,
            current_a=read_a[kept],
            voltage_v=scene.supply_v,
            dt_s=1 / self.rate_hz,
            t0_s=faults.t0_s,
            digital=digital[kept],
            gaps=() if faults.unseen else gaps,
            clipped=int(over[kept].sum()),
            clipped_at=tuple((int(a), int(b)) for a, b in borders.reshape(-1, 2)),
            info=self.info,
        )


def with_faults(*, site: str = "whole board", seed: int = 0, **faults: float) -> SimulatedMeter:
    """A meter with these of the ``Faults``, by name.  Raises SettingError, by name too, for one that cannot be."""
    for name, value in {"seed": seed, **faults}.items():
        if not np.isfinite(value):
            raise SettingError(f"simulated meter: {name} is {value:g}", hint="expected a finite number")
        if value < 0 and name in ("seed", "noise_a", "lsb_a"):
            raise SettingError(f"simulated meter: {name} is {value:g}", hint="expected zero or more")
    meter = SimulatedMeter(faults=Faults(**faults), site=site, seed=seed)  # type: ignore[arg-type]
    if not (meter.faults.clock_ratio > 0 and meter.faults.gain != 0):
        raise SettingError(f"simulated meter: {faults}", hint="clock_ratio above zero, gain not zero")
    return meter
