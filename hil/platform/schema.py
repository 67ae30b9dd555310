"""The platform file: what a µNPU or MCU system is made of, each figure with its source and certainty.

``docs/platform-file.md`` explains every key with an example.  Wrong keys, types and references are errors that name
the file, the key, the value and what was expected (see ``hil.platform.loader``).
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from hil.errors import did_you_mean
from hil.network.names import known_op_types

SCHEMA_VERSION = 1

Certainty = Literal["measured", "datasheet", "inferred", "assumed"]

# One standard deviation, as a factor, of a figure that does not state its own spread.  These are judgements: a data
# sheet value is right but for process and temperature; an inference or assumption may be off by a factor.
DEFAULT_SPREAD: dict[str, float] = {"measured": 1.08, "datasheet": 1.15, "inferred": 1.5, "assumed": 2.5}


class Strict(BaseModel):
    """A table in which unknown keys are errors and values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(Strict):
    """Where figures come from.  ``reference`` finds it again: document number, repository path at a commit, DOI."""

    title: str
    reference: str = ""


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("expected a number, not true or false")
    return value


StrictNumber = Annotated[float, BeforeValidator(_number)]


class Figure(Strict):
    """A number with its origin.  ``spread`` is one standard deviation as a factor (1.2 means within ±20 % or so)."""

    value: StrictNumber
    source: str
    certainty: Certainty
    spread: float | None = Field(default=None, ge=1.0, le=100.0)
    note: str = ""

    @model_validator(mode="after")
    def _finite(self) -> Figure:
        if not math.isfinite(self.value):
            raise ValueError("the value must be a finite number")
        return self

    @property
    def sigma(self) -> float:
        """Standard deviation of the natural logarithm of the figure."""
        return math.log(self.spread if self.spread is not None else DEFAULT_SPREAD[self.certainty])


def _positive(value: Any) -> Any:
    number = value.get("value") if isinstance(value, dict) else getattr(value, "value", None)
    if isinstance(number, (int, float)) and not number > 0:
        raise ValueError(f"the value is {number:g}, it must be greater than zero")
    return value


def _not_negative(value: Any) -> Any:
    number = value.get("value") if isinstance(value, dict) else getattr(value, "value", None)
    if isinstance(number, (int, float)) and number < 0:
        raise ValueError(f"the value is {number:g}, it must not be negative")
    return value


PositiveFigure = Annotated[Figure, BeforeValidator(_positive)]
NonNegativeFigure = Annotated[Figure, BeforeValidator(_not_negative)]


class Core(Strict):
    """A processor core (or ``count`` equal ones).  ``isa`` names its row in the CPU cost table."""

    isa: Literal[
        "cortex-m0plus",
        "cortex-m4",
        "cortex-m7",
        "cortex-m33",
        "cortex-m55",
        "cortex-m85",
        "xtensa-lx7",
        "rv32",
        "rv32-simd",
        "rv32-pulp",
        "rv64",
        "hifi3",
        "c28x",
    ]
    count: int = Field(default=1, ge=1, le=64)
    clock_max_hz: PositiveFigure | None = None
    note: str = ""


MemoryRole = Literal["weights", "activations", "program", "input"]


class Memory(Strict):
    """A memory and what a network may use it for.  ``persistent``: keeps its content without power."""

    kind: Literal["sram", "tcm", "l1", "l2", "flash", "mram", "psram", "dram", "npu-weight", "npu-data", "npu-bias"]
    size_bytes: PositiveFigure
    holds: tuple[MemoryRole, ...] = ()
    persistent: bool = False
    note: str = ""


class OperatorRule(Strict):
    """Ops that the accelerator takes, and within which limits.  The first rule that accepts an op wins."""

    ops: tuple[str, ...] = Field(min_length=1)
    kernel: tuple[tuple[int, int], ...] | None = None
    kernel_max: tuple[int, int] | None = None
    kernel_elements_max: int | None = None
    stride: tuple[tuple[int, int], ...] | None = None
    stride_max: int | None = None
    padding_max: int | None = None
    dilation_max: int | None = None
    groups: Literal["one", "depthwise", "any"] | None = None
    depth_multiplier_max: int | None = None
    in_channels_max: int | None = None
    out_channels_max: int | None = None
    in_channels_min: int | None = None
    in_channels_multiple: int | None = Field(default=None, ge=1)
    out_channels_multiple: int | None = Field(default=None, ge=1)
    rows_max: int | None = None
    columns_max: int | None = None
    activations: tuple[str, ...] | None = None
    weight_bits: tuple[int, ...] | None = None
    activation_bits: tuple[int, ...] | None = None
    inputs_max: int | None = None
    constant_weights: bool = True
    source: str
    certainty: Certainty
    note: str = ""

    @model_validator(mode="after")
    def _types(self) -> OperatorRule:
        for name in self.ops:
            if name not in known_op_types():
                raise ValueError(f"no op type '{name}'; {did_you_mean(name, known_op_types())}")
        return self


class Vela(Strict):
    """How Arm's Vela compiler sees the platform.  Port numbers and memory areas are those of its configuration file."""

    accelerator: str
    memory_mode: Literal["Sram_Only", "Shared_Sram", "Dedicated_Sram"] = "Shared_Sram"
    optimise: Literal["Performance", "Size"] = "Performance"
    arena_cache_bytes: PositiveFigure | None = None
    sram_bytes_per_cycle: PositiveFigure
    flash_bytes_per_cycle: PositiveFigure
    sram_latency_cycles: PositiveFigure
    flash_latency_cycles: PositiveFigure


class Npu(Strict):
    """The accelerator.  ``structure`` holds the counts its cost family needs (processors, tile sizes)."""

    name: str
    family: Literal[
        "ai8x",
        "ethos_u",
        "neutron",
        "neural_art",
        "ne16",
        "cluster",
        "tpu_cv18xx",
        "mvp",
        "axon",
        "tinpu",
        "core2",
    ]
    peak_macs_per_cycle: PositiveFigure
    clock_max_hz: PositiveFigure | None = None
    structure: dict[str, PositiveFigure] = {}
    operators: tuple[OperatorRule, ...] = ()
    compiler: str = ""
    double_buffered: bool = False
    vela: Vela | None = None
    note: str = ""


OWN_STACK = "own"


class OperatingPoint(Strict):
    """Clocks, voltage and mode.  ``clocks_hz`` has one entry per clock domain: the host core, ``npu``, ``bus``.

    ``stack`` is the software stack as the calibration data name it: only its measurements are fitted at this point.
    A point without one has its user's own (``stack_name``).
    """

    summary: str
    host: str
    clocks_hz: dict[str, PositiveFigure]
    supply_v: PositiveFigure | None = None
    uses_npu: bool = True
    mode: str = ""
    software: str = ""
    stack: str = ""
    costs: dict[str, NonNegativeFigure] = {}

    @property
    def stack_name(self) -> str:
        return self.stack or OWN_STACK


class PowerState(Strict):
    """A state in which the platform waits.

    ``wake_s`` is the time back to running; ``retains_weights`` says whether the accelerator's weights survive it,
    ``retains_registers`` whether its set-up does (where not, every wake-up pays ``npu_init`` again).
    """

    summary: str = ""
    power_w: PositiveFigure
    wake_s: PositiveFigure | None = None
    retains_weights: bool = True
    retains_registers: bool = True
    note: str = ""


class Power(Strict):
    """What the platform's power figures mean.  Figures of different scope are never compared.

    ``gross``: everything on the named supply; ``above-idle``: with the idle power of the same supply subtracted.
    """

    scope: Literal["whole-board", "rail", "chip"]
    baseline: Literal["gross", "above-idle"]
    rail: str = ""
    note: str = ""


# A metric, or a metric and a phase: ``latency``, ``energy.inference``.  ``hil.compare`` knows the phases.
ToleranceKey = Annotated[str, Field(pattern=r"^(latency|energy|power)(\.[a-z_]+(\+[a-z_]+)*)?$")]


class Tolerance(Strict):
    """How far a figure of this platform may be off before two sides disagree (``docs/verdicts.md``): a share of 1."""

    value: StrictNumber = Field(gt=0.0, le=1.0)
    reason: str = Field(min_length=1)
    source: str


class Platform(Strict):
    """One platform, as loaded from ``platforms/<id>/platform.toml``."""

    schema_version: Literal[1] = Field(alias="schema")
    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    name: str
    vendor: str
    board: str = ""
    summary: str
    in_paper: bool = False
    default_operating_point: str
    loads_weights: bool = False
    sources: dict[str, Source]
    cores: dict[str, Core]
    npu: Npu | None = None
    memories: dict[str, Memory]
    operating_points: dict[str, OperatingPoint]
    power_states: dict[str, PowerState] = {}
    power: Power
    costs: dict[str, NonNegativeFigure] = {}
    # Not a part of what the platform is: no figure depends on it, so neither does the hash that records carry.
    tolerances: dict[ToleranceKey, Tolerance] = Field(default={}, exclude=True)
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _references(self) -> Platform:
        """Every name that the file mentions must exist in it."""
        problems: list[str] = []
        if self.default_operating_point not in self.operating_points:
            problems.append(f"default_operating_point '{self.default_operating_point}' is not an operating point")
        for name, point in self.operating_points.items():
            if point.host not in self.cores:
                problems.append(f"operating_points.{name}.host '{point.host}' is not one of the cores")
            domains = {*self.cores, "npu", "bus"}
            problems += [
                f"operating_points.{name}.clocks_hz.{domain}: expected one of {sorted(domains)}"
                for domain in point.clocks_hz
                if domain not in domains
            ]
            limits = {core: self.cores[core].clock_max_hz for core in self.cores}
            limits["npu"] = self.npu.clock_max_hz if self.npu is not None else None
            problems += [
                f"operating_points.{name}.clocks_hz.{domain}: {clock.value:g} Hz is above clock_max_hz, {most.value:g}"
                for domain, clock in point.clocks_hz.items()
                if (most := limits.get(domain)) is not None and clock.value > most.value
            ]
            if point.host not in point.clocks_hz:
                problems.append(f"operating_points.{name}.clocks_hz has no clock for its host '{point.host}'")
            if point.uses_npu and self.npu is not None and "npu" not in point.clocks_hz:
                problems.append(f"operating_points.{name}.clocks_hz has no clock for the npu")
        for key, source in sorted(_mentioned_sources(self)):
            if source not in self.sources:
                problems.append(f"{key}: source '{source}' is not in [sources]")
        if problems:
            raise ValueError("; ".join(problems))
        return self


def _mentioned_sources(node: object, path: str = "") -> set[tuple[str, str]]:
    """Every (key path, source id) in a model: figures, operator rules and tolerances."""
    if isinstance(node, (Figure, OperatorRule, Tolerance)):
        return {(path, node.source)}
    found: set[tuple[str, str]] = set()
    if isinstance(node, BaseModel):
        for key in type(node).model_fields:
            found |= _mentioned_sources(getattr(node, key), f"{path}.{key}".lstrip("."))
    elif isinstance(node, dict):
        for key, value in node.items():
            found |= _mentioned_sources(value, f"{path}.{key}")
    elif isinstance(node, (tuple, list)):
        for index, value in enumerate(node):
            found |= _mentioned_sources(value, f"{path}[{index}]")
    return found
