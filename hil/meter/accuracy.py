"""How far an instrument may be off, and its check against known resistors, stored by serial number."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

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
    """What the meter read with a known resistor as its only load.  ``resistor_sd``: relative, one sigma."""

    resistance_ohm: float
    voltage_v: float
    current_a: float
    resistor_sd: float = 0.001


def resistor_check(info: MeterInfo, readings: Sequence[ResistorReading]) -> Accuracy:
    """Gain and offset from readings at known resistors.

    One resistor gives the gain, with the offset taken as nothing; two or more give both, weighted by the resistors'
    tolerance.  With three or more, what the line does not explain widens both.  Raises TraceError for readings that
    give no line.
    """
    if not readings:
        raise TraceError("a resistor check without readings", hint="measure at least one known resistor, better three")
    if any(r.resistance_ohm <= 0 or r.voltage_v <= 0 or r.resistor_sd <= 0 for r in readings):
        raise TraceError("a resistor check: resistance, voltage and tolerance must be above zero")
    true = np.array([r.voltage_v / r.resistance_ohm for r in readings])
    read = np.array([r.current_a for r in readings])
    sd = np.array([r.resistor_sd for r in readings]) * true
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
        gain_sd=float(np.sqrt(covariance[0, 0])) / gain,
        offset_sd_a=0.0 if one else float(np.sqrt(covariance[1, 1])),
        source=f"resistor check, {len(readings)} readings",
    )


def check_path(folder: Path, info: MeterInfo) -> Path:
    """Where the check of one instrument is kept."""
    if not info.serial:
        raise TraceError(f"{info.model}: no serial number, so a check cannot be stored for it")
    return folder / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', f'{info.model}-{info.serial}')}.json"


def save_check(folder: Path, info: MeterInfo, accuracy: Accuracy) -> Path:
    """Store a check with the instrument's serial number.  Raises ResultsError where it cannot be written."""
    path = check_path(folder, info)
    document = {"schema": SCHEMA, "model": info.model, "serial": info.serial, **asdict(accuracy)}
    write_atomic(path, json.dumps(document, indent=1).encode() + b"\n")
    return path


def load_check(folder: Path, info: MeterInfo) -> Accuracy | None:
    """The stored check of this very instrument; None where there is none.  Raises FormatError."""
    if not info.serial or not (path := check_path(folder, info)).is_file():
        return None
    try:
        document = json.loads(path.read_bytes())
        if (document["schema"], document["serial"]) != (SCHEMA, info.serial):
            raise FormatError(f"{path}: a check of schema {document['schema']}, serial {document['serial']}")
        return Accuracy(**{field.name: document[field.name] for field in fields(Accuracy)})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{path}: not a resistor check: {error}", hint="remove it and check again") from error
