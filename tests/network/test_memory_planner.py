"""The activation-memory planner: hand-computed arenas, and properties over random graphs."""

from __future__ import annotations

import time
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.errors import ConfigError
from hil.network import Network, Op, Tensor
from hil.network.memory import MemoryPlan, plan_memory

OpRow = tuple[str, list[int], list[int]]


def _network(sizes: list[int], ops: list[OpRow], inputs: list[int], outputs: list[int]) -> Network:
    return Network(
        name="n",
        tensors=tuple(Tensor(f"t{i}", (size,), "int8") for i, size in enumerate(sizes)),
        ops=tuple(Op(i, f"o{i}", type_, tuple(ins), tuple(outs)) for i, (type_, ins, outs) in enumerate(ops)),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
    )


def test_a_chain_needs_its_largest_pair() -> None:
    network = _network([32, 64, 16, 48], [("a", [0], [1]), ("b", [1], [2]), ("c", [2], [3])], [0], [3])
    plan = plan_memory(network)
    assert plan.live_bytes == (96, 80, 64)
    assert (plan.arena_bytes, plan.lower_bound_bytes, plan.peak_op) == (96, 96, 0)
    assert plan.offsets == {1: 0, 0: 64, 2: 64, 3: 0}


def test_a_skip_connection_lives_until_its_addition() -> None:
    network = _network([16, 64, 64, 64], [("a", [0], [1]), ("b", [1], [2]), ("add", [1, 2], [3])], [0], [3])
    plan = plan_memory(network)
    assert plan.live_bytes == (80, 128, 192)
    assert (plan.arena_bytes, plan.peak_op) == (192, 2)


def test_a_view_is_its_input_s_buffer() -> None:
    network = _network([32, 64, 64, 16], [("a", [0], [1]), ("reshape", [1], [2]), ("c", [2], [3])], [0], [3])
    plan = plan_memory(network)
    assert plan.offsets[1] == plan.offsets[2]
    assert plan.live_bytes == (96, 64, 80)


def test_outputs_live_to_the_end_and_inputs_from_the_start() -> None:
    network = _network([16, 32, 64, 8], [("a", [0], [1]), ("b", [0], [2]), ("c", [2], [3])], [0], [1, 3])
    assert plan_memory(network).live_bytes == (48, 112, 104)
    late = _network([16, 32, 64, 8], [("a", [0], [2]), ("b", [2, 1], [3])], [0, 1], [3])
    assert plan_memory(late).live_bytes == (112, 104)


def test_state_lives_all_the_time() -> None:
    network = _network([16, 32, 64, 8], [("a", [0], [2]), ("lstm", [2, 1], [3])], [0], [3])
    assert plan_memory(network).live_bytes == (112, 104)


def test_constants_take_no_room() -> None:
    tensors = (Tensor("x", (16,), "int8"), Tensor("w", (999,), "int8", constant=True), Tensor("y", (16,), "int8"))
    network = Network("n", tensors, (Op(0, "o", "add", (0, 1), (2,)),), (0,), (2,))
    assert plan_memory(network).arena_bytes == 32


def test_alignment() -> None:
    network = _network([3, 5], [("a", [0], [1])], [0], [1])
    assert plan_memory(network).offsets == {0: 0, 1: 16}
    assert plan_memory(network).arena_bytes == 32
    assert plan_memory(network).lower_bound_bytes == 8
    assert plan_memory(network, alignment=1).arena_bytes == 8
    with pytest.raises(ConfigError, match="alignment of 0 bytes"):
        plan_memory(network, alignment=0)


def test_a_network_without_ops() -> None:
    plan = plan_memory(_network([20], [], [0], [0]))
    assert (plan.arena_bytes, plan.lower_bound_bytes, plan.peak_op, plan.live_bytes) == (32, 20, None, ())
    assert plan_memory(_network([], [], [], [])).arena_bytes == 0


@st.composite
def graphs(draw: st.DrawFn) -> Network:
    """Random graphs in execution order: inputs, ops with up to three operands and two outputs, views, dead ends."""
    size = st.integers(0, 300)
    sizes = draw(st.lists(size, min_size=1, max_size=3))
    inputs = list(range(len(sizes)))
    ops: list[OpRow] = []
    for _ in range(draw(st.integers(0, 12))):
        operands = draw(st.lists(st.integers(0, len(sizes) - 1), min_size=1, max_size=3))
        outputs = list(range(len(sizes), len(sizes) + draw(st.integers(1, 2))))
        view = draw(st.booleans()) and len(outputs) == 1
        sizes += [sizes[operands[0]]] if view else [draw(size) for _ in outputs]
        ops.append(("reshape" if view else "op", operands, outputs))
    outputs = draw(st.lists(st.integers(0, len(sizes) - 1), max_size=3, unique=True))
    return _network(sizes, ops, inputs, outputs)


@settings(max_examples=300, deadline=None)
@given(graphs(), st.sampled_from([1, 4, 16, 64]))
def test_plans_are_sound(network: Network, alignment: int) -> None:
    check_plan(network, plan_memory(network, alignment), alignment)


def check_plan(network: Network, plan: MemoryPlan, alignment: int) -> None:
    """Buffers alive at the same time never overlap; the arena lies between its bounds."""
    for a, b in combinations(plan.lifetimes, 2):
        if a.first <= b.last and b.first <= a.last:
            low, high = sorted((plan.offsets[x.tensors[0]], x.size_bytes) for x in (a, b))
            assert low[0] + low[1] <= high[0] or not high[1]
    for step, op in enumerate(network.ops):
        needed = {plan.offsets[i]: network.tensors[i].size_bytes for i in (*op.inputs, *op.outputs)}
        assert plan.live_bytes[step] >= max(needed.values(), default=0)
    assert all(offset % alignment == 0 for offset in plan.offsets.values())
    assert all(plan.offsets[i] + network.tensors[i].size_bytes <= plan.arena_bytes for i in plan.offsets)
    assert plan.lower_bound_bytes <= plan.arena_bytes
    assert plan.arena_bytes <= sum(-(-buffer.size_bytes // alignment) * alignment for buffer in plan.lifetimes)


def test_two_thousand_ops_take_no_time() -> None:
    sizes = [(i * 7919) % 5000 for i in range(2001)]
    ops = [("op", [i, max(i - 9, 0)], [i + 1]) for i in range(2000)]
    network = _network(sizes, ops, [0], [2000])
    start = time.perf_counter()
    plan = plan_memory(network)
    assert time.perf_counter() - start < 2
    assert plan.arena_bytes < 1.3 * plan.lower_bound_bytes


def test_everything_alive_at_once_stays_bounded() -> None:
    sizes = [1 + i % 7 for i in range(3001)]
    network = _network(sizes, [("op", [0], [i + 1]) for i in range(3000)], [0], list(range(1, 3001)))
    start = time.perf_counter()
    plan = plan_memory(network)
    assert time.perf_counter() - start < 5
    assert plan.arena_bytes == 3001 * 16
