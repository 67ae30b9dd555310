"""One tree of errors, each with a hint and the exit code that the command line gives it.

Exit codes: 0 done and agreed, 1 disagrees or regressed, 2 usage or input, 3 the environment lacks something,
4 the device failed.  A caller may catch a branch (``NetworkError``) or everything (``HilError``).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HilError(Exception):
    """Base of every error that hil raises on purpose.

    ``message`` says what went wrong and where; ``hint`` says what to do about it.
    """

    exit_code = 2

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class ConfigError(HilError):
    """A wrong option, key, unit or value in a file or on the command line."""


class NetworkError(HilError):
    """A network file that cannot be read, or that holds something unsupported."""


class PlatformError(HilError):
    """A platform file that is wrong, or a platform or operating point that does not exist."""


class CalibrationError(HilError):
    """A calibration artefact or data set that is wrong or made for something else."""


class ResultsError(HilError):
    """A result that cannot be written or read back."""


class UnavailableError(HilError):
    """Something optional is missing here; the hint says how to get it."""

    exit_code = 3


class LinkError(HilError):
    """The link to a board timed out, was lost, or broke the protocol."""

    exit_code = 4


class MeterError(HilError):
    """A power instrument lost samples, went over range, or could not be aligned."""

    exit_code = 4


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name closest to a mistyped word, or None where none is close."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint for a mistyped word: the nearest name, or the whole list where none is near."""
    names = list(known)
    close = nearest(word, names)
    return f"did you mean '{close}'?" if close else f"known: {', '.join(sorted(names))}"
