"""The cost model: from plans on a target to latency and energy by phase, each with an interval.

A parameter is log-normal.  The interval of a figure comes from sigma points: the figure is evaluated once at the centre
and once with every parameter moved by one standard deviation; the squared changes of its logarithm add up
(``sigma^2 = sum_i (ln f(theta_i * e^sigma_i) - ln f(theta))^2``), and the bounds of the 90 % interval are
``f * exp(-/+ 1.645 sigma)``.  With a fitted covariance the columns of its Cholesky factor take the place of the axes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from hil.cost.artefact import Artefact, Fit, artefact_in_use
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
from hil.network import Network
from hil.plan import END_TO_END, MEMORY_IO, PHASES, STEADY, Plan
from hil.platform import Target

# Standard normal quantiles of intervals that hold 50 % and 90 %.
Z_50, Z_90 = 0.6744897501960817, 1.6448536269514722

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
    extrapolated: tuple[tuple[str, ...], ...]


SUMS: dict[str, tuple[str, ...]] = {"total": END_TO_END, "steady": STEADY, "memory_io": MEMORY_IO}


class CostModel:
    """The cost model of one target.

    ``artefact``: a calibration; with the default, the one in use (``artefact_in_use``), where there is one.  None means
    priors only.  Raises PlatformError where the platform file names an unknown parameter.
    """

    def __init__(self, target: Target, artefact: Artefact | None | Literal["in use"] = "in use") -> None:
        self.target = target
        self.artefact = artefact_in_use(target.id) if artefact == "in use" else artefact
        self.fit = self.artefact.fit_for(target.operating_point) if self.artefact is not None else None
        self.family: Family | None = FAMILIES[target.npu.family] if target.npu is not None else None
        self.unscaled = _parameters(target, self.family)
        self.fitted = _fitted(self.fit, target, self.unscaled)
        self.parameters = {
            name: replace(p, prior=replace(p.prior, value=p.prior.value * self.voltage_scale(name)))
            for name, p in {**self.unscaled, **self.fitted}.items()
        }

    def voltage_scale(self, name: str) -> float:
        """Switching energies go with the square of the supply voltage, unless the operating point gives its own."""
        own = name not in SWITCHING_ENERGIES or name in self.target.point.costs
        return 1.0 if own else self.target.voltage_ratio**2

    @property
    def calibration(self) -> str:
        """Which calibration stands behind the figures, for the record."""
        if self.fit is None or self.artefact is None:
            return "none: priors only"
        return f"{self.target.id}, {self.fit.stack}, {sum(self.fit.rows.values())} measurements"

    @cached_property
    def digest(self) -> str:
        """A hash of every parameter and of the calibration: figures of equal plans and digests are equal."""
        parts = [[p.name, p.prior.value, p.prior.sigma] for p in self.parameters.values()]
        calibration = self.artefact.hash if self.artefact is not None and self.fit is not None else None
        return hashlib.sha256(json.dumps([parts, calibration]).encode()).hexdigest()[:16]

    def fidelity(self, phases: Sequence[str], quantity: str = "latency_s") -> Literal["calibrated", "estimated"]:
        """``calibrated`` where measurements of the quantity cover every one of the phases."""
        covered = self.fit.rows if self.fit is not None else {}
        return "calibrated" if all(covered.get(f"{quantity}:{phase}") for phase in phases) else "estimated"

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know of the parameters behind the figures."""
        assumed = [p for n, p in self.parameters.items() if p.prior.certainty == "assumed" and p.prior.value > 0]
        count = len([p for p in assumed if p.name not in self.fitted])
        found = [f"{count} of {len(self.parameters)} cost parameters are assumptions with wide priors"] if count else []
        if self.target.reference_supply_v is None and any(key.endswith("supply_v") for key, _ in self.target.overrides):
            found.append("the platform file states no supply voltage, so energies do not follow the one that was set")
        return tuple(found)

    @cached_property
    def theta(self) -> Theta:
        """Sigma points: row 0 is the centre; then the columns of the Cholesky factor of the fitted covariance, and one
        row for every other uncertain parameter, moved up by its standard deviation."""
        names = [p.name for p in self.parameters.values()]
        moves: list[dict[str, float]] = []
        if self.fit is not None and self.fitted:
            keep = [
                index
                for index, parameter in enumerate(self.fit.parameters)
                if parameter.name in self.fitted and applies(parameter.name, parameter.point, self.target)
            ]
            covariance = np.array(self.fit.covariance)[np.ix_(keep, keep)]
            factor = np.linalg.cholesky(covariance + 1e-12 * np.eye(len(keep)))
            moves += [
                {self.fit.parameters[k].name: float(factor[row, column]) for row, k in enumerate(keep)}
                for column in range(len(keep))
            ]
        moves += [
            {p.name: p.prior.sigma}
            for p in self.parameters.values()
            if p.name not in self.fitted and p.prior.sigma > 0 and p.prior.value > 0
        ]
        theta = {name: np.full((1 + len(moves), 1), self.parameters[name].prior.value) for name in names}
        for row, move in enumerate(moves, start=1):
            for name, change in move.items():
                theta[name][row, 0] *= math.exp(change)
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
        outside = [self._outside(plan.network) for plan in plans]
        slopes = [[EXTRAPOLATION_SIGMA[name] * math.log(ratio) for name, ratio in o.items()] for o in outside]
        wider = np.array([sum(slope) for slope in slopes])

        def cost(phases: Sequence[str]) -> Cost:
            seconds, above_idle = _sum(raw.latency_s, phases), _sum(raw.energy_above_idle_j, phases)
            latency_sigma = np.hypot(self._structural("latency_s", phases), wider)
            energy_sigma = np.hypot(self._structural("energy_j", phases), wider)
            return Cost(
                _estimate(seconds, latency_sigma),
                _estimate(above_idle + static_w * seconds, energy_sigma),
                _estimate(above_idle, energy_sigma),
            )

        return Prediction(
            costs={phase: cost((phase,)) for phase in PHASES},
            sums={name: cost(phases) for name, phases in SUMS.items()},
            idle_power_w=_estimate(static_w + np.zeros((1, work.plans)), np.zeros(work.plans)),
            op_seconds=raw.op_seconds[0],
            starts=tuple(int(start) for start in work.starts),
            extrapolated=tuple(tuple(o) for o in outside),
        )

    def _structural(self, quantity: str, phases: Sequence[str]) -> float:
        fitted = self.fit.structural_sigma.get(quantity) if self.fit is not None else None
        covered = self.fidelity(phases, quantity) == "calibrated" or "inference" in phases
        return fitted if fitted is not None and covered else STRUCTURAL_SIGMA

    def _outside(self, network: Network) -> dict[str, float]:
        """Features beyond the domain of the fit (a quarter more is still inside), and by what factor."""
        found: dict[str, float] = {}
        for name, (low, high) in (self.fit.domain if self.fit is not None else _UNFITTED_DOMAIN).items():
            value = DOMAIN_FEATURES[name](network)
            ratio = max(value / (1.25 * high) if high > 0 else 1.0, low / (1.25 * value) if value > 0 else 1.0)
            if ratio > 1.0:
                found[name] = ratio
        return found


# Features whose range of the fitted networks is the domain of validity.
DOMAIN_FEATURES: dict[str, Callable[[Network], float]] = {
    "macs": lambda network: float(network.macs),
    "weight_bytes": lambda network: float(network.weight_bytes),
    "ops": lambda network: float(len(network.ops)),
    "bits": lambda network: _arithmetic_bits(network),
}
# Priors alone are about 8-bit kernels.
_UNFITTED_DOMAIN = {"bits": (1.0, 8.0)}
# Widening of the interval per e-fold outside the domain of validity: judgements.  Wider arithmetic runs other kernels.
EXTRAPOLATION_SIGMA = {"macs": 0.15, "weight_bytes": 0.15, "ops": 0.15, "bits": 0.7}


@dataclass(frozen=True)
class PhaseCosts:
    """Raw costs, shape ``[sigma points, plans]`` per phase, and ``[sigma points, ops]`` for ``op_seconds``."""

    latency_s: dict[str, Float]
    energy_above_idle_j: dict[str, Float]
    op_seconds: Float


def phase_costs(work: Workload, theta: Theta, family: Family | None) -> PhaseCosts:
    """Latency and energy above idle of every phase; gross energy adds static power over the time.

    Latency: host and bus cycles around the inference, accelerator and host ops within it.  Energy: the switching energy
    of host and accelerator clocks over the phase, plus a share per MAC and per byte moved.
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
        # The default prior is for accelerators; a core alone initialises nothing that anybody has published.
        "npu_init": theta["npu_init_s"] + zero if family is not None else zero,
        "weight_load": per_byte("weight_load") * work.plan["npu_weight_bytes"]
        if target.platform.loads_weights
        else zero,
        "input_load": per_byte("input_load") * work.plan["input_bytes"] + ops_in("input_load", host_ops),
        "inference": theta["invoke_host_cycles"] / host_hz + npu_busy + ops_in("inference", host_ops),
        "output_read": per_byte("output_read") * work.plan["output_bytes"],
        "post_process": theta["post_process_host_cycles_per_value"] / host_hz * work.plan["decoded_values"]
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
        energy[phase] = host_w * busy_host
        if phase == "inference" and family is not None:
            energy[phase] = energy[phase] + npu_w * npu_busy + switching
        if family is not None and (phase in MEMORY_IO or phase == "inference"):
            energy[phase] = energy[phase] + theta["npu_on_power_w"] * seconds
        if phase in MEMORY_IO:
            energy[phase] = energy[phase] + theta["npu_load_energy_per_cycle_j"] * bus_hz * seconds
    return PhaseCosts(latency, energy, npu_ops + host_ops)


def _arithmetic_bits(network: Network) -> float:
    """The widest weights or activations of any op that multiplies; 8 for a network without one."""
    widths = [
        max(op.weight_bits, *(network.tensors[t].bits for t in op.inputs))
        for op in network.ops
        if op.macs and op.inputs
    ]
    return float(max(widths, default=8))


def _sum(by_phase: Mapping[str, Float], phases: Sequence[str]) -> Float:
    total: Float = np.zeros((1, 1))
    for phase in phases:
        total = total + by_phase[phase]
    return total


def _estimate(values: Float, structural: Float | float) -> Estimate:
    """Centre and 90 % interval from sigma points of shape ``[points, plans]`` and a structural error."""
    centre = values[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.log(values[1:] / centre) if len(values) > 1 else np.zeros((1, len(centre)))
    change = np.nan_to_num(change, nan=0.0, posinf=0.0, neginf=0.0)
    sigma = np.sqrt((change**2).sum(axis=0) + np.square(structural))
    return Estimate(centre, centre * np.exp(-Z_90 * sigma), centre * np.exp(Z_90 * sigma))


def applies(name: str, point: str | None, target: Target) -> bool:
    """Does a parameter fitted for one operating point, or for all without a figure of their own, apply here?"""
    return point == target.operating_point if name in target.point.costs else point is None


def _fitted(fit: Fit | None, target: Target, known: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """The fitted parameters that apply at the target, but for those that the user set on the command line."""
    found: dict[str, Parameter] = {}
    set_by_user = {key.rsplit(".", 1)[-1] for key, _ in target.overrides if "costs." in key}
    for parameter in fit.parameters if fit is not None else ():
        usable = parameter.name in known and parameter.name not in set_by_user
        if usable and applies(parameter.name, parameter.point, target):
            prior = Prior(parameter.value, parameter.sigma, "measured", "fitted to published measurements")
            found[parameter.name] = replace(known[parameter.name], prior=prior)
    return found


def _parameters(target: Target, family: Family | None) -> dict[str, Parameter]:
    """Every parameter with its prior: the family's before the common ones, the platform file's before both."""
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
    return found
