"""CPU kernels: cycles per multiply-accumulate by kernel type, per value elsewhere, plus the runtime's cost per op.

Beside that plain law, effects that only some stacks or cores show; their parameters are absent (zero) elsewhere:

* SIMD lanes over output channels: channels beyond a multiple of the lanes take a slower path (ESP-DL).
* A kernel that is called once per output position costs as much for few channels as for many (ESP-DL).
* A cache in front of slow memory.  A convolution walks through all its weights at every output position, so weights
  that exceed the cache are fetched again at each of them; so are the rows under a depthwise kernel.  Feature maps that
  exceed the cache are read and written in that memory.
* Convolutions over a single input channel cannot use multiplications of neighbouring channels (X-CUBE-AI).

``cpu_scale`` multiplies everything, so that few networks of a new stack can set the level and keep the ratios.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from hil.cost.parameters import Parameter, Prior, Theta
from hil.cost.workload import KIND_INDEX, Float, Mask, Workload
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
# Absent unless a platform file gives them: unit, and what they stand for.
_SPECIAL: dict[str, tuple[str, str]] = {
    "cpu_single_channel_cycles_per_mac": ("cycle/MAC", "added to convolution over one input channel"),
    "cpu_output_cycles_per_value": ("cycle", "requantize and store: per output value of a layer with weights"),
    "cpu_weight_cycles_per_byte": ("cycle/B", "fetch a weight once per inference"),
    "cpu_position_cycles": ("cycle", "kernel call per output position of a layer with weights"),
    "cpu_lanes": ("1", "output channels of 8 bits that one instruction computes"),
    "cpu_tail_cycles_per_mac": ("cycle/MAC", "added for output channels beyond a multiple of the lanes"),
    "cpu_table_cycles_per_value": ("cycle", "8-bit logistic, tanh, SiLU by table, in place of the exponential's cost"),
    "cpu_cache_bytes": ("B", "data cache in front of slow memory"),
    "cpu_refetch_cycles_per_byte": ("cycle/B", "weights that exceed the cache, fetched at every output position"),
    "cpu_window_cycles_per_byte": ("cycle/B", "input rows of a depthwise kernel that exceed the cache, fetched again"),
    "cpu_memory_cycles_per_byte": ("cycle/B", "feature maps that exceed the cache, read and written"),
}
_SCALE = Parameter(
    "cpu_scale",
    "1",
    "all cycles of the host's kernels, relative to the other parameters",
    Prior(1.0, 0.0, "inferred", "one, unless a stack is given only roughly"),
)
# Miss shares, and by ``size / cache = -ln(1 - miss) / miss`` the ratios that belong to them: see ``miss_share``.
_MISSES = np.concatenate([np.linspace(1e-6, 0.99, 400), 1.0 - np.geomspace(1e-2, 1e-9, 60)[1:]])
_RATIOS = -np.log1p(-_MISSES) / _MISSES


@cache
def cpu_parameters(isa: str) -> tuple[Parameter, ...]:
    """The CPU parameters with the priors of one core type, from ``cpu.toml`` beside this module."""
    document = tomllib.loads(Path(__file__).with_name("cpu.toml").read_text(encoding="utf-8"))
    sources, table = document["sources"], document["isa"][isa]
    parameters = [_SCALE]
    for name, (unit, meaning) in _MEANINGS.items():
        entry = table[name]
        sigma = math.log(entry.get("spread", DEFAULT_SPREAD[entry["certainty"]]))
        reason = "; ".join(part for part in (sources[entry["source"]]["title"], entry.get("note", "")) if part)
        parameters.append(Parameter(name, unit, meaning, Prior(entry["value"], sigma, entry["certainty"], reason)))
    absent = Prior(0.0, 0.0, "assumed", "absent unless the platform file says otherwise")
    parameters += [Parameter(name, unit, meaning, absent) for name, (unit, meaning) in _SPECIAL.items()]
    return tuple(parameters)


def miss_share(size_bytes: Float, cache_bytes: float) -> Float:
    """The share of accesses that miss where a loop walks over ``size_bytes`` again and again.

    With random replacement a line survives the misses of one round with probability ``exp(-miss * size / cache)``, so
    ``1 - miss = exp(-miss * size / cache)``: nothing misses up to the size of the cache, 0.8 at twice that size.  An
    array is looked up in the inverse, ``size / cache = -ln(1 - miss) / miss``.
    """
    if not cache_bytes:
        return np.ones_like(size_bytes)
    ratio = size_bytes / cache_bytes
    return np.where(ratio > 1.0, np.interp(ratio, _RATIOS, _MISSES), 0.0)


def _columns(work: Workload, theta: Theta) -> dict[str, Float]:
    """Parameter to the counts that it multiplies, per op; of the special ones those that are present."""
    op, kind = work.op, work.kind

    def of(name: str, column: str) -> Float:
        return np.where(kind == KIND_INDEX[name], op[column], 0.0)

    lanes, cache_bytes = _fixed(theta, "cpu_lanes"), _fixed(theta, "cpu_cache_bytes")
    # Values of 16 bits fill two lanes of 8.
    widths = np.where(op["bits"] > 8, 2.0, 1.0) if lanes else np.ones(len(kind))
    present = {name for name in _SPECIAL if np.any(theta[name])}
    tables = op["table_values"] if "cpu_table_cycles_per_value" in present else np.zeros(len(kind))
    found = {
        "cpu_conv_cycles_per_mac": of("conv", "macs") * widths,
        "cpu_pointwise_cycles_per_mac": of("pointwise", "macs") * widths,
        "cpu_depthwise_cycles_per_mac": of("depthwise", "macs") * widths,
        "cpu_fully_connected_cycles_per_mac": of("fully_connected", "macs") * widths,
        "cpu_pool_cycles_per_tap": of("pool", "work"),
        "cpu_elementwise_cycles_per_value": of("elementwise", "values"),
        "cpu_exp_cycles_per_value": of("exp", "values") + op["fused_exp"] - tables,
        "cpu_table_cycles_per_value": tables,
        "cpu_move_cycles_per_byte": of("move", "moved_bytes"),
        "cpu_op_cycles": np.ones(len(kind)),
    }
    weighted = op["macs"] > 0
    depthwise = kind == KIND_INDEX["depthwise"]
    special: dict[str, Callable[[], Float]] = {
        "cpu_single_channel_cycles_per_mac": lambda: np.where(op["in_channels"] == 1, of("conv", "macs"), 0.0),
        "cpu_output_cycles_per_value": lambda: np.where(weighted, op["values"], 0.0),
        "cpu_weight_cycles_per_byte": lambda: np.where(weighted, op["weight_bytes"], 0.0),
        "cpu_position_cycles": lambda: np.where(weighted, op["pixels"], 0.0),
        "cpu_tail_cycles_per_mac": lambda: _tail_macs(op, weighted & ~depthwise, lanes / widths),
        "cpu_refetch_cycles_per_byte": lambda: np.where(
            weighted & ~depthwise,
            miss_share(op["weight_bytes"], cache_bytes) * op["weight_bytes"] * np.maximum(op["pixels"] - 1, 0.0),
            0.0,
        ),
        "cpu_window_cycles_per_byte": lambda: np.where(
            depthwise,
            miss_share(op["window_bytes"], cache_bytes) * (op["kernel_rows"] - 1) * op["read_bytes"],
            0.0,
        ),
        "cpu_memory_cycles_per_byte": lambda: (
            miss_share(op["read_bytes"], cache_bytes) * op["read_bytes"]
            + miss_share(op["written_bytes"], cache_bytes) * op["written_bytes"]
        ),
    }
    return found | {name: column() for name, column in special.items() if name in present}


def _fixed(theta: Theta, name: str) -> float:
    """A property of the hardware that no fit moves."""
    return float(theta[name].flat[0])


def _tail_macs(op: dict[str, Float], dense: Mask, lanes: Float) -> Float:
    """MACs of the output channels that do not fill a vector."""
    channels = np.maximum(op["out_channels"], 1.0)
    return np.where(dense & (lanes > 1), op["macs"] * np.mod(channels, np.maximum(lanes, 1.0)) / channels, 0.0)


def cpu_cycles(work: Workload, theta: Theta) -> Float:
    """Host cycles of every op that the plan places on the CPU; zero for the others.  Shape ``[..., ops]``."""
    columns = _columns(work, theta)
    values = np.concatenate(np.broadcast_arrays(*(theta[name] for name in columns)), axis=1)
    cycles = theta["cpu_scale"] * (values @ np.where(work.cpu, np.stack(list(columns.values())), 0.0))
    return np.asarray(cycles, dtype=np.float64)
