"""Making a plan: place every op, say why, and check the memories."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from hil.errors import NetworkError
from hil.network import Network
from hil.network.graph import VIEW_OPS
from hil.network.memory import arena_need
from hil.plan.ai8x import fully_connected_limit, plan_ai8x
from hil.plan.rules import unsupported_reason
from hil.plan.types import MemoryUse, Phase, Placement, Plan
from hil.plan.vela import VelaReport, available, compile_network
from hil.platform import Target
from hil.units import format_bytes

# Runtimes without a graph interpreter: what comes before and after the accelerator is the application's own code.
_HOST_EDGE_FAMILIES = frozenset({"ai8x"})


def make_plan(network: Network, target: Target, *, vela_cache: Path | None = None, use_vela: bool = True) -> Plan:
    """Place a network on a target.

    A network that does not fit is a result: ``plan.fits`` is false and ``plan.reasons`` says why.
    """
    npu = target.npu
    vela, notes = _compile(network, target, vela_cache) if use_vela else (None, [])
    if npu is None:
        placements = [Placement("free" if op.type in VIEW_OPS else "cpu") for op in network.ops]
    elif vela is not None:
        placements = [
            Placement(
                "free" if op.type in VIEW_OPS else "npu" if vela.on_npu[op.index] else "cpu",
                vela.reasons.get(op.index, ""),
            )
            for op in network.ops
        ]
    else:
        placements = [_place(network, op_index, target) for op_index in range(len(network.ops))]
    placements = _edges(network, placements, npu is not None and npu.family in _HOST_EDGE_FAMILIES)
    if npu is not None and npu.family == "ai8x":
        result = plan_ai8x(network, target, placements)
        extra = _split_notes(placements)
        return Plan(
            network, target, result.placements, result.memory, result.reasons, (*result.notes, *extra), result.layers
        )
    memory, reasons = _general_memory(network, target, vela)
    return Plan(network, target, tuple(placements), memory, tuple(reasons), tuple(notes), vela=vela)


def _compile(network: Network, target: Target, cache: Path | None) -> tuple[VelaReport | None, list[str]]:
    """What Vela makes of the network on an Ethos-U; where it cannot, None and a note: rules and tiles stand in."""
    npu = target.npu
    if npu is None or npu.vela is None:
        return None, []
    if available() is None:
        return None, ["Vela is not installed: operator support and cycles are approximate (pip install 'hil[vela]')"]
    try:
        return compile_network(network, npu.vela, target.npu_clock_hz, cache=cache), []
    except NetworkError as error:
        return None, [f"Vela does not compile it, so operator support and cycles are approximate: {error.message}"]


def _place(network: Network, index: int, target: Target) -> Placement:
    op = network.ops[index]
    if op.type in VIEW_OPS:
        return Placement("free")
    npu = target.npu
    assert npu is not None  # callers place on a target with an accelerator
    reason = unsupported_reason(network, op, npu.operators, npu.name)
    if reason is None and npu.family == "ai8x":
        reason = fully_connected_limit(network, op, target)
    return Placement("npu") if reason is None else Placement("cpu", reason)


def _edges(network: Network, placements: Sequence[Placement], host_edges: bool) -> list[Placement]:
    """Where the application, not a graph runtime, drives the accelerator: host ops that only convert data belong to
    input loading before the first computing op, and to post-processing after the last."""
    places = list(placements)
    if not host_edges or not any(place.unit == "npu" for place in places):
        return places
    edges: tuple[tuple[Iterable[int], Phase], ...] = (
        (range(len(places)), "input_load"),
        (reversed(range(len(places))), "post_process"),
    )
    for order, phase in edges:
        for index in order:
            if places[index].unit == "npu" or network.ops[index].macs:
                break
            if places[index].unit == "cpu":
                places[index] = replace(places[index], phase=phase)
    return places


def _split_notes(placements: Sequence[Placement]) -> list[str]:
    inside = [index for index, place in enumerate(placements) if place.unit == "cpu" and place.phase == "inference"]
    if not inside or not any(place.unit == "npu" for place in placements):
        return []
    return [
        f"{len(inside)} ops in mid-network leave the accelerator: the vendor's tool compiles whole networks only,"
        " so this needs a hand-written split"
    ]


def _general_memory(
    network: Network, target: Target, vela: VelaReport | None
) -> tuple[tuple[MemoryUse, ...], list[str]]:
    """Weights against the memories that may hold them, activations against theirs."""
    memories = target.platform.memories
    activations, peak = arena_need(network)
    weights = network.weight_bytes + network.bias_bytes
    if vela is not None:
        weights, activations = vela.flash_bytes or weights, vela.sram_bytes or activations
    uses, reasons = [], []
    for role, needed in (("weights", weights), ("activations", activations)):
        holders = [(name, memory) for name, memory in memories.items() if role in memory.holds]
        capacity = sum(int(memory.size_bytes.value) for _, memory in holders) if holders else None
        use = MemoryUse("+".join(name for name, _ in holders) or role, role, needed, capacity)
        uses.append(use)
        if not use.fits:
            where = f" at op {peak} ({network.ops[peak].name})" if role == "activations" and peak is not None else ""
            reasons.append(f"{format_bytes(capacity)} for {role} in {use.name}, needs {format_bytes(needed)}{where}")
    both = {name: memory for name, memory in memories.items() if {"weights", "activations"} & set(memory.holds)}
    if not reasons and any({"weights", "activations"} <= set(memory.holds) for memory in both.values()):
        room = sum(int(memory.size_bytes.value) for memory in both.values())
        if weights + activations > room:
            need = format_bytes(weights + activations)
            reasons.append(f"{format_bytes(room)} for weights and activations in {'+'.join(both)}, needs {need}")
    return tuple(uses), reasons
