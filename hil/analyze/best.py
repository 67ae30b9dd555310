"""The best platform for a network under a budget of latency, energy or memory: Pareto fronts, and honest ties.

Energies of different scope are never compared: there is a front, and a least energy, per scope.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from hil.backend.run import FIDELITIES, Energy, Interval, PhaseFigures, Run
from hil.errors import ConfigError, did_you_mean
from hil.units import parse_quantity

# Two 90 % intervals that share this much of the narrower one, in the logarithm, cannot be told apart.
HEAVY_OVERLAP = 0.5
# What may be budgeted, and its unit.
UNITS: Mapping[str, str] = {"latency": "s", "energy": "J", "memory": "B"}

Which = Literal["total", "steady"]
Verdict = Literal["within", "open", "beyond"]


@dataclass(frozen=True, slots=True)
class Budget:
    """Most seconds, joules and bytes of one inference; None where there is no limit."""

    latency_s: float | None = None
    energy_j: float | None = None
    memory_bytes: float | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """The best run by one figure among those that may keep the budget.

    ``rivals`` cannot be told apart from it; ``open``: its own interval crosses a limit of the budget.
    """

    run: Run
    rivals: tuple[Run, ...]
    open: bool


@dataclass(frozen=True, slots=True)
class Best:
    """One network: the runs that may keep the budget (``within``: they do, by their intervals), the fastest of them,
    and per energy scope the one of least energy and the Pareto front of latency and energy, by latency."""

    network: str
    candidates: tuple[Run, ...]
    within: int
    runs: int
    fastest: Choice | None
    least_energy: dict[str, Choice]
    fronts: dict[str, tuple[Run, ...]]


def parse_budget(items: Sequence[str]) -> Budget:
    """``latency=10ms``, ``energy=1mJ``, ``memory=256KiB``.  Raises ConfigError."""
    limits: dict[str, float] = {}
    for item in items:
        name, equals, text = item.partition("=")
        if name not in UNITS:
            raise ConfigError(f"--budget {item}: no budget '{name}'", hint=did_you_mean(name, UNITS))
        if not equals:
            raise ConfigError(f"--budget {item}: not NAME=LIMIT", hint="such as latency=10ms energy=1mJ memory=256KiB")
        limits[name] = parse_quantity(text, UNITS[name])
        if limits[name] <= 0:
            raise ConfigError(f"--budget {item}: the limit must be greater than zero")
    return Budget(limits.get("latency"), limits.get("energy"), limits.get("memory"))


def best_platforms(runs: Sequence[Run], budget: Budget, which: Which = "total") -> list[Best]:
    """Per network (by content), the choice among the runs on which it fits.

    Of several runs on one platform (other backends, earlier ones) the nearest to hardware stands for it.
    ``which``: figures end to end (``total``), or of a further inference with the weights in place (``steady``).
    """
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.network, run.network_info.hash), []).append(run)
    return [_best(network, nearest(group), budget, which) for (network, _), group in groups.items()]


def nearest(runs: Sequence[Run]) -> list[Run]:
    """Of each platform, operating point and overrides, the run of the best fidelity; of those the newest."""
    found: dict[tuple[object, ...], Run] = {}
    newest = sorted(runs, key=lambda run: run.provenance.created, reverse=True)
    for run in sorted(newest, key=lambda run: FIDELITIES.index(run.fidelity)):
        place = (run.platform, run.operating_point, *sorted(run.provenance.overrides.items()))
        found.setdefault(place, run)
    kept = {id(run) for run in found.values()}
    return [run for run in runs if id(run) in kept]


def _best(network: str, runs: Sequence[Run], budget: Budget, which: Which) -> Best:
    verdicts = [(run, verdict(run, budget, which)) for run in runs if run.fits]
    candidates = [run for run, found in verdicts if found != "beyond"]
    crossing = {id(run) for run, found in verdicts if found == "open"}

    def choice(of: Sequence[Run], figure: Callable[[Run], Interval]) -> Choice | None:
        if not of:
            return None
        first, *others = sorted(of, key=lambda run: figure(run).mean)
        rivals = tuple(run for run in others if overlap(figure(first), figure(run)) >= HEAVY_OVERLAP)
        return Choice(first, rivals, id(first) in crossing)

    scopes: dict[str, list[Run]] = {}
    for run in candidates:
        energy = getattr(run, which).energy_j
        if energy is not None:
            scopes.setdefault(energy.scope, []).append(run)
    least = {scope: choice(members, lambda run: _energy(run, which)) for scope, members in scopes.items()}
    return Best(
        network=network,
        candidates=tuple(candidates),
        within=sum(found == "within" for _, found in verdicts),
        runs=len(runs),
        fastest=choice(candidates, lambda run: _figures(run, which).latency_s),
        least_energy={scope: found for scope, found in least.items() if found is not None},
        fronts={scope: front(members, which) for scope, members in scopes.items()},
    )


def verdict(run: Run, budget: Budget, which: Which = "total") -> Verdict:
    """Does a run keep the budget: all of its 90 % intervals ``within``, one of them ``beyond``, or ``open``?

    An energy budget cannot be kept by a run without energy.  Memory is what weights and activations need.
    """
    figures = _figures(run, which)
    found: list[Verdict] = []
    if budget.latency_s is not None:
        found.append(_against(figures.latency_s, budget.latency_s))
    if budget.energy_j is not None:
        found.append(_against(figures.energy_j, budget.energy_j) if figures.energy_j is not None else "beyond")
    if budget.memory_bytes is not None:
        found.append("within" if needed_bytes(run) <= budget.memory_bytes else "beyond")
    return "beyond" if "beyond" in found else "open" if "open" in found else "within"


def needed_bytes(run: Run) -> int:
    """Weights and activations together."""
    return run.memory.weight_bytes + run.memory.activation_bytes


def front(runs: Sequence[Run], which: Which = "total") -> tuple[Run, ...]:
    """The runs that no other beats in both latency and energy, the fastest first.  All must have the same scope."""
    found: list[Run] = []
    for run in sorted(runs, key=lambda run: (_figures(run, which).latency_s.mean, _energy(run, which).mean)):
        if not found or _energy(run, which).mean < _energy(found[-1], which).mean:
            found.append(run)
    return tuple(found)


def overlap(one: Interval, other: Interval) -> float:
    """The share of the narrower interval that lies within the other, in the logarithm; a point counts whole."""
    if min(one.low, other.low) <= 0:
        return 1.0 if one.mean == other.mean else 0.0
    low, high = max(one.low, other.low), min(one.high, other.high)
    if low > high:
        return 0.0
    narrow = min(math.log(one.high / one.low), math.log(other.high / other.low))
    return math.log(high / low) / narrow if narrow > 0 else 1.0


def _against(figure: Interval, limit: float) -> Verdict:
    return "within" if figure.high <= limit else "beyond" if figure.low > limit else "open"


def _figures(run: Run, which: Which) -> PhaseFigures:
    return run.total if which == "total" else run.steady


def _energy(run: Run, which: Which) -> Energy:
    energy = _figures(run, which).energy_j
    assert energy is not None  # callers group by its scope
    return energy
