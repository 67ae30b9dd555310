"""Layer lists: which op types there are, and what follows from shapes alone: output shape, weights, MACs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hil.network._schema import BUILTIN_OPERATORS, words
from hil.network._tflite_ops import rule_of, same_padding, window_outputs

Shape = tuple[int, ...]
Pair = tuple[int, int]
Padding = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Geometry:
    """What a layer's own entries say, in the form of :class:`hil.network.graph.Op`.

    ``filters`` is the declared number of output channels; ``padding`` is ``"same"`` or ``(top, bottom, left, right)``.
    """

    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: Padding | str = (0, 0, 0, 0)
    groups: int = 1
    filters: int | None = None
    axis: int = -1
    axes: tuple[int, ...] = ()
    perm: tuple[int, ...] = ()
    pads: tuple[Pair, ...] = ()
    factor: Pair = (1, 1)


class RuleError(ValueError):
    """The entries do not say enough, or contradict each other: what is wrong, and what was expected."""

    def __init__(self, what: str, expected: str) -> None:
        super().__init__(f"{what}; expected {expected}")


def padding_of(geometry: Geometry, size: Pair) -> Padding:
    """The padding in pixels for an input of ``size`` (h, w)."""
    if not isinstance(geometry.padding, str):
        return geometry.padding
    axes = zip(size, geometry.kernel, geometry.stride, geometry.dilation, strict=True)
    (top, bottom), (left, right) = (same_padding(*axis) for axis in axes)
    return top, bottom, left, right


def spatial(shape: Shape) -> Pair:
    """Height and width of an activation; a one-dimensional layer has its length as the height."""
    return (shape[1], shape[2]) if len(shape) > 3 else (shape[1] if len(shape) > 2 else 1, 1)


def slid(geometry: Geometry, shape: Shape) -> Pair:
    """How many positions the window has over an input of ``shape``, along height and width."""
    size = spatial(shape)
    top, bottom, left, right = padding_of(geometry, size)
    height, width = map(
        window_outputs, size, geometry.kernel, geometry.stride, geometry.dilation, ((top, bottom), (left, right))
    )
    if height < 1 or width < 1:
        raise RuleError(f"a window of {geometry.kernel} does not fit into {list(shape)}", "a smaller window or padding")
    return height, width


def _mapped(shape: Shape, size: Pair, channels: int) -> Shape:
    return (shape[0], *size[: len(shape) - 2], channels)


def _ranked(shape: Shape, low: int, high: int) -> None:
    if not low <= len(shape) <= high:
        raise RuleError(f"an input of shape {list(shape)}", f"{low} to {high} dimensions")


def _filters(geometry: Geometry) -> int:
    if geometry.filters is None:
        raise RuleError("neither 'filters' nor 'out_shape'", "one of them")
    return geometry.filters


def _conv(geometry: Geometry, inputs: Sequence[Shape]) -> Shape:
    _ranked(inputs[0], 3, 4)
    return _mapped(inputs[0], slid(geometry, inputs[0]), _filters(geometry))


def _transpose_conv(geometry: Geometry, inputs: Sequence[Shape]) -> Shape:
    """Output size of a transposed convolution: ``size * stride`` for same, all products kept without padding."""
    _ranked(inputs[0], 4, 4)
    size = spatial(inputs[0])
    if isinstance(geometry.padding, str):
        height, width = (n * stride for n, stride in zip(size, geometry.stride, strict=True))
    else:
        top, bottom, left, right = geometry.padding
        height, width = (
            (n - 1) * stride + kernel - pad
            for n, stride, kernel, pad in zip(
                size, geometry.stride, geometry.kernel, (top + bottom, left + right), strict=True
            )
        )
    if height < 1 or width < 1:
        raise RuleError(f"padding {geometry.padding} leaves no output", "less padding")
    return _mapped(inputs[0], (height, width), _filters(geometry))


def _depthwise(geometry: Geometry, inputs: Sequence[Shape]) -> Shape:
    _ranked(inputs[0], 3, 4)
    return _mapped(inputs[0], slid(geometry, inputs[0]), geometry.filters or inputs[0][-1])


def _pool(geometry: Geometry, inputs: Sequence[Shape]) -> Shape:
    _ranked(inputs[0], 3, 4)
    return _mapped(inputs[0], slid(geometry, inputs[0]), inputs[0][-1])


def _global_pool(_: Geometry, inputs: Sequence[Shape]) -> Shape:
    _ranked(inputs[0], 3, 4)
    return _mapped(inputs[0], (1, 1), inputs[0][-1])


def _dense(geometry: Geometry, inputs: Sequence[Shape]) -> Shape:
    """The last axis of a vector or sequence; a map is flattened first."""
    _ranked(inputs[0], 2, 4)
    leading = inputs[0][:-1] if len(inputs[0]) == 3 else inputs[0][:1]
    return (*leading, _filters(geometry))


def _same(_: Geometry, inputs: Sequence[Shape]) -> Shape:
    return inputs[0]


def _broadcast(_: Geometry, inputs: Sequence[Shape]) -> Shape:
    rank = max(map(len, inputs))
    padded = [(1,) * (rank - len(shape)) + shape for shape in inputs]
    dims = []
    for sizes in zip(*padded, strict=True):
        wide = {size for size in sizes if size != 1}
        if len(wide) > 1:
            raise RuleError(f"operands of shapes {[list(shape) for shape in inputs]}", "shapes that broadcast")
        dims.append(wide.pop() if wide else 1)
    return tuple(dims)


def _concat(geometry: Geometry, inputs: Sequence[Shape]) -> Shape:
    rank, axis = len(inputs[0]), geometry.axis
    if not -rank <= axis < rank:
        raise RuleError(f"axis {axis} for {rank} dimensions", f"{-rank} to {rank - 1}")
    axis %= rank
    rest = {shape[:axis] + shape[axis + 1 :] for shape in inputs}
    if len({len(shape) for shape in inputs} | {rank}) > 1 or len(rest) > 1:
        raise RuleError(f"operands of shapes {[list(s) for s in inputs]}", f"shapes that differ along axis {axis} only")
    return (*inputs[0][:axis], sum(shape[axis] for shape in inputs), *inputs[0][axis + 1 :])


def _flatten(_: Geometry, inputs: Sequence[Shape]) -> Shape:
    return (*inputs[0][:1], math.prod(inputs[0][1:]))


def _pad(geometry: Geometry, inputs: Sequence[Shape]) -> Shape:
    if len(geometry.pads) != len(inputs[0]):
        raise RuleError(
            f"{len(geometry.pads)} pairs in 'pads'", f"one per dimension of {list(inputs[0])}, or out_shape"
        )
    return tuple(size + sum(pair) for size, pair in zip(inputs[0], geometry.pads, strict=True))


def _upsample(geometry: Geometry, inputs: Sequence[Shape]) -> Shape:
    _ranked(inputs[0], 3, 4)
    height, width = spatial(inputs[0])
    return _mapped(inputs[0], (height * geometry.factor[0], width * geometry.factor[1]), inputs[0][-1])


def _transpose(geometry: Geometry, inputs: Sequence[Shape]) -> Shape:
    rank = len(inputs[0])
    if sorted(axis + rank if axis < 0 else axis for axis in geometry.perm) != list(range(rank)):
        raise RuleError(f"perm {list(geometry.perm)}", f"an order of {rank} axes, or out_shape")
    return tuple(inputs[0][axis] for axis in geometry.perm)


def _reduce(geometry: Geometry, inputs: Sequence[Shape]) -> Shape:
    rank = len(inputs[0])
    if not geometry.axes or not all(-rank <= axis < rank for axis in geometry.axes):
        raise RuleError(f"axes {list(geometry.axes)}", f"some of {-rank} to {rank - 1}, or out_shape")
    gone = {axis % rank for axis in geometry.axes}
    return tuple(size for axis, size in enumerate(inputs[0]) if axis not in gone)


def _matmul(_: Geometry, inputs: Sequence[Shape]) -> Shape:
    if len(inputs) != 2 or min(map(len, inputs)) < 2:
        raise RuleError("matmul without two matrices", "two inputs, or out_shape")
    return (*inputs[0][:-1], inputs[1][-1])


def _declared(_: Geometry, inputs: Sequence[Shape]) -> Shape:
    raise RuleError("no 'out_shape'", "one, since it does not follow from the inputs")


ShapeRule = Callable[[Geometry, Sequence[Shape]], Shape]

_ELEMENTWISE = (
    "activation softmax quantize dequantize batch_norm round rsqrt sqrt log_softmax cast exp abs neg square floor ceil "
    "sin cos log elu l2_normalization zeros_like logical_not sign local_response_normalization"
)
_BINARY = (
    "add sub mul div minimum maximum squared_difference pow floor_div floor_mod less greater equal not_equal "
    "less_equal greater_equal logical_and logical_or add_n atan2"
)

# Op type -> its output shape from its inputs.  Types that only TFLite files use need a declared out_shape.
SHAPE_RULES: dict[str, ShapeRule] = {
    **{rule_of(name).type: _declared for name in BUILTIN_OPERATORS},
    "insert_zeros": _declared,
    **dict.fromkeys(_ELEMENTWISE.split(), _same),
    **dict.fromkeys(_BINARY.split(), _broadcast),
    **dict.fromkeys(("conv1d", "conv2d"), _conv),
    **dict.fromkeys(("depthwise_conv1d", "depthwise_conv2d"), _depthwise),
    **dict.fromkeys(("max_pool", "avg_pool"), _pool),
    **dict.fromkeys(("global_max_pool", "global_avg_pool"), _global_pool),
    **dict.fromkeys(("mean", "sum"), _reduce),
    "transpose_conv2d": _transpose_conv,
    "fully_connected": _dense,
    "matmul": _matmul,
    "concat": _concat,
    "reshape": _flatten,
    "pad": _pad,
    "upsample": _upsample,
    "transpose": _transpose,
}
# Other words for the same: a type, or an activation as a layer of its own.
TYPE_ALIASES = {
    "conv": "conv2d",
    "dense": "fully_connected",
    "linear": "fully_connected",
    "flatten": "reshape",
    "resize": "upsample",
    "concatenate": "concat",
}
ACTIVATION_ALIASES = {"sigmoid": "logistic", "swish": "silu", "hardswish": "hard_swish", "linear": None, "none": None}
ACTIVATION_TYPES = frozenset(
    words("relu relu6 logistic sigmoid tanh silu swish hard_swish hard_sigmoid leaky_relu prelu gelu elu")
)
CONV_TYPES = frozenset({"conv1d", "conv2d", "depthwise_conv1d", "depthwise_conv2d", "transpose_conv2d"})
WEIGHTED_TYPES = CONV_TYPES | {"fully_connected"}


def weights_of(type_: str, geometry: Geometry, shape: Shape, out: Shape) -> int:
    """Weight elements of a convolution or fully connected layer; 0 for any other type."""
    if type_ in CONV_TYPES:
        if geometry.groups < 1 or shape[-1] % geometry.groups:
            raise RuleError(f"{geometry.groups} groups for {shape[-1]} channels", "a divisor")
        return math.prod(geometry.kernel) * (shape[-1] // geometry.groups) * out[-1]
    if type_ == "fully_connected":
        rows = math.prod(out[:-1])
        if rows < 1 or math.prod(shape) % rows:
            raise RuleError(f"{math.prod(shape)} input elements for {rows} output rows", "a multiple")
        return math.prod(shape) // rows * out[-1]
    return 0


def macs_of(type_: str, weights: int, shape: Shape, out: Shape) -> int:
    """Multiply-accumulates: weights times output positions, input positions for a transposed convolution."""
    if type_ == "matmul":
        return math.prod(out) * (shape[-1] if shape else 1)
    positions = shape if type_ == "transpose_conv2d" else out
    return weights * math.prod(positions[:-1])
