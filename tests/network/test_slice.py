"""Sub-models: a network in pieces computes what it computes whole."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil import zoo
from hil.errors import NetworkError
from hil.network.reference import Reference
from hil.network.slice import Slice, builtin_of, cut, cut_parsed, keeps_state, parse
from hil.network.tflite import read_tflite

FIXTURES = Path(__file__).parent / "fixtures"
FILES = {
    **{name: zoo.entry(name).path for name in zoo.names()},
    "awkward": FIXTURES / "awkward.tflite",
    "float16": FIXTURES / "float16.tflite",
}
DEQUANTIZE = 6  # the schema's number


class Whole:
    """A network, one input, every tensor that crosses a border somewhere, and what the outputs must be."""

    def __init__(self, path: Path) -> None:
        self.model = path.read_bytes()
        self.parsed = parse(self.model)
        reference = Reference(self.model)
        random = np.random.default_rng(7)
        samples = [
            random.integers(-128, 128, port.shape).astype(port.dtype)
            if port.dtype == np.int8
            else random.normal(size=port.shape).astype(port.dtype)
            for port in reference.inputs
        ]
        self.inputs = {p.tensor: sample.tobytes() for p, sample in zip(reference.inputs, samples, strict=True)}
        self.outputs = dict(
            zip((p.tensor for p in reference.outputs), reference.run(list(self.inputs.values())), strict=True)
        )
        # A DEQUANTIZE of a constant comes along with its reader: it is no piece of its own.
        operators = self.parsed.subgraphs[0].operators
        self.ops = [k for k, op in enumerate(operators) if builtin_of(self.parsed, op) != DEQUANTIZE]

    def run(self, borders: list[int]) -> dict[int, bytes]:
        """Piece by piece; returns every tensor that a piece put out."""
        values = dict(self.inputs)
        starts = [0, *borders, len(self.ops)]
        for start, stop in zip(starts, starts[1:], strict=False):
            if start < stop:
                piece = cut_parsed(self.parsed, range(self.ops[start], self.ops[stop - 1] + 1))
                found = Reference(piece.model).run([values[i] for i in piece.inputs])
                values.update(zip(piece.outputs, found, strict=True))
        return values


@cache
def whole(name: str) -> Whole:
    return Whole(FILES[name])


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_pieces_compute_what_the_whole_computes(name: str, data: st.DataObject) -> None:
    network = whole(name)
    borders = sorted(data.draw(st.sets(st.integers(1, len(network.ops) - 1), max_size=8), label="borders"))
    values = network.run(borders)
    assert {tensor: values[tensor] for tensor in network.outputs} == network.outputs


@pytest.mark.parametrize("name", ["ic", "awkward", "float16"])
def test_one_operator_a_piece(name: str) -> None:
    network = whole(name)
    values = network.run(list(range(1, len(network.ops))))
    assert {tensor: values[tensor] for tensor in network.outputs} == network.outputs


def test_the_whole_network_is_a_slice_with_the_same_interface() -> None:
    model = zoo.load("yolov1_96").model
    assert model is not None
    network = read_tflite(model, "yolov1_96")
    piece = cut(model, range(len(network.ops)))
    assert piece.inputs == network.inputs
    assert set(piece.outputs) == set(network.outputs)


def test_a_piece_holds_only_its_own_weights() -> None:
    network = zoo.load("ad")
    assert network.model is not None
    piece = cut(network.model, [4])
    op = network.ops[4]
    assert (piece.inputs, piece.outputs) == (op.inputs, op.outputs)
    assert op.weight_bytes + op.bias_bytes < len(piece.model) < op.weight_bytes + op.bias_bytes + 4096
    assert read_tflite(piece.model, "piece").macs == op.macs


@pytest.mark.parametrize("ops", [[], [1, 3], [2, 1], [-1], [9, 10], [10]])
def test_what_is_not_a_run_of_operators_is_refused(ops: list[int]) -> None:
    model = zoo.load("ad").model
    assert model is not None
    with pytest.raises(NetworkError, match="expected consecutive ones of 0 to 9"):
        cut(model, ops)


@pytest.mark.parametrize("model", [b"", b"not a flatbuffer at all, but long enough to have a root"])
def test_what_is_no_file_is_refused(model: bytes) -> None:
    with pytest.raises(NetworkError, match="not a readable .tflite file"):
        cut(model, [0])


def test_a_variable_tensor_stays_with_its_operator(make: Any) -> None:
    def cell(source: int, state: int, target: int) -> Any:
        return make.operator("UNIDIRECTIONAL_SEQUENCE_RNN", [source, 1, 1, 2, state], [target], options)

    options = make.options("SequenceRNN", fusedActivationFunction=4)
    tensors = [
        make.tensor([1, 1, 1]),
        make.tensor([1, 1], data=np.ones((1, 1), np.float32)),
        make.tensor([1], data=np.zeros(1, np.float32)),
        make.tensor([1, 1], isVariable=True),
        make.tensor([1, 1], isVariable=True),
        make.tensor([1, 1, 1]),
        make.tensor([1, 1, 1]),
    ]
    own = make.model(tensors, [cell(0, 3, 5), cell(5, 4, 6)], [0], [6])
    assert keeps_state(parse(own))
    first, second = cut(own, [0]), cut(own, [1])
    assert (first.inputs, first.outputs, second.inputs, second.outputs) == ((0,), (5,), (5,), (6,))
    expected, halves = Reference(own), [Reference(first.model), Reference(second.model)]
    for value in (1.0, -0.5, 0.25):
        sample = np.full(1, value, np.float32).tobytes()
        assert halves[1].run(halves[0].run([sample])) == expected.run([sample])

    shared = make.model(tensors, [cell(0, 3, 5), cell(5, 3, 6)], [0], [6])
    with pytest.raises(NetworkError, match=r"operators \[0, 1\] share state"):
        cut(shared, [1])
    assert isinstance(cut(shared, [0, 1]), Slice)


def test_resources_stay_together(make: Any) -> None:
    handle = make.options("VarHandle", sharedName="memory")
    tensors = [make.tensor([1], "RESOURCE"), make.tensor([1]), make.tensor([1])]
    ops = [
        make.operator("VAR_HANDLE", [], [0], handle),
        make.operator("READ_VARIABLE", [0], [1]),
        make.operator("ABS", [1], [2]),
    ]
    model = make.model(tensors, ops, [], [2])
    with pytest.raises(NetworkError, match=r"operators \[0, 1\] share state"):
        cut(model, [0])
    assert cut(model, [2]).inputs == (1,)
    assert not keeps_state(parse(zoo.entry("ad").path.read_bytes()))
