"""Board time on an emulated core: effective cycles per instruction, by class of code.

Emulators spend the same time on every instruction, so the firmware counts instructions and weighs them by class
(``firmware/core/clock.c``).  The weight of a class of kernels is what the calibrated cost model takes for the zoo's ops
of that kind on the target's core, divided by the instructions that the firmware's kernels execute for the same ops:

    cycles per instruction = sum(cycles of the cost model) / sum(instructions)

It absorbs what separates the firmware's plain kernels from the vendor's library and an instruction count from a
pipeline.  Loading the input, reading the output and decoding it are weighed the same way, per byte and per value.  The
firmware's driver and executor cost nothing: the runtime's share is part of the model's figures per op and inference.

``sigma`` of a class is the scatter of single ops about that ratio, as a standard deviation of the logarithm.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hil import zoo
from hil.cost import CostModel
from hil.cost.cpu import cpu_cycles
from hil.cost.workload import KINDS, build_workload
from hil.emulator.layout import TimeClass
from hil.network import Network
from hil.network.graph import VIEW_OPS
from hil.plan import Placement, Plan
from hil.platform import Target

CLASS_OF_KIND = {kind: TimeClass[kind.upper()] for kind in KINDS}
TABLE = Path(__file__).with_name("instructions.json")
SCHEMA = 1
_Q20 = 1 << 20


@dataclass(frozen=True, slots=True)
class Ticks:
    """How an engine's counter runs: ticks per second of its virtual time, and virtual seconds per instruction.

    ``real_time``: virtual time is board time (an accelerator's latency passes as it is); otherwise virtual time only
    counts instructions, and waiting is stretched like an instruction of one clock cycle.
    """

    tick_hz: float
    instruction_s: float
    real_time: bool = False

    @property
    def per_instruction(self) -> float:
        return self.tick_hz * self.instruction_s


@dataclass(frozen=True)
class TimeScales:
    """Board nanoseconds per instruction of each class, and their scatter."""

    ns: Mapping[TimeClass, float]
    sigma: Mapping[TimeClass, float]

    def q20(self, ticks: Ticks) -> list[int]:
        """What the firmware multiplies ticks with, by class; ``firmware/include/program.h``."""
        found = [0] * len(TimeClass)
        for kind, ns in self.ns.items():
            found[kind] = round(ns / ticks.per_instruction * _Q20)
        if ticks.real_time:
            found[TimeClass.WAIT] = round(1e9 / ticks.tick_hz * _Q20)
        return found


def on_cpu(network: Network, target: Target) -> Plan:
    """The network with every op on the host core, whatever the platform has."""
    places = tuple(Placement("free" if op.type in VIEW_OPS else "cpu") for op in network.ops)
    point = target.platform.operating_points[target.operating_point].model_copy(update={"uses_npu": False})
    points = {**target.platform.operating_points, target.operating_point: point}
    bare = replace(target, platform=target.platform.model_copy(update={"operating_points": points}))
    return Plan(network, bare, places, ())


@lru_cache(maxsize=8)
def time_scales(model: CostModel, image: str) -> TimeScales:
    """Scales of the model's target on the core of a firmware image (a name of ``images.toml``).

    A run needs them twice and they take a pass over the zoo, so the last ones are kept.

    Raises KeyError where the image was not profiled: a build error, not a user's.
    """
    counted = instruction_table()["images"][image]
    target = model.target
    plans = [on_cpu(zoo.load(name), target) for name in zoo.names()]
    work = build_workload(plans)
    ns = cpu_cycles(work, model.theta)[0] / target.host_clock_hz * 1e9
    instructions = np.concatenate([_row(counted["ops"][plan.network.name], len(plan.network.ops)) for plan in plans])
    scales: dict[TimeClass, float] = {}
    sigma: dict[TimeClass, float] = {}
    for index, kind in enumerate(KINDS):
        rows = (work.kind == index) & (instructions > 0) & (ns > 0)
        scales[CLASS_OF_KIND[kind]] = ns[rows].sum() / instructions[rows].sum()
        change = np.log(ns[rows] / (instructions[rows] * scales[CLASS_OF_KIND[kind]]))
        sigma[CLASS_OF_KIND[kind]] = math.sqrt(np.average(change**2, weights=ns[rows]))
    clocks = {"host": target.host_clock_hz, "bus": target.bus_clock_hz}
    for phase in ("input_load", "output_read"):
        cycles = {unit: float(model.theta[f"{phase}_{unit}_cycles_per_byte"][0, 0]) for unit in clocks}
        per_byte = sum(cycles[unit] / clocks[unit] for unit in clocks) * 1e9
        scales[TimeClass[phase.upper()]] = per_byte / counted["copy_instructions_per_byte"]
    per_value = float(model.theta["post_process_host_cycles_per_value"][0, 0]) / target.host_clock_hz * 1e9
    decoded = counted["post_process"]
    scales[TimeClass.POST_PROCESS] = per_value * decoded["values"] / decoded["instructions"]
    scales[TimeClass.WAIT] = 1e9 / target.host_clock_hz
    return TimeScales(scales, sigma)


@cache
def instruction_table() -> dict[str, Any]:
    """Instructions per op and phase of the zoo by firmware image: made by ``python -m hil.emulator.profile``."""
    table: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    return table


def _row(counted: Mapping[str, int], ops: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([float(counted.get(str(index), 0)) for index in range(ops)])
