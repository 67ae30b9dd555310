"""Reads Renode's platform descriptions (``.repl``) and start scripts (``.resc``), as far as those in platforms/ go.

Of the description language: ``using``, entries with places on the bus, properties, interrupts, and ``Tag`` and
``SilenceRange`` under ``sysbus: init:``; comments; braces.  Of the scripts: variables, commands, macros.  What is
outside this part is refused with its line, so that whatever passes here has been understood as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from hil.errors import PlatformError

_COMMENT = re.compile(r'"(?:\\.|[^"\\])*"|(?P<comment>(?:^|(?<=\s))//.*)')
_STRING = re.compile(r'"(?:\\.|[^"\\])*"')
_NUMBER = r"(?:0[xX][0-9A-Fa-f][0-9A-Fa-f_]{0,30}|[0-9][0-9_]{0,30})"
_NAME = r"[A-Za-z_]\w*"
_HEADER = re.compile(rf"({_NAME})\s*:\s*([A-Za-z_][\w.]*)?\s*(?:@\s*(.+))?")
_USING = re.compile(r'using\s+"([^"]+)"')
_PROPERTY = re.compile(rf"({_NAME})\s*:\s*(\S.*)")
_INIT = re.compile(r"init(?:\s+add)?\s*:")
_WIRE = re.compile(rf"(\[.*?\]|{_NAME}|{_NUMBER}|)\s*->\s*({_NAME})@(\[.*?\]|{_NUMBER})")
_RANGE = rf"<\s*({_NUMBER})\s*,\s*(\+?)\s*({_NUMBER})\s*>"
_PLACE = re.compile(rf"({_NAME})(?:\s+({_NUMBER})|\s+{_RANGE})?")
_TAGGED = re.compile(rf'(Tag|SilenceRange)\s+{_RANGE}(?:\s+"([^"]*)")?(?:\s+{_NUMBER})?')


@dataclass(frozen=True, slots=True)
class Reference:
    """A value that names another entry, or a constant of an enumeration (``Type.Name``)."""

    name: str


Literal = int | bool | str | Reference


@dataclass(frozen=True, slots=True)
class Value:
    """A property as written: a number, a truth value, a quoted text, or a reference."""

    value: Literal
    line: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where an entry is registered.  ``address`` is None off the bus; ``size`` is None where the model knows it."""

    parent: str
    address: int | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Wire:
    """An interrupt line: output ``source`` (empty: the model's default) to input ``number`` of ``target``."""

    source: str
    target: str
    number: int
    line: int


@dataclass(frozen=True, slots=True)
class Tagged:
    """A range of the bus that has no model: ``Tag`` with its name, or ``SilenceRange``."""

    kind: str
    start: int
    size: int
    name: str
    line: int


@dataclass(slots=True)
class Entry:
    """One entry of a description.  ``model`` is empty where the entry only adds to an earlier one."""

    name: str
    model: str
    places: tuple[Place, ...]
    line: int
    properties: dict[str, Value] = field(default_factory=dict)
    wires: list[Wire] = field(default_factory=list)
    tagged: list[Tagged] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Description:
    """A parsed ``.repl``: entries by name in file order, and the files that it builds on with their lines."""

    file: Path
    entries: Mapping[str, Entry]
    using: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Command:
    """One line of a ``.resc``; ``macro`` is the name of the macro that it stands in, or empty."""

    words: tuple[str, ...]
    line: int
    macro: str = ""


def read_description(file: Path) -> Description:
    """Parse a ``.repl``.  Raises PlatformError, which names file and line."""
    entries: dict[str, Entry] = {}
    using: list[tuple[str, int]] = []
    current: Entry | None = None
    init_indent: int | None = None
    for indent, text, line in _logical_lines(file):
        if init_indent is not None and current is not None and indent > init_indent:
            current.tagged.append(_tagged(file, line, text))
            continue
        init_indent = None
        if indent == 0:
            current = None
            if match := _USING.fullmatch(text):
                using.append((match[1], line))
                continue
            current = _entry(file, line, text)
            if current.name in entries:
                _refuse(file, line, f"'{current.name}' is described twice, first in line {entries[current.name].line}")
            entries[current.name] = current
        elif current is None:
            _refuse(file, line, f"'{text}' is indented but belongs to no entry")
        elif _INIT.fullmatch(text):
            init_indent = indent
        else:
            _attribute(file, line, text, current)
    return Description(file, entries, tuple(using))


def read_script(file: Path) -> tuple[Command, ...]:
    """Parse a ``.resc`` into its commands, those of macros included.  Raises PlatformError, which names file and line.

    An assignment ``$name?=value`` has the words ``$name``, ``?=``, ``value``.  Comments and ``:name:`` lines are left
    out.
    """
    commands: list[Command] = []
    macro = ""
    inside = False
    for line, raw in enumerate(_text(file).split("\n"), 1):
        text = raw.strip()
        if text == '"""':
            if not macro:
                _refuse(file, line, 'text between """ without a macro')
            inside = not inside
            macro = macro if inside else ""
        elif not text or text.startswith(("#", ":")):
            continue
        elif macro and not inside:
            _refuse(file, line, f'macro {macro}: expected """ in the line after its name')
        elif match := re.fullmatch(r"macro\s+(\w+)", text):
            macro = match[1]
        elif match := re.fullmatch(r"(\$\w+)\s*(\?=|=)\s*(\S.*)", text):
            commands.append(Command((match[1], match[2], match[3]), line, macro))
        else:
            words = re.findall(r'"[^"]*"|[^\s"]+', text)
            if text.count('"') % 2:
                _refuse(file, line, "a quotation mark is missing")
            commands.append(Command(tuple(words), line, macro))
    if macro:
        _refuse(file, line, f'macro {macro} is never closed by """')
    return tuple(commands)


def _text(file: Path) -> str:
    """The file as ASCII: Renode's own parsers stumble over anything else."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise PlatformError(f"{file}: cannot be read: {error.strerror}") from error
    try:
        return data.decode("ascii").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        _refuse(file, data.count(b"\n", 0, error.start) + 1, f"byte 0x{data[error.start]:02x} is not ASCII")


def _logical_lines(file: Path) -> Iterator[tuple[int, str, int]]:
    """(indent, text, line number) of every line with something on it; lines within braces are joined by spaces."""
    joined: list[str] = []
    depth = indent = first = 0
    for line, raw in enumerate(_text(file).split("\n"), 1):
        text = _COMMENT.sub(lambda match: "" if match["comment"] is not None else match[0], raw).rstrip()
        if not text:
            continue
        if "\t" in text:
            _refuse(file, line, "a tab; expected spaces")
        if not joined:
            indent, first = len(text) - len(text.lstrip()), line
        bare = _STRING.sub("", text)
        if '"' in bare:
            _refuse(file, line, "a quotation mark is missing")
        depth += bare.count("{") - bare.count("}")
        if depth < 0:
            _refuse(file, line, "a closing brace too many")
        joined.append(text.strip())
        if depth == 0:
            yield indent, " ".join(joined), first
            joined = []
    if joined:
        _refuse(file, first, "a brace is never closed")


def _entry(file: Path, line: int, text: str) -> Entry:
    match = _HEADER.fullmatch(text)
    if match is None:
        _refuse(file, line, f"'{text}' is no entry; expected 'name: Type @ place'")
    name, model, rest = match[1], match[2] or "", match[3] or ""
    if model and not rest:
        _refuse(file, line, f"{name}: expected '@ place' behind the type")
    places, body = _split_braces(rest)
    entry = Entry(name, model, tuple(_place(file, line, text) for text in places), line)
    for attribute in body:
        _attribute(file, line, attribute, entry)
    return entry


def _split_braces(rest: str) -> tuple[list[str], list[str]]:
    """The places and the attributes of what stands behind ``@``: ``place``, ``{ place; … }``, either with ``{ … }``."""
    head, _, tail = rest[1:].partition("}") if rest.startswith("{") else rest.partition("{")
    body = tail.strip().removeprefix("{").removesuffix("}")
    return [part.strip() for part in head.split(";") if part.strip()], [
        part.strip() for part in body.split(";") if part.strip()
    ]


def _place(file: Path, line: int, text: str) -> Place:
    match = _PLACE.fullmatch(text)
    if match is None:
        _refuse(file, line, f"place '{text}' is not understood; expected 'sysbus 0x…' or 'sysbus <0x…, +0x…>'")
    parent, address, start, plus, end = match.groups()
    if start is not None:
        return Place(parent, _number(start), _size(start, plus, end))
    return Place(parent, _number(address) if address is not None else None)


def _attribute(file: Path, line: int, text: str, entry: Entry) -> None:
    if match := _WIRE.fullmatch(text):
        sources, numbers = _listed(match[1]), _listed(match[3])
        if len(sources) != len(numbers):
            _refuse(file, line, f"'{text}': {len(sources)} outputs for {len(numbers)} inputs")
        if not all(re.fullmatch(_NUMBER, number) for number in numbers):
            _refuse(file, line, f"'{text}': the inputs must be numbers")
        for source, number in zip(sources, numbers, strict=True):
            entry.wires.append(Wire(source, match[2], _number(number), line))
    elif match := _PROPERTY.fullmatch(text):
        if match[1] in entry.properties:
            _refuse(file, line, f"{entry.name}.{match[1]} is given twice")
        entry.properties[match[1]] = Value(_literal(file, line, match[2]), line)
    else:
        _refuse(file, line, f"'{text}' is not understood; expected 'property: value' or 'output -> target@number'")


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text[1:-1].split(",")] if text.startswith("[") else [text]


def _literal(file: Path, line: int, text: str) -> Literal:
    if re.fullmatch(_NUMBER, text):
        return _number(text)
    if _STRING.fullmatch(text):
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    if re.fullmatch(rf"{_NAME}(\.{_NAME})*", text):
        return Reference(text)
    _refuse(file, line, f"value '{text}' is not understood; expected a number, a text in quotes, true, false or a name")


def _tagged(file: Path, line: int, text: str) -> Tagged:
    match = _TAGGED.fullmatch(text)
    if match is None:
        _refuse(file, line, f"'{text}' is not understood; expected 'Tag <start, end> \"name\"' or 'SilenceRange <…>'")
    kind, start, plus, end, name = match.groups()
    if (kind == "Tag") != (name is not None):
        _refuse(file, line, f"{kind}: a Tag has a name, a SilenceRange has none")
    size = _size(start, plus, end)
    if size <= 0:
        _refuse(file, line, f"{kind} ends before it starts")
    return Tagged(kind, _number(start), size, name or "", line)


def _size(start: str, plus: str, end: str) -> int:
    """Bytes of ``<start, +size>`` or ``<start, last>``."""
    return _number(end) if plus else _number(end) - _number(start) + 1


def _number(text: str) -> int:
    return int(text.replace("_", ""), 16 if text[:2].lower() == "0x" else 10)


def _refuse(file: Path, line: int, what: str) -> NoReturn:
    raise PlatformError(f"{file}:{line}: {what}", hint="docs/renode.md shows the part of the language that hil reads")
