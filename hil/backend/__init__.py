"""Backends: run a plan and return a run.  All implement one small protocol."""

from __future__ import annotations

from hil.backend.base import BACKEND_NAMES, Backend, BoardOptions, RunOptions, Surroundings, make_backend
from hil.backend.run import Run, RunFile

__all__ = ["BACKEND_NAMES", "Backend", "BoardOptions", "Run", "RunFile", "RunOptions", "Surroundings", "make_backend"]
