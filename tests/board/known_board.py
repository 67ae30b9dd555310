"""A board whose truth is known."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from hil.board import codec
from hil.board.codec import MemoryUse, OpTime, PhaseTime, Point
from hil.board.dut import InferOutcome

LATENCY_NS = 2_345_000
BOOT_NS = 1_000_000


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
        self.inferences = 0

    def load(self, data: bytes) -> None:
        self.input = data

    def timestamp_ns(self) -> int:
        return self.now_ns

    def infer(self, inferences: int, warmups: int) -> InferOutcome:
        self.inferences = inferences
        self.now_ns += warmups * LATENCY_NS
        start_ns = self.now_ns
        self.now_ns += inferences * LATENCY_NS
        return InferOutcome(start_ns, self.now_ns, results_of(self.input))

    def phases(self) -> Sequence[PhaseTime]:
        return phases_of(self.inferences)

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
        PhaseTime("npu_init", 812_345, 1),
        PhaseTime("weight_load", 3_141_592, 1),
        PhaseTime("inference", inferences * LATENCY_NS, inferences),
        PhaseTime("output_read", 10_007, 1),
    )


def ops_of(inferences: int) -> tuple[OpTime, ...]:
    return (
        OpTime(0, 2_000_000 * inferences, 50_000 * inferences, inferences),
        OpTime(3, 345_000 * inferences, 0, inferences),
    )
