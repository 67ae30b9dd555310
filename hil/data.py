"""Where package data lies: beside the package in an installed wheel, at the top of a source checkout."""

from __future__ import annotations

from pathlib import Path

from hil.errors import UnavailableError

_PACKAGE = Path(__file__).resolve().parent


def data_dir(name: str) -> Path:
    """The folder ``name`` (``platforms``, ``calibration``, …).  Raises UnavailableError where the install lost it."""
    for base in (_PACKAGE / "_data", _PACKAGE.parent):
        folder = base / name
        if folder.is_dir():
            return folder
    raise UnavailableError(f"the package data '{name}' is missing from this installation", hint="reinstall hil")
