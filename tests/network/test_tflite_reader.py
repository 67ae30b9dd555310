"""The ``.tflite`` reader: known totals, LiteRT's shapes and padding, what is counted, and clear errors."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hil.errors import NetworkError
from hil.network import Network, Op
from hil.network._schema import BUILTIN_OPERATORS, ELEMENT_TYPES
from hil.network.memory import plan_memory
from hil.network.tflite import read_tflite

FOLDERS = (Path(__file__).parent / "fixtures", Path(__file__).parents[2] / "hil" / "zoo" / "models")
READABLE = sorted(path for folder in FOLDERS for path in folder.glob("*.tflite") if path.stem != "loop")

# Published sizes: MLPerf Tiny v1 and the µNPU paper's networks, as their layer lists have them.
KNOWN = {
    "ad": (264_192, 264_192, 1_672),
    "ic": (12_501_632, 77_360, 346),
    "kws": (2_656_768, 22_016, 588),
    "vww": (7_489_664, 208_112, 2_738),
    "resnet": (18_461_184, 381_792, 1_220),
    "simplenet": (18_461_184, 381_792, 1_220),
    "cifar10_nas": (36_377_600, 350_912, 1_226),
    "autoencoder": (201_984, 136_448, 352),
    "yolov1_96": (21_224_448, 40_304, 396),
}


@pytest.mark.parametrize("name", KNOWN)
def test_zoo_totals_are_the_published_ones(name: str) -> None:
    network = read_tflite((FOLDERS[1] / f"{name}.tflite").read_bytes(), name)
    found = network.macs, sum(op.weights for op in network.ops), sum(op.biases for op in network.ops)
    assert found == KNOWN[name]
    assert network.weight_bytes == KNOWN[name][1]
    assert network.precision == "int8"


@pytest.mark.parametrize("path", READABLE, ids=lambda path: path.stem)
def test_shapes_and_names_equal_litert(path: Path, make: Any) -> None:
    data = path.read_bytes()
    network = read_tflite(data, path.stem)
    interpreter = make.interpreter(data)
    details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    used = {i for op in network.ops for i in (*op.inputs, *op.outputs)}
    assert used
    for i in used:
        assert network.tensors[i].shape == tuple(details[i]["shape"].tolist())
        assert network.tensors[i].name == details[i]["name"]
        assert network.tensors[i].dtype == np.dtype(details[i]["dtype"]).name
        quantization = network.tensors[i].quantization
        if quantization is not None:
            assert details[i]["quantization"] == (quantization.scales[0], quantization.zero_points[0])
    assert network.inputs == tuple(detail["index"] for detail in interpreter.get_input_details())
    assert network.outputs == tuple(detail["index"] for detail in interpreter.get_output_details())


AWKWARD = [
    # suffix of the op's name, type, kernel, stride, padding, dilation, groups, multiplier, macs, weights
    ("dilated_same", "conv2d", (3, 3), (1, 1), (2, 2, 3, 3), (2, 3), 1, 1, 2 * 19 * 14 * 216, 216),
    ("dilated_valid", "conv2d", (3, 2), (1, 1), (0, 0, 0, 0), (2, 2), 1, 1, 2 * 15 * 12 * 144, 144),
    ("stride3", "conv2d", (5, 2), (3, 2), (2, 2, 0, 0), (1, 1), 1, 1, 2 * 7 * 7 * 320, 320),
    ("multiplied", "depthwise_conv2d", (4, 3), (2, 2), (1, 2, 0, 1), (1, 1), 4, 3, 2 * 10 * 7 * 144, 144),
    ("from_one_channel", "depthwise_conv2d", (3, 3), (1, 1), (0, 0, 0, 0), (1, 1), 1, 5, 2 * 9 * 7 * 45, 45),
    ("PartitionedCall_1:5", "conv2d", (3, 3), (2, 2), (1, 1, 0, 1), (1, 1), 2, 1, 2 * 8 * 6 * 144, 144),
    ("PartitionedCall_1:1", "transpose_conv2d", (3, 4), (2, 3), (0, 1, 0, 1), (1, 1), 1, 1, 2 * 49 * 240, 240),
    ("PartitionedCall_1:3", "transpose_conv2d", (3, 3), (2, 2), (0, 0, 0, 0), (1, 1), 1, 1, 2 * 49 * 108, 108),
    ("PartitionedCall_1:4", "fully_connected", (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1, 1, 2 * 49 * 56, 56),
    ("PartitionedCall_1:6", "global_avg_pool", (10, 7), (10, 7), (0, 0, 0, 0), (1, 1), 1, 1, 0, 0),
    ("PartitionedCall_1:7", "mean", (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1, 1, 0, 0),
    ("PartitionedCall_1:8", "max_pool", (3, 2), (2, 3), (0, 1, 0, 1), (1, 1), 1, 1, 0, 0),
    ("PartitionedCall_1:9", "global_avg_pool", (10, 7), (10, 7), (0, 0, 0, 0), (1, 1), 1, 1, 0, 0),
    ("PartitionedCall_1:10", "matmul", (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1, 1, 2 * 24 * 24 * 100, 0),
    ("Pad", "pad", (1, 1), (1, 1), (1, 2, 0, 3), (1, 1), 1, 1, 0, 0),
    ("ResizeBilinear", "upsample", (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1, 1, 0, 0),
    ("LeakyRelu", "activation", (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1, 1, 0, 0),
    ("split1", "split", (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1, 1, 0, 0),
]


@pytest.mark.parametrize("expected", AWKWARD, ids=lambda row: row[0])
def test_awkward_geometry(expected: tuple[Any, ...]) -> None:
    network = read_tflite((FOLDERS[0] / "awkward.tflite").read_bytes(), "awkward")
    suffix, *rest = expected
    (op,) = [op for op in network.ops if _matches(op.name, suffix)]
    found = (op.type, op.kernel, op.stride, op.padding, op.dilation, op.groups, op.depth_multiplier, op.macs)
    assert [*found, op.weights] == rest
    assert op.biases == 0, "the converter's bias of zeros is not a parameter"


def _matches(name: str, suffix: str) -> bool:
    return name.endswith(suffix) or f"/{suffix}_1/" in name


def test_every_awkward_op_has_a_type_of_its_own() -> None:
    network = read_tflite((FOLDERS[0] / "awkward.tflite").read_bytes(), "awkward")
    assert [op.index for op in network.ops] == list(range(21))
    split = next(op for op in network.ops if op.type == "split")
    assert [network.tensors[i].shape for i in split.outputs] == [(2, 7, 7, 4)] * 2
    assert {op.activation for op in network.ops} == {None, "relu", "relu6", "leaky_relu"}
    assert {op.type for op in network.ops if op.const_bytes} == set()


# Padding, as LiteRT computes it: over an input of ones, a filter of ones counts the taps inside the map.
GEOMETRIES = [
    (height, kernel, stride, dilation, padding)
    for height, kernel, stride, dilation in [
        (7, 3, 1, 1), (8, 3, 2, 1), (7, 3, 2, 1), (9, 2, 2, 1), (10, 5, 3, 1), (11, 4, 3, 1), (5, 1, 2, 1),
        (6, 7, 1, 1), (9, 3, 1, 2), (13, 2, 1, 3), (12, 5, 4, 1),
    ]
    for padding in (0, 1)
    if padding == 0 or (kernel - 1) * dilation < height
]  # fmt: skip


@pytest.mark.parametrize(("size", "kernel", "stride", "dilation", "padding"), GEOMETRIES)
@pytest.mark.parametrize("kind", ["CONV_2D", "DEPTHWISE_CONV_2D"])
def test_padding_is_litert_s(
    make: Any, kind: str, size: int, kernel: int, stride: int, dilation: int, padding: int
) -> None:
    width = size + 3
    out = [_outputs(n, kernel, stride, dilation, padding) for n in (size, width)]
    geometry = {"padding": padding, "strideH": stride, "strideW": stride}
    geometry |= {"dilationHFactor": dilation, "dilationWFactor": dilation}
    option = make.options(kind.title().replace("_", "").replace("2D", "2D"), **geometry)
    data = make.model(
        [
            make.tensor((1, size, width, 1)),
            make.tensor((1, kernel, kernel, 1), data=np.ones((1, kernel, kernel, 1), np.float32)),
            make.tensor((1,), data=np.zeros(1, np.float32)),
            make.tensor((1, *out, 1)),
        ],
        [make.operator(kind, [0, 1, 2], [3], option)],
        [0],
        [3],
    )
    network = read_tflite(data, "taps")
    assert np.array_equal(_run(make, data, np.ones((1, size, width, 1), np.float32))[0, :, :, 0], _taps(network))


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"), [(4, 3, 2, 0), (4, 3, 2, 1), (5, 2, 3, 0), (3, 5, 2, 0), (4, 4, 3, 1)]
)
def test_transposed_padding_is_litert_s(make: Any, size: int, kernel: int, stride: int, padding: int) -> None:
    out = size * stride if padding == 0 else (size - 1) * stride + kernel
    option = make.options("TransposeConv", padding=padding, strideH=stride, strideW=stride)
    data = make.model(
        [
            make.tensor((4,), "INT32", np.array([1, out, out, 1], np.int32)),
            make.tensor((1, kernel, kernel, 1), data=np.ones((1, kernel, kernel, 1), np.float32)),
            make.tensor((1, size, size, 1)),
            make.tensor((1, out, out, 1)),
        ],
        [make.operator("TRANSPOSE_CONV", [0, 1, 2], [3], option)],
        [2],
        [3],
    )
    (op,) = read_tflite(data, "transposed").ops
    expected = np.zeros((out + 2 * kernel,) * 2)
    for y, x in itertools.product(range(size), repeat=2):
        top, left = y * stride - op.padding[0] + kernel, x * stride - op.padding[2] + kernel
        expected[top : top + kernel, left : left + kernel] += 1
    found = _run(make, data, np.ones((1, size, size, 1), np.float32))[0, :, :, 0]
    assert np.array_equal(found, expected[kernel : kernel + out, kernel : kernel + out])
    assert op.macs == kernel * kernel * size * size


def _outputs(size: int, kernel: int, stride: int, dilation: int, padding: int) -> int:
    return -(-size // stride) if padding == 0 else (size - (kernel - 1) * dilation - 1) // stride + 1


def _run(make: Any, data: bytes, values: np.ndarray) -> np.ndarray:
    interpreter = make.interpreter(data)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values)
    interpreter.invoke()
    result: np.ndarray = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return result


def _taps(network: Network) -> np.ndarray:
    """How many taps of the only op's window meet the input, per output pixel, by the padding that the reader says."""
    (op,) = network.ops
    height, width = network.in_shape(op)[1:3]
    padded = np.pad(np.ones((height, width)), (op.padding[:2], op.padding[2:]))
    out_h, out_w = network.out_shape(op)[1:3]
    counts = np.zeros((out_h, out_w))
    for y, x in itertools.product(range(op.kernel[0]), range(op.kernel[1])):
        rows = np.arange(out_h) * op.stride[0] + y * op.dilation[0]
        columns = np.arange(out_w) * op.stride[1] + x * op.dilation[1]
        counts += padded[np.ix_(rows, columns)]
    assert padded.shape == (height + sum(op.padding[:2]), width + sum(op.padding[2:]))
    return counts


# What is counted


def _dense(make: Any, weights: Any, bias: Any = None, **extra: Any) -> tuple[Network, Op]:
    tensors = [make.tensor((1, 4), "INT8"), weights, make.tensor((1, 3), "INT8")]
    operands = [0, 1]
    if bias is not None:
        tensors.append(bias)
        operands.append(3)
    data = make.model(tensors, [make.operator("FULLY_CONNECTED", operands, [2], **extra)], [0], [2])
    network = read_tflite(data, "dense")
    return network, network.ops[0]


def test_weights_biases_and_scales(make: Any) -> None:
    weights = make.tensor((3, 4), "INT8", np.arange(12, dtype=np.int8), quantization=_scales([0.5, 0.25, 2.0]))
    bias = make.tensor((3,), "INT32", np.array([1, 0, 2], np.int32))
    network, op = _dense(make, weights, bias, options=make.options("FullyConnected", fusedActivationFunction=3))
    assert (op.type, op.activation, op.macs) == ("fully_connected", "relu6", 12)
    assert (op.weights, op.weight_bytes, op.biases, op.bias_bytes, op.weight_bits) == (12, 12, 3, 12, 8)
    assert op.weight_quantization is not None
    assert op.weight_quantization.scales == (0.5, 0.25, 2.0)
    assert op.weight_quantization.zero_points == (0, 0, 0)
    assert op.weight_quantization.per_channel
    assert op.inputs == (0,)
    assert [tensor.constant for tensor in network.tensors] == [False, True, False, True]
    assert network.parameters == 15


def _scales(values: list[float], axis: int = 0) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    made = schema.QuantizationParametersT()
    made.scale, made.zeroPoint, made.quantizedDimension = values, [0] * len(values), axis
    return made


def test_a_bias_of_zeros_is_bytes_but_no_parameter(make: Any) -> None:
    weights = make.tensor((3, 4), "INT8", np.ones(12, np.int8))
    _, op = _dense(make, weights, make.tensor((3,), "INT32", np.zeros(3, np.int32)))
    assert (op.biases, op.bias_bytes) == (0, 12)


def test_int4_weights_are_packed(make: Any) -> None:
    network, op = _dense(make, make.tensor((3, 4), "INT4", np.ones(6, np.int8)))
    assert (op.weights, op.weight_bytes, op.weight_bits) == (12, 6, 4)
    assert network.precision == "int4"


def test_weights_that_are_computed_are_no_parameters(make: Any) -> None:
    data = make.model(
        [make.tensor((2, 4)), make.tensor((3, 4)), make.tensor((2, 3))],
        [make.operator("FULLY_CONNECTED", [0, 1, -1], [2])],
        [0, 1],
        [2],
    )
    (op,) = read_tflite(data, "product").ops
    assert (op.type, op.macs, op.weights, op.inputs) == ("matmul", 24, 0, (0, 1))


def test_shared_weights_count_once(make: Any) -> None:
    weights = np.arange(16, dtype=np.int8)
    data = make.model(
        [make.tensor((1, 4), "INT8"), make.tensor((4, 4), "INT8", weights), make.tensor((1, 4), "INT8")]
        + [make.tensor((4, 4), "INT8", weights), make.tensor((1, 4), "INT8")],
        [make.operator("FULLY_CONNECTED", [0, 1], [2]), make.operator("FULLY_CONNECTED", [2, 3], [4])],
        [0],
        [4],
    )
    network = read_tflite(data, "shared")
    assert [op.shared_weights for op in network.ops] == [False, True]
    assert (network.parameters, network.weight_bytes, network.macs) == (16, 16, 32)


def test_data_constants_count_and_structure_does_not(make: Any) -> None:
    data = make.model(
        [make.tensor((1, 2, 6), "INT8"), make.tensor((6,), "INT8", np.ones(6, np.int8)), make.tensor((1, 2, 6), "INT8")]
        + [make.tensor((2,), "INT32", np.array([1, 12], np.int32)), make.tensor((1, 12), "INT8")]
        + [make.tensor((12,), "INT8", np.ones(12, np.int8)), make.tensor((1, 12), "INT8")],
        [
            make.operator("ADD", [0, 1], [2], make.options("Add", fusedActivationFunction=1)),
            make.operator("RESHAPE", [2, 3], [4]),
            make.operator("PRELU", [4, 5], [6]),
        ],
        [0],
        [6],
    )
    network = read_tflite(data, "constants")
    assert [(op.type, op.activation, op.const_bytes) for op in network.ops] == [
        ("add", "relu", 6),
        ("reshape", None, 0),
        ("activation", "prelu", 12),
    ]
    assert [op.inputs for op in network.ops] == [(0,), (2,), (4,)]


def test_float16_constants_behind_dequantize() -> None:
    network = read_tflite((FOLDERS[0] / "float16.tflite").read_bytes(), "float16")
    assert [op.type for op in network.ops] == ["conv2d", "reshape", "fully_connected"]
    assert [(op.weights, op.biases, op.weight_bits) for op in network.ops] == [(288, 16, 16), (0, 0, 8), (3072, 3, 16)]
    assert network.precision == "float16"
    assert network.metadata["folded_dequantize"] == "4"


def test_recurrent_layers_count_every_step(make: Any) -> None:
    units, features, steps = 3, 5, 7
    tensors = [make.tensor((1, steps, features))]
    tensors += [make.tensor((units, features), data=np.full((units, features), k, np.float32)) for k in range(1, 5)]
    tensors += [make.tensor((units, units), data=np.full((units, units), k, np.float32)) for k in range(5, 9)]
    tensors += [make.tensor((units,), data=np.full(units, k, np.float32)) for k in range(9, 13)]
    tensors += [make.tensor((1, units), isVariable=True), make.tensor((1, units), isVariable=True)]
    tensors += [make.tensor((1, steps, units))]
    operands = [*range(9), -1, -1, -1, 9, 10, 11, 12, -1, -1, 13, 14]
    lstm = make.options("UnidirectionalSequenceLSTM", fusedActivationFunction=4)
    data = make.model(tensors, [make.operator("UNIDIRECTIONAL_SEQUENCE_LSTM", operands, [15], lstm)], [0], [15])
    (op,) = read_tflite(data, "lstm").ops
    per_step = 4 * units * (features + units)
    assert (op.type, op.macs, op.weights, op.biases) == ("unidirectional_sequence_lstm", steps * per_step, per_step, 12)
    assert op.inputs == (0, 13, 14)
    assert op.activation == "tanh"


@pytest.mark.parametrize(
    ("builtin", "custom", "expected"),
    [
        ("CUSTOM", "ethos-u", "custom:ethos-u"),
        ("CUSTOM", None, "custom:unnamed"),
        ("GELU", None, "activation"),
        ("SPACE_TO_DEPTH", None, "space_to_depth"),
        ("STABLEHLO_ADD", None, "stablehlo_add"),
        ("RESIZE_NEAREST_NEIGHBOR", None, "upsample"),
        ("SOFTMAX", None, "softmax"),
    ],
)
def test_names_of_other_operators(make: Any, builtin: str, custom: str | None, expected: str) -> None:
    data = _unary(make, builtin, custom)
    assert read_tflite(data, "one").ops[0].type == expected


def _unary(make: Any, builtin: str = "ABS", custom: str | None = None, **fields: Any) -> bytes:
    tensors = [make.tensor((1, 4), **fields), make.tensor((1, 4))]
    data: bytes = make.model(tensors, [make.operator(builtin, [0], [1], custom=custom)], [0], [1])
    return data


def test_content_behind_the_flatbuffer(make: Any) -> None:
    """Files over 2 GB, and some newer ones, keep buffers outside the flatbuffer, by offset and size."""
    from ai_edge_litert import schema_py_generated as schema

    weights = make.tensor((3, 4), "INT8")
    tensors = [make.tensor((1, 4), "INT8"), weights, make.tensor((1, 3), "INT8")]
    plain = schema.ModelT.InitFromPackedBuf(
        make.model(tensors, [make.operator("FULLY_CONNECTED", [0, 1], [2])], [0, 1], [2])
    )
    import flatbuffers

    def packed(offset: int) -> bytes:
        buffer = schema.BufferT()
        buffer.offset, buffer.size = offset, 12
        plain.buffers = [schema.BufferT(), buffer]
        plain.subgraphs[0].tensors[1].buffer = 1
        plain.subgraphs[0].inputs = [0]
        builder = flatbuffers.Builder(1024)
        builder.Finish(plain.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    size = len(packed(1 << 20))
    (op,) = read_tflite(packed(size) + bytes(range(12)), "external").ops
    assert (op.type, op.weights) == ("fully_connected", 12)
    with pytest.raises(NetworkError, match="runs past the end"):
        read_tflite(packed(size) + bytes(11), "external")


def test_state_may_be_read_before_it_is_written(make: Any) -> None:
    tensors = [make.tensor((1, 4)), make.tensor((1, 4), isVariable=True), make.tensor((1, 4))]
    network = read_tflite(make.model(tensors, [make.operator("ADD", [0, 1], [2])], [0], [2]), "state")
    assert network.ops[0].inputs == (0, 1)


def test_streaming_state_in_resource_variables(make: Any) -> None:
    """Streaming wake-word models keep their state in variables, initialised once by another sub-graph."""
    tensors = [make.tensor((1, 4), "INT8"), make.tensor((), "RESOURCE"), make.tensor((1, 4), "INT8")]
    tensors += [make.tensor((1, 4), "INT8")]
    ops = [
        make.operator("CALL_ONCE", [], []),
        make.operator("VAR_HANDLE", [], [1]),
        make.operator("READ_VARIABLE", [1], [2]),
        make.operator("ADD", [0, 2], [3]),
        make.operator("ASSIGN_VARIABLE", [1, 3], []),
    ]
    network = read_tflite(make.model(tensors, ops, [0], [3]), "streaming")
    assert [op.type for op in network.ops] == [
        "call_once",
        "var_handle",
        "read_variable",
        "add",
        "assign_variable",
    ]
    assert plan_memory(network).arena_bytes == 64
    assert network.in_shape(network.ops[0]) == ()


def test_tables_cover_the_schema() -> None:
    from ai_edge_litert import schema_py_generated as schema

    builtins = {name: code for name, code in vars(schema.BuiltinOperator).items() if name.isupper()}
    assert {name: BUILTIN_OPERATORS.index(name) for name in builtins} == builtins
    types = {name.lower(): code for name, code in vars(schema.TensorType).items() if name.isupper()}
    assert {name: ELEMENT_TYPES.index(name) for name in types} == types


# Errors


def _fails(data: bytes, match: str) -> NetworkError:
    with pytest.raises(NetworkError, match=match) as caught:
        read_tflite(data, "broken")
    assert str(caught.value).startswith("broken")
    return caught.value


@pytest.mark.parametrize("data", [b"", b"TFL3", b"\x00" * 64, b"{}", b"PK\x03\x04 zip file!", b"\xff" * 100])
def test_other_files_are_refused(data: bytes) -> None:
    assert _fails(data, "identifier").hint


@pytest.mark.parametrize("length", [8, 12, 40, 100, 1000, 5000])
def test_truncated_files_are_refused(length: int) -> None:
    _fails((FOLDERS[0] / "awkward.tflite").read_bytes()[:length], "broken")


def test_loops_are_refused() -> None:
    assert "unroll" in str(_fails((FOLDERS[0] / "loop.tflite").read_bytes(), r"control flow at op 1 \(WHILE\)").hint)


def test_schema_version(make: Any) -> None:
    data = bytearray(_unary(make))
    struct.pack_into("<I", data, _field(data, _follow(data, 0), 0), 2)
    _fails(bytes(data), "schema version 2; expected 3")


Broken = Callable[[Any], bytes]
BROKEN: dict[str, tuple[Broken, str]] = {
    "read before written": (
        lambda m: m.model([m.tensor((4,)) for _ in range(3)], [m.operator("ADD", [0, 1], [2])], [0], [2]),
        r"tensor 1 \(t1\) read before any op wrote it at op 0 \(ADD\); expected execution order",
    ),
    "written twice": (
        lambda m: m.model(
            [m.tensor((4,)), m.tensor((4,))], [m.operator("ABS", [0], [1]), m.operator("NEG", [0], [1])], [0], [1]
        ),
        r"tensor 1 \(t1\) written again at op 1 \(NEG\)",
    ),
    "own output": (
        lambda m: m.model([m.tensor((4,)), m.tensor((4,))], [m.operator("ADD", [0, 1], [1])], [0], [1]),
        "read before",
    ),
    "input written": (lambda m: m.model([m.tensor((4,))], [m.operator("ABS", [0], [0])], [0], [0]), "written again"),
    "output never written": (
        lambda m: m.model([m.tensor((4,)), m.tensor((4,))], [], [0], [1]),
        r"no op writes it at output tensor 1 \(t1\)",
    ),
    "no such tensor": (
        lambda m: m.model([m.tensor((4,)), m.tensor((4,))], [m.operator("ABS", [7], [1])], [0], [1]),
        r"tensor 7 at op 0 \(ABS\); expected 0 to 1",
    ),
    "negative tensor": (
        lambda m: m.model([m.tensor((4,)), m.tensor((4,))], [m.operator("ABS", [-2], [1])], [0], [1]),
        "tensor -2 at op 0",
    ),
    "dynamic input": (lambda m: _unary(m, shapeSignature=[-1, -1]), r"dynamic shape at input tensor 0 \(t0\)"),
    "negative size": (
        lambda m: m.model([m.tensor((1, -4)), m.tensor((1, 4))], [m.operator("ABS", [0], [1])], [0], [1]),
        "negative dimension",
    ),
    "huge": (
        lambda m: m.model([m.tensor((2**31 - 1, 2**31 - 1)), m.tensor((1,))], [m.operator("ABS", [0], [1])], [0], [1]),
        "too large",
    ),
    "too little data": (
        lambda m: m.model(
            [m.tensor((4,), "INT8", np.ones(3, np.int8)), m.tensor((4,), "INT8")],
            [m.operator("ABS", [0], [1])],
            [],
            [1],
        ),
        r"tensor 0 \(t0\): 3 bytes of data; expected 4",
    ),
    "text": (
        lambda m: m.model(
            [m.tensor((4,), "STRING"), m.tensor((4,), "STRING")], [m.operator("ABS", [0], [1])], [0], [1]
        ),
        "string tensor 0 at op 0",
    ),
    "no stride": (lambda m: _conv(m, (1, 8, 8, 2), (1, 8, 8, 4), strideH=0), "stride"),
    "wrong output size": (
        lambda m: _conv(m, (1, 8, 8, 2), (1, 7, 8, 4)),
        r"op 0 \(CONV_2D\): output size \(h, w\) \(7, 8\); expected \(8, 8\)",
    ),
    "wrong filters": (lambda m: _conv(m, (1, 8, 8, 2), (1, 8, 8, 5)), "output shape"),
    "wrong channels": (lambda m: _conv(m, (1, 8, 8, 3), (1, 8, 8, 4)), "3 input channels and 4 filters of 2"),
    "empty map": (lambda m: _conv(m, (1, 0, 8, 2), (1, 0, 8, 4)), "none of them zero"),
    "wrong rank": (lambda m: _conv(m, (8, 8, 2), (1, 8, 8, 4)), "expected 4 dimensions"),
    "dynamic reshape": (
        lambda m: m.model([m.tensor((2, 4)), m.tensor((1, 4))], [m.operator("RESHAPE", [0], [1])], [0], [1]),
        "output elements 4; expected 8",
    ),
    "scales": (
        lambda m: _unary(m, quantization=_scales([0.5, 0.25, 0.5], 1)),
        "3 scales along axis 1",
    ),
    "infinite scale": (lambda m: _unary(m, quantization=_scales([float("inf")])), "finite"),
}  # fmt: skip


def _conv(make: Any, shape: tuple[int, ...], out: tuple[int, ...], **fields: Any) -> bytes:
    option = make.options("Conv2D", **{"padding": 0, "strideH": 1, "strideW": 1} | fields)
    filters = make.tensor((4, 3, 3, 2), data=np.ones((4, 3, 3, 2), np.float32))
    tensors = [make.tensor(shape), filters, make.tensor(out)]
    data: bytes = make.model(tensors, [make.operator("CONV_2D", [0, 1], [2], option)], [0], [2])
    return data


@pytest.mark.parametrize("case", BROKEN)
def test_errors_name_the_place(make: Any, case: str) -> None:
    build, match = BROKEN[case]
    _fails(build(make), match)


def test_sparse_tensors_are_refused(make: Any) -> None:
    from ai_edge_litert import schema_py_generated as schema

    sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder = [0, 1]
    assert _fails(_unary(make, sparsity=sparsity), "sparse tensor").hint


def test_long_vectors_read_over_and_over_are_refused(make: Any) -> None:
    """A thousand operators that all point at one long operand vector must not cost a thousand times its length."""
    tensors = [make.tensor((1,)) for _ in range(1001)]
    operands = np.zeros(40_000, np.int32)
    ops = [make.operator("CONCATENATION", operands if k == 0 else [0], [k + 1]) for k in range(1000)]
    data = bytearray(make.model(tensors, ops, [0], [1]))
    assert len(read_tflite(bytes(data), "long").ops) == 1000
    tables = _operator_tables(data)
    field, target = _inputs_field(data, tables[0])
    for table in tables[1:]:
        field, _ = _inputs_field(data, table)
        if target > field:  # offsets point forward only
            struct.pack_into("<I", data, field, target - field)
    _fails(bytes(data), "more elements than the file has bytes for|read before")


def _operator_tables(data: bytearray) -> list[int]:
    root = _follow(data, 0)
    graph = _element(data, _follow(data, _field(data, root, 2)), 0)
    vector = _follow(data, _field(data, graph, 3))
    return [_element(data, vector, k) for k in range(struct.unpack_from("<I", data, vector)[0])]


def _inputs_field(data: bytearray, table: int) -> tuple[int, int]:
    field = _field(data, table, 1)
    return field, _follow(data, field)


def _field(data: bytearray, table: int, slot: int) -> int:
    vtable = table - int(struct.unpack_from("<i", data, table)[0])
    return table + int(struct.unpack_from("<H", data, vtable + 4 + 2 * slot)[0])


def _follow(data: bytearray, position: int) -> int:
    return position + int(struct.unpack_from("<I", data, position)[0])


def _element(data: bytearray, vector: int, k: int) -> int:
    return _follow(data, vector + 4 + 4 * k)
