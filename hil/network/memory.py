"""Activation memory: where each tensor lies in one arena, and how small the arena could be at best.

A tensor lives from the op that writes it to the last op that reads it; network inputs live from the start, outputs to
the end, and state that no op writes first (variable tensors) all the time.  A view (reshape) is its input's buffer.
Placement is greedy by size, as TensorFlow Lite for Microcontrollers does it: the largest buffer first, each into the
lowest gap left by the buffers that live at the same time.  Constants lie with the weights and take no room here.
Element-wise ops in place and ops fused with their successor are not exploited: each output has a buffer of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hil.errors import ConfigError
from hil.network.graph import VIEW_OPS, Network


@dataclass(frozen=True, slots=True)
class Lifetime:
    """One buffer: its tensors (views included), its size, and the first and last op during which it must exist."""

    tensors: tuple[int, ...]
    size_bytes: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Tensor offsets in the arena, and how full it is.  All sizes in bytes.

    ``lower_bound_bytes`` is what lives during ``peak_op``, unaligned: no placement can be smaller.
    ``live_bytes`` holds one entry per op.  ``peak_op`` is None for a network without ops.
    """

    offsets: Mapping[int, int]
    arena_bytes: int
    lower_bound_bytes: int
    peak_op: int | None
    live_bytes: tuple[int, ...]
    lifetimes: tuple[Lifetime, ...]


def lifetimes(network: Network) -> tuple[Lifetime, ...]:
    """When each activation buffer lives, in ops; tensors that nothing writes or reads have none."""
    last_step = max(len(network.ops) - 1, 0)
    first: dict[int, int] = dict.fromkeys(network.inputs, 0)
    last: dict[int, int] = dict.fromkeys(network.inputs, 0)
    buffer_of: dict[int, int] = {}
    for step, op in enumerate(network.ops):
        for i in op.inputs:
            if i not in first:  # state: kept from one inference to the next
                first[i], last[i] = 0, last_step
            last[i] = max(last[i], step)
        for i in op.outputs:
            first.setdefault(i, step)
            last[i] = max(last.get(i, step), step)
        if op.type in VIEW_OPS and op.inputs and op.outputs and op.outputs[0] != op.inputs[0]:
            buffer_of[op.outputs[0]] = buffer_of.get(op.inputs[0], op.inputs[0])
    for i in network.outputs:
        if i in first:
            last[i] = last_step
    groups: dict[int, list[int]] = {}
    for i in first:
        if not network.tensors[i].constant:
            groups.setdefault(buffer_of.get(i, i), []).append(i)
    return tuple(
        Lifetime(
            tensors=tuple(members),
            size_bytes=max(network.tensors[i].size_bytes for i in members),
            first=min(first[i] for i in members),
            last=max(last[i] for i in members),
        )
        for members in groups.values()
    )


def plan_memory(network: Network, alignment: int = 16) -> MemoryPlan:
    """Place every activation of ``network`` in one arena, offsets and sizes rounded up to ``alignment`` bytes."""
    if alignment < 1:
        raise ConfigError(f"alignment of {alignment} bytes; expected at least 1")
    buffers = lifetimes(network)
    offsets, arena = _place(buffers, alignment)
    live = _live_bytes(buffers, len(network.ops))
    peak = max(range(len(live)), key=live.__getitem__, default=None)
    return MemoryPlan(
        offsets={i: offset for buffer, offset in zip(buffers, offsets, strict=True) for i in buffer.tensors},
        arena_bytes=arena,
        lower_bound_bytes=live[peak] if peak is not None else sum(buffer.size_bytes for buffer in buffers),
        peak_op=peak,
        live_bytes=live,
        lifetimes=buffers,
    )


def _live_bytes(buffers: Sequence[Lifetime], steps: int) -> tuple[int, ...]:
    change = [0] * (steps + 1)
    for buffer in buffers:
        change[buffer.first] += buffer.size_bytes
        if buffer.last < steps:
            change[buffer.last + 1] -= buffer.size_bytes
    return tuple(int(total) for total in np.cumsum(np.array(change[:steps], np.int64)))


def _place(buffers: Sequence[Lifetime], alignment: int) -> tuple[list[int], int]:
    """Offsets of ``buffers`` and the arena's size: the largest first, each into its lowest gap."""
    sizes = [-(-buffer.size_bytes // alignment) * alignment for buffer in buffers]
    order = sorted(range(len(buffers)), key=lambda k: (-sizes[k], buffers[k].first, k))
    offsets = [0] * len(buffers)
    placed = np.empty((4, 0), np.int64)  # start, end, first and last op of the buffers placed so far, by start
    for k in order:
        start, end, first, last = placed
        meets = np.flatnonzero((first <= buffers[k].last) & (last >= buffers[k].first))
        gap_starts = np.maximum.accumulate(np.concatenate(([0], end[meets])))
        fits = np.flatnonzero(start[meets] - gap_starts[:-1] >= sizes[k])
        offsets[k] = int(gap_starts[fits[0] if fits.size else -1])
        row = (offsets[k], offsets[k] + sizes[k], buffers[k].first, buffers[k].last)
        placed = np.insert(placed, np.searchsorted(start, offsets[k], side="right"), row, axis=1)
    return offsets, int(placed[1].max(initial=0))


def arena_need(network: Network, alignment: int = 16) -> tuple[int, int | None]:
    """Arena bytes and the op at the peak, as ``plan_memory`` gives them but fast for chains.

    In a chain, where every op reads only what the op before it wrote, two neighbours are alive at a time: placing them
    at opposite ends of the arena is always possible, so the largest pair is the arena.
    """
    if not _is_chain(network):
        plan = plan_memory(network, alignment)
        return plan.arena_bytes, plan.peak_op
    best, peak = 0, None
    for op in network.ops:
        sizes = (network.tensors[i].size_bytes for i in (*op.inputs, *op.outputs))
        need = sum(-(-size // alignment) * alignment for size in sizes)
        if need > best or peak is None:
            best, peak = need, op.index
    return best, peak


def _is_chain(network: Network) -> bool:
    """Does every op read exactly the one tensor that the op before it wrote (or the input), views excluded?"""
    if len(network.inputs) != 1 or len(network.outputs) != 1:
        return False
    last = network.inputs[0]
    for op in network.ops:
        if op.inputs != (last,) or len(op.outputs) != 1 or op.type in VIEW_OPS:
            return False
        last = op.outputs[0]
    return network.outputs[0] == last
