"""Writer of ``.tflite`` files: a network that is known only as a list of layers, made real with random weights.

Compilers and interpreters want a whole file, and a layer list has no weights.  This module gives it seeded, roughly
normal ones and a plausible quantization, so that Vela can place and schedule the network and LiteRT can run it.  The
outputs mean nothing; shapes, MACs, weight counts and the order of the ops are those of the network.

Everything is int8, whatever width the layer list names: that is what these compilers take.  Type conversions that
have nothing left to convert, and the arithmetic on shapes that a converter folds, write no operator.  Attributes that
a layer list does not hold (axes, permutations, offsets) are inferred from the shapes; where several fit, the first one
is taken, because it costs the same.
"""

from __future__ import annotations

import importlib
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hil.errors import NetworkError, UnavailableError
from hil.network import _limits as limits
from hil.network.graph import VIEW_OPS, Network, Op, hwc

Shape = tuple[int, ...]

VERSION = 1  # changes when the same network is written as another file: part of the key of whoever caches results


class Affine(NamedTuple):
    """Quantization of one int8 tensor: ``real = scale * (q - zero_point)``."""

    scale: float
    zero_point: int


@dataclass(frozen=True, slots=True)
class Written:
    """A file and where its operators come from: ``op_of[k]`` is the network's op behind operator ``k`` of the file."""

    model: bytes
    op_of: tuple[int, ...]


def write_tflite(network: Network, seed: int = 0) -> bytes:
    """``network`` as an int8 ``.tflite`` file with random weights; the same network and seed give the same bytes."""
    return write(network, seed).model


def write(network: Network, seed: int = 0) -> Written:
    """As :func:`write_tflite`, and which op each operator was written for.  Raises NetworkError naming the op."""
    return _Writer(network, seed).run()


# The file: tensors, buffers, operators


def _schema() -> Any:
    """The generated TFLite schema; imported only here because it takes a tenth of a second with its numpy."""
    try:
        return importlib.import_module("ai_edge_litert.schema_py_generated")
    except ImportError as error:
        raise UnavailableError(
            "LiteRT is missing: no .tflite can be written", hint="pip install ai-edge-litert"
        ) from error


@dataclass(slots=True)
class _File:
    """A sub-graph in the making.  Tensors are known by their number in the file."""

    schema: Any = field(default_factory=_schema)
    tensors: list[Any] = field(default_factory=list)
    buffers: list[Any] = field(default_factory=list)
    operators: list[Any] = field(default_factory=list)
    codes: dict[int, int] = field(default_factory=dict)
    affine: dict[int, Affine] = field(default_factory=dict)
    current: int = -1  # the network's op being written
    op_of: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.buffers.append(self.schema.BufferT())  # buffer 0 is empty by convention

    def shape(self, tensor: int) -> Shape:
        return tuple(self.tensors[tensor].shape)

    def tensor(
        self, name: str, shape: Iterable[int], affine: Affine | None, dtype: str = "INT8", data: Any = None
    ) -> int:
        buffer = 0
        if data is not None:
            buffer = len(self.buffers)
            self.buffers.append(self.schema.BufferT(data=np.frombuffer(data.tobytes(), np.uint8)))
        quantization = affine and self._quantization([affine.scale], [affine.zero_point])
        self.tensors.append(
            self.schema.TensorT(
                shape=list(shape),
                type=getattr(self.schema.TensorType, dtype),
                buffer=buffer,
                name=name,
                quantization=quantization,
            )
        )
        if affine is not None:
            self.affine[len(self.tensors) - 1] = affine
        return len(self.tensors) - 1

    def per_channel(
        self, name: str, dtype: str, data: npt.NDArray[Any], scales: npt.NDArray[np.float32], axis: int
    ) -> int:
        tensor = self.tensor(name, data.shape, None, dtype, data)
        self.tensors[tensor].quantization = self._quantization(scales.tolist(), [0] * len(scales), axis)
        return tensor

    def integers(self, values: int | Sequence[int] | Sequence[Sequence[int]]) -> int:
        data = np.array(values, np.int32)
        return self.tensor("", data.shape, None, "INT32", data)

    def like(self, tensor: int, shape: Shape | None = None, affine: Affine | None = None, dtype: str = "INT8") -> int:
        """An intermediate tensor: ``tensor`` with another shape, quantization or type."""
        kept = None if dtype != "INT8" else affine or self.affine[tensor]
        name = f"{self.tensors[tensor].name}/part{len(self.tensors)}"  # compilers name tensors in messages
        return self.tensor(name, shape or self.shape(tensor), kept, dtype)

    def emit(
        self, builtin: str, inputs: Sequence[int], outputs: Sequence[int], options: str = "", **values: Any
    ) -> None:
        """Append an operator.  ``options`` is the schema's name of its option table."""
        operator = self.schema.OperatorT(
            opcodeIndex=self._code(getattr(self.schema.BuiltinOperator, builtin)),
            inputs=list(inputs),
            outputs=list(outputs),
        )
        if hasattr(self.schema.BuiltinOptions, options):
            operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, options)
            operator.builtinOptions = getattr(self.schema, options + "T")(**values)
        elif options:
            operator.builtinOptions2Type = getattr(self.schema.BuiltinOptions2, options)
            operator.builtinOptions2 = getattr(self.schema, options + "T")(**values)
        self.operators.append(operator)
        self.op_of.append(self.current)

    def pack(self, name: str, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        import flatbuffers

        model = self.schema.ModelT(
            version=3,
            description="written by hil: random weights",
            operatorCodes=[
                self.schema.OperatorCodeT(deprecatedBuiltinCode=min(code, 127), builtinCode=code, version=1)
                for code in self.codes
            ],
            subgraphs=[
                self.schema.SubGraphT(
                    tensors=self.tensors,
                    inputs=list(inputs),
                    outputs=list(outputs),
                    operators=self.operators,
                    name=name,
                )
            ],
            buffers=self.buffers,
        )
        builder = flatbuffers.Builder(1024 + sum(b.data.size for b in self.buffers if b.data is not None))
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _code(self, code: int) -> int:
        return self.codes.setdefault(code, len(self.codes))

    def _quantization(self, scales: list[float], zero_points: list[int], axis: int = 0) -> Any:
        return self.schema.QuantizationParametersT(scale=scales, zeroPoint=zero_points, quantizedDimension=axis)


# What is known about ops beforehand

_FUSED = {None: 0, "relu": 1, "relu_n1_to_1": 2, "relu6": 3, "linear": 0, "none": 0}

# Activation functions that one operator computes.  A table of arbitrary values ("lut") costs what any table costs.
_ONE_OPERATOR = {
    "relu": ("RELU", "", {}),
    "relu6": ("RELU6", "", {}),
    "relu_n1_to_1": ("RELU_N1_TO_1", "", {}),
    "sigmoid": ("LOGISTIC", "", {}),
    "logistic": ("LOGISTIC", "", {}),
    "tanh": ("TANH", "", {}),
    "hard_swish": ("HARD_SWISH", "HardSwishOptions", {}),
    "leaky_relu": ("LEAKY_RELU", "LeakyReluOptions", {"alpha": 0.1}),
    "elu": ("ELU", "", {}),
    "gelu": ("GELU", "GeluOptions", {}),
    "lut": ("HARD_SWISH", "HardSwishOptions", {}),
    "exp": ("EXP", "ExpOptions", {}),
    "abs": ("ABS", "AbsOptions", {}),
    "neg": ("NEG", "NegOptions", {}),
    "rsqrt": ("RSQRT", "", {}),
}

# Operators whose output quantization TFLite prescribes.
_PRESCRIBED = {"LOGISTIC": Affine(1 / 256, -128), "SOFTMAX": Affine(1 / 256, -128), "TANH": Affine(1 / 128, 0)}

# Operators without an int8 kernel: they run in float32 between a DEQUANTIZE and a QUANTIZE.
_FLOAT_ONLY = {
    "round": "ROUND",
    "sqrt": "SQRT",
    "square": "SQUARE",
    "floor": "FLOOR",
    "ceil": "CEIL",
    "log": "LOG",
    "sin": "SIN",
    "cos": "COS",
}

_BINARY = {
    "add": ("ADD", "AddOptions"),
    "sub": ("SUB", "SubOptions"),
    "mul": ("MUL", "MulOptions"),
    "div": ("DIV", "DivOptions"),
    "maximum": ("MAXIMUM", "MaximumMinimumOptions"),
    "minimum": ("MINIMUM", "MaximumMinimumOptions"),
    "squared_difference": ("SQUARED_DIFFERENCE", "SquaredDifferenceOptions"),
}

_SPATIAL = frozenset(
    [
        "conv2d",
        "conv1d",
        "depthwise_conv2d",
        "depthwise_conv1d",
        "transpose_conv2d",
        "max_pool",
        "avg_pool",
        "upsample",
        "global_avg_pool",
        "global_max_pool",
        "depth_to_space",
        "space_to_depth",
        "insert_zeros",
    ]
)
# Ops whose operands all have one rank; they follow a one-dimensional neighbour into its four-dimensional form.
_RANK_FREE = frozenset(["activation", "concat", "pad", "quantize", "dequantize", "batch_norm", "logistic"]) | set(
    _BINARY
)
# Ops that TFLite wants to keep the quantization of what they read.
_KEEPS_SCALE = (
    VIEW_OPS
    | frozenset(
        [
            "max_pool",
            "avg_pool",
            "global_avg_pool",
            "global_max_pool",
            "concat",
            "pad",
            "slice",
            "strided_slice",
            "split",
        ]
    )
    | frozenset(
        ["transpose", "upsample", "tile", "maximum", "minimum", "depth_to_space", "space_to_depth", "insert_zeros"]
    )
)
_SHAPE_MATH = frozenset(
    [
        "slice",
        "strided_slice",
        "concat",
        "pack",
        "mul",
        "add",
        "sub",
        "reshape",
        "squeeze",
        "expand_dims",
        "gather",
        "cast",
        "prod",
    ]
)
_CONVERSIONS = frozenset({"quantize", "dequantize"})


class _Groups:
    """Disjoint sets of tensors that share one quantization."""

    def __init__(self, count: int) -> None:
        self.parent = list(range(count))

    def find(self, item: int) -> int:
        while self.parent[item] != item:
            self.parent[item] = self.parent[self.parent[item]]
            item = self.parent[item]
        return item

    def join(self, items: Iterable[int]) -> None:
        roots = sorted({self.find(item) for item in items})
        for root in roots[1:]:
            self.parent[root] = roots[0]


def _prescribed(op: Op) -> Affine | None:
    """The quantization that TFLite prescribes for the op's result, if any."""
    if op.type in {"softmax", "logistic", "tanh"}:
        return _PRESCRIBED[op.type.upper()]
    return _PRESCRIBED.get(_ONE_OPERATOR.get(op.activation or "", ("", "", {}))[0])


def _shape_tensors(network: Network) -> set[int]:
    """Tensors that hold shapes: what ``shape`` gives and what is computed from nothing else."""
    found: set[int] = set()
    for op in network.ops:
        derived = op.type in _SHAPE_MATH and op.inputs and all(i in found for i in op.inputs)
        if op.type == "shape" or derived:
            found.update(op.outputs)
    return found


def _expanded(network: Network) -> tuple[set[int], set[int]]:
    """Ops written in four dimensions, and the lower-ranked tensors that are written ``[N, L, 1, C]`` for them."""
    ops = {op.index for op in network.ops if op.type in _SPATIAL}
    tensors: set[int] = set()
    before = -1
    while len(tensors) > before:
        before = len(tensors)
        for op in network.ops:
            both = (*op.inputs, *op.outputs)
            lines = [t for t in both if len(network.tensors[t].shape) == 3]
            if op.type in _RANK_FREE and len(lines) == len(both) and not tensors.isdisjoint(both):
                ops.add(op.index)
            if op.index in ops:
                tensors.update(lines)
    return ops, tensors


def _four(shape: Shape) -> Shape:
    """A shape in four dimensions, as the spatial operators want it."""
    return shape if len(shape) == 4 else (shape[0] if len(shape) > 1 else 1, *hwc(shape))


class _Axis(NamedTuple):
    """A window along one axis."""

    size: int
    outputs: int
    kernel: int
    stride: int
    before: int

    @property
    def after(self) -> int:
        """Padding that the last window needs behind the data; negative where data is left over."""
        return (self.outputs - 1) * self.stride + self.kernel - self.size - self.before

    @property
    def is_same(self) -> bool:
        """Whether TFLite's ``SAME`` gives this."""
        total = max((-(-self.size // self.stride) - 1) * self.stride + self.kernel - self.size, 0)
        return self.outputs == -(-self.size // self.stride) and self.before == total // 2

    @property
    def is_valid(self) -> bool:
        return self.before == 0 and (self.size - self.kernel) // self.stride + 1 == self.outputs


class _Writer:
    """Writes one network, op by op, in its order."""

    def __init__(self, network: Network, seed: int) -> None:
        self.network = network
        self.rng = np.random.default_rng(seed)
        self.file = _File()
        self.shapes = _shape_tensors(network)
        self.expanded_ops, self.expanded = _expanded(network)
        self.ids: dict[int, int] = {}
        self.weights: list[tuple[str, Shape, int]] = []
        self.constants = 0  # bytes of constants so far
        self.affine = self._quantize()

    def run(self) -> Written:
        for index in self.network.inputs:
            self._tensor(index)
        for op in self.network.ops:
            self.file.current = op.index
            self._op(op)
        if not self.file.operators:
            raise NetworkError(f"{self.network.name}: no op of it can be written as .tflite")
        inputs = [self._tensor(i) for i in self.network.inputs]
        outputs = [self._tensor(i) for i in self.network.outputs if i not in self.shapes]
        model = self.file.pack(self.network.name, inputs, outputs)
        return Written(model, tuple(self.file.op_of))

    # Quantization and tensors

    def _quantize(self) -> list[Affine]:
        """One quantization per tensor: prescribed, fitted to the activation function, or random."""
        groups = _Groups(len(self.network.tensors))
        chosen: dict[int, Affine] = {}
        for op in self.network.ops:
            # Of the activation functions only clamps leave the scale as it is; others write their own tensor.
            if op.type in _CONVERSIONS or (op.type in _KEEPS_SCALE and op.activation in _FUSED):
                groups.join(t for t in (*op.inputs, *op.outputs) if t not in self.shapes)
        for op in self.network.ops:
            fixed = _prescribed(op)
            if fixed is not None and op.outputs:
                chosen.setdefault(groups.find(op.outputs[0]), fixed)
        for op in self.network.ops:
            for tensor in op.outputs:
                if op.activation in {"relu", "relu6"}:
                    scale = 6 / 255 if op.activation == "relu6" else float(self.rng.uniform(0.02, 0.1))
                    chosen.setdefault(groups.find(tensor), Affine(scale, -128))
        for tensor in range(len(self.network.tensors)):
            root = groups.find(tensor)
            if root not in chosen:
                chosen[root] = Affine(float(self.rng.uniform(0.02, 0.1)), int(self.rng.integers(-20, 20)))
        return [chosen[groups.find(tensor)] for tensor in range(len(self.network.tensors))]

    def _tensor(self, index: int) -> int:
        """The file's tensor for one of the network's."""
        if index not in self.ids:
            tensor = self.network.tensors[index]
            shape = _four(tensor.shape) if index in self.expanded else tensor.shape
            data = self._noise(shape) if tensor.constant else None
            self.ids[index] = self.file.tensor(tensor.name, shape, self.affine[index], data=data)
        return self.ids[index]

    def _noise(self, shape: Shape) -> npt.NDArray[np.int8]:
        self.constants += math.prod(shape)
        if self.constants > limits.MAX_TFLITE_BYTES:
            raise NetworkError(
                f"{self.network.name}: more than {limits.MAX_TFLITE_BYTES >> 20} MiB of weights; "
                "no .tflite is written for a network of that size"
            )
        noise = self.rng.standard_normal(shape, np.float32) * 30
        return np.clip(np.rint(noise), -127, 127).astype(np.int8)

    def _constant(self, shape: Shape, affine: Affine | None = None) -> int:
        """A constant operand with random content."""
        scale = affine or Affine(float(self.rng.uniform(0.005, 0.05)), 0)
        return self.file.tensor("constant", shape, scale, data=self._noise(shape))

    # Ops

    def _op(self, op: Op) -> None:
        if op.outputs and all(t in self.shapes for t in op.outputs):
            return
        inputs = [t for t in op.inputs if t not in self.shapes]
        if not inputs:
            # Made from a shape alone (zeros, tiles of anchors): a converter folds it into a constant.
            for t in op.outputs:
                self.ids[t] = self._constant(self.network.tensors[t].shape, self.affine[t])
            return
        handler = _HANDLERS.get(op.type)
        if handler is None:
            raise self._error(op, "no TFLite operator is known for it")
        if op.type in _CONVERSIONS and self._converts_nothing(op):
            self.ids[op.outputs[0]] = self._tensor(inputs[0])
            return
        spatial = op.type in _SPATIAL
        sources = [self._source(t, op.index in self.expanded_ops, spatial) for t in inputs]
        targets = [self._target(t, op.index in self.expanded_ops, spatial) for t in op.outputs]
        handler(self, op, sources, targets)
        for t, written in zip(op.outputs, targets, strict=True):
            if written != self._tensor(t):
                self._reshape(written, self._tensor(t))

    def _converts_nothing(self, op: Op) -> bool:
        before, after = (self.network.tensors[t] for t in (op.inputs[0], op.outputs[0]))
        return op.type == "dequantize" or before.dtype != after.dtype

    def _form(self, index: int, expanded: bool, spatial: bool) -> Shape:
        shape = self.network.tensors[index].shape
        return _four(shape) if spatial or (expanded and index in self.expanded) else shape

    def _source(self, index: int, expanded: bool, spatial: bool) -> int:
        """An input in the form that the op wants, through a RESHAPE where it is stored in another."""
        tensor, shape = self._tensor(index), self._form(index, expanded, spatial)
        return tensor if self.file.shape(tensor) == shape else self._reshaped(tensor, shape)

    def _target(self, index: int, expanded: bool, spatial: bool) -> int:
        tensor, shape = self._tensor(index), self._form(index, expanded, spatial)
        return tensor if self.file.shape(tensor) == shape else self.file.like(tensor, shape)

    def _reshaped(self, tensor: int, shape: Shape) -> int:
        result = self.file.like(tensor, shape)
        self._reshape(tensor, result)
        return result

    def _reshape(self, source: int, target: int) -> None:
        shape = self.file.shape(target)
        self.file.emit("RESHAPE", [source, self.file.integers(shape)], [target], "ReshapeOptions", newShape=list(shape))

    def _error(self, op: Op, what: str) -> NetworkError:
        return NetworkError(
            f"{self.network.name}: op {op.index} ({op.name}, {op.type}) cannot be written as .tflite: {what}",
            hint="give the network as a .tflite file",
        )

    # Activation functions

    def _activated(self, op: Op, builtin: str, inputs: Sequence[int], target: int, options: str, **values: Any) -> None:
        """Emit an operator and its activation function: inside it where TFLite can, else as operators behind it."""
        if op.activation in _FUSED:
            self.file.emit(builtin, inputs, [target], options, fusedActivationFunction=_FUSED[op.activation], **values)
            return
        before = self.file.like(target, affine=Affine(float(self.rng.uniform(0.02, 0.1)), 0))
        if op.type in _KEEPS_SCALE:
            before = self.file.like(target, affine=self.file.affine[inputs[0]])
        self.file.emit(builtin, inputs, [before], options, **values)
        self._activate(op, before, target)

    def _activate(self, op: Op, source: int, target: int) -> None:
        kind = op.activation or ("logistic" if op.type == "logistic" else op.type)
        if kind in _ONE_OPERATOR:
            builtin, options, values = _ONE_OPERATOR[kind]
            self._emit_prescribed(builtin, [source], target, options, **values)
        elif kind in {"silu", "swish"}:
            gate = self.file.like(source, affine=_PRESCRIBED["LOGISTIC"])
            self.file.emit("LOGISTIC", [source], [gate])
            self.file.emit("MUL", [source, gate], [target], "MulOptions")
        elif kind == "hard_sigmoid":  # relu6(x + 3) / 6
            sum_ = self.file.like(source, affine=Affine(6 / 255, -128))
            three, sixth = (
                self.file.tensor("", (1,), Affine(s, 0), data=np.array([127], np.int8)) for s in (3 / 127, 1 / 762)
            )
            self.file.emit("ADD", [source, three], [sum_], "AddOptions", fusedActivationFunction=_FUSED["relu6"])
            self.file.emit("MUL", [sum_, sixth], [target], "MulOptions")
        elif kind == "prelu":
            channels = self.file.shape(source)[-1]
            slopes = (1,) * (len(self.file.shape(source)) - 2) + (channels,)
            self.file.emit("PRELU", [source, self._constant(slopes)], [target])
        else:
            raise self._error(op, f"unknown activation function '{kind}'")

    def _emit_prescribed(self, builtin: str, inputs: Sequence[int], target: int, options: str, **values: Any) -> None:
        """Emit an operator whose output quantization TFLite prescribes; requantize where the target has another."""
        wanted = _PRESCRIBED.get(builtin)
        if wanted is None or wanted == self.file.affine[target]:
            self.file.emit(builtin, inputs, [target], options, **values)
            return
        own = self.file.like(target, affine=wanted)
        self.file.emit(builtin, inputs, [own], options, **values)
        self.file.emit("QUANTIZE", [own], [target], "QuantizeOptions")

    # Windows

    def _window(self, op: Op, source: int, target: int) -> tuple[int, int]:
        """The input of a window op, padded or cropped where need be, and TFLite's padding code (0 SAME, 1 VALID)."""
        (_, height, width, _), (_, out_h, out_w, _) = self.file.shape(source), self.file.shape(target)
        reach = [(k - 1) * d + 1 for k, d in zip(op.kernel, op.dilation, strict=True)]
        axes = (
            _Axis(height, out_h, reach[0], op.stride[0], op.padding[0]),
            _Axis(width, out_w, reach[1], op.stride[1], op.padding[2]),
        )
        if min(height, width, out_h, out_w, *op.stride, *op.kernel) < 1:
            raise self._error(op, "its window or map is empty")
        for code, fits in enumerate((all(a.is_same for a in axes), all(a.is_valid for a in axes))):
            if fits:
                return source, code
        return self._fitted(source, axes), 1

    def _fitted(self, source: int, axes: Sequence[_Axis]) -> int:
        """``source`` with explicit padding; data that no window reads is cut off.

        Max pooling gets the zero point as padding, not the smallest value: it costs the same.
        """
        shape = list(self.file.shape(source))
        sizes = [axis.size + min(axis.after, 0) for axis in axes]
        if any(size < axis.size for size, axis in zip(sizes, axes, strict=True)):
            shape[1:3] = sizes
            source = self._sliced(source, tuple(shape))
        pads = [(axis.before, max(axis.after, 0)) for axis in axes]
        return self._padded(source, ((0, 0), *pads, (0, 0))) if any(map(any, pads)) else source

    def _padded(self, source: int, pads: Sequence[tuple[int, int]]) -> int:
        shape = tuple(size + sum(pad) for size, pad in zip(self.file.shape(source), pads, strict=True))
        result = self.file.like(source, shape)
        self.file.emit("PAD", [source, self.file.integers(pads)], [result], "PadOptions")
        return result

    def _sliced(self, source: int, shape: Shape, target: int | None = None, begin: Shape | None = None) -> int:
        result = self.file.like(source, shape) if target is None else target
        bounds = [self.file.integers(begin or (0,) * len(shape)), self.file.integers(shape)]
        self.file.emit("SLICE", [source, *bounds], [result], "SliceOptions")
        return result

    # Weights

    def _parameters(self, op: Op, shape: Shape, axis: int, source: int, target: int) -> list[int]:
        """Weight and bias tensors: random weights whose scales keep the outputs within the target's range."""
        if op.weights and op.weights != math.prod(shape):
            raise self._error(op, f"{op.weights} weights, but its shapes need {math.prod(shape)} ({list(shape)})")
        weights = self._shared(op, shape)
        channels, fan_in = shape[axis], max(1, math.prod(shape) // shape[axis])
        per_tensor = op.type in {"fully_connected", "matmul"}
        input_scale = self.file.affine[source].scale
        typical = self.file.affine[target].scale / (input_scale * 30 * math.sqrt(fan_in))
        if weights is None:
            scales = typical * self.rng.uniform(0.5, 1.5, 1 if per_tensor else channels).astype(np.float32)
            weights = self.file.per_channel(f"{op.name}/weights", "INT8", self._noise(shape), scales, axis)
            self.weights.append((op.type, shape, weights))
        scales = np.array(self.file.tensors[weights].quantization.scale, np.float32)
        noise = self.rng.standard_normal(channels, np.float32) * 500
        bias = np.rint(noise).astype(np.int32) if op.biases else np.zeros(channels, np.int32)
        bias[bias == 0] = 1 if op.biases else 0
        return [weights, self.file.per_channel(f"{op.name}/bias", "INT32", bias, scales * np.float32(input_scale), 0)]

    def _shared(self, op: Op, shape: Shape) -> int | None:
        """The weights of an earlier op of the same kind and shape, for an op that shares its weights."""
        if not op.shared_weights:
            return None
        return next((w for kind, known, w in self.weights if (kind, known) == (op.type, shape)), None)

    # Handlers, one per kind of op

    def conv(self, op: Op, sources: list[int], targets: list[int]) -> None:
        channels, filters = self.file.shape(sources[0])[3], self.file.shape(targets[0])[3]
        groups = max(1, op.groups)
        if channels % groups or filters % groups:
            raise self._error(op, f"{groups} groups do not divide {channels} and {filters} channels")
        source, padding = self._window(op, sources[0], targets[0])
        parameters = self._parameters(op, (filters, *op.kernel, channels // groups), 0, source, targets[0])
        self._activated(
            op,
            "CONV_2D",
            [source, *parameters],
            targets[0],
            "Conv2DOptions",
            padding=padding,
            strideH=op.stride[0],
            strideW=op.stride[1],
            dilationHFactor=op.dilation[0],
            dilationWFactor=op.dilation[1],
        )

    def depthwise(self, op: Op, sources: list[int], targets: list[int]) -> None:
        channels, filters = self.file.shape(sources[0])[3], self.file.shape(targets[0])[3]
        if filters % channels:
            raise self._error(op, f"{filters} output channels are no multiple of {channels}")
        source, padding = self._window(op, sources[0], targets[0])
        parameters = self._parameters(op, (1, *op.kernel, filters), 3, source, targets[0])
        self._activated(
            op,
            "DEPTHWISE_CONV_2D",
            [source, *parameters],
            targets[0],
            "DepthwiseConv2DOptions",
            padding=padding,
            strideH=op.stride[0],
            strideW=op.stride[1],
            depthMultiplier=filters // channels,
            dilationHFactor=op.dilation[0],
            dilationWFactor=op.dilation[1],
        )

    def transpose_conv(self, op: Op, sources: list[int], targets: list[int]) -> None:
        """SAME where the map grows by the stride, else VALID and a cut (or zeros) to the declared size."""
        (n, height, width, channels), (_, out_h, out_w, filters) = map(self.file.shape, (sources[0], targets[0]))
        parameters = self._parameters(op, (filters, *op.kernel, channels), 0, sources[0], targets[0])
        grown = (height * op.stride[0], width * op.stride[1])
        same = (out_h, out_w) == grown
        full = tuple((s - 1) * t + k for s, t, k in zip((height, width), op.stride, op.kernel, strict=True))
        size = (out_h, out_w) if same else full
        exact = size == (out_h, out_w)
        result = targets[0] if exact and op.activation in _FUSED else self.file.like(targets[0], (n, *size, filters))
        self.file.emit(
            "TRANSPOSE_CONV",
            [self.file.integers((n, *size, filters)), parameters[0], sources[0], parameters[1]],
            [result],
            "TransposeConvOptions",
            padding=0 if same else 1,
            strideH=op.stride[0],
            strideW=op.stride[1],
            fusedActivationFunction=_FUSED.get(op.activation, 0),
        )
        if not exact:
            pads = [(0, max(0, want - have)) for want, have in zip((out_h, out_w), size, strict=True)]
            result = self._padded(result, ((0, 0), *pads, (0, 0))) if any(map(any, pads)) else result
            begin = (
                0,
                *(min(p, max(0, h - w)) for p, h, w in zip(op.padding[::2], size, (out_h, out_w), strict=True)),
                0,
            )
            result = self._sliced(
                result, (n, out_h, out_w, filters), targets[0] if op.activation in _FUSED else None, begin
            )
        if op.activation not in _FUSED:
            self._activate(op, result, targets[0])

    def fully_connected(self, op: Op, sources: list[int], targets: list[int]) -> None:
        """One row of inputs per row of outputs; every other shape is flattened before or behind it."""
        units = self.file.shape(targets[0])[-1]
        elements = math.prod(self.file.shape(sources[0]))
        rows = max(1, math.prod(self.file.shape(targets[0])) // max(1, units))
        if elements % rows:
            raise self._error(op, f"{elements} inputs do not divide into {rows} rows")
        features = elements // rows
        source, target = sources[0], targets[0]
        keeps = (
            self.file.shape(source) == (*self.file.shape(target)[:-1], features) and len(self.file.shape(target)) > 2
        )
        flat = self.file.shape(target) == (rows, units)
        result = target if keeps or flat else self.file.like(target, (rows, units))
        parameters = self._parameters(op, (units, features), 0, source, target)
        options = "FullyConnectedOptions"
        self._activated(op, "FULLY_CONNECTED", [source, *parameters], result, options, keepNumDims=keeps)
        if result != target:
            self._reshape(result, target)

    def matmul(self, op: Op, sources: list[int], targets: list[int]) -> None:
        if len(sources) == 1:
            self.fully_connected(op, sources, targets)
            return
        left, right, out = (self.file.shape(t) for t in (*sources[:2], targets[0]))
        for adj_x, adj_y in itertools.product((False, True), repeat=2):
            x = (left[-1], left[-2]) if adj_x else left[-2:]
            y = (right[-1], right[-2]) if adj_y else right[-2:]
            if x[1] == y[0] and (x[0], y[1]) == out[-2:]:
                options = "BatchMatMulOptions"
                self.file.emit("BATCH_MATMUL", sources[:2], targets, options, adjX=adj_x, adjY=adj_y)
                return
        raise self._error(op, f"shapes {list(left)} and {list(right)} do not multiply to {list(out)}")

    def pool(self, op: Op, sources: list[int], targets: list[int]) -> None:
        source, padding = self._window(op, sources[0], targets[0])
        self._pool(op, source, targets[0], op.kernel, op.stride, padding)

    def _pool(self, op: Op, source: int, target: int, kernel: Shape, stride: Shape, padding: int) -> None:
        self._activated(
            op,
            "MAX_POOL_2D" if "max" in op.type else "AVERAGE_POOL_2D",
            [source],
            target,
            "Pool2DOptions",
            padding=padding,
            strideH=stride[0],
            strideW=stride[1],
            filterHeight=kernel[0],
            filterWidth=kernel[1],
        )

    def global_pool(self, op: Op, sources: list[int], targets: list[int]) -> None:
        window = self.file.shape(sources[0])[1:3]
        self._pool(op, sources[0], targets[0], window, window, 1)

    def binary(self, op: Op, sources: list[int], targets: list[int]) -> None:
        """Two activations, or an activation and a constant of ``const_bytes`` elements."""
        builtin, options = _BINARY[op.type]
        out = self.file.shape(targets[0])
        operands = [self._broadcastable(op, source, out) for source in sources[:2]]
        if len(operands) == 1:
            same_scale = self.file.affine[operands[0]] if op.type in _KEEPS_SCALE else None
            operands.append(self._constant(self._broadcast(op, self.file.shape(operands[0]), out), same_scale))
        if op.type == "div":
            self._in_float(builtin, operands, targets[0], options)
        elif op.type in {"maximum", "minimum", "squared_difference"}:
            self.file.emit(builtin, operands, targets, options)
        else:
            self._activated(op, builtin, operands, targets[0], options)

    def _broadcastable(self, op: Op, source: int, out: Shape) -> int:
        """An operand that broadcasts to the output; one of its size in another layout is seen in the output's."""
        shape = self.file.shape(source)
        if len(shape) <= len(out) and all(a in {1, b} for a, b in zip(reversed(shape), reversed(out), strict=False)):
            return source
        if math.prod(shape) != math.prod(out):
            raise self._error(op, f"{list(shape)} does not broadcast to {list(out)}")
        return self._reshaped(source, out)

    def _broadcast(self, op: Op, shape: Shape, out: Shape) -> Shape:
        """Shape of a constant operand: one that has the stated number of elements and broadcasts to ``out``."""
        elements = max(1, op.const_bytes * 8 // max(1, op.weight_bits))
        needed = [d for d in range(len(out)) if len(shape) == len(out) and shape[d] != out[d]]
        for count in range(len(out) + 1):
            for kept in itertools.combinations(reversed(range(len(out))), count):
                found = tuple(size if d in kept else 1 for d, size in enumerate(out))
                if math.prod(found) == elements and all(d in kept for d in needed):
                    return found
        return out if needed else (1,) * len(out)

    def _in_float(self, builtin: str, sources: Sequence[int], target: int, options: str = "") -> None:
        floats = []
        for source in sources:
            if self.file.tensors[source].buffer:  # a constant is stored as what it is needed as
                ones = np.ones(self.file.shape(source), np.float32)
                floats.append(self.file.tensor("constant", ones.shape, None, "FLOAT32", ones))
                continue
            floats.append(self.file.like(source, dtype="FLOAT32"))
            self.file.emit("DEQUANTIZE", [source], floats[-1:], "DequantizeOptions")
        result = self.file.like(target, dtype="FLOAT32")
        self.file.emit(builtin, floats, [result], options)
        self.file.emit("QUANTIZE", [result], [target], "QuantizeOptions")

    def float_only(self, op: Op, sources: list[int], targets: list[int]) -> None:
        self._in_float(_FLOAT_ONLY[op.type], sources[:1], targets[0])

    def activation(self, op: Op, sources: list[int], targets: list[int]) -> None:
        self._activate(op, sources[0], targets[0])

    def batch_norm(self, op: Op, sources: list[int], targets: list[int]) -> None:
        """A batch normalization that was not folded: a product and a sum per channel."""
        channels = (self.file.shape(sources[0])[-1],)
        scaled = self.file.like(targets[0])
        self.file.emit("MUL", [sources[0], self._constant(channels)], [scaled], "MulOptions")
        self._activated(op, "ADD", [scaled, self._constant(channels)], targets[0], "AddOptions")

    def concat(self, op: Op, sources: list[int], targets: list[int]) -> None:
        """Along the axis on which the shapes add up; what is missing there is a constant."""
        out = self.file.shape(targets[0])
        shapes = [self.file.shape(s) for s in sources]
        for axis in sorted(range(len(out)), key=lambda d: all(s[d:] == out[d:] for s in shapes)):
            rest = out[axis] - sum(s[axis] for s in shapes if len(s) == len(out))
            others = all(
                len(s) == len(out) and s[:axis] + s[axis + 1 :] == out[:axis] + out[axis + 1 :] for s in shapes
            )
            if others and rest >= 0:
                operands = list(sources)
                if rest:
                    filler = (*out[:axis], rest, *out[axis + 1 :])
                    operands.append(self._constant(filler, self.file.affine[targets[0]]))
                self._activated(op, "CONCATENATION", operands, targets[0], "ConcatenationOptions", axis=axis)
                return
        raise self._error(op, f"{[list(s) for s in shapes]} do not join to {list(out)}")

    def reshape(self, op: Op, sources: list[int], targets: list[int]) -> None:
        if math.prod(self.file.shape(sources[0])) != math.prod(self.file.shape(targets[0])):
            raise self._error(op, "its input and output have different sizes")
        self._reshape(sources[0], targets[0])

    def softmax(self, op: Op, sources: list[int], targets: list[int]) -> None:
        self._emit_prescribed("SOFTMAX", sources[:1], targets[0], "SoftmaxOptions", beta=1.0)

    def pad(self, op: Op, sources: list[int], targets: list[int]) -> None:
        before, after = self.file.shape(sources[0]), self.file.shape(targets[0])
        if len(before) != len(after) or any(b > a for b, a in zip(before, after, strict=True)):
            raise self._error(op, f"{list(before)} is not padded to {list(after)}")
        stated = {1: op.padding[0], 2: op.padding[2]} if len(after) == 4 else {}
        pads = []
        for axis, (b, a) in enumerate(zip(before, after, strict=True)):
            first = min(stated.get(axis, 0) if any(op.padding) else (a - b) // 2, a - b)
            pads.append((first, a - b - first))
        self.file.emit("PAD", [sources[0], self.file.integers(pads)], targets, "PadOptions")

    def slice(self, op: Op, sources: list[int], targets: list[int]) -> None:
        """From the origin: where a slice begins does not change what it costs."""
        before, after = self.file.shape(sources[0]), self.file.shape(targets[0])
        if len(before) == len(after) and all(a <= b for a, b in zip(after, before, strict=True)):
            self._sliced(sources[0], after, targets[0])
            return
        kept = _subsequence(before, after)
        if kept is None:
            raise self._error(op, f"{list(before)} does not slice to {list(after)}")
        ends = [after[kept.index(d)] if d in kept else 1 for d in range(len(before))]
        operands = [self.file.integers(v) for v in ([0] * len(before), ends, [1] * len(before))]
        mask = sum(1 << d for d in range(len(before)) if d not in kept)
        self.file.emit("STRIDED_SLICE", [sources[0], *operands], targets, "StridedSliceOptions", shrinkAxisMask=mask)

    def split(self, op: Op, sources: list[int], targets: list[int]) -> None:
        before, parts = self.file.shape(sources[0]), [self.file.shape(t) for t in targets]
        for axis in range(len(before)):
            sizes = [p[axis] for p in parts if len(p) == len(before)]
            if len(sizes) > 1 and sum(sizes) == before[axis] and len(sizes) == len(parts):
                operands = [sources[0], self.file.integers(sizes), self.file.integers(axis)]
                self.file.emit("SPLIT_V", operands, targets, "SplitVOptions", numSplits=len(sizes))
                return
        for target in targets:
            self.slice(op, sources, [target])

    def transpose(self, op: Op, sources: list[int], targets: list[int]) -> None:
        before, after = self.file.shape(sources[0]), self.file.shape(targets[0])
        orders = itertools.permutations(range(len(before))) if len(before) <= 8 else iter(())
        fitting = [p for p in itertools.islice(orders, 5040) if tuple(before[d] for d in p) == after]
        if not fitting:
            raise self._error(op, f"{list(before)} does not transpose to {list(after)}")
        order = fitting[1] if fitting[0] == tuple(range(len(before))) and len(fitting) > 1 else fitting[0]
        self.file.emit("TRANSPOSE", [sources[0], self.file.integers(order)], targets, "TransposeOptions")

    def upsample(self, op: Op, sources: list[int], targets: list[int]) -> None:
        size = self.file.integers(self.file.shape(targets[0])[1:3])
        self.file.emit("RESIZE_NEAREST_NEIGHBOR", [sources[0], size], targets, "ResizeNearestNeighborOptions")

    def reduce(self, op: Op, sources: list[int], targets: list[int]) -> None:
        before, after = self.file.shape(sources[0]), self.file.shape(targets[0])
        keeps = len(before) == len(after)
        kept = [d for d in range(len(before)) if before[d] == after[d]] if keeps else _subsequence(before, after)
        if kept is None or (keeps and any(after[d] != 1 for d in range(len(after)) if d not in kept)):
            raise self._error(op, f"{list(before)} does not reduce to {list(after)}")
        axes = [d for d in range(len(before)) if d not in kept] or [min(1, len(before) - 1)]
        operands = [sources[0], self.file.integers(axes)]
        self.file.emit(_REDUCTIONS[op.type], operands, targets, "ReducerOptions", keepDims=keeps)

    def tile(self, op: Op, sources: list[int], targets: list[int]) -> None:
        after = self.file.shape(targets[0])
        before = (1,) * (len(after) - len(self.file.shape(sources[0]))) + self.file.shape(sources[0])
        if len(before) != len(after) or any(a % b for a, b in zip(after, before, strict=True)):
            raise self._error(op, f"{list(before)} does not tile to {list(after)}")
        source = sources[0] if self.file.shape(sources[0]) == before else self._reshaped(sources[0], before)
        times = [a // b for a, b in zip(after, before, strict=True)]
        self.file.emit("TILE", [source, self.file.integers(times)], targets, "TileOptions")

    def requantize(self, op: Op, sources: list[int], targets: list[int]) -> None:
        self.file.emit("QUANTIZE", sources[:1], targets, "QuantizeOptions")

    def insert_zeros(self, op: Op, sources: list[int], targets: list[int]) -> None:
        (n, height, width, c), (_, out_h, out_w, _) = self.file.shape(sources[0]), self.file.shape(targets[0])
        steps = [max(1, (o - 1) // max(1, i - 1)) for i, o in ((height, out_h), (width, out_w))]
        if (n, (height - 1) * steps[0] + 1, (width - 1) * steps[1] + 1, c) != self.file.shape(targets[0]):
            raise self._error(op, "the output is not the input with zeros between")
        zero = self.file.tensor("zero", (), self.file.affine[sources[0]], data=np.zeros((), np.int8))
        operands = [sources[0], self.file.integers((1, *steps, 1)), zero]
        self.file.emit("DILATE", operands, targets, "DilateOptions")

    def depth_space(self, op: Op, sources: list[int], targets: list[int]) -> None:
        small, large = sorted((self.file.shape(sources[0]), self.file.shape(targets[0])), key=lambda s: s[1])
        block = max(1, large[1] // max(1, small[1]))
        options = "DepthToSpaceOptions" if op.type == "depth_to_space" else "SpaceToDepthOptions"
        self.file.emit(op.type.upper(), sources[:1], targets, options, blockSize=block)


def _subsequence(shape: Shape, kept: Shape) -> list[int] | None:
    """Which dimensions of ``shape`` remain in ``kept``, counted from the back; sizes may shrink to slices."""
    for exact in (True, False):
        found: list[int] = []
        position = len(shape) - 1
        for size in reversed(kept):
            while position >= 0 and not (shape[position] == size if exact else shape[position] >= size):
                position -= 1
            if position < 0:
                break
            found.insert(0, position)
            position -= 1
        if len(found) == len(kept):
            return found
    return None


_REDUCTIONS = {"mean": "MEAN", "sum": "SUM", "reduce_max": "REDUCE_MAX", "reduce_min": "REDUCE_MIN"}

_Handler = Callable[[_Writer, Op, list[int], list[int]], None]
_HANDLERS: dict[str, _Handler] = {
    "conv2d": _Writer.conv,
    "conv1d": _Writer.conv,
    "depthwise_conv2d": _Writer.depthwise,
    "depthwise_conv1d": _Writer.depthwise,
    "transpose_conv2d": _Writer.transpose_conv,
    "fully_connected": _Writer.fully_connected,
    "matmul": _Writer.matmul,
    "max_pool": _Writer.pool,
    "avg_pool": _Writer.pool,
    "global_avg_pool": _Writer.global_pool,
    "global_max_pool": _Writer.global_pool,
    "activation": _Writer.activation,
    "batch_norm": _Writer.batch_norm,
    "concat": _Writer.concat,
    "softmax": _Writer.softmax,
    "pad": _Writer.pad,
    "slice": _Writer.slice,
    "strided_slice": _Writer.slice,
    "split": _Writer.split,
    "transpose": _Writer.transpose,
    "upsample": _Writer.upsample,
    "tile": _Writer.tile,
    "quantize": _Writer.requantize,
    "dequantize": _Writer.requantize,
    "insert_zeros": _Writer.insert_zeros,
    "depth_to_space": _Writer.depth_space,
    "space_to_depth": _Writer.depth_space,
    **dict.fromkeys(VIEW_OPS, _Writer.reshape),
    **dict.fromkeys(_BINARY, _Writer.binary),
    **dict.fromkeys(_FLOAT_ONLY, _Writer.float_only),
    **dict.fromkeys(_REDUCTIONS, _Writer.reduce),
    **dict.fromkeys(_ONE_OPERATOR, _Writer.activation),
}
