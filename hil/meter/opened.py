"""A meter for the length of a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from hil.errors import MeterError
from hil.meter.types import PowerMeter

_Meter = TypeVar("_Meter", bound=PowerMeter)


@contextmanager
def opened(meter: _Meter, *, keep_power: bool = True) -> Iterator[_Meter]:
    """``with opened(open_meter(spec)) as meter:`` opens it, and closes it whatever happens.

    Where something went wrong, what goes wrong in closing is not raised: it would hide the cause.
    """
    try:
        meter.open(keep_power=keep_power)
        yield meter
    except BaseException:
        with suppress(MeterError):
            meter.close()
        raise
    meter.close()
