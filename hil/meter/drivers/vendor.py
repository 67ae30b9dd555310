"""Instruments behind their vendor's Python library: imported when it is needed, its exceptions turned into ours."""

from __future__ import annotations

import importlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from typing import Any

from hil.errors import HilError, UnavailableError
from hil.meter.errors import MeterRefused


def import_vendor(module: str, extra: str) -> Any:
    """A module of a vendor's library, without its warnings: they are for its authors.  Raises UnavailableError that
    names the extra."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ImportError as error:  # also where a library of the system is missing
        raise UnavailableError(
            f"{module.partition('.')[0]} is not usable here: {error}", hint=f"pip install 'hil[{extra}]'"
        ) from error


@contextmanager
def vendor_errors(where: str, *, quiet: bool = True) -> Iterator[None]:
    """Whatever the library raises becomes a MeterRefused; what it prints is lost where ``quiet``, which is for the main
    thread only: there is one standard output for all."""
    try:
        with redirect_stdout(io.StringIO()) if quiet else nullcontext():
            yield
    except HilError:
        raise
    except Exception as error:  # noqa: BLE001 the libraries raise bare Exceptions
        text = " ".join(str(getattr(error, "message", None) or error).split())
        raise MeterRefused(f"{where}: {text[:300] or type(error).__name__}", hint="is it attached and free?") from error
