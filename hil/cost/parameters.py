"""Parameters of the cost models: names, units, bounds, and the prior that stands in until calibration.

A platform file may give any of them a better prior in ``[costs]`` (or per operating point); what it leaves out keeps
the prior here, whose certainty is nearly always ``assumed`` and whose spread is wide on purpose.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hil.platform.schema import DEFAULT_SPREAD, Certainty

# Parameter values by name: arrays of shape [samples, 1] that broadcast against columns of ops or plans.
Theta = Mapping[str, npt.NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Prior:
    """A log-normal prior: median ``value``, ``sigma`` the standard deviation of its natural logarithm.

    A median of zero means "this effect is absent" and has no spread.
    """

    value: float
    sigma: float
    certainty: Certainty
    reason: str


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a cost model.  ``unit`` is SI; ``low`` and ``high`` bound what a fit may choose."""

    name: str
    unit: str
    meaning: str
    prior: Prior
    low: float = 0.0
    high: float = math.inf


def assumed(name: str, unit: str, value: float, meaning: str, reason: str, spread: float | None = None) -> Parameter:
    """A parameter whose default prior is an assumption: a wide one unless ``spread`` (a factor) says otherwise."""
    sigma = math.log(spread if spread is not None else DEFAULT_SPREAD["assumed"])
    return Parameter(name, unit, meaning, Prior(value, sigma, "assumed", reason))


_ABSENT = "absent unless the platform file says otherwise"
_TFLM_COPY = "a byte loop with rescaling on an in-order core; HX-WE2 shows 4.0 cycles per byte (uNPU-Bench results)"

# What every platform has, whatever computes the ops: phases around the inference, run by the host core.
PHASE_PARAMETERS: tuple[Parameter, ...] = (
    assumed("boot_s", "s", 0.0, "reset to main()", _ABSENT),
    assumed(
        "npu_init_s",
        "s",
        1e-3,
        "switch the accelerator on and set up its runtime",
        "HX-WE2 takes 3.4 ms, register-only parts far less",
        4.0,
    ),
    assumed("weight_load_host_cycles_per_byte", "cycle/B", 0.0, "host cycles to load a byte of weights", _ABSENT),
    assumed("weight_load_bus_cycles_per_byte", "cycle/B", 0.0, "bus cycles to load a byte of weights", _ABSENT),
    assumed(
        "input_load_host_cycles_per_byte", "cycle/B", 4.0, "host cycles to convert and copy an input byte", _TFLM_COPY
    ),
    assumed("input_load_bus_cycles_per_byte", "cycle/B", 0.0, "bus cycles to write an input byte", _ABSENT),
    assumed("output_read_host_cycles_per_byte", "cycle/B", 4.0, "host cycles to copy an output byte", _TFLM_COPY),
    assumed("output_read_bus_cycles_per_byte", "cycle/B", 0.0, "bus cycles to read an output byte", _ABSENT),
    assumed(
        "post_process_host_cycles_per_value",
        "cycle",
        100.0,
        "host cycles of soft-max or decoding per output value",
        "one single-precision exponential and a division in software",
    ),
    assumed(
        "invoke_host_cycles",
        "cycle",
        5e3,
        "driver and runtime work per inference",
        "a few thousand instructions of interpreter set-up",
    ),
)

# Energy: static power, switching energy per clock of host and accelerator, per MAC and per byte moved.
ENERGY_PARAMETERS: tuple[Parameter, ...] = (
    assumed(
        "static_power_w",
        "W",
        5e-3,
        "power while waiting at the operating point",
        "microcontroller-class parts wait at 1-30 mW",
        3.0,
    ),
    assumed(
        "host_energy_per_cycle_j", "J/cycle", 60e-12, "host core running, above static", "20-150 µA/MHz at 1-3 V", 2.5
    ),
    assumed(
        "npu_energy_per_cycle_j",
        "J/cycle",
        50e-12,
        "accelerator clocked, above static",
        "of the order of the host core",
        3.0,
    ),
    assumed(
        "npu_load_energy_per_cycle_j",
        "J/cycle",
        0.0,
        "accelerator per bus cycle while the host loads or reads it",
        _ABSENT,
    ),
    assumed("npu_on_power_w", "W", 0.0, "accelerator switched on, above static, whatever its clock", _ABSENT),
    assumed(
        "energy_per_mac_j",
        "J/MAC",
        3e-12,
        "one int8 multiply-accumulate on the accelerator",
        "published µNPU figures lie between 0.5 and 12 pJ/MAC",
        3.0,
    ),
    assumed(
        "energy_per_byte_j",
        "J/B",
        5e-12,
        "one byte of weights or activations read or written for the accelerator",
        "on-chip SRAM access, 1-20 pJ/B",
        3.0,
    ),
)

SWITCHING_ENERGIES = tuple(p.name for p in ENERGY_PARAMETERS if p.unit.startswith("J"))
