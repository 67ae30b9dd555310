"""The benchmark networks that come with hil: full-int8 ``.tflite`` files and what is known about them.

Importing this reads nothing; the catalogue (``zoo.toml``) is read on first use.  The networks are made by
``hil.zoo.build``, which needs TensorFlow; using them does not.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hil.network import Network

_HERE = Path(__file__).resolve().parent
MODEL_DIR = _HERE / "models"
DATA_DIR = _HERE / "data"
DIGITS_FILE = "digits_test.npz"


@dataclass(frozen=True, slots=True)
class ZooEntry:
    """One network of the zoo.

    ``macs`` are weights times output pixels (padding taps counted, biases and pools not); ``parameters`` are weights
    and biases; ``pool_macs`` is what Arm's Vela adds for pools and other moving of data, where it is published.
    ``accuracy`` is the share of the int8 network's right answers on its test set, for trained networks.
    ``hints`` are choices of the published deployment that a plan follows (the network's metadata).
    """

    name: str
    title: str
    task: str
    origin: str
    macs: int
    parameters: int
    trained: bool
    notes: str
    path: Path
    output: str = ""
    pool_macs: int | None = None
    accuracy: float | None = None
    hints: dict[str, str] = field(default_factory=dict)


@cache
def _catalogue() -> dict[str, dict[str, Any]]:
    with (_HERE / "zoo.toml").open("rb") as file:
        networks: dict[str, dict[str, Any]] = tomllib.load(file)["networks"]
    return networks


def names() -> tuple[str, ...]:
    """The names of all networks, in the order of the catalogue."""
    return tuple(_catalogue())


def entry(name: str) -> ZooEntry:
    """What is known about one network; an unknown name is a ConfigError that suggests the nearest."""
    found = _catalogue().get(name)
    if found is None:
        raise ConfigError(f"the zoo has no network '{name}'", hint=did_you_mean(name, names()))
    return ZooEntry(name=name, path=MODEL_DIR / f"{name}.tflite", **found)


def load(name: str) -> Network:
    """The network of that name as a graph.  Raises ConfigError for an unknown name."""
    from hil.network.load import load_network

    found = entry(name)
    network = load_network(found.path)
    return replace(network, source=f"zoo:{name}", metadata={**network.metadata, **found.hints})


def digits_test_set() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The held-out digits: images uint8 ``[N, 8, 8, 1]`` with grey levels 0 to 16, and labels uint8 ``[N]``."""
    import numpy as np

    with np.load(DATA_DIR / DIGITS_FILE, allow_pickle=False) as archive:
        return archive["images"], archive["labels"]


def digits_to_real(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Grey levels 0 to 16 as the real inputs that ``digits`` was trained on: -1 (paper) to 127/128 (ink)."""
    import numpy as np

    return np.minimum(images.astype(np.float32) / 8 - 1, np.float32(127 / 128))


def quantize_digits(images: NDArray[np.uint8], scale: float, zero_point: int) -> NDArray[np.int8]:
    """Grey levels as int8 for a model whose input tensor has this scale and zero point."""
    import numpy as np

    quantized = np.rint(digits_to_real(images) / np.float32(scale)) + zero_point
    clipped: NDArray[np.int8] = np.clip(quantized, -128, 127).astype(np.int8)
    return clipped
