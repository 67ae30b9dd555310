"""What the lowering functions share: one operator of a model seen from its kernels, and the steps they make."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from ctypes import LittleEndianStructure
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hil.emulator._lower_fixed_point import activation_range
from hil.emulator.layout import Opcode
from hil.network.slice import builtin_of, is_constant


class NoKernelError(Exception):
    """No kernel computes this operator exactly.  Never leaves ``lower_op``."""


def require(condition: bool) -> None:
    """Give up on a kernel unless ``condition`` holds."""
    if not condition:
        raise NoKernelError


class LoweredStep(NamedTuple):
    """One kernel call: ``opcode`` of :class:`hil.emulator.layout.Opcode`, its packed parameters, the network's op."""

    opcode: int
    params: bytes
    op: int


class ConstantPool:
    """Constants of a program.  ``base`` is the offset of the pool from the start of the program.

    Offsets that :meth:`add` answers count from the start of the program.  Equal constants are stored once.
    """

    def __init__(self, base: int) -> None:
        self.base = base
        self.data = bytearray()
        self._known: dict[bytes, int] = {}

    def add(self, data: bytes, align: int = 4) -> int:
        """Offset of ``data``, a multiple of ``align``, from the start of the program."""
        known = self._known.get(data)
        if known is not None and known % align == 0:
            return known
        self.data.extend(bytes(-(self.base + len(self.data)) % align))
        offset = self.base + len(self.data)
        self.data.extend(data)
        self._known[data] = offset
        return offset


class Affine(NamedTuple):
    """Quantization of a whole tensor: ``real = scale * (q - zero_point)``."""

    scale: np.float32
    zero_point: int


# Bytes per element of the types that can be moved about.
_ELEMENT_BYTES = {"BOOL": 1, "INT8": 1, "UINT8": 1, "INT16": 2, "FLOAT16": 2, "INT32": 4, "UINT32": 4, "FLOAT32": 4}
_DTYPES = {"INT8": "<i1", "INT32": "<i4", "INT64": "<i8"}


@dataclass(frozen=True)
class OpView:
    """Operator ``index`` of ``model`` (a ``ModelT`` of one sub-graph).

    Operands are named by position: ``x.input(0)`` is a tensor's number.  Every question that has no answer a kernel
    could use raises :class:`NoKernelError`.
    """

    model: Any
    index: int
    arena_of: Mapping[int, int]
    pool: ConstantPool

    @functools.cached_property
    def operator(self) -> Any:
        return self.model.subgraphs[0].operators[self.index]

    @functools.cached_property
    def name(self) -> str:
        """The builtin operator's name; empty for a code that the schema has not."""
        return _names("BuiltinOperator").get(builtin_of(self.model, self.operator), "")

    @property
    def options(self) -> Any:
        require(self.operator.builtinOptions is not None)
        return self.operator.builtinOptions

    @property
    def input_count(self) -> int:
        return len(self.operator.inputs)

    @property
    def output_count(self) -> int:
        return len(self.operator.outputs)

    def input(self, position: int) -> int:
        require(self.has_input(position))
        return int(self.operator.inputs[position])

    def has_input(self, position: int) -> bool:
        return position < self.input_count and self.operator.inputs[position] >= 0

    def output(self, position: int = 0) -> int:
        require(position < self.output_count)
        return int(self.operator.outputs[position])

    def tensor(self, tensor: int) -> Any:
        return self.model.subgraphs[0].tensors[tensor]

    def shape(self, tensor: int) -> tuple[int, ...]:
        shape = self.tensor(tensor).shape
        return () if shape is None else tuple(int(size) for size in shape)

    def elements(self, tensor: int) -> int:
        return math.prod(self.shape(tensor))

    def type(self, tensor: int) -> str:
        return _names("TensorType").get(self.tensor(tensor).type, "")

    def element_bytes(self, tensor: int) -> int:
        require(self.type(tensor) in _ELEMENT_BYTES)
        return _ELEMENT_BYTES[self.type(tensor)]

    def activation(self, tensor: int) -> Affine:
        """Quantization of an int8 tensor with one scale."""
        require(self.type(tensor) == "INT8")
        scales, zero_points = self.scales(tensor)
        require(len(scales) == 1)
        return Affine(scales[0], int(zero_points[0]))

    def scales(self, tensor: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Scales and zero points, as many of the one as of the other, at least one."""
        quantization = self.tensor(tensor).quantization
        require(quantization is not None and quantization.scale is not None and len(quantization.scale) > 0)
        scales = np.asarray(quantization.scale, np.float32)
        zero_points = np.zeros(len(scales), np.int64)
        if quantization.zeroPoint is not None:
            zero_points = np.asarray(quantization.zeroPoint, np.int64)
        require(len(zero_points) == len(scales) and bool(np.all(scales > 0)))
        return scales, zero_points

    def is_constant(self, tensor: int) -> bool:
        return is_constant(self.model, self.tensor(tensor))

    def constant(self, tensor: int) -> npt.NDArray[Any]:
        """A constant of the file, in its own type; four-bit integers become int8."""
        require(self.is_constant(tensor) and self.tensor(tensor).sparsity is None)
        raw = np.asarray(self.model.buffers[self.tensor(tensor).buffer].data, np.uint8)
        shape, dtype = self.shape(tensor), self.type(tensor)
        if dtype == "INT4":  # two's complement, the first of each pair in the low half of a byte
            halves = np.stack([raw & 15, raw >> 4], axis=-1).reshape(-1)[: math.prod(shape)]
            return ((halves.astype(np.int8) ^ 8) - 8).astype(np.int8).reshape(shape)
        require(dtype in _DTYPES)
        return np.frombuffer(raw.tobytes(), _DTYPES[dtype]).reshape(shape)

    def integers(self, tensor: int) -> list[int]:
        """A constant list of integers: axes, permutations, sizes."""
        require(self.type(tensor) in {"INT32", "INT64"})
        return [int(value) for value in self.constant(tensor).reshape(-1)]

    def arena(self, tensor: int) -> int:
        require(tensor in self.arena_of)
        return self.arena_of[tensor]

    def limits(self, tensor: int) -> dict[str, int]:
        """``activation_min`` and ``activation_max`` of the output ``tensor`` with the operator's fused activation."""
        fused = _names("ActivationFunctionType").get(self.options.fusedActivationFunction, "")
        found = activation_range(fused, *self.activation(tensor))
        if found is None:
            raise NoKernelError
        return {"activation_min": found[0], "activation_max": found[1]}

    def step(self, opcode: Opcode, params: LittleEndianStructure) -> LoweredStep:
        return LoweredStep(int(opcode), bytes(params), self.index)


@functools.cache
def _names(enumeration: str) -> dict[int, str]:
    """Names of the values of one of the schema's enumerations."""
    from ai_edge_litert import schema_py_generated

    values = vars(getattr(schema_py_generated, enumeration))
    return {value: name for name, value in values.items() if isinstance(value, int)}
