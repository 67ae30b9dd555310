"""What every meter has in common: who it is, what it can do, and the trace that it records.

All figures are SI.  Times are seconds of the meter's own clock; only ``hil.meter.align`` brings in a board's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from hil.errors import MeterError

Float = npt.NDArray[np.float64]
Samples = npt.NDArray[np.float64] | npt.NDArray[np.float32]  # float32 where a long trace lies on disk
Trigger = Literal["software", "hardware"]


@dataclass(frozen=True, slots=True)
class MeterInfo:
    """The instrument: what a record must name to make a figure traceable."""

    model: str
    serial: str = ""
    firmware: str = ""
    driver: str = ""
    calibrated: str = ""  # date of the last calibration, ISO 8601, where it is known


@dataclass(frozen=True, slots=True)
class MeterCaps:
    """What the instrument can do."""

    rate_min_hz: float
    rate_max_hz: float
    measures_voltage: bool
    supplies_dut: bool
    digital_inputs: int = 0
    hw_trigger: bool = False


@dataclass(frozen=True, slots=True)
class Gap:
    """Samples that are missing before sample ``index``: how many, as far as the instrument can tell."""

    index: int
    missing: int


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the board's serial port that the meter heard: its text, and when the meter's clock stamped it."""

    t_s: float
    text: str


@dataclass(frozen=True)
class Trace:
    """What a meter recorded at one site.

    ``current_a`` has shape ``[n]``; ``voltage_v`` the same shape, or one constant.  Sample ``i`` was taken at
    ``t0_s + i * dt_s`` of the meter's clock, lost samples counted in by ``gaps``; or at ``t_s[i]`` where the rate is
    not constant.  ``digital`` has shape ``[n]``, one bit per input.  ``clipped`` counts samples at the end of a range;
    ``clipped_at`` says where, as ``(start, stop)`` in samples; where it is empty they may be anywhere.
    ``unplaced`` samples are missing too, but the instrument cannot tell where: they may be anywhere.
    ``lines`` are those of the board's serial port, ascending in time.
    ``site`` is what the current flows into, in the words of the platform file's power scope.
    ``raw`` names the file with the bytes that it was decoded from; ``notes`` say what decoding had to put right.
    """

    site: str
    current_a: Samples
    voltage_v: Samples | float
    dt_s: float | None = None
    t0_s: float = 0.0
    t_s: Float | None = None
    digital: npt.NDArray[np.uint8] | None = None
    gaps: tuple[Gap, ...] = ()
    clipped: int = 0
    clipped_at: tuple[tuple[int, int], ...] = ()
    unplaced: int = 0
    lines: tuple[Line, ...] = ()
    info: MeterInfo = MeterInfo("unknown")
    raw: str | None = None
    notes: tuple[str, ...] = ()


class PowerMeter(Protocol):
    """One instrument.  Every method raises MeterError; what an instrument cannot do raises it too, by name."""

    @property
    def info(self) -> MeterInfo: ...
    @property
    def caps(self) -> MeterCaps: ...

    def open(self, *, keep_power: bool = True) -> None:
        """``keep_power``: a board that is supplied stays supplied, without a glitch, or this is an error."""
        ...

    def configure(self, rate_hz: float, range_a: float | None = None) -> float:
        """The rate that it really takes, the nearest at or above the wanted one."""
        ...

    def supply(self, voltage_v: float | None, limit_a: float | None = None) -> None:
        """Supply the board; None switches it off.  After any change the board must be greeted again."""
        ...

    def start(self, trigger: Trigger = "software") -> None: ...

    def problem(self) -> MeterError | None:
        """What is wrong with the recording that runs, as far as is known before it is stopped: the port is gone, the
        disk is full, nothing came for too long.  None where nothing is wrong, or nothing runs.  It takes no time."""
        ...

    def stop(self) -> Trace: ...
    def close(self) -> None:
        """May be called more than once."""
        ...
