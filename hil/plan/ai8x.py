"""MAX7800x: hardware layers and memory as Analog Devices' synthesis tool lays them out.

Facts from analogdevicesinc/ai8x-synthesis@ab4f4c0 (README and izer/): pooling and element-wise ops are done in flight
before the convolution that consumes them; an operand that another layer reads too is first re-formed by a pass-through
layer; maps that exceed one data-memory instance are streamed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hil.network import Network, Op, hwc
from hil.network.graph import POOL_OPS, VIEW_OPS
from hil.plan.rules import as_one_dimensional
from hil.plan.types import HwLayer, LayerKind, MemoryUse, Placement
from hil.platform import Target

CONVOLUTIONS = frozenset({"conv2d", "conv1d", "depthwise_conv2d", "depthwise_conv1d", "transpose_conv2d"})
ELTWISE = frozenset({"add", "sub", "bitwise_xor"})
_LAYOUT = VIEW_OPS | {"transpose", "concat"}
# Published deployments choose how many of the first layers stream; the network's metadata may say so.
STREAMING_HINT = "ai8x.streaming_layers"

_KINDS: dict[str, LayerKind] = {
    "conv2d": "conv",
    "conv1d": "conv",
    "depthwise_conv2d": "conv",
    "depthwise_conv1d": "conv",
    "fully_connected": "fully_connected",
    "transpose_conv2d": "transpose",
}


@dataclass(frozen=True)
class Ai8xPlan:
    """What the hardware executes, what it costs in memory, and why it cannot (``reasons``)."""

    placements: tuple[Placement, ...]
    layers: tuple[HwLayer, ...]
    memory: tuple[MemoryUse, ...]
    reasons: tuple[str, ...]
    notes: tuple[str, ...]


def plan_ai8x(network: Network, target: Target, placements: Sequence[Placement]) -> Ai8xPlan:
    """Group the ops placed on the accelerator into hardware layers and check them against its memories."""
    consumers = network_consumers(network)
    places = list(placements)
    _free_layout_at_the_end(network, consumers, places)
    _fuse_in_flight(network, consumers, places)
    layers, reforms = _layers(network, consumers, places)
    layers, streamed, stream_reasons = _streaming(network, target, layers)
    memory, reasons = _fit(network, target, places, layers)
    batch = max((network.tensors[t].shape[0] for t in network.inputs if network.tensors[t].shape), default=1)
    if batch > 1:
        reasons.append(f"a batch of {batch}: the accelerator takes one input at a time")
    notes = []
    if streamed:
        notes.append(f"the first {streamed} layers stream through the FIFO: a map exceeds one data memory")
    if reforms:
        notes.append(f"{reforms} pass-through layers re-form operands of element-wise ops")
    return Ai8xPlan(tuple(places), tuple(layers), memory, tuple(stream_reasons + reasons), tuple(notes))


def network_consumers(network: Network) -> dict[int, list[int]]:
    """Tensor index to the ops that read it."""
    consumers: dict[int, list[int]] = {}
    for op in network.ops:
        for tensor in op.inputs:
            consumers.setdefault(tensor, []).append(op.index)
    return consumers


def _single_consumer(network: Network, consumers: dict[int, list[int]], op: Op) -> Op | None:
    tensor = op.outputs[0] if op.outputs else -1
    readers = consumers.get(tensor, [])
    return network.ops[readers[0]] if len(readers) == 1 and tensor not in network.outputs else None


def _free_layout_at_the_end(network: Network, consumers: dict[int, list[int]], places: list[Placement]) -> None:
    """Transposes and concatenations of the outputs cost nothing: the host reads the output memory in that order."""
    behind: set[int] = set()
    for op in reversed(network.ops):
        readers = [reader for tensor in op.outputs for reader in consumers.get(tensor, ())]
        if op.type in _LAYOUT and all(reader in behind for reader in readers):
            behind.add(op.index)
            if op.type not in VIEW_OPS:
                places[op.index] = Placement("free", "the host reads the outputs in this order")
        elif places[op.index].phase == "post_process":
            behind.add(op.index)


def _fuse_in_flight(network: Network, consumers: dict[int, list[int]], places: list[Placement]) -> None:
    """Pooling and element-wise ops join the layer after them; a stand-alone ReLU joins the layer before."""
    for op in reversed(network.ops):
        if places[op.index].unit != "npu":
            continue
        reader = _single_consumer(network, consumers, op)
        if op.type in POOL_OPS and reader is not None and places[reader.index].unit == "npu":
            to_point = hwc(network.out_shape(op))[:2] == (1, 1)
            if reader.type in CONVOLUTIONS or (to_point and reader.type == "fully_connected"):
                places[op.index] = replace(places[op.index], fused_into=reader.index)
        elif op.type in ELTWISE and reader is not None and places[reader.index].unit == "npu":
            if reader.type in CONVOLUTIONS:
                places[op.index] = replace(places[op.index], fused_into=reader.index)
            elif reader.type in POOL_OPS and places[reader.index].fused_into is not None:
                places[op.index] = replace(places[op.index], fused_into=places[reader.index].fused_into)
        elif op.type in {"activation", "concat"}:
            # ReLU is free behind any layer; a concatenation is only where its producers write.
            producer = _producer(network, op.inputs[0]) if op.inputs else None
            if producer is not None and places[producer].unit == "npu":
                places[op.index] = replace(places[op.index], fused_into=producer)


def _producer(network: Network, tensor: int) -> int | None:
    for op in network.ops:
        if tensor in op.outputs:
            return op.index
    return None


def _layers(
    network: Network, consumers: dict[int, list[int]], places: Sequence[Placement]
) -> tuple[list[HwLayer], int]:
    fused: dict[int, list[Op]] = {}
    for op in network.ops:
        into = places[op.index].fused_into
        if into is not None and op.index < into:
            fused.setdefault(into, []).append(op)
    layers: list[HwLayer] = []
    reforms = 0
    for op in network.ops:
        place = places[op.index]
        if place.unit != "npu" or place.fused_into is not None or op.type in VIEW_OPS:
            continue
        before = fused.get(op.index, [])
        eltwise = next((o for o in before if o.type in ELTWISE), op if op.type in ELTWISE else None)
        if eltwise is not None:
            shared = [t for t in eltwise.inputs if len(consumers.get(t, ())) > 1]
            for tensor in shared[: max(0, len(eltwise.inputs) - 1)]:
                rows, columns, channels = hwc(network.tensors[tensor].shape)
                layers.append(HwLayer(eltwise.index, "passthrough", rows, columns, channels, channels, columns))
                reforms += 1
        layers.append(_layer(network, op, before, eltwise))
    return layers, reforms


def _layer(network: Network, op: Op, before: Sequence[Op], eltwise: Op | None) -> HwLayer:
    pool = next((o for o in before if o.type in POOL_OPS), op if op.type in POOL_OPS else None)
    first = min((o for o in (pool, eltwise) if o is not None), key=lambda o: o.index, default=op)
    rows, columns, channels = hwc(network.in_shape(first))
    _, out_columns, out_channels = hwc(network.out_shape(op))
    shape = as_one_dimensional(network, op) or op
    one_row = rows == 1 and columns > 1 and (shape.type == "conv1d" or op.type not in CONVOLUTIONS)
    if shape.type in {"conv1d", "depthwise_conv1d"}:
        out_columns = 1
    if one_row:
        rows, columns = columns, 1
    kind = _KINDS.get(shape.type, "passthrough")
    flatten = kind == "fully_connected" and pool is None and rows * columns > 1
    window = network.pool_window(pool) if pool is not None else (1, 1)
    stride = pool.stride if pool is not None else (1, 1)
    if pool is not None and columns == 1:
        window, stride = (max(window), 1), (max(stride), 1)
    return HwLayer(
        op=op.index,
        kind=kind,
        in_rows=rows,
        in_columns=columns,
        in_channels=channels,
        out_channels=out_channels,
        out_columns=out_columns,
        kernel=shape.kernel if kind in {"conv", "transpose"} else (1, 1),
        padding=(shape.padding[0], shape.padding[2]) if kind in {"conv", "transpose"} else (0, 0),
        pool=window,
        pool_stride=stride,
        operands=len(eltwise.inputs) if eltwise is not None else 1,
        pool_after_eltwise=eltwise is not None and pool is not None and eltwise.index < pool.index,
        flatten=flatten,
    )


def fully_connected_limit(network: Network, op: Op, target: Target) -> str | None:
    """Why a fully connected layer has too many inputs, or None: more are allowed where a map is flattened."""
    most = _limit(target, "fc_inputs_max")
    inputs = network.tensors[op.inputs[0]].elements if op.inputs else 0
    if op.type != "fully_connected" or most is None or inputs <= most:
        return None
    producer = _producer(network, op.inputs[0])
    source = network.ops[producer] if producer is not None else None
    flat = source is not None and source.type in VIEW_OPS and source.inputs
    rows, columns, channels = hwc(network.in_shape(source if flat and source is not None else op))
    pixels, elements = _limit(target, "flatten_pixels_max"), _limit(target, "flatten_inputs_max")
    if rows * columns > 1 and channels <= most and rows * columns <= (pixels or 0) and inputs <= (elements or 0):
        return None
    return f"{inputs} inputs: at most {most}, or {elements} flattened from at most {pixels} pixels"


def _limit(target: Target, name: str) -> int | None:
    """A count from the platform file's ``npu.structure``; None where the file does not give it."""
    npu = target.npu
    figure = npu.structure.get(name) if npu is not None else None
    return int(figure.value) if figure is not None else None


def _streaming(network: Network, target: Target, layers: list[HwLayer]) -> tuple[list[HwLayer], int, list[str]]:
    """Mark the layers that must stream: all up to the last one whose input exceeds one data-memory instance."""
    hwc_limit, chw_limit = _limit(target, "hwc_pixels_max"), _limit(target, "chw_pixels_max")
    most = _limit(target, "streaming_layers_max")
    needed = 0
    for index, layer in enumerate(layers):
        limit = chw_limit if index == 0 else hwc_limit
        if limit is not None and layer.in_rows * layer.in_columns * _passes(layer.in_channels) > limit:
            needed = index + 1
        # A map that cannot be stored must be streamed out of its layer as well.
        pixels = math.prod(hwc(network.out_shape(network.ops[layer.op]))[:2])
        if hwc_limit is not None and pixels * _passes(layer.out_channels) > hwc_limit:
            needed = max(needed, index + 2)
    hinted = network.metadata.get(STREAMING_HINT)
    needed = max(needed, int(hinted)) if hinted is not None and needed else needed
    reasons = []
    if needed > len(layers):
        last = layers[-1]
        reasons.append(
            f"the output of op {last.op} exceeds one data memory ({hwc_limit} pixels), and nothing streams out"
        )
        needed = len(layers)
    if most is not None and needed > most:
        worst = layers[needed - 1]
        reasons.append(
            f"{worst.in_rows}x{worst.in_columns} pixels per channel at op {worst.op} exceed one data memory"
            f" ({hwc_limit} pixels), and only the first {most} layers can stream"
        )
    return [_streamed(layer) if index < needed else layer for index, layer in enumerate(layers)], needed, reasons


def _streamed(layer: HwLayer) -> HwLayer:
    """A streaming 1x1 convolution is replaced by the equivalent padded 3x3 one, as the vendor's tool does."""
    if layer.kind == "conv" and layer.kernel == (1, 1) and layer.in_columns > 1:
        return replace(layer, streaming=True, kernel=(3, 3), padding=(1, 1))
    return replace(layer, streaming=True)


def _passes(channels: int) -> int:
    return math.ceil(channels / 64)


def _instance_words(shape: tuple[int, int, int]) -> int:
    """32-bit words over all data-memory instances that a map takes: four channels share an instance."""
    rows, columns, channels = shape
    return math.ceil(min(channels, 64) / 4) * _passes(channels) * rows * columns


def _fit(
    network: Network, target: Target, places: Sequence[Placement], layers: Sequence[HwLayer]
) -> tuple[tuple[MemoryUse, ...], list[str]]:
    on_npu = [op for op in network.ops if places[op.index].unit == "npu" and not op.shared_weights]
    on_host = [op for op in network.ops if places[op.index].unit == "cpu"]
    peak_bytes, peak_op = _data_memory(network, places, layers)
    host_maps = [sum(network.tensors[t].size_bytes for t in (*op.inputs, *op.outputs)) for op in on_host]
    memory = (
        MemoryUse("weight memory", "weights", sum(op.weight_bytes for op in on_npu), _memory(target, "npu-weight")),
        # The accelerator keeps biases as one byte each, whatever the file stores.
        MemoryUse("bias memory", "weights", sum(op.biases for op in on_npu), _limit(target, "bias_bytes")),
        MemoryUse("data memory", "activations", peak_bytes, _memory(target, "npu-data")),
        # Host ops run one at a time from the core's own memory.
        MemoryUse("host RAM", "host activations", max(host_maps, default=0), _memory(target, "sram")),
        MemoryUse("flash", "host weights", network.weight_bytes + network.bias_bytes, _memory(target, "flash")),
    )
    reasons = [
        f"{use.name} holds {use.capacity_bytes} B, needs {use.needed_bytes} B"
        + (f" at op {peak_op} ({network.ops[peak_op].name})" if use.role == "activations" else "")
        for use in memory
        if not use.fits
    ]
    return memory, reasons + _layer_limits(network, target, layers)


def _data_memory(network: Network, places: Sequence[Placement], layers: Sequence[HwLayer]) -> tuple[int, int]:
    """Most bytes of data memory that live during a layer, and its op: inputs, outputs, and maps held for later.

    What streams through the FIFO is not stored, but for the output of the last streaming layer.
    """
    step_of = {layer.op: step for step, layer in enumerate(layers)}
    streaming = {layer.op for layer in layers if layer.streaming}
    last_streaming = max((step_of[op] for op in streaming), default=-1)

    def step(op: Op) -> int | None:
        into = places[op.index].fused_into
        return step_of.get(into if into is not None else op.index)

    spans: dict[int, tuple[int, int]] = {}
    for tensor in network.inputs:
        spans[tensor] = (0, 0)
    for op in network.ops:
        place = places[op.index]
        mine = step(op)
        in_flight = place.fused_into is not None and place.fused_into > op.index
        for tensor in op.outputs:
            if mine is not None and not in_flight:
                spans[tensor] = (mine, mine)
        for tensor in op.inputs:
            if mine is not None and not in_flight or tensor in spans:
                first = spans.get(tensor, (mine or 0, 0))[0]
                spans[tensor] = (first, max(spans.get(tensor, (0, 0))[1], mine if mine is not None else first))
    streamed = {t for t, (first, last) in spans.items() if last <= last_streaming and first <= last_streaming}
    best, peak = 0, 0
    for position, layer in enumerate(layers):
        if position < last_streaming:
            continue
        live = [t for t, (first, last) in spans.items() if first <= position <= last and t not in streamed]
        outputs = [t for t in network.ops[layer.op].outputs if t in streamed and position == last_streaming]
        held = 4 * sum(_instance_words(hwc(network.tensors[t].shape)) for t in (*live, *outputs))
        if held > best:
            best, peak = held, layer.op
    return best, peak


def _layer_limits(network: Network, target: Target, layers: Sequence[HwLayer]) -> list[str]:
    """Limits of the layer sequencer that no single op shows."""
    reasons = []
    most = _limit(target, "layers_max")
    if most is not None and len(layers) > most:
        reasons.append(f"{len(layers)} hardware layers, at most {most}")
    kernels, biases = _limit(target, "weight_kernels_per_processor"), _limit(target, "bias_channels_max")
    for layer in layers:
        op = network.ops[layer.op]
        where = f"at op {op.index} ({op.name})"
        if op.weights:
            # A processor holds the kernels of its input channels for every output channel; 1x1 ones pack nine a word.
            own = math.ceil(op.weight_bytes / max(1, min(layer.in_channels, 64)) / 9)
            if kernels is not None and own > kernels:
                reasons.append(f"{own} kernels per processor, at most {kernels}, {where}")
            if biases is not None and op.biases > biases:
                reasons.append(f"{op.biases} output channels with bias, at most {biases}, {where}")
        alone = layer.kind == "passthrough" and layer.pool != (1, 1)
        if alone and layer.in_channels > 64 and hwc(network.out_shape(op))[:2] != (1, 1):
            reasons.append(f"pooling {layer.in_channels} channels needs a convolution behind it {where}")
    return reasons


def _memory(target: Target, kind: str) -> int | None:
    sizes = [int(m.size_bytes.value) for m in target.platform.memories.values() if m.kind == kind]
    return sum(sizes) if sizes else None
