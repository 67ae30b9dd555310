"""What the page's plots draw: the runs boiled down to one small JSON document.  ``assets/*.js`` draws it.

An interval is ``[mean, low, high]`` in SI units; what is unknown is null.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hil.backend.run import FIDELITIES, Energy, Interval, MemoryFigures, OpFigures, Run
from hil.platform import Platform
from hil.report.figures import FIDELITY_WORDS
from hil.report.markup import slug
from hil.report.rows import Arrangement

_DIGITS = 7


def plot_data(arrangement: Arrangement, platforms: Mapping[str, Platform]) -> dict[str, Any]:
    """Rows, networks, energy scopes and one entry per run."""
    scopes = _scopes(arrangement)
    return {
        "fidelities": {name: list(FIDELITY_WORDS[name]) for name in FIDELITIES},
        "scopes": scopes,
        "networks": [_network(label, arrangement.example(label)) for label in arrangement.networks],
        "rows": [
            {
                "label": row.label,
                "name": platforms[row.platform].name if row.platform in platforms else row.platform,
                "point": row.operating_point,
                "backend": row.backend,
                "anchor": platform_anchor(row.platform),
            }
            for row in arrangement.rows
        ],
        "runs": [
            {"r": index, "n": column, **_run(row.runs[network], scopes)}
            for index, row in enumerate(arrangement.rows)
            for column, network in enumerate(arrangement.networks)
            if network in row.runs
        ],
    }


def platform_anchor(platform: str) -> str:
    return f"platform-{slug(platform)}"


def outside_share(run: Run) -> float | None:
    """The share of end-to-end time in which the accelerator computes nothing; 1 where there is none."""
    total = run.total.latency_s.mean
    if total <= 0:
        return None
    inference = run.phases.get("inference")
    busy = inference.latency_s.mean if inference is not None and run.npu_macs > 0 else 0.0
    known = [op.latency_s for op in run.ops if op.unit == "npu" and op.latency_s is not None]
    if known:
        busy = min(busy, sum(known))
    return min(1.0, max(0.0, 1.0 - busy / total))


def fallback_summary(ops: tuple[OpFigures, ...]) -> list[tuple[str, str, int]]:
    """Ops on the CPU, counted by type and reason."""
    counts: dict[tuple[str, str], int] = {}
    for op in ops:
        counts[op.type, op.reason] = counts.get((op.type, op.reason), 0) + 1
    return [(kind, reason, count) for (kind, reason), count in counts.items()]


def _scopes(arrangement: Arrangement) -> list[str]:
    """Every energy scope, those of the gross figures first, in the order in which they appear."""
    runs = [run for row in arrangement.rows for run in row.runs.values()]
    energies = [run.total.energy_j for run in runs] + [run.total.energy_above_idle_j for run in runs]
    return list(dict.fromkeys(energy.scope for energy in energies if energy is not None))


def _network(label: str, run: Run) -> dict[str, Any]:
    info = run.network_info
    return {
        "name": label,
        "macs": info.macs,
        "parameters": info.parameters,
        "weight_bytes": info.weight_bytes,
        "precision": info.precision,
    }


def _run(run: Run, scopes: list[str]) -> dict[str, Any]:
    return {
        "fits": run.fits,
        "reasons": list(run.reasons),
        "fidelity": run.fidelity,
        "fallback": fallback_summary(run.fallback_ops),
        "total": _interval(run.total.latency_s),
        "total_fidelity": run.total.fidelity,
        "steady": _interval(run.steady.latency_s),
        "init": _phase(run, "npu_init"),
        "memory_io": _interval(run.memory_io.latency_s),
        "inference": _phase(run, "inference"),
        "post": _phase(run, "post_process"),
        "energy": _energy(run.total.energy_j, scopes),
        "above_idle": _energy(run.total.energy_above_idle_j, scopes),
        "power": _number(run.total.power_w),
        "outside": _number(outside_share(run)),
        "peak": _number(run.peak_macs_per_s),
        "memory": [_memory(use) for use in run.memory.uses] or _memory_totals(run),
    }


def _phase(run: Run, name: str) -> list[float | None] | None:
    figures = run.phases.get(name)
    return _interval(figures.latency_s) if figures is not None else None


def _interval(figure: Interval) -> list[float | None]:
    return [_number(figure.mean), _number(figure.low), _number(figure.high)]


def _energy(figure: Energy | None, scopes: list[str]) -> dict[str, Any] | None:
    if figure is None:
        return None
    return {"j": _interval(figure), "scope": scopes.index(figure.scope), "fidelity": figure.fidelity}


def _memory(use: MemoryFigures) -> list[Any]:
    return [use.name, use.role, use.needed_bytes, use.capacity_bytes, use.fits]


def _memory_totals(run: Run) -> list[list[Any]]:
    """For a record that holds totals only."""
    memory = run.memory
    pairs = (
        ("weights", memory.weight_bytes, memory.weight_capacity_bytes),
        ("activations", memory.activation_bytes, memory.activation_capacity_bytes),
    )
    return [[role, role, need, capacity, capacity is None or need <= capacity] for role, need, capacity in pairs]


def _number(value: float | None) -> float | None:
    """JSON knows neither infinity nor NaN; seven digits are more than any figure here deserves."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{_DIGITS}g}")
