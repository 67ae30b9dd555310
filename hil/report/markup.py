"""HTML that cannot be injected into: text is escaped unless it was built here.

Names come from users' files, so escaping is the default and markup is the exception, not the other way round.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

_NAME = re.compile(r"[a-z][a-z0-9-]*")
_VOID = frozenset({"br", "col", "meta"})


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def escape(text: str) -> Html:
    return text if isinstance(text, Html) else Html(html.escape(text, quote=True))


def join(parts: Iterable[str], between: str = "") -> Html:
    """Put parts together; those that are not markup are escaped, the separator too."""
    return Html(escape(between).join(escape(part) for part in parts))


def tag(tag_name: str, *children: str, **attributes: str | None) -> Html:
    """An element.  Attributes that are None are left out; a trailing or inner ``_`` in their names becomes ``-``."""
    if not _NAME.fullmatch(tag_name):
        raise ValueError(f"'{tag_name}' is not an element name")
    shown = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(value, quote=True)}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Html(f"<{tag_name}{shown}>" if tag_name in _VOID else f"<{tag_name}{shown}>{join(children)}</{tag_name}>")


def table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str, *, kind: str = "") -> Html:
    """A table that scrolls sideways where it is too wide.  The first cell of a row is its heading."""
    header = tag("tr", *(tag("th", cell, scope="col") for cell in head))
    body = (tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:])) for row in rows)
    inner = tag("table", tag("caption", caption), tag("thead", header), tag("tbody", *body))
    return tag("div", inner, class_=f"scroll {kind}".strip())


def json_for_script(document: Any) -> Html:
    """JSON that is safe inside ``<script>``: no ``<``, ``>`` or ``&`` can end the element or start a comment."""
    text = json.dumps(document, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Html(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def slug(text: str) -> str:
    """Something usable as a fragment; distinct texts may share one."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"
