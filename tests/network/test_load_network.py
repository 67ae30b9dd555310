"""Loading by path: kinds told apart, and every way a path can be wrong."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from hil.errors import NetworkError
from hil.network.load import load_network

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.mark.parametrize("name", ["awkward.tflite", "ai8x_kws20_v3_max78000.json"])
def test_name_and_source(name: str) -> None:
    network = load_network(str(FIXTURES / name))
    assert network.name == Path(name).stem
    assert network.source == name
    assert network.provenance == ("parsed" if name.endswith("tflite") else "traced")
    assert network.file_bytes == ((FIXTURES / name).stat().st_size if name.endswith("tflite") else None)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("awkward.tflite", "model"),
        ("awkward.tflite", "model.bin"),
        ("awkward.tflite", "model.json"),
        ("ai8x_kws20_v3_max78000.json", "layers"),
        ("ai8x_kws20_v3_max78000.json", "layers.txt"),
    ],
)
def test_content_counts_more_than_the_suffix(tmp_path: Path, name: str, other: str) -> None:
    shutil.copy(FIXTURES / name, tmp_path / other)
    assert load_network(tmp_path / other).hash == load_network(FIXTURES / name).hash


def test_what_is_no_network(tmp_path: Path) -> None:
    (tmp_path / "empty.tflite").touch()
    (tmp_path / "model.onnx").write_bytes(b"\x08\x07onnx something")
    (tmp_path / "model.tflite").write_bytes(b"not a model at all")
    (tmp_path / "model.json").write_bytes(b"[1, 2]")
    os.mkfifo(tmp_path / "pipe.tflite")
    cases = {
        "missing.tflite": "no such file",
        ".": "is a directory",
        "empty.tflite": "empty file",
        "model.onnx": "neither TensorFlow Lite nor JSON",
        "model.tflite": "file identifier 'a mo' at byte 4; expected 'TFL3'",
        "model.json": "a list of|\\[1, 2\\]",
        "pipe.tflite": "not a regular file",
        "a\0b": "cannot be read|no such file",
        "x" * 5000: "cannot be read|no such file",
    }
    for name, message in cases.items():
        with pytest.raises(NetworkError, match=message):
            load_network(tmp_path / name)


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.tflite"
    path.write_bytes(b"1234TFL3")

    def refuse(*_: object) -> None:  # root may read anything, so the refusal is made here
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(NetworkError, match="cannot be read: Permission denied"):
        load_network(path)
