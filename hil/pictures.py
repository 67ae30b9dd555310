"""Pictures of plots: one way to start a figure and to write it whole.  Needs matplotlib (``[plots]``)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hil.errors import ConfigError, UnavailableError
from hil.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FORMATS = (".png", ".svg", ".pdf")


@contextmanager
def picture(path: Path, inches: tuple[float, float]) -> Iterator[Figure]:
    """A figure that is written when the block ends; equal figures give equal files.

    Raises ConfigError for a suffix that is no picture, UnavailableError without matplotlib, ResultsError where the file
    cannot be written.
    """
    kind = path.suffix.lower()
    if kind not in _FORMATS:
        raise ConfigError(f"{path}: no kind of picture", hint=f"a name that ends in {', '.join(_FORMATS)}")
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UnavailableError("no plots: matplotlib is missing", hint="pip install 'hil[plots]'") from error
    with rc_context({"svg.hashsalt": "hil"}):
        figure = Figure(figsize=inches, layout="constrained")
        yield figure
        buffer = io.BytesIO()
        dateless = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
        figure.savefig(buffer, format=kind.removeprefix("."), dpi=110, metadata=dateless.get(kind))
    write_atomic(path, buffer.getvalue())
