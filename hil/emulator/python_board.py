"""The board without an emulator: the network in the reference interpreter, predicted times, the clock a counter.

It starts at once and answers the same protocol as the firmware; its figures are the cost model's, and its outputs the
reference's by construction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hil.board.codec import Border, MemoryUse, OpTime, PhaseTime, Point
from hil.board.dut import InferOutcome
from hil.board.errors import BoardFault
from hil.emulator.program import check_runnable, label
from hil.errors import HilError
from hil.network.reference import Reference
from hil.network.slice import keeps_state, parse
from hil.plan import END_TO_END, Plan

_ROLES = ("weights", "activations")


class PythonBoard:
    """A ``BoardModel`` of a plan.

    ``phases_ns``: nanoseconds of each phase of ``hil.plan.END_TO_END`` (absent: none); ``op_ns``: of every op of the
    network, 0 where it is free.  Raises NetworkError for a network that the reference interpreter cannot run, or whose
    outputs are not int8.
    """

    vendor = "hil"
    profile = "hil python, predicted"
    features = ("phases", "point", "memory", "outputs", "ops", "laps", "borders")

    def __init__(self, plan: Plan, *, phases_ns: Mapping[str, int], op_ns: Sequence[int]) -> None:
        network = plan.network
        model = check_runnable(network)
        self.model = label(network.name)
        self.input_bytes = network.input_bytes
        self._plan = plan
        target = plan.target
        # As the firmware: what a board without the hardware for it does not do is not counted either.
        absent = {
            "npu_init": target.npu is None,
            "weight_load": target.npu is None or not target.platform.loads_weights,
        }
        self._counts = {phase: int(not absent.get(phase, False)) for phase in END_TO_END}
        self._phases_ns = {phase: self._counts[phase] * int(phases_ns.get(phase, 0)) for phase in END_TO_END}
        self._op_ns = tuple(op_ns)
        self._reference = Reference(model, network.name)
        self._keeps_state = keeps_state(parse(model))
        self._input = bytes(self.input_bytes)
        self._now_ns = 0
        self._inferences = 0
        self._outputs: list[bytes] = []
        self._borders: dict[str, Border] = {}

    def load(self, data: bytes) -> None:
        """Bytes beyond a shorter load keep what they were, as in the firmware's buffer."""
        self._input = data + self._input[len(data) :]

    def infer(self, inferences: int, warmups: int) -> InferOutcome:
        """Every phase passes in virtual time, one after the other; only the inference is repeated."""
        self._outputs = self._compute(warmups + inferences)
        self._inferences = inferences
        for phase, ns in self._phases_ns.items():
            repeats, unseen = (inferences, warmups) if phase == "inference" else (1, 0)
            start_ns = self._now_ns + unseen * ns
            self._now_ns = start_ns + repeats * ns
            self._borders[phase] = Border(phase, start_ns, self._now_ns)
        laps = self._borders["inference"]
        return InferOutcome(laps.start_ns, laps.end_ns, tuple(self._reference.real(self._outputs)))

    def timestamp_ns(self) -> int:
        return self._now_ns

    def phases(self) -> list[PhaseTime]:
        counts = {**self._counts, "inference": self._count()}
        return [PhaseTime(phase, ns * counts[phase], counts[phase]) for phase, ns in self._phases_ns.items()]

    def borders(self) -> list[Border]:
        self._count()
        return [self._borders[phase] for phase, count in self._counts.items() if count]

    def ops(self) -> list[OpTime]:
        """Ops of the inference that take time.  The counter behind ``ticks`` counts nanoseconds."""
        count = self._count()
        return [
            OpTime(index, ns * count, ns * count, count)
            for index, (ns, place) in enumerate(zip(self._op_ns, self._plan.placements, strict=True))
            if ns and place.phase == "inference"
        ]

    def point(self) -> Point:
        target = self._plan.target
        supply = target.point.supply_v
        return Point(
            platform=target.id,
            name=target.operating_point,
            host_hz=round(target.host_clock_hz),
            npu_hz=round(target.npu_clock_hz) if target.npu is not None else 0,
            millivolt=round(supply.value * 1e3) if supply is not None else 0,
        )

    def memory(self) -> list[MemoryUse]:
        """The tightest memory of each role, as the plan has it."""
        found = []
        for role in _ROLES:
            uses = [use for use in self._plan.memory if use.role == role]
            if uses:
                use = max(uses, key=lambda use: use.needed_bytes)
                found.append(MemoryUse(role, use.needed_bytes, use.capacity_bytes or 0))
        return found

    def outputs(self) -> list[bytes]:
        self._count()
        return self._outputs

    def _count(self) -> int:
        """Inferences of the last ``infer``."""
        if not self._inferences:
            raise BoardFault("No results")
        return self._inferences

    def _compute(self, runs: int) -> list[bytes]:
        """What the last of so many inferences puts out: without state they are all the same, and one will do."""
        inputs = self._reference.split(self._input)
        try:
            if not self._keeps_state:
                return self._reference.run(inputs)
            self._reference.reset()
            return [self._reference.run(inputs) for _ in range(runs)][-1]
        except HilError as error:
            raise BoardFault(error.message) from error
