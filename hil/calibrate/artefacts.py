"""From fitted units to the artefact of a platform, and the report of how well it predicts what it did not see."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hil import __version__
from hil.calibrate.dataset import Measurement
from hil.calibrate.design import LoadNetwork, Unit, phases_of
from hil.calibrate.solve import Held, StageFit, UnitFit, fit_unit
from hil.calibrate.units import Task
from hil.cost.artefact import SCHEMA_VERSION, Artefact, Errors, Fit, FittedParameter, artefact_json, read_artefact
from hil.cost.model import DOMAIN_FEATURES, Z_50, Z_90
from hil.cost.workload import Float
from hil.errors import CalibrationError
from hil.files import write_atomic

Progress = Callable[[str], None]
# A parameter is identified where the data took away a fifth of its prior uncertainty.
_IDENTIFIED = 0.8


def calibrate_platform(
    platform: str,
    tasks: Sequence[Task],
    load: LoadNetwork,
    cache: Path | None,
    progress: Progress | None = None,
) -> tuple[Artefact, list[UnitFit]]:
    """Fit every stack of one platform.  Deterministic but for the date.  Raises CalibrationError without data."""
    if not tasks:
        raise CalibrationError(
            f"{platform}: no measurements to fit at any of its operating points",
            hint="hil data list shows what there is; --data adds your own",
        )
    fits = []
    for task in tasks:
        if progress is not None:
            progress(f"{platform}: {task.stack}, {len(task.rows)} measurements")
        fits.append(fit_unit(task.build(load, cache)))
    rows = [row for task in tasks for row in task.rows]
    artefact = Artefact(
        schema_version=SCHEMA_VERSION,
        platform=platform,
        hil_version=__version__,
        date=datetime.now(UTC).date().isoformat(),
        data_hash=data_hash(rows),
        sources=tuple(sorted({row.source for row in rows})),
        fits=tuple(as_fit(unit_fit) for unit_fit in fits),
    )
    return artefact, fits


def data_hash(rows: Sequence[Measurement]) -> str:
    """A hash of the measurements that went into an artefact."""
    parts = [
        [r.id, r.platform, r.operating_point, r.overrides, r.network, r.quantity, r.phase, r.baseline, r.value]
        + [r.resolution, r.grade]
        for r in rows
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def as_fit(fit: UnitFit) -> Fit:
    """The stored form of a fitted unit: only what the data could move, with its covariance."""
    unit = fit.unit
    order = np.concatenate([stage.active for stage in fit.stages.values()]).astype(int)
    covariance = np.zeros((len(order), len(order)))
    at = 0
    for stage in fit.stages.values():
        n = len(stage.active)
        covariance[at : at + n, at : at + n] = stage.solution.covariance
        at += n
    parameters = []
    for position, index in enumerate(order):
        slot = unit.slots[index]
        sigma = float(np.sqrt(covariance[position, position]))
        parameters.append(
            FittedParameter(
                name=slot.parameter.name,
                unit=slot.parameter.unit,
                value=_round(float(np.exp(fit.vector[index]))),
                sigma=_round(sigma),
                prior_value=slot.parameter.prior.value,
                prior_sigma=_round(slot.parameter.prior.sigma),
                identified=sigma < _IDENTIFIED * slot.parameter.prior.sigma,
                point=slot.point,
            )
        )
    return Fit(
        stack=unit.stack,
        points=unit.points,
        parameters=tuple(parameters),
        covariance=tuple(tuple(_round(float(value)) for value in row) for row in covariance),
        structural_sigma={quantity: _round(stage.structural_sigma) for quantity, stage in fit.stages.items()},
        domain=_domain(unit),
        rows=_rows(unit),
        networks=tuple(sorted(unit.networks)),
        errors={
            f"{quantity}:{kind}": errors
            for quantity, stage in fit.stages.items()
            for kind, errors in stage_errors(unit, stage).items()
        },
    )


def stage_errors(unit: Unit, stage: StageFit) -> dict[str, Errors]:
    """Held-out errors of a stage: all rows with networks left out, those with an inference in them, and all rows with
    whole architectures left out."""
    found: dict[str, Errors] = {}
    everything = np.ones(len(stage.rows), dtype=bool)
    inference = np.array(["inference" in phases_of(unit.rows[i].phase) for i in stage.rows])
    for kind, held, rows in (
        ("network", stage.held, everything),
        ("inference", stage.held, inference),
        ("architecture", stage.unseen, everything),
    ):
        if held is not None and rows.any():
            found[kind] = errors_of(unit, stage, held, rows)
    return found


def _round(value: float) -> float:
    """Six significant digits: more is noise, and differs between processors."""
    return float(f"{value:.6g}")


def _rows(unit: Unit) -> dict[str, int]:
    """How many measurements cover each quantity and phase."""
    counts: dict[str, int] = {}
    for row in unit.rows:
        quantity = "energy_j" if row.quantity == "power_w" else row.quantity
        for phase in phases_of(row.phase):
            key = f"{quantity}:{phase}"
            counts[key] = counts.get(key, 0) + 1
    return dict(sorted(counts.items()))


def _domain(unit: Unit) -> dict[str, tuple[float, float]]:
    values = {name: [feature(n) for n in unit.networks.values()] for name, feature in DOMAIN_FEATURES.items()}
    return {name: (min(found), max(found)) for name, found in values.items()}


def errors_of(unit: Unit, stage: StageFit, held: Held, rows: npt.NDArray[np.bool_]) -> Errors:
    """Errors of some held-out predictions, and how often their intervals held."""
    measured = unit.log_measured[stage.rows]
    relative = (np.exp(held.log_predicted - measured) - 1.0)[rows]
    scaled = (np.abs(measured - held.log_predicted) / held_sigma(unit, stage, held))[rows]
    return errors_from(relative, scaled, len({unit.rows[i].network for i in stage.rows[rows]}))


def errors_from(relative: Float, scaled: Float, networks: int) -> Errors:
    """Errors from relative errors, and from distances in standard deviations (of the logarithm)."""
    return Errors(
        networks=networks,
        rows=len(relative),
        median_ape=_round(float(np.median(np.abs(relative)))),
        p90_ape=_round(float(np.quantile(np.abs(relative), 0.9))),
        bias=_round(float(np.median(relative))),
        coverage_50=_round(float(np.mean(scaled <= Z_50))),
        coverage_90=_round(float(np.mean(scaled <= Z_90))),
    )


def held_sigma(unit: Unit, stage: StageFit, held: Held) -> Float:
    """Standard deviation of the logarithm of a held-out prediction against a measurement of that noise."""
    return np.sqrt(held.variance + unit.noise[stage.rows] ** 2 + stage.structural_sigma**2)


def write_artefact(artefact: Artefact, folder: Path) -> Path:
    """Write ``<platform>.json``; the date of an unchanged artefact stays.  Raises ResultsError."""
    file = folder / f"{artefact.platform}.json"
    if file.is_file():
        try:
            old = read_artefact(file, artefact.platform)
        except CalibrationError:
            old = None
        if old is not None and old.hash == artefact.hash:
            return file
    write_atomic(file, artefact_json(artefact).encode())
    return file
