"""Operators that compute: from TFLite's options and scales to kernel parameters.  int8 throughout."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from hil.emulator._lower_fixed_point import (
    mean_multiplier,
    multiplier_arrays,
    quantized_multiplier,
    softmax_exponentials,
)
from hil.emulator._lower_strides import collapse, row_major
from hil.emulator._lower_view import Affine, LoweredStep, NoKernelError, OpView, require
from hil.emulator.layout import (
    BinaryParams,
    ConvParams,
    FullyConnectedParams,
    MeanParams,
    Opcode,
    PoolParams,
    SoftmaxParams,
    TableParams,
)
from hil.errors import NetworkError
from hil.network.reference import Reference
from hil.network.slice import cut_parsed

Window = Mapping[str, int]

_LEFT_SHIFT = 20  # of the terms of a sum: 8-bit values and their sum stay within 32 bits
_INT32_LIMIT = 2.0**31 - 1.0
_SOFTMAX_DEPTH_MAX = 4095  # beyond, the reference's sum of exponentials may overflow


def conv(x: OpView) -> list[LoweredStep]:
    source, weights, target = x.input(0), x.input(1), x.output()
    out_channels, kernel_rows, kernel_columns, depth = _four(x.shape(weights))
    in_channels = _four(x.shape(source))[3]
    require(depth > 0 and in_channels % depth == 0 and out_channels % (in_channels // depth) == 0)
    window = _window(x, source, target, (kernel_rows, kernel_columns), (x.options.strideH, x.options.strideW))
    channels = {"in_channels": in_channels, "out_channels": out_channels, "groups": in_channels // depth}
    return [_weighted_window(x, Opcode.CONV, source, axis=0, bias=2, **channels, **window)]


def depthwise(x: OpView) -> list[LoweredStep]:
    source, weights, target = x.input(0), x.input(1), x.output()
    ones, kernel_rows, kernel_columns, out_channels = _four(x.shape(weights))
    in_channels = _four(x.shape(source))[3]
    require(ones == 1 and out_channels % in_channels == 0)
    window = _window(x, source, target, (kernel_rows, kernel_columns), (x.options.strideH, x.options.strideW))
    channels = {
        "in_channels": in_channels,
        "out_channels": out_channels,
        "depth_multiplier": out_channels // in_channels,
    }
    return [_weighted_window(x, Opcode.DEPTHWISE, source, axis=3, bias=2, **channels, **window)]


def transpose_conv(x: OpView) -> list[LoweredStep]:
    """Its padding is that of the convolution from its output to its input."""
    weights, source, target = x.input(1), x.input(2), x.output()
    out_channels, kernel_rows, kernel_columns, in_channels = _four(x.shape(weights))
    require(x.integers(x.input(0)) == list(x.shape(target)) and in_channels == _four(x.shape(source))[3])
    _, rows, columns, _ = _four(x.shape(target))
    strides = (int(x.options.strideH), int(x.options.strideW))
    pads = [
        _padding(int(x.options.padding), size, kernel, stride, 1)[1]
        for size, kernel, stride in zip((rows, columns), (kernel_rows, kernel_columns), strides, strict=True)
    ]
    window = {
        **_images(x, source, target),
        "kernel_rows": kernel_rows,
        "kernel_columns": kernel_columns,
        "stride_rows": strides[0],
        "stride_columns": strides[1],
        "dilation_rows": 1,
        "dilation_columns": 1,
        "pad_top": pads[0],
        "pad_left": pads[1],
    }
    channels = {"in_channels": in_channels, "out_channels": out_channels}
    return [_weighted_window(x, Opcode.TRANSPOSE_CONV, source, axis=0, bias=3, **channels, **window)]


def _weighted_window(x: OpView, opcode: Opcode, source: int, *, axis: int, bias: int, **geometry: int) -> LoweredStep:
    """A kind of convolution.  ``axis``: of the output channels in the weights; ``bias``: its input position."""
    weights, target = x.input(1), x.output()
    channels = geometry["out_channels"]
    require(_four(x.shape(target))[3] == channels)
    scales, zero_points = x.scales(weights)
    require(not zero_points.any() and len(scales) in {1, channels})
    require(len(scales) == 1 or int(x.tensor(weights).quantization.quantizedDimension) == axis)
    given, wanted = x.activation(source), x.activation(target)
    biases = _biases(x, bias, channels)
    multipliers, shifts = multiplier_arrays(_factors(given, scales, wanted, channels).tolist())
    params = ConvParams(
        input=x.arena(source),
        output=x.arena(target),
        input_zero_point=given.zero_point,
        output_zero_point=wanted.zero_point,
        weights=x.pool.add(_weights(x, weights).tobytes()),
        biases=0 if biases is None else x.pool.add(biases.tobytes()),
        multipliers=x.pool.add(multipliers),
        shifts=x.pool.add(shifts),
        **x.limits(target),
        **geometry,
    )
    return x.step(opcode, params)


def fully_connected(x: OpView) -> list[LoweredStep]:
    source, weights, target = x.input(0), x.input(1), x.output()
    require(len(x.shape(weights)) == 2 and x.options.weightsFormat == 0 and x.output_count == 1)
    out_features, in_features = x.shape(weights)
    require(in_features > 0 and x.elements(source) % in_features == 0)
    rows = x.elements(source) // in_features
    require(x.elements(target) == rows * out_features)
    given, wanted = x.activation(source), x.activation(target)
    scales, zero_points = x.scales(weights)
    if len(scales) > 1:
        require(len(scales) == out_features and not zero_points.any())
        require(int(x.tensor(weights).quantization.quantizedDimension) == 0)
    constants, biases = _weights(x, weights), _biases(x, 2, out_features)
    factors = _factors(given, scales, wanted, out_features)
    require(_largest_sum(constants, biases) * float(factors.max()) < _INT32_LIMIT)
    params = FullyConnectedParams(
        input=x.arena(source),
        output=x.arena(target),
        rows=rows,
        in_features=in_features,
        out_features=out_features,
        input_zero_point=given.zero_point,
        weight_zero_point=int(zero_points[0]),
        output_zero_point=wanted.zero_point,
        weights=x.pool.add(constants.tobytes()),
        biases=0 if biases is None else x.pool.add(biases.tobytes()),
        factors=x.pool.add(factors.astype("<f8").tobytes()),
        **x.limits(target),
    )
    return [x.step(Opcode.FULLY_CONNECTED, params)]


def pool(x: OpView, opcode: Opcode) -> list[LoweredStep]:
    source, target = x.input(0), x.output()
    x.activation(source)
    kernel = (int(x.options.filterHeight), int(x.options.filterWidth))
    window = _window(x, source, target, kernel, (x.options.strideH, x.options.strideW), dilated=False)
    channels = _four(x.shape(source))[3]
    require(_four(x.shape(target))[3] == channels)
    params = PoolParams(input=x.arena(source), output=x.arena(target), channels=channels, **window, **x.limits(target))
    return [x.step(opcode, params)]


def mean(x: OpView) -> list[LoweredStep]:
    source, target = x.input(0), x.output()
    given, wanted = x.activation(source), x.activation(target)
    outer, reduced, inner = _reduction(x)
    multiplier, shift = mean_multiplier(float(given.scale), float(wanted.scale), reduced)
    params = MeanParams(
        input=x.arena(source),
        output=x.arena(target),
        outer=outer,
        reduced=reduced,
        inner=inner,
        input_zero_point=given.zero_point,
        output_zero_point=wanted.zero_point,
        multiplier=multiplier,
        shift=shift,
    )
    return [x.step(Opcode.MEAN, params)]


def reduce_max(x: OpView) -> list[LoweredStep]:
    """A max pool whose window is the reduced axis."""
    source, target = x.input(0), x.output()
    require(x.activation(source) == x.activation(target))
    outer, reduced, inner = _reduction(x)
    params = PoolParams(
        input=x.arena(source),
        output=x.arena(target),
        batches=outer,
        in_rows=reduced,
        in_columns=1,
        channels=inner,
        out_rows=1,
        out_columns=1,
        kernel_rows=reduced,
        kernel_columns=1,
        stride_rows=1,
        stride_columns=1,
        activation_min=-128,
        activation_max=127,
    )
    return [x.step(Opcode.MAX_POOL, params)]


def add(x: OpView, subtract: bool = False) -> list[LoweredStep]:
    """Both inputs are brought to twice the larger scale, shifted left so that no precision is lost."""
    first, second, wanted = (x.activation(t) for t in (x.input(0), x.input(1), x.output()))
    twice = 2.0 * float(max(first.scale, second.scale))
    inputs = [quantized_multiplier(float(affine.scale) / twice) for affine in (first, second)]
    output = quantized_multiplier(twice / float(np.float32(1 << _LEFT_SHIFT) * wanted.scale))
    return _binary(
        x,
        Opcode.ADD,
        output,
        subtract=int(subtract),
        left_shift=_LEFT_SHIFT,
        multipliers=tuple(multiplier for multiplier, _ in inputs),
        shifts=tuple(shift for _, shift in inputs),
    )


def multiply(x: OpView) -> list[LoweredStep]:
    first, second, wanted = (x.activation(t) for t in (x.input(0), x.input(1), x.output()))
    return _binary(x, Opcode.MUL, quantized_multiplier(float(first.scale * second.scale / wanted.scale)))


def _binary(x: OpView, opcode: Opcode, output: tuple[int, int], **fields: int | tuple[int, ...]) -> list[LoweredStep]:
    sources, target = (x.input(0), x.input(1)), x.output()
    shape = x.shape(target)
    dims, strides = collapse(shape, [_broadcast_strides(x.shape(source), shape) for source in sources])
    constant = [x.is_constant(source) for source in sources]
    params = BinaryParams(
        inputs=tuple(0 if c else x.arena(s) for s, c in zip(sources, constant, strict=True)),
        constants=tuple(
            x.pool.add(x.constant(s).tobytes()) if c else 0 for s, c in zip(sources, constant, strict=True)
        ),
        output=x.arena(target),
        dims=dims,
        strides=tuple(strides),
        zero_points=tuple(x.activation(source).zero_point for source in sources),
        output_zero_point=x.activation(target).zero_point,
        output_multiplier=output[0],
        output_shift=output[1],
        **fields,
        **x.limits(target),
    )
    return [x.step(opcode, params)]


def softmax(x: OpView) -> list[LoweredStep]:
    source, target = x.input(0), x.output()
    given, wanted = x.activation(source), x.activation(target)
    depth = x.shape(source)[-1] if x.shape(source) else 1
    require(wanted == (np.float32(1 / 256), -128) and 0 < depth <= _SOFTMAX_DEPTH_MAX)
    params = SoftmaxParams(
        input=x.arena(source),
        output=x.arena(target),
        rows=x.elements(source) // depth,
        depth=depth,
        exponentials=x.pool.add(softmax_exponentials(float(x.options.beta), float(given.scale))),
    )
    return [x.step(Opcode.SOFTMAX, params)]


def table(x: OpView) -> list[LoweredStep]:
    """Any function of one int8 value: LiteRT itself fills in the table."""
    source, target = x.input(0), x.output()
    x.activation(source)
    x.activation(target)
    count = x.elements(source)
    require(x.input_count == 1 and x.output_count == 1 and count == x.elements(target) and count > 0)
    params = TableParams(
        input=x.arena(source), output=x.arena(target), count=count, table=x.pool.add(_tabulated(x, count))
    )
    return [x.step(Opcode.TABLE, params)]


def _tabulated(x: OpView, count: int) -> bytes:
    """The operator's answer to -128..127, asked for with inputs of ``count`` values."""
    values = np.arange(-128, 128, dtype=np.int8)
    try:
        reference = Reference(cut_parsed(x.model, [x.index]).model, x.name)
        asked = [np.resize(values[i : i + count], count).tobytes() for i in range(0, 256, count)]
        return b"".join(reference.run([data])[0] for data in asked)[:256]
    except NetworkError as error:  # a function that is not defined everywhere, or that LiteRT does not have
        raise NoKernelError from error


def _four(shape: Sequence[int]) -> tuple[int, int, int, int]:
    require(len(shape) == 4 and min(shape) > 0)
    return shape[0], shape[1], shape[2], shape[3]


def _images(x: OpView, source: int, target: int) -> dict[str, int]:
    """Rows, columns and batches of input and output."""
    batches, in_rows, in_columns, _ = _four(x.shape(source))
    out_batches, out_rows, out_columns, _ = _four(x.shape(target))
    require(batches == out_batches)
    return {
        "batches": batches,
        "in_rows": in_rows,
        "in_columns": in_columns,
        "out_rows": out_rows,
        "out_columns": out_columns,
    }


def _padding(scheme: int, size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Output size and padding before the first element, of SAME (0) or VALID (1) padding along one axis."""
    require(scheme in {0, 1} and stride > 0 and dilation > 0)
    reach = (kernel - 1) * dilation + 1
    out = -(-size // stride) if scheme == 0 else -(-(size - reach + 1) // stride)
    return out, max(0, (out - 1) * stride + reach - size) // 2


def _window(
    x: OpView, source: int, target: int, kernel: tuple[int, int], strides: tuple[int, int], *, dilated: bool = True
) -> dict[str, int]:
    """Geometry of a window that slides over ``source``; checks that ``target`` has the size that follows."""
    found = _images(x, source, target)
    dilations = (x.options.dilationHFactor, x.options.dilationWFactor) if dilated else (1, 1)
    for axis, pad, size, stride, dilation in zip(
        ("rows", "columns"), ("pad_top", "pad_left"), kernel, strides, dilations, strict=True
    ):
        out, found[pad] = _padding(int(x.options.padding), found[f"in_{axis}"], size, int(stride), int(dilation))
        require(out == found[f"out_{axis}"])
        found[f"kernel_{axis}"], found[f"stride_{axis}"] = size, int(stride)
        if dilated:
            found[f"dilation_{axis}"] = int(dilation)
    return found


def _weights(x: OpView, tensor: int) -> npt.NDArray[np.int8]:
    require(x.type(tensor) in {"INT8", "INT4"})
    return x.constant(tensor)


def _biases(x: OpView, position: int, count: int) -> npt.NDArray[np.int32] | None:
    if not x.has_input(position):
        return None
    require(x.type(x.input(position)) == "INT32" and x.elements(x.input(position)) == count)
    return x.constant(x.input(position))


def _factors(given: Affine, weights: npt.NDArray[np.float32], wanted: Affine, channels: int) -> npt.NDArray[np.float64]:
    """From accumulators to outputs, per output channel: double arithmetic on float scales, in LiteRT's order."""
    factors = float(given.scale) * weights.astype(np.float64) / float(wanted.scale)
    return np.broadcast_to(factors, (channels,))


def _largest_sum(weights: npt.NDArray[np.int8], biases: npt.NDArray[np.int32] | None) -> float:
    """A bound of the accumulators of a fully connected layer."""
    products = weights.shape[1] * 255.0 * 255.0
    return float(products + (0.0 if biases is None else float(np.abs(biases.astype(np.float64)).max())))


def _reduction(x: OpView) -> tuple[int, int, int]:
    """The input as [outer][reduced][inner]; the reduced axes must lie together, but for axes of size 1."""
    shape = x.shape(x.input(0))
    require(len(shape) > 0 and min(shape) > 0)
    axes = {axis % len(shape) for axis in x.integers(x.input(1))}
    reduced = [axis for axis in sorted(axes) if shape[axis] > 1]
    if not reduced:
        return math.prod(shape), 1, 1
    first, last = reduced[0], reduced[-1] + 1
    require(all(axis in axes or shape[axis] == 1 for axis in range(first, last)))
    return math.prod(shape[:first]), math.prod(shape[first:last]), math.prod(shape[last:])


def _broadcast_strides(shape: tuple[int, ...], onto: tuple[int, ...]) -> tuple[int, ...]:
    require(len(shape) <= len(onto))
    padded = (1,) * (len(onto) - len(shape)) + shape
    require(all(size in {1, wanted} for size, wanted in zip(padded, onto, strict=True)))
    return tuple(0 if size == 1 else stride for size, stride in zip(padded, row_major(padded), strict=True))


subtract = functools.partial(add, subtract=True)
max_pool = functools.partial(pool, opcode=Opcode.MAX_POOL)
average_pool = functools.partial(pool, opcode=Opcode.AVG_POOL)
