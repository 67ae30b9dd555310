"""Waiting while a meter records, with a word now and then."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hil.errors import MeterError
    from hil.meter.types import PowerMeter

_PROGRESS_EVERY_S = 2.0
_LOOK_EVERY_S = 0.2


def wait_recording(meter: PowerMeter, seconds: float) -> MeterError | None:
    """Let a recording run for so long, or until something is wrong with it: that is the answer.

    Says how long it still takes where that is more than two seconds.
    """
    end_s = time.monotonic() + seconds
    tell_s = end_s - seconds + _PROGRESS_EVERY_S
    while (rest_s := end_s - time.monotonic()) > 0:
        time.sleep(min(rest_s, _LOOK_EVERY_S))
        if (problem := meter.problem()) is not None:
            return problem
        if (now_s := time.monotonic()) >= tell_s and now_s < end_s:
            sys.stderr.write(f"hil: recording, {end_s - now_s:.0f} s to go; Ctrl-C ends it\n")
            tell_s += _PROGRESS_EVERY_S
    return None
