"""Damaged files: whatever is done to the bytes, a reader returns a network or raises NetworkError, soon and in bounds.

Seeded, so that a failure can be repeated: the message of a failing case holds its file, number and mutation.
"""

from __future__ import annotations

import json
import random
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hil.errors import NetworkError
from hil.network import Network
from hil.network._schema import words
from hil.network.layers import read_layers
from hil.network.memory import plan_memory
from hil.network.tflite import read_tflite

FIXTURES = Path(__file__).parent / "fixtures"
ZOO = Path(__file__).parents[2] / "hil" / "zoo" / "models"
TFLITE = [FIXTURES / "awkward.tflite", FIXTURES / "float16.tflite", FIXTURES / "loop.tflite", ZOO / "kws.tflite"]
LAYERS = sorted(FIXTURES.glob("*.json"))
CASES = 1500
SECONDS_PER_CASE = 5.0
PEAK_BYTES = 64 << 20
EXTREMES = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
HOSTILE_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 3, 2**31, 2**63, 10**400, 0.5, 1e308, "", "x" * 3000, "input", "conv2d", "same", [], [[]], {},
    [0], [1, 1, 1, 1], [-1, -1], [2**40] * 4, [1] * 40, [[1, 2]] * 4, {"a": {}}, "\ud800",
)  # fmt: skip

Mutation = Callable[[random.Random, bytearray], None]


def _flip(rng: random.Random, data: bytearray) -> None:
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _overwrite(rng: random.Random, data: bytearray) -> None:
    for _ in range(rng.choice((1, 1, 2, 4))):
        value = rng.choice((*EXTREMES, len(data), len(data) - 4, rng.randrange(1 << 32)))
        struct.pack_into("<I", data, 4 * rng.randrange(len(data) // 4), value & 0xFFFFFFFF)


def _truncate(rng: random.Random, data: bytearray) -> None:
    del data[rng.randrange(len(data)) :]


def _splice(rng: random.Random, data: bytearray) -> None:
    start, length, to = rng.randrange(len(data)), rng.randrange(1, 200), rng.randrange(len(data))
    data[to : to + rng.choice((0, length))] = data[start : start + length]


def _erase(rng: random.Random, data: bytearray) -> None:
    start, length = rng.randrange(len(data)), rng.randrange(1, 64)
    data[start : start + length] = bytes([rng.choice((0, 0xFF, 0x20))]) * min(length, len(data) - start)


MUTATIONS: tuple[Mutation, ...] = (_flip, _flip, _overwrite, _overwrite, _truncate, _splice, _erase)


def _use(network: Network) -> None:
    """What any later stage does with a network."""
    plan = plan_memory(network)
    assert plan.lower_bound_bytes <= plan.arena_bytes
    assert len(network.hash) == 16
    assert 0 <= network.macs <= 1 << 50
    assert min(network.parameters, network.weight_bytes, network.bias_bytes, network.pool_macs) >= 0
    for op in network.ops:
        assert network.read_bytes(op) + network.write_bytes(op) >= 0
        network.in_shape(op)
    assert network.precision


def _survives(read: Callable[[bytes, str], Network], data: bytes, what: str) -> bool:
    """Read one damaged file.  Returns whether a network came out of it."""
    start = time.perf_counter()
    try:
        network = read(data, "damaged")
    except NetworkError as error:
        assert str(error).startswith("damaged"), what
        assert len(str(error)) < 2000, what
        return False
    except Exception as error:
        raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
    finally:
        assert time.perf_counter() - start < SECONDS_PER_CASE, what
    try:
        _use(network)
    except Exception as error:
        raise AssertionError(f"{what}: afterwards {type(error).__name__}: {error}") from error
    return True


@pytest.mark.parametrize("path", [*TFLITE, *LAYERS], ids=lambda path: path.stem)
def test_damaged_bytes(path: Path) -> None:
    read = read_tflite if path.suffix == ".tflite" else read_layers
    original = path.read_bytes()
    rng = random.Random(path.stem)
    read_anyway = 0
    for case in range(CASES):
        data = bytearray(original)
        mutation = rng.choice(MUTATIONS)
        mutation(rng, data)
        read_anyway += _survives(read, bytes(data), f"{path.name} case {case} {mutation.__name__}")
    assert read_anyway < CASES


@pytest.mark.parametrize("path", LAYERS, ids=lambda path: path.stem)
def test_hostile_values_in_layer_lists(path: Path) -> None:
    original = path.read_text()
    rng = random.Random(path.stem)
    for case in range(CASES):
        document = json.loads(original)
        place = document if rng.random() < 0.2 else rng.choice(document["ops"])
        key = rng.choice(
            [*place, "filters", "out_shapes", "factor", "weights_shared_with", "shared_weights", "outputs"]
        )
        value = rng.choice(HOSTILE_VALUES)
        if isinstance(place.get(key), list) and place[key] and rng.random() < 0.5:
            place[key][rng.randrange(len(place[key]))] = value
        else:
            place[key] = value
        data = json.dumps(document).encode()
        _survives(read_layers, data, f"{path.name} case {case} {key}={str(value)[:40]}")


@pytest.mark.parametrize("path", [TFLITE[0], LAYERS[0]], ids=lambda path: path.stem)
def test_memory_stays_in_bounds(path: Path) -> None:
    read = read_tflite if path.suffix == ".tflite" else read_layers
    original = path.read_bytes()
    rng = random.Random(7)
    tracemalloc.start()
    try:
        for case in range(150):
            data = bytearray(original)
            rng.choice(MUTATIONS)(rng, data)
            _survives(read, bytes(data), f"{path.name} case {case}")
        assert tracemalloc.get_traced_memory()[1] < PEAK_BYTES
    finally:
        tracemalloc.stop()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, 12_000), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6))
def test_any_patch_of_a_tflite_file(patches: list[tuple[int, bytes]]) -> None:
    data = bytearray(TFLITE[0].read_bytes())
    for start, values in patches:
        data[start : start + len(values)] = values
    _survives(read_tflite, bytes(data), "patched")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda children: st.lists(children, max_size=5) | st.dictionaries(st.text(max_size=8), children, max_size=4),
    max_leaves=8,
)
OP_KEYS = st.sampled_from(
    words(
        """
    kernel stride padding dilation groups filters depth_multiplier inputs in_shape in_shapes out_shape out_shapes
    macs weights biases axis axes perm pads factor weight_bits bias_bits out_bits quant_type activation name
    """
    )
)
OPS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            words(
                """
    conv2d conv1d depthwise_conv2d transpose_conv2d fully_connected max_pool global_avg_pool add concat reshape pad
    upsample transpose mean matmul split slice relu shape pack unidirectional_sequence_lstm
    """
            )
        )
    }
).flatmap(
    lambda op: st.dictionaries(OP_KEYS, JSON_VALUES | st.lists(st.integers(0, 9), max_size=5), max_size=6).map(
        lambda entries: {**entries, **op}
    )
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(OPS, min_size=1, max_size=4), st.lists(st.lists(st.integers(0, 9), max_size=5), min_size=1, max_size=2))
def test_any_layer_list(ops: list[dict[str, Any]], shapes: list[list[int]]) -> None:
    _survives(read_layers, json.dumps({"input_shapes": shapes, "ops": ops}).encode(), str(ops))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    _survives(read_layers, data, repr(data))
    _survives(read_tflite, data, repr(data))
    _survives(read_tflite, data[:4] + b"TFL3" + data[4:], repr(data))
