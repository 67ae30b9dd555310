"""Calibration artefacts: fitted parameters of a platform with covariance, prior, error and domain of validity.

``hil calibrate`` writes them to ``calibration/<id>.json``; the cost model reads them.  An artefact made for another
schema or platform is an error.  One artefact holds one fit per software stack, because the stack decides the kernels.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from hil.data import data_dir
from hil.errors import CalibrationError, UnavailableError

SCHEMA_VERSION: Literal[1] = 1
ENV_PATH = "HIL_CALIBRATION_PATH"


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FittedParameter(Frozen):
    """One parameter: its fitted median, the standard deviation of its logarithm, and the prior it started from.

    ``point`` names the operating point that it belongs to, where the platform file gives it per point.
    ``identified`` is false where the data moved it so little that it is still its prior.
    """

    name: str
    unit: str
    value: float
    sigma: float
    prior_value: float
    prior_sigma: float
    identified: bool
    point: str | None = None


class Errors(Frozen):
    """Leave-one-group-out error of one quantity: absolute percentage errors, bias, and coverage of the intervals."""

    networks: int
    rows: int
    median_ape: float
    p90_ape: float
    bias: float
    coverage_50: float
    coverage_90: float


class Fit(Frozen):
    """The fit of one software stack: parameters in order, their covariance in log space, and how good it is.

    ``structural_sigma`` is what the form of the model gets wrong, by quantity; ``domain`` the range of features seen.
    """

    stack: str
    points: tuple[str, ...]
    parameters: tuple[FittedParameter, ...]
    covariance: tuple[tuple[float, ...], ...]
    structural_sigma: dict[str, float]
    domain: dict[str, tuple[float, float]]
    rows: dict[str, int]
    networks: tuple[str, ...]
    errors: dict[str, Errors] = {}


class Artefact(Frozen):
    """Everything that ``hil calibrate`` learned about one platform."""

    schema_version: Literal[1]
    platform: str
    hil_version: str
    date: str
    data_hash: str
    sources: tuple[str, ...]
    fits: tuple[Fit, ...]

    def fit_for(self, point: str) -> Fit | None:
        """The fit that covers an operating point."""
        return next((fit for fit in self.fits if point in fit.points), None)

    @property
    def hash(self) -> str:
        return hashlib.sha256(self.model_dump_json(exclude={"date"}).encode()).hexdigest()[:16]


def read_artefact(file: Path, platform: str) -> Artefact:
    """Read one artefact.  Raises CalibrationError for another schema or platform, or a damaged file."""
    try:
        artefact = Artefact.model_validate_json(file.read_bytes())
    except OSError as error:
        raise CalibrationError(f"{file}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CalibrationError(
            f"{file}: not a calibration artefact of schema {SCHEMA_VERSION}: {where}: {first['msg']}",
            hint="make it again with hil calibrate",
        ) from error
    if artefact.platform != platform:
        raise CalibrationError(
            f"{file}: calibrates '{artefact.platform}', expected '{platform}'", hint="make it again with hil calibrate"
        )
    return artefact


def artefact_in_use(platform: str) -> Artefact | None:
    """The artefact of a platform: from ``$HIL_CALIBRATION_PATH`` where it has one, else the one that comes with hil.

    None where the platform has not been calibrated.
    """
    folders = [Path(part) for part in os.environ.get(ENV_PATH, "").split(os.pathsep) if part]
    with suppress(UnavailableError):
        folders.append(data_dir("calibration"))
    files = (folder / f"{platform}.json" for folder in folders)
    file = next((file for file in files if file.is_file()), None)
    return _cached(file, file.stat().st_mtime_ns, platform) if file is not None else None


@lru_cache(maxsize=64)
def _cached(file: Path, _changed: int, platform: str) -> Artefact:
    return read_artefact(file, platform)


def artefact_json(artefact: Artefact) -> str:
    """The stored form: readable, one parameter a line."""
    return json.dumps(json.loads(artefact.model_dump_json()), indent=1) + "\n"
