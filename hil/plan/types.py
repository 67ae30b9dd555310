"""The plan: a network placed on a target, with a reason for every op, memory use, and whether it fits."""

from __future__ import annotations

import hashlib
import json
from dataclasses import astuple, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from hil.network import Network
from hil.platform import Target, platform_hash

if TYPE_CHECKING:
    from hil.plan.vela import VelaReport

# npu: computed by the accelerator.  cpu: by the host core.  free: costs nothing (another view of the same bytes).
Unit = Literal["npu", "cpu", "free"]
LayerKind = Literal["conv", "fully_connected", "transpose", "passthrough"]
Phase = Literal["boot", "npu_init", "weight_load", "input_load", "inference", "output_read", "post_process", "idle"]
PHASES: tuple[Phase, ...] = (
    "boot",
    "npu_init",
    "weight_load",
    "input_load",
    "inference",
    "output_read",
    "post_process",
    "idle",
)
# The paper's "memory I/O".
MEMORY_IO: tuple[Phase, ...] = ("weight_load", "input_load", "output_read")
# What the paper calls end to end: everything from switching the accelerator on to the decoded result.
END_TO_END: tuple[Phase, ...] = ("npu_init", "weight_load", "input_load", "inference", "output_read", "post_process")
# What every further inference costs while the accelerator stays on and keeps its weights.
STEADY: tuple[Phase, ...] = ("input_load", "inference", "output_read", "post_process")


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one op runs, why, and in which phase its time is counted.

    ``fused_into`` is the op in whose pass it is done at no cost of its own.
    """

    unit: Unit
    reason: str = ""
    phase: Phase = "inference"
    fused_into: int | None = None


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """One demand against one memory (or several that share a role), in bytes."""

    name: str
    role: str
    needed_bytes: int
    capacity_bytes: int | None

    @property
    def fits(self) -> bool:
        return self.capacity_bytes is None or self.needed_bytes <= self.capacity_bytes


@dataclass(frozen=True, slots=True)
class HwLayer:
    """One hardware layer of a MAX7800x: an op with the pooling and element-wise ops done in flight before it.

    Sizes are pixels: ``in_rows`` x ``in_columns`` before pooling; 1-D layers have one column.
    ``operands`` is the number of inputs of the in-flight element-wise op.
    """

    op: int
    kind: LayerKind
    in_rows: int
    in_columns: int
    in_channels: int
    out_channels: int
    out_columns: int = 1
    kernel: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    pool: tuple[int, int] = (1, 1)
    pool_stride: tuple[int, int] = (1, 1)
    operands: int = 1
    pool_after_eltwise: bool = False
    flatten: bool = False
    streaming: bool = False


@dataclass(frozen=True)
class Plan:
    """A network on a target.  ``reasons`` says why it does not fit (empty where it does); ``notes`` what to know.

    ``layers`` (MAX7800x) and ``vela`` (Ethos-U) carry what the family's compiler made of the network.
    """

    network: Network
    target: Target
    placements: tuple[Placement, ...]
    memory: tuple[MemoryUse, ...]
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    layers: tuple[HwLayer, ...] = ()
    vela: VelaReport | None = field(default=None, repr=False)

    @property
    def fits(self) -> bool:
        return not self.reasons

    @property
    def fallback(self) -> tuple[int, ...]:
        """Ops that a platform with an accelerator runs on the host core."""
        if self.target.npu is None:
            return ()
        return tuple(index for index, place in enumerate(self.placements) if place.unit == "cpu")

    @cached_property
    def npu_macs(self) -> int:
        return sum(op.macs for op, place in zip(self.network.ops, self.placements, strict=True) if place.unit == "npu")

    @cached_property
    def hash(self) -> str:
        """A hash of network, platform, operating point with overrides, placement, and what the compiler made of it."""
        parts = [
            self.network.hash,
            platform_hash(self.target.platform),
            self.target.operating_point,
            [(place.unit, place.phase, place.fused_into) for place in self.placements],
            [astuple(layer) for layer in self.layers],
            self.vela.op_cycles if self.vela is not None else None,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
