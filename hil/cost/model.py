"""The cost model: from plans on a target to latency and energy by phase, each with an interval.

A parameter is log-normal.  The interval of a figure comes from sigma points: the figure is evaluated once at the centre
and once with every parameter moved by one standard deviation; the squared changes of its logarithm add up
(``sigma^2 = sum_i (ln f(theta_i * e^sigma_i) - ln f(theta))^2``), and the bounds of the 90 % interval are
``f * exp(-/+ 1.645 sigma)``.  With a fitted covariance the columns of its Cholesky factor take the place of the axes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from hil.cost.cpu import cpu_cycles, cpu_parameters
from hil.cost.families import FAMILIES, Family
from hil.cost.parameters import (
    ENERGY_PARAMETERS,
    PHASE_PARAMETERS,
    SWITCHING_ENERGIES,
    Parameter,
    Prior,
    Theta,
)
from hil.cost.workload import PHASE_INDEX, Float, Workload, build_workload
from hil.errors import PlatformError, did_you_mean
from hil.plan import END_TO_END, MEMORY_IO, PHASES, STEADY, Plan
from hil.platform import Target

INTERVAL_PROBABILITY = 0.90
Z_90 = 1.6448536269514722  # standard normal quantile of (1 + 0.90) / 2

# What the form of the model itself can get wrong, as a standard deviation of the logarithm; calibration replaces it.
STRUCTURAL_SIGMA = 0.2


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 90 % interval; arrays over plans."""

    mean: Float
    low: Float
    high: Float

    def at(self, index: int) -> tuple[float, float, float]:
        return float(self.mean[index]), float(self.low[index]), float(self.high[index])


@dataclass(frozen=True, slots=True)
class Cost:
    """Time and energy of a phase, or of a sum of phases.  ``energy_above_idle_j`` leaves out static power."""

    latency_s: Estimate
    energy_j: Estimate
    energy_above_idle_j: Estimate


@dataclass(frozen=True)
class Prediction:
    """Costs of plans on one target: per phase, per sum of phases (``SUMS``), and seconds per op (centre only)."""

    costs: dict[str, Cost]
    sums: dict[str, Cost]
    idle_power_w: Estimate
    op_seconds: Float
    starts: tuple[int, ...]


SUMS: dict[str, tuple[str, ...]] = {"total": END_TO_END, "steady": STEADY, "memory_io": MEMORY_IO}


class CostModel:
    """The cost model of one target.  Raises PlatformError where the platform file names an unknown parameter."""

    fidelity: Literal["calibrated", "estimated"] = "estimated"
    calibration = "none: priors only"

    def __init__(self, target: Target) -> None:
        self.target = target
        self.family: Family | None = FAMILIES[target.npu.family] if target.npu is not None else None
        self.parameters = _parameters(target, self.family)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know of the parameters behind the figures."""
        assumed = sorted(
            p.name for p in self.parameters.values() if p.prior.certainty == "assumed" and p.prior.value > 0
        )
        return (
            (f"{len(assumed)} of {len(self.parameters)} cost parameters are assumptions with wide priors",)
            if assumed
            else ()
        )

    @cached_property
    def theta(self) -> Theta:
        """Sigma points: row 0 is the centre, row i moves one parameter up by its standard deviation."""
        moved = [p for p in self.parameters.values() if p.prior.sigma > 0 and p.prior.value > 0]
        rows = 1 + len(moved)
        theta = {p.name: np.full((rows, 1), p.prior.value) for p in self.parameters.values()}
        for row, parameter in enumerate(moved, start=1):
            theta[parameter.name][row, 0] *= math.exp(parameter.prior.sigma)
        return theta

    def workload(self, plans: Sequence[Plan]) -> Workload:
        """The counts of the plans, with the columns of this model's family."""
        work = build_workload(plans)
        if self.family is not None:
            work.extra.update(self.family.features(plans, work))
        return work

    def predict(self, plans: Sequence[Plan]) -> Prediction:
        """Latency and energy of plans that are all on this model's target."""
        work = self.workload(plans)
        raw = phase_costs(work, self.theta, self.family)
        static_w = self.theta["static_power_w"]

        def cost(phases: Sequence[str]) -> Cost:
            seconds, joules = _sum(raw.latency_s, phases), _sum(raw.energy_j, phases)
            return Cost(_estimate(seconds), _estimate(joules), _estimate(joules - static_w * seconds))

        return Prediction(
            costs={phase: cost((phase,)) for phase in PHASES},
            sums={name: cost(phases) for name, phases in SUMS.items()},
            idle_power_w=_estimate(static_w + np.zeros((1, work.plans))),
            op_seconds=raw.op_seconds[0],
            starts=tuple(int(start) for start in work.starts),
        )


@dataclass(frozen=True)
class PhaseCosts:
    """Raw costs, shape ``[sigma points, plans]`` per phase, and ``[sigma points, ops]`` for ``op_seconds``."""

    latency_s: dict[str, Float]
    energy_j: dict[str, Float]
    op_seconds: Float


def phase_costs(work: Workload, theta: Theta, family: Family | None) -> PhaseCosts:
    """Latency and energy of every phase.

    Latency: host and bus cycles around the inference, accelerator and host ops within it.  Energy: static power and
    the switching energy of host and accelerator clocks over the phase, plus a share per MAC and per byte moved.
    """
    target = work.target
    host_hz, npu_hz, bus_hz = target.host_clock_hz, target.npu_clock_hz, target.bus_clock_hz
    npu_ops = np.zeros((1, len(work.kind)))
    if family is not None:
        npu_ops = np.where(work.npu, family.npu_cycles(work, theta), 0.0) / npu_hz

    def per_byte(phase: str) -> Float:
        cycles = theta[f"{phase}_host_cycles_per_byte"] / host_hz + theta[f"{phase}_bus_cycles_per_byte"] / bus_hz
        return np.asarray(cycles, dtype=np.float64)

    def ops_in(phase: str, seconds: Float) -> Float:
        return work.per_plan(np.where(work.phase == PHASE_INDEX[phase], seconds, 0.0))

    host_ops = cpu_cycles(work, theta) / host_hz
    # Where the accelerator has a memory of its own, host ops in mid-network fetch their inputs and put back outputs.
    border = per_byte("output_read") * work.op["border_read"] + per_byte("input_load") * work.op["border_write"]
    host_ops = host_ops + (border if target.platform.loads_weights else 0.0)

    zero = np.zeros((1, work.plans))
    npu_busy = ops_in("inference", npu_ops)
    latency: dict[str, Float] = {
        "boot": theta["boot_s"] + zero,
        "npu_init": theta["npu_init_s"] + zero,
        "weight_load": per_byte("weight_load") * work.plan["npu_weight_bytes"]
        if target.platform.loads_weights
        else zero,
        "input_load": per_byte("input_load") * work.plan["input_bytes"] + ops_in("input_load", host_ops),
        "inference": theta["invoke_host_cycles"] / host_hz + npu_busy + ops_in("inference", host_ops),
        "output_read": per_byte("output_read") * work.plan["output_bytes"],
        "post_process": theta["post_process_host_cycles_per_value"] / host_hz * work.plan["output_values"]
        + ops_in("post_process", host_ops),
        "idle": zero,
    }
    host_w = theta["host_energy_per_cycle_j"] * host_hz
    npu_w = theta["npu_energy_per_cycle_j"] * npu_hz if family is not None else 0.0
    moved = np.where(work.npu, work.op["weight_bytes"] + work.op["moved_bytes"], 0.0)
    switching = theta["energy_per_mac_j"] * work.per_plan(np.where(work.npu, work.op["macs"], 0.0))
    switching = switching + theta["energy_per_byte_j"] * work.per_plan(moved)
    energy: dict[str, Float] = {}
    for phase, seconds in latency.items():
        busy_host = seconds - npu_busy if phase == "inference" else seconds
        energy[phase] = theta["static_power_w"] * seconds + host_w * busy_host
        if phase == "inference" and family is not None:
            energy[phase] = energy[phase] + npu_w * npu_busy + switching
        if phase in MEMORY_IO:
            energy[phase] = energy[phase] + theta["npu_load_energy_per_cycle_j"] * bus_hz * seconds
    return PhaseCosts(latency, energy, npu_ops + host_ops)


def _sum(by_phase: Mapping[str, Float], phases: Sequence[str]) -> Float:
    total: Float = np.zeros((1, 1))
    for phase in phases:
        total = total + by_phase[phase]
    return total


def _estimate(values: Float) -> Estimate:
    """Centre and 90 % interval from sigma points of shape ``[points, plans]``."""
    centre = values[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.log(values[1:] / centre) if len(values) > 1 else np.zeros((1, len(centre)))
    change = np.nan_to_num(change, nan=0.0, posinf=0.0, neginf=0.0)
    sigma = np.sqrt((change**2).sum(axis=0) + STRUCTURAL_SIGMA**2)
    return Estimate(centre, centre * np.exp(-Z_90 * sigma), centre * np.exp(Z_90 * sigma))


def _parameters(target: Target, family: Family | None) -> dict[str, Parameter]:
    """Every parameter with its prior: the family's before the common ones, the platform file's before both.

    Switching energies go with the square of the supply voltage; those that the operating point itself gives are taken
    as they are.
    """
    found: dict[str, Parameter] = {}
    for group in (
        PHASE_PARAMETERS,
        ENERGY_PARAMETERS,
        cpu_parameters(target.host.isa),
        family.parameters(target) if family is not None else (),
    ):
        found.update({parameter.name: parameter for parameter in group})
    npu = target.platform.npu
    elsewhere = {p.name for p in FAMILIES[npu.family].parameters(target)} if npu is not None else set()
    for name, figure in target.costs.items():
        if name in found:
            prior = Prior(figure.value, figure.sigma, figure.certainty, figure.note or figure.source)
            found[name] = replace(found[name], prior=prior)
        elif name not in elsewhere:  # the accelerator's parameters mean nothing at a point that does not use it
            hint = did_you_mean(name, {*found, *elsewhere})
            raise PlatformError(f"{target.id}: costs.{name}: no such parameter", hint=hint)
    for name in SWITCHING_ENERGIES:
        if name not in target.point.costs:
            prior = found[name].prior
            found[name] = replace(found[name], prior=replace(prior, value=prior.value * target.voltage_ratio**2))
    return found
