"""Monsoon High Voltage Power Monitor through the vendor's library (``Monsoon``): 5000 samples a second.

Its times are the host's, one per USB packet, so samples are counted instead.  The device counts what it dropped but
does not say where: more than one in a thousand spoil the recording.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hil.errors import MeterError
from hil.meter.drivers.base import Driver, require_within, runs
from hil.meter.drivers.raw import Bytes, Header, RawWriter, blocks
from hil.meter.drivers.vendor import import_vendor, vendor_errors
from hil.meter.errors import GapError, MeterProtocolError, MeterRefused, MeterTimeout
from hil.meter.types import Float, MeterCaps, MeterInfo, Trace, Trigger

RATE_HZ = 5000.0
_VOLT_MIN, _VOLT_MAX = 0.8, 13.5
_FULL_SCALE_A = 6.0
_DROPPED_MAX = 1e-3
_STOP_S = 10.0


class Monsoon(Driver):
    """The monitor with that serial number; the first, where none is given."""

    driver = "monsoon"
    caps = MeterCaps(RATE_HZ, RATE_HZ, measures_voltage=True, supplies_dut=True)

    def __init__(self, address: str = "", *, site: str = "", raw_folder: Path | None = None) -> None:
        super().__init__(address or "monsoon", site=site, raw_folder=raw_folder)
        self._serial = address or None
        self._library: Any = None
        self._device: Any = None
        self._engine: Any = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._failed: MeterError | None = None

    def _connect(self, keep_power: bool) -> MeterInfo:
        hvpm = import_vendor("Monsoon.HVPM", "monsoon")
        self._library = import_vendor("Monsoon.sampleEngine", "monsoon")
        with vendor_errors(f"{self.port}: opening"):
            device = hvpm.Monsoon()
            device.setup_usb(self._serial)
            if getattr(device.Protocol, "DEVICE", None) is None:
                raise MeterRefused(f"{self.port}: no Monsoon is attached", hint="hil meters lists what is")
            self._device = device
            device.fillStatusPacket()
        status = device.statusPacket
        return MeterInfo("Monsoon HVPM", str(status.serialNumber), str(status.firmwareVersion), self.driver)

    def _disconnect(self) -> None:
        if self._thread is not None:
            self._join()
        device, self._device = self._device, None
        if device is not None:
            with vendor_errors(f"{self.port}: closing"):
                device.closeDevice()

    def _set_rate(self, rate_hz: float, range_a: float | None) -> float:
        if range_a is not None:
            require_within(self.port, "range", range_a, 0.0, _FULL_SCALE_A, "A")
        return RATE_HZ

    def _set_supply(self, voltage_v: float | None, limit_a: float | None) -> None:
        if voltage_v is not None:
            require_within(self.port, "voltage", voltage_v, _VOLT_MIN, _VOLT_MAX, "V")
        with vendor_errors(f"{self.port}: supplying"):
            if voltage_v is not None and limit_a is not None:
                self._device.setPowerUpCurrentLimit(limit_a)
                self._device.setRunTimeCurrentLimit(limit_a)
            self._device.setVout(voltage_v or 0.0)

    def _settings(self) -> Mapping[str, Any]:
        return {}

    def _begin(self, trigger: Trigger, raw: RawWriter) -> None:
        library = self._library
        with vendor_errors(f"{self.port}: starting"):
            # Its own handling of errors begins a new recording after a lost connection, without a word.
            self._engine = library.SampleEngine(self._device, errorMode=library.ErrorHandlingModes.off)
            self._engine.ConsoleOutput(False)
            # Sampling ends when the trigger function is true of a sample; here that is when we say so.
            self._engine.setStopTrigger(lambda value, level: self._stopping.is_set(), 0)
        self._stopping.clear()
        self._failed = None
        self._thread = threading.Thread(target=self._sample, name=f"meter {self.port}", daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        try:
            with vendor_errors(f"{self.port}: sampling", quiet=False):
                self._engine.startSampling(self._library.triggers.SAMPLECOUNT_INFINITE)
        except MeterError as error:
            self._failed = error

    def _join(self) -> bool:
        thread, self._thread = self._thread, None
        self._stopping.set()
        assert thread is not None
        thread.join(_STOP_S)
        return not thread.is_alive()

    def _finish(self, raw: RawWriter) -> MeterError | None:
        if not self._join():
            return MeterTimeout(f"{self.port}: still sampling {_STOP_S:g} s after it was stopped", hint="replug it")
        with vendor_errors(f"{self.port}: fetching samples"):
            samples = self._engine.getSamples()
            channels = self._library.channels
            columns = (samples[channels.MainCurrent], samples[channels.MainVoltage])
            table = np.array([column[: min(map(len, columns))] for column in columns], dtype="<f8")
            raw.block({"dropped": int(self._engine.dropped)}, table.tobytes())
        return self._failed

    def _decode(self, header: Header, data: Bytes) -> Trace:
        return decode(header, data)


def decode(header: Header, data: Bytes) -> Trace:
    """The trace in the block of a recording: milliamperes, then volts.  Raises MeterError."""
    dropped, parts = 0, []
    try:
        for meta, payload in blocks(data):
            dropped += int(meta["dropped"])
            parts.append(np.frombuffer(payload, "<f8").reshape(2, -1))
    except (KeyError, TypeError, ValueError) as error:
        raise MeterProtocolError(f"not a recording of a Monsoon: {error!r}"[:200]) from error
    table: Float = np.concatenate([*parts, np.empty((2, 0))], axis=1)
    current, voltage = table[0] * 1e-3, table[1]
    if dropped > _DROPPED_MAX * current.size:
        raise GapError(
            f"the Monsoon dropped {dropped} of {current.size + dropped} samples and does not say where",
            hint="use another USB port or a quieter host",
        )
    clipped = runs(np.abs(current) >= _FULL_SCALE_A)
    return Trace(
        header.site,
        current,
        voltage,
        dt_s=1 / RATE_HZ,
        clipped=sum(stop - start for start, stop in clipped),
        clipped_at=clipped,
        info=header.info,
        notes=(f"{dropped} samples were dropped, it is not known where",) if dropped else (),
    )
