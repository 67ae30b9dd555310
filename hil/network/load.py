"""Load a network from a file, whatever its kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hil.errors import NetworkError
from hil.network import _limits as limits
from hil.network.graph import Network

_KINDS = "a .tflite file or a layer list (.json)"


def load_network(path: Path | str) -> Network:
    """The network in a ``.tflite`` file or a layer list (JSON), told apart by content and then by suffix.

    Its name is the file's name without suffix.  Anything wrong with the file is a ``NetworkError``.
    """
    path = Path(path)
    data = _content(path)
    if data[4:8] == b"TFL3" or path.suffix.lower() == ".tflite":
        from hil.network.tflite import read_tflite as read
    elif path.suffix.lower() == ".json" or data.lstrip()[:1] == b"{":
        from hil.network.layers import read_layers as read
    else:
        raise NetworkError(
            f"{path}: neither TensorFlow Lite nor JSON; expected {_KINDS}",
            hint="convert the network to .tflite, or describe its layers in a JSON list",
        )
    return replace(read(data, path.stem), source=path.name)


def _content(path: Path) -> bytes:
    """The file's bytes; never opens a device or pipe, never reads more than the largest network allowed."""
    try:
        if not path.exists():
            raise NetworkError(f"{path}: no such file; expected {_KINDS}", hint="check the path")
        if not path.is_file():
            kind = "a directory" if path.is_dir() else "not a regular file"
            raise NetworkError(f"{path}: is {kind}; expected {_KINDS}")
        with path.open("rb") as file:
            data = file.read(limits.MAX_TFLITE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise NetworkError(f"{path}: cannot be read: {reason}", hint="check the file and its permissions") from error
    if not data:
        raise NetworkError(f"{path}: empty file; expected {_KINDS}")
    if len(data) > limits.MAX_TFLITE_BYTES:
        raise NetworkError(f"{path}: larger than {limits.MAX_TFLITE_BYTES >> 20} MiB; expected {_KINDS}")
    return data
