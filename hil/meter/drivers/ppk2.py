"""Nordic Power Profiler Kit II: 100 000 current samples a second, eight logic inputs in every sample.

The protocol as Nordic's own application uses it (pc-nrfconnect-ppk, ``src/device/serialDevice.ts``): commands are one
opcode with arguments, the calibration is a text, samples are 32-bit words, little endian:

    bits 0-13  ADC, divided by 4      bits 18-23  sample counter, modulo 64
    bits 14-16 range, 0 to 4          bits 24-31  logic inputs

With ``x = (4 ADC - O) * (1.8 / 163840) / R`` in amperes, each range having its own constants and ``Vdd`` in volts, the
current is ``UG * (x * (GS * x + GI) + S * Vdd + I)``.  Just after a change of range the ADC still settles: the next
settled sample takes the place of three.

The counter tells lost words exactly, modulo 64.  A word that does not count on from the one before is a fault: the
decoder looks for the next place, byte by byte, from where eight words count on, so a lost byte costs three words and
not the rest of the recording.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from hil.meter.drivers.base import refuse_limit, require_within, runs
from hil.meter.drivers.raw import Bytes, Header
from hil.meter.drivers.stream import SerialMeter
from hil.meter.errors import FormatError, MeterProtocolError, SettingError
from hil.meter.spool import Spool, let_go
from hil.meter.types import Float, Gap, MeterCaps, MeterInfo, Trace, Trigger

RATE_HZ = 100_000.0
RANGES = 5
FULL_SCALE_A = 1.0  # the highest range's specified end
VOLT_MIN, VOLT_MAX = 0.8, 5.0
STATED = 0.05  # by how much the voltage stated may differ from the one that it supplies
ADC_MAX = 0x3FFF
ADC_VOLT = 1.8 / 163_840

START, STOP, DUT_POWER, VOLTAGE, MODE, METADATA = 0x06, 0x07, 0x0C, 0x0D, 0x11, 0x19
Mode = Literal["ampere", "source"]
MODES: dict[Mode, int] = {"ampere": 1, "source": 2}

# What the application assumes until the instrument tells its own constants.
DEFAULTS: dict[str, tuple[float, ...]] = {
    "R": (1031.64, 101.65, 10.15, 0.94, 0.043),
    "GS": (1.0,) * RANGES,
    "GI": (1.0,) * RANGES,
    "O": (0.0,) * RANGES,
    "S": (0.0,) * RANGES,
    "I": (0.0,) * RANGES,
    "UG": (1.0,) * RANGES,
}
_NEVER_ZERO = ("R", "GI", "UG")  # a zero there means that nothing was stored

_RUN = 8  # words that must count on before a new alignment is believed
_TAIL_RUN = 4  # the same at the end of a recording
_BLOCK_WORDS = 1 << 17
_SETTLE = 3  # samples after a change of range
_WAITING = 1 << 16  # samples that never settle are given up then

Words = npt.NDArray[np.uint32]
_NO_WORDS: Words = np.empty(0, np.uint32)


# --- calibration ----------------------------------------------------------------------------------------------------

_LINE = re.compile(r"\s*(\w+)\s*:\s*(\S+)\s*")


@dataclass(frozen=True)
class Metadata:
    """The instrument's answer to opcode 0x19.  ``modifiers`` by name have shape ``[5]``, one per range."""

    modifiers: Mapping[str, tuple[float, ...]]
    mode: Mode | None
    vdd_v: float | None
    hardware: str


def parse_metadata(text: str) -> Metadata:
    """Read ``R0: 1004.6`` and so on.  A constant that is missing, not a number or an impossible zero is the default, as
    in Nordic's application.  Raises MeterProtocolError where it is no such text."""
    values = {name.lower(): value for name, value in (m.groups() for m in map(_LINE.fullmatch, text.splitlines()) if m)}
    if "r0" not in values:
        raise MeterProtocolError(f"PPK2: no calibration in its answer: {text[:60]!r}", hint="is this the PPK2's port?")

    def constant(name: str, index: int, default: float) -> float:
        value = _number(values.get(f"{name.lower()}{index}"))
        return default if value is None or (value == 0 and name in _NEVER_ZERO) else value

    modifiers = {
        name: tuple(constant(name, index, default) for index, default in enumerate(defaults))
        for name, defaults in DEFAULTS.items()
    }
    vdd_mv = _number(values.get("vdd"))
    modes = {str(number): name for name, number in MODES.items()}
    return Metadata(
        modifiers, modes.get(values.get("mode", "")), vdd_mv / 1000 if vdd_mv else None, values.get("hw", "")
    )


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


# --- words ----------------------------------------------------------------------------------------------------------


class Split:
    """The words in the bytes of a recording that count on, in blocks.  Never raises; takes time linear in the bytes.

    Once all blocks are out it knows the ``gaps`` between words, and how many bytes were passed over to find alignment
    again.
    """

    def __init__(self, data: Bytes) -> None:
        self.gaps: list[Gap] = []
        self.resyncs = self.skipped_bytes = 0
        self._data = data

    def __iter__(self) -> Iterator[Words]:
        """Blocks of about ``_BLOCK_WORDS``, shape ``[n]``."""
        parts: list[Words] = []
        size = 0
        for words in self._parts():
            parts.append(words)
            size += words.size
            if size >= _BLOCK_WORDS:
                yield np.concatenate(parts)
                parts, size = [], 0
        if parts:
            yield np.concatenate(parts)

    def _parts(self) -> Iterator[Words]:
        data, at, count, last = self._data, 0, 0, _NO_WORDS
        while (start := _next_run(data, at)) is not None:
            found = count + last.size > 0
            if start > at:
                self._skip(start - at)
                # The words on both sides may hold bytes that are not theirs.
                start += 4
                if found:
                    last, at = _NO_WORDS, at - 4
            yield last
            count += last.size
            if found:
                missing = (_counter(data, start) - _counter(data, at - 4) - 1) % 64
                # How many words the bytes passed over would have been says which multiple of 64 was lost.
                missing += 64 * max(0, round(((start - at) / 4 - missing) / 64))
                if missing:
                    self.gaps.append(Gap(count, missing))
            at, last = start, _NO_WORDS
            for words in _take_run(data, start):
                yield last
                yield words[:-1]
                count += last.size + words.size - 1
                at, last = at + 4 * words.size, words[-1:]
        yield last
        if data.size - at >= 4:
            self._skip(data.size - at)

    def _skip(self, size: int) -> None:
        self.resyncs, self.skipped_bytes = self.resyncs + 1, self.skipped_bytes + size


def _counter(data: Bytes, at: int) -> int:
    """Of the word whose first byte is ``at``."""
    return int(data[at + 2]) >> 2


def _take_run(data: Bytes, start: int) -> Iterator[Words]:
    """The words from ``start`` on for as long as they count on, in blocks; mapped, not copied."""
    total = (data.size - start) // 4
    words: Words = data[start : start + 4 * total].view("<u4")
    done, block = 0, 256
    while done < total - 1:
        piece = words[done : done + block + 1]
        counter = (piece >> np.uint32(18)).astype(np.uint8)
        steps = (counter[1:] - counter[:-1]) & 63
        bad = (steps != 1) | (((piece[1:] >> np.uint32(14)) & np.uint32(7)) >= RANGES)
        if bad.any():
            yield piece[: int(bad.argmax()) + 1]
            return
        yield piece[:-1]
        done += piece.size - 1
        block = min(2 * block, _BLOCK_WORDS)
    if done < total:
        yield words[done:]


def _next_run(data: Bytes, at: int) -> int | None:
    """The first byte at or after ``at`` from where ``_RUN`` words count on, or all that are left."""
    block = 256
    while data.size - at >= 4 * _RUN:
        piece = data[at : at + block + 4 * _RUN]
        links = _links(piece)  # [b]: the word at b is followed by one that counts on
        usable = piece.size - 4 * _RUN + 1
        found = np.ones(usable, bool)
        for step in range(_RUN - 1):
            found &= links[4 * step : 4 * step + usable]
        if found.any():
            return at + int(found.argmax())
        at += usable
        block = min(2 * block, _BLOCK_WORDS)
    links = _links(data[at:])
    for offset in range(data.size - at - 4 * _TAIL_RUN + 1):
        words = (data.size - at - offset) // 4
        if all(links[offset + 4 * step] for step in range(words - 1)):
            return at + offset
    return None


def _links(piece: Bytes) -> npt.NDArray[np.bool_]:
    """``[b]``: whether words at bytes ``b`` and ``b + 4`` are words, and the second counts on from the first."""
    if piece.size < 8:
        return np.zeros(0, bool)
    counter = piece[2:-1] >> 2
    in_range = ((piece[1:-2] >> 6) | ((piece[2:-1] & 1) << 2)) < RANGES
    links: npt.NDArray[np.bool_] = (((counter[4:] - counter[:-4]) & 63) == 1) & in_range[4:] & in_range[:-4]
    return links


# --- amperes --------------------------------------------------------------------------------------------------------


class Converter:
    """Words to amperes, block by block.

    For three samples after a change of range the ADC still settles.  The current changed where the range did, so what
    it settles at takes their place; Nordic's application shows a running mean of the time before, which puts every step
    up too late and so takes energy from what begins with it.  Where the range changes again before it has settled, the
    current is near the border of two ranges, or a pulse too short to measure: a straight line goes across.
    """

    def __init__(self, modifiers: Mapping[str, tuple[float, ...]], vdd_v: float) -> None:
        constant = {name: np.array(modifiers[name], dtype=np.float64) for name in DEFAULTS}
        self._scale = ADC_VOLT / constant["R"]
        self._offset = constant["O"]
        self._square = constant["UG"] * constant["GS"]
        self._linear = constant["UG"] * constant["GI"]
        self._constant = constant["UG"] * (constant["S"] * vdd_v + constant["I"])
        self._last: tuple[int, float] | None = None  # range and current of the last sample that had settled
        self._waiting: Words = np.empty(0, np.uint32)  # what has not settled yet

    def __call__(self, words: Words, *, end: bool = False) -> tuple[Words, Float]:
        """The words whose current is known now, and their currents; the others wait for the next block, or the end."""
        words = np.concatenate([self._waiting, words])
        if words.size == 0:
            return words, np.empty(0)
        ranges = ((words >> np.uint32(14)) & np.uint32(7)).astype(np.intp)
        x = ((words & np.uint32(ADC_MAX)) * 4.0 - self._offset[ranges]) * self._scale[ranges]
        current = x * (self._square[ranges] * x + self._linear[ranges]) + self._constant[ranges]
        index = np.arange(words.size)
        before = self._last[0] if self._last is not None else ranges[:1]
        changed = np.diff(ranges, prepend=before) != 0
        settled = index - np.maximum.accumulate(np.where(changed, index, -_SETTLE)) >= _SETTLE
        known = np.flatnonzero(settled)
        ready = words.size if end or words.size > _WAITING else int(known[-1]) + 1 if known.size else 0
        self._waiting = words[ready:]
        if ready == 0:
            return words[:0], current[:0]
        ends = _ends(current, known, self._last)
        nearest = np.searchsorted(ends[0], index[:ready])
        length = ends[0][nearest] - ends[0][np.maximum(nearest - 1, 0)] - 1  # of the stretch that a sample is in
        after, across = ends[1][nearest], np.interp(index[:ready], *ends)
        result = np.where(settled[:ready], current[:ready], np.where(length <= _SETTLE, after, across))
        self._last = int(ranges[ready - 1]), float(result[-1])
        return words[:ready], result


def _ends(
    current: Float, known: npt.NDArray[np.intp], last: tuple[int, float] | None
) -> tuple[npt.NDArray[np.intp], Float]:
    """Places and values between which unsettled stretches lie: the settled samples, the one before the block, and the
    last one again behind it."""
    first = last[1] if last is not None else float(current[known[0]] if known.size else np.median(current))
    values = current[known]
    final = float(values[-1]) if known.size else first
    places = np.concatenate(([-1], known, [current.size])).astype(np.intp)
    return places, np.concatenate(([first], values, [final]))


def decode(header: Header, data: Bytes) -> Trace:
    """The trace in the bytes of a recording.  Raises MeterError."""
    modifiers = header.setting("modifiers", dict)
    try:
        constants = {name: tuple(float(value) for value in modifiers[name]) for name in DEFAULTS}
        if any(len(row) != RANGES or not all(map(math.isfinite, row)) for row in constants.values()):
            raise ValueError
        if 0.0 in constants["R"]:
            raise ValueError
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError("the header of this recording has no usable 'modifiers'", hint="five numbers each") from error
    vdd_v = float(header.setting("voltage_v"))
    split, convert = Split(data), Converter(constants, vdd_v)
    clipped: list[tuple[int, int]] = []
    with Spool(beside=data) as spool:
        for words, amps in _converted(split, convert):
            over = (amps > FULL_SCALE_A) | ((words & np.uint32(0x1FFFF)) == (RANGES - 1) << 14 | ADC_MAX)
            clipped += [(spool.samples + begin, spool.samples + end) for begin, end in runs(over)]
            spool.append(current_a=amps, digital=words >> np.uint32(24))
            let_go(data)
        columns = spool.columns()
    notes = []
    if split.resyncs:
        notes.append(f"resynchronised {split.resyncs} times, {split.skipped_bytes} bytes passed over")
    if split.gaps:
        missing = sum(gap.missing for gap in split.gaps)
        notes.append(f"{missing} samples lost in {len(split.gaps)} gaps (the counter tells them modulo 64)")
    return Trace(
        header.site,
        columns.get("current_a", np.empty(0)),
        vdd_v,
        dt_s=1 / RATE_HZ,
        digital=columns.get("digital"),
        gaps=tuple(split.gaps),
        clipped=sum(end - begin for begin, end in clipped),
        clipped_at=tuple(clipped),
        info=header.info,
        notes=tuple(notes),
    )


def _converted(split: Split, convert: Converter) -> Iterator[tuple[Words, Float]]:
    for words in split:
        yield convert(words)
    yield convert(np.empty(0, np.uint32), end=True)


# --- the instrument -------------------------------------------------------------------------------------------------


class Ppk2(SerialMeter):
    """A PPK2 on a serial port.

    ``mode``: "ampere" measures in a board's own supply, "source" supplies it; by default it stays as it is.
    ``voltage_v``: of the board's supply in ampere mode, which the instrument cannot measure; in source mode it knows
    its own.
    """

    driver = "ppk2"
    caps = MeterCaps(RATE_HZ, RATE_HZ, measures_voltage=False, supplies_dut=True, digital_inputs=8)

    def __init__(
        self,
        port: str,
        *,
        site: str = "",
        raw_folder: Path | None = None,
        mode: Mode | None = None,
        voltage_v: float | None = None,
    ) -> None:
        super().__init__(port, site=site, raw_folder=raw_folder)
        if mode is not None and mode not in MODES:
            raise SettingError(f"{port}: mode '{mode}', expected {' or '.join(MODES)}")
        if voltage_v is not None:
            require_within(port, "voltage", voltage_v, VOLT_MIN, VOLT_MAX, "V")
        self._wanted_mode = mode
        self._stated_v = self._voltage_v = voltage_v
        self._own_v: float | None = None  # what it supplies in source mode
        self._metadata: Metadata | None = None
        self._mode: Mode | None = None

    def _greet(self, keep_power: bool) -> MeterInfo:
        self._send(bytes([STOP]))  # it may still be sending for somebody who went away
        self._drain()
        self._send(bytes([METADATA]))
        text = self._read_until(b"END", "calibration").decode("ascii", "replace")
        self._drain()
        self._metadata = parse_metadata(text)
        self._mode = self._metadata.mode
        vdd_v = self._metadata.vdd_v
        self._own_v = vdd_v if vdd_v is not None and VOLT_MIN <= vdd_v <= VOLT_MAX else None
        if self._mode == "source" and self._stated_v is None:
            self._voltage_v = self._own_v
        if self._wanted_mode is not None and self._wanted_mode != self._mode:
            if keep_power:
                raise SettingError(
                    f"{self.port}: the PPK2 is in {self._mode or 'an unknown'} mode, {self._wanted_mode} asked for",
                    hint="changing the mode interrupts the board's supply: open with keep_power=False",
                )
            self._change_mode(self._wanted_mode)
        if keep_power:  # otherwise it is about to be told another one
            self._require_own_voltage()
        return MeterInfo("PPK2", firmware=f"HW {self._metadata.hardware}".strip(), driver=self.driver)

    def _require_own_voltage(self) -> None:
        """Raises SettingError where it supplies another voltage than stated."""
        if self._mode != "source" or self._own_v is None or self._voltage_v is None:
            return
        if abs(self._voltage_v / self._own_v - 1) > STATED:
            raise SettingError(
                f"{self.port}: the PPK2 supplies {self._own_v:g} V, voltage_v={self._voltage_v:g} stated",
                hint="leave voltage_v out: in source mode it knows its own voltage (hil meter supply changes it)",
            )

    def _change_mode(self, mode: Mode) -> None:
        self._send(bytes([MODE, MODES[mode]]))
        if mode == "ampere":
            self._send(bytes([DUT_POWER, 1]))  # closes the path of the board's own supply
        self._mode = mode

    def _set_rate(self, rate_hz: float, range_a: float | None) -> float:
        if range_a is not None:
            require_within(self.port, "range", range_a, 0.0, FULL_SCALE_A, "A")
        return RATE_HZ  # fixed, and the ranges switch by themselves

    def _set_supply(self, voltage_v: float | None, limit_a: float | None) -> None:
        refuse_limit(self.port, limit_a)
        if voltage_v is None:
            self._send(bytes([DUT_POWER, 0]))
            return
        require_within(self.port, "voltage", voltage_v, VOLT_MIN, VOLT_MAX, "V")
        self._send(struct.pack(">BH", VOLTAGE, round(voltage_v * 1000)))
        if self._mode != "source":
            self._change_mode("source")
        self._send(bytes([DUT_POWER, 1]))
        self._voltage_v = self._own_v = voltage_v

    def _settings(self) -> Mapping[str, Any]:
        assert self._metadata is not None
        if self._voltage_v is None:
            raise SettingError(
                f"{self.port}: the board's voltage is not known: the PPK2 does not measure it",
                hint="say it: ppk2:PORT?voltage_v=3.3, or let the PPK2 supply the board",
            )
        self._require_own_voltage()
        return {"modifiers": dict(self._metadata.modifiers), "voltage_v": self._voltage_v, "mode": self._mode or ""}

    def _decode(self, header: Header, data: Bytes) -> Trace:
        return decode(header, data)

    def _command_start(self, trigger: Trigger) -> None:
        self._drain()
        self._send(bytes([START]))

    def _command_stop(self) -> None:
        self._send(bytes([STOP]))
