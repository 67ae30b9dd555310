"""A simulated STLINK-V3PWR."""

from __future__ import annotations

from functools import partial

from hil.meter.drivers.stlink_v3pwr import MODEL
from hil.meter.sim.powershield import Simulator as PowerShield

Simulator = partial(PowerShield, MODEL)
