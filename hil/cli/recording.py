"""Waiting while a meter records, with a word now and then."""

from __future__ import annotations

import sys
import time

_PROGRESS_EVERY_S = 2.0


def wait_recording(seconds: float) -> None:
    """Let a recording run for so long; says how long it still takes where that is more than two seconds."""
    end_s = time.monotonic() + seconds
    while (rest_s := end_s - time.monotonic()) > 0:
        time.sleep(min(rest_s, _PROGRESS_EVERY_S))
        if rest_s > _PROGRESS_EVERY_S:
            sys.stderr.write(f"hil: recording, {rest_s - _PROGRESS_EVERY_S:.0f} s to go; Ctrl-C ends it\n")
