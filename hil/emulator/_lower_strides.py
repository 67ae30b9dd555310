"""Walks over arrays: strides, and bringing them to the number of dimensions that kernels have."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from hil.emulator._lower_view import require
from hil.emulator.layout import MAX_DIMS

Strides = tuple[int, ...]


def row_major(shape: Sequence[int]) -> Strides:
    """Strides in elements of a dense array."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def collapse(shape: Sequence[int], strides: Sequence[Sequence[int]]) -> tuple[Strides, list[Strides]]:
    """The same walk over ``shape`` with every one of ``strides`` in exactly ``MAX_DIMS`` dimensions.

    Dimensions of one element go, and neighbours that all walkers cross in equal steps become one.
    """
    require(len(shape) == 0 or min(shape) > 0)
    axes: list[tuple[int, Strides]] = []
    for size, *steps in zip(shape, *strides, strict=True):
        if size == 1:
            continue
        if axes and all(outer == size * inner for outer, inner in zip(axes[-1][1], steps, strict=True)):
            axes[-1] = (axes[-1][0] * size, tuple(steps))
        else:
            axes.append((size, tuple(steps)))
    require(len(axes) <= MAX_DIMS)
    none = (1, (0,) * len(strides))
    axes = [*itertools.repeat(none, MAX_DIMS - len(axes)), *axes]
    return tuple(size for size, _ in axes), [tuple(steps[i] for _, steps in axes) for i in range(len(strides))]
