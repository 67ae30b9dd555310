"""Models of one operator, and the comparison of the firmware's kernels with LiteRT's reference kernels on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ai_edge_litert.schema_py_generated as schema
import flatbuffers
import numpy as np
import numpy.typing as npt

from hil.emulator.lower import ConstantPool, LoweredStep, lower_op
from hil.network.reference import Reference
from hil.network.slice import parse

Array = npt.NDArray[Any]
GUARD = 16  # bytes around every tensor that no kernel may touch


@dataclass
class T:
    """A tensor: a constant where it has ``data``."""

    shape: Sequence[int]
    scale: float | Sequence[float] | None = None
    zero_point: int = 0
    type: str = "INT8"
    data: Array | None = None
    axis: int = 0

    def quantization(self) -> Any:
        if self.scale is None:
            return None
        scales = list(self.scale) if isinstance(self.scale, Sequence) else [self.scale]
        zero_points = [self.zero_point] * len(scales)
        return schema.QuantizationParametersT(scale=scales, zeroPoint=zero_points, quantizedDimension=self.axis)


def integers(*values: int) -> T:
    return T([len(values)], type="INT32", data=np.array(values, np.int32))


def one_op(
    builtin: str, inputs: Sequence[T | None], outputs: Sequence[T], options: str = "", **values: Any
) -> tuple[bytes, list[int]]:
    """The file, and the numbers of its inputs that are not constants.  Tensors are numbered inputs first."""
    present = [t for t in inputs if t is not None]
    tensors = [*present, *outputs]
    buffers = [schema.BufferT()]
    made = []
    for number, t in enumerate(tensors):
        buffer = 0
        if t.data is not None:
            buffer = len(buffers)
            buffers.append(schema.BufferT(data=np.frombuffer(t.data.tobytes(), np.uint8)))
        kind = getattr(schema.TensorType, t.type)
        made.append(
            schema.TensorT(
                shape=list(t.shape), type=kind, buffer=buffer, name=f"t{number}", quantization=t.quantization()
            )
        )
    numbers = iter(range(len(present)))
    operator = schema.OperatorT(
        opcodeIndex=0,
        inputs=[-1 if t is None else next(numbers) for t in inputs],
        outputs=[len(present) + i for i in range(len(outputs))],
    )
    if options:
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, options)
        operator.builtinOptions = getattr(schema, options + "T")(**values)
    code = getattr(schema.BuiltinOperator, builtin)
    variable = [i for i, t in enumerate(present) if t.data is None]
    model = schema.ModelT(
        version=3,
        operatorCodes=[schema.OperatorCodeT(deprecatedBuiltinCode=min(code, 127), builtinCode=code, version=1)],
        subgraphs=[
            schema.SubGraphT(tensors=made, inputs=variable, outputs=list(operator.outputs), operators=[operator])
        ],
        buffers=buffers,
    )
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output()), variable


def lowered(model: bytes) -> list[LoweredStep] | None:
    """Steps of the only operator, with every tensor in the arena."""
    parsed = parse(model)
    return lower_op(parsed, 0, {i: 64 * i for i in range(len(parsed.subgraphs[0].tensors))}, ConstantPool(64))


def run_op(kernels: Any, parsed: Any, index: int, values: dict[int, bytes], sizes: dict[int, int]) -> dict[int, bytes]:
    """Outputs (``sizes``: their bytes) of operator ``index`` by the kernels, from the tensors in ``values``.

    Checks that nothing but the outputs was written.
    """
    rng = np.random.default_rng(index)
    arena_of, end = {}, GUARD
    for tensor, size in [*((t, len(v)) for t, v in values.items()), *sizes.items()]:
        arena_of[tensor] = end
        end += (size + GUARD + 3) // 4 * 4
    arena = bytearray(rng.integers(0, 256, end, np.uint8).tobytes())
    for tensor, data in values.items():
        arena[arena_of[tensor] : arena_of[tensor] + len(data)] = data
    pool = kernels.pool()
    steps = lower_op(parsed, index, arena_of, pool)
    assert steps is not None, "no kernel"
    after = bytearray(kernels.run(steps, pool, bytes(arena)))
    found = {t: bytes(after[arena_of[t] : arena_of[t] + size]) for t, size in sizes.items()}
    for tensor, size in sizes.items():
        span = slice(arena_of[tensor], arena_of[tensor] + size)
        after[span] = arena[span]
    assert after == arena, "a kernel wrote outside its outputs"
    return found


def check(kernels: Any, case: tuple[bytes, list[int]], inputs: Sequence[Array]) -> None:
    """The kernels answer what LiteRT's reference kernels answer, byte by byte."""
    model, variable = case
    reference = Reference(model)
    data = [np.ascontiguousarray(x).tobytes() for x in inputs]
    expected = reference.run(data)
    outputs = [port.tensor for port in reference.outputs]
    sizes = {t: len(e) for t, e in zip(outputs, expected, strict=True)}
    found = run_op(kernels, parse(model), 0, dict(zip(variable, data, strict=True)), sizes)
    for tensor, wanted in zip(outputs, expected, strict=True):
        np.testing.assert_array_equal(np.frombuffer(found[tensor], np.int8), np.frombuffer(wanted, np.int8))


def values(rng: np.random.Generator, shape: Sequence[int]) -> Array:
    """Random int8 values, in one of four cases only extreme ones."""
    if rng.integers(4) == 0:
        return rng.choice(np.array([-128, 127], np.int8), shape)
    return rng.integers(-128, 128, shape, np.int8)
