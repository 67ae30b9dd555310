"""A raw recording as a meter: what an instrument sent then, through the decoder of now."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

from hil.errors import did_you_mean
from hil.meter.drivers.base import Decoder, decode_file
from hil.meter.drivers.raw import Header, read_raw
from hil.meter.errors import FormatError, NotSupported, SettingError
from hil.meter.types import MeterCaps, MeterInfo, Trace, Trigger

# The decoder of each driver: its module's ``decode``.
DECODERS = ("ppk2", "lpm01a", "stlink_v3pwr", "ina2xx", "joulescope", "otii", "monsoon")


def decoder_of(driver: str) -> Decoder:
    """The decoder of a driver's recordings.  Raises FormatError."""
    if driver not in DECODERS:
        raise FormatError(f"no decoder for recordings of '{driver}'", hint=did_you_mean(driver, DECODERS))
    decode: Decoder = importlib.import_module(f"hil.meter.drivers.{driver}").decode
    return decode


def decode_recording(path: Path) -> Trace:
    """The trace in a raw recording, named by either of its two files.  Raises MeterError."""
    header, _ = read_raw(path)
    return decode_file(path, decoder_of(header.driver))


class Replay:
    """A recording behind the protocol of meters: it takes the rate it was made at, and plays once for each start."""

    def __init__(self, path: str, *, site: str = "") -> None:
        self._path = Path(path)
        self._site = site
        self._header: Header | None = None
        self._started = False

    @property
    def info(self) -> MeterInfo:
        return self._header.info if self._header is not None else MeterInfo("replay")

    @property
    def caps(self) -> MeterCaps:
        rate_hz = self._header.rate_hz if self._header is not None else 0.0
        return MeterCaps(rate_hz, rate_hz, measures_voltage=False, supplies_dut=False)

    def open(self, *, keep_power: bool = True) -> None:
        header, _ = read_raw(self._path)
        decoder_of(header.driver)
        if self._site and header.site and self._site != header.site:
            raise SettingError(f"{self._path}: recorded at site '{header.site}', '{self._site}' asked for")
        self._header = header

    def configure(self, rate_hz: float, range_a: float | None = None) -> float:
        header = self._opened()
        if rate_hz > header.rate_hz * (1 + 1e-9):
            raise NotSupported(f"{self._path}: {rate_hz:g} Hz asked for, recorded at {header.rate_hz:g} Hz")
        return header.rate_hz

    def supply(self, voltage_v: float | None, limit_a: float | None = None) -> None:
        raise NotSupported(f"{self._path}: a recording supplies no board")

    def start(self, trigger: Trigger = "software") -> None:
        self._opened()
        self._started = True

    def problem(self) -> None:
        """A recording has none: it is over."""

    def stop(self) -> Trace:
        if not self._started:
            raise SettingError(f"{self._path}: stopped before it was started", hint="call start first")
        self._started = False
        trace = decode_file(self._path, decoder_of(self._opened().driver))
        return trace if trace.site else replace(trace, site=self._site)

    def close(self) -> None:
        self._header, self._started = None, False

    def _opened(self) -> Header:
        if self._header is None:
            raise SettingError(f"{self._path}: not open", hint="call open first")
        return self._header
