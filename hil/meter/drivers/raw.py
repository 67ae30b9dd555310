"""Raw recordings: the bytes of an instrument as they came (``NAME.bin``), and beside them a header (``NAME.json``) with
all that a decoder needs.  A process that is killed loses nothing that it received.

What comes from a vendor's library and not as bytes is stored as blocks: the length of a JSON text (32-bit, little
endian), the text, whose ``bytes`` says how many bytes of payload follow.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from hil.board.capture import captures_dir, new_capture_path
from hil.meter.errors import FormatError, MeterProtocolError, StorageError
from hil.meter.types import MeterInfo

SCHEMA = 1
Bytes = npt.NDArray[np.uint8]
_LENGTH = struct.Struct("<I")
_BLOCK_TEXT_MAX = 65_536


@dataclass(frozen=True)
class Header:
    """What the bytes are: who sent them, at what rate (hertz), and the driver's own ``settings``."""

    driver: str
    port: str
    site: str
    rate_hz: float
    info: MeterInfo
    settings: Mapping[str, Any] = field(default_factory=dict)
    started: str = ""
    schema: int = SCHEMA

    def setting(self, name: str, kind: type | tuple[type, ...] = (int, float)) -> Any:
        """One of the settings.  Raises FormatError where it is missing or of another kind."""
        value = self.settings.get(name)
        if not isinstance(value, kind):
            raise FormatError(f"the header of this recording has no usable '{name}': {value!r}", hint=_DOCS)
        return value


_DOCS = "docs/meters-instruments.md describes raw recordings"


class RawWriter:
    """A recording being written: ``size`` bytes until now.  Raises StorageError where the file cannot be."""

    def __init__(self, header: Header, folder: Path | None = None) -> None:
        wanted = new_capture_path(f"{header.driver}-{header.port}", folder or captures_dir() / "meters")
        self.path = wanted.with_suffix(".bin")
        self.size = 0
        started = {"started": datetime.now(UTC).isoformat(timespec="milliseconds")}
        try:
            wanted.parent.mkdir(parents=True, exist_ok=True)
            wanted.with_suffix(".json").write_text(json.dumps(asdict(header) | started, indent=1), encoding="utf-8")
            self._file: IO[bytes] = self.path.open("wb", buffering=0)
        except OSError as error:
            raise StorageError(
                f"{self.path}: cannot be written: {error.strerror}", hint="choose another folder"
            ) from error

    def write(self, data: bytes) -> None:
        """All of it.  An unbuffered file takes a part where the disk has no room for the rest."""
        rest = memoryview(data)
        try:
            while rest:
                taken = self._file.write(rest)
                if not taken:
                    raise OSError("it takes no more bytes")
                self.size += taken
                rest = rest[taken:]
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise StorageError(
                f"{self.path}: the recording cannot be written after {self.size} bytes: {reason}", hint="make room"
            ) from error

    def block(self, meta: Mapping[str, Any], payload: bytes = b"") -> None:
        """Append a block."""
        self.write(pack_block(meta, payload))

    def close(self) -> None:
        """May be called more than once."""
        try:
            self._file.close()
        except OSError as error:  # a file server may say only now that it has no room
            raise StorageError(f"{self.path}: cannot be written: {error.strerror}", hint="make room") from error


def read_raw(path: Path) -> tuple[Header, Bytes]:
    """Header and bytes (mapped, not loaded) of a recording, named by either of its files.  Raises FormatError."""
    head, body = path.with_suffix(".json"), path.with_suffix(".bin")
    try:
        document = json.loads(head.read_text(encoding="utf-8"))
        size = body.stat().st_size
        data: Bytes = np.memmap(body, np.uint8, mode="r") if size else np.empty(0, np.uint8)
    except OSError as error:
        raise FormatError(f"{error.filename or path}: cannot be read: {error.strerror}", hint=_DOCS) from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{head}: not the header of a recording: not JSON", hint=_DOCS) from error
    return _header(head, document), data


def _header(path: Path, document: Any) -> Header:
    try:
        if document["schema"] != SCHEMA:
            raise ValueError(f"schema {document['schema']!r}, expected {SCHEMA}")
        info = MeterInfo(**{name: str(value) for name, value in document["info"].items()})
        driver, port, site, started = (str(document[name]) for name in ("driver", "port", "site", "started"))
        rate_hz = float(document["rate_hz"])
        header = Header(driver, port, site, rate_hz, info, dict(document["settings"]), started)
        if not 0 < header.rate_hz < np.inf:
            raise ValueError(f"rate_hz is {header.rate_hz}")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(f"{path}: not the header of a recording: {error}", hint=_DOCS) from error
    return header


def line_blocks(data: Bytes, size: int = 1 << 20) -> Iterator[tuple[int, int]]:
    """Where about ``size`` bytes of whole lines are, one after the other; the last one may have no end."""
    at = 0
    while at < data.size:
        end = min(at + size, data.size)
        if end < data.size and (ends := np.flatnonzero(data[at:end] == ord("\n"))).size:
            end = at + int(ends[-1]) + 1
        yield at, end
        at = end


# --- blocks ---------------------------------------------------------------------------------------------------------


def pack_block(meta: Mapping[str, Any], payload: bytes = b"") -> bytes:
    text = json.dumps({**meta, "bytes": len(payload)}).encode()
    return _LENGTH.pack(len(text)) + text + payload


def blocks(data: Bytes) -> Iterator[tuple[dict[str, Any], bytes]]:
    """The blocks of a recording; one that was cut off at the end is left out.  Raises MeterProtocolError."""
    at = 0
    while at + _LENGTH.size <= data.size:
        (length,) = _LENGTH.unpack(data[at : at + _LENGTH.size].tobytes())
        text = data[at + _LENGTH.size : at + _LENGTH.size + length].tobytes()
        if length > _BLOCK_TEXT_MAX:
            raise MeterProtocolError(f"byte {at}: not a block: its text would be {length} bytes", hint=_DOCS)
        if len(text) < length:
            return
        try:
            meta = json.loads(text)
            size = meta["bytes"]
            if not isinstance(size, int) or size < 0:
                raise ValueError
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise MeterProtocolError(f"byte {at}: not a block: {text[:40]!r}", hint=_DOCS) from error
        start = at + _LENGTH.size + length
        if start + size > data.size:
            return
        yield meta, data[start : start + size].tobytes()
        at = start + size
