"""Reading flatbuffers that may be broken or hostile: the ``flatbuffers`` runtime with every offset and length checked.

The runtime already refuses negative and out-of-range offsets, with exceptions of its own; here they become
:class:`NetworkError`.  On top come bounds for vectors and strings, and a budget for the elements read altogether,
because a small file may point at one long vector a million times.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
from flatbuffers import encode, number_types
from flatbuffers.table import Table as RawTable

from hil.errors import NetworkError
from hil.network import _limits as limits

P = ParamSpec("P")
R = TypeVar("R")

BOOL = number_types.BoolFlags
INT8 = number_types.Int8Flags
UINT8 = number_types.Uint8Flags
INT32 = number_types.Int32Flags
UINT32 = number_types.Uint32Flags
UINT64 = number_types.Uint64Flags

_OFFSET = number_types.UOffsetTFlags
_BROKEN = (struct.error, TypeError, ValueError, IndexError, OverflowError)


class FlatFile:
    """The bytes of one file, its name for messages, and how many vector elements may still be read from it."""

    __slots__ = ("budget", "data", "name")

    def __init__(self, data: bytes, name: str) -> None:
        self.data = data
        self.name = name
        self.budget = min(4 * len(data) + 1024, 1 << 24)

    def spend(self, count: int) -> None:
        self.budget -= count
        if self.budget < 0:
            raise self.broken("its vectors hold more elements than the file has bytes for")

    def broken(self, what: str) -> NetworkError:
        return NetworkError(
            f"{self.name}: broken flatbuffer: {what}",
            hint="the file is truncated or damaged; copy or export it again",
        )

    def root(self) -> Table:
        try:
            return Table(self, encode.Get(_OFFSET.packer_type, self.data, 0))
        except _BROKEN as error:
            raise self.broken(str(error)) from None


def _guarded(method: Callable[Concatenate[Table, int, P], R]) -> Callable[Concatenate[Table, int, P], R]:
    """Turn the runtime's own exceptions about offsets into a NetworkError that says which field was read."""

    @wraps(method)
    def guarded(self: Table, slot: int, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(self, slot, *args, **kwargs)
        except _BROKEN as error:
            raise self.file.broken(f"field {slot} of the table at byte {self.position}: {error}") from None

    return guarded


class Table:
    """One flatbuffer table.  ``slot`` is a field's number in the schema, counted from zero."""

    __slots__ = ("_raw", "file")

    def __init__(self, file: FlatFile, position: int) -> None:
        self.file = file
        self._raw = RawTable(file.data, position)

    @property
    def position(self) -> int:
        """Byte offset in the file; two equal positions are the same table."""
        return int(self._raw.Pos)

    @_guarded
    def scalar(self, slot: int, flags: Any, default: int = 0) -> int:
        """An integer or boolean field, or the schema's default where the file leaves it out."""
        offset = self._raw.Offset(4 + 2 * slot)
        return int(self._raw.Get(flags, self._raw.Pos + offset)) if offset else default

    @_guarded
    def table(self, slot: int) -> Table | None:
        offset = self._raw.Offset(4 + 2 * slot)
        return Table(self.file, self._raw.Indirect(self._raw.Pos + offset)) if offset else None

    @_guarded
    def span(self, slot: int, width: int = 1) -> tuple[int, int]:
        """Where a vector's elements of ``width`` bytes start, and how many there are; ``(0, 0)`` without a vector."""
        offset = self._raw.Offset(4 + 2 * slot)
        if not offset:
            return 0, 0
        start, count = int(self._raw.Vector(offset)), int(self._raw.VectorLen(offset))
        if start + count * width > len(self.file.data):
            raise self.file.broken(f"a vector of {count} elements at byte {start} runs past the end")
        return start, count

    def tables(self, slot: int, limit: int) -> list[Table]:
        """A vector of tables, at most ``limit`` of them."""
        start, count = self.span(slot, 4)
        if count > limit:
            raise self.file.broken(f"{count} tables in one vector; expected at most {limit}")
        self.file.spend(count)
        try:
            return [Table(self.file, self._raw.Indirect(start + 4 * i)) for i in range(count)]
        except _BROKEN as error:
            raise self.file.broken(f"vector of tables at byte {start}: {error}") from None

    def numbers(self, slot: int, dtype: str) -> list[Any]:
        """A vector of numbers, ``dtype`` in numpy's notation (``<i4``)."""
        kind = np.dtype(dtype)
        start, count = self.span(slot, kind.itemsize)
        self.file.spend(count)
        return np.frombuffer(self.file.data, kind, count, start).tolist() if count else []

    def text(self, slot: int, limit: int = limits.MAX_NAME) -> str:
        """A string, cut after ``limit`` bytes; whatever cannot be printed is replaced."""
        start, count = self.span(slot)
        used = min(count, limit)
        self.file.spend(used)
        return limits.clean(self.file.data[start : start + used].decode("utf-8", "replace"))
