"""What can go wrong with a power figure, by name.

All are ``MeterError``.  The command line ends with exit code 4 where the instrument or the wiring failed, with 2 where
the request, a file or a setting is wrong.
"""

from __future__ import annotations

from hil.errors import MeterError


class MeterProtocolError(MeterError):
    """The instrument sent something that its protocol does not allow there."""


class MeterTimeout(MeterError):
    """The instrument did not answer, or stopped sending, before a deadline."""


class MeterLost(MeterError):
    """The port went away, or the far end closed."""


class MeterRefused(MeterError):
    """The instrument understood and declined, or reported a fault of its own (over-current, supply off)."""


class StorageError(MeterError):
    """A recording cannot be written: a folder that is none, a full disk."""

    exit_code = 2


class NotSupported(MeterError):
    """The instrument cannot do what was asked: supply a board, take this rate, trigger in hardware."""

    exit_code = 2


class SettingError(MeterError):
    """A meter that does not exist, or a setting that is wrong or missing."""

    exit_code = 2


class TraceError(MeterError):
    """A trace that is no trace: shapes that differ, times that go backwards, values that are not numbers."""

    exit_code = 2


class FormatError(MeterError):
    """A trace file that cannot be read: no dialect fits, or a line is not what its dialect says."""

    exit_code = 2


class GapError(MeterError):
    """Samples are missing where an energy was asked for."""


class OverRangeError(MeterError):
    """Samples at the end of the range where an energy was asked for: the true current was higher."""


class UnsteadyError(MeterError):
    """A reading that drifts, or is far off, with a known resistor as the only load."""


class OutsideError(MeterError):
    """A window that the trace does not cover."""

    exit_code = 2


class WindowError(MeterError):
    """A window too short for the sampling rate (or for the jitter of a clock) and the tolerance asked for."""

    exit_code = 2


class ScopeError(MeterError):
    """The trace was taken at another site than the figure asked for."""

    exit_code = 2


class AlignmentError(MeterError):
    """The board's clock and the meter's cannot be brought together."""


class MissingEdgeError(AlignmentError):
    """The board changed its line and the meter did not see it."""


class ExtraEdgeError(AlignmentError):
    """The meter saw edges that the board did not make."""


class StretchError(AlignmentError):
    """One clock runs at another speed than the other, by more than any oscillator explains: a wrong rate, or samples
    lost unseen."""


class ClockError(AlignmentError):
    """Traces whose clocks were not brought together cannot be added."""

    exit_code = 2
