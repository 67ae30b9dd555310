"""Every kernel against LiteRT's reference kernels: all bytes, on random shapes, options, scales and values."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from one_op import T, check, integers, lowered, one_op, run_op, values

from hil import zoo
from hil.emulator.layout import DecodeInput, DecodeKind, DecodeParams, Opcode
from hil.emulator.lower import LoweredStep, lower_op
from hil.network.slice import parse

EXAMPLES = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SEEDS = st.integers(0, 2**32 - 1)
SMALL = st.integers(1, 5)
STEPS = st.integers(1, 3)
RELUS = ("NONE", "RELU", "RELU6", "RELU_N1_TO_1")
FUSED = {"NONE": 0, "RELU": 1, "RELU_N1_TO_1": 2, "RELU6": 3}
SAME, VALID = 0, 1
PADDINGS = st.sampled_from([SAME, VALID])


def scale(rng: np.random.Generator, around: float = 0.05, decades: float = 1.0) -> float:
    return float(np.float32(around * 10 ** rng.uniform(-decades, decades)))


def zero_point(rng: np.random.Generator) -> int:
    return int(rng.choice([-128, 127, 0, int(rng.integers(-128, 128))]))


def activation(rng: np.random.Generator, shape: tuple[int, ...], around: float = 0.05) -> T:
    return T(shape, scale(rng, around), zero_point(rng))


def fused(rng: np.random.Generator) -> int:
    return FUSED[RELUS[rng.integers(len(RELUS))]]


def out_size(size: int, reach: int, stride: int, padding: int) -> int:
    return -(-size // stride) if padding == SAME else (size - reach) // stride + 1


def weighted(
    rng: np.random.Generator, shape: tuple[int, ...], axis: int, source: T, *, depth: int
) -> tuple[T, T, float]:
    """Weights (int8 or int4, one scale or one per channel), biases, and a fitting scale of the output."""
    channels = shape[axis]
    scales = [scale(rng, 0.01) for _ in range(channels if rng.integers(2) else 1)]
    per_channel: float | list[float] = scales if len(scales) > 1 else scales[0]
    if rng.integers(5) == 0:
        quads = rng.integers(-8, 8, math.prod(shape) + math.prod(shape) % 2).astype(np.uint8) & 15
        packed = (quads[::2] | quads[1::2] << 4).astype(np.uint8)
        weights = T(shape, per_channel, type="INT4", data=packed, axis=axis)
    else:
        weights = T(shape, per_channel, data=values(rng, shape), axis=axis)
    reach = 100 * math.sqrt(depth) * 70
    bias_scales = [float(np.float32(source.scale) * np.float32(s)) for s in scales]
    biases = T(
        [channels],
        bias_scales if len(scales) > 1 else bias_scales[0],
        type="INT32",
        data=rng.integers(-int(reach), int(reach), channels, np.int32),
    )
    wanted = float(source.scale) * max(scales) * reach / 60 * 10 ** rng.uniform(-1.5, 1.0)
    return weights, biases, float(np.float32(wanted))


@given(SEEDS, st.tuples(SMALL, SMALL), st.tuples(*[STEPS] * 4), SMALL, SMALL, PADDINGS)
@EXAMPLES
def test_convolution(kernels: Any, seed: int, kernel: Any, steps: Any, depth: int, channels: int, padding: int) -> None:
    rng = np.random.default_rng(seed)
    groups = int(rng.choice([1, 1, 2, 3]))
    dilation, stride = steps[:2], steps[2:]
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = [r + int(rng.integers(0, 6)) if padding == VALID else int(rng.integers(1, 9)) for r in reach]
    source = activation(rng, (int(rng.integers(1, 3)), *size, depth * groups))
    weights, biases, wanted = weighted(rng, (channels * groups, *kernel, depth), 0, source, depth=depth * 9)
    out = [out_size(s, r, t, padding) for s, r, t in zip(size, reach, stride, strict=True)]
    target = T((source.shape[0], *out, channels * groups), wanted, zero_point(rng))
    model = one_op(
        "CONV_2D",
        [source, weights, biases],
        [target],
        "Conv2DOptions",
        padding=padding,
        strideH=stride[0],
        strideW=stride[1],
        dilationHFactor=dilation[0],
        dilationWFactor=dilation[1],
        fusedActivationFunction=fused(rng),
    )
    check(kernels, model, [values(rng, source.shape)])


@given(SEEDS, st.tuples(SMALL, SMALL), st.tuples(*[STEPS] * 4), SMALL, PADDINGS)
@EXAMPLES
def test_depthwise_convolution(kernels: Any, seed: int, kernel: Any, steps: Any, depth: int, padding: int) -> None:
    rng = np.random.default_rng(seed)
    multiplier = int(rng.choice([1, 1, 2, 3]))
    dilation, stride = steps[:2], (steps[2], steps[2])
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = [r + int(rng.integers(0, 6)) if padding == VALID else int(rng.integers(1, 9)) for r in reach]
    source = activation(rng, (int(rng.integers(1, 3)), *size, depth))
    weights, biases, wanted = weighted(rng, (1, *kernel, depth * multiplier), 3, source, depth=9)
    out = [out_size(s, r, t, padding) for s, r, t in zip(size, reach, stride, strict=True)]
    target = T((source.shape[0], *out, depth * multiplier), wanted, zero_point(rng))
    model = one_op(
        "DEPTHWISE_CONV_2D",
        [source, weights, biases],
        [target],
        "DepthwiseConv2DOptions",
        padding=padding,
        strideH=stride[0],
        strideW=stride[1],
        depthMultiplier=multiplier,
        dilationHFactor=dilation[0],
        dilationWFactor=dilation[1],
        fusedActivationFunction=fused(rng),
    )
    check(kernels, model, [values(rng, source.shape)])


@given(SEEDS, st.tuples(SMALL, SMALL), st.tuples(STEPS, STEPS), SMALL, SMALL, PADDINGS)
@EXAMPLES
def test_transpose_convolution(
    kernels: Any, seed: int, kernel: Any, stride: Any, depth: int, channels: int, padding: int
) -> None:
    rng = np.random.default_rng(seed)
    size = [int(rng.integers(1, 6)) for _ in range(2)]
    if padding == SAME:
        out = [s * t for s, t in zip(size, stride, strict=True)]
    else:
        out = [(s - 1) * t + k for s, t, k in zip(size, stride, kernel, strict=True)]
    source = activation(rng, (1, *size, depth))
    weights, biases, wanted = weighted(rng, (channels, *kernel, depth), 0, source, depth=depth * 4)
    if weights.type == "INT4":
        weights = T(weights.shape, weights.scale, data=values(rng, weights.shape))
    target = T((1, *out, channels), wanted, zero_point(rng))
    model = one_op(
        "TRANSPOSE_CONV",
        [integers(*target.shape), weights, source, *([biases] if rng.integers(3) else [])],
        [target],
        "TransposeConvOptions",
        padding=padding,
        strideH=stride[0],
        strideW=stride[1],
    )
    check(kernels, model, [values(rng, source.shape)])


@given(SEEDS, SMALL, st.integers(1, 60), st.integers(1, 20))
@EXAMPLES
def test_fully_connected(kernels: Any, seed: int, rows: int, features: int, channels: int) -> None:
    rng = np.random.default_rng(seed)
    source = activation(rng, (rows, features))
    weights, biases, wanted = weighted(rng, (channels, features), 0, source, depth=features)
    if isinstance(weights.scale, float) and weights.type == "INT8" and rng.integers(2):
        weights.zero_point = zero_point(rng)
    target = T((rows, channels), wanted, zero_point(rng))
    options = {"fusedActivationFunction": fused(rng), "keepNumDims": bool(rng.integers(2))}
    inputs = [source, weights, biases if rng.integers(3) else None]
    model = one_op("FULLY_CONNECTED", inputs, [target], "FullyConnectedOptions", **options)
    check(kernels, model, [values(rng, source.shape)])


@pytest.mark.parametrize("builtin", ["MAX_POOL_2D", "AVERAGE_POOL_2D"])
@given(SEEDS, st.tuples(SMALL, SMALL), st.tuples(SMALL, SMALL), SMALL, PADDINGS)
@EXAMPLES
def test_pool(kernels: Any, builtin: str, seed: int, kernel: Any, stride: Any, depth: int, padding: int) -> None:
    rng = np.random.default_rng(seed)
    size = [k + int(rng.integers(0, 9)) if padding == VALID else int(rng.integers(1, 12)) for k in kernel]
    source = activation(rng, (int(rng.integers(1, 3)), *size, depth))
    out = [out_size(s, k, t, padding) for s, k, t in zip(size, kernel, stride, strict=True)]
    target = T((source.shape[0], *out, depth), source.scale, source.zero_point)
    model = one_op(
        builtin,
        [source],
        [target],
        "Pool2DOptions",
        padding=padding,
        strideH=stride[0],
        strideW=stride[1],
        filterHeight=kernel[0],
        filterWidth=kernel[1],
        fusedActivationFunction=fused(rng),
    )
    check(kernels, model, [values(rng, source.shape)])


@pytest.mark.parametrize("builtin", ["MEAN", "REDUCE_MAX"])
@given(SEEDS, st.lists(st.integers(1, 9), min_size=1, max_size=4), st.booleans(), st.data())
@EXAMPLES
def test_reduction(kernels: Any, builtin: str, seed: int, shape: list[int], keep: bool, data: Any) -> None:
    rng = np.random.default_rng(seed)
    first = data.draw(st.integers(0, len(shape) - 1))
    axes = list(range(first, data.draw(st.integers(first + 1, len(shape)))))
    source = activation(rng, tuple(shape))
    out = [1 if i in axes else s for i, s in enumerate(shape) if keep or i not in axes]
    same = builtin == "REDUCE_MAX" or rng.integers(3) == 0
    target = T(out, source.scale, source.zero_point) if same else activation(rng, tuple(out), float(source.scale))
    given_axes = [a - len(shape) if rng.integers(2) else a for a in axes]
    model = one_op(builtin, [source, integers(*given_axes)], [target], "ReducerOptions", keepDims=keep)
    check(kernels, model, [values(rng, source.shape)])


@pytest.mark.parametrize("builtin", ["ADD", "SUB", "MUL"])
@given(SEEDS, st.lists(SMALL, min_size=1, max_size=5), st.sampled_from([0.003, 0.05, 3.0]), st.data())
@EXAMPLES
def test_binary(kernels: Any, builtin: str, seed: int, shape: list[int], around: float, data: Any) -> None:
    rng = np.random.default_rng(seed)
    keeps = [data.draw(st.sampled_from(["both", "both", "first", "second"])) for _ in shape]
    shapes = [tuple(1 if k == other else s for k, s in zip(keeps, shape, strict=True)) for other in ("second", "first")]
    if rng.integers(3) == 0:
        shapes[1] = shapes[1][int(rng.integers(0, len(shape))) :]
    out = np.broadcast_shapes(*shapes)
    operands = [activation(rng, s) for s in shapes]
    constant = int(rng.integers(4))
    if constant < 2:
        operands[constant].data = values(rng, shapes[constant])
    target = activation(rng, out, around)
    options = f"{builtin.title()}Options"
    model = one_op(builtin, operands, [target], options, fusedActivationFunction=fused(rng))
    check(kernels, model, [values(rng, t.shape) for t in operands if t.data is None])


@given(SEEDS, SMALL, st.integers(1, 300), st.floats(-4, 1), st.sampled_from([1.0, 0.5, 2.3]))
@EXAMPLES
def test_softmax(kernels: Any, seed: int, rows: int, depth: int, decade: float, beta: float) -> None:
    rng = np.random.default_rng(seed)
    source = T((rows, depth), float(np.float32(10**decade)), zero_point(rng))
    target = T((rows, depth), 1 / 256, -128)
    model = one_op("SOFTMAX", [source], [target], "SoftmaxOptions", beta=beta)
    check(kernels, model, [values(rng, source.shape)])


ACTIVATIONS = {
    "ABS": "AbsOptions",
    "EXP": "ExpOptions",
    "GELU": "GeluOptions",
    "HARD_SWISH": "HardSwishOptions",
    "LEAKY_RELU": "LeakyReluOptions",
    "LOG": "",
    "LOGISTIC": "",
    "NEG": "NegOptions",
    "QUANTIZE": "QuantizeOptions",
    "RELU": "",
    "RELU6": "",
    "RELU_0_TO_1": "",
    "RELU_N1_TO_1": "",
    "TANH": "",
}


@pytest.mark.parametrize("builtin", ACTIVATIONS)
@given(SEEDS, st.lists(st.integers(1, 7), min_size=1, max_size=4))
@settings(EXAMPLES, max_examples=15)
def test_function_of_one_value(kernels: Any, builtin: str, seed: int, shape: list[int]) -> None:
    rng = np.random.default_rng(seed)
    source = activation(rng, tuple(shape))
    target = {"LOGISTIC": T(shape, 1 / 256, -128), "TANH": T(shape, 1 / 128, 0)}.get(
        builtin, activation(rng, tuple(shape))
    )
    if builtin == "ABS":
        target.zero_point = source.zero_point
    values_of = {"alpha": 0.1} if builtin == "LEAKY_RELU" else {}
    model = one_op(builtin, [source], [target], ACTIVATIONS[builtin], **values_of)
    check(kernels, model, [values(rng, source.shape)])


SHAPES = st.lists(SMALL, min_size=1, max_size=4)


def moved(rng: np.random.Generator, shape: Any) -> T:
    return T(tuple(shape), 0.1, zero_point(rng))


def like(source: T, shape: Any) -> T:
    return T(tuple(int(s) for s in shape), source.scale, source.zero_point)


@given(SEEDS, SHAPES, st.data())
@EXAMPLES
def test_joining(kernels: Any, seed: int, shape: list[int], data: Any) -> None:
    rng = np.random.default_rng(seed)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    first = moved(rng, shape)
    parts = [like(first, [*shape]) for _ in range(3)]
    for part in parts:
        part.shape = [int(rng.integers(1, 5)) if i == axis % len(shape) else s for i, s in enumerate(shape)]
    parts[1].data = values(rng, parts[1].shape)
    out = np.concatenate([np.zeros(p.shape) for p in parts], axis).shape
    model = one_op("CONCATENATION", parts, [like(first, out)], "ConcatenationOptions", axis=axis)
    check(kernels, model, [values(rng, p.shape) for p in parts if p.data is None])
    parts = [like(first, shape) for _ in range(2)]
    out = np.stack([np.zeros(shape)] * 2, axis).shape
    model = one_op("PACK", parts, [like(first, out)], "PackOptions", axis=axis, valuesCount=2)
    check(kernels, model, [values(rng, shape) for _ in parts])


@given(SEEDS, SHAPES, st.integers(1, 3), st.data())
@EXAMPLES
def test_splitting(kernels: Any, seed: int, shape: list[int], count: int, data: Any) -> None:
    rng = np.random.default_rng(seed)
    axis = data.draw(st.integers(0, len(shape) - 1))
    whole = [s * count if i == axis else s for i, s in enumerate(shape)]
    source = moved(rng, whole)
    scalar = T([], type="INT32", data=np.array(axis, np.int32))
    model = one_op(
        "SPLIT", [scalar, source], [like(source, shape) for _ in range(count)], "SplitOptions", numSplits=count
    )
    check(kernels, model, [values(rng, whole)])
    sizes = [1, whole[axis] - 1] if whole[axis] > 1 else [whole[axis]]
    outs = [like(source, [size if i == axis else s for i, s in enumerate(whole)]) for size in sizes]
    model = one_op("SPLIT_V", [source, integers(*sizes), scalar], outs, "SplitVOptions", numSplits=len(sizes))
    check(kernels, model, [values(rng, whole)])
    one = whole[:axis] + whole[axis + 1 :]
    outs = [like(source, one) for _ in range(whole[axis])]
    model = one_op("UNPACK", [source], outs, "UnpackOptions", axis=axis, num=whole[axis])
    check(kernels, model, [values(rng, whole)])


@given(SEEDS, SHAPES, st.data())
@EXAMPLES
def test_padding_and_transposing(kernels: Any, seed: int, shape: list[int], data: Any) -> None:
    rng = np.random.default_rng(seed)
    source = moved(rng, shape)
    pads = rng.integers(0, 3, (len(shape), 2)).astype(np.int32)
    amounts = T(pads.shape, type="INT32", data=pads)
    target = like(source, pads.sum(axis=1) + shape)
    check(kernels, one_op("PAD", [source, amounts], [target], "PadOptions"), [values(rng, shape)])
    value = T([1], source.scale, source.zero_point, data=values(rng, [1]))
    check(kernels, one_op("PADV2", [source, amounts, value], [target], "PadV2Options"), [values(rng, shape)])
    order = data.draw(st.permutations(range(len(shape))))
    target = like(source, [shape[axis] for axis in order])
    check(kernels, one_op("TRANSPOSE", [source, integers(*order)], [target], "TransposeOptions"), [values(rng, shape)])


@given(SEEDS, SHAPES, st.data())
@EXAMPLES
def test_slicing(kernels: Any, seed: int, shape: list[int], data: Any) -> None:
    rng = np.random.default_rng(seed)
    source = moved(rng, shape)
    begin = [int(rng.integers(0, s)) for s in shape]
    size = [int(rng.integers(1, s - b + 1)) for s, b in zip(shape, begin, strict=True)]
    model = one_op("SLICE", [source, integers(*begin), integers(*size)], [like(source, size)], "SliceOptions")
    check(kernels, model, [values(rng, shape)])

    bounds = st.tuples(st.integers(-7, 7), st.integers(-7, 7), st.sampled_from([-3, -2, -1, 1, 2, 3]))
    begins, ends, steps, shrink, begin_mask, end_mask, out = [], [], [], 0, 0, 0, []
    for axis, length in enumerate(shape):
        b, e, s = data.draw(bounds)
        kind = data.draw(st.sampled_from(["open", "closed", "index"]))
        kept = len(range(length)[slice(b, e, s)])
        if kind == "index":
            b, s = int(rng.integers(-length, length)), 1
            e = b + 1
            shrink |= 1 << axis
        elif kind == "open" or kept == 0:
            begin_mask |= 1 << axis
            end_mask |= 1 << axis
            out.append(len(range(length)[::s]))
        else:
            out.append(kept)
        begins.append(b)
        ends.append(e)
        steps.append(s)
    model = one_op(
        "STRIDED_SLICE",
        [source, integers(*begins), integers(*ends), integers(*steps)],
        [like(source, out)],
        "StridedSliceOptions",
        beginMask=begin_mask,
        endMask=end_mask,
        shrinkAxisMask=shrink,
    )
    check(kernels, model, [values(rng, shape)])


@given(SEEDS, st.tuples(SMALL, SMALL, SMALL, SMALL), st.tuples(SMALL, SMALL), st.booleans())
@EXAMPLES
def test_blocks(kernels: Any, seed: int, shape: Any, factors: Any, half_pixel: bool) -> None:
    rng = np.random.default_rng(seed)
    batches, rows, columns, channels = shape
    block = factors[0]
    small, large = (batches, rows, columns, channels * block**2), (batches, rows * block, columns * block, channels)
    source = moved(rng, large)
    model = one_op("SPACE_TO_DEPTH", [source], [like(source, small)], "SpaceToDepthOptions", blockSize=block)
    check(kernels, model, [values(rng, large)])
    model = one_op("DEPTH_TO_SPACE", [like(source, small)], [source], "DepthToSpaceOptions", blockSize=block)
    check(kernels, model, [values(rng, small)])
    size = integers(rows * factors[0], columns * factors[1])
    target = like(source, (batches, rows * factors[0], columns * factors[1], channels))
    model = one_op(
        "RESIZE_NEAREST_NEIGHBOR",
        [like(source, shape), size],
        [target],
        "ResizeNearestNeighborOptions",
        halfPixelCenters=half_pixel,
    )
    check(kernels, model, [values(rng, shape)])


@pytest.mark.parametrize("builtin", ["RESHAPE", "SQUEEZE", "EXPAND_DIMS"])
def test_views_copy_or_vanish(kernels: Any, builtin: str) -> None:
    rng = np.random.default_rng(1)
    source = moved(rng, (1, 6, 4) if builtin == "SQUEEZE" else (6, 4))
    out, extra, options, chosen = {
        "RESHAPE": ((2, 12), [integers(2, 12)], "ReshapeOptions", {"newShape": [2, 12]}),
        "SQUEEZE": ((6, 4), [], "SqueezeOptions", {"squeezeDims": [0]}),
        "EXPAND_DIMS": ((1, 6, 4), [T([], type="INT32", data=np.array(0, np.int32))], "ExpandDimsOptions", {}),
    }[builtin]
    model = one_op(builtin, [source, *extra], [like(source, out)], options, **chosen)
    check(kernels, model, [values(rng, source.shape)])
    parsed = parse(model[0])
    assert lower_op(parsed, 0, {0: 32, len(parsed.subgraphs[0].tensors) - 1: 32}, kernels.pool()) == []


@pytest.mark.parametrize("entry", zoo.names())
def test_every_op_of_the_zoo(kernels: Any, entry: str) -> None:
    """With the true inputs of each op, in a run of the whole network."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    model = zoo.load(entry).model
    interpreter = Interpreter(
        model_content=model,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
        num_threads=1,
    )
    interpreter.allocate_tensors()
    rng = np.random.default_rng(7)
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], rng.integers(-128, 128, detail["shape"], np.int8))
    interpreter.invoke()
    parsed = parse(model)
    graph = parsed.subgraphs[0]
    for index, operator in enumerate(graph.operators):
        inputs = {
            int(t): interpreter.get_tensor(int(t)).tobytes()
            for t in operator.inputs
            if t >= 0 and parsed.buffers[graph.tensors[t].buffer].data is None
        }
        outputs = {int(t): interpreter.get_tensor(int(t)).tobytes() for t in operator.outputs}
        found = run_op(kernels, parsed, index, inputs, {t: len(data) for t, data in outputs.items()})
        assert found == outputs, f"{entry}, op {index}"


def small_conv(**changes: Any) -> bytes:
    tensors = {
        "source": T((1, 4, 4, 2), 0.1),
        "weights": T((3, 1, 1, 2), 0.1, data=np.ones((3, 1, 1, 2), np.int8)),
        "biases": T((3,), 0.01, type="INT32", data=np.zeros(3, np.int32)),
        "target": T((1, 4, 4, 3), 0.2),
    } | {k: v for k, v in changes.items() if isinstance(v, T)}
    options = {"padding": VALID, "strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    options |= {k: v for k, v in changes.items() if not isinstance(v, T)}
    *inputs, target = tensors.values()
    return one_op("CONV_2D", inputs, [target], "Conv2DOptions", **options)[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"source": T((1, 4, 4, 2), 0.1, type="UINT8"), "target": T((1, 4, 4, 3), 0.2, type="UINT8")},
        {"source": T((1, 4, 4, 2), 0.1, type="INT16"), "target": T((1, 4, 4, 3), 0.2, type="INT16")},
        {"source": T((1, 4, 4, 2), type="FLOAT32"), "target": T((1, 4, 4, 3), type="FLOAT32")},
        {"weights": T((3, 1, 1, 2), 0.1)},
        {"weights": T((3, 1, 1, 2), 0.1, 3, data=np.ones((3, 1, 1, 2), np.int8))},
        {"biases": T((3,), 0.01, type="INT64", data=np.zeros(3, np.int64))},
        {"target": T((1, 4, 5, 3), 0.2)},
        {"target": T((1, 4, 4, 3))},
        {"fusedActivationFunction": 4},
    ],
    ids=["uint8", "int16", "float", "weights made at run time", "asymmetric", "bias", "shape", "no scale", "tanh"],
)
def test_no_kernel_for_what_would_not_be_exact(changes: dict[str, Any]) -> None:
    assert lowered(small_conv()) is not None
    assert lowered(small_conv(**changes)) is None


def test_no_kernel_for_other_operators() -> None:
    a, b = T((2, 2), 0.1), T((2, 2), 0.1)
    assert lowered(one_op("FLOOR_DIV", [a, b], [T((2, 2), 0.1)], "FloorDivOptions")[0]) is None
    different = [T((2, 2), 0.1), T((2, 2), 0.2)]
    target = T((4, 2), 0.1)
    assert lowered(one_op("CONCATENATION", different, [target], "ConcatenationOptions", axis=0)[0]) is None
    resized = one_op("RESIZE_NEAREST_NEIGHBOR", [T((1, 2, 2, 1), 0.1), integers(3, 3)], [T((1, 3, 3, 1), 0.1)])
    assert lowered(resized[0]) is None


def test_a_root_of_negative_values_has_no_table() -> None:
    """LiteRT refuses such values, so a table of all of them cannot be asked for."""
    source, target = T((4,), 0.1, 0), T((4,), 0.1, 0)
    assert lowered(one_op("RSQRT", [source], [target])[0]) is None


def test_equal_constants_are_stored_once(kernels: Any) -> None:
    pool = kernels.pool()
    assert pool.add(b"abcd") == pool.add(b"abcd") == pool.base
    assert pool.add(b"x") == pool.base + 4
    assert pool.add(b"wide", 16) % 16 == 0


def test_opcodes_that_are_no_kernels(kernels: Any) -> None:
    assert [kernels.status(opcode) for opcode in (0, 1, 2, 17, 255)] == [-1] * 5


def test_products_of_all_pairs(kernels: Any) -> None:
    """Every pair of int8 values, with rounding in both directions."""
    pairs = np.array(list(itertools.product(range(-128, 128), repeat=2)), np.int8)
    for builtin in ("ADD", "SUB", "MUL"):
        for zero in (-128, 5, 127):
            operands = [T((65536,), 0.5, zero), T((65536,), 0.25, -zero - 1)]
            target = T((65536,), 1.0 if builtin != "MUL" else 64.0, 3)
            model = one_op(builtin, operands, [target], f"{builtin.title()}Options")
            check(kernels, model, [pairs[:, 0], pairs[:, 1]])


def decoded(kernels: Any, kind: DecodeKind, maps: list[Any], scales: list[Any], grid: tuple[int, int]) -> Any:
    """What OP_DECODE makes of int8 arrays, as floats."""
    arena, inputs = bytearray(), []
    for data, (step, zero) in zip(maps, scales, strict=True):
        inputs.append(DecodeInput(len(arena), data.size, step, zero))
        arena += data.tobytes() + bytes(-data.size % 4)
    room = sum(data.size for data in maps) + 2 * max(1, math.prod(grid))
    params = DecodeParams(kind, len(maps), tuple(inputs), len(arena), *grid)
    step = LoweredStep(int(Opcode.DECODE), bytes(params), -1)
    after = kernels.run([step], kernels.pool(), bytes(arena) + bytes(4 * room))
    return np.frombuffer(after[len(arena) :], "<f4")


@given(SEEDS, st.integers(1, 40), st.integers(0, 5))
@EXAMPLES
def test_largest_value_and_its_index(kernels: Any, seed: int, count: int, more: int) -> None:
    rng = np.random.default_rng(seed)
    maps = [values(rng, [count]), values(rng, [more])]
    scales = [(scale(rng), zero_point(rng)) for _ in maps]
    found = decoded(kernels, DecodeKind.ARGMAX, maps, scales, (0, 0))
    real = [np.float32(s) * (m.astype(np.float32) - z) for m, (s, z) in zip(maps, scales, strict=True)]
    best = int(np.argmax(maps[0]))
    np.testing.assert_array_equal(found[: count + more + 2], [*real[0], *real[1], real[0][best], best])


@given(SEEDS, SMALL, SMALL, st.integers(1, 3), st.integers(0, 4))
@EXAMPLES
def test_boxes(kernels: Any, seed: int, rows: int, columns: int, boxes: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    maps = [values(rng, (rows, columns, boxes, 5)), values(rng, (rows, columns, classes))][: 2 if classes else 1]
    scales = [(scale(rng, 0.1), zero_point(rng)) for _ in maps]
    per_cell = 5 * boxes + (2 if classes else 0)
    found = decoded(kernels, DecodeKind.BOXES, maps, scales, (rows, columns))[: rows * columns * per_cell]
    cells = found.reshape(rows, columns, per_cell)
    part = 1 / (1 + np.exp(-scales[0][0] * (maps[0].astype(float) - scales[0][1])))
    x = (np.arange(columns)[None, :, None] + part[..., 0]) / columns
    y = (np.arange(rows)[:, None, None] + part[..., 1]) / rows
    half_width, half_height = part[..., 2] / 2, part[..., 3] / 2
    corners = (x - half_width, y - half_height, x + half_width, y + half_height, part[..., 4])
    expected = np.stack(corners, -1).reshape(rows, columns, -1)
    np.testing.assert_allclose(cells[..., : 5 * boxes], expected, atol=1e-3)
    if classes:
        np.testing.assert_array_equal(cells[..., -2], maps[1].argmax(axis=-1))
        best = scales[1][0] * (maps[1].max(axis=-1).astype(float) - scales[1][1])
        np.testing.assert_allclose(cells[..., -1], best, rtol=1e-6, atol=1e-6)
