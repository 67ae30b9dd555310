"""How far an instrument may be off, and its check against known resistors, stored by serial number."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from math import hypot, isfinite, sqrt
from pathlib import Path
from typing import Any

import numpy as np

from hil.files import write_atomic
from hil.meter.errors import FormatError, TraceError
from hil.meter.types import MeterInfo

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A reading is ``gain * truth + offset_a``; what is known of both, as standard uncertainties (one sigma).

    ``gain`` and ``offset_a`` are corrected for; ``gain_sd`` (relative), ``offset_sd_a`` and ``voltage_sd`` (relative)
    remain.  ``lsb_a``: the step of the converter, None where it is taken from the trace itself.
    The defaults are those of an instrument that nobody checked; their 5 % is an assumption, and ``source`` says so.
    """

    gain: float = 1.0
    offset_a: float = 0.0
    gain_sd: float = 0.05
    offset_sd_a: float = 0.0
    voltage_sd: float = 0.0
    lsb_a: float | None = None
    source: str = "assumed: never checked against a known resistor"


@dataclass(frozen=True, slots=True)
class ResistorReading:
    """What the meter read with a known resistor as its only load.  ``resistor_sd``: relative, one sigma;
    ``current_sd_a``: of the reading itself (noise, resolution)."""

    resistance_ohm: float
    voltage_v: float
    current_a: float
    resistor_sd: float = 0.001
    current_sd_a: float = 0.0

    @property
    def true_a(self) -> float:
        return self.voltage_v / self.resistance_ohm


def resistor_check(info: MeterInfo, readings: Sequence[ResistorReading], voltage_sd: float = 0.0) -> Accuracy:
    """Gain and offset from readings at known resistors.

    One resistor gives the gain, with the offset taken as nothing; two or more give both, weighted by the resistors'
    tolerance and the readings' own uncertainty.  With three or more, what the line does not explain widens both.
    ``voltage_sd``: relative, of the voltage, the same for all readings.  Raises TraceError for readings that give no
    line.
    """
    if not readings:
        raise TraceError("a resistor check without readings", hint="measure at least one known resistor, better three")
    if any(r.resistance_ohm <= 0 or r.voltage_v <= 0 or r.resistor_sd <= 0 for r in readings):
        raise TraceError("a resistor check: resistance, voltage and tolerance must be above zero")
    true = np.array([r.true_a for r in readings])
    read = np.array([r.current_a for r in readings])
    sd = np.array([hypot(r.resistor_sd * r.true_a, r.current_sd_a) for r in readings])
    one = len(readings) == 1
    columns = np.column_stack([true] if one else [true, np.ones_like(true)])
    scaled = columns / sd[:, None]
    if np.linalg.matrix_rank(scaled) < columns.shape[1]:
        raise TraceError("a resistor check with one current only gives no offset", hint="use resistors that differ")
    solution, *_ = np.linalg.lstsq(scaled, read / sd, rcond=None)
    covariance = np.linalg.inv(scaled.T @ scaled)
    spare = len(readings) - columns.shape[1]
    if spare > 0:  # readings that scatter more than the resistors' tolerance explains: the scatter counts
        chi2 = float(np.sum(((read - columns @ solution) / sd) ** 2)) / spare
        covariance *= max(1.0, chi2)
    gain = float(solution[0])
    if not 0.5 < gain < 2.0:
        raise TraceError(
            f"{info.model}: reads {gain:.3g} times the current of a known resistor",
            hint="check wiring, range and units",
        )
    return Accuracy(
        gain=gain,
        offset_a=0.0 if one else float(solution[1]),
        gain_sd=hypot(float(np.sqrt(covariance[0, 0])) / gain, voltage_sd),
        offset_sd_a=0.0 if one else float(np.sqrt(covariance[1, 1])),
        # A wrong voltage makes the true current wrong, and the power once more: with the gain's share it is twice.
        voltage_sd=sqrt(3.0) * voltage_sd,
        source=f"resistor check, {len(readings)} readings",
    )


# --- stored checks --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StoredCheck:
    """The check of one instrument, with its date (ISO 8601; empty where it was not stored)."""

    path: Path
    model: str
    serial: str
    date: str
    accuracy: Accuracy


def checks_folder() -> Path:
    """Where checks of instruments against known resistors are kept: ``$XDG_CONFIG_HOME/hil/meters``."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "hil" / "meters"


def check_path(folder: Path, info: MeterInfo) -> Path:
    """Where the check of one instrument is kept."""
    if not info.serial:
        raise TraceError(
            f"{info.model}: no serial number, so a check cannot be stored for it",
            hint="name its own port of this machine, so that USB tells the number; a port of a server tells none",
        )
    return folder / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', f'{info.model}-{info.serial}')}.json"


def save_check(folder: Path, info: MeterInfo, accuracy: Accuracy, readings: Sequence[ResistorReading] = ()) -> Path:
    """Store a check with the instrument's serial number and the readings behind it.  Raises ResultsError where it
    cannot be written."""
    path = check_path(folder, info)
    document = {
        "schema": SCHEMA,
        "model": info.model,
        "serial": info.serial,
        **asdict(accuracy),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "readings": [asdict(reading) for reading in readings],
    }
    write_atomic(path, json.dumps(document, indent=1).encode() + b"\n")
    return path


def load_check(folder: Path, info: MeterInfo) -> Accuracy | None:
    """The stored check of this very instrument; None where there is none.  Raises FormatError."""
    check = find_check(folder, info)
    return check.accuracy if check is not None else None


def find_check(folder: Path, info: MeterInfo) -> StoredCheck | None:
    """As ``load_check``, with its date."""
    if not info.serial or not (path := check_path(folder, info)).is_file():
        return None
    return read_check(path, info.serial)


def stored_checks(folder: Path) -> list[Path]:
    """The files of all checks in a folder, in order of their names."""
    return sorted(folder.glob("*.json"))


def read_check(path: Path, serial: str | None = None) -> StoredCheck:
    """A check from its file; of another instrument than ``serial`` it is an error.  Raises FormatError."""
    try:
        document = json.loads(path.read_bytes())
        if document["schema"] != SCHEMA or serial not in (None, document["serial"]):
            raise FormatError(f"{path}: a check of schema {document['schema']}, serial {document['serial']}")
        accuracy = Accuracy(**{field.name: document[field.name] for field in fields(Accuracy)})
        require_sane(accuracy)
        return StoredCheck(
            path, str(document["model"]), str(document["serial"]), str(document.get("date", "")), accuracy
        )
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror}", hint="hil meter check writes one") from error
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{path}: not a resistor check: {error}", hint="remove it and check again") from error


def require_sane(accuracy: Accuracy) -> None:
    """Raises ValueError for figures that no check gives."""
    figures: Mapping[str, Any] = {k: v for k, v in asdict(accuracy).items() if k != "source" and v is not None}
    for name, value in figures.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not isfinite(value) or (name != "offset_a" and value < 0):
            raise ValueError(f"{name} is {value!r}")
    if accuracy.gain == 0:
        raise ValueError("gain is 0")
