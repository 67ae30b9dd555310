"""Joulescope JS110 and JS220 through the vendor's driver (``pyjoulescope_driver``).

Current, voltage and the general-purpose inputs come as streams of blocks, each with the number of its first sample, so
what is missing shows; samples that the device marks as lost are not-a-number and count as missing too.  Inputs are
packed, eight samples to a byte, the first in the lowest bit.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hil.errors import HilError, MeterError
from hil.meter.drivers.base import Driver, require_within, runs
from hil.meter.drivers.raw import Bytes, Header, RawWriter, blocks
from hil.meter.drivers.vendor import import_vendor, vendor_errors
from hil.meter.errors import MeterProtocolError, MeterTimeout, SettingError
from hil.meter.types import Float, Gap, MeterCaps, MeterInfo, Trace, Trigger

_RATES_HZ = (1e3, 2e3, 5e3, 10e3, 20e3, 50e3, 100e3, 200e3, 500e3, 1e6, 2e6)
_MODELS: dict[str, tuple[float, int, Mapping[str, str]]] = {  # highest rate, inputs, what makes the ranges automatic
    "js110": (2e6, 2, {"s/i/range/select": "auto", "s/v/range/select": "15 V"}),
    "js220": (1e6, 4, {"s/i/range/mode": "auto", "s/v/range/mode": "auto"}),
}
_FULL_SCALE_A = 10.0
_SILENT_S = 2.0


class Joulescope(Driver):
    """The Joulescope with that serial number; the only one, where none is given."""

    driver = "joulescope"
    caps = MeterCaps(_RATES_HZ[0], 2e6, measures_voltage=True, supplies_dut=False, digital_inputs=4, numbered=True)

    def __init__(self, address: str = "", *, site: str = "", raw_folder: Path | None = None) -> None:
        super().__init__(address or "joulescope", site=site, raw_folder=raw_folder)
        self._serial = address
        self._driver: Any = None
        self._path = ""
        self._last_s = 0.0
        self._failed: HilError | None = None
        self._streams: dict[str, str] = {}  # data topic to signal
        self._writer: RawWriter | None = None
        self._callback = self._on_data  # one object, for unsubscribing

    def _connect(self, keep_power: bool) -> MeterInfo:
        library = import_vendor("pyjoulescope_driver", "joulescope")
        with vendor_errors(f"{self.port}: opening"):
            self._driver = library.Driver()
            paths = list(self._driver.device_paths())
            matching = [path for path in paths if path.lower().endswith(self._serial.lower())]
            if len(matching) != 1:
                raise SettingError(
                    f"{self.port}: which Joulescope? {len(matching)} match", hint=f"there: {', '.join(paths) or 'none'}"
                )
            path = matching[0]
            model = path.split("/")[1]
            if model not in _MODELS:
                raise SettingError(f"{self.port}: a {model} is not supported", hint=f"supported: {', '.join(_MODELS)}")
            rate_max_hz, inputs, ranges = _MODELS[model]
            # "restore" takes the device as it stands; "defaults" sets it anew, which interrupts the board's supply.
            self._driver.open(path, mode="restore" if keep_power else "defaults")
            self._path = path
            for topic, value in {} if keep_power else ranges.items():
                self._driver.publish(f"{path}/{topic}", value)
        self.caps = replace(self.caps, rate_max_hz=rate_max_hz, digital_inputs=inputs)
        return MeterInfo(model.upper(), path.split("/")[-1], driver=self.driver)

    def _disconnect(self) -> None:
        driver, self._driver = self._driver, None
        if driver is None:
            return
        with vendor_errors(f"{self.port}: closing"):
            if self._path:
                driver.close(self._path)
            driver.finalize()
        self._path = ""

    def _set_rate(self, rate_hz: float, range_a: float | None) -> float:
        if range_a is not None:
            require_within(self.port, "range", range_a, 0.0, _FULL_SCALE_A, "A")
        actual_hz = next(rate for rate in _RATES_HZ if rate >= rate_hz * (1 - 1e-9))
        with vendor_errors(f"{self.port}: setting the rate"):
            self._driver.publish(f"{self._path}/h/fs", int(actual_hz))
        return actual_hz

    def _set_supply(self, voltage_v: float | None, limit_a: float | None) -> None:
        raise AssertionError("it supplies no board")

    def _settings(self) -> Mapping[str, Any]:
        return {"inputs": self.caps.digital_inputs}

    def _begin(self, trigger: Trigger, raw: RawWriter) -> None:
        signals = ["i", "v", *(f"gpi/{bit}" for bit in range(self.caps.digital_inputs))]
        self._streams = {f"{self._path}/s/{signal}/!data": signal for signal in signals}
        self._writer, self._failed, self._last_s = raw, None, time.monotonic()
        with vendor_errors(f"{self.port}: starting"):
            for topic in self._streams:
                self._driver.subscribe(topic, ["pub"], self._callback)
            for signal in signals:
                self._driver.publish(f"{self._path}/s/{signal}/ctrl", 1)

    def _finish(self, raw: RawWriter) -> MeterError | None:
        silent_s = time.monotonic() - self._last_s
        with vendor_errors(f"{self.port}: stopping"):
            for signal in self._streams.values():
                self._driver.publish(f"{self._path}/s/{signal}/ctrl", 0)
            for topic in self._streams:
                self._driver.unsubscribe(topic, self._callback)
        self._writer = None
        if isinstance(self._failed, MeterError):
            return self._failed
        if silent_s > _SILENT_S:
            return MeterTimeout(f"{self.port}: no sample for the last {silent_s:.3g} s", hint="is it still attached?")
        return None

    def _on_data(self, topic: str, value: Mapping[str, Any]) -> None:
        """In a thread of the library, which must see no exception."""
        writer, data = self._writer, value["data"]
        if writer is None or data is None or topic not in self._streams:
            return
        meta = {"signal": self._streams[topic], "dtype": data.dtype.str}
        numbers = {name: int(value[name]) for name in ("sample_id", "decimate_factor", "sample_rate")}
        try:
            writer.block(meta | numbers, np.ascontiguousarray(data).tobytes())
            self._last_s = time.monotonic()
        except MeterError as error:
            self._failed = error

    def _decode(self, header: Header, data: Bytes) -> Trace:
        return decode(header, data)


def decode(header: Header, data: Bytes) -> Trace:
    """The trace in the blocks of a recording.  Raises MeterError."""
    streams: dict[str, list[tuple[int, Float]]] = {}
    try:
        for meta, payload in blocks(data):
            signal, step = str(meta["signal"]), int(meta["decimate_factor"])
            values = np.frombuffer(payload, np.dtype(meta["dtype"]))
            if signal.startswith("gpi/"):
                values = np.unpackbits(values, bitorder="little")
            streams.setdefault(signal, []).append((int(meta["sample_id"]) // step, values.astype(np.float64)))
    except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
        raise MeterProtocolError(f"not a recording of a Joulescope: {error!r}"[:200]) from error
    if not streams.keys() >= {"i", "v"}:
        raise MeterProtocolError("the recording has no current or no voltage", hint="was it long enough?")
    # Only where both were running; a stream starts up to a block after the other.
    first = max(streams[signal][0][0] for signal in ("i", "v"))
    end = min(number + values.size for signal in ("i", "v") for number, values in streams[signal][-1:])
    received = sum(values.size for _, values in streams["i"])
    if not 0 <= first < end or end - first > 100 * received + 1_000_000:
        raise MeterProtocolError(f"samples {first} to {end}, of which {received} came", hint="the recording is damaged")
    placed = {signal: _placed(chunks, first, end) for signal, chunks in streams.items()}
    there = np.isfinite(placed["i"]) & np.isfinite(placed["v"])
    digital = np.zeros(end - first, np.uint8)
    for bit in range(int(header.setting("inputs", int))):
        digital |= (placed.get(f"gpi/{bit}", np.zeros(1)) == 1).astype(np.uint8) << bit
    index: npt.NDArray[np.int64] = np.cumsum(there) - there  # of each sample among those that are there
    gaps = tuple(Gap(int(index[start]), stop - start) for start, stop in runs(~there))
    missing = sum(gap.missing for gap in gaps)
    current = placed["i"][there]
    clipped = runs(np.abs(current) >= _FULL_SCALE_A)
    return Trace(
        header.site,
        current,
        placed["v"][there],
        dt_s=1 / header.rate_hz,
        digital=digital[there],
        gaps=gaps,
        clipped=sum(stop - start for start, stop in clipped),
        clipped_at=clipped,
        info=header.info,
        notes=(f"{missing} samples lost in {len(gaps)} gaps",) if gaps else (),
    )


def _placed(chunks: list[tuple[int, Float]], first: int, end: int) -> Float:
    """Samples at their numbers, not-a-number where none came."""
    result = np.full(end - first, np.nan)
    for number, values in chunks:
        start, stop = max(number, first), min(number + values.size, end)
        if start < stop:
            result[start - first : stop - first] = values[start - number : stop - number]
    return result
