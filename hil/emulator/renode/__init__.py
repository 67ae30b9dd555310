"""Renode: finding it, talking to it, and running an emulated board in it.

Renode is in no package registry; without it everything but this package works.  Its remote server, through which it is
driven, listens on all interfaces of the machine while a board runs: Renode offers no way to bind it to loopback.
"""

from __future__ import annotations

from hil.emulator.renode.engine import RenodeEngine
from hil.emulator.renode.find import Renode, find_renode

__all__ = ["Renode", "RenodeEngine", "find_renode"]
