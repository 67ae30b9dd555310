"""The naive models that a calibrated one must beat, predicted on the same held-out folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from hil.calibrate.design import Unit
from hil.calibrate.solve import StageFit
from hil.cost.workload import Float


@dataclass(frozen=True)
class Baseline:
    """Predictions of one naive model for the rows of a stage; NaN where it has nothing to say."""

    name: str
    predicted: Float


def baselines(unit: Unit, stage: StageFit) -> list[Baseline]:
    """MACs over peak, MACs with one fitted factor, MACs and parameters with two; the vendor's tool where there is one.

    Only rows that hold an inference are compared: a naive model knows nothing of other phases.
    """
    rows = [unit.rows[i] for i in stage.rows]
    measured = np.exp(unit.log_measured[stage.rows])
    macs = np.array([float(unit.networks[row.network].macs) for row in rows])
    parameters = np.array([float(unit.networks[row.network].parameters) for row in rows])
    inference = np.array(["inference" in row.phase or row.phase in ("total", "steady") for row in rows])
    groups = np.array([unit.twins[row.network] for row in rows])
    clock = np.ones(len(rows))
    peak = np.full(len(rows), np.nan)
    vendor = np.full(len(rows), np.nan)
    position = {int(index): k for k, index in enumerate(stage.rows)}
    for block in unit.blocks:
        npu = block.target.npu
        own = _vendor_seconds(block.work.extra, block.target.npu_clock_hz)
        per_plan = block.work.per_plan(own) if own is not None else None
        for row, plan in zip(block.rows, block.plans, strict=True):
            if row not in position:
                continue
            k = position[row]
            clock[k] = block.target.npu_clock_hz
            if npu is not None:
                peak[k] = macs[k] / (npu.peak_macs_per_cycle.value * block.target.npu_clock_hz)
            if per_plan is not None:
                vendor[k] = per_plan[plan]
    cycles = macs / clock if stage.quantity == "latency_s" else macs
    weights = parameters / clock if stage.quantity == "latency_s" else parameters
    found = [Baseline("MACs scaled", _scaled(cycles, measured, groups, inference))]
    found.append(Baseline("MACs + parameters", _linear(cycles, weights, measured, groups, inference)))
    if stage.quantity == "latency_s":
        found.insert(0, Baseline("MACs / peak", np.where(inference, peak, np.nan)))
        found.append(Baseline("vendor tool", np.where(inference, vendor, np.nan)))
    return found


def _vendor_seconds(extra: dict[str, Float], clock_hz: float) -> Float | None:
    """The vendor's own estimate per op: ai8x's cycle formula, Vela's cycles at the platform's configuration."""
    for name in ("layer_cycles", "vela_cycles"):
        if name in extra:
            return np.asarray(extra[name] / clock_hz, dtype=np.float64)
    return None


def _scaled(work: Float, measured: Float, groups: npt.NDArray[np.str_], use: npt.NDArray[np.bool_]) -> Float:
    out = np.full(len(work), np.nan)
    for name in set(groups):
        train = use & (groups != name) & (work > 0)
        if train.any():
            mine = use & (groups == name)
            out[mine] = work[mine] * np.exp(np.median(np.log(measured[train] / work[train])))
    return out


def _linear(one: Float, two: Float, measured: Float, groups: npt.NDArray[np.str_], use: npt.NDArray[np.bool_]) -> Float:
    """Non-negative least squares of relative errors: constant, MACs, parameters."""
    columns = np.stack([np.full(len(one), np.median(measured)), one, two], axis=1)
    out = np.full(len(one), np.nan)
    for name in set(groups):
        train = use & (groups != name)
        if train.sum() >= 3:
            scaled = columns[train] / measured[train, None]
            size = np.maximum(scaled.max(axis=0), 1e-30)
            solution, _ = nnls(scaled / size, np.ones(int(train.sum())))
            mine = use & (groups == name)
            out[mine] = columns[mine] @ (solution / size)
    return out


def median_error(measured: Float, predicted: Float) -> float | None:
    """Median absolute percentage error over the rows that have a prediction."""
    known = np.isfinite(predicted) & (predicted > 0)
    return float(np.median(np.abs(predicted[known] / measured[known] - 1.0))) if known.any() else None


def spearman(one: Sequence[float], two: Sequence[float]) -> float | None:
    """Rank correlation; None for fewer than three pairs or constant ranks."""
    if len(one) < 3:
        return None
    ranks = [np.argsort(np.argsort(values)).astype(float) for values in (one, two)]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])
