"""Columns of a trace while it is decoded, and what mapped files hold of the memory.

A recording of any length is decoded block by block: short columns stay in memory, long ones go to files without a name
beside the recording, which are mapped when they are read and gone when the trace is.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from hil.meter.errors import StorageError

COLUMN_TYPES = {"current_a": "<f4", "voltage_v": "<f4", "t_s": "<f8", "digital": "u1"}
_IN_MEMORY = 1 << 22  # bytes of a column


class Spool:
    """Samples that are appended, perhaps taken back, and read at the end.

    ``with Spool(beside=raw) as spool: spool.append(current_a=…); columns = spool.columns()``
    """

    def __init__(self, beside: npt.NDArray[Any] | None = None) -> None:
        """``beside``: a mapped file, in whose folder long columns go; elsewhere the system's folder for them."""
        self.samples = 0
        self._folder = _folder_of(beside)
        self._files: dict[str, IO[bytes]] = {}

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()

    def append(self, **columns: npt.NDArray[Any]) -> None:
        """Samples of every column, all of one length; the same columns each time.  Raises StorageError."""
        try:
            for name, column in columns.items():
                if name not in self._files:
                    file = SpooledTemporaryFile(_IN_MEMORY, dir=str(self._folder) if self._folder else None)  # noqa: SIM115 closed with the spool
                    self._files[name] = cast("IO[bytes]", file)
                self._files[name].write(np.ascontiguousarray(column, dtype=COLUMN_TYPES[name]).tobytes())
        except OSError as error:
            raise StorageError(
                f"{self._folder or 'the temporary folder'}: decoded samples cannot be kept: {error.strerror}",
                hint="make room",
            ) from error
        self.samples += len(columns["current_a"])

    def truncate(self, samples: int) -> None:
        """Take everything back behind that many samples."""
        for name, file in self._files.items():
            file.truncate(samples * np.dtype(COLUMN_TYPES[name]).itemsize)
            file.seek(0, os.SEEK_END)
        self.samples = min(samples, self.samples)

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """All samples by column, each of shape ``[samples]``; read only, and to be read after the spool is closed."""
        found: dict[str, npt.NDArray[Any]] = {}
        for name, file in self._files.items():
            kind = np.dtype(COLUMN_TYPES[name])
            file.seek(0)
            if self.samples * kind.itemsize <= _IN_MEMORY:
                found[name] = np.frombuffer(file.read(), kind)
            else:
                file.flush()
                found[name] = np.memmap(file, kind, mode="r", shape=(self.samples,))
        return found


def let_go(*arrays: object) -> None:
    """Give the pages of mapped files back that were read so far: until then they count as memory of this process.
    What is no mapped file stays as it is."""
    for array in arrays:
        base = array
        while isinstance(base, np.ndarray):
            base = base.base
        if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            base.madvise(mmap.MADV_DONTNEED)


def _folder_of(array: npt.NDArray[Any] | None) -> Path | None:
    name = array.filename if isinstance(array, np.memmap) else None
    folder = Path(name).parent if name is not None else None
    return folder if folder is not None and os.access(folder, os.W_OK) else None
