"""Faults to plant into a run of the suites: ``robot --listener plants.SlowInference``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import hil.emulator.board
from hil.emulator.python_board import PythonBoard
from hil.meter.sim.instrument import Timeline

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


class ShiftedBorders(_Plant):
    """A board whose loading of weights seems to begin half its length later than it does."""

    class board(PythonBoard):
        def borders(self) -> Any:
            return [
                dataclasses.replace(border, start_ns=(border.start_ns + border.end_ns) // 2)
                if border.name == "weight_load"
                else border
                for border in super().borders()
            ]


class WrongGain:
    """An instrument that sees 30 % more current than flows."""

    ROBOT_LISTENER_API_VERSION = 3

    def __init__(self) -> None:
        sound = Timeline.current_a
        Timeline.current_a = lambda self, t_s: 1.3 * sound(self, t_s)  # type: ignore[method-assign]
