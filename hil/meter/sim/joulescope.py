"""A stand-in for the module ``pyjoulescope_driver``: not its bytes on USB, only what the driver sees of the library.

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

    def Driver(self) -> _Driver:  # noqa: N802 the library's name
        return _Driver(self)


class _Driver:
    def __init__(self, library: Library) -> None:
        self._library = library
        self._callbacks: dict[str, Callable[[str, dict[str, Any]], None]] = {}
        self._rate_hz = _FULL_RATE_HZ

    def device_paths(self) -> list[str]:
        return list(self._library.devices)

    def open(self, path: str, mode: str) -> None:
        self._library.devices[path].opened.append(mode)

    def close(self, path: str) -> None:
        self._library.devices[path].opened.append("closed")

    def finalize(self) -> None:
        self._library.finalized += 1

    def subscribe(self, topic: str, flags: list[str], callback: Callable[[str, dict[str, Any]], None]) -> None:
        self._callbacks[topic] = callback

    def unsubscribe(self, topic: str, callback: Callable[[str, dict[str, Any]], None]) -> None:
        assert self._callbacks.pop(topic) == callback

    def publish(self, topic: str, value: Any) -> None:
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
            head = {"sample_id": (device.first + start) * factor, "decimate_factor": factor}
            self._callbacks[topic](topic, {**head, "sample_rate": _FULL_RATE_HZ, "data": data})
