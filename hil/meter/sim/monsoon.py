"""A Monsoon High Voltage Power Monitor on USB: control transfers, calibration, and packets of raw ADC words.

The vendor's library (``Monsoon``) runs against it as it is, by pyusb (``usb_bus.plugged``).  It turns words into
milliamperes and volts; here it is done backwards.

Facts, from the vendor's library 0.1.88 (``Operations.py``, ``pmapi.py``, ``HVPM.py``, ``sampleEngine.py``): requests
and operation codes; a packet is 16 bits of the count of dropped samples (little endian), flags, the number of samples
(1 to 3), then 18 bytes for each: eight words, big endian, and two bytes of gains, the last of which has the kind of
sample in bits 4 and 5; scales and offsets are the library's defaults.  From Fuchsia's monitor script: samples for
calibration take the place of measured ones, 200 us each; each count of ``dropped`` is one sample.

Assumed, because nothing published says it: the ADC's words at zero and at the reference; calibration begins with five
pairs of samples and is one pair per calibration time later on.
"""

from __future__ import annotations

import struct
import time
from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hil.meter.sim.instrument import Faults, Source
from hil.meter.sim.usb_bus import gone, refused, timed_out
from hil.meter.types import Float

RATE_HZ = 5000.0
VOLT_STEP_V = 4 * 62.5e-6  # of the main channel
FINE_THRESHOLD = 64000  # words of the fine range from here on do not count: the coarse one does
# Requests, and the codes of the values that are more than memory.
_VALUE, _START, _STOP = 0x01, 0x02, 0x03
_SET_VOLTAGE, _SERIAL, _MODEL, _FIRMWARE, _STATUS = 0x41, 0x42, 0x45, 0xC0, 0xC4
_WHILE_SAMPLING = (_FIRMWARE, _STATUS)
_SAMPLING = 0x80
_ERROR = 0xFFFFFFFE
_MEASURED, _ZERO, _REFERENCE = 0x00, 0x10, 0x30
_FIRST_CALIBRATIONS = 10
_BURST = 30  # samples that are handed over at a time: the host then reads packet after packet
_SAMPLE = np.dtype([("words", ">u2", 8), ("gain", "u1"), ("kind", "u1")])
_PER_PACKET = 3
_POLL_S = 0.001


@dataclass(frozen=True)
class Range:
    """A range of the ADC.  ``scale``: what the reference stands for; ``offset`` is added to ``zero``, in words."""

    scale: int
    offset: int
    zero: int
    reference: int

    @property
    def step(self) -> float:
        """What one word more means, in the unit of ``scale``."""
        return self.scale / (self.reference - self.zero - self.offset)

    def words(self, value: Float) -> Float:
        return np.rint(self.zero + self.offset + value / self.step).clip(0, 0xFFFF)


FINE = Range(36500, 15, 1200, 41200)  # microamperes
COARSE = Range(6400, 15, 900, 46000)  # milliamperes

_VALUES = {
    0x0C: 20,  # milliseconds of the power-up limit
    0x10: 2,  # USB passthrough: automatic
    0x1A: FINE.scale,
    0x1B: COARSE.scale,
    0x1C: 14000,
    0x1D: 600,
    0x1E: 3100,
    0x1F: 250,
    0x23: 0,  # voltage of the main channel
    0x25: FINE.offset,
    0x26: COARSE.offset,
    0x27: 0,
    0x28: 0,
    0x29: 60 << 8,  # degrees Celsius of the fan
    _SET_VOLTAGE: 0,
    0x43: 0xFFFF,
    0x44: 0xFFFF,
    _MODEL: 2,
    0x88: 0xE000,
    0x89: 0xC800,
    _FIRMWARE: 32,
    0xC1: 18,
    _STATUS: 0,
}


class Monitor:
    """The instrument.  Of ``faults``: ``drop``, ``hang_up_at`` (a byte of the packets), ``silent_from``.

    ``values``: of operation codes, over the usual ones.  ``calibrates`` false: it never sends such a sample.
    ``count``: where the count of dropped samples begins.  ``written``: what the host set since, by operation code.
    """

    vendor, product = 0x2AB9, 0x0001

    def __init__(
        self,
        source: Source,
        *,
        serial: int = 20001,
        faults: Faults | None = None,
        values: dict[int, int] | None = None,
        calibrates: bool = True,
        count: int = 0,
    ) -> None:
        self.source = source
        self.faults = faults or Faults()
        if self.faults.lose_bytes or self.faults.garbage:
            raise ValueError("USB loses no bytes and adds none")
        self.strings = ("Monsoon Solutions, Inc.", "High Voltage Power Monitor", str(serial))
        self.written: list[tuple[int, int]] = []
        self.resets = 0
        self.dropped = self._count = count
        self._values = {**_VALUES, _SERIAL: serial, **(values or {})}
        self._calibrates = calibrates
        self._gone = False
        self._packets: deque[bytes] = deque()
        self._started_s: float | None = None
        self._next = self._sent_bytes = 0
        self._period = 1

    @property
    def sampled(self) -> int:
        """Samples taken since the start."""
        return self._next

    def attached(self) -> bool:
        return not self._gone

    def unplug(self) -> None:
        self._gone = True

    def reset(self) -> None:
        self.resets += 1
        self._started_s = None

    # Control transfers.

    def control_in(self, request: int, value: int, index: int) -> bytes:
        if request != _VALUE:
            raise refused()
        code = index & 0xFF
        sampling = self._started_s is not None
        if sampling and code not in _WHILE_SAMPLING:
            return struct.pack("<I", _ERROR)
        if code == _STATUS:
            return struct.pack("<I", _SAMPLING if sampling else 0)
        return struct.pack("<I", self._values.get(code, 0) & 0xFFFFFFFF)

    def control_out(self, request: int, value: int, index: int, data: bytes) -> None:
        if request == _STOP:
            self._started_s = None
            self._packets.clear()
        elif request == _START and self._started_s is None:
            self._started_s = time.monotonic()
            self._next, self._sent_bytes, self.dropped = 0, 0, self._count
            self._period = max(int(value * 1e-3 * RATE_HZ), 2)  # milliseconds between calibrations
        elif request == _VALUE and self._started_s is None:
            self._values[index & 0xFF] = struct.unpack("<I", data)[0]
            self.written.append((index & 0xFF, self._values[index & 0xFF]))
        else:
            raise refused()

    # Samples.

    def bulk_in(self, timeout_s: float) -> bytes:
        end_s = time.monotonic() + timeout_s
        while not self._gone:
            self._make()
            if self._packets:
                self._sent_bytes += len(self._packets[0])
                if self.faults.hang_up_at is None or self._sent_bytes <= self.faults.hang_up_at:
                    return self._packets.popleft()
                self._gone = True
            elif time.monotonic() > end_s:
                raise timed_out()
            else:
                time.sleep(_POLL_S)
        raise gone()

    def _make(self) -> None:
        if self._started_s is None or self._packets:
            return
        due = int((time.monotonic() - self._started_s) * RATE_HZ)
        silent = self.faults.silent_from
        end = due if silent is None else min(due, silent)
        if end < self._next + _BURST and end != silent or end == self._next:
            return
        index = np.arange(self._next, end, dtype=np.int64)
        self._next = end
        kept = self.faults.kept(index)
        dropped = self.dropped + np.cumsum(~kept)
        self.dropped = int(dropped[-1])
        samples, counts = self._samples(index[kept]), dropped[kept]
        first = 0
        while first < samples.size:
            # One packet has one count.
            last = min(first + _PER_PACKET, int(np.searchsorted(counts, counts[first], side="right")))
            head = struct.pack("<HBB", counts[first] & 0xFFFF, 0, last - first)
            self._packets.append(head + samples[first:last].tobytes())
            first = last

    def _samples(self, index: npt.NDArray[np.int64]) -> npt.NDArray[np.void]:
        """Samples as they are sent, shape ``[n]``, of some numbers since the start."""
        t_s = index / RATE_HZ
        current_a = self.source.current_a(t_s)
        kind = self._kinds(index)
        samples = np.zeros(index.size, _SAMPLE)
        words, resting, reference = samples["words"], kind == _ZERO, kind == _REFERENCE
        for column, of, value in ((0, COARSE, current_a * 1e3), (1, FINE, current_a * 1e6)):
            words[:, column] = np.where(resting, of.zero, np.where(reference, of.reference, of.words(value)))
        # The USB and the auxiliary channel rest; the library waits until all channels are calibrated.
        words[:, 2:6] = np.where(reference, FINE.reference, FINE.zero)[:, None]
        words[:, 6] = np.rint(self.source.voltage_v(t_s) / VOLT_STEP_V).clip(0, 0xFFFF)
        samples["kind"] = kind
        return samples

    def _kinds(self, index: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        if not self._calibrates:
            return np.full(index.shape, _MEASURED, np.uint8)
        place = np.where(index < _FIRST_CALIBRATIONS, index % 2, index % self._period)
        return np.where(place == 0, _ZERO, np.where(place == 1, _REFERENCE, _MEASURED)).astype(np.uint8)
