"""Monsoon High Voltage Power Monitor through the vendor's library (``Monsoon``): 5000 samples a second.

The library's times are the host's, one per USB packet, so samples are counted instead.  What it does not hand on is
seen in the packets that pass by: how many samples the device dropped before each packet, which are gaps, and which it
used to calibrate itself, in place of measured ones.  A few of those are bridged where both sides agree, as no current
is known for them; otherwise they are gaps too.  (The library's own ``dropped`` is that of the last row of a batch,
which is an empty one where packets hold two or three samples.)
"""

from __future__ import annotations

import errno
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from hil.errors import MeterError, UnavailableError
from hil.meter.drivers.base import Driver, require_within, runs
from hil.meter.drivers.raw import Bytes, Header, RawWriter, blocks
from hil.meter.drivers.vendor import import_vendor, vendor_errors
from hil.meter.errors import MeterLost, MeterProtocolError, MeterRefused, MeterTimeout
from hil.meter.types import Float, Gap, MeterCaps, MeterInfo, Trace, Trigger

RATE_HZ = 5000.0
_VOLT_MIN, _VOLT_MAX = 0.8, 13.5
_FULL_SCALE_A = 6.0
_STOP_S = 10.0
_CALIBRATION_S = 10.0  # the library begins when it has five calibrations of each kind
# Packets, as in the library's ``swizzlePacket``: count of dropped samples, flags, number of samples; then the samples.
_HEAD = struct.Struct("<HBB")
_SAMPLE_BYTES, _KIND_AT, _KIND, _MEASURED = 18, 17, 0x30, 0x00
_COUNTER = 1 << 16
_BRIDGED, _AGREE = 4, 0.25  # so many calibrations in a row, and how far the currents beside them may be apart
_LOST = (errno.ENODEV, errno.EIO, errno.ESHUTDOWN)


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
        self._tap: _Tap | None = None
        self._thread: threading.Thread | None = None
        self._running, self._stopping = threading.Event(), threading.Event()
        self._failed: MeterError | None = None

    def _connect(self, keep_power: bool) -> MeterInfo:
        hvpm = import_vendor("Monsoon.HVPM", "monsoon")
        self._library = import_vendor("Monsoon.sampleEngine", "monsoon")
        with _usb_errors(f"{self.port}: opening"):
            device = hvpm.Monsoon()
            device.setup_usb(self._serial)
            if getattr(device.Protocol, "DEVICE", None) is None:
                there = ", ".join(device.enumerateDevices())
                what = f"no Monsoon with the serial number {self._serial}" if self._serial and there else "no Monsoon"
                raise MeterRefused(f"{self.port}: {what} is attached", hint=f"there: {there or 'none'}")
            self._device = device
            device.fillStatusPacket()
        status = device.statusPacket
        if status.hardwareModel != hvpm.op.HardwareModel.HVPM:
            raise MeterRefused(
                f"{self.port}: serial number {status.serialNumber} is not a High Voltage Power Monitor",
                hint="the older, low-voltage monitor is not supported",
            )
        return MeterInfo("Monsoon HVPM", str(status.serialNumber), str(status.firmwareVersion), self.driver)

    def _disconnect(self) -> None:
        if self._thread is not None:
            self._join()
        device, self._device = self._device, None
        if device is not None:
            # Of one that is gone nothing is left to close, and of one that failed the failure was told.
            with suppress(MeterError if self._failed else MeterLost), _usb_errors(f"{self.port}: closing"):
                device.closeDevice()

    def _set_rate(self, rate_hz: float, range_a: float | None) -> float:
        if range_a is not None:
            require_within(self.port, "range", range_a, 0.0, _FULL_SCALE_A, "A")
        return RATE_HZ

    def _set_supply(self, voltage_v: float | None, limit_a: float | None) -> None:
        if voltage_v is not None:
            require_within(self.port, "voltage", voltage_v, _VOLT_MIN, _VOLT_MAX, "V")
        with _usb_errors(f"{self.port}: supplying"):
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
        self._running.clear()
        self._stopping.clear()
        self._tap = _Tap(self._device, self._engine, self._running, self._stopping)
        self._thread = threading.Thread(target=self._sample, name=f"meter {self.port}", daemon=True)
        self._thread.start()
        if not self._running.wait(_CALIBRATION_S) or self._failed:
            self._join()
            raise self._failed or MeterTimeout(
                f"{self.port}: not calibrated within {_CALIBRATION_S:g} s", hint="switch it off and on"
            )

    def _sample(self) -> None:
        self._failed = None
        try:
            with _usb_errors(f"{self.port}: sampling", quiet=False):
                self._engine.startSampling(self._library.triggers.SAMPLECOUNT_INFINITE)
        except MeterError as error:
            self._failed = error
            with suppress(MeterError), _usb_errors(f"{self.port}: stopping", quiet=False):
                self._device.stopSampling()
        finally:
            self._running.set()  # nobody shall wait for it any more

    def _join(self) -> bool:
        thread, self._thread = self._thread, None
        self._stopping.set()
        assert thread is not None
        thread.join(_STOP_S)
        return not thread.is_alive()

    def _trouble(self) -> MeterError | None:
        return self._failed

    def _finish(self, raw: RawWriter) -> MeterError | None:
        if not self._join():
            return MeterTimeout(f"{self.port}: still sampling {_STOP_S:g} s after it was stopped", hint="replug it")
        tap, channels = self._tap, self._library.channels
        assert tap is not None
        with vendor_errors(f"{self.port}: fetching samples"):
            samples = tap.fetch()
            columns = (samples[channels.MainCurrent], samples[channels.MainVoltage])
            table = np.array([column[: min(map(len, columns))] for column in columns], dtype="<f8")
            places: dict[str, Any] = {
                name: [place for place in missing.items() if 0 < place[0] < table.shape[1]]
                for name, missing in (("lost", tap.lost), ("calibrations", tap.calibrations))
            }
            raw.block({"dropped": 0, **places}, table.tobytes())
        return self._failed

    def _decode(self, header: Header, data: Bytes) -> Trace:
        return decode(header, data)


class _Tap:
    """Sees the packets on their way from the device to the library's engine.

    How many samples are missing before the n-th of those that the engine keeps, by n: ``lost`` are those that the
    device dropped, ``calibrations`` those that it used for itself.
    """

    def __init__(self, device: Any, engine: Any, running: threading.Event, stopping: threading.Event) -> None:
        self.lost: dict[int, int] = {}
        self.calibrations: dict[int, int] = {}
        self._running, self._stopping = running, stopping
        self._samples = 0
        self._counter: int | None = None
        # Of the class, not of the object: that may have the tap of an earlier recording.
        self._read = type(device).BulkRead.__get__(device)
        self.fetch = engine.getSamples
        device.BulkRead, engine.getSamples = self._bulk_read, self._calibrated

    def _calibrated(self) -> Any:
        """The engine asks for its own samples once, to empty its lists: what it keeps begins here."""
        self.lost, self.calibrations, self._samples = {}, {}, 0
        samples = self.fetch()
        self._running.set()
        return samples

    def _bulk_read(self) -> Any:
        if self._stopping.is_set() and not self._running.is_set():
            raise MeterTimeout("stopped before it was calibrated")  # the engine would go on for ever
        packet = self._read()
        data = bytes(packet)
        counter, _, count = _HEAD.unpack_from(data)
        if self._counter is not None and (dropped := (counter - self._counter) % _COUNTER):
            self.lost[self._samples] = self.lost.get(self._samples, 0) + dropped
        self._counter = counter
        for start in range(_HEAD.size, _HEAD.size + count * _SAMPLE_BYTES, _SAMPLE_BYTES):
            if data[start + _KIND_AT] & _KIND == _MEASURED:
                self._samples += 1
            else:
                self.calibrations[self._samples] = self.calibrations.get(self._samples, 0) + 1
        return packet


@contextmanager
def _usb_errors(where: str, *, quiet: bool = True) -> Iterator[None]:
    """As ``vendor_errors``, and errors of USB by their names.  Raises MeterLost, MeterTimeout, UnavailableError."""
    core = import_vendor("usb.core", "monsoon")
    with vendor_errors(where, quiet=quiet):
        try:
            yield
        except core.NoBackendError as error:
            raise UnavailableError(
                f"{where}: libusb is not installed", hint="install libusb 1.0, on Debian: apt install libusb-1.0-0"
            ) from error
        except core.USBTimeoutError as error:
            raise MeterTimeout(f"{where}: nothing came for a second", hint="is it still switched on?") from error
        except core.USBError as error:
            if error.errno in _LOST:
                raise MeterLost(f"{where}: the device went away: {error.strerror}", hint="replug it") from error
            if error.errno == errno.EACCES:
                raise MeterRefused(
                    f"{where}: no permission for the USB device", hint="a udev rule for 2ab9:0001 gives it"
                ) from error
            raise


def decode(header: Header, data: Bytes) -> Trace:
    """The trace in the blocks of a recording: milliamperes, then volts.  Raises MeterError."""
    dropped = 0
    parts: list[Float] = []
    lost: dict[int, int] = {}
    calibrations: dict[int, int] = {}
    try:
        for meta, payload in blocks(data):
            dropped += int(meta["dropped"])
            first = sum(part.shape[1] for part in parts)
            part = np.frombuffer(payload, "<f8").reshape(2, -1)
            for name, missing in (("lost", lost), ("calibrations", calibrations)):
                for index, count in meta.get(name, ()):
                    if not (0 < int(index) < part.shape[1] and int(count) > 0):
                        raise ValueError(f"{count} of {name} before sample {index}")
                    missing[first + int(index)] = int(count)
            parts.append(part)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise MeterProtocolError(f"not a recording of a Monsoon: {error!r}"[:200]) from error
    table: Float = np.concatenate([*parts, np.empty((2, 0))], axis=1)
    table, gaps, bridged = _bridge(table, lost, calibrations)
    current, voltage = table[0] * 1e-3, table[1]
    clipped = runs(np.abs(current) >= _FULL_SCALE_A)
    told = (
        (sum(lost.values()), "samples were dropped"),
        (dropped, "samples were dropped, it is not known where"),
        (bridged, "samples were used for calibration, the mean of their neighbours stands in"),
    )
    return Trace(
        header.site,
        current,
        voltage,
        dt_s=1 / RATE_HZ,
        gaps=gaps,
        clipped=sum(stop - start for start, stop in clipped),
        clipped_at=clipped,
        unplaced=dropped,
        info=header.info,
        notes=tuple(f"{count} {what}" for count, what in told if count),
    )


def _bridge(
    table: Float, lost: Mapping[int, int], calibrations: Mapping[int, int]
) -> tuple[Float, tuple[Gap, ...], int]:
    """The samples, shape ``[2, n]``, with calibrations bridged where that is safe; what is still missing; and how many
    were bridged."""
    filled: dict[int, int] = {}
    for index, count in calibrations.items():
        before, after = table[0, index - 1], table[0, index]
        agree = abs(after - before) <= _AGREE * max(abs(before), abs(after))
        if count <= _BRIDGED and index not in lost and agree:
            filled[index] = count
    at = np.repeat(np.array([*filled], np.int64), np.array([*filled.values()], np.int64))
    bridged: Float = np.insert(table, at, (table[:, at - 1] + table[:, at]) / 2, axis=1)
    gaps = []
    for index in sorted({*lost, *calibrations} - {*filled}):
        ahead = int(np.searchsorted(at, index))
        gaps.append(Gap(index + ahead, lost.get(index, 0) + calibrations.get(index, 0)))
    return bridged, tuple(gaps), at.size
