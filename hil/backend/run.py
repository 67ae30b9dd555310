"""The run: what one plan cost on one backend, by phase, with intervals, fidelity and provenance; and its stored form.

The JSON schema is versioned (``SCHEMA_VERSION``); keys are only ever added.  All figures are SI.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

SCHEMA_VERSION: Literal[1] = 1

# How near to hardware a figure is, the best first.
Fidelity = Literal["measured", "emulated", "calibrated", "estimated"]
FIDELITIES: tuple[Fidelity, ...] = ("measured", "emulated", "calibrated", "estimated")


class Model(BaseModel):
    """Stored tables never change after they were made; keys of newer versions are kept out of older code's way."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Interval(Model):
    """A figure with the bounds of its 90 % interval."""

    mean: float
    low: float
    high: float


class Energy(Interval):
    """An energy and what was measured: which supply, gross or above idle."""

    scope: str
    fidelity: Fidelity | None = None


class PhaseFigures(Model):
    """One phase, or a sum of phases: time, energy and mean power.

    ``energy_above_idle_j`` leaves out the static power of the same supply.  ``samples_s`` holds repeated measurements.
    """

    latency_s: Interval
    energy_j: Energy | None = None
    energy_above_idle_j: Energy | None = None
    power_w: float | None = None
    fidelity: Fidelity
    samples_s: tuple[float, ...] = ()


class OpFigures(Model):
    """One op of the plan.  ``latency_s`` is the centre of the estimate; None where the backend cannot tell."""

    index: int
    name: str
    type: str
    unit: Literal["npu", "cpu", "free"]
    reason: str = ""
    fused_into: int | None = None
    macs: int
    latency_s: float | None = None


class MemoryFigures(Model):
    """One demand against one memory."""

    name: str
    role: str
    needed_bytes: int
    capacity_bytes: int | None
    fits: bool


class Memory(Model):
    """Memory use: totals, and every demand against its memory."""

    weight_bytes: int
    activation_bytes: int
    weight_capacity_bytes: int | None = None
    activation_capacity_bytes: int | None = None
    uses: tuple[MemoryFigures, ...] = ()


class NetworkFigures(Model):
    """What the network is: its size, and where it came from."""

    source: str
    hash: str
    precision: str
    macs: int
    parameters: int
    weight_bytes: int
    ops: int
    provenance: str


class DutyFigures(Model):
    """One way to spend a period: run once, then wait in a power state.

    ``reloads_weights``: the state loses them, so that every period pays initialisation and weight loading again.
    """

    state: str
    average_power_w: Interval
    energy_per_period_j: float
    active_s: float
    reloads_weights: bool
    battery_life_s: float
    best: bool
    wake_known: bool = True


class TimelineSegment(Model):
    """A stretch of one phase on one resource."""

    phase: str
    resource: str
    start_s: float
    end_s: float
    inference: int
    power_w: float


class Timeline(Model):
    """What happened when: segments by resource, and the power trace as (time, power from then on) steps."""

    segments: tuple[TimelineSegment, ...] = ()
    trace_t_s: tuple[float, ...] = ()
    trace_power_w: tuple[float, ...] = ()
    throughput_hz: float | None = None


class Provenance(Model):
    """Everything needed to make the run again, or to know that it is another one."""

    hil_version: str
    created: str
    plan_hash: str
    platform_hash: str
    model_hash: str | None = None
    request_hash: str | None = None
    calibration_hash: str | None = None
    calibration: str = "none: priors only"
    overrides: dict[str, str] = {}
    clocks_hz: dict[str, float] = {}
    supply_v: float | None = None
    software: str = ""
    tools: dict[str, str] = {}
    host: str = ""
    seed: int | None = None
    sources: tuple[str, ...] = ()


class BoardFigures(Model):
    """The board that ran it: who it says it is, and what the link did.

    ``passed_on_retry``: something had to be repeated, as ``attempts`` says.  ``capture`` names the file that has every
    byte.
    """

    name: str
    profile: str
    model: str
    features: tuple[str, ...] = ()
    bytes_in: int = 0
    bytes_out: int = 0
    bad_bytes: int = 0
    retries: int = 0
    reconnects: int = 0
    passed_on_retry: bool = False
    attempts: tuple[str, ...] = ()
    warmups: int = 0
    inferences: int = 1
    windows: int = 1
    capture: str | None = None


class MeterFigures(Model):
    """The instrument behind a measured energy: which one, at which site, and how its clock was brought to the board's.

    ``accuracy`` says what its gain and offset rest on.  ``windows_j``: gross energy of one inference in each window;
    ``parts_j``: what makes the uncertainty of the last one's (one sigma each, ``hil.meter.energy``).
    ``refused``: phases whose energy could not be measured, and why.  ``traces`` are folders beside the captures.
    """

    model: str
    serial: str = ""
    firmware: str = ""
    driver: str = ""
    site: str
    rate_hz: float
    trigger: str = "software"
    accuracy: str = ""
    alignment: str
    skew_ppm: float
    idle_power_w: float | None = None
    idle_drift_w: float | None = None
    windows_j: tuple[float, ...] = ()
    parts_j: dict[str, float] = {}
    refused: dict[str, str] = {}
    notes: tuple[str, ...] = ()
    traces: tuple[str, ...] = ()


class OutputFigures(Model):
    """The outputs for a seeded random input against the reference interpreter's.

    ``equal`` where the board gives its output bytes; ``results_equal`` where it prints rounded results only.
    """

    sha256: str | None = None
    bytes: int | None = None
    different_bytes: int | None = None
    equal: bool | None = None
    results_equal: bool | None = None
    input_seed: int


class Accuracy(Model):
    """A data set on the board, prediction by prediction against the reference interpreter."""

    data_set: str
    samples: int
    correct: int
    reference_correct: int
    different_predictions: int


class Run(Model):
    """One plan on one backend.  A network that does not fit has ``fits`` false, ``reasons``, and figures as if it did.

    ``phases`` holds one entry per phase of the design (boot where it is known); ``total`` is end to end as the paper
    counts it: from accelerator initialisation to post-processing; ``steady`` is one further inference with the weights
    in place.  ``memory_io`` sums weight_load, input_load and output_read.
    """

    network: str
    platform: str
    operating_point: str
    backend: str
    fidelity: Fidelity
    fits: bool
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    fallback_ops: tuple[OpFigures, ...] = ()
    phases: dict[str, PhaseFigures]
    total: PhaseFigures
    steady: PhaseFigures
    memory_io: PhaseFigures
    idle_power_w: Interval | None = None
    memory: Memory
    network_info: NetworkFigures
    ops: tuple[OpFigures, ...] = ()
    npu_macs: int = 0
    peak_macs_per_s: float | None = None
    duty: tuple[DutyFigures, ...] = ()
    period_s: float | None = None
    timeline: Timeline | None = None
    board: BoardFigures | None = None
    meter: MeterFigures | None = None
    outputs: OutputFigures | None = None
    accuracy: Accuracy | None = None
    provenance: Provenance


class RunFile(Model):
    """What ``hil bench --json`` prints and what a record file holds."""

    schema_version: Literal[1] = SCHEMA_VERSION
    runs: tuple[Run, ...]
