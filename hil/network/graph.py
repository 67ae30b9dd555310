"""The network: a quantized model as a graph of ops over tensors, whatever file it came from.

Shapes are NHWC with the batch first; one-dimensional layers are ``[N, L, C]`` in layer lists and keep that form.
``macs`` counts multiply-accumulates of weights and activations only: weights times output pixels, taps that meet
padding included, bias additions and pooling excluded (the convention of the paper and of vendor tools).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

POOL_OPS = frozenset({"max_pool", "avg_pool", "global_avg_pool", "global_max_pool"})
# Ops that move no data: their output is their input's buffer seen with another shape.
VIEW_OPS = frozenset({"reshape", "squeeze", "expand_dims"})

DTYPE_BITS = {
    "int2": 2,
    "int4": 4,
    "uint4": 4,
    "int8": 8,
    "uint8": 8,
    "bool": 8,
    "int16": 16,
    "uint16": 16,
    "float16": 16,
    "bfloat16": 16,
    "int32": 32,
    "uint32": 32,
    "float32": 32,
    "int64": 64,
    "uint64": 64,
    "float64": 64,
    "complex64": 64,
    "complex128": 128,
    "float8_e4m3fn": 8,
    "float8_e5m2": 8,
    "resource": 32,
}


@dataclass(frozen=True, slots=True)
class Quantization:
    """Affine quantization: ``real = scale * (q - zero_point)``, one entry in all or one per channel of ``axis``."""

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int = 0

    @property
    def per_channel(self) -> bool:
        return len(self.scales) > 1


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of the graph.  ``bits`` is the stored width of one element; constants live with the weights."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    constant: bool = False
    quantization: Quantization | None = None
    bits: int = 8

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Bytes in memory, sub-byte elements packed."""
        return (self.elements * self.bits + 7) // 8


@dataclass(frozen=True, slots=True)
class Op:
    """One operator.  ``inputs`` and ``outputs`` index the network's tensors: activations only, no weights.

    ``kernel``, ``stride`` and ``dilation`` are ``(h, w)``; ``padding`` is ``(top, bottom, left, right)``.
    ``weights`` and ``biases`` count elements; ``weight_bytes`` and ``bias_bytes`` are their stored sizes.
    ``shared_weights`` marks parameters that an earlier op already brought, counted once in totals.
    """

    index: int
    name: str
    type: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    depth_multiplier: int = 1
    activation: str | None = None
    macs: int = 0
    weights: int = 0
    biases: int = 0
    weight_bytes: int = 0
    bias_bytes: int = 0
    weight_bits: int = 8
    weight_quantization: Quantization | None = None
    const_bytes: int = 0
    shared_weights: bool = False
    fused_with_next: bool = False

    @property
    def parameters(self) -> int:
        return self.weights + self.biases


@dataclass(frozen=True)
class Network:
    """A network: tensors, ops in execution order, inputs and outputs.

    ``source`` says where it was read from; ``provenance`` how far to trust it (``parsed``, ``computed``, …).
    ``model`` is the ``.tflite`` file itself where there is one: compilers and interpreters want it whole.
    """

    name: str
    tensors: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    source: str = ""
    provenance: str = "parsed"
    file_bytes: int | None = None
    model: bytes | None = field(default=None, compare=False, repr=False)
    metadata: dict[str, str] = field(default_factory=dict, compare=False)

    @cached_property
    def macs(self) -> int:
        return sum(op.macs for op in self.ops)

    @cached_property
    def parameters(self) -> int:
        """Weights and biases, shared ones once."""
        return sum(op.parameters for op in self.ops if not op.shared_weights)

    @cached_property
    def weight_bytes(self) -> int:
        """Stored size of all weights and other constants, biases excluded, shared ones once."""
        return sum(op.weight_bytes + op.const_bytes for op in self.ops if not op.shared_weights)

    @cached_property
    def bias_bytes(self) -> int:
        return sum(op.bias_bytes for op in self.ops if not op.shared_weights)

    @cached_property
    def pool_macs(self) -> int:
        """Window size times output elements of every pooling op; some vendor tools add it to the MACs."""
        return sum(
            math.prod(self.pool_window(op)) * self.tensors[op.outputs[0]].elements
            for op in self.ops
            if op.type in POOL_OPS
        )

    def pool_window(self, op: Op) -> tuple[int, int]:
        """The pooling window ``(h, w)``: the whole map for global pooling."""
        if op.type in {"global_avg_pool", "global_max_pool"} and op.inputs:
            height, width, _ = hwc(self.tensors[op.inputs[0]].shape)
            return height, width
        return op.kernel

    def in_shape(self, op: Op, which: int = 0) -> tuple[int, ...]:
        """Shape of an activation input; of the output where the op has none (generators)."""
        return self.tensors[op.inputs[which]].shape if op.inputs else self.out_shape(op)

    def out_shape(self, op: Op) -> tuple[int, ...]:
        return self.tensors[op.outputs[0]].shape if op.outputs else ()

    def read_bytes(self, op: Op) -> int:
        """Activation bytes that the op reads; none where it is only another view of the same buffer."""
        return 0 if op.type in VIEW_OPS else sum(self.tensors[i].size_bytes for i in op.inputs)

    def write_bytes(self, op: Op) -> int:
        return 0 if op.type in VIEW_OPS else sum(self.tensors[i].size_bytes for i in op.outputs)

    @cached_property
    def input_bytes(self) -> int:
        return sum(self.tensors[i].size_bytes for i in self.inputs)

    @cached_property
    def output_bytes(self) -> int:
        return sum(self.tensors[i].size_bytes for i in self.outputs)

    @cached_property
    def precision(self) -> str:
        """The type most of the weights are stored in (``int16x8``: with 16-bit activations); of the activations where
        there are no weights.
        """
        by_bits: dict[int, int] = {}
        for op in self.ops:
            if op.weights:
                by_bits[op.weight_bits] = by_bits.get(op.weight_bits, 0) + op.weights
        dtype = self.tensors[self.inputs[0]].dtype if self.inputs else "int8"
        if not by_bits:
            return dtype
        bits = max(by_bits, key=lambda width: by_bits[width])
        kind = "float" if bits >= 16 and any(t.dtype.startswith("float") for t in self.tensors) else "int"
        activations = {self.tensors[i].dtype for op in self.ops if op.macs for i in op.inputs}
        if f"{kind}{bits}" == "int8" and activations == {"int16"}:
            return "int16x8"
        return f"{kind}{bits}"

    @cached_property
    def hash(self) -> str:
        """A hash of everything that a cost model sees: the same graph gives the same hash whatever the file."""
        parts = [
            [list(t.shape) + [t.dtype, t.bits, t.constant] for t in self.tensors],
            [
                [op.type, op.inputs, op.outputs, op.kernel, op.stride, op.padding, op.dilation, op.groups]
                + [op.depth_multiplier, op.activation, op.weights, op.biases, op.weight_bits, op.shared_weights]
                + [op.macs, op.weight_bytes, op.bias_bytes, op.const_bytes]
                for op in self.ops
            ],
            [self.inputs, self.outputs, sorted(self.metadata.items())],
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def hwc(shape: Iterable[int]) -> tuple[int, int, int]:
    """Height, width and channels of an activation without its batch.

    ``[N,L,C]`` is ``(L, 1, C)`` and ``[N,F]`` is ``(1, 1, F)``.
    Ranks above four fold their leading axes into the height.
    """
    body = list(shape)
    if len(body) > 1:
        body = body[1:]
    if not body:
        return 1, 1, 1
    if len(body) == 1:
        return 1, 1, body[0]
    if len(body) == 2:
        return body[0], 1, body[1]
    return math.prod(body[:-2]), body[-2], body[-1]
