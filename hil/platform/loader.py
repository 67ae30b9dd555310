"""Finding and loading platform files: the shipped ones, and a user's own folders before them.

Errors name the file, the key, the value, what was expected and the nearest valid key.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from hil.data import data_dir
from hil.errors import PlatformError, did_you_mean
from hil.platform.schema import Platform
from hil.toml import parse_toml, validate

ENV_PATH = "HIL_PLATFORM_PATH"
_DOCS = "docs/platform-file.md lists the keys"


def search_path(extra: Sequence[Path] = ()) -> tuple[Path, ...]:
    """Folders that hold platforms, the first wins: ``--platform-path``, ``$HIL_PLATFORM_PATH``, the shipped ones."""
    from_env = [Path(part) for part in os.environ.get(ENV_PATH, "").split(os.pathsep) if part]
    for folder in (*extra, *from_env):
        if not folder.is_dir():
            raise PlatformError(f"{folder}: no such folder of platforms", hint=f"see --platform-path and ${ENV_PATH}")
    return (*extra, *from_env, data_dir("platforms"))


def platform_files(extra: Sequence[Path] = ()) -> dict[str, Path]:
    """Platform id to its file, in alphabetical order.  Files are not read."""
    found: dict[str, Path] = {}
    for folder in reversed(search_path(extra)):
        for file in sorted(folder.glob("*/platform.toml")):
            found[file.parent.name] = file
    return dict(sorted(found.items()))


def load_platform(platform_id: str, extra: Sequence[Path] = ()) -> Platform:
    """The platform of that id.  Raises PlatformError for an unknown id or a wrong file."""
    files = platform_files(extra)
    if platform_id not in files:
        raise PlatformError(f"no platform '{platform_id}'", hint=did_you_mean(platform_id, files))
    return read_platform(files[platform_id])


def read_platform(file: Path) -> Platform:
    """Read and validate one platform file.  Raises PlatformError."""
    platform = _parse(file, _read(file))
    if platform.id != file.parent.name:
        raise PlatformError(
            f"{file}: id '{platform.id}' differs from its folder '{file.parent.name}'",
            hint="give the folder the platform's id",
        )
    return platform


def platform_hash(platform: Platform) -> str:
    """A hash of everything in the platform file; run records carry it."""
    return hashlib.sha256(platform.model_dump_json(by_alias=True).encode()).hexdigest()[:16]


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise PlatformError(f"{file}: cannot be read: {error.strerror}") from error


@lru_cache(maxsize=256)
def _parse(file: Path, data: bytes) -> Platform:
    return validate_platform(parse_toml(data, str(file), PlatformError, _DOCS), str(file))


def validate_platform(raw: dict[str, Any], where: str) -> Platform:
    """Turn a parsed TOML document into a Platform.  Raises PlatformError with one line for the first problem."""
    return validate(Platform, raw, where, PlatformError, _DOCS)
