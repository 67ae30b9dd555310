"""Tolerances: how far two figures may differ before they disagree, and who says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hil.compare.reading import METRICS, Metric
from hil.cost import SUMS
from hil.errors import ConfigError, HilError, PlatformError, did_you_mean
from hil.plan import PHASES
from hil.platform import load_platform, platform_files
from hil.units import parse_quantity


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far two figures may differ, as a share of 1; whose it is, and why."""

    value: float
    origin: str
    reason: str


# What publications allow (calibration/measurements.csv, hil data check): figures of one network at one condition from
# several sources.  Nobody can be asked to hit a board better than boards hit each other.
DEFAULTS: dict[Metric, Tolerance] = {
    "latency": Tolerance(
        0.10, "default", "latencies published twice for one condition differ by up to 7 %, rarely more"
    ),
    "energy": Tolerance(0.20, "default", "energies published twice for one condition differ by up to 13 %"),
    "power": Tolerance(0.20, "default", "powers published twice for one condition differ by up to 13 %"),
}


def parse_tolerances(items: Sequence[str]) -> dict[str, float]:
    """``latency=10%``, ``latency.inference=5%``, ``energy=0.2``: key to a share of 1.  Raises ConfigError."""
    asked: dict[str, float] = {}
    for item in items:
        key, equals, text = item.partition("=")
        if not equals:
            raise ConfigError(f"--tolerance {item}: not METRIC[.PHASE]=SHARE", hint="such as latency=10%")
        _check_key(key, f"--tolerance {item}", ConfigError)
        value = parse_quantity(text, "%")
        if not 0 < value <= 1:
            raise ConfigError(
                f"--tolerance {item}: expected more than 0 % and at most 100 %", hint=f"such as {key}=10%"
            )
        asked[key] = value
    return asked


def tolerance_for(
    metric: Metric, phase: str, platform: str, asked: Mapping[str, float], platform_path: Sequence[Path] = ()
) -> Tolerance:
    """The user's tolerance, else the platform file's, else the default; of one phase before that of the metric.

    Raises PlatformError where the platform file names a phase that does not exist.
    """
    keys = (f"{metric}.{phase}", metric)
    for key in keys:
        if key in asked:
            return Tolerance(asked[key], "asked for", f"--tolerance {key}")
    declared = _declared(platform, platform_path)
    return next((declared[key] for key in keys if key in declared), DEFAULTS[metric])


def _declared(platform: str, platform_path: Sequence[Path]) -> dict[str, Tolerance]:
    """The tolerances of a platform file; none for a platform that is not known here."""
    if platform not in platform_files(platform_path):
        return {}
    found = load_platform(platform, platform_path)
    for key in found.tolerances:
        _check_key(key, f"platform {platform}: tolerances.{key}", PlatformError)
    return {
        key: Tolerance(
            item.value, f"platform file of {platform}", f"{item.reason} ({found.sources[item.source].title})"
        )
        for key, item in found.tolerances.items()
    }


def _check_key(key: str, where: str, failed: type[HilError]) -> None:
    metric, _, phase = key.partition(".")
    if metric not in METRICS:
        raise failed(f"{where}: no metric '{metric}'", hint=did_you_mean(metric, METRICS))
    known = (*PHASES, *SUMS)
    wrong = next((part for part in phase.split("+") if part not in known), None) if phase else None
    if wrong is not None:
        raise failed(f"{where}: no phase '{wrong}'", hint=did_you_mean(wrong, known))
