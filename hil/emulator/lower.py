"""From one operator of a ``.tflite`` file to steps of the firmware's int8 kernels.

:func:`lower_op` answers None where no kernel computes an operator with these types and options exactly as LiteRT's
reference kernels do; its caller then has the host compute it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hil.emulator import _lower_compute as compute
from hil.emulator import _lower_move as move
from hil.emulator._lower_view import ConstantPool, LoweredStep, NoKernelError, OpView

__all__ = ["ConstantPool", "LoweredStep", "lower_op"]

# Functions of one value: LiteRT fills in their tables.
_TABLES = (
    "ABS",
    "EXP",
    "GELU",
    "HARD_SWISH",
    "LEAKY_RELU",
    "LOG",
    "LOGISTIC",
    "NEG",
    "QUANTIZE",
    "RELU",
    "RELU6",
    "RELU_0_TO_1",
    "RELU_N1_TO_1",
    "RSQRT",
    "SQRT",
    "TANH",
)

_LOWER: dict[str, Callable[[OpView], list[LoweredStep]]] = {
    "CONV_2D": compute.conv,
    "DEPTHWISE_CONV_2D": compute.depthwise,
    "TRANSPOSE_CONV": compute.transpose_conv,
    "FULLY_CONNECTED": compute.fully_connected,
    "MAX_POOL_2D": compute.max_pool,
    "AVERAGE_POOL_2D": compute.average_pool,
    "MEAN": compute.mean,
    "REDUCE_MAX": compute.reduce_max,
    "ADD": compute.add,
    "SUB": compute.subtract,
    "MUL": compute.multiply,
    "SOFTMAX": compute.softmax,
    "RESHAPE": move.reshape,
    "SQUEEZE": move.reshape,
    "EXPAND_DIMS": move.reshape,
    "CONCATENATION": move.concatenation,
    "PACK": move.pack,
    "UNPACK": move.unpack,
    "SPLIT": move.split,
    "SPLIT_V": move.split,
    "PAD": move.pad,
    "PADV2": move.pad,
    "TRANSPOSE": move.transpose,
    "SLICE": move.slice_,
    "STRIDED_SLICE": move.strided_slice,
    "SPACE_TO_DEPTH": move.space_to_depth,
    "DEPTH_TO_SPACE": move.depth_to_space,
    "RESIZE_NEAREST_NEIGHBOR": move.resize_nearest,
    **dict.fromkeys(_TABLES, compute.table),
}


def lower_op(
    model: Any, op_index: int, arena_of: Mapping[int, int], constants: ConstantPool
) -> list[LoweredStep] | None:
    """Kernel steps of operator ``op_index`` of ``model`` (see ``hil.network.slice.parse``), or None: no exact kernel.

    ``arena_of``: arena offset in bytes of every tensor that lives there; other tensors must be constants of the file.
    No output may overlap an input, except that both are equal or one lies at its place in the other.  An empty list
    means that there is nothing to do: a view whose output lies where its input does.
    """
    view = OpView(model, op_index, arena_of, constants)
    try:
        return _LOWER[view.name](view) if view.name in _LOWER else None
    except NoKernelError:
        return None
