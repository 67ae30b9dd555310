"""How large a network may be: generous for microcontrollers, too small for a hostile file to exhaust the host."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hil.errors import NetworkError
from hil.network.graph import Network

MAX_TFLITE_BYTES = 256 << 20
MAX_LAYERS_BYTES = 32 << 20
MAX_OPS = 10_000
MAX_TENSORS = 20_000
MAX_RANK = 16
MAX_ELEMENTS = 1 << 32
MAX_MACS = 1 << 50
MAX_NAME = 512


def clean(text: str) -> str:
    """A name from a file, safe to print anywhere: cut to length, control characters and lone surrogates replaced."""
    text = text[:MAX_NAME]
    return text if text.isprintable() else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def checked_shape(dims: Sequence[int], where: str) -> tuple[int, ...]:
    """``dims`` as a shape; zero-sized dimensions are legal, negative or absurd ones are not."""
    if len(dims) > MAX_RANK:
        raise NetworkError(f"{where}: a shape of {len(dims)} dimensions; expected at most {MAX_RANK}")
    if any(dim < 0 for dim in dims):
        raise NetworkError(
            f"{where}: shape {list(dims)} has a negative dimension; expected fixed sizes",
            hint="export the network again with a fixed input shape",
        )
    if any(dim > MAX_ELEMENTS for dim in dims) or math.prod(dims) > MAX_ELEMENTS:
        raise NetworkError(f"{where}: shape {list(dims)} is too large; expected at most 2**32 elements")
    return tuple(dims)


def checked_totals(network: Network) -> Network:
    """The network, unless its sums leave the range in which every cost model stays exact."""
    if network.macs > MAX_MACS:
        raise NetworkError(f"{network.name}: {network.macs:.3g} MACs in total; expected at most {MAX_MACS:.3g}")
    return network
