"""What all drivers have in common: the order of calls, and that a trace is decoded from its raw recording."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from hil.errors import MeterError
from hil.meter.drivers.raw import Bytes, Header, RawWriter, read_raw
from hil.meter.errors import MeterProtocolError, MeterRefused, NotSupported, SettingError
from hil.meter.trace import checked
from hil.meter.types import Gap, MeterCaps, MeterInfo, Trace, Trigger

Decoder = Callable[[Header, Bytes], Trace]
_HUSH_S = 0.5
SILENT_SAMPLES = 5  # so many periods without a sample are no silence yet


class Driver(ABC):
    """An instrument at an address; a subclass adds how to talk to it."""

    driver: ClassVar[str]
    caps: MeterCaps
    usb_serial = ""  # of its port: its serial number where it does not tell one itself

    def __init__(self, address: str, *, site: str = "", raw_folder: Path | None = None) -> None:
        self.port = address
        self.site = site
        self.info = MeterInfo(self.driver, driver=self.driver)
        self._raw_folder = raw_folder
        self._is_open = False
        self._rate_hz: float | None = None
        self._raw: RawWriter | None = None
        self.recording: Path | None = None  # the raw bytes of the last recording
        self._silent_s = 0.0  # how long nothing came before the stop, as ``_finish`` saw it

    # What a subclass says.

    @abstractmethod
    def _connect(self, keep_power: bool) -> MeterInfo:
        """Find out who is there, without touching the supply where ``keep_power``."""

    @abstractmethod
    def _disconnect(self) -> None:
        """Let go.  May be called more than once, and after a ``_connect`` that failed."""

    @abstractmethod
    def _set_rate(self, rate_hz: float, range_a: float | None) -> float: ...

    @abstractmethod
    def _set_supply(self, voltage_v: float | None, limit_a: float | None) -> None: ...

    @abstractmethod
    def _settings(self) -> Mapping[str, Any]:
        """What the decoder needs.  Raises SettingError where it is not known."""

    @abstractmethod
    def _begin(self, trigger: Trigger, raw: RawWriter) -> None:
        """Start the acquisition; what it yields goes to ``raw``."""

    @abstractmethod
    def _finish(self, raw: RawWriter) -> MeterError | None:
        """End the acquisition when all of it is in ``raw``; what went wrong, if the bytes themselves do not say it."""

    def _trouble(self) -> MeterError | None:
        """What is wrong with the acquisition that runs, as far as it shows."""
        return None

    @abstractmethod
    def _decode(self, header: Header, data: Bytes) -> Trace: ...

    # What a user calls.

    def open(self, *, keep_power: bool = True) -> None:
        if self._is_open:
            return
        try:
            info = self._connect(keep_power)
            self.info = info if info.serial else replace(info, serial=self.usb_serial)
            self._is_open = True
        finally:
            if not self._is_open:
                with suppress(MeterError):  # it would hide why it cannot be opened
                    self._disconnect()

    def configure(self, rate_hz: float, range_a: float | None = None) -> float:
        self._require_idle("configured")
        if not 0 < rate_hz <= self.caps.rate_max_hz:
            raise NotSupported(
                f"{self.port}: {rate_hz:g} Hz asked for; {self.info.model} takes "
                f"{self.caps.rate_min_hz:g} to {self.caps.rate_max_hz:g} Hz",
                hint="ask for a lower rate",
            )
        self._rate_hz = self._set_rate(rate_hz, range_a)
        return self._rate_hz

    def supply(self, voltage_v: float | None, limit_a: float | None = None) -> None:
        self._require_idle("told to supply")
        if not self.caps.supplies_dut:
            raise NotSupported(f"{self.port}: {self.info.model} supplies no board", hint="supply it by other means")
        self._set_supply(voltage_v, limit_a)

    def start(self, trigger: Trigger = "software") -> None:
        self._require_idle("started")
        if trigger == "hardware" and not self.caps.hw_trigger:
            raise NotSupported(f"{self.port}: {self.info.model} has no hardware trigger", hint="start it by software")
        if self._rate_hz is None:
            raise SettingError(f"{self.port}: started before it was configured", hint="call configure first")
        header = Header(self.driver, self.port, self.site, self._rate_hz, self.info, self._settings())
        raw = RawWriter(header, self._raw_folder)
        self.recording, self._silent_s = raw.path, 0.0
        try:
            self._begin(trigger, raw)
            self._raw = raw
        finally:
            if self._raw is None:
                raw.close()

    def problem(self) -> MeterError | None:
        return self._trouble() if self._raw is not None else None

    def stop(self) -> Trace:
        raw, self._raw = self._raw, None
        if raw is None:
            raise SettingError(f"{self.port}: stopped before it was started", hint="call start first")
        try:
            problem = self._finish(raw)
        finally:
            raw.close()
        try:
            trace = decode_file(raw.path, self._decode)
        except MeterRefused:
            raise  # the instrument's own word says more than that it fell silent
        except MeterError as error:
            raise problem or error from None
        if problem is not None:
            raise problem
        if self._silent_s > max(_HUSH_S, SILENT_SAMPLES / (self._rate_hz or 1.0)):
            note = f"the instrument stopped sending {self._silent_s:.2g} s before it was stopped: the trace ends there"
            trace = replace(trace, notes=(*trace.notes, note))
        return trace

    def close(self) -> None:
        raw, self._raw = self._raw, None
        try:
            self._disconnect()
        finally:
            self._is_open, self._rate_hz = False, None
            if raw is not None:
                raw.close()

    # What a subclass uses.

    def _require_idle(self, what: str) -> None:
        if not self._is_open:
            raise SettingError(f"{self.port}: {what} before it was opened", hint="call open first")
        if self._raw is not None:
            raise SettingError(f"{self.port}: {what} while it records", hint="stop it first")


def decode_file(path: Path, decoder: Decoder) -> Trace:
    """The trace in a raw recording.  Raises MeterError."""
    header, data = read_raw(path)
    trace = decoder(header, data)
    if trace.current_a.size < 2:
        count = "one sample" if trace.current_a.size else "no sample"
        raise MeterProtocolError(f"{path}: {count} in {data.size} bytes", hint="was it triggered?")
    return checked(replace(trace, raw=str(path)))


def between_samples(gaps: Iterable[Gap], samples: int) -> tuple[int, tuple[Gap, ...]]:
    """How many samples are missing before the first one, and the gaps behind it, one per place.

    What is missing behind the last sample is outside the trace.
    """
    missing: dict[int, int] = {}
    for gap in gaps:
        missing[gap.index] = missing.get(gap.index, 0) + gap.missing
    return missing.get(0, 0), tuple(Gap(at, missing[at]) for at in sorted(missing) if 0 < at < samples)


def runs(mask: npt.NDArray[np.bool_]) -> tuple[tuple[int, int], ...]:
    """Where a mask is true, as ``(start, stop)``."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return tuple((int(start), int(stop)) for start, stop in edges.reshape(-1, 2))


def refuse_limit(port: str, limit_a: float | None) -> None:
    if limit_a is not None:
        raise NotSupported(f"{port}: a current limit of {limit_a:g} A asked for; it cannot be set", hint="leave it out")


def require_within(port: str, what: str, value: float, low: float, high: float, unit: str) -> None:
    if not low <= value <= high:
        raise NotSupported(f"{port}: {what} {value:g} {unit} asked for, {low:g} to {high:g} {unit} possible")
