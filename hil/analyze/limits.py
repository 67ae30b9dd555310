"""What makes an op slower than its multiply-accumulates: tiles that it does not fill, memories that it exceeds.

The same list serves two questions: why is this op slow, and what did a network cross when it became larger?
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from hil.cost import CostModel
from hil.cost.ai8x import KERNEL_WORD_BYTES, PROCESSORS
from hil.cost.neural_art import on_chip_bytes
from hil.cost.workload import KIND_INDEX, Workload
from hil.plan import Plan
from hil.platform import Target
from hil.units import format_bytes

_DENSE = frozenset({"conv", "pointwise", "fully_connected"})
_DEPTHWISE = frozenset({"depthwise"})
_WEIGHTED = _DENSE | _DEPTHWISE
_ALL = frozenset(KIND_INDEX)


@dataclass(frozen=True, slots=True)
class Tile:
    """A count that an op of these kinds takes in whole multiples of ``size``."""

    column: str
    size: float
    kinds: frozenset[str]
    what: str
    tile: str = "tile"
    tiles: str = "tiles"

    def filled(self, count: float) -> str | None:
        """How an op leaves a part of its last tile idle; None where it fills it."""
        if not count % self.size:
            return None
        return f"{count:g} of {math.ceil(count / self.size) * self.size:g} {self.what} used"

    def crossed(self, before: float, after: float) -> str | None:
        """How an op came to need another tile that it does not fill; None where it did not."""
        old, new = math.ceil(before / self.size), math.ceil(after / self.size)
        if new <= old or not after % self.size:
            return None
        return f"{after:g} {self.what} take {self._many(new)}, {before:g} took {old}"

    def _many(self, count: int) -> str:
        return f"{count} {self.tile if count == 1 else self.tiles} of {self.size:g}"


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes up to which an op of these kinds is fast."""

    column: str
    size_bytes: float
    kinds: frozenset[str]
    what: str
    where: str

    def filled(self, count: float) -> str | None:
        if count <= self.size_bytes:
            return None
        return f"{format_bytes(count)} of {self.what} exceed {self.where} of {format_bytes(self.size_bytes)}"

    def crossed(self, before: float, after: float) -> str | None:
        return self.filled(after) if before <= self.size_bytes else None


# Tile sizes of the platform file (``npu.structure``): the column that comes in them, the kinds of op, and what it is.
_STRUCTURE: Mapping[str, tuple[str, frozenset[str], str]] = {
    "in_channel_tile": ("in_channels", _DENSE, "input channels"),
    "out_channel_tile": ("out_channels", _DENSE, "output channels"),
    "depthwise_channel_tile": ("out_channels", _DEPTHWISE, "channels"),
    "pixel_tile": ("pixels", _WEIGHTED, "output pixels"),
    "kernel_tile": ("taps", _WEIGHTED, "kernel elements"),
}


def limits(model: CostModel) -> tuple[Tile | Room, ...]:
    """Tiles and memories of a target that its cost model knows of: the accelerator's, or the core's where there is
    none."""
    target = model.target
    found = _npu_limits(target) if target.npu is not None else _cpu_limits(model)
    return tuple(limit for limit in found if not (isinstance(limit, Tile) and limit.size <= 1))


def _npu_limits(target: Target) -> list[Tile | Room]:
    npu = target.npu
    assert npu is not None  # callers have an accelerator
    structure = {name: figure.value for name, figure in npu.structure.items()}
    found: list[Tile | Room] = [
        Tile(column, structure[name], kinds, what)
        for name, (column, kinds, what) in _STRUCTURE.items()
        if name in structure
    ]
    if npu.family == "ai8x":
        found.append(Tile("in_channels", PROCESSORS, _WEIGHTED, "input channels", "pass", "passes"))
        found.append(Tile("taps", KERNEL_WORD_BYTES, _WEIGHTED, "kernel elements", "word", "words"))
    if npu.family == "neural_art" and math.isfinite(on_chip_bytes(target)):
        found.append(Room("moved_bytes", on_chip_bytes(target), _ALL, "feature maps", "the on-chip memory"))
    if npu.family == "cluster" and "on_chip_bytes" in structure:
        found.append(Room("moved_bytes", structure["on_chip_bytes"], _ALL, "feature maps", "the on-chip memory"))
        found.append(Room("all_weights", structure["on_chip_bytes"], _ALL, "weights", "the on-chip memory"))
    return found


def _cpu_limits(model: CostModel) -> list[Tile | Room]:
    lanes = model.parameters["cpu_lanes"].prior.value
    cache_bytes = model.parameters["cpu_cache_bytes"].prior.value
    found: list[Tile | Room] = [Tile("out_channels", lanes, _DENSE, "output channels", "vector", "vectors")]
    if cache_bytes > 0:
        found += [
            Room(column, cache_bytes, kinds, what, "the cache")
            for column, kinds, what in (
                ("weight_bytes", _DENSE, "weights"),
                ("window_bytes", _DEPTHWISE, "input rows"),
                ("read_bytes", _ALL, "input"),
                ("written_bytes", _ALL, "output"),
            )
        ]
    return found


@dataclass(frozen=True)
class Counts:
    """The counts of one plan's ops that limits speak of: a row per op of the plan's network, by column."""

    plan: Plan
    kinds: tuple[str, ...]
    columns: Mapping[str, tuple[float, ...]]

    @staticmethod
    def of(plan: Plan, model: CostModel) -> Counts:
        work: Workload = model.workload([plan])
        count = len(plan.network.ops)
        names = tuple(KIND_INDEX)
        columns = {name: tuple(values[:count].tolist()) for name, values in work.op.items()}
        columns["all_weights"] = (float(plan.network.weight_bytes),) * count
        return Counts(plan, tuple(names[kind] for kind in work.kind[:count]), columns)


def exceeded(counts: Counts, op: int, known: Iterable[Tile | Room]) -> Iterator[str]:
    """Tiles that one op does not fill and memories that it does not fit, in words."""
    for limit in known:
        if counts.kinds[op] in limit.kinds:
            text = limit.filled(counts.columns[limit.column][op])
            if text is not None:
                yield text


def crossings(before: Counts, after: Counts, op: int, known: Iterable[Tile | Room]) -> Iterator[str]:
    """The limits that op number ``op`` of two networks of the same structure crossed between them, in words."""
    for limit in known:
        if after.kinds[op] in limit.kinds:
            text = limit.crossed(before.columns[limit.column][op], after.columns[limit.column][op])
            if text is not None:
                yield text
