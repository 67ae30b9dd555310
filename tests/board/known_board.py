"""A board whose truth is known."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from hil.board import codec
from hil.board.codec import Border, MemoryUse, OpTime, PhaseTime, Point
from hil.board.dut import InferOutcome

LATENCY_NS = 2_345_000
BOOT_NS = 1_000_000
BEFORE_NS = {"npu_init": 812_345, "weight_load": 3_141_592}
AFTER_NS = {"output_read": 10_007}


class KnownModel:
    """A network that is a hash of its input: a wrong byte gives other outputs and results."""

    vendor = "hil"
    profile = "hil 1 known"
    model = "known01"
    input_bytes = 27_648

    def __init__(self, features: Sequence[str] = codec.FEATURES) -> None:
        self.features = features
        self.input = bytes(self.input_bytes)
        self.now_ns = BOOT_NS
        self.inferences = self.warmups = 0
        self.start_ns = 0  # of the inferences

    def load(self, data: bytes) -> None:
        self.input = data

    def timestamp_ns(self) -> int:
        return self.now_ns

    def infer(self, inferences: int, warmups: int) -> InferOutcome:
        self.inferences, self.warmups = inferences, warmups
        self.start_ns = self.now_ns + sum(BEFORE_NS.values()) + warmups * LATENCY_NS
        end_ns = self.start_ns + inferences * LATENCY_NS
        self.now_ns = end_ns + sum(AFTER_NS.values())
        return InferOutcome(self.start_ns, end_ns, results_of(self.input))

    def phases(self) -> Sequence[PhaseTime]:
        return phases_of(self.inferences)

    def borders(self) -> Sequence[Border]:
        return borders_of(self.start_ns, self.inferences, self.warmups)

    def ops(self) -> Sequence[OpTime]:
        return ops_of(self.inferences)

    def point(self) -> Point:
        return POINT

    def memory(self) -> Sequence[MemoryUse]:
        return MEMORY

    def outputs(self) -> Sequence[bytes]:
        return outputs_of(self.input)


POINT = Point("max78000", "100MHz", 100_000_000, 50_000_000, 0)
MEMORY = (MemoryUse("weights", 70_000, 442_368), MemoryUse("activations", 27_648, 524_288))


def results_of(data: bytes) -> tuple[float, ...]:
    return tuple(round(byte / 256, 3) for byte in hashlib.sha256(data).digest()[:10])


def outputs_of(data: bytes) -> tuple[bytes, ...]:
    digest = hashlib.sha256(data).digest()
    return digest[:10], digest * 3 + digest[:7]


def phases_of(inferences: int) -> tuple[PhaseTime, ...]:
    return (
        *(PhaseTime(name, ns, 1) for name, ns in BEFORE_NS.items()),
        PhaseTime("inference", inferences * LATENCY_NS, inferences),
        *(PhaseTime(name, ns, 1) for name, ns in AFTER_NS.items()),
    )


def borders_of(start_ns: int, inferences: int, warmups: int) -> tuple[Border, ...]:
    """``start_ns``: of the first inference that counts; the warm-ups lie between it and what comes before."""
    end_ns = start_ns + inferences * LATENCY_NS
    loaded_ns = start_ns - warmups * LATENCY_NS
    return (
        Border("npu_init", loaded_ns - 3_953_937, loaded_ns - 3_141_592),
        Border("weight_load", loaded_ns - 3_141_592, loaded_ns),
        Border("inference", start_ns, end_ns),
        Border("output_read", end_ns, end_ns + 10_007),
    )


def ops_of(inferences: int) -> tuple[OpTime, ...]:
    return (
        OpTime(0, 2_000_000 * inferences, 50_000 * inferences, inferences),
        OpTime(3, 345_000 * inferences, 0, inferences),
    )
