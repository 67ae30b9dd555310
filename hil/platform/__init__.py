"""Platforms: the schema of ``platform.toml``, the loader, and a platform at an operating point (a target)."""

from __future__ import annotations

from hil.platform.loader import load_platform, platform_files, platform_hash, read_platform
from hil.platform.schema import Figure, OperatorRule, Platform
from hil.platform.target import Target, make_target

__all__ = [
    "Figure",
    "OperatorRule",
    "Platform",
    "Target",
    "load_platform",
    "make_target",
    "platform_files",
    "platform_hash",
    "read_platform",
]
