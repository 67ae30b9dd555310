"""Reader of ``.tflite`` files.

Reads sub-graph 0 of a file of schema version 3 into a :class:`~hil.network.graph.Network` whose tensors keep the
numbers they have in the file.  Nothing is executed.  Every reference in the file is checked before it is followed,
so that a damaged or hostile file ends in :class:`~hil.errors.NetworkError`.

What is counted: weights and biases in elements and stored bytes; a bias of zeros only, which the converter adds where
a layer has none, counts as bytes but not as parameters.  A weight buffer that an earlier op used already marks the op
as ``shared_weights``, its bias included.  Constants that are data (an added tensor, PReLU slopes) are ``const_bytes``;
shapes, axes and paddings are not.  A ``DEQUANTIZE`` of a constant (float16 files) is dropped: its result stands for
the constant.  Sub-graphs that only initialise state (``CALL_ONCE``) are no part of an inference and stay unread.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hil.errors import NetworkError
from hil.network import _flatbuffer as fb
from hil.network import _limits as limits
from hil.network import _schema as schema
from hil.network._tflite_ops import Rule, Site, rule_of
from hil.network.graph import DTYPE_BITS, Network, Op, Quantization, Tensor

_HINT_CONVERT = "convert the network again with a current TensorFlow or LiteRT converter"
_SMALL = 64  # elements of a constant that is read as numbers: axes, paddings


def read_tflite(data: bytes, name: str) -> Network:
    """The network in a ``.tflite`` file's bytes; ``name`` is the network's name and starts every message."""
    if len(data) > limits.MAX_TFLITE_BYTES:
        raise NetworkError(f"{name}: {len(data)} bytes; expected at most {limits.MAX_TFLITE_BYTES}")
    if data[4:8] != schema.FILE_IDENTIFIER:
        found = data[4:8].decode("latin-1").encode("unicode_escape").decode()
        raise NetworkError(
            f"{name}: file identifier '{found}' at byte 4; expected 'TFL3'",
            hint="is it a .tflite file, and complete?",
        )
    model = fb.FlatFile(data, name).root()
    version = model.scalar(schema.Model.VERSION, fb.UINT32)
    if version != schema.SCHEMA_VERSION:
        raise NetworkError(f"{name}: schema version {version}; expected 3", hint=_HINT_CONVERT)
    graphs = model.tables(schema.Model.SUBGRAPHS, limits.MAX_OPS)
    if not graphs:
        raise NetworkError(f"{name}: no sub-graph; expected one", hint=_HINT_CONVERT)
    return limits.checked_totals(_GraphReader(model, graphs[0], name).read(len(graphs) - 1))


@dataclass(slots=True)
class _GraphReader:
    """Reads one sub-graph.  The lists below fill up as the file is walked, in its own order."""

    model: fb.Table
    graph: fb.Table
    name: str
    tensors: list[Tensor] = field(default_factory=list)
    content: dict[int, tuple[int, int]] = field(default_factory=dict)  # constant tensor -> its bytes (start, size)
    variables: set[int] = field(default_factory=set)
    dynamic: set[int] = field(default_factory=set)  # tensors of unknown size beyond their batch
    stands_for: dict[int, int] = field(default_factory=dict)  # dequantized constant -> the constant
    written: set[int] = field(default_factory=set)
    used_buffers: set[tuple[int, int]] = field(default_factory=set)
    zero_buffers: dict[tuple[int, int], bool] = field(default_factory=dict)
    unscanned: int = 0

    def read(self, extra_graphs: int) -> Network:
        self.unscanned = len(self.model.file.data)
        self._read_tensors()
        inputs = self._interface(schema.SubGraph.INPUTS, "input")
        outputs = self._interface(schema.SubGraph.OUTPUTS, "output")
        self.written = {*inputs, *self.variables}
        ops = self._read_ops()
        for index in outputs:
            if index not in self.written and not self.tensors[index].constant:
                raise self._error(f"output tensor {index} ({self.tensors[index].name})", "no op writes it", "one op")
        notes = {
            "description": self.model.text(schema.Model.DESCRIPTION),
            "ignored_subgraphs": str(extra_graphs) if extra_graphs else "",
            "folded_dequantize": str(len(self.stands_for)) if self.stands_for else "",
        }
        return Network(
            name=self.name,
            tensors=tuple(self.tensors),
            ops=tuple(ops),
            inputs=inputs,
            outputs=outputs,
            file_bytes=len(self.model.file.data),
            model=self.model.file.data,
            metadata={key: value for key, value in notes.items() if value},
        )

    def _error(self, where: str, what: str, expected: str, hint: str | None = None) -> NetworkError:
        return NetworkError(f"{self.name}: {what} at {where}; expected {expected}", hint=hint)

    # Tensors

    def _read_tensors(self) -> None:
        buffers = [self._buffer(table) for table in self.model.tables(schema.Model.BUFFERS, limits.MAX_TENSORS)]
        for index, table in enumerate(self.graph.tables(schema.SubGraph.TENSORS, limits.MAX_TENSORS)):
            self._read_tensor(index, table, buffers)

    def _buffer(self, table: fb.Table) -> tuple[int, int]:
        """Start and size of a buffer's bytes: in the flatbuffer, or behind it in files over 2 GB and newer ones."""
        start, size = table.span(schema.Buffer.DATA)
        if size:
            return start, size
        start, size = table.scalar(schema.Buffer.OFFSET, fb.UINT64), table.scalar(schema.Buffer.SIZE, fb.UINT64)
        if start <= 1 or not size:  # 0 and 1 are placeholders
            return 0, 0
        if start + size > len(self.model.file.data):
            raise self.model.file.broken(f"a buffer of {size} bytes at byte {start} runs past the end")
        return start, size

    def _read_tensor(self, index: int, table: fb.Table, buffers: Sequence[tuple[int, int]]) -> None:
        fields = schema.TensorFields
        label = table.text(fields.NAME)
        where = f"{self.name}: tensor {index} ({label})"
        code = table.scalar(fields.TYPE, fb.INT8)
        if not 0 <= code < len(schema.ELEMENT_TYPES):
            raise NetworkError(f"{where}: element type {code}; expected 0 to {len(schema.ELEMENT_TYPES) - 1}")
        if table.table(fields.SPARSITY) is not None:
            raise NetworkError(f"{where}: sparse tensor; expected a dense one", hint="convert without sparsity")
        dtype = schema.ELEMENT_TYPES[code]
        shape = limits.checked_shape(table.numbers(fields.SHAPE, "<i4"), where)
        buffer = table.scalar(fields.BUFFER, fb.UINT32)
        if buffer >= max(len(buffers), 1):
            raise NetworkError(f"{where}: buffer {buffer}; expected one of {len(buffers)}")
        start, size = buffers[buffer] if buffers else (0, 0)
        variable = bool(table.scalar(fields.IS_VARIABLE, fb.BOOL))
        tensor = Tensor(
            name=label,
            shape=shape,
            dtype=dtype,
            constant=bool(size) and not variable,
            quantization=_quantization(table, shape, where),
            bits=DTYPE_BITS.get(dtype, 0),
        )
        if tensor.constant:
            if tensor.size_bytes > size:
                raise NetworkError(f"{where}: {size} bytes of data; expected {tensor.size_bytes} for its shape")
            self.content[index] = (start, tensor.size_bytes)
        if variable:
            self.variables.add(index)
        if any(dim < 0 for dim in table.numbers(fields.SHAPE_SIGNATURE, "<i4")[1:]):
            self.dynamic.add(index)
        self.tensors.append(tensor)

    def _interface(self, slot: int, what: str) -> tuple[int, ...]:
        """The sub-graph's inputs or outputs."""
        indices = self._indices(self.graph, slot, f"the graph's {what}s", optional=False)
        if what == "input":
            indices = tuple(dict.fromkeys(i for i in indices if not self.tensors[i].constant))
            for index in self.dynamic.intersection(indices):
                raise self._error(
                    f"input tensor {index} ({self.tensors[index].name})",
                    "dynamic shape",
                    "fixed sizes (only the batch may be dynamic)",
                    "convert with a fixed input shape",
                )
        return indices

    def _indices(self, table: fb.Table, slot: int, where: str, *, optional: bool) -> tuple[int, ...]:
        """A vector of tensor numbers, each one checked; -1 stands for an operand that is left out."""
        indices = table.numbers(slot, "<i4")
        for index in indices:
            if not (0 <= index < len(self.tensors) or (optional and index == -1)):
                raise self._error(where, f"tensor {index}", f"0 to {len(self.tensors) - 1}")
        return tuple(indices)

    # Ops

    def _read_ops(self) -> list[Op]:
        codes = [self._operator_code(table) for table in self.model.tables(schema.Model.OPERATOR_CODES, limits.MAX_OPS)]
        ops: list[Op] = []
        for position, table in enumerate(self.graph.tables(schema.SubGraph.OPERATORS, limits.MAX_OPS)):
            opcode = table.scalar(schema.Operator.OPCODE_INDEX, fb.UINT32)
            if opcode >= len(codes):
                raise self._error(f"op {position}", f"operator code {opcode}", f"0 to {len(codes) - 1}")
            op = self._read_op(position, len(ops), table, *codes[opcode])
            if op is not None:
                ops.append(op)
        return ops

    def _operator_code(self, table: fb.Table) -> tuple[str, str]:
        """Builtin name and, for custom operators, their own name."""
        fields = schema.OperatorCode
        code = max(table.scalar(fields.DEPRECATED_BUILTIN_CODE, fb.INT8), table.scalar(fields.BUILTIN_CODE, fb.INT32))
        if not 0 <= code < len(schema.BUILTIN_OPERATORS):
            raise NetworkError(
                f"{self.name}: builtin operator {code}; expected 0 to {len(schema.BUILTIN_OPERATORS) - 1}",
                hint="the file is damaged, or newer than this version of hil",
            )
        return schema.BUILTIN_OPERATORS[code], table.text(fields.CUSTOM_CODE)

    def _read_op(self, position: int, index: int, table: fb.Table, builtin: str, custom: str) -> Op | None:
        where = f"op {position} ({custom or builtin})"
        if builtin in schema.CONTROL_FLOW:
            raise self._error(where, "control flow", "a plain graph", "unroll loops and conditions before converting")
        operands = self._indices(table, schema.Operator.INPUTS, where, optional=True)
        outputs = self._indices(table, schema.Operator.OUTPUTS, where, optional=False)
        operands = tuple(self.stands_for.get(i, i) for i in operands)
        if self._folds(builtin, operands, outputs):
            return None
        self._check_order(where, operands, outputs)
        options = self._options(table, builtin, where)
        rule = rule_of(builtin)
        type_ = f"custom:{custom or 'unnamed'}" if builtin == schema.CUSTOM else rule.type
        op = Op(
            index=index,
            name=self.tensors[outputs[0]].name if outputs else f"{type_}_{index}",
            type=type_,
            inputs=tuple(i for i in operands if i >= 0 and not self.tensors[i].constant),
            outputs=outputs,
            activation=rule.activation or self._fused_activation(where, options),
        )
        op = self._with_constants(op, rule, operands)
        integers = _Integers(self, operands)
        site = Site(f"{self.name}: {where}", self.tensors, operands, outputs, rule.operands, options, integers)
        return rule.handler(site, op) if rule.handler else op

    def _folds(self, builtin: str, operands: Sequence[int], outputs: Sequence[int]) -> bool:
        """Whether the op only unpacks a constant of the same shape; its output then stands for that constant."""
        if builtin != "DEQUANTIZE" or len(operands) != 1 or len(outputs) != 1 or operands[0] < 0:
            return False
        source, result = self.tensors[operands[0]], self.tensors[outputs[0]]
        if not source.constant or source.shape != result.shape or result.constant or outputs[0] in self.written:
            return False
        self.stands_for[outputs[0]] = operands[0]
        self.tensors[outputs[0]] = replace(result, constant=True)
        return True

    def _check_order(self, where: str, operands: Sequence[int], outputs: Sequence[int]) -> None:
        """Ops stand in execution order: what one reads is there already, and nothing is written twice."""
        for i in operands:
            if i < 0:
                continue
            tensor = self.tensors[i]
            if not tensor.constant and not tensor.elements and i not in self.written:
                self.tensors[i] = replace(tensor, constant=True)  # an empty constant has no buffer
            elif not tensor.constant and i not in self.written:
                raise self._error(where, f"tensor {i} ({tensor.name}) read before any op wrote it", "execution order")
        for i in outputs:
            tensor = self.tensors[i]
            if (i in self.written and i not in self.variables) or tensor.constant:
                raise self._error(where, f"tensor {i} ({tensor.name}) written again", "every tensor written once")
            self.written.add(i)
        for i in (*operands, *outputs):
            if i >= 0 and not self.tensors[i].bits:
                raise self._error(where, f"{self.tensors[i].dtype} tensor {i}", "numbers")

    def _options(self, table: fb.Table, builtin: str, where: str) -> dict[str, int]:
        if builtin not in schema.OPTIONS:
            return {}
        kind, fields = schema.OPTIONS[builtin]
        found = table.scalar(schema.Operator.OPTIONS_TYPE, fb.UINT8)
        options = table.table(schema.Operator.OPTIONS)
        if options is None or not found:
            return {name: option.default for name, option in fields.items()}
        if found != kind:
            raise self._error(where, f"options of kind {found}", str(kind))
        return {name: options.scalar(option.slot, option.flags, option.default) for name, option in fields.items()}

    def _fused_activation(self, where: str, options: dict[str, int]) -> str | None:
        code = options.get("activation", 0)
        if not 0 <= code < len(schema.FUSED_ACTIVATIONS):
            raise self._error(where, f"activation code {code}", f"0 to {len(schema.FUSED_ACTIVATIONS) - 1}")
        return schema.FUSED_ACTIVATIONS[code]

    def _with_constants(self, op: Op, rule: Rule, operands: Sequence[int]) -> Op:
        """``op`` with its weights, biases and other constant data counted."""
        named = rule.operands
        constants = [(k, i) for k, i in enumerate(operands) if i >= 0 and self.tensors[i].constant]
        weights = [i for k, i in constants if k in named.weights]
        biases = [i for k, i in constants if k in named.biases]
        others = [i for k, i in constants if k not in named.weights | named.biases | named.structure]
        spans = {self.content[i] for i in (weights or others) if i in self.content}
        shared = bool(spans) and spans <= self.used_buffers
        self.used_buffers |= spans
        first = self.tensors[weights[0]] if weights else None
        return replace(
            op,
            weights=sum(self.tensors[i].elements for i in weights),
            weight_bytes=sum(self.tensors[i].size_bytes for i in weights),
            weight_bits=first.bits if first else 8,
            weight_quantization=first.quantization if first else None,
            biases=sum(self.tensors[i].elements for i in biases if not self._is_zero(i)),
            bias_bytes=sum(self.tensors[i].size_bytes for i in biases),
            const_bytes=sum(self.tensors[i].size_bytes for i in others),
            shared_weights=shared,
        )

    def _is_zero(self, index: int) -> bool:
        """Whether a constant holds zeros only.  Scans each byte of the file once at most, whatever overlaps."""
        span = self.content.get(index)
        if span is None:
            return False
        if span not in self.zero_buffers:
            self.unscanned -= span[1]
            data = self.model.file.data
            zero = self.unscanned >= 0 and not np.frombuffer(data, np.uint8, span[1], span[0]).any()
            self.zero_buffers[span] = zero
        return self.zero_buffers[span]


@dataclass(frozen=True, slots=True)
class _Integers:
    """Reads a small integer constant among an op's operands; None where it is absent, computed or large."""

    reader: _GraphReader
    operands: Sequence[int]

    def __call__(self, which: int) -> tuple[int, ...] | None:
        index = self.operands[which] if which < len(self.operands) else -1
        if index not in self.reader.content:
            return None
        tensor = self.reader.tensors[index]
        if tensor.dtype not in {"int32", "int64"} or tensor.elements > _SMALL:
            return None
        kind = np.dtype(f"<i{tensor.bits // 8}")
        start = self.reader.content[index][0]
        return tuple(np.frombuffer(self.reader.model.file.data, kind, tensor.elements, start).tolist())


def _quantization(table: fb.Table, shape: Sequence[int], where: str) -> Quantization | None:
    """Scales and zero points of a tensor; None for a tensor without, or with a scheme other than affine."""
    fields = schema.QuantizationParameters
    params = table.table(schema.TensorFields.QUANTIZATION)
    if params is None or params.scalar(fields.DETAILS_TYPE, fb.UINT8):
        return None
    scales = params.numbers(fields.SCALE, "<f4")
    zero_points = params.numbers(fields.ZERO_POINT, "<i8")
    if not scales:
        return None
    if not all(math.isfinite(scale) and scale >= 0 for scale in scales):
        raise NetworkError(f"{where}: a scale that is negative or not finite; expected finite scales")
    axis = params.scalar(fields.QUANTIZED_DIMENSION, fb.INT32)
    if len(scales) > 1 and not (0 <= axis < len(shape) and shape[axis] == len(scales)):
        raise NetworkError(
            f"{where}: {len(scales)} scales along axis {axis} of {list(shape)}; expected one per channel"
        )
    if len(zero_points) not in {0, 1, len(scales)}:
        raise NetworkError(f"{where}: {len(zero_points)} zero points for {len(scales)} scales; expected as many")
    if len(zero_points) < len(scales):
        zero_points = (zero_points or [0]) * len(scales)
    return Quantization(tuple(scales), tuple(zero_points), axis if len(scales) > 1 else 0)
