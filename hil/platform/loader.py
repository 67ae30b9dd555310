"""Finding and loading platform files: the shipped ones, and a user's own folders before them.

Errors name the file, the key, the value, what was expected and the nearest valid key.
"""

from __future__ import annotations

import hashlib
import os
import tomllib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from hil.data import data_dir
from hil.errors import PlatformError, did_you_mean, nearest
from hil.platform.schema import Platform

ENV_PATH = "HIL_PLATFORM_PATH"


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
    try:
        raw = tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PlatformError(f"{file}: not valid TOML: {error}", hint="docs/platform-file.md has an example") from error
    return validate_platform(raw, str(file))


def validate_platform(raw: dict[str, Any], where: str) -> Platform:
    """Turn a parsed TOML document into a Platform.  Raises PlatformError with one line for the first problem."""
    try:
        return Platform.model_validate(raw)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        # A mistyped key shows up as an unknown one and a missing one: the unknown one says more.
        first = next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0])
        path = ".".join(str(part) for part in first["loc"])
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        if first["type"] == "extra_forbidden":
            known = _keys_at(Platform, first["loc"][:-1])
            word = str(first["loc"][-1])
            close = nearest(word, known)
            hint = f"did you mean '{close}'?" if close else f"keys here: {', '.join(sorted(known))}"
            raise PlatformError(f"{where}: {path}: unknown key '{word}'{more}", hint=hint) from error
        if first["type"] == "missing":
            raise PlatformError(
                f"{where}: {path}: missing{more}", hint="docs/platform-file.md lists the keys"
            ) from error
        message = first["msg"].removeprefix("Value error, ")
        for theirs, ours in _WORDS.items():
            message = message.replace(theirs, ours)
        message = message[0].lower() + message[1:]
        shown = "" if isinstance(first["input"], dict) else f"{first['input']!r:.60}: "
        what = f"{path}: {shown}{message}" if path else message
        raise PlatformError(f"{where}: {what}{more}", hint="docs/platform-file.md lists the keys") from error


_WORDS = {
    "a valid tuple": "a list",
    "a valid dictionary or instance of Figure": "a figure { value, source, certainty }",
    "a valid dictionary or instance of": "a table of",
    "a valid dictionary": "a table",
    "a valid boolean": "true or false",
    "a valid string": "text",
}


def _keys_at(model: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    """The keys that the schema knows at a path of the document; empty where the path leaves the schema."""
    current: type[BaseModel] | None = model
    steps = list(path)
    while steps and current is not None:
        step = steps.pop(0)
        field = next((f for n, f in current.model_fields.items() if step in (n, f.alias)), None)
        if field is None:
            return []
        inner = _model_in(field.annotation)
        # A table of tables or a list of tables has one more step in the path: the name or the index.
        if inner is not None and field.annotation is not inner and steps and _is_collection(field.annotation):
            steps.pop(0)
        current = inner
    return [f.alias or n for n, f in current.model_fields.items()] if current is not None else []


def _is_collection(annotation: Any) -> bool:
    return any(getattr(part, "__origin__", None) in (dict, tuple, list) for part in (annotation, *get_args(annotation)))


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in get_args(annotation):
        found = _model_in(part)
        if found is not None:
            return found
    return None
