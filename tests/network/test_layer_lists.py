"""Layer lists: known totals, what follows from shapes, wiring, and errors that name file, op and key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hil.errors import NetworkError
from hil.network import Network
from hil.network.layers import read_layers

FIXTURES = Path(__file__).parent / "fixtures"

# Totals from the vendors' own documents: macs, parameters, weight bytes, bias bytes, ops.
KNOWN = {
    "ai8x_kws20_v3_max78000": (8_350_208, 169_472, 169_472, 0, 14),
    "ai8x_aisegment_unet_large": (166_358_016, 280_140, 279_264, 876, 25),
    "espdl_p4_sv_tdnn_tiny_3s": None,
    "blazeface_front_128": None,
}


@pytest.mark.parametrize("name", KNOWN)
def test_totals_are_the_declared_ones(name: str) -> None:
    data = (FIXTURES / f"{name}.json").read_bytes()
    declared = json.loads(data)
    network = read_layers(data, name)
    own = [op for op in network.ops if not op.shared_weights]
    found = {
        "macs": network.macs,
        "params": network.parameters,
        "weights": sum(op.weights for op in own),
        "biases": sum(op.biases for op in own),
        "weight_bytes": sum(op.weight_bytes for op in own),
        "bias_bytes": network.bias_bytes,
        "op_count": len(network.ops),
    }
    assert found == {key: declared[key] for key in found}


@pytest.mark.parametrize("name", KNOWN)
def test_figures_are_the_same_when_left_out(name: str) -> None:
    """Everything that follows from shapes may be left out of the file."""
    document = json.loads((FIXTURES / f"{name}.json").read_text())
    full = read_layers(json.dumps(document).encode(), name)
    for op in document["ops"]:
        for key in ("macs", "params", "weights", "in_shape"):
            if op["type"] != "activation":
                op.pop(key, None)
        if op["type"] in {"conv2d", "conv1d", "depthwise_conv2d", "max_pool", "avg_pool", "add"}:
            op.setdefault("filters", op["out_shape"][-1])
            op.pop("out_shape")
            if "pool" in op["type"] or op["type"] == "add":
                op.pop("filters")
    assert read_layers(json.dumps(document).encode(), name).hash == full.hash


def _read(ops: list[dict[str, Any]], shape: list[int] | None = None, **top: Any) -> Network:
    document = {"input_shapes": [shape or [1, 32, 32, 3]], "ops": ops, **top}
    return read_layers(json.dumps(document).encode(), "mine")


def test_the_smallest_useful_file() -> None:
    network = _read(
        [
            {"type": "conv2d", "kernel": [3, 3], "stride": 2, "padding": "same", "filters": 16, "activation": "relu"},
            {"type": "global_avg_pool"},
            {"type": "fully_connected", "filters": 10},
        ]
    )
    assert [network.out_shape(op) for op in network.ops] == [(1, 16, 16, 16), (1, 1, 1, 16), (1, 10)]
    assert [op.macs for op in network.ops] == [16 * 16 * 432, 0, 160]
    assert network.parameters == 432 + 16 + 160 + 10
    assert network.ops[0].padding == (0, 1, 0, 1)
    assert network.ops[1].kernel == (16, 16)
    assert network.outputs == network.ops[2].outputs
    assert {tensor.dtype for tensor in network.tensors} == {"int8"}
    assert network.provenance == "declared"


@pytest.mark.parametrize(
    ("op", "shape", "out", "macs"),
    [
        ({"type": "conv2d", "kernel": 3, "filters": 8}, [1, 9, 9, 4], (1, 7, 7, 8), 7 * 7 * 9 * 4 * 8),
        ({"type": "conv2d", "kernel": 3, "filters": 8, "groups": 2}, [1, 9, 9, 4], (1, 7, 7, 8), 7 * 7 * 9 * 2 * 8),
        ({"type": "conv2d", "kernel": 3, "filters": 8, "dilation": 2}, [1, 9, 9, 4], (1, 5, 5, 8), 5 * 5 * 9 * 4 * 8),
        ({"type": "conv2d", "kernel": [1, 2], "filters": 1, "padding": [0, 1, 2, 3]}, [1, 4, 4, 1], (1, 5, 8, 1), 80),
        ({"type": "depthwise_conv2d", "kernel": 3, "padding": "same"}, [1, 8, 8, 6], (1, 8, 8, 6), 64 * 9 * 6),
        ({"type": "depthwise_conv2d", "kernel": 2, "depth_multiplier": 3}, [1, 3, 3, 2], (1, 2, 2, 6), 4 * 4 * 6),
        ({"type": "conv1d", "kernel": 5, "filters": 7, "padding": [2, 2]}, [1, 20, 3], (1, 20, 7), 20 * 5 * 3 * 7),
        ({"type": "conv1d", "kernel": [5], "filters": 7, "stride": [2]}, [1, 20, 3], (1, 8, 7), 8 * 5 * 3 * 7),
        ({"type": "dense", "filters": 5}, [1, 4, 4, 2], (1, 5), 160),
        ({"type": "dense", "filters": 5}, [1, 4, 2], (1, 4, 5), 40),
        (
            {"type": "transpose_conv2d", "kernel": 3, "stride": 2, "padding": "same", "filters": 4},
            [1, 6, 6, 2],
            (1, 12, 12, 4),
            36 * 9 * 8,
        ),
        ({"type": "transpose_conv2d", "kernel": 3, "stride": 2, "filters": 1}, [1, 6, 6, 1], (1, 13, 13, 1), 324),
        ({"type": "max_pool", "kernel": 2}, [1, 9, 8, 3], (1, 4, 4, 3), 0),
        ({"type": "avg_pool", "kernel": [3, 3], "stride": 1, "padding": "same"}, [1, 9, 8, 3], (1, 9, 8, 3), 0),
        ({"type": "max_pool", "kernel": 2}, [1, 9, 3], (1, 4, 3), 0),
        ({"type": "flatten"}, [1, 9, 8, 3], (1, 216), 0),
        ({"type": "upsample", "factor": 2}, [1, 9, 8, 3], (1, 18, 16, 3), 0),
        ({"type": "transpose", "perm": [0, -1, 1, 2]}, [1, 9, 8, 3], (1, 3, 9, 8), 0),
        ({"type": "mean", "axes": [1, 2]}, [1, 9, 8, 3], (1, 3), 0),
        ({"type": "pad", "pads": [[0, 0], [1, 2], [0, 3], [0, 0]]}, [1, 9, 8, 3], (1, 12, 11, 3), 0),
        ({"type": "sigmoid"}, [1, 9], (1, 9), 0),
        ({"type": "slice", "out_shape": [1, 4]}, [1, 9], (1, 4), 0),
    ],
)
def test_what_follows_from_shapes(op: dict[str, Any], shape: list[int], out: tuple[int, ...], macs: int) -> None:
    network = _read([op], shape)
    assert network.out_shape(network.ops[0]) == out
    assert network.ops[0].macs == macs


def test_one_dimension_is_height() -> None:
    op = {"type": "conv1d", "kernel": [5], "stride": [2], "dilation": [3], "padding": [1, 4], "filters": 2}
    network = _read([op], [1, 40, 3])
    (op_,) = network.ops
    assert (op_.kernel, op_.stride, op_.dilation, op_.padding) == ((5, 1), (2, 1), (3, 1), (1, 4, 0, 0))


def test_wiring_by_number_by_name_and_by_input() -> None:
    network = _read(
        [
            {"type": "conv2d", "name": "a", "kernel": 1, "filters": 4},
            {"type": "conv2d", "kernel": 1, "filters": 4, "inputs": ["input"]},
            {"type": "add", "inputs": ["a", 1], "const_operand_elems": 4},
            {"type": "split", "out_shape": [1, 32, 32, 2]},
            {"type": "relu", "inputs": [3]},
            {"type": "concat", "inputs": [3, 3, 4]},
        ]
    )
    assert [op.inputs for op in network.ops] == [(0,), (0,), (1, 2), (3,), (4,), (4, 5, 6)]
    assert network.ops[3].outputs == (4, 5)
    assert network.out_shape(network.ops[5]) == (1, 32, 32, 6)
    assert network.ops[2].const_bytes == 4
    assert network.outputs == network.ops[5].outputs


def test_shared_weights_count_once() -> None:
    dense = {"type": "fully_connected", "filters": 8, "biases": 0}
    network = _read([dense, {**dense, "weights": 0, "shared_weights": 64, "weights_shared_with": 0}], [1, 8])
    assert [(op.weights, op.shared_weights) for op in network.ops] == [(64, False), (64, True)]
    assert (network.parameters, network.macs) == (64, 128)


def test_hardware_only_ops_count_but_are_no_output() -> None:
    network = read_layers((FIXTURES / "ai8x_aisegment_unet_large.json").read_bytes(), "unet")
    assert network.metadata["hardware_only"] == "24"
    assert network.outputs == network.ops[23].outputs
    assert network.ops[24].macs == 451_584


def test_element_types() -> None:
    ops: list[dict[str, Any]] = [
        {"type": "quantize"},
        {"type": "fully_connected", "filters": 4, "out_bits": 32},
        {"type": "dequantize"},
        {"type": "softmax"},
    ]
    network = _read(ops, [1, 8])
    assert [tensor.dtype for tensor in network.tensors] == ["float32", "int8", "int32", "float32", "float32"]
    assert _read(ops[1:2], [1, 8], precision="float32").ops[0].weight_bits == 32
    assert _read(ops[1:2], [1, 8], precision="int16").tensors[0].size_bytes == 16
    assert _read(ops[1:2], [1, 8], precision="INT32/UINT8").tensors[0].dtype == "uint8"
    assert _read([{**ops[1], "weight_bits": 4}], [1, 8]).ops[0].weight_bytes == 16


def test_fused_pools_are_marked() -> None:
    network = read_layers((FIXTURES / "ai8x_kws20_v3_max78000.json").read_bytes(), "kws")
    assert any(op.fused_with_next for op in network.ops)
    assert {op.type for op in network.ops if op.fused_with_next} <= {"max_pool", "avg_pool"}


CONV = {"type": "conv2d", "kernel": [3, 3], "filters": 16}


@pytest.mark.parametrize(
    ("op", "message", "hint"),
    [
        ({"type": "conv2", "kernel": 3}, "type is 'conv2'", "'conv2d'"),
        ({}, "type is 'null'; expected a known op type", "every op needs"),
        ({**CONV, "kernal": 3}, "unknown key 'kernal'", "'kernel'"),
        ({**CONV, "stride": [0, 1]}, "stride is '[0, 1]'; expected positive numbers", None),
        ({**CONV, "stride": "2"}, "stride is '2'; expected [h, w] or a number", None),
        ({**CONV, "stride": True}, "stride is 'true'", None),
        ({**CONV, "padding": "sam"}, "padding is 'sam'", "'same'"),
        ({**CONV, "padding": [1, 1]}, "padding is '[1, 1]'; expected [top, bottom, left, right]", None),
        ({**CONV, "filters": -4}, "filters is '-4'; expected an integer from 1", None),
        ({**CONV, "filters": 16.0}, "filters is '16.0'", None),
        ({**CONV, "groups": 2}, "2 groups for 3 channels; expected a divisor", None),
        ({**CONV, "kernel": [40, 3]}, "a window of (40, 3) does not fit", None),
        ({**CONV, "macs": 1000}, "macs is '1000'; expected 388800 from its shapes", None),
        ({**CONV, "weights": 9}, "weights is '9'; expected 432 from its shapes", None),
        ({**CONV, "params": 9}, "params is '9'; expected 448", None),
        ({**CONV, "out_shape": [1, 9, 9, 16], "padding": "valid"}, "out_shape is '[1, 9, 9, 16]'", None),
        ({**CONV, "inputs": [0]}, "inputs is '[0]'; expected ops before op 0, not '0'", None),
        ({**CONV, "inputs": [-1]}, "not '-1'", None),
        ({**CONV, "inputs": ["imput"]}, "not 'imput'", "'input'"),
        ({**CONV, "inputs": ["input1"]}, "not 'input1'", "'input'"),
        ({**CONV, "inputs": []}, "inputs is '[]'", None),
        ({**CONV, "in_shape": [1, 8, 8, 3]}, "in_shape is '[1, 8, 8, 3]'; expected the producer's shape", None),
        ({"type": "conv2d", "kernel": 3}, "neither 'filters' nor 'out_shape'", None),
        ({"type": "conv2d", "filters": 3}, "kernel is 'null'", None),
        ({"type": "max_pool"}, "kernel is 'null'; expected the pooling window", None),
        ({"type": "slice"}, "no 'out_shape'", None),
        ({"type": "relu", "quant_type": "S9"}, "quant_type is 'S9'; expected one of ['F32', 'S16'", None),
        ("conv2d", "op 0 is 'conv2d'; expected an object", None),
    ],
)
def test_errors_name_op_and_key(op: Any, message: str, hint: str | None) -> None:
    with pytest.raises(NetworkError) as caught:
        _read([op])
    assert str(caught.value).startswith("mine: op 0")
    assert message in str(caught.value)
    assert hint is None or hint in str(caught.value.hint)


@pytest.mark.parametrize(
    ("top", "message"),
    [
        ({"input_shape": [1, 2]}, "unknown key 'input_shape'"),
        ({"input_shapes": []}, "input_shapes is '[]'; expected at least one"),
        ({"input_shapes": [[1, -2, 3]]}, "negative dimension"),
        ({"input_shapes": [[1, 10**9, 10**9]]}, "too large"),
        ({"input_shapes": [[1, "a"]]}, "input_shapes is"),
        ({"ops": {}}, "ops is an object; expected a list"),
        ({"ops": []}, "ops is '[]'; expected at least one"),
        ({"macs": 5}, "macs is '5'; expected 388800, the sum over the layers"),
        ({"op_count": 2}, "op_count is '2'; expected 1"),
        ({"precision": "int9"}, "precision is 'int9'"),
        ({"input_type": "INT9"}, "input_type is 'INT9'"),
        ({"outputs": ["nothing"]}, "not 'nothing'"),
        ({"macs": float("nan")}, "number NaN; expected finite numbers"),
        ({"notes": 1}, "notes is '1'; expected a text"),
    ],
)
def test_errors_name_the_key_of_the_network(top: dict[str, Any], message: str) -> None:
    document = {"input_shapes": [[1, 32, 32, 3]], "ops": [CONV], **top}
    with pytest.raises(NetworkError) as caught:
        read_layers(json.dumps(document).encode(), "mine")
    assert str(caught.value).startswith("mine")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b"3", b"\xff\xfe{}", b"[" * 100_000, b'{"ops": ' * 50_000, b"9" * 10_000],
    ids=lambda data: repr(data[:6]),
)
def test_what_is_no_layer_list(data: bytes) -> None:
    with pytest.raises(NetworkError, match="^mine"):
        read_layers(data, "mine")


def test_names_are_safe_to_print() -> None:
    network = _read([{**CONV, "name": "a\x1b[31m\ud800b"}], id="x\ny")
    assert network.ops[0].name == "a\ufffd[31m\ufffdb"
    assert network.metadata["id"] == "x\ufffdy"


def test_the_network_s_own_totals_may_be_rounded() -> None:
    assert _read([CONV], macs=390_000).macs == 388_800
