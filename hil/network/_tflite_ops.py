"""What the reader does with each TFLite operator: one row per operator that needs more than its lower-case name.

A row says which operands hold weights and biases, which only describe structure (shapes, axes, paddings), and names
the function that works out window, groups and MACs.  Padding follows TFLite: ``SAME`` puts the odd pixel at the
bottom and right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from hil.errors import NetworkError
from hil.network import _schema as schema
from hil.network._schema import words
from hil.network.graph import Op, Tensor

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Operands:
    """Which operands hold weights and biases, and which only describe structure.  Numbers count from zero.

    A file may leave some of them out; constants among the operands not named here are data.
    """

    weights: frozenset[int] = frozenset()
    biases: frozenset[int] = frozenset()
    structure: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Site:
    """One operator as the file has it: its operands (-1: left out), outputs, options, and small integer constants."""

    where: str
    tensors: Sequence[Tensor]
    operands: tuple[int, ...]
    outputs: tuple[int, ...]
    named: Operands
    options: Mapping[str, int]
    integers: Callable[[int], tuple[int, ...] | None]

    def fail(self, what: str, expected: str) -> NetworkError:
        return NetworkError(f"{self.where}: {what}; expected {expected}")

    def operand(self, which: int) -> Tensor:
        if which >= len(self.operands) or self.operands[which] < 0:
            raise self.fail(f"operand {which} is missing", f"at least {which + 1} operands")
        return self.tensors[self.operands[which]]

    def shape(self, which: int, rank: int) -> tuple[int, ...]:
        """Shape of an operand, which must have ``rank`` dimensions and no empty one."""
        return self._ranked(self.operand(which), rank, f"operand {which}")

    def out_shape(self, rank: int) -> tuple[int, ...]:
        return self._ranked(self.output(), rank, "output")

    def output(self) -> Tensor:
        if not self.outputs:
            raise self.fail("it has no output", "one")
        return self.tensors[self.outputs[0]]

    def _ranked(self, tensor: Tensor, rank: int, what: str) -> tuple[int, ...]:
        if len(tensor.shape) != rank or 0 in tensor.shape:
            raise self.fail(f"{what} has shape {list(tensor.shape)}", f"{rank} dimensions, none of them zero")
        return tensor.shape

    def agree(self, what: str, found: object, expected: object) -> None:
        if found != expected:
            raise NetworkError(
                f"{self.where}: {what} {found}; expected {expected} from its operands",
                hint="export the network again with fixed input shapes",
            )


Handler = Callable[[Site, Op], Op]


@dataclass(frozen=True, slots=True)
class Rule:
    """How one builtin operator becomes an op."""

    type: str
    handler: Handler | None = None
    operands: Operands = Operands()
    activation: str | None = None


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> Pair:
    """Padding before and after one axis so that it gives ``ceil(size / stride)`` outputs."""
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def window_outputs(size: int, kernel: int, stride: int, dilation: int, padding: Pair) -> int:
    """How many positions a window has along one axis; zero or less where it does not fit."""
    return (size + sum(padding) - (kernel - 1) * dilation - 1) // stride + 1


def _window(site: Site, op: Op, kernel: Pair, size: Pair, outputs: Pair) -> Op:
    """``op`` with kernel, stride, dilation and padding; the declared output size must follow from them."""
    stride = site.options.get("stride_h", 0), site.options.get("stride_w", 0)
    dilation = site.options.get("dilation_h", 1), site.options.get("dilation_w", 1)
    if min(*stride, *dilation, *kernel) < 1:
        raise site.fail(f"kernel {kernel}, stride {stride}, dilation {dilation}", "positive numbers")
    same = _is_same(site)
    pads = [same_padding(*axis) if same else (0, 0) for axis in zip(size, kernel, stride, dilation, strict=True)]
    computed = tuple(map(window_outputs, size, kernel, stride, dilation, pads))
    site.agree("output size (h, w)", outputs, computed)
    return replace(op, kernel=kernel, stride=stride, dilation=dilation, padding=(*pads[0], *pads[1]))


def _is_same(site: Site) -> bool:
    padding = site.options.get("padding", schema.SAME)
    if padding not in {schema.SAME, schema.VALID}:
        raise site.fail(f"padding code {padding}", "0 (SAME) or 1 (VALID)")
    return padding == schema.SAME


def _conv2d(site: Site, op: Op) -> Op:
    batch, height, width, channels = site.shape(0, 4)
    filters, kernel_h, kernel_w, per_group = site.shape(1, 4)
    _, out_h, out_w, _ = site.out_shape(4)
    site.agree("output shape", site.output().shape, (batch, out_h, out_w, filters))
    if channels % per_group or filters % (channels // per_group):
        raise site.fail(f"{channels} input channels and {filters} filters of {per_group}", "whole groups")
    macs = filters * kernel_h * kernel_w * per_group * batch * out_h * out_w
    op = replace(op, groups=channels // per_group, macs=macs)
    return _window(site, op, (kernel_h, kernel_w), (height, width), (out_h, out_w))


def _depthwise_conv2d(site: Site, op: Op) -> Op:
    batch, height, width, channels = site.shape(0, 4)
    _, kernel_h, kernel_w, filters = site.shape(1, 4)
    _, out_h, out_w, _ = site.out_shape(4)
    site.agree("output shape", site.output().shape, (batch, out_h, out_w, filters))
    if filters % channels:
        raise site.fail(f"{filters} filters for {channels} channels", "a multiple")
    macs = kernel_h * kernel_w * filters * batch * out_h * out_w
    op = replace(op, groups=channels, depth_multiplier=filters // channels, macs=macs)
    return _window(site, op, (kernel_h, kernel_w), (height, width), (out_h, out_w))


def _transpose_conv2d(site: Site, op: Op) -> Op:
    filters, kernel_h, kernel_w, per_group = site.shape(1, 4)
    batch, height, width, channels = site.shape(2, 4)
    _, out_h, out_w, _ = site.out_shape(4)
    site.agree("output shape", site.output().shape, (batch, out_h, out_w, filters))
    if channels % per_group:
        raise site.fail(f"{channels} input channels for filters of {per_group}", "whole groups")
    # The padding is that of the forward convolution, which turns the output back into the input.
    op = _window(site, op, (kernel_h, kernel_w), (out_h, out_w), (height, width))
    macs = filters * kernel_h * kernel_w * per_group * batch * height * width
    return replace(op, groups=channels // per_group, macs=macs)


def _conv3d(site: Site, op: Op) -> Op:
    batch, _, height, width, channels = site.shape(0, 5)
    depth, kernel_h, kernel_w, per_group, filters = site.shape(1, 5)
    _, out_d, out_h, out_w, _ = site.out_shape(5)
    site.agree("output shape", site.output().shape, (batch, out_d, out_h, out_w, filters))
    site.agree("channels", channels, per_group)
    macs = depth * kernel_h * kernel_w * per_group * filters * batch * out_d * out_h * out_w
    return replace(_window(site, op, (kernel_h, kernel_w), (height, width), (out_h, out_w)), macs=macs)


def _conv3d_transpose(site: Site, op: Op) -> Op:
    _, kernel_h, kernel_w, _, _ = site.shape(1, 5)
    *positions, _ = site.shape(2, 5)
    macs = site.operand(1).elements * math.prod(positions)
    return replace(op, kernel=(kernel_h, kernel_w), macs=macs)


def _fully_connected(site: Site, op: Op) -> Op:
    filters, features = site.shape(1, 2)
    rows, rest = divmod(site.operand(0).elements, features)
    if rest or not rows:
        raise site.fail(f"{site.operand(0).elements} input elements", f"a multiple of {features}")
    site.agree("output elements", site.output().elements, rows * filters)
    constant = site.operand(1).constant
    return replace(op, type=op.type if constant else "matmul", macs=rows * filters * features)


def _matmul(site: Site, op: Op) -> Op:
    left = site.operand(0).shape
    if len(left) < 2 or len(site.operand(1).shape) < 2:
        raise site.fail("a vector operand", "matrices")
    return replace(op, macs=site.output().elements * left[-2 if site.options.get("adj_x") else -1])


def _recurrent(site: Site, op: Op) -> Op:
    """Every matrix once per batch entry and time step; gate vectors (peephole, layer norm) are element-wise."""
    *steps, _ = site.operand(0).shape or (1,)
    weights = [site.tensors[i] for k, i in enumerate(site.operands) if k in site.named.weights and i >= 0]
    return replace(op, macs=math.prod(steps) * sum(w.elements for w in weights if len(w.shape) == 2))


def _pool(site: Site, op: Op) -> Op:
    batch, height, width, channels = site.shape(0, 4)
    _, out_h, out_w, _ = site.out_shape(4)
    site.agree("output shape", site.output().shape, (batch, out_h, out_w, channels))
    kernel = site.options.get("filter_h", 0), site.options.get("filter_w", 0)
    op = _window(site, op, kernel, (height, width), (out_h, out_w))
    covers_all = kernel == (height, width) and (out_h, out_w) == (1, 1)
    return replace(op, type=f"global_{op.type}") if covers_all and op.type in {"avg_pool", "max_pool"} else op


def _reduce(global_type: str) -> Handler:
    """A reduction over height and width of a whole map is global pooling; any other keeps its name."""

    def handler(site: Site, op: Op) -> Op:
        shape = site.operand(0).shape
        axes = site.integers(1)
        if len(shape) != 4 or 0 in shape or axes is None or {axis % 4 for axis in axes} != {1, 2}:
            return op
        return replace(op, type=global_type, kernel=shape[1:3], stride=shape[1:3])

    return handler


def _pad(site: Site, op: Op) -> Op:
    pads = site.integers(1)
    if pads is None or len(pads) != 8 or min(pads) < 0:
        return op
    return replace(op, padding=(pads[2], pads[3], pads[4], pads[5]))


def _view(site: Site, op: Op) -> Op:
    site.agree("output elements", site.output().elements, site.operand(0).elements)
    return op


def _operands(weights: Sequence[int] = (), biases: Sequence[int] = (), structure: Sequence[int] = ()) -> Operands:
    return Operands(frozenset(weights), frozenset(biases), frozenset(structure))


# Gates: input and recurrent matrices, peepholes, projection, layer norm; then the gates' and the projection's biases.
_LSTM = _operands((*range(1, 12), 16, *range(20, 24)), (*range(12, 16), 17))
_BIDIRECTIONAL_LSTM = _operands(
    (*range(1, 12), 16, *range(18, 29), 33, *range(40, 48)), (*range(12, 16), 17, *range(29, 33), 34)
)
_CONV = _operands(weights=(1,), biases=(2,))
_TRANSPOSE_CONV = _operands(weights=(1,), biases=(3,), structure=(0,))
_RNN = _operands(weights=(1, 2), biases=(3,))
_BIDIRECTIONAL_RNN = _operands(weights=(1, 2, 5, 6, 10, 11), biases=(3, 7))
_SHAPE_0 = _operands(structure=(0,))
_SHAPE_1 = _operands(structure=(1,))
_SHAPE_2 = _operands(structure=(2,))
_SHAPE_1_2 = _operands(structure=(1, 2))

RULES: dict[str, Rule] = {
    "CONV_2D": Rule("conv2d", _conv2d, _CONV),
    "DEPTHWISE_CONV_2D": Rule("depthwise_conv2d", _depthwise_conv2d, _CONV),
    "FULLY_CONNECTED": Rule("fully_connected", _fully_connected, _CONV),
    "TRANSPOSE_CONV": Rule("transpose_conv2d", _transpose_conv2d, _TRANSPOSE_CONV),
    "CONV_3D": Rule("conv3d", _conv3d, _CONV),
    "CONV_3D_TRANSPOSE": Rule("conv_3d_transpose", _conv3d_transpose, _TRANSPOSE_CONV),
    "BATCH_MATMUL": Rule("matmul", _matmul, _operands(weights=(0, 1))),
    "LSTM": Rule("lstm", _recurrent, _LSTM),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": Rule("unidirectional_sequence_lstm", _recurrent, _LSTM),
    "BIDIRECTIONAL_SEQUENCE_LSTM": Rule("bidirectional_sequence_lstm", _recurrent, _BIDIRECTIONAL_LSTM),
    "RNN": Rule("rnn", _recurrent, _RNN),
    "UNIDIRECTIONAL_SEQUENCE_RNN": Rule("unidirectional_sequence_rnn", _recurrent, _RNN),
    "BIDIRECTIONAL_SEQUENCE_RNN": Rule("bidirectional_sequence_rnn", _recurrent, _BIDIRECTIONAL_RNN),
    "SVDF": Rule("svdf", _recurrent, _RNN),
    "AVERAGE_POOL_2D": Rule("avg_pool", _pool),
    "MAX_POOL_2D": Rule("max_pool", _pool),
    "L2_POOL_2D": Rule("l2_pool_2d", _pool),
    "MEAN": Rule("mean", _reduce("global_avg_pool"), _SHAPE_1),
    "REDUCE_MAX": Rule("reduce_max", _reduce("global_max_pool"), _SHAPE_1),
    "CONCATENATION": Rule("concat"),
    "RESIZE_BILINEAR": Rule("upsample", operands=_SHAPE_1),
    "RESIZE_NEAREST_NEIGHBOR": Rule("upsample", operands=_SHAPE_1),
    "PAD": Rule("pad", _pad, _SHAPE_1),
    "PADV2": Rule("pad", _pad, _SHAPE_1_2),
    "MIRROR_PAD": Rule("mirror_pad", _pad, _SHAPE_1),
    "RESHAPE": Rule("reshape", _view, _SHAPE_1),
    "SQUEEZE": Rule("squeeze", _view),
    "EXPAND_DIMS": Rule("expand_dims", _view, _SHAPE_1),
    "SPLIT": Rule("split", operands=_SHAPE_0),
    "SPLIT_V": Rule("split", operands=_SHAPE_1_2),
    "SLICE": Rule("slice", operands=_SHAPE_1_2),
    "STRIDED_SLICE": Rule("strided_slice", operands=_operands(structure=(1, 2, 3))),
    "SPACE_TO_BATCH_ND": Rule("space_to_batch_nd", operands=_SHAPE_1_2),
    "BATCH_TO_SPACE_ND": Rule("batch_to_space_nd", operands=_SHAPE_1_2),
    "FILL": Rule("fill", operands=_SHAPE_0),
    "RANGE": Rule("range", operands=_operands(structure=(0, 1, 2))),
    "DYNAMIC_UPDATE_SLICE": Rule("dynamic_update_slice", operands=_SHAPE_2),
    "SCATTER_ND": Rule("scatter_nd", operands=_SHAPE_2),
    "RANDOM_UNIFORM": Rule("random_uniform", operands=_SHAPE_0),
    "RANDOM_STANDARD_NORMAL": Rule("random_standard_normal", operands=_SHAPE_0),
    "DILATE": Rule("dilate", operands=_SHAPE_1_2),
}
RULES |= {
    name: Rule(name.lower(), operands=_SHAPE_1)
    for name in words(
        """
    TRANSPOSE SUM REDUCE_MIN REDUCE_PROD REDUCE_ANY REDUCE_ALL TILE BROADCAST_TO TOPK_V2 ARG_MAX ARG_MIN ONE_HOT
    CUMSUM REVERSE_V2 REVERSE_SEQUENCE SPARSE_TO_DENSE MULTINOMIAL RFFT2D
    """
    )
}
RULES |= {
    name: Rule("activation", activation=name.lower())
    for name in words("RELU RELU6 RELU_N1_TO_1 RELU_0_TO_1 LOGISTIC TANH HARD_SWISH LEAKY_RELU PRELU ELU GELU")
}


def rule_of(builtin: str) -> Rule:
    """The row of a builtin operator; by default its lower-case name, every constant operand being data."""
    return RULES.get(builtin) or Rule(builtin.lower())
