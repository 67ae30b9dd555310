"""Joulescope JS110 and JS220 through the vendor's driver (``pyjoulescope_driver``).

Current, voltage and the general-purpose inputs come as streams of blocks.  A block says how often the instrument counts
(``sample_rate``), the count at its first sample (``sample_id``), and how many counts there are between two samples
(``decimate_factor``), so what is missing shows, and so does a rate other than the one asked for.  The rate asked for is
that of current and voltage; inputs may come at another one (the JS220's at the full 2 MHz: ``js220_usb.c`` of the
vendor's driver).  Samples that the device marks as lost are not-a-number and count as missing too.  Inputs are packed,
eight samples to a byte, the first in the lowest bit.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hil.errors import MeterError
from hil.meter.drivers.base import Driver, between_samples, require_within, runs
from hil.meter.drivers.raw import Bytes, Header, RawWriter, blocks
from hil.meter.drivers.vendor import import_vendor, vendor_errors
from hil.meter.errors import MeterProtocolError, MeterRefused, MeterTimeout, SettingError
from hil.meter.types import Gap, MeterCaps, MeterInfo, Trace, Trigger

_RATES_HZ = (1e3, 2e3, 5e3, 10e3, 20e3, 50e3, 100e3, 200e3, 500e3, 1e6, 2e6)
_MODELS: dict[str, tuple[float, int, Mapping[str, str]]] = {  # highest rate, inputs, what makes the ranges automatic
    "js110": (2e6, 2, {"s/i/range/select": "auto", "s/v/range/select": "15 V"}),
    "js220": (1e6, 4, {"s/i/range/mode": "auto", "s/v/range/mode": "auto"}),
}
_FULL_SCALE_A = 10.0
_SILENT_S = 2.0
_COUNT_MAX_HZ = 100_000_000
_RATE_SLACK = 1e-9


class Joulescope(Driver):
    """The Joulescope with that serial number; the only one, where none is given."""

    driver = "joulescope"
    caps = MeterCaps(_RATES_HZ[0], 2e6, measures_voltage=True, supplies_dut=False, digital_inputs=4)

    def __init__(self, address: str = "", *, site: str = "", raw_folder: Path | None = None) -> None:
        super().__init__(address or "joulescope", site=site, raw_folder=raw_folder)
        self._serial = address
        self._driver: Any = None
        self._path = ""
        self._last_s = 0.0
        self._failed: MeterError | None = None
        self._streams: dict[str, str] = {}  # data topic to signal
        self._writer: RawWriter | None = None
        self._callback = self._on_data  # one object, for unsubscribing

    def _connect(self, keep_power: bool) -> MeterInfo:
        library = import_vendor("pyjoulescope_driver", "joulescope")
        with vendor_errors(f"{self.port}: opening"):
            self._driver = library.Driver()
            paths = list(self._driver.device_paths())
            if not paths:
                raise MeterRefused(f"{self.port}: no Joulescope is attached", hint="hil meters lists what is")
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
        path, self._path = self._path, ""
        if driver is None:
            return
        with vendor_errors(f"{self.port}: closing"):
            try:
                if path:
                    driver.close(path)
            finally:
                driver.finalize()

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
        problem = self._trouble()
        self._silent_s = time.monotonic() - self._last_s
        with vendor_errors(f"{self.port}: stopping"):
            for signal in self._streams.values():
                self._driver.publish(f"{self._path}/s/{signal}/ctrl", 0)
            for topic in self._streams:
                self._driver.unsubscribe(topic, self._callback)
        self._writer = None
        return self._failed or problem

    def _trouble(self) -> MeterError | None:
        if self._failed is not None:
            return self._failed
        silent_s = time.monotonic() - self._last_s
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


@dataclass(frozen=True, slots=True)
class _Block:
    """``values`` of samples, shape ``[n]``: at the counts ``first``, ``first + step`` and so on."""

    first: int
    step: int
    values: npt.NDArray[Any]

    @property
    def end(self) -> int:
        return self.first + self.step * self.values.size


def decode(header: Header, data: Bytes) -> Trace:
    """The trace in the blocks of a recording, at the rate that they say.  Raises MeterError."""
    streams, counts_hz = _streams(data)
    if not streams.keys() >= {"i", "v"}:
        raise MeterProtocolError("the recording has no current or no voltage", hint="was it long enough?")
    steps = {block.step for signal in ("i", "v") for block in streams[signal]}
    if len(steps) > 1 or len(counts_hz) > 1:
        raise MeterProtocolError(
            f"the rate changes in the recording: every {sorted(steps)} counts at {sorted(counts_hz)} Hz",
            hint="record again, and let no other program set the Joulescope meanwhile",
        )
    (step,), (count_hz,) = steps, counts_hz
    rate_hz = count_hz / step
    # Only where both were running; a stream starts up to a block after the other.
    first = max(streams[signal][0].first for signal in ("i", "v")) // step
    end = min(streams[signal][-1].end for signal in ("i", "v")) // step
    received = sum(block.values.size for block in streams["i"])
    if not 0 <= first < end or end - first > 100 * received + 1_000_000:
        raise MeterProtocolError(f"samples {first} to {end}, of which {received} came", hint="the recording is damaged")
    current, voltage = (_placed(streams[signal], first, end, step) for signal in ("i", "v"))
    there = np.isfinite(current) & np.isfinite(voltage)
    digital = np.zeros(end - first, np.uint8)
    for bit in range(int(header.setting("inputs", int))):
        digital |= (_placed(streams.get(f"gpi/{bit}", []), first, end, step) == 1).astype(np.uint8) << bit
    index: npt.NDArray[np.int64] = np.cumsum(there) - there  # of each sample among those that are there
    before, gaps = between_samples((Gap(int(index[a]), b - a) for a, b in runs(~there)), int(there.sum()))
    current = current[there]
    clipped = runs(np.abs(current) >= _FULL_SCALE_A)
    notes = [f"{sum(gap.missing for gap in gaps)} samples lost in {len(gaps)} gaps"] if gaps else []
    if abs(rate_hz / header.rate_hz - 1) > _RATE_SLACK:
        notes.append(f"{header.rate_hz:g} Hz asked for, {rate_hz:g} Hz came")
    return Trace(
        header.site,
        current,
        voltage[there],
        dt_s=1 / rate_hz,
        t0_s=before / rate_hz,
        digital=digital[there],
        gaps=gaps,
        clipped=sum(stop - start for start, stop in clipped),
        clipped_at=clipped,
        info=header.info,
        notes=tuple(notes),
    )


def _streams(data: Bytes) -> tuple[dict[str, list[_Block]], set[int]]:
    """The blocks of each signal, and how often the instrument counts, hertz.  Raises MeterProtocolError."""
    streams: dict[str, list[_Block]] = {}
    counts_hz: set[int] = set()
    try:
        for meta, payload in blocks(data):
            signal, step, count_hz = str(meta["signal"]), int(meta["decimate_factor"]), int(meta["sample_rate"])
            if not (
                0 < step <= _COUNT_MAX_HZ and 0 < count_hz <= _COUNT_MAX_HZ and 0 <= int(meta["sample_id"]) < 2**63
            ):
                raise ValueError(f"every {step} counts at {count_hz} Hz, from {meta['sample_id']}")
            values = np.frombuffer(payload, np.dtype(meta["dtype"]))
            values = (
                np.unpackbits(values, bitorder="little") if signal.startswith("gpi/") else values.astype(np.float32)
            )
            streams.setdefault(signal, []).append(_Block(int(meta["sample_id"]), step, values))
            counts_hz.add(count_hz)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise MeterProtocolError(f"not a recording of a Joulescope: {error!r}"[:200]) from error
    return streams, counts_hz


def _placed(stream: list[_Block], first: int, end: int, step: int) -> npt.NDArray[np.float32]:
    """What a stream says at the counts ``first * step`` to ``end * step``, every ``step``: the sample in whose time
    that count lies, not-a-number where none came."""
    result = np.full(end - first, np.nan, np.float32)
    for block in stream:
        # Blocks that are decimated alike are numbered alike, whatever the rest of their division by the step.
        start = block.first // step if block.step == step else -(-block.first // step)
        stop = start + block.values.size if block.step == step else -(-block.end // step)
        start, stop = max(start, first), min(stop, end)
        if start < stop:
            if block.step == step:
                values = block.values[start - block.first // step :][: stop - start]
            else:
                values = block.values[(np.arange(start, stop) * step - block.first) // block.step]
            result[start - first : stop - first] = values
    return result
