"""The reference interpreter: LiteRT's own answers, state, and clear errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hil import zoo
from hil.errors import NetworkError
from hil.network.reference import Reference

RANDOM = np.random.default_rng(1)


def recurrent(make: Any) -> bytes:
    """y(t) = tanh(x(t) + y(t-1) / 2): the last y is the state."""
    tensors = [
        make.tensor([1, 1, 1]),
        make.tensor([1, 1], data=np.ones((1, 1), np.float32)),
        make.tensor([1, 1], data=np.full((1, 1), 0.5, np.float32)),
        make.tensor([1], data=np.zeros(1, np.float32)),
        make.tensor([1, 1], isVariable=True),
        make.tensor([1, 1, 1]),
    ]
    options = make.options("SequenceRNN", fusedActivationFunction=4)
    return bytes(
        make.model(tensors, [make.operator("UNIDIRECTIONAL_SEQUENCE_RNN", [0, 1, 2, 3, 4], [5], options)], [0], [5])
    )


@pytest.mark.parametrize("name", zoo.names())
def test_answers_are_litert_s(name: str, make: Any) -> None:
    model = zoo.load(name).model
    assert model is not None
    reference = Reference(model, name)
    (port,) = reference.inputs
    sample = RANDOM.integers(-128, 128, port.shape, dtype=np.int8)
    expected = make.interpreter(model)
    expected.set_tensor(port.tensor, sample)
    expected.invoke()
    found = reference.run([sample.tobytes()])
    assert found == [expected.get_tensor(detail["index"]).tobytes() for detail in expected.get_output_details()]
    assert [len(data) for data in found] == [port.size_bytes for port in reference.outputs]


def test_state_carries_over_until_reset(make: Any) -> None:
    reference = Reference(recurrent(make))
    one = np.ones(1, np.float32).tobytes()
    first, second = reference.run([one]), reference.run([one])
    assert np.frombuffer(first[0], np.float32) == pytest.approx(np.tanh(1.0))
    assert np.frombuffer(second[0], np.float32) == pytest.approx(np.tanh(1.0 + np.tanh(1.0) / 2))
    reference.reset()
    assert reference.run([one]) == first


@pytest.mark.parametrize("given", [[], [b"\0" * 63], [b"\0" * 64, b""]])
def test_wrong_inputs_are_named(given: list[bytes]) -> None:
    model = zoo.load("digits").model
    assert model is not None
    with pytest.raises(NetworkError, match=r"^digits: .*; expected (1|64)$"):
        Reference(model, "digits").run(given)


@pytest.mark.parametrize("model", [b"", b"TFL3", b"\x1c\0\0\0TFL3" + b"\xff" * 64])
def test_what_is_no_model_is_a_clear_error(model: bytes) -> None:
    with pytest.raises(NetworkError, match="^damaged: LiteRT cannot load it: ") as caught:
        Reference(model, "damaged")
    assert "\n" not in caught.value.message


def test_custom_operators_are_a_clear_error(make: Any) -> None:
    model = make.model(
        [make.tensor([1, 4]), make.tensor([1, 4])], [make.operator("CUSTOM", [0], [1], custom="Mystery")], [0], [1]
    )
    with pytest.raises(NetworkError, match="^odd: LiteRT cannot load it: .*Mystery") as caught:
        Reference(model, "odd")
    assert caught.value.hint == "the reference kernels lack a few operators, and all custom ones"


def test_text_is_refused(make: Any) -> None:
    model = make.model(
        [make.tensor([1], "STRING"), make.tensor([1], "STRING")], [make.operator("RESHAPE", [0], [1])], [0], [1]
    )
    with pytest.raises(NetworkError, match="is text; expected numbers"):
        Reference(model, "words")
