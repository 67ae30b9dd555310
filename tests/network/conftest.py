"""Small ``.tflite`` files written for one test each, through LiteRT's own classes for the schema."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

FIXTURES = Path(__file__).parent / "fixtures"
ZOO = Path(__file__).parents[2] / "hil" / "zoo" / "models"


def tensor(shape: Sequence[int], dtype: str = "FLOAT32", data: np.ndarray | None = None, **fields: Any) -> Any:
    """A tensor; with ``data`` a constant.  ``fields`` are further attributes of the schema's Tensor."""
    made = schema.TensorT()
    made.shape = list(shape)
    made.type = getattr(schema.TensorType, dtype)
    made.content = None if data is None else data
    for key, value in fields.items():
        setattr(made, key, value)
    return made


def operator(
    builtin: str, inputs: Sequence[int], outputs: Sequence[int], options: Any = None, custom: str | None = None
) -> Any:
    """An operator; ``options`` is an instance of one of the schema's option classes."""
    made = schema.OperatorT()
    made.inputs, made.outputs = list(inputs), list(outputs)
    made.kind = (getattr(schema.BuiltinOperator, builtin), custom)
    if options is not None:
        made.builtinOptions = options
        made.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
    return made


def options(kind: str, **fields: Any) -> Any:
    made = getattr(schema, f"{kind}OptionsT")()
    for key, value in fields.items():
        setattr(made, key, value)
    return made


def model(tensors: Sequence[Any], ops: Sequence[Any], inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
    """The bytes of a file with these tensors and operators."""
    made = schema.ModelT()
    made.version = 3
    made.buffers = [schema.BufferT()]
    graph = schema.SubGraphT()
    graph.tensors, graph.operators = list(tensors), list(ops)
    graph.inputs, graph.outputs = list(inputs), list(outputs)
    buffers: dict[bytes, int] = {}
    for index, item in enumerate(tensors):
        item.name = item.name or f"t{index}"
        if item.content is not None:
            content = np.ascontiguousarray(item.content).tobytes()
            if content not in buffers:
                buffers[content] = len(made.buffers)
                buffer = schema.BufferT()
                buffer.data = np.frombuffer(content, np.uint8)
                made.buffers.append(buffer)
            item.buffer = buffers[content]
    kinds = list(dict.fromkeys(op.kind for op in ops))
    made.operatorCodes = []
    for builtin, custom in kinds:
        code = schema.OperatorCodeT()
        code.deprecatedBuiltinCode, code.builtinCode, code.customCode = min(builtin, 127), builtin, custom
        code.version = 1
        made.operatorCodes.append(code)
    for op in ops:
        op.opcodeIndex = kinds.index(op.kind)
    made.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(made.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def interpreter(data: bytes) -> Any:
    """LiteRT's reference interpreter for a file's bytes, tensors allocated."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    made = Interpreter(model_content=data, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    made.allocate_tensors()
    return made


class Make:
    """What the tests use of this file."""

    tensor = staticmethod(tensor)
    operator = staticmethod(operator)
    options = staticmethod(options)
    model = staticmethod(model)
    interpreter = staticmethod(interpreter)


@pytest.fixture
def make() -> type[Make]:
    return Make


@pytest.fixture
def fixture_path() -> Callable[[str], Path]:
    """The path of a file in ``fixtures``, or of a model of the zoo."""
    return lambda name: next(path for path in (FIXTURES / name, ZOO / name) if path.exists())
