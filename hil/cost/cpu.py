"""CPU kernels: cycles per multiply-accumulate by kernel type, per value elsewhere, plus the runtime's cost per op."""

from __future__ import annotations

import math
import tomllib
from functools import cache
from pathlib import Path

import numpy as np

from hil.cost.parameters import Parameter, Prior, Theta
from hil.cost.workload import KINDS, Float, Workload
from hil.platform.schema import DEFAULT_SPREAD

_MEANINGS: dict[str, tuple[str, str]] = {
    "cpu_conv_cycles_per_mac": ("cycle/MAC", "int8 convolution on the host core"),
    "cpu_pointwise_cycles_per_mac": ("cycle/MAC", "int8 1x1 convolution on the host core"),
    "cpu_depthwise_cycles_per_mac": ("cycle/MAC", "int8 depthwise convolution on the host core"),
    "cpu_fully_connected_cycles_per_mac": ("cycle/MAC", "int8 fully connected layer on the host core"),
    "cpu_pool_cycles_per_tap": ("cycle", "pooling, per window element and output value"),
    "cpu_elementwise_cycles_per_value": ("cycle", "add, multiply, requantize: per output value"),
    "cpu_exp_cycles_per_value": ("cycle", "soft-max, logistic, tanh: per output value"),
    "cpu_move_cycles_per_byte": ("cycle/B", "concatenate, pad, transpose, slice: per byte read or written"),
    "cpu_op_cycles": ("cycle", "runtime overhead of one op"),
}
# Kind to its parameter and the column that it multiplies.
_LAW: dict[str, tuple[str, str]] = {
    "conv": ("cpu_conv_cycles_per_mac", "macs"),
    "pointwise": ("cpu_pointwise_cycles_per_mac", "macs"),
    "depthwise": ("cpu_depthwise_cycles_per_mac", "macs"),
    "fully_connected": ("cpu_fully_connected_cycles_per_mac", "macs"),
    "pool": ("cpu_pool_cycles_per_tap", "work"),
    "elementwise": ("cpu_elementwise_cycles_per_value", "values"),
    "exp": ("cpu_exp_cycles_per_value", "values"),
    "move": ("cpu_move_cycles_per_byte", "moved_bytes"),
}


@cache
def cpu_parameters(isa: str) -> tuple[Parameter, ...]:
    """The CPU parameters with the priors of one core type, from ``cpu.toml`` beside this module."""
    document = tomllib.loads(Path(__file__).with_name("cpu.toml").read_text(encoding="utf-8"))
    sources, table = document["sources"], document["isa"][isa]
    parameters = []
    for name, (unit, meaning) in _MEANINGS.items():
        entry = table[name]
        sigma = math.log(entry.get("spread", DEFAULT_SPREAD[entry["certainty"]]))
        reason = "; ".join(part for part in (sources[entry["source"]]["title"], entry.get("note", "")) if part)
        parameters.append(Parameter(name, unit, meaning, Prior(entry["value"], sigma, entry["certainty"], reason)))
    return tuple(parameters)


def cpu_cycles(work: Workload, theta: Theta) -> Float:
    """Host cycles of every op that the plan places on the CPU; zero for the others.  Shape ``[..., ops]``."""
    cycles = theta["cpu_op_cycles"] + theta["cpu_exp_cycles_per_value"] * work.op["fused_exp"]
    for index, kind in enumerate(KINDS):
        parameter, column = _LAW[kind]
        cycles = cycles + theta[parameter] * np.where(work.kind == index, work.op[column], 0.0)
    return np.asarray(np.where(work.cpu, cycles, 0.0), dtype=np.float64)
