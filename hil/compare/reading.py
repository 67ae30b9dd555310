"""A figure with the condition that it holds for, from a run or from a publication."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

from hil.backend.run import FIDELITIES, Energy, Fidelity, Interval, PhaseFigures, Run
from hil.calibrate.dataset import Measurement, overrides_of
from hil.calibrate.design import GRADE_SIGMA, phases_of
from hil.cost import SUMS, Z_90
from hil.errors import ConfigError, PlatformError
from hil.platform import load_platform
from hil.units import parse_quantity

Metric = Literal["latency", "energy", "power"]
METRICS: tuple[Metric, ...] = ("latency", "energy", "power")
UNITS: dict[Metric, str] = {"latency": "s", "energy": "J", "power": "W"}
METRIC_OF: dict[str, Metric] = {"latency_s": "latency", "energy_j": "energy", "power_w": "power"}
# The step of many boards' clocks: a tick of the operating system.
_COARSE_S = 1e-3
# Of one further inference: a difference of a smaller phase than this changes no decision.
_MATERIAL_SHARE = 0.01
# These are judged however short they are.
_ALWAYS_MATERIAL = ("inference", "total", "steady")


@dataclass(frozen=True, slots=True)
class Reading:
    """One figure, SI, and the condition that it holds for.

    ``low`` to ``high`` is what chance and the clock leave open (90 %): repetitions, resolution, the grade of a
    publication.  It is the figure itself for a prediction, which comes out the same every time; how far a prediction
    trusts itself is ``model_low`` to ``model_high`` (90 %), None for a measurement.
    ``n`` counts repeated samples, 0 where a publication does not say; ``resolution`` is the step of the clock or of
    printed digits, in the unit of the figure; ``scope`` is what an energy or power covers, empty for a latency;
    ``clocks_hz`` by domain, ``host`` beside the core's name.  A difference up to ``immaterial`` (in the unit of the
    figure; 0 where that is not known) is too small to matter beside the rest of the run.  ``note`` says what else to
    know, ``doubt`` why a publication is not to be judged by.
    """

    metric: Metric
    phase: str
    network: str
    platform: str
    operating_point: str
    value: float
    low: float
    high: float
    fidelity: Fidelity
    origin: str
    model_low: float | None = None
    model_high: float | None = None
    n: int = 1
    resolution: float = 0.0
    immaterial: float = 0.0
    scope: str = ""
    macs: int = 0
    overrides: tuple[tuple[str, str], ...] = ()
    clocks_hz: tuple[tuple[str, float], ...] = ()
    supply_v: float | None = None
    precision: str = ""
    software: str = ""
    stack: str = ""
    note: str = ""
    doubt: str = ""


def reading_of(
    run: Run,
    metric: Metric,
    phase: str = "total",
    platform_path: Sequence[Path] = (),
    *,
    above_idle: bool = False,
) -> Reading | None:
    """A figure of a run; None where the run does not have it.

    ``phase``: a phase, ``total``, ``steady``, ``memory_io``, or phases joined with ``+``.  Energy and power are gross,
    or ``above_idle``.
    """
    parts = _parts(run, phase)
    if not parts:
        return None
    step_s = _clock_step_s(run, phase)
    latency = _Spread.of([(part.latency_s, part.fidelity) for part in parts]).blurred(step_s / 2)
    spread, scope = latency, ""
    if metric != "latency":
        energies = [_energy(part, above_idle) for part in parts]
        known = [energy for energy in energies if energy is not None]
        # Some phase takes time whose energy nobody knows.
        if len(known) < len(parts) or len({energy.scope for energy in known}) > 1:
            return None
        fidelities = [energy.fidelity or part.fidelity for energy, part in zip(known, parts, strict=True)]
        spread, scope = _Spread.of(list(zip(known, fidelities, strict=True))), known[0].scope
        spread = spread.times(latency) if metric == "energy" else spread.over(latency)
        if spread.value <= 0:  # above idle: less than doing nothing takes; no ratio says how far apart two of them are
            return None
    made = run.provenance
    host, stack = _host_and_stack(run.platform, run.operating_point, tuple(platform_path))
    clocks = dict(made.clocks_hz) | ({"host": made.clocks_hz[host]} if host in made.clocks_hz else {})
    return Reading(
        metric=metric,
        phase=phase,
        network=run.network,
        platform=run.platform,
        operating_point=run.operating_point,
        value=spread.value,
        low=spread.low,
        high=spread.high,
        fidelity=spread.fidelity,
        origin=f"{run.backend} run of {made.created}",
        model_low=spread.model_low,
        model_high=spread.model_high,
        n=_repetitions(run, phase),
        resolution=step_s if metric == "latency" else 0.0,
        immaterial=_immaterial(run, metric, phase, above_idle),
        scope=scope,
        macs=run.network_info.macs,
        overrides=canonical(made.overrides),
        clocks_hz=tuple(sorted(clocks.items())),
        supply_v=made.supply_v,
        precision=run.network_info.precision,
        software=made.software,
        stack=stack,
    )


def reading_of_measurement(row: Measurement, fitted: Collection[str] = ()) -> Reading:
    """A published figure of a time, energy or power, with the interval that its grade and its digits leave open.

    ``fitted``: records of which calibration fits a figure; the power of such a record is as good, though not fitted.
    """
    metric = METRIC_OF[row.quantity]
    half, grade = row.resolution / 2, math.exp(Z_90 * GRADE_SIGMA[row.grade])
    clocks = {"host": row.clock_host_hz, "npu": row.clock_npu_hz}
    return Reading(
        metric=metric,
        phase=row.phase,
        network=row.network,
        platform=row.platform,
        operating_point=row.operating_point,
        value=row.value,
        low=max(row.value - half, 0.0) / grade,
        high=(row.value + half) * grade,
        fidelity="measured",
        origin=f"measurement {row.id} ({row.source}, grade {row.grade})",
        n=0,
        resolution=row.resolution,
        scope=_scope(row),
        overrides=canonical(overrides_of(row.overrides)),
        clocks_hz=tuple((domain, hertz) for domain, hertz in clocks.items() if hertz is not None),
        supply_v=row.supply_v,
        precision=row.precision,
        stack=row.software,
        note=row.note,
        doubt=_doubt(row, fitted),
    )


@dataclass(frozen=True, slots=True)
class _Spread:
    """A value, what chance leaves open, what a model leaves open, and the least fidelity behind it."""

    value: float
    low: float
    high: float
    model_low: float | None
    model_high: float | None
    fidelity: Fidelity

    @staticmethod
    def of(figures: Sequence[tuple[Interval, Fidelity]]) -> _Spread:
        """The sum of figures.  Chance is independent from part to part; a model is wrong about all of them alike."""
        fidelity = max((fidelity for _, fidelity in figures), key=FIDELITIES.index)
        value = math.fsum(figure.mean for figure, _ in figures)
        measured = [figure for figure, fidelity in figures if fidelity == "measured"]
        low = value - math.hypot(*(figure.mean - figure.low for figure in measured))
        high = value + math.hypot(*(figure.high - figure.mean for figure in measured))
        if fidelity == "measured":
            return _Spread(value, max(low, 0.0), high, None, None, fidelity)
        bounds = (math.fsum(figure.low for figure, _ in figures), math.fsum(figure.high for figure, _ in figures))
        return _Spread(value, max(low, 0.0), high, *bounds, fidelity)

    def blurred(self, half: float) -> _Spread:
        """Known to half a step of the clock only."""
        return replace(self, low=max(self.low - half, 0.0), high=self.high + half)

    def times(self, time: _Spread) -> _Spread:
        """An energy that is a power times this time: what chance does to the time, it does to the energy too."""
        if self.fidelity == "measured" or not time.value > 0:
            return self
        return replace(self, low=self.value * time.low / time.value, high=self.value * time.high / time.value)

    def over(self, time: _Spread) -> _Spread:
        """Energy over time.  The relative interval stays that of the energy, the wider of both in every model here."""
        scale = 1.0 / time.value if time.value > 0 else math.nan
        low, high = (bound * scale if bound is not None else None for bound in (self.model_low, self.model_high))
        fidelity = max(self.fidelity, time.fidelity, key=FIDELITIES.index)
        return _Spread(self.value * scale, self.low * scale, self.high * scale, low, high, fidelity)


def _parts(run: Run, phase: str) -> list[PhaseFigures]:
    """The figures that make up a phase expression; none where one of them is missing."""
    if phase in SUMS:
        part: PhaseFigures = getattr(run, phase)
        return [part]
    names = phases_of(phase)
    return [run.phases[name] for name in names] if all(name in run.phases for name in names) else []


def _clock_step_s(run: Run, phase: str) -> float:
    """The step of a board's clock that counts whole milliseconds, for one execution of the phases; 0 for a finer one.

    Nobody says so: samples that are all whole milliseconds do (of a window of several inferences, its length).
    """
    steps = []
    for name in phases_of(phase):
        samples_s = run.phases[name].samples_s if name in run.phases else ()
        count = run.board.inferences if run.board is not None and name == "inference" else 1
        whole = [abs(sample * count / _COARSE_S - round(sample * count / _COARSE_S)) < 1e-6 for sample in samples_s]
        steps.append(_COARSE_S / count if whole and all(whole) else 0.0)
    return math.fsum(steps)


def _immaterial(run: Run, metric: Metric, phase: str, above_idle: bool) -> float:
    """What a phase may differ by without anybody noticing: a share of one further inference."""
    if metric == "power" or phase in _ALWAYS_MATERIAL:
        return 0.0
    whole = run.steady.latency_s if metric == "latency" else _energy(run.steady, above_idle)
    return _MATERIAL_SHARE * whole.mean if whole is not None else 0.0


def _repetitions(run: Run, phase: str) -> int:
    """How often the least repeated of the phases was measured."""
    known = [run.phases[name] for name in phases_of(phase) if name in run.phases]
    return max(min((len(part.samples_s) for part in known), default=1), 1)


def _energy(part: PhaseFigures, above_idle: bool) -> Energy | None:
    return part.energy_above_idle_j if above_idle else part.energy_j


@lru_cache(maxsize=256)
def _host_and_stack(platform: str, point: str, platform_path: tuple[Path, ...]) -> tuple[str, str]:
    """The host core and the software stack of an operating point; empty where the platform is not known here."""
    try:
        found = load_platform(platform, platform_path).operating_points.get(point)
    except PlatformError:
        return "", ""
    return (found.host, found.stack) if found is not None else ("", "")


def _scope(row: Measurement) -> str:
    """A scope of the data set in the words of a run record: ``rail VCOREA, above idle``."""
    if not row.scope:
        return ""
    words = {"whole-board": "whole board", "chip": "chip supply"}
    where = words.get(row.scope, row.scope.replace("rail:", "rail ", 1))
    return f"{where}, {row.baseline.replace('-', ' ')}"


def _doubt(row: Measurement, fitted: Collection[str]) -> str:
    """Why a figure is not to be judged by; empty for one that is."""
    trusted = row.use == "fit" or (row.quantity == "power_w" and row.record in fitted)
    return "" if trusted else row.reason


def canonical(overrides: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Overrides in one spelling: ``30MHz``, ``30e6`` and ``30000000`` are the same clock."""
    return tuple(sorted((key, _spelling(key, text)) for key, text in overrides.items()))


def _spelling(key: str, text: str) -> str:
    unit = "Hz" if key.endswith("_hz") else "V" if key.endswith("_v") else "B"
    try:
        return f"{parse_quantity(text, unit):.9g}"
    except ConfigError:
        return text.strip()


def is_immaterial(a: Reading, b: Reading) -> bool:
    """Is the difference too small to matter, beside the smaller of the two runs?"""
    known = [reading.immaterial for reading in (a, b) if reading.immaterial > 0]
    return abs(a.value - b.value) <= min(known, default=0.0) and a.value != b.value
