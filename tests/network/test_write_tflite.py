"""The writer of .tflite files: what it writes is read back with the same figures, and LiteRT runs it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from hil.errors import NetworkError
from hil.network.graph import Network
from hil.network.layers import read_layers
from hil.network.tflite import read_tflite
from hil.network.write_tflite import Written, write, write_tflite

MAC_OPS = frozenset(
    {
        "conv2d",
        "conv1d",
        "depthwise_conv2d",
        "depthwise_conv1d",
        "fully_connected",
        "transpose_conv2d",
        "matmul",
        "conv3d",
        "unidirectional_sequence_lstm",
    }
)

IMAGE = [1, 16, 16, 8]
LINE = [1, 32, 8]


def listed(ops: list[dict[str, Any]], *shapes: list[int]) -> Network:
    document = {"input_shapes": list(shapes) or [IMAGE], "ops": ops}
    return read_layers(json.dumps(document).encode(), "listed")


def run(model: bytes) -> list[np.ndarray[Any, Any]]:
    """Outputs of LiteRT's own kernels; the shapes that they compute must be those that the file declares."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=model, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    declared = {d["index"]: tuple(d["shape"]) for d in interpreter.get_tensor_details()}
    interpreter.allocate_tensors()
    computed = {d["index"]: tuple(d["shape"]) for d in interpreter.get_tensor_details()}
    assert {index: computed[index] for index in declared} == declared
    rng = np.random.default_rng(1)
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], rng.integers(-128, 127, detail["shape"]).astype(np.int8))
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


def per_op(network: Network, written: Written) -> list[tuple[int, int, int]]:
    """MACs, weights and biases that the file has for each of the network's compute ops."""
    back = read_tflite(written.model, network.name)
    assert len(back.ops) == len(written.op_of)
    sums = {op.index: [0, 0, 0] for op in network.ops if op.type in MAC_OPS}
    for op, origin in zip(back.ops, written.op_of, strict=True):
        if origin in sums and op.type in MAC_OPS:
            for k, value in enumerate((op.macs, op.weights, op.biases)):
                sums[origin][k] += value
    return [(a, b, c) for a, b, c in sums.values()]


def check(network: Network) -> list[np.ndarray[Any, Any]]:
    written = write(network)
    expected = [(op.macs, op.weights, op.biases) for op in network.ops if op.type in MAC_OPS]
    assert per_op(network, written) == expected
    outputs = run(written.model)
    shapes = [network.tensors[index].shape for index in network.outputs]
    assert [out.size for out in outputs] == [int(np.prod(shape)) for shape in shapes]
    return outputs


CONV = {"type": "conv2d", "kernel": [3, 3], "padding": "same", "filters": 12, "activation": "relu"}
HEAD = {"type": "fully_connected", "filters": 10}

CASES: dict[str, Network] = {
    "plain": listed([CONV, {"type": "max_pool", "kernel": [2, 2]}, HEAD, {"type": "softmax"}]),
    "explicit padding": listed([{**CONV, "stride": 2, "padding": [1, 1, 1, 1]}, HEAD]),
    "uneven padding": listed([{**CONV, "stride": 3, "padding": [2, 0, 0, 1]}]),
    "left-over rows": listed([{**CONV, "kernel": [4, 4], "stride": 3, "padding": "valid"}]),
    "dilated": listed([{**CONV, "dilation": 2}]),
    "depthwise": listed([{"type": "depthwise_conv2d", "kernel": [3, 3], "padding": "same", "depth_multiplier": 2}]),
    "transposed": listed(
        [
            {
                "type": "transpose_conv2d",
                "kernel": [3, 3],
                "stride": [2, 2],
                "padding": [1, 1, 1, 1],
                "in_shape": IMAGE,
                "out_shape": [1, 32, 32, 4],
            }
        ]
    ),
    "one dimension": listed(
        [
            {"type": "conv1d", "kernel": [3], "padding": [1, 1], "filters": 16, "activation": "relu"},
            {"type": "max_pool", "kernel": [2], "stride": [2]},
            {"type": "activation", "activation": "sigmoid"},
            {"type": "mean", "out_shape": [1, 16]},
            HEAD,
        ],
        LINE,
    ),
    "residual": listed([{**CONV, "filters": 8}, {"type": "add", "inputs": [0, "input"], "activation": "relu"}]),
    "constants": listed(
        [
            {"type": "mul", "const_operand_elems": 8},
            {"type": "add", "const_operand_elems": 1},
            {"type": "sub", "const_operand_elems": 2048},
            {"type": "maximum", "const_operand_elems": 1},
            {"type": "div", "const_operand_elems": 1},
        ]
    ),
    "shuffled": listed(
        [
            {"type": "transpose", "perm": [0, 3, 1, 2]},
            {"type": "reshape", "out_shape": [1, 64, 32]},
            {"type": "slice", "out_shape": [1, 60, 32]},
            {"type": "pad", "out_shape": [1, 64, 32]},
            {"type": "concat", "inputs": [3, 1], "axis": 1},
        ]
    ),
    "matmul": listed(
        [
            {"type": "reshape", "out_shape": [1, 64, 32]},
            {"type": "transpose", "perm": [0, 2, 1]},
            {"type": "matmul", "inputs": [0, 1], "out_shape": [1, 64, 64]},
            {"type": "softmax"},
        ]
    ),
    "global pools": listed([{"type": "global_avg_pool"}, HEAD]),
    "upsample": listed([{"type": "upsample", "out_shape": [1, 32, 32, 8]}, {"type": "global_max_pool"}]),
    "split": listed([{"type": "split", "out_shapes": [[1, 16, 16, 3], [1, 16, 16, 5]], "out_shape": [1, 16, 16, 3]}]),
    "no int8 kernel": listed([{"type": "sqrt"}, {"type": "round"}]),
    "conversions": listed([{"type": "quantize"}, CONV, {"type": "dequantize"}]),
}


@pytest.mark.parametrize("case", CASES)
def test_round_trip(case: str) -> None:
    check(CASES[case])


KINDS = ("relu", "relu6", "sigmoid", "tanh", "silu", "hard_sigmoid", "hard_swish", "leaky_relu", "prelu", "gelu", "elu")


@pytest.mark.parametrize("kind", [*KINDS, "lut"])
def test_activation_functions(kind: str) -> None:
    """Alone, and as a convolution's own."""
    network = listed([{**CONV, "activation": kind}, {"type": "activation", "activation": kind}])
    (out,) = check(network)
    assert np.unique(out).size > 1


def test_same_network_and_seed_same_bytes() -> None:
    network = CASES["plain"]
    assert write_tflite(network) == write_tflite(network)
    assert write_tflite(network, seed=1) != write_tflite(network)


def test_weights_are_roughly_normal() -> None:
    network = listed([{**CONV, "filters": 64}])
    model = write_tflite(network)
    back = read_tflite(model, "back")
    quantization = back.ops[0].weight_quantization
    assert quantization is not None and len(quantization.scales) == 64
    (out,) = run(model)
    assert np.mean((out == -128) | (out == 127)) < 0.9


def test_shared_weights_are_written_once() -> None:
    dense = {"type": "fully_connected", "out_shape": [1, 8], "in_shape": [1, 8]}
    network = listed([dense, {**dense, "weights_shared_with": 0}], [1, 8])
    assert network.ops[1].shared_weights
    back = read_tflite(write_tflite(network), "back")
    assert [op.shared_weights for op in back.ops] == [False, True]
    assert back.parameters == network.parameters


def test_shape_arithmetic_is_folded() -> None:
    ops: list[dict[str, Any]] = [
        {"type": "shape", "out_shape": [4]},
        {"type": "slice", "out_shape": [1]},
        {"type": "reshape", "inputs": ["input", 1], "out_shape": [1, 2048]},
        HEAD,
    ]
    written = write(listed(ops))
    assert written.op_of == (2, 3)
    run(written.model)


def test_conversions_write_nothing() -> None:
    assert write(CASES["conversions"]).op_of in {(1,), (0, 1)}


def test_operand_in_another_layout_is_reshaped() -> None:
    ops: list[dict[str, Any]] = [
        {"type": "transpose", "perm": [0, 3, 1, 2]},
        {"type": "add", "inputs": [0, "input"], "in_shapes": [[1, 8, 16, 16], IMAGE], "out_shape": [1, 8, 16, 16]},
    ]
    run(write_tflite(listed(ops)))


@pytest.mark.parametrize(
    ("op", "what"),
    [
        ({"type": "unidirectional_sequence_lstm", "out_shape": [1, 8]}, "no TFLite operator"),
        ({"type": "slice", "out_shape": [1, 99, 16, 8]}, "does not slice"),
    ],
)
def test_what_cannot_be_written_is_named(op: dict[str, Any], what: str) -> None:
    network = listed([CONV, {"name": "culprit", **op}])
    with pytest.raises(NetworkError, match=what) as caught:
        write_tflite(network)
    assert "culprit" in str(caught.value) and op["type"] in str(caught.value)


def test_absurd_sizes_are_refused_without_allocating() -> None:
    network = listed([{"type": "fully_connected", "filters": 1 << 20}, {"type": "fully_connected", "filters": 1 << 11}])
    with pytest.raises(NetworkError, match="MiB of weights"):
        write_tflite(network)
