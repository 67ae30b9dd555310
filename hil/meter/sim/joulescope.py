"""A stand-in for the module ``pyjoulescope_driver``: not its bytes on USB, only what the driver sees of the library.

The library is native code with libusb in it, so its USB cannot be simulated from Python.  Methods and their parameters
are those of version 2.2.12, and so are the keys of a block of samples and the packing of inputs (``binding.pyx``: one
bit each, eight to a byte); a test compares them with the library where it is installed.
``sys.modules["pyjoulescope_driver"] = Library(...)`` puts it in place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from hil.meter.sim.instrument import Faults, Source

_BLOCK = 1024
_FULL_RATE_HZ = 2_000_000
OPEN_MODES = ("defaults", "restore", "raw")
DATA_KEYS = ("sample_id", "decimate_factor", "sample_rate", "data")


@dataclass
class Device:
    """A Joulescope.  It delivers ``samples`` as soon as its current is switched on.  ``nan``: samples that it marks
    lost; whole blocks within ``faults.drop`` never come."""

    source: Source
    samples: int
    path: str = "u/js220/002557"
    nan: tuple[int, ...] = ()
    faults: Faults = field(default_factory=Faults)
    first: int = 5000
    opened: list[str] = field(default_factory=list)
    published: list[tuple[str, Any]] = field(default_factory=list)


class Library(ModuleType):
    """The module."""

    def __init__(self, *devices: Device) -> None:
        super().__init__("pyjoulescope_driver")
        self.devices = {device.path: device for device in devices}
        self.finalized = 0

    def Driver(self) -> Driver:  # noqa: N802 the library's name
        return Driver(self)


_Callback = Callable[[str, dict[str, Any]], None]


class Driver:
    """Its class.  No call takes long here, so that ``timeout`` does nothing."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._callbacks: dict[str, _Callback] = {}
        self._rate_hz = _FULL_RATE_HZ

    def device_paths(self, timeout: float | None = None) -> list[str]:
        return list(self._library.devices)

    def open(self, device_prefix: str, mode: str | None = None, timeout: float | None = None) -> None:
        mode = mode or OPEN_MODES[0]
        if mode not in OPEN_MODES:
            raise ValueError(mode)
        self._library.devices[device_prefix].opened.append(mode)

    def close(self, device_prefix: str, timeout: float | None = None) -> None:
        self._library.devices[device_prefix].opened.append("closed")

    def finalize(self, timeout: float | None = None) -> None:
        self._library.finalized += 1

    def subscribe(self, topic: str, flags: list[str], fn: _Callback, timeout: float | None = None) -> None:
        self._callbacks[topic] = fn

    def unsubscribe(self, topic: str, fn: _Callback, timeout: float | None = None) -> None:
        assert self._callbacks.pop(topic) == fn

    def publish(self, topic: str, value: Any, timeout: float | None = None) -> None:
        path = "/".join(topic.split("/")[:3])
        device, subtopic = self._library.devices[path], topic.removeprefix(path + "/")
        device.published.append((subtopic, value))
        if subtopic == "h/fs":
            self._rate_hz = value
        elif subtopic.endswith("/ctrl") and value == 1:
            self._deliver(device, subtopic.removesuffix("/ctrl"))

    def _deliver(self, device: Device, signal: str) -> None:
        index = np.arange(device.samples)
        t_s = index / self._rate_hz
        if signal.startswith("s/gpi/"):
            bits = device.source.digital(t_s) >> int(signal[-1]) & 1
        else:
            values = (device.source.current_a if signal == "s/i" else device.source.voltage_v)(t_s).astype(np.float32)
            values[list(device.nan)] = np.nan
        factor = _FULL_RATE_HZ // self._rate_hz
        for start in range(0, device.samples, _BLOCK):
            if not device.faults.kept(index[start : start + 1])[0]:
                continue
            part = slice(start, start + _BLOCK)
            data = np.packbits(bits[part], bitorder="little") if "gpi" in signal else values[part]
            topic = f"{device.path}/{signal}/!data"
            block = ((device.first + start) * factor, factor, _FULL_RATE_HZ, data)
            self._callbacks[topic](topic, dict(zip(DATA_KEYS, block, strict=True)))
