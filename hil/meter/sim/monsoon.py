"""Stand-ins for the modules ``Monsoon.HVPM`` and ``Monsoon.sampleEngine``: not the bytes on USB, only what the driver
sees of the library.  ``modules(...)`` gives what to put into ``sys.modules``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from hil.meter.sim.instrument import Source

_BATCH = 500
_RATE_HZ = 5000.0


@dataclass
class Device:
    """A Monsoon.  ``fail_at``: the sample before which the library raises; ``attached`` false: none is there."""

    source: Source
    dropped: int = 0
    fail_at: int | None = None
    attached: bool = True
    supply_changes: list[tuple[str, float]] = field(default_factory=list)
    closed: int = 0


class _Hvpm:
    def __init__(self, device: Device) -> None:
        self.device = device
        self.statusPacket = SimpleNamespace(serialNumber=20001, firmwareVersion=32)
        self.Protocol: Any = None

    def setup_usb(self, serial: str | None) -> None:
        sys.stdout.write("as the library does\n")
        self.Protocol = SimpleNamespace(DEVICE=object() if self.device.attached else None)

    def fillStatusPacket(self) -> None:  # noqa: N802
        pass

    def closeDevice(self) -> None:  # noqa: N802
        self.device.closed += 1

    def __getattr__(self, name: str) -> Callable[[float], None]:
        if not name.startswith("set"):
            raise AttributeError(name)
        return lambda value: self.device.supply_changes.append((name, value))


class _Engine:
    def __init__(self, hvpm: _Hvpm, errorMode: int) -> None:  # noqa: N803
        assert errorMode == 0
        self._device = hvpm.device
        self.dropped = self._device.dropped
        self._done = 0
        self._stop: Callable[[Any, Any], bool] = lambda value, level: False

    def ConsoleOutput(self, on: bool) -> None:  # noqa: N802
        assert not on

    def setStopTrigger(self, style: Callable[[Any, Any], bool], level: float) -> None:  # noqa: N802
        self._stop = style

    def startSampling(self, samples: int) -> None:  # noqa: N802
        while not self._stop(0.0, 0.0):
            if self._device.fail_at is not None and self._done >= self._device.fail_at:
                raise OSError("[Errno 19] No such device")
            time.sleep(0.001)
            self._done += _BATCH

    def getSamples(self) -> list[list[float]]:  # noqa: N802
        t_s = np.arange(self._done) / _RATE_HZ
        current_ma = self._device.source.current_a(t_s) * 1e3
        return [t_s.tolist(), current_ma.tolist(), [], [], self._device.source.voltage_v(t_s).tolist(), []]


def modules(device: Device) -> dict[str, ModuleType]:
    """The library with one device, by names of modules."""
    hvpm, engine = ModuleType("Monsoon.HVPM"), ModuleType("Monsoon.sampleEngine")
    hvpm.__dict__["Monsoon"] = lambda: _Hvpm(device)
    engine.__dict__.update(
        SampleEngine=_Engine,
        ErrorHandlingModes=SimpleNamespace(off=0),
        triggers=SimpleNamespace(SAMPLECOUNT_INFINITE=0xFFFFFFFF),
        channels=SimpleNamespace(timeStamp=0, MainCurrent=1, MainVoltage=4),
    )
    return {"Monsoon": ModuleType("Monsoon"), "Monsoon.HVPM": hvpm, "Monsoon.sampleEngine": engine}
