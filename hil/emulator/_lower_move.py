"""Operators that only move elements: every one is a few strided copies.  Any type of whole bytes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from hil.emulator._lower_strides import Strides, collapse, row_major
from hil.emulator._lower_view import LoweredStep, OpView, require
from hil.emulator.layout import CopyParams, FillParams, Opcode


def _copy(
    x: OpView,
    source: int,
    target: int,
    dims: Sequence[int],
    in_strides: Strides,
    out_strides: Strides,
    in_first: int = 0,
    out_first: int = 0,
) -> list[LoweredStep]:
    """``target[out_first + i * out_strides] = source[in_first + i * in_strides]`` for all i below ``dims``.

    Everything in elements.  No step where that would copy a tensor onto itself.
    """
    size = x.element_bytes(source)
    require(size == x.element_bytes(target))
    if 0 in dims:
        return []
    shape, (ins, outs) = collapse(dims, (in_strides, out_strides))
    constant = x.is_constant(source)
    begin = x.pool.add(_bytes(x, source)) if constant else x.arena(source)
    params = CopyParams(
        input=0 if constant else begin + in_first * size,
        output=x.arena(target) + out_first * size,
        constant=begin + in_first * size if constant else 0,
        element_bytes=size,
        dims=shape,
        in_strides=ins,
        out_strides=outs,
    )
    onto_itself = not constant and params.input == params.output and ins == outs
    return [] if onto_itself else [x.step(Opcode.COPY, params)]


def _bytes(x: OpView, tensor: int) -> bytes:
    data = x.model.buffers[x.tensor(tensor).buffer].data
    require(x.tensor(tensor).sparsity is None and len(data) == x.elements(tensor) * x.element_bytes(tensor))
    return np.asarray(data, np.uint8).tobytes()


def reshape(x: OpView) -> list[LoweredStep]:
    source, target = x.input(0), x.output()
    require(x.elements(source) == x.elements(target))
    shape = (x.elements(source),)
    return _copy(x, source, target, shape, (1,), (1,))


def concatenation(x: OpView) -> list[LoweredStep]:
    require(x.options.fusedActivationFunction == 0)
    target = x.output()
    axis = _axis(int(x.options.axis), len(x.shape(target)))
    strides = row_major(x.shape(target))
    steps, position = [], 0
    for source in (x.input(i) for i in range(x.input_count)):
        _require_same_values(x, source, target)
        shape = x.shape(source)
        require(len(shape) == len(strides))
        steps += _copy(x, source, target, shape, row_major(shape), strides, out_first=position * strides[axis])
        position += shape[axis]
    require(position == x.shape(target)[axis])
    return steps


def pack(x: OpView) -> list[LoweredStep]:
    target = x.output()
    shape = x.shape(target)
    axis = _axis(int(x.options.axis), len(shape))
    strides = row_major(shape)
    require(x.input_count == shape[axis])
    steps = []
    for position in range(x.input_count):
        source = x.input(position)
        _require_same_values(x, source, target)
        one = shape[:axis] + shape[axis + 1 :]
        require(x.shape(source) == one)
        rest = strides[:axis] + strides[axis + 1 :]
        steps += _copy(x, source, target, one, row_major(one), rest, out_first=position * strides[axis])
    return steps


def unpack(x: OpView) -> list[LoweredStep]:
    source = x.input(0)
    shape = x.shape(source)
    axis = _axis(int(x.options.axis), len(shape))
    strides = row_major(shape)
    require(x.output_count == shape[axis])
    one, rest = shape[:axis] + shape[axis + 1 :], strides[:axis] + strides[axis + 1 :]
    steps = []
    for position in range(x.output_count):
        target = x.output(position)
        steps += _copy(x, source, target, one, rest, row_major(one), in_first=position * strides[axis])
    return steps


def split(x: OpView) -> list[LoweredStep]:
    """SPLIT takes the axis first, SPLIT_V last; the outputs' shapes say how much each one gets."""
    source, axis_input = (x.input(1), 0) if x.name == "SPLIT" else (x.input(0), 2)
    (axis_given,) = x.integers(x.input(axis_input))
    shape = x.shape(source)
    axis = _axis(axis_given, len(shape))
    strides = row_major(shape)
    steps, position = [], 0
    for target in (x.output(i) for i in range(x.output_count)):
        part = x.shape(target)
        require(len(part) == len(shape))
        steps += _copy(x, source, target, part, strides, row_major(part), in_first=position * strides[axis])
        position += part[axis]
    require(position == shape[axis])
    return steps


def pad(x: OpView) -> list[LoweredStep]:
    source, target = x.input(0), x.output()
    wanted = x.activation(target)
    _require_same_values(x, source, target)
    shape = x.shape(source)
    pads = np.array(x.integers(x.input(1))).reshape(-1, 2)
    require(len(pads) == len(shape) and bool((pads >= 0).all()))
    require(tuple(int(p.sum()) + size for p, size in zip(pads, shape, strict=True)) == x.shape(target))
    value = wanted.zero_point
    if x.has_input(2):
        require(x.type(x.input(2)) == "INT8" and x.elements(x.input(2)) == 1)
        value = int(x.constant(x.input(2)).reshape(-1)[0])
    strides = row_major(x.shape(target))
    fill = FillParams(output=x.arena(target), bytes=x.elements(target), value=value)
    first = sum(int(before) * stride for (before, _), stride in zip(pads, strides, strict=True))
    return [
        x.step(Opcode.FILL, fill),
        *_copy(x, source, target, shape, row_major(shape), strides, out_first=first),
    ]


def transpose(x: OpView) -> list[LoweredStep]:
    source, target = x.input(0), x.output()
    shape = x.shape(source)
    order = [_axis(axis, len(shape)) for axis in x.integers(x.input(1))]
    require(sorted(order) == list(range(len(shape))))
    strides = row_major(shape)
    turned = tuple(shape[axis] for axis in order)
    return _copy(x, source, target, turned, tuple(strides[axis] for axis in order), row_major(turned))


def slice_(x: OpView) -> list[LoweredStep]:
    source, target = x.input(0), x.output()
    shape, wanted = x.shape(source), x.shape(target)
    begin = x.integers(x.input(1))
    require(len(begin) == len(shape) == len(wanted))
    require(all(b >= 0 and b + w <= s for b, w, s in zip(begin, wanted, shape, strict=True)))
    strides = row_major(shape)
    first = sum(b * stride for b, stride in zip(begin, strides, strict=True))
    return _copy(x, source, target, wanted, strides, row_major(wanted), in_first=first)


def strided_slice(x: OpView) -> list[LoweredStep]:
    """Numpy's slicing: bounds clamp to the shape, negative ones count from the end."""
    source, target, options = x.input(0), x.output(), x.options
    require(options.ellipsisMask == 0 and options.newAxisMask == 0 and not options.offset)
    shape, strides = x.shape(source), row_major(x.shape(source))
    bounds = [x.integers(x.input(i)) for i in (1, 2, 3)]
    require(all(len(values) == len(shape) for values in bounds))
    dims, steps, first = [], [], 0
    for axis, (begin, end, step) in enumerate(zip(*bounds, strict=True)):
        require(step != 0)
        kept = _kept(options, axis, begin, end, step, shape[axis])
        dims.append(len(kept))
        steps.append(strides[axis] * step)
        first += strides[axis] * kept.start if len(kept) else 0
    require(math.prod(dims) == x.elements(target))
    return _copy(x, source, target, dims, tuple(steps), row_major(dims), in_first=first)


def _kept(options: object, axis: int, begin: int, end: int, step: int, size: int) -> range:
    """Which indices of one axis a strided slice keeps."""

    def masked(mask: str) -> bool:
        return bool(getattr(options, mask) >> axis & 1)

    if masked("shrinkAxisMask"):
        index = begin + size if begin < 0 else begin
        require(0 <= index < size and not masked("beginMask"))
        return range(index, index + 1)
    bounds = slice(None if masked("beginMask") else begin, None if masked("endMask") else end, step)
    return range(size)[bounds]


def space_to_depth(x: OpView) -> list[LoweredStep]:
    return _blocks(x, x.input(0), x.output(), gather=True)


def depth_to_space(x: OpView) -> list[LoweredStep]:
    return _blocks(x, x.input(0), x.output(), gather=False)


def _blocks(x: OpView, source: int, target: int, *, gather: bool) -> list[LoweredStep]:
    """Between an image and one of blocks as channels; ``gather``: from the image into the channels."""
    block = int(x.options.blockSize)
    image, blocks = (source, target) if gather else (target, source)
    require(len(x.shape(image)) == 4 and block > 0)
    batches, rows, columns, channels = x.shape(image)
    require(x.shape(blocks) == (batches, rows // block, columns // block, channels * block * block))
    require(rows % block == 0 and columns % block == 0)
    # [batch, block row, row in block, block column, column in block, channel]
    dims = (batches, rows // block, block, columns // block, block, channels)
    in_image = row_major(dims)
    by_block = row_major((batches, rows // block, columns // block, block, block, channels))
    in_blocks = tuple(by_block[axis] for axis in (0, 1, 3, 2, 4, 5))
    strides = (in_image, in_blocks) if gather else (in_blocks, in_image)
    return _copy(x, source, target, dims, *strides)


def resize_nearest(x: OpView) -> list[LoweredStep]:
    """Whole factors only: every pixel of the input becomes a block."""
    source, target = x.input(0), x.output()
    shape, wanted = x.shape(source), x.shape(target)
    require(len(shape) == len(wanted) == 4 and shape[0] == wanted[0] and shape[3] == wanted[3])
    require(min(shape) > 0 and wanted[1] % shape[1] == 0 and wanted[2] % shape[2] == 0 and not x.options.alignCorners)
    factors = (wanted[1] // shape[1], wanted[2] // shape[2])
    for size, factor in zip(shape[1:3], factors, strict=True):
        require(
            list(_nearest(size, factor, bool(x.options.halfPixelCenters)))
            == [i // factor for i in range(size * factor)]
        )
    batches, rows, columns, channels = shape
    dims = (batches, rows, factors[0], columns, factors[1], channels)
    by_batch, by_row, by_column, _ = row_major(shape)
    return _copy(x, source, target, dims, (by_batch, by_row, 0, by_column, 0, 1), row_major(dims))


def _nearest(size: int, factor: int, half_pixel: bool) -> Iterator[int]:
    """The input index that LiteRT takes for each output index, in its float arithmetic."""
    scale = np.float32(size) / np.float32(size * factor)
    offset = np.float32(0.5 if half_pixel else 0.0)
    for i in range(size * factor):
        yield min(int(np.floor((np.float32(i) + offset) * scale)), size - 1)


def _axis(axis: int, rank: int) -> int:
    require(-rank <= axis < rank)
    return axis % rank


def _require_same_values(x: OpView, source: int, target: int) -> None:
    """Copied bytes must mean the same: equal types, and equal quantization where there is one."""
    require(x.type(source) == x.type(target))
    if x.type(source) == "INT8":
        require(x.activation(source) == x.activation(target))
