"""Sub-models: consecutive operators of a ``.tflite`` file as a file of their own.

What crosses the border becomes the sub-model's interface: tensors that an operator inside reads and one outside (or the
network's caller) wrote are inputs, tensors written inside and read outside are outputs.  Constants come along, and the
``DEQUANTIZE`` of a constant that the reader of networks folds away comes along with whoever reads its result.
"""

from __future__ import annotations

import copy
import importlib
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hil.errors import NetworkError, UnavailableError

# Operators that meet in a store outside the tensors: they stay together.
_SHARED_STATE = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE", "HASHTABLE")


@dataclass(frozen=True, slots=True)
class Slice:
    """A sub-model.  ``inputs`` and ``outputs`` are its interface in order, as tensor numbers of the original file."""

    model: bytes
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def cut(model: bytes, ops: Sequence[int]) -> Slice:
    """The operators ``ops`` (consecutive positions in the file) of sub-graph 0 as a model of their own.

    Raises NetworkError where the operators are not consecutive, or keep state that others outside share.
    """
    return cut_parsed(parse(model), ops)


def parse(model: bytes) -> Any:
    """The file as LiteRT's ``ModelT``, with buffers that lie behind the flatbuffer (large files) pulled in."""
    import numpy as np

    try:
        parsed = _schema().ModelT.InitFromPackedBuf(model, 0)
    except (struct.error, ValueError, IndexError, TypeError, AttributeError, OverflowError) as error:
        # What flatbuffers raises for a table that points outside the file.
        raise NetworkError("not a readable .tflite file; expected schema version 3") from error
    for buffer in parsed.buffers or ():
        if buffer.data is None and buffer.offset > 1:
            buffer.data = np.frombuffer(model, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return parsed


def builtin_of(model: Any, operator: Any) -> int:
    """The builtin code of an operator (``BuiltinOperator``) of a parsed file."""
    code = model.operatorCodes[operator.opcodeIndex]
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))


def is_constant(model: Any, tensor: Any) -> bool:
    """Whether the file holds the tensor's values."""
    data = model.buffers[tensor.buffer].data
    return not tensor.isVariable and data is not None and len(data) > 0


def cut_parsed(parsed: Any, ops: Sequence[int]) -> Slice:
    """As :func:`cut`, on a file that :func:`parse` has read; ``parsed`` is not changed."""
    graph = parsed.subgraphs[0]
    count = len(graph.operators)
    if not ops or list(ops) != list(range(ops[0], ops[0] + len(ops))) or ops[0] < 0 or ops[-1] >= count:
        raise NetworkError(f"operators {list(ops)} cannot be cut out; expected consecutive ones of 0 to {count - 1}")
    _check_state(parsed, ops)
    folded = _folded(parsed)
    kept = set(ops)
    kept.update(folded[i] for k in ops for i in graph.operators[k].inputs if i in folded)
    inside = [graph.operators[k] for k in sorted(kept)]
    outside = [op for k, op in enumerate(graph.operators) if k not in kept]

    def carried(index: int) -> bool:
        tensor = graph.tensors[index]
        # An empty tensor has no buffer, constant or not: without a writer there is nothing to hand over.
        empty = 0 in tensor.shape if tensor.shape is not None else False
        return bool(is_constant(parsed, tensor) or tensor.isVariable or index in folded or empty)

    written = {i for op in inside for i in op.outputs}
    read = [i for op in inside for i in op.inputs if i >= 0]
    inputs = tuple(dict.fromkeys(i for i in read if i not in written and not carried(i)))
    needed = {*graph.outputs, *(i for op in outside for i in op.inputs)}
    outputs = tuple(dict.fromkeys(i for op in inside for i in op.outputs if i in needed and not carried(i)))
    return Slice(_pack(parsed, inside, inputs, outputs), inputs, outputs)


def keeps_state(parsed: Any) -> bool:
    """Whether an inference of this parsed file can depend on those before it."""
    return bool(_state(parsed))


def _check_state(parsed: Any, ops: Sequence[int]) -> None:
    """State is kept by one interpreter only: operators that share some must be in the same slice."""
    for members in _state(parsed):
        if not set(members).isdisjoint(ops) and not set(members) <= set(ops):
            raise NetworkError(
                f"operators {members} share state between inferences; expected all of them on the same unit"
            )


def _state(parsed: Any) -> list[list[int]]:
    """Positions of the operators that share each piece of state: a variable tensor, or the resources."""
    graph = parsed.subgraphs[0]
    names = {code: name for name, code in vars(_schema().BuiltinOperator).items() if name.startswith(_SHARED_STATE)}
    groups: dict[object, list[int]] = {}
    for position, op in enumerate(graph.operators):
        if builtin_of(parsed, op) in names:
            groups.setdefault("resources", []).append(position)
        for i in {i for i in (*op.inputs, *op.outputs) if i >= 0 and graph.tensors[i].isVariable}:
            groups.setdefault(i, []).append(position)
    return list(groups.values())


def _folded(parsed: Any) -> dict[int, int]:
    """Tensors that only unpack a constant, and the operators that do so."""
    graph = parsed.subgraphs[0]
    dequantize = _schema().BuiltinOperator.DEQUANTIZE
    return {
        int(op.outputs[0]): position
        for position, op in enumerate(graph.operators)
        if builtin_of(parsed, op) == dequantize and is_constant(parsed, graph.tensors[op.inputs[0]])
    }


def _pack(parsed: Any, operators: Iterable[Any], inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
    """A file of these operators of sub-graph 0, with nothing in it that they do not use."""
    import flatbuffers

    schema = _schema()
    source = parsed.subgraphs[0]
    tensors: dict[int, int] = {-1: -1}
    buffers: dict[int, int] = {0: 0}
    codes: dict[int, int] = {}

    def number(indices: Iterable[int]) -> list[int]:
        return [tensors.setdefault(int(i), len(tensors) - 1) for i in indices]

    def operator(original: Any) -> Any:
        made = copy.copy(original)
        made.inputs, made.outputs = number(original.inputs), number(original.outputs)
        made.intermediates = None if original.intermediates is None else number(original.intermediates)
        made.opcodeIndex = codes.setdefault(original.opcodeIndex, len(codes))
        return made

    def tensor(original: Any) -> Any:
        made = copy.copy(original)
        made.buffer = buffers.setdefault(original.buffer, len(buffers))
        return made

    def sub_graph(original: Any) -> Any:
        made = copy.copy(original)
        made.tensors = [tensor(one) for one in original.tensors]
        made.operators = [copy.copy(one) for one in original.operators]
        for one in made.operators:
            one.opcodeIndex = codes.setdefault(one.opcodeIndex, len(codes))
        return made

    graph = schema.SubGraphT()
    graph.name = source.name
    graph.inputs = number(inputs)
    graph.operators = [operator(op) for op in operators]
    graph.outputs = number(outputs)
    graph.tensors = [tensor(source.tensors[i]) for i in tensors if i >= 0]
    made = schema.ModelT()
    made.version = parsed.version
    # Sub-graphs that initialise state are called by number: they stay, in place.
    made.subgraphs = [graph, *(sub_graph(one) for one in parsed.subgraphs[1:])]
    made.operatorCodes = [parsed.operatorCodes[i] for i in codes]
    made.buffers = [parsed.buffers[i] for i in buffers]
    builder = flatbuffers.Builder(1024 + sum(len(b.data) for b in made.buffers if b.data is not None))
    builder.Finish(made.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _schema() -> Any:
    """The generated schema; imported only here because it takes a tenth of a second with its numpy."""
    try:
        return importlib.import_module("ai_edge_litert.schema_py_generated")
    except ImportError as error:
        raise UnavailableError("LiteRT is missing: no network can be cut", hint="pip install ai-edge-litert") from error
