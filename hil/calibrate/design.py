"""From measurements to a fit problem: which parameters move which measured figure.

A unit is one platform with one software stack: its operating points share parameters, but for those that the platform
file gives per operating point.  Rows are grouped by target (point and overrides), so that all networks of a target are
computed in a few array operations, for any number of parameter vectors at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from hil.calibrate.dataset import Measurement, overrides_of
from hil.cost.model import CostModel, applies, phase_costs
from hil.cost.parameters import Parameter
from hil.cost.workload import Float, Workload
from hil.network import Network
from hil.plan import END_TO_END, PHASES, STEADY, make_plan
from hil.platform import Platform, Target, make_target

# One standard deviation of a published figure, relative, by the grade of its source (A: raw logs or a bench with
# method, B: vendor tables, C: coarse).  Judgements; robust weights take care of rows that are worse.
GRADE_SIGMA = {"A": 0.02, "B": 0.04, "C": 0.10}

_SUMS: dict[str, tuple[str, ...]] = {"total": END_TO_END, "steady": STEADY}


def phases_of(expression: str) -> tuple[str, ...]:
    """The phases that a measurement covers: ``inference``, ``input_load+inference``, ``steady``, ``total``."""
    found: list[str] = []
    for part in expression.split("+"):
        found += _SUMS.get(part, (part,))
    return tuple(dict.fromkeys(found))


def usable(row: Measurement) -> bool:
    """Can the cost model predict this row?"""
    return (
        row.use == "fit"
        and bool(row.network)
        and row.quantity in ("latency_s", "energy_j", "power_w")
        and all(phase in PHASES for phase in phases_of(row.phase))
    )


@dataclass(frozen=True, slots=True)
class Slot:
    """A position in the parameter vector: a parameter, and the operating point where the file gives it per point."""

    parameter: Parameter
    point: str | None = None


@dataclass
class Block:
    """The rows of one target: their workload, and for each row its plan, quantity, phases and baseline."""

    target: Target
    work: Workload
    model: CostModel
    rows: list[int]
    plans: list[int]
    measurements: list[Measurement]


@dataclass
class Unit:
    """The fit problem of one platform and stack."""

    platform: Platform
    stack: str
    points: tuple[str, ...]
    rows: tuple[Measurement, ...]
    blocks: list[Block]
    slots: tuple[Slot, ...]
    networks: dict[str, Network] = field(default_factory=dict)

    @cached_property
    def prior(self) -> Float:
        """Logarithms of the prior medians, shape ``[parameters]``."""
        return np.log([slot.parameter.prior.value for slot in self.slots])

    @cached_property
    def prior_sigma(self) -> Float:
        return np.array([slot.parameter.prior.sigma for slot in self.slots])

    @cached_property
    def log_measured(self) -> Float:
        return np.log([row.value for row in self.rows])

    @cached_property
    def noise(self) -> Float:
        """Relative standard deviation of every row from its grade and resolution (uniform within a printed step)."""
        return np.array(
            [math.hypot(GRADE_SIGMA[r.grade], (r.resolution or 0.0) / r.value / math.sqrt(12)) for r in self.rows]
        )

    @cached_property
    def twins(self) -> dict[str, str]:
        """Network to the first network that is nearly the same: MACs within 3 %, weights within 15 %, as many ops.

        Twins (the same body with another head) would leak into each other's hold-out, so they are left out together.
        """
        leaders: list[str] = []
        found: dict[str, str] = {}
        for name, network in self.networks.items():
            leader = next((other for other in leaders if _nearly(network, self.networks[other])), name)
            if leader == name:
                leaders.append(name)
            found[name] = leader
        return found

    def predict(self, vectors: Float) -> Float:
        """Logarithms of the predicted figures: ``[vectors, parameters]`` to ``[vectors, rows]``."""
        out = np.zeros((len(vectors), len(self.rows)))
        for block in self.blocks:
            theta = {name: np.full((1, 1), p.prior.value) for name, p in block.model.parameters.items()}
            for index, slot in enumerate(self.slots):
                if applies(slot.parameter.name, slot.point, block.target):
                    scale = block.model.voltage_scale(slot.parameter.name)
                    theta[slot.parameter.name] = np.exp(vectors[:, index : index + 1]) * scale
            costs = phase_costs(block.work, theta, block.model.family)
            zero = np.zeros((len(vectors), block.work.plans))
            for row, plan, measurement in zip(block.rows, block.plans, block.measurements, strict=True):
                phases = phases_of(measurement.phase)
                seconds = sum((costs.latency_s[p] + zero for p in phases), zero)[:, plan]
                if measurement.quantity == "latency_s":
                    value = seconds
                else:
                    value = sum((costs.energy_above_idle_j[p] + zero for p in phases), zero)[:, plan]
                    if measurement.baseline != "above-idle":
                        value = value + theta["static_power_w"][:, 0] * seconds
                    if measurement.quantity == "power_w":
                        value = value / seconds
                out[:, row] = np.log(np.maximum(value, 1e-15))
        return out

    def jacobian(self, vector: Float, step: float = 1e-3) -> tuple[Float, Float]:
        """Prediction and its derivative by forward differences: ``[rows]`` and ``[rows, parameters]``."""
        vectors = np.vstack([vector, vector + step * np.eye(len(vector))])
        values = self.predict(vectors)
        return values[0], ((values[1:] - values[0]) / step).T


def _nearly(one: Network, other: Network) -> bool:
    def close(a: float, b: float, share: float) -> bool:
        return abs(a - b) <= share * max(a, b)

    return (
        close(one.macs, other.macs, 0.03)
        and close(one.weight_bytes, other.weight_bytes, 0.15)
        and abs(len(one.ops) - len(other.ops)) <= 2
    )


LoadNetwork = Callable[[str], Network]


def build_unit(
    platform: Platform,
    stack: str,
    rows: Sequence[Measurement],
    load: LoadNetwork,
    cache: Path | None,
    widen: Callable[[Parameter], Parameter] = lambda parameter: parameter,
) -> Unit:
    """Plan every network on every target of the rows.  ``widen`` may loosen priors that came from the same data."""
    by_target: dict[tuple[str, str], list[int]] = {}
    for index, row in enumerate(rows):
        condition = (row.operating_point, row.overrides)
        by_target.setdefault(condition, []).append(index)
    blocks: list[Block] = []
    slots: dict[tuple[str, str | None], Slot] = {}
    networks: dict[str, Network] = {}
    for (point, overrides), indices in by_target.items():
        target = make_target(platform, point, overrides_of(overrides))
        names = list(dict.fromkeys(rows[i].network for i in indices))
        for name in names:
            networks.setdefault(name, load(name))
        plans = [make_plan(networks[name], target, vela_cache=cache) for name in names]
        model = CostModel(target, artefact=None)
        blocks.append(
            Block(
                target,
                model.workload(plans).merged(),
                model,
                list(indices),
                [names.index(rows[i].network) for i in indices],
                [rows[i] for i in indices],
            )
        )
        own = platform.operating_points[point].costs
        for name, parameter in model.unscaled.items():
            if parameter.prior.value > 0 and parameter.prior.sigma > 0:
                key = (name, point if name in own else None)
                slots.setdefault(key, Slot(widen(parameter), key[1]))
    points = tuple(dict.fromkeys(row.operating_point for row in rows))
    return Unit(platform, stack, points, tuple(rows), blocks, tuple(slots.values()), networks)
