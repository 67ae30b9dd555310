"""Reading TOML files into models: errors name the file, the key, the value, what was expected and the nearest key."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from hil.errors import HilError, nearest

ModelT = TypeVar("ModelT", bound=BaseModel)


def parse_toml(data: bytes, where: str, failed: type[HilError], docs: str) -> dict[str, Any]:
    """The document.  Raises ``failed`` with ``docs`` as its hint."""
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise failed(f"{where}: not valid TOML: {error}", hint=docs) from error


def validate(model: type[ModelT], raw: dict[str, Any], where: str, failed: type[HilError], docs: str) -> ModelT:
    """Turn a parsed document into a model.  Raises ``failed`` with one line for the first problem."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        # A mistyped key shows up as an unknown one and a missing one: the unknown one says more.
        first = next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0])
        path = ".".join(str(part) for part in first["loc"])
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        if first["type"] == "extra_forbidden":
            known = _keys_at(model, first["loc"][:-1])
            word = str(first["loc"][-1])
            close = nearest(word, known)
            hint = f"did you mean '{close}'?" if close else f"keys here: {', '.join(sorted(known))}"
            raise failed(f"{where}: {path}: unknown key '{word}'{more}", hint=hint) from error
        if first["type"] == "missing":
            raise failed(f"{where}: {path}: missing{more}", hint=docs) from error
        message = first["msg"].removeprefix("Value error, ")
        for theirs, ours in _WORDS.items():
            message = message.replace(theirs, ours)
        message = message[0].lower() + message[1:]
        shown = "" if isinstance(first["input"], dict) else f"{first['input']!r:.60}: "
        what = f"{path}: {shown}{message}" if path else message
        raise failed(f"{where}: {what}{more}", hint=docs) from error


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
