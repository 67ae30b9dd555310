"""Energy of a board's inferences by a power meter: record, align, integrate.

The meter runs around one ``infer``: idle, whatever comes before the laps, N inferences between them, idle.  The laps
are the borders, as in MLPerf Tiny: the board gives their times, and an edge of its synchronisation pin each.  Phases
around the inferences have no borders of their own, so their energies stay the cost model's.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hil.backend.assemble import Figures
from hil.backend.run import Energy, MeterFigures
from hil.backend.timed import repeated
from hil.board.clock import Clock
from hil.board.session import InferResult, Session
from hil.cost import SUMS
from hil.errors import MeterError
from hil.meter.accuracy import load_check
from hil.meter.align import Alignment, Evidence, align, digital_edges, same_clock
from hil.meter.energy import Joules, PhaseEnergy, PhaseWindow, energy_by_phase
from hil.meter.store import save_trace
from hil.meter.trace import WINDOW_GAPS, SampleTimes
from hil.meter.types import PowerMeter, Trace

# Idle recorded before and after the work, and how near to it the idle windows come.
IDLE_S = 0.3
MARGIN_S = 0.05
# Steps of power fit the laps only where nothing else makes power: beyond this they are other steps.
STEP_SKEW = 1e-3


@dataclass(frozen=True)
class Recording:
    """One ``infer`` under the meter."""

    result: InferResult
    trace: Trace


def record(
    meter: PowerMeter, session: Session, clock: Clock, inferences: int, warmups: int, expected_s: float
) -> Recording:
    """Run ``infer`` under the meter, with idle before and after.

    Raises MeterError where more than that one ``infer`` would be in the trace.
    """
    features = session.identity.features if session.identity is not None else ()
    if session.tells_laps and not {"laps", "phases"} & set(features):
        raise MeterError(
            "the board tells its laps once, so hil measures twice to be sure: two runs would be in one trace",
            hint="under a meter a board must announce laps or phases (docs/protocol.md), or be in energy mode",
        )
    meter.start()
    clock.sleep(IDLE_S)
    infer_s = clock.now_s()
    result = session.infer(inferences, warmups, expected_s)
    if result.latency_s is not None:  # a board in virtual time answers sooner than its power would be over
        clock.sleep(max(0.0, result.latency_s * (inferences + warmups) - (clock.now_s() - infer_s)))
    clock.sleep(IDLE_S)
    trace = meter.stop()
    if result.attempts > 1:
        raise MeterError(
            f"the inferences were repeated {result.attempts - 1} times while the meter recorded",
            hint="the link is not clean: see the capture",
        )
    return Recording(result, trace)


def inference_energy(
    recording: Recording, before_s: float, scope: str, folder: Path, tolerance: float = 0.05
) -> tuple[PhaseEnergy, Alignment]:
    """Energy per inference between the laps.

    ``before_s``: how long the board worked before the first lap (initialisation, loading, warm-ups); ``folder`` holds
    the checks of instruments against known resistors.  Raises MeterError.
    """
    trace, result = recording.trace, recording.result
    times = SampleTimes(trace)
    start_s, end_s = _laps(recording)
    if start_s is None or end_s is None:  # energy mode: the edges are the laps
        start_s, end_s = _timestamps(trace)
        alignment = same_clock(times.interval_s)
    else:
        alignment = _aligned(trace, start_s, end_s, before_s)
    window = PhaseWindow("inference", start_s, end_s, result.inferences, WINDOW_GAPS)
    first_s, last_s = alignment.to_board(times.first_s), alignment.to_board(times.last_s)
    idle = [
        PhaseWindow("before", first_s + MARGIN_S / 5, start_s - before_s - MARGIN_S, gaps_allowed=WINDOW_GAPS),
        PhaseWindow("after", end_s + MARGIN_S, last_s - MARGIN_S / 5, gaps_allowed=WINDOW_GAPS),
    ]
    rest = idle if all(part.end_s - part.start_s > MARGIN_S for part in idle) else []
    found = energy_by_phase(
        trace,
        [window],
        alignment,
        scope=scope,
        idle=rest,
        accuracy=load_check(folder, trace.info),
        tolerance=tolerance,
    )
    return found["inference"], alignment


def _timestamps(trace: Trace) -> tuple[float, float]:
    """Meter times of the laps of a board in energy mode: the last two falling edges of its pin.

    A pin that only changes its level once per lap has one falling edge; its last two changes are the laps then.
    """
    edges = digital_edges(trace, 0)
    high = trace.digital is not None and bool(trace.digital[0] & 1)
    falling = edges[0 if high else 1 :: 2]
    laps = falling if len(falling) > 1 else edges
    if len(laps) < 2:
        raise MeterError(
            f"{len(laps)} edges in the trace, expected two around the inferences",
            hint="wire the board's synchronisation pin to the meter's first digital input",
        )
    return float(laps[-2]), float(laps[-1])


def _laps(recording: Recording) -> tuple[float | None, float | None]:
    start_us, end_us = recording.result.lap_start_us, recording.result.lap_end_us
    return (start_us * 1e-6, end_us * 1e-6) if start_us is not None and end_us is not None else (None, None)


def _aligned(trace: Trace, start_s: float, end_s: float, before_s: float) -> Alignment:
    """By the pin where it is wired, by the steps of power otherwise: up when the board begins to work (before the first
    lap, by ``before_s``), down after the last lap."""
    if trace.digital is not None and bool(np.any(trace.digital & 1)):
        return align(trace, Evidence((start_s, end_s)), ("digital",))
    alignment = align(trace, Evidence((start_s - before_s, end_s)), ("change-point",))
    if abs(alignment.skew) > STEP_SKEW:
        raise MeterError(
            f"the steps of power are {alignment.skew:+.1%} off the board's times: they are not its laps",
            hint="wire the board's synchronisation pin to the meter's first digital input",
        )
    return alignment


@dataclass
class Metering:
    """A meter around the windows of one benchmark.  ``site`` is what it measures; ``stem`` is the path that the names
    of its traces begin with, and ``checks`` has the instruments' resistor checks."""

    meter: PowerMeter
    rate_hz: float
    site: str
    stem: Path
    checks: Path
    clock: Clock

    def __post_init__(self) -> None:
        self._recordings: list[Recording] = []
        self._traces: list[str] = []

    def infer(self, session: Session, inferences: int, warmups: int, expected_s: float) -> InferResult:
        recording = record(self.meter, session, self.clock, inferences, warmups, expected_s)
        path = self.stem.with_name(f"{self.stem.name}-trace-{len(self._traces) + 1}")
        self._traces.append(str(save_trace(recording.trace, path)))  # before anybody judges it
        self._recordings.append(recording)
        return recording.result

    def energy(self, before_s: float) -> MeteredEnergy:
        """Over all windows.  ``before_s``: as ``inference_energy`` has it."""
        found = [inference_energy(recording, before_s, self.site, self.checks) for recording in self._recordings]
        windows, alignments = [window for window, _ in found], [alignment for _, alignment in found]
        idle = windows[-1].idle
        info = self.meter.info
        return MeteredEnergy(
            gross=_combined(windows, [Joules(w.mean_j, w.low_j, w.high_j) for w in windows], "gross"),
            above_idle=_combined(windows, [w.above_idle for w in windows], "above idle"),
            power_w=float(np.median([window.power_w for window in windows])),
            latency_s=tuple(
                window.duration_s / recording.result.inferences
                for window, recording in zip(windows, self._recordings, strict=True)
            ),
            meter=MeterFigures(
                model=info.model,
                serial=info.serial,
                firmware=info.firmware,
                driver=info.driver,
                site=self.site,
                rate_hz=self.rate_hz,
                alignment=alignments[-1].describe(),
                skew_ppm=alignments[-1].skew_ppm,
                idle_power_w=idle.power_w if idle is not None else None,
                idle_drift_w=idle.drift_w if idle is not None else None,
                windows_j=tuple(window.mean_j for window in windows),
                notes=tuple(dict.fromkeys(note for recording in self._recordings for note in recording.trace.notes)),
                traces=tuple(self._traces),
            ),
        )


@dataclass(frozen=True)
class MeteredEnergy:
    """Energy of one inference, its mean power, and what measured it.  ``latency_s``: its time in each window, by the
    meter's clock."""

    gross: Energy | None
    above_idle: Energy | None
    power_w: float
    latency_s: tuple[float, ...]
    meter: MeterFigures


def _combined(windows: Sequence[PhaseEnergy], parts: Sequence[Joules | None], what: str) -> Energy | None:
    """The median of the windows (MLPerf Tiny's rule) with an interval that holds their scatter and the instrument's
    own; None where a window has no such figure."""
    known = [part for part in parts if part is not None]
    if len(known) < len(windows):
        return None
    centre = float(np.median([part.mean_j for part in known]))
    own = max((part.high_j - part.low_j) / 2 for part in known)
    scatter = repeated([part.mean_j for part in known], 0.0)
    half = math.hypot(own, scatter.high - scatter.mean)
    scope = f"{windows[0].site}, {what}"
    return Energy(mean=centre, low=max(centre - half, 0.0), high=centre + half, scope=scope, fidelity="measured")


def with_energy(figures: Figures, energy: MeteredEnergy | None) -> Figures:
    """The figures with the measured energy of the inference in place of the model's.

    Sums take it in where the model's other phases are of the same scope; elsewhere a sum would mix scopes: none.
    """
    if energy is None:
        return figures
    old = figures.phases["inference"]
    new = old.model_copy(
        update={"energy_j": energy.gross, "energy_above_idle_j": energy.above_idle, "power_w": energy.power_w}
    )
    sums = dict(figures.sums)
    for name, phases in SUMS.items():
        if "inference" in phases:
            gross = _replaced(sums[name].energy_j, old.energy_j, new.energy_j)
            seconds = sums[name].latency_s.mean
            sums[name] = sums[name].model_copy(
                update={
                    "energy_j": gross,
                    "energy_above_idle_j": _replaced(
                        sums[name].energy_above_idle_j, old.energy_above_idle_j, new.energy_above_idle_j
                    ),
                    "power_w": gross.mean / seconds if gross is not None and seconds > 0 else None,
                }
            )
    return replace(figures, phases={**figures.phases, "inference": new}, sums=sums, meter=energy.meter)


def _replaced(total: Energy | None, old: Energy | None, new: Energy | None) -> Energy | None:
    """A sum with one part exchanged: the rest keeps the sum's relative interval, the new part has its own."""
    if total is None or old is None or new is None or total.scope.casefold() != new.scope.casefold():
        return None
    rest = max(total.mean - old.mean, 0.0)
    half_rest = rest * (total.high - total.low) / (2 * total.mean) if total.mean > 0 else 0.0
    half, mean = math.hypot(half_rest, (new.high - new.low) / 2), rest + new.mean
    fidelity = "measured" if rest < 0.1 * mean else total.fidelity
    return total.model_copy(
        update={"mean": mean, "low": max(mean - half, 0.0), "high": mean + half, "fidelity": fidelity}
    )


def checks_folder() -> Path:
    """Where checks of instruments against known resistors are kept: ``$XDG_CONFIG_HOME/hil/meters``."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "hil" / "meters"
