"""A simulated X-NUCLEO-LPM01A."""

from __future__ import annotations

from functools import partial

from hil.meter.drivers.lpm01a import MODEL
from hil.meter.sim.powershield import Simulator as PowerShield

Simulator = partial(PowerShield, MODEL)
