"""Writing files so that nothing is ever half-written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from hil.errors import ResultsError


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file whole or not at all.  Raises ResultsError."""
    with atomic_stream(path) as file:
        file.write(data)


@contextmanager
def atomic_stream(path: Path) -> Iterator[BinaryIO]:
    """A stream whose file appears whole when the block ends, or not at all: temporary name beside it, fsync, rename.

    Raises ResultsError where the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def unwritable(path: Path, error: OSError) -> ResultsError:
    """The error for a file that cannot be written or removed."""
    return ResultsError(
        f"{path}: cannot be written: {error.strerror or error}",
        hint="choose another folder with --out, or make room; nothing was half-written",
    )
