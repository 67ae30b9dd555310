"""Boards: the DUT protocol from both ends, links, sessions, captures, the board map, fault injection."""

from __future__ import annotations

from hil.board.capture import Capture, ReplayLink, captures_dir, import_transcript, read_capture, transcript
from hil.board.dut import BoardModel, Dut, InferOutcome
from hil.board.errors import BoardFault, BoardRefused, LinkLost, LinkTimeout, ProtocolError
from hil.board.link import Link, open_link
from hil.board.serve import DutLink, PtyBoard
from hil.board.session import Identity, InferResult, Limits, LinkStats, Session, open_session

__all__ = [
    "BoardFault",
    "BoardModel",
    "BoardRefused",
    "Capture",
    "Dut",
    "DutLink",
    "Identity",
    "InferOutcome",
    "InferResult",
    "Limits",
    "Link",
    "LinkLost",
    "LinkStats",
    "LinkTimeout",
    "ProtocolError",
    "PtyBoard",
    "ReplayLink",
    "Session",
    "captures_dir",
    "import_transcript",
    "open_link",
    "open_session",
    "read_capture",
    "transcript",
]
