"""How far held-out predictions are from measurements, beside the naive models, as a table, JSON and plots."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hil.calibrate.artefacts import errors_from, held_sigma, stage_errors
from hil.calibrate.naive import baselines, median_error, spearman
from hil.calibrate.solve import UnitFit
from hil.cost import Z_90
from hil.cost.artefact import Errors

# The bars of the design: median and 90th-percentile error, and the coverage of 90 % intervals.
BARS = {"latency_s": (0.10, 0.30), "energy_j": (0.15, 0.35)}
COVERAGE = (0.85, 0.95)
# A platform with fewer measured networks is reported, not judged.
LEAST_NETWORKS = 5


@dataclass(frozen=True)
class Point:
    """One held-out prediction beside its measurement, both in SI; ``sigma`` is of the logarithm."""

    platform: str
    stack: str
    quantity: str
    network: str
    phase: str
    operating_point: str
    macs: int
    measured: float
    predicted: float
    sigma: float


@dataclass(frozen=True)
class Line:
    """One platform, stack and quantity: errors with networks held out, and with whole architectures held out."""

    platform: str
    stack: str
    quantity: str
    networks: int
    rows: int
    held_out: Errors | None
    inference: Errors | None
    unseen: Errors | None
    naive: dict[str, float | None]
    rank: float | None

    @property
    def verdict(self) -> str:
        """``ok`` or ``MISS``, for all rows and for those with an inference; ``few`` below five networks."""
        if self.held_out is None or self.networks < LEAST_NETWORKS:
            return "few"
        median, tail = BARS[self.quantity]
        judged = [errors for errors in (self.held_out, self.inference) if errors is not None]
        good = all(errors.median_ape <= median and errors.p90_ape <= tail for errors in judged)
        # With few rows a share cannot be closer to its aim than one row.
        slack = 1.0 / self.held_out.rows
        covered = COVERAGE[0] - slack <= self.held_out.coverage_90 <= COVERAGE[1] + slack
        return "ok" if good and covered else "MISS"


def lines_of(fits: Sequence[UnitFit]) -> list[Line]:
    """A line per stage of every fitted unit."""
    found = []
    for fit in fits:
        unit = fit.unit
        for quantity, stage in fit.stages.items():
            measured = np.exp(unit.log_measured[stage.rows])
            errors = stage_errors(unit, stage)
            rank = None
            if stage.held is not None:
                first = {unit.rows[i].network: k for k, i in reversed(list(enumerate(stage.rows)))}
                chosen = list(first.values())
                rank = spearman(measured[chosen].tolist(), np.exp(stage.held.log_predicted)[chosen].tolist())
            found.append(
                Line(
                    platform=unit.platform.id,
                    stack=unit.stack,
                    quantity=quantity,
                    networks=len({unit.rows[i].network for i in stage.rows}),
                    rows=len(stage.rows),
                    held_out=errors.get("network"),
                    inference=errors.get("inference"),
                    unseen=errors.get("architecture"),
                    naive={b.name: median_error(measured, b.predicted) for b in baselines(unit, stage)},
                    rank=rank,
                )
            )
    return found


def points_of(fits: Sequence[UnitFit]) -> list[Point]:
    """Every held-out prediction."""
    found = []
    for fit in fits:
        unit = fit.unit
        for quantity, stage in fit.stages.items():
            if stage.held is None:
                continue
            sigma = held_sigma(unit, stage, stage.held)
            for k, index in enumerate(stage.rows):
                row = unit.rows[index]
                found.append(
                    Point(
                        unit.platform.id,
                        unit.stack,
                        quantity,
                        row.network,
                        row.phase,
                        row.operating_point,
                        unit.networks[row.network].macs,
                        row.value,
                        float(math.exp(stage.held.log_predicted[k])),
                        float(sigma[k]),
                    )
                )
    return found


def overall(points: Sequence[Point]) -> dict[str, dict[str, float]]:
    """Errors over all held-out predictions, by quantity."""
    found: dict[str, dict[str, float]] = {}
    for quantity in BARS:
        own = [p for p in points if p.quantity == quantity]
        if own:
            relative = np.array([p.predicted / p.measured - 1.0 for p in own])
            scaled = np.array([abs(math.log(p.measured / p.predicted)) / p.sigma for p in own])
            found[quantity] = errors_from(relative, scaled, len({p.network for p in own})).model_dump()
    return found


def chip_ranking(points: Sequence[Point]) -> dict[str, float | None]:
    """Does it pick the right chip?  For networks measured on several platforms: how often the fastest of each pair is
    predicted right, and the mean rank correlation across platforms."""
    by_network: dict[str, dict[str, Point]] = {}
    for point in points:
        if point.quantity == "latency_s" and point.phase == "inference":
            key = f"{point.platform} {point.stack} {point.operating_point}"
            by_network.setdefault(point.network, {}).setdefault(key, point)
    right = pairs = 0
    ranks = []
    for found in by_network.values():
        group = list(found.values())
        for i, one in enumerate(group):
            for other in group[i + 1 :]:
                if one.platform != other.platform:
                    pairs += 1
                    right += (one.measured < other.measured) == (one.predicted < other.predicted)
        rank = spearman([p.measured for p in group], [p.predicted for p in group])
        if rank is not None:
            ranks.append(rank)
    return {
        "networks": float(len([g for g in by_network.values() if len(g) > 1])),
        "pairs": float(pairs),
        "pairs_right": right / pairs if pairs else None,
        "mean_rank_correlation": float(np.mean(ranks)) if ranks else None,
    }


def document(lines: Sequence[Line], points: Sequence[Point]) -> dict[str, Any]:
    """Everything as plain data for ``--json`` and for a gate."""
    return {
        "schema": 1,
        "bars": {"latency_s": BARS["latency_s"], "energy_j": BARS["energy_j"], "coverage_90": COVERAGE},
        "lines": [_plain(line) for line in lines],
        "overall": overall(points),
        "ranking": chip_ranking(points),
        "points": [asdict(point) for point in points],
    }


def _plain(line: Line) -> dict[str, Any]:
    errors = {"held_out": line.held_out, "inference": line.inference, "unseen": line.unseen}
    plain = {name: found.model_dump() if found is not None else None for name, found in errors.items()}
    return {**asdict(replace(line, held_out=None, inference=None, unseen=None)), **plain, "verdict": line.verdict}


def write_plots(points: Sequence[Point], folder: Path) -> list[Path]:
    """Predicted against measured with intervals, residuals against size, calibration of the intervals.

    Needs matplotlib (extra ``[plots]``); returns the files.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    files = []
    platforms = sorted({point.platform for point in points})
    colour = {name: f"C{index % 10}" for index, name in enumerate(platforms)}
    marker = {name: "osD^v*"[index // 10 % 6] for index, name in enumerate(platforms)}
    for quantity, label, unit in (("latency_s", "latency", "s"), ("energy_j", "energy", "J")):
        own = [p for p in points if p.quantity == quantity]
        if not own:
            continue
        figure, axes = pyplot.subplots(1, 3, figsize=(16, 5), constrained_layout=True)
        for name in platforms:
            mine = [p for p in own if p.platform == name]
            if not mine:
                continue
            x = np.array([p.measured for p in mine])
            y = np.array([p.predicted for p in mine])
            spread = np.exp(Z_90 * np.array([p.sigma for p in mine]))
            style = {"color": colour[name], "marker": marker[name], "linestyle": "none", "markersize": 4}
            axes[0].errorbar(x, y, yerr=[y - y / spread, y * spread - y], elinewidth=0.5, label=name, **style)
            axes[1].plot([p.macs for p in mine], y / x - 1.0, **style)
        low, high = min(p.measured for p in own), max(p.measured for p in own)
        axes[0].plot([low, high], [low, high], color="0.5", linewidth=0.8)
        axes[0].set(xscale="log", yscale="log", xlabel=f"measured {label} ({unit})", ylabel=f"predicted ({unit})")
        axes[0].set_title("networks held out, with 90 % intervals")
        axes[0].legend(fontsize=7, ncols=2)
        axes[1].axhline(0.0, color="0.5", linewidth=0.8)
        axes[1].set(xscale="log", xlabel="MACs", ylabel="relative error", ylim=(-1.0, 1.5))
        axes[1].set_title("residuals against size")
        scaled = np.sort([abs(math.log(p.measured / p.predicted)) / p.sigma for p in own])
        nominal = np.array([math.erf(value / math.sqrt(2.0)) for value in scaled])
        axes[2].plot([0, 1], [0, 1], color="0.5", linewidth=0.8)
        axes[2].step(nominal, np.arange(1, len(scaled) + 1) / len(scaled), where="post")
        axes[2].set(
            xlabel="probability of the interval", ylabel="share of measurements inside", xlim=(0, 1), ylim=(0, 1)
        )
        axes[2].set_title("calibration of the intervals")
        file = folder / f"{label}.png"
        figure.savefig(file, dpi=110)
        pyplot.close(figure)
        files.append(file)
    return files
