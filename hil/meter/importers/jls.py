"""Joulescope's JLS files (version 2), by the vendor's library."""

from __future__ import annotations

from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hil.errors import UnavailableError
from hil.meter.errors import FormatError
from hil.meter.importers.table import head_of, make_trace
from hil.meter.trace import CHUNK
from hil.meter.types import Float, MeterInfo, Trace

MAGIC = b"jlsfmt\r\n"  # of the file header; the rest of it is checked by the library


def read_jls(path: Path, site: str, voltage_v: float | None) -> Trace:
    """Current, voltage and general-purpose inputs of one instrument.

    Samples that the instrument dropped are NaN in the file: they become gaps.  Raises FormatError, UnavailableError.
    """
    try:
        pyjls = import_module("pyjls")
    except ImportError as error:
        raise UnavailableError("JLS files need pyjls", hint="pip install 'hil[joulescope]'") from error
    if not head_of(path).startswith(MAGIC):
        raise FormatError(f"{path}: not a JLS file")
    try:
        with closing(pyjls.Reader(str(path))) as reader:
            return _read(reader, path, site, voltage_v)
    except (RuntimeError, ValueError, KeyError, OSError, MemoryError, OverflowError) as error:
        raise FormatError(f"{path}: not a JLS file that can be read: {error}", hint="was it closed?") from error


def _read(reader: Any, path: Path, site: str, voltage_v: float | None) -> Trace:
    signals: dict[str, Any] = {}
    for signal in reader.signals.values():
        name = signal.name.rpartition("/")[2].strip().casefold()
        if signal.length > 0 and signal.sample_rate > 0:
            if name in signals and name == "current":
                raise FormatError(f"{path}: currents of more than one instrument", hint="export one of them")
            signals.setdefault(name, signal)
    if "current" not in signals:
        raise FormatError(f"{path}: no current in it", hint=f"its signals: {', '.join(signals) or 'none'}")
    rate_hz = float(signals["current"].sample_rate)
    inputs = [signals[name] for name in ("gpi[0]", "gpi[1]", "gpi[2]", "gpi[3]") if name in signals]
    wanted = [signals["current"], *([signals["voltage"]] if "voltage" in signals else []), *inputs]
    if any(signal.sample_rate != rate_hz for signal in wanted):
        raise FormatError(f"{path}: signals of different rates", hint="export them with one rate")
    length = min(signal.length for signal in wanted)
    columns: dict[str, Float] = {"current": _samples(reader, signals["current"].signal_id, length)}
    if "voltage" in signals:
        columns["voltage"] = _samples(reader, signals["voltage"].signal_id, length)
    digital: npt.NDArray[np.uint8] | None = None
    if inputs:
        digital = np.zeros(length, dtype=np.uint8)
        for signal in inputs:
            packed = np.asarray(reader.fsr(signal.signal_id, 0, length), dtype=np.uint8)
            levels = np.unpackbits(packed, bitorder="little")[:length]
            digital |= levels << int(signal.name.rpartition("[")[2].rstrip("]"))
    source = reader.sources.get(signals["current"].source_id)
    info = MeterInfo(
        model=getattr(source, "model", None) or "Joulescope",
        serial=getattr(source, "serial_number", None) or "",
        driver="file",
    )
    return make_trace(path, columns, digital, site=site, voltage_v=voltage_v, rate_hz=rate_hz, info=info, marked=True)


def _samples(reader: Any, signal_id: int, length: int) -> Float:
    """All samples of a float signal, read by chunks."""
    return np.concatenate(
        [
            np.asarray(reader.fsr(signal_id, start, min(CHUNK, length - start)), dtype=np.float64)
            for start in range(0, length, CHUNK)
        ]
    )
