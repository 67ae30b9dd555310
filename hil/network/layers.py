"""Reader of layer lists: networks described in JSON, layer by layer.

The smallest useful file::

    {"input_shapes": [[1, 32, 32, 3]],
     "ops": [{"type": "conv2d", "kernel": [3, 3], "stride": 2, "padding": "same", "filters": 16, "activation": "relu"},
             {"type": "global_avg_pool"},
             {"type": "fully_connected", "filters": 10}]}

Shapes are NHWC with the batch, ``[1, L, C]`` for one-dimensional layers, ``[1, F]`` for vectors; ``kernel``,
``stride`` and ``dilation`` are ``[h, w]``, ``[k]`` in one dimension, or one number; ``padding`` is ``"same"``,
``"valid"``, ``[top, bottom, left, right]`` or, in one dimension, ``[left, right]``.

An op's ``inputs`` are numbers or names of earlier ops, and ``"input"``, ``"input1"``… for the network's own; without
them it reads the op before.  The network's outputs are the ops in ``outputs``, or all that no op reads.

What an op leaves out follows from its shapes: ``out_shape`` where the type allows it, the stride of a convolution (1)
and of a pool (its kernel), ``weights``, one bias per filter, and ``macs``.  What it declares is used, unless the MACs
or weights of a plain layer are more than 1 % off.  Totals at the top of the file must agree as well.

Conventions that follow from the files: ``sigmoid`` is called ``logistic``; operands in ``in_shapes`` beyond
``inputs`` are constants; an op that reads another one twice reads its first two outputs of the right shape;
numbers in ``outputs`` beyond the last op (lists cut from a longer network) are ignored;
``weights_shared_with`` or ``shared_weights`` mark weights of an earlier op; ops marked ``hardware_only`` stay in the
list and in the totals, for the device does execute them, but their result is no output of the network.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeGuard

from hil.errors import NetworkError, did_you_mean, nearest
from hil.network import _limits as limits
from hil.network._layer_rules import (
    ACTIVATION_ALIASES,
    ACTIVATION_TYPES,
    CONV_TYPES,
    SHAPE_RULES,
    TYPE_ALIASES,
    WEIGHTED_TYPES,
    Geometry,
    Pair,
    RuleError,
    Shape,
    macs_of,
    padding_of,
    slid,
    spatial,
    weights_of,
)
from hil.network._schema import words
from hil.network.graph import DTYPE_BITS, POOL_OPS, Network, Op, Tensor

_TOLERANCE = 0.01
_MAX_OPERANDS = 4096
_TWO_DIMENSIONAL = frozenset({"conv2d", "depthwise_conv2d", "transpose_conv2d"})
_NETWORK_KEYS = frozenset(
    words(
        """
    id name aliases source derivation input_shapes outputs precision notes macs params weights biases weight_bytes
    bias_bytes op_count checks ops input_type output_type tensor_types macs_hw hw_layers hw_layers_source
    """
    )
)
_OP_KEYS = frozenset(
    words(
        """
    name type inputs in_shape in_shapes out_shape out_shapes kernel stride padding dilation groups filters
    depth_multiplier activation axis axes perm pads factor macs params weights biases weight_bits bias_bits
    input_bits out_bits quant_type shared_weights weights_shared_with const_operand_elems fused_with_next
    hardware_only input_inferred macs_hw mode begin note reported_macs acc_cycles_xg24 cpu_cycles_xg24
    """
    )
)
_QUANT_TYPES = {"S8": "int8", "S16": "int16", "F32": "float32", "U8": "uint8", "S32": "int32"}
# First words of `derivation`, and the provenance they stand for.
_PROVENANCE = (
    ("parsed", "parsed"),
    ("keras definition run", "parsed"),
    ("traced", "traced"),
    ("vendor layer report", "reported"),
    ("computed", "computed"),
    ("converted", "converted"),
    ("standard", "standard"),
)


def read_layers(data: bytes, name: str) -> Network:
    """The network in a layer list's bytes; ``name`` is the network's name and starts every message."""
    if len(data) > limits.MAX_LAYERS_BYTES:
        raise NetworkError(f"{name}: {len(data)} bytes; expected at most {limits.MAX_LAYERS_BYTES}")
    document = _parse(data, name)
    if not isinstance(document, dict):
        raise NetworkError(f"{name}: {_show(document)}; expected an object with 'input_shapes' and 'ops'")
    network = _ListReader(_Entry(document, name, _NETWORK_KEYS)).read(name)
    return limits.checked_totals(network)


def _parse(data: bytes, name: str) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise NetworkError(f"{name}: number {constant}; expected finite numbers")

    try:
        return json.loads(data, parse_constant=refuse)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise NetworkError(f"{name}: {error.msg} at {where}; expected JSON") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, a number of thousands of digits, nested too deep
        raise NetworkError(f"{name}: {str(error)[:120]}; expected JSON") from None


def _show(value: object) -> str:
    """A value for a message: short, and safe for anything that a file may hold."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        plain = len(value) <= 8 and all(isinstance(item, int | float | str) for item in value)
        return _show(str(value)) if plain else f"a list of {len(value)} values"
    text = limits.clean(value) if isinstance(value, str) else json.dumps(value)
    return f"'{text[:57]}...'" if len(text) > 60 else f"'{text}'"


class _Entry:
    """One JSON object with its place in the file; every getter checks type and range and names both when wrong."""

    def __init__(self, values: Mapping[str, Any], where: str, known: frozenset[str]) -> None:
        self.values = values
        self.where = where
        for key in values:
            if key not in known and not key.startswith("_"):
                raise NetworkError(
                    f"{where}: unknown key {_show(key)}; expected one of the known keys",
                    hint=_near(key, known) + " (keys of your own start with '_')",
                )

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) is not None

    def fail(self, key: str, expected: str, *, hint: str | None = None) -> NetworkError:
        return NetworkError(f"{self.where}: {key} is {_show(self.values.get(key))}; expected {expected}", hint=hint)

    def integer(self, key: str, default: int = 0, *, low: int = 0, high: int = limits.MAX_ELEMENTS) -> int:
        value = self.values.get(key)
        if value is None:
            return default
        if not _is_integer(value) or not low <= value <= high:
            raise self.fail(key, f"an integer from {low} to {high}")
        return int(value)

    def text(self, key: str, default: str = "") -> str:
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self.fail(key, "a text")
        return limits.clean(value)

    def flag(self, key: str) -> bool:
        value = self.values.get(key)
        if value is not None and not isinstance(value, bool):
            raise self.fail(key, "true or false")
        return bool(value)

    def items(self, key: str, limit: int) -> list[Any]:
        value = self.values.get(key)
        if not isinstance(value, list) or len(value) > limit:
            raise self.fail(key, f"a list of at most {limit} values")
        return value

    def integers(self, key: str, *, low: int = 0) -> tuple[int, ...]:
        values = self.items(key, limits.MAX_RANK)
        if not all(_is_integer(value) and low <= value <= limits.MAX_ELEMENTS for value in values):
            raise self.fail(key, f"integers from {low}")
        return tuple(values)

    def shapes(self, key: str) -> list[Shape]:
        return [self._shape(key, value) for value in self.items(key, _MAX_OPERANDS)]

    def shape(self, key: str) -> Shape:
        return self._shape(key, self.values.get(key))

    def _shape(self, key: str, value: object) -> Shape:
        if not isinstance(value, list) or not all(map(_is_integer, value)):
            raise self.fail(key, "a list of integers per shape")
        return limits.checked_shape(value, f"{self.where}: {key}")


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _near(word: str, known: Iterable[str]) -> str:
    return did_you_mean(word[:64], known)


@dataclass(slots=True)
class _ListReader:
    """Turns the entries of one file into tensors and ops, in the order of the file."""

    top: _Entry
    dtype: str = "int8"
    tensors: list[Tensor] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    numbers: dict[str, int | None] = field(default_factory=dict)  # name -> op, None where several have it
    consumed: set[int] = field(default_factory=set)
    operand_count: int = 0

    def read(self, name: str) -> Network:
        self.dtype = self._precision()
        shapes = self.top.shapes("input_shapes")
        entries = self._entries(name)
        if not shapes or not entries:
            raise self.top.fail("input_shapes" if not shapes else "ops", "at least one")
        input_type = self._input_type(entries[0])
        for which, shape in enumerate(shapes):
            self._tensor(f"input{which or ''}", shape, input_type)
        for index, entry in enumerate(entries):
            self._read_op(index, entry)
        hardware_only = [index for index, entry in enumerate(entries) if entry.flag("hardware_only")]
        notes = {
            "id": self.top.text("id"),
            "derivation": self.top.text("derivation"),
            "notes": self.top.text("notes"),
            "hardware_only": " ".join(map(str, hardware_only)),
        }
        network = Network(
            name=name,
            tensors=tuple(self.tensors),
            ops=tuple(self.ops),
            inputs=tuple(range(len(shapes))),
            outputs=self._outputs(set(hardware_only)),
            provenance=self._provenance(),
            metadata={key: value for key, value in notes.items() if value},
        )
        self._check_totals(network)
        return network

    def _entries(self, name: str) -> list[_Entry]:
        entries = []
        for index, values in enumerate(self.top.items("ops", limits.MAX_OPS)):
            if not isinstance(values, dict):
                raise NetworkError(f"{name}: op {index} is {_show(values)}; expected an object with a 'type'")
            label = values.get("name")
            where = (
                f"{name}: op {index} ({limits.clean(label[:60])})" if isinstance(label, str) else f"{name}: op {index}"
            )
            entries.append(_Entry(values, where, _OP_KEYS))
        return entries

    # Element types

    def _precision(self) -> str:
        """The activations' element type.  Descriptions in words are searched for one; a single word must be one."""
        text = self.top.text("precision", "int8").lower()
        words = [word for word in re.findall(r"[a-z]+[0-9]+", text) if word in DTYPE_BITS]
        if not words and text and text.isalnum() and text != "qat":
            raise self.top.fail("precision", "an element type such as int8", hint=_near(text, DTYPE_BITS))
        return next((word for word in words if word != "int32"), "int8")

    def _input_type(self, first: _Entry) -> str:
        """The inputs' element type: as declared, float before a leading quantize op, else that of the network."""
        if "input_type" in self.top:
            declared = self.top.text("input_type").lower()
            if declared not in DTYPE_BITS:
                raise self.top.fail("input_type", "an element type such as int8", hint=_near(declared, DTYPE_BITS))
            return declared
        is_quantize = first.values.get("type") == "quantize" and "quant_type" not in first
        return "float32" if is_quantize else self.dtype

    def _output_type(self, entry: _Entry, type_: str, operands: Sequence[int]) -> str:
        if "quant_type" in entry:
            quant_type = entry.text("quant_type")
            if quant_type not in _QUANT_TYPES:
                raise entry.fail("quant_type", f"one of {sorted(_QUANT_TYPES)}", hint=_near(quant_type, _QUANT_TYPES))
            return _QUANT_TYPES[quant_type]
        if "out_bits" in entry:
            dtype = f"int{entry.integer('out_bits')}"
            if dtype not in DTYPE_BITS:
                raise entry.fail("out_bits", "8, 16, 32 or 64")
            return dtype
        fixed = {"dequantize": "float32", "shape": "int32", "quantize": self.dtype, "fill": self.dtype}
        return fixed.get(type_) or self.tensors[operands[0]].dtype

    def _tensor(self, name: str, shape: Shape, dtype: str) -> int:
        if len(self.tensors) >= limits.MAX_TENSORS:
            raise NetworkError(f"{self.top.where}: too many tensors; expected at most {limits.MAX_TENSORS}")
        self.tensors.append(Tensor(name=name, shape=shape, dtype=dtype, bits=DTYPE_BITS[dtype]))
        return len(self.tensors) - 1

    # Ops

    def _read_op(self, index: int, entry: _Entry) -> None:
        try:
            op = self._op(index, entry)
        except RuleError as error:
            raise NetworkError(f"{entry.where}: {error}") from None
        self.ops.append(op)
        self.consumed.update(op.inputs)
        self.numbers[op.name] = index if op.name not in self.numbers else None

    def _op(self, index: int, entry: _Entry) -> Op:
        type_, activation = _type(entry)
        operands = self._operands(index, entry)
        shapes = [self.tensors[i].shape for i in operands]
        geometry = _geometry(entry, type_, shapes[0])
        outs = _out_shapes(entry, type_, geometry, shapes)
        name = entry.text("name") or f"{type_}_{index}"
        dtype = self._output_type(entry, type_, operands)
        outputs = tuple(self._tensor(f"{name}:{k}" if k else name, shape, dtype) for k, shape in enumerate(outs))
        bits = DTYPE_BITS[self.dtype]
        weight_bits = entry.integer("weight_bits", bits, low=1, high=64)
        count = _Counts.of(entry, type_, geometry, shapes[0], outs[0], index)
        depthwise = type_.startswith("depthwise")
        return Op(
            index=index,
            name=name,
            type=type_,
            inputs=operands,
            outputs=outputs,
            kernel=geometry.kernel,
            stride=geometry.stride,
            padding=padding_of(geometry, spatial(shapes[0])),
            dilation=geometry.dilation,
            groups=geometry.groups,
            depth_multiplier=max(outs[0][-1] // shapes[0][-1], 1) if depthwise else 1,
            activation=activation,
            macs=count.macs,
            weights=count.weights,
            biases=count.biases,
            weight_bytes=_bytes(count.weights, weight_bits),
            bias_bytes=_bytes(count.biases, entry.integer("bias_bits", 32, low=1, high=64)),
            weight_bits=weight_bits,
            const_bytes=_bytes(entry.integer("const_operand_elems"), bits),
            shared_weights=count.shared,
            fused_with_next=entry.flag("fused_with_next"),
        )

    def _operands(self, index: int, entry: _Entry) -> tuple[int, ...]:
        """The tensors that an op reads; by default the result of the op before."""
        default: list[Any] = [index - 1 if index else "input"]
        references = entry.items("inputs", _MAX_OPERANDS) if "inputs" in entry else default
        self.operand_count += len(references)
        if not references or self.operand_count > 10 * limits.MAX_OPS:
            raise entry.fail("inputs", "at least one op or 'input', and not millions")
        shapes: list[Shape] = entry.shapes("in_shapes") if "in_shapes" in entry else []
        if not shapes and "in_shape" in entry:
            shapes = [entry.shape("in_shape")]
        taken: list[int] = []
        for which, reference in enumerate(references):
            wanted = shapes[which] if which < len(shapes) else None
            taken.append(self._choose(entry, self._produced(index, entry, reference), wanted, taken))
        return tuple(taken)

    def _produced(self, index: int, entry: _Entry, reference: object, key: str = "inputs") -> Sequence[int]:
        """The tensors that a reference may mean: a network input, or the outputs of an earlier op."""
        if isinstance(reference, str):
            own_input = re.fullmatch(r"input([0-9]{0,4})", reference)
            if own_input and int(own_input[1] or 0) < len(self.top.values["input_shapes"]):
                return (int(own_input[1] or 0),)
            number = self.numbers.get(reference)
            if number is None:
                known = [*(name for name, k in self.numbers.items() if k is not None), "input"]
                close = nearest(reference[:64], known)
                raise entry.fail(
                    key,
                    f"numbers or unique names of earlier ops, or 'input', not {_show(reference)}",
                    hint=f"did you mean '{close}'?" if close else None,
                )
            reference = number
        if not _is_integer(reference) or not 0 <= reference < index:
            raise entry.fail(key, f"ops before op {index}, not {_show(reference)}")
        return self.ops[reference].outputs

    def _choose(self, entry: _Entry, tensors: Sequence[int], wanted: Shape | None, taken: Sequence[int]) -> int:
        fitting = [i for i in tensors if wanted is None or self.tensors[i].shape == wanted]
        if not fitting:
            found = [list(self.tensors[i].shape) for i in tensors[:4]]
            raise entry.fail("in_shapes" if "in_shapes" in entry else "in_shape", f"the producer's shape {found}")
        return next((i for i in fitting if i not in taken), fitting[0])

    # The whole

    def _outputs(self, hardware_only: set[int]) -> tuple[int, ...]:
        references = self.top.items("outputs", _MAX_OPERANDS) if "outputs" in self.top else []
        # Lists cut from a longer network keep the numbers of its outputs; those ops are not here.
        present = [ref for ref in references if not (_is_integer(ref) and ref >= len(self.ops))]
        if not present:
            unread = (op for op in self.ops if op.index not in hardware_only and not self.consumed & {*op.outputs})
            return tuple(i for op in unread for i in op.outputs)
        outputs: list[int] = []
        for reference in present:
            outputs += self._produced(len(self.ops), self.top, reference, key="outputs")
        return tuple(dict.fromkeys(outputs))

    def _provenance(self) -> str:
        derivation = self.top.text("derivation").lower()
        return next((label for start, label in _PROVENANCE if derivation.startswith(start)), "declared")

    def _check_totals(self, network: Network) -> None:
        """Totals declared at the top of the file must be those of the layers."""
        own = [op for op in network.ops if not op.shared_weights]
        totals = {
            "macs": network.macs,
            "params": network.parameters,
            "weights": sum(op.weights for op in own),
            "biases": sum(op.biases for op in own),
            "weight_bytes": sum(op.weight_bytes for op in own),
            "bias_bytes": network.bias_bytes,
        }
        for key, total in totals.items():
            declared = self.top.integer(key, high=limits.MAX_MACS)
            if declared and _differ(declared, total):
                raise self.top.fail(key, f"{total}, the sum over the layers")
        count = self.top.integer("op_count")
        if count and count != len(network.ops):
            raise self.top.fail("op_count", f"{len(network.ops)}, the length of 'ops'")


def _type(entry: _Entry) -> tuple[str, str | None]:
    """The op's type and activation, in hil's own words."""
    type_ = entry.text("type").lower()
    type_ = TYPE_ALIASES.get(type_, type_)
    activation: str | None = entry.text("activation") or None
    if type_ in ACTIVATION_TYPES:
        type_, activation = "activation", type_
    if type_ not in SHAPE_RULES and not type_.startswith("custom:"):
        known = {*SHAPE_RULES, *TYPE_ALIASES, *ACTIVATION_TYPES}
        raise entry.fail("type", "a known op type", hint=_near(type_, known) if type_ else "every op needs a 'type'")
    return type_, ACTIVATION_ALIASES.get(activation, activation) if activation else None


def _geometry(entry: _Entry, type_: str, shape: Shape) -> Geometry:
    line = type_.endswith("1d") or len(shape) == 3
    whole = spatial(shape) if type_.startswith("global_") else (1, 1)
    if type_ in POOL_OPS and not type_.startswith("global_") and "kernel" not in entry:
        raise entry.fail("kernel", "the pooling window, such as [2, 2]")
    if type_ in CONV_TYPES and "kernel" not in entry:
        raise entry.fail("kernel", "the size of the filter, such as [3, 3]")
    kernel = _pair(entry, "kernel", line, whole)
    channels = shape[-1] if shape else 1
    depthwise = type_.startswith("depthwise")
    groups = entry.integer("groups", channels if depthwise else 1, low=1)
    if depthwise and groups != channels:
        raise entry.fail("groups", f"{channels}, the number of channels")
    multiplied = channels * entry.integer("depth_multiplier", 1) if depthwise else 0
    filters = entry.integer("filters", multiplied, low=1)
    if "out_shape" in entry and "filters" not in entry:
        filters = next(reversed(entry.shape("out_shape")), 0)
    return Geometry(
        kernel=kernel,
        stride=_pair(entry, "stride", line, kernel if type_ in POOL_OPS else (1, 1)),
        dilation=_pair(entry, "dilation", line, (1, 1)),
        padding=_padding(entry, line) if "padding" in entry else (0, 0, 0, 0),
        groups=groups,
        filters=filters or None,
        axis=entry.integer("axis", -1, low=-limits.MAX_RANK, high=limits.MAX_RANK),
        axes=entry.integers("axes", low=-limits.MAX_RANK) if "axes" in entry else (),
        perm=entry.integers("perm", low=-limits.MAX_RANK) if "perm" in entry else (),
        pads=_pads(entry) if "pads" in entry else (),
        factor=_pair(entry, "factor", line, (1, 1)),
    )


def _pair(entry: _Entry, key: str, line: bool, default: Pair) -> Pair:
    """``[h, w]``, ``[k]`` along a line, or one number for both."""
    value = entry.values.get(key)
    if value is None:
        return default
    if _is_integer(value):
        value = [value] if line else [value, value]
    if not isinstance(value, list) or len(value) not in ({1, 2} if line else {2}) or not all(map(_is_integer, value)):
        raise entry.fail(key, "[k] or a number" if line else "[h, w] or a number")
    if not all(1 <= number <= limits.MAX_ELEMENTS for number in value):
        raise entry.fail(key, "positive numbers")
    return value[0], value[1] if len(value) == 2 else 1


def _padding(entry: _Entry, line: bool) -> tuple[int, int, int, int] | str:
    value = entry.values["padding"]
    if isinstance(value, str):
        if value.lower() not in {"same", "valid"}:
            raise entry.fail("padding", "'same', 'valid' or pixels", hint=_near(value, ("same", "valid")))
        return "same" if value.lower() == "same" else (0, 0, 0, 0)
    pixels = entry.integers("padding")
    if len(pixels) == 4:
        return pixels[0], pixels[1], pixels[2], pixels[3]
    if len(pixels) == 2 and line:
        return pixels[0], pixels[1], 0, 0
    raise entry.fail("padding", "[left, right]" if line else "[top, bottom, left, right]")


def _pads(entry: _Entry) -> tuple[Pair, ...]:
    """``[[before, after], …]`` per dimension."""
    pairs = entry.items("pads", limits.MAX_RANK)
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2 or not all(_is_integer(n) and n >= 0 for n in pair):
            raise entry.fail("pads", "[before, after] per dimension")
    return tuple((pair[0], pair[1]) for pair in pairs)


def _out_shapes(entry: _Entry, type_: str, geometry: Geometry, shapes: Sequence[Shape]) -> list[Shape]:
    """The shapes of an op's outputs: as declared, or as they follow from its inputs."""
    outs: list[Shape] = []
    if "out_shapes" in entry:
        outs = entry.shapes("out_shapes")
    elif "out_shape" in entry:
        outs = [entry.shape("out_shape")]
        outs *= _parts(shapes[0], outs[0]) if type_ == "split" else 1
    elif type_ in SHAPE_RULES:
        outs = [limits.checked_shape(SHAPE_RULES[type_](geometry, shapes), entry.where)]
    if not outs:
        raise entry.fail("out_shape", "the op's output shape")
    if type_ in WEIGHTED_TYPES and (len(outs[0]) < 2 or len(shapes[0]) < 2 or 0 in (*shapes[0], *outs[0])):
        raise entry.fail("out_shape", f"a map or vector from {list(shapes[0])}")
    if type_ in _TWO_DIMENSIONAL and len(shapes[0]) != 4:
        raise entry.fail("type", f"an input [1, H, W, C], not {list(shapes[0])}, or conv1d for [1, L, C]")
    windowed = type_ in {*CONV_TYPES, "max_pool", "avg_pool"} - {"transpose_conv2d"}
    if windowed and "padding" in entry and spatial(outs[0]) != slid(geometry, shapes[0]):
        expected = f"(h, w) of {slid(geometry, shapes[0])} from {list(shapes[0])}, kernel, stride and padding"
        raise entry.fail("out_shape", expected)
    return outs


def _parts(whole: Shape, part: Shape) -> int:
    """How many equal parts of one shape a split makes, where only the first is declared."""
    count, rest = divmod(math.prod(whole), math.prod(part) or 1)
    return count if not rest and 1 < count <= 64 else 1


@dataclass(frozen=True, slots=True)
class _Counts:
    """Weights, biases and MACs of one op: as declared, else as its shapes say."""

    weights: int
    biases: int
    macs: int
    shared: bool

    @classmethod
    def of(cls, entry: _Entry, type_: str, geometry: Geometry, shape: Shape, out: Shape, index: int) -> _Counts:
        plain = weights_of(type_, geometry, shape, out)
        elsewhere = entry.integer("shared_weights", high=limits.MAX_MACS)
        shared = bool(elsewhere) or "weights_shared_with" in entry
        if "weights_shared_with" in entry:
            entry.integer("weights_shared_with", high=index - 1)
        weights = entry.integer("weights", high=limits.MAX_MACS) or elsewhere or plain
        default_biases = out[-1] if type_ in WEIGHTED_TYPES else 0
        biases = entry.integer("biases", default_biases, high=limits.MAX_MACS)
        macs = macs_of(type_, plain, shape, out)
        declared = entry.integer("macs", high=limits.MAX_MACS)
        checked = WEIGHTED_TYPES - {"transpose_conv2d"}
        if type_ in checked and _differ(weights, plain):
            raise entry.fail("weights", f"{plain} from its shapes")
        if type_ in checked and declared and _differ(declared, macs):
            raise entry.fail("macs", f"{macs} from its shapes")
        params = entry.integer("params", high=limits.MAX_MACS)
        if params and _differ(params, weights + biases):
            raise entry.fail("params", f"{weights + biases}: weights and biases")
        return cls(weights, biases, declared or macs, shared)


def _differ(declared: int, computed: int) -> bool:
    return abs(declared - computed) > _TOLERANCE * computed


def _bytes(elements: int, bits: int) -> int:
    return (elements * bits + 7) // 8
