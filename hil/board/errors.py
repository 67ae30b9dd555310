"""What can go wrong between hil and a board.  All are ``LinkError``: the command line ends with exit code 4."""

from __future__ import annotations

from collections.abc import Sequence

from hil.errors import LinkError


class LinkTimeout(LinkError):
    """Nothing, or not enough, came before the deadline of a stage."""

    def __init__(
        self,
        stage: str,
        waited_s: float,
        last_lines: Sequence[str],
        *,
        what: str = "no answer",
        hint: str | None = None,
    ) -> None:
        super().__init__(f"{stage}: {what} within {waited_s:.3g} s", hint=hint)
        self.stage = stage
        self.waited_s = waited_s
        self.last_lines = tuple(last_lines)


class LinkLost(LinkError):
    """The port went away, or the far end closed."""


class ProtocolError(LinkError):
    """The board answered something that the protocol does not allow there."""


class BoardRefused(LinkError):
    """The board answered ``e-[text]``: it understood and declined, so asking again is of no use."""

    def __init__(self, command: str, text: str, *, hint: str | None = None) -> None:
        super().__init__(f"{command}: the board answered e-[{text}]", hint=hint)
        self.text = text


class BoardFault(LinkError):
    """Raised by a ``BoardModel`` to answer ``e-[text]`` in place of a result."""
