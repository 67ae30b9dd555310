"""The Joulescope's blocks: rates that are not the one asked for, inputs at the instrument's full rate, losses at both
ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from hil.meter.drivers.joulescope import decode
from hil.meter.drivers.raw import Header, pack_block
from hil.meter.errors import MeterProtocolError
from hil.meter.trace import SampleTimes, checked
from hil.meter.types import Gap, MeterInfo, Trace

COUNT_HZ = 2_000_000


def block(signal: str, first: int, step: int, values: npt.NDArray[Any], count_hz: int = COUNT_HZ) -> bytes:
    """``first`` and ``step`` in counts; inputs eight to a byte."""
    data = np.packbits(values, bitorder="little") if signal.startswith("gpi/") else values.astype("<f4")
    meta = {"signal": signal, "dtype": data.dtype.str, "sample_id": first, "decimate_factor": step}
    return pack_block({**meta, "sample_rate": count_hz}, data.tobytes())


def pair(first: int, step: int, amperes: npt.NDArray[Any], count_hz: int = COUNT_HZ) -> bytes:
    return block("i", first, step, amperes, count_hz) + block("v", first, step, np.full(amperes.size, 3.3), count_hz)


def decoded(data: bytes, rate_hz: float = 100e3, inputs: int = 1) -> Trace:
    header = Header("joulescope", "P", "board", rate_hz, MeterInfo("JS220"), {"inputs": inputs})
    return decode(header, np.frombuffer(data, np.uint8))


def test_inputs_at_the_full_rate_are_those_of_the_current_s_samples() -> None:
    """The JS220 sends inputs at 2 MHz beside current at 100 kHz: an edge 6.3 samples in is seen by sample 7."""
    step, first = 20, 40_000
    level = np.zeros(200 * step, np.uint8)
    level[round(6.3 * step) :] = 1
    level[round(150.5 * step) :] = 0
    pieces = b"".join(block("gpi/0", first + at, 1, level[at : at + 800]) for at in range(0, level.size, 800))
    trace = decoded(pieces + pair(first, step, np.full(200, 0.01)))
    assert trace.digital is not None
    assert np.flatnonzero(np.diff(trace.digital)).tolist() == [6, 150]
    # At the same rate, and at a lower one: sample 4 of the current lies in the input's sample 2.
    same = decoded(block("gpi/0", first, step, np.arange(200) >= 7) + pair(first, step, np.full(200, 0.01)))
    slow = decoded(block("gpi/0", first, 2 * step, np.arange(104) >= 2) + pair(first, step, np.full(200, 0.01)))
    assert same.digital is not None
    assert slow.digital is not None
    assert [int(np.argmax(one.digital)) for one in (same, slow)] == [7, 4]  # type: ignore[arg-type]


def test_a_rate_that_was_not_asked_for_is_the_time_base_and_said() -> None:
    data = pair(4000, 40, np.full(1000, 0.01)) + pair(4000 + 40_000, 40, np.full(1000, 0.01))
    trace = decoded(data, rate_hz=100e3)
    assert trace.dt_s == pytest.approx(20e-6)
    assert trace.notes == ("100000 Hz asked for, 50000 Hz came",)
    assert SampleTimes(checked(trace)).last_s == pytest.approx(1999 * 20e-6)
    assert decoded(pair(0, 20, np.ones(100))).notes == ()
    assert decoded(pair(0, 160, np.ones(100), 16_000_000)).notes == ()  # another count, the same rate


def test_a_rate_that_changes_is_refused() -> None:
    for second in (pair(20_000, 40, np.ones(100)), pair(20_000, 20, np.ones(100), 1_000_000)):
        with pytest.raises(MeterProtocolError, match="the rate changes"):
            decoded(pair(18_000, 20, np.ones(100)) + second)
    with pytest.raises(MeterProtocolError, match="the rate changes"):
        decoded(block("i", 0, 20, np.ones(100)) + block("v", 0, 40, np.ones(50)))
    with pytest.raises(MeterProtocolError, match="not a recording"):
        decoded(pair(0, 0, np.ones(100)))


def test_samples_lost_at_both_ends_are_outside_the_trace() -> None:
    """Marked lost: two at the start, one inside, three at the end."""
    amperes = np.full(100, 0.01)
    amperes[[0, 1, 50, 97, 98, 99]] = np.nan
    trace = checked(decoded(pair(0, 20, amperes)))
    assert trace.current_a.size == 94
    assert trace.gaps == (Gap(48, 1),)
    assert (trace.t0_s, SampleTimes(trace).last_s) == (pytest.approx(2e-5), pytest.approx(96e-5))
