"""Faults to plant into a run of the suites: ``robot --listener plants.SlowInference``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import hil.emulator.board
from hil.emulator.python_board import PythonBoard

SLOWER = 1.15


class _Plant:
    """A listener that hears nothing: it puts another Python board in place when it is made."""

    ROBOT_LISTENER_API_VERSION = 3
    board: type[PythonBoard]

    def __init__(self) -> None:
        hil.emulator.board.PythonBoard = self.board  # type: ignore[misc]


class SlowInference(_Plant):
    """A board whose inference got 15 % slower."""

    class board(PythonBoard):
        def __init__(self, plan: Any, *, phases_ns: Mapping[str, int], op_ns: Any) -> None:
            slow = {**phases_ns, "inference": round(SLOWER * phases_ns["inference"])}
            super().__init__(plan, phases_ns=slow, op_ns=op_ns)


class WrongByte(_Plant):
    """A board that gets one bit of its first output byte wrong."""

    class board(PythonBoard):
        def outputs(self) -> list[bytes]:
            first, *others = super().outputs()
            return [bytes([first[0] ^ 1]) + first[1:], *others]


class WrongPhaseOrder(_Plant):
    """A board that tells its phases backwards."""

    class board(PythonBoard):
        def phases(self) -> Any:
            return super().phases()[::-1]
