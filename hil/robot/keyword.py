"""From methods to keywords: their names, and what becomes of hil's errors in a test."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from robot.api import Failure, SkipExecution
from robot.api.deco import keyword as robot_keyword

from hil.errors import HilError, UnavailableError

P = ParamSpec("P")
R = TypeVar("R")


def keyword(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a method the keyword ``name``.

    What is missing here skips the test with its reason; every other error of hil fails it with its message and hint.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except UnavailableError as error:
                raise SkipExecution(explained(error)) from error
            except HilError as error:
                raise Failure(explained(error)) from error

        made: Callable[P, R] = robot_keyword(name)(run)
        return made

    return decorate


def explained(error: HilError) -> str:
    """Message and hint on one line."""
    return f"{error.message} ({error.hint})" if error.hint else error.message


def require(condition: bool, message: str) -> None:
    """Fail the test with ``message`` unless ``condition`` holds."""
    if not condition:
        raise Failure(message)
