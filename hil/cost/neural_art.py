"""ST Neural-ART (STM32N6): chains of units that hand on one value per clock, epoch by epoch.

The compiler cuts a network into epochs.  In an epoch, stream engines feed a chain of units (convolution, activation,
pooling) through which one value passes per clock; the host core sets up every epoch and waits for it.  What validation
logs of single layers show (Magnus3327/stm32n6-edge-ai-benchmarks@ea0f73d, NPU at 1 GHz):

* a 3x3 convolution of 64x64x3 to 16, 32, 64 channels takes 67, 134, 266 thousand NPU cycles: one per output value;
  so does a 1x1 convolution, and a pooling epoch takes one per input value; pooling behind a dense convolution is free;
* 7x7 takes three passes: a pass ends at some 50-60 MACs per value;
* fully connected layers take 2.50 cycles per byte of weights (NoahTornqvist/IA150X@57f61af, 78 to 784 KB): octal flash
  with 400 MB/s, whatever the NPU's clock.  Weights stream while a convolution computes;
* an epoch costs 3,000 to 16,000 host cycles before and after.

Depthwise kernels are stored as dense ones over eight channels: the model zoo's weight sizes exceed the parameters by
eight times the depthwise ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hil.cost.parameters import Parameter, Theta, assumed
from hil.cost.workload import KIND_INDEX, Float, Mask, Workload
from hil.plan import Plan
from hil.platform import Target

PARAMETERS: tuple[Parameter, ...] = (
    assumed(
        "epoch_host_cycles",
        "cycle",
        6500.0,
        "host cycles to set up and close one epoch",
        "IA150X logs: median of 6,300 to 7,000 over epochs without weights",
        1.6,
    ),
    assumed(
        "stream_cycles_per_value",
        "cycle",
        1.0,
        "NPU cycles per value that enters or leaves a convolution, whichever are more",
        "one value per clock in single-layer logs",
        1.3,
    ),
    assumed(
        "conv_cycles_per_mac",
        "cycle/MAC",
        0.0133,
        "NPU cycles per MAC of dense layers, input channels in whole tiles",
        "one of the four convolution units, 75 MACs per cycle",
    ),
    assumed(
        "depthwise_cycles_per_value",
        "cycle",
        1.5,
        "NPU cycles per output value of depthwise layers",
        "a single layer of three channels takes 1.15",
    ),
    assumed(
        "other_cycles_per_value",
        "cycle",
        0.3,
        "NPU cycles per value of pooling, element-wise and copying ops, whichever side has more",
        "one value per clock where such an op is an epoch of its own; most ride in the chain of another",
        3.0,
    ),
    assumed(
        "flash_s_per_byte",
        "s/B",
        2.5e-9,
        "streaming weights from external flash",
        "eight bits at 200 MHz, both edges: 400 MB/s; fully connected layers take 2.50 ns per byte",
        1.1,
    ),
    assumed(
        "external_ram_s_per_byte",
        "s/B",
        5e-9,
        "activations of ops that exceed the on-chip memories, per byte read or written",
        "16 bits at 200 MHz, both edges: 1.25 ns at the pins; strided access, turnarounds, no cache",
        4.0,
    ),
    assumed(
        "invoke_host_cycles",
        "cycle",
        1e4,
        "runtime work per inference",
        "the first epoch of a network takes 10,000 host cycles more than the next",
        3.0,
    ),
)

# Kinds of external memory: what lies there costs ``external_ram_s_per_byte``.
_EXTERNAL = frozenset({"psram", "dram", "flash"})


def on_chip_bytes(target: Target) -> float:
    """The on-chip memory for activations; infinite where the platform file names none."""
    sizes = [
        memory.size_bytes.value
        for memory in target.platform.memories.values()
        if "activations" in memory.holds and memory.kind not in _EXTERNAL and memory.size_bytes is not None
    ]
    return float(sum(sizes)) if sizes else float("inf")


def features(plans: Sequence[Plan], work: Workload) -> dict[str, Float]:
    """Columns per op, all vectorised.

    ``tile_macs``: MACs of dense layers, input channels rounded up to tiles.  ``stream_values``: values in or out of a
    dense layer.  ``depthwise_values``: output values.  ``other_values``: of ops without weights, zero in a chain.
    ``flash_bytes``: weights as stored.  ``external_bytes``: activations of ops that do not fit on chip.
    ``epochs``: zero for pooling in the chain of the dense layer before it, otherwise one.
    """
    op, kind = work.op, work.kind
    npu = work.target.npu
    structure = npu.structure if npu is not None else {}
    channels = structure["in_channel_tile"].value if "in_channel_tile" in structure else 1.0
    group = structure["depthwise_channel_tile"].value if "depthwise_channel_tile" in structure else 1.0
    weighted = op["macs"] > 0
    depthwise = kind == KIND_INDEX["depthwise"]
    # Multiples of the tile cost what they hold; a fully connected layer is bound by its weights in any case.
    filled = op["in_channels"] / (np.ceil(op["in_channels"] / channels) * channels + (op["in_channels"] == 0))
    tiled = np.isin(kind, [KIND_INDEX["conv"], KIND_INDEX["pointwise"]]) & (filled > 0)
    macs = np.where(tiled, op["macs"] / np.where(filled > 0, filled, 1.0), op["macs"])
    values = np.maximum(op["read_bytes"], op["written_bytes"])  # of 8 bits: a byte is a value
    chained = _chained(work, weighted & ~depthwise)
    return {
        "tile_macs": np.where(weighted & ~depthwise, macs, 0.0),
        "stream_values": np.where(weighted & ~depthwise, values, 0.0),
        "depthwise_values": np.where(weighted & depthwise, op["values"], 0.0),
        "other_values": np.where(weighted | chained, 0.0, values),
        "flash_bytes": op["weight_bytes"] * np.where(depthwise, group, 1.0),
        "external_bytes": np.where(op["moved_bytes"] > on_chip_bytes(work.target), op["moved_bytes"], 0.0),
        "epochs": np.where(chained, 0.0, 1.0),
    }


def _chained(work: Workload, dense: Mask) -> Mask:
    """Pooling right behind a dense layer that it alone reads (it reads as many bytes as that one writes)."""
    before = np.zeros(len(work.kind), dtype=bool)
    before[1:] = dense[:-1] & work.npu[:-1]
    before[work.starts] = False
    written = np.zeros(len(work.kind))
    written[1:] = work.op["written_bytes"][:-1]
    return np.asarray((work.kind == KIND_INDEX["pool"]) & before & (work.op["read_bytes"] == written))


def npu_cycles(work: Workload, theta: Theta) -> Float:
    """NPU cycles per op, shape ``[..., ops]``: ``max(computing, weights) + others + external + epoch set-up``."""
    hz, host_hz = work.target.npu_clock_hz, work.target.host_clock_hz
    extra = work.extra
    compute = np.maximum(
        theta["conv_cycles_per_mac"] * extra["tile_macs"],
        theta["stream_cycles_per_value"] * extra["stream_values"],
    )
    compute += theta["depthwise_cycles_per_value"] * extra["depthwise_values"]
    cycles = np.maximum(compute, theta["flash_s_per_byte"] * hz * extra["flash_bytes"], out=compute)
    cycles += theta["other_cycles_per_value"] * extra["other_values"]
    cycles += theta["epoch_host_cycles"] * (hz / host_hz) * extra["epochs"]
    if extra["external_bytes"].any():
        cycles += theta["external_ram_s_per_byte"] * hz * extra["external_bytes"]
    return np.asarray(cycles, dtype=np.float64)


def parameters(target: Target) -> tuple[Parameter, ...]:
    return PARAMETERS
