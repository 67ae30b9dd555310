"""TI INA226 and INA228 behind a small bridge that reads them over I2C and numbers what it reads.

The bridge's protocol is ours and described in ``docs/meters-instruments.md``: lines of text, samples of one fixed
length with number, time, the chip's registers as they are, and a checksum:

    S nnnn tttttttt ssssss bbbbbb ii cc

all hexadecimal: number modulo 2**16, time in microseconds modulo 2**32, shunt and bus register (two's complement in 24
bits), inputs, CRC-8 (polynomial 0x07) of everything before the last space.  A line whose checksum is wrong is left
out, and its number is missing.

Steps of the registers (data sheets SBOS547 and SBOSA20): INA226 2.5 uV and 1.25 mV; INA228 312.5 nV, or 78.125 nV in
its small range, and 195.3125 uV.  INA228's energy register counts steps of 16 * 3.2 * CURRENT_LSB joules.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from hil.meter.drivers.base import runs
from hil.meter.drivers.raw import Bytes, Header, line_blocks
from hil.meter.drivers.stream import SerialMeter
from hil.meter.errors import FormatError, MeterProtocolError, MeterRefused, NotSupported, SettingError
from hil.meter.spool import Spool, let_go
from hil.meter.types import Float, Gap, MeterCaps, MeterInfo, Trace, Trigger

PROTOCOL = 1
SAMPLE = "S nnnn tttttttt ssssss bbbbbb ii cc"
CURRENT_STEPS_PER_JOULE_STEP = 16 * 3.2
_FIELDS = {letter: slice(SAMPLE.index(letter), SAMPLE.rindex(letter) + 1) for letter in "ntsbic"}
_SEPARATORS = [place for place, letter in enumerate(SAMPLE) if letter == " "]
_NUMBERS = 1 << 16
_CROSS_CHECK = 0.01  # by how much the accumulator and the samples may differ
_LINES_MAX = 1000

ChipName = Literal["ina226", "ina228"]


@dataclass(frozen=True)
class Chip:
    """Steps of the shunt register by range, of the bus register, the last step of the shunt register, and how many
    conversions of both a second it makes at best."""

    shunt_v: tuple[float, ...]
    bus_v: float
    shunt_max: int
    rate_max_hz: float
    accumulates: bool


CHIPS: dict[str, Chip] = {
    "ina226": Chip((2.5e-6,), 1.25e-3, 0x7FFF, 1 / 280e-6, accumulates=False),
    "ina228": Chip((312.5e-9, 78.125e-9), 195.3125e-6, 0x7FFFF, 1 / 100e-6, accumulates=True),
}


# --- decoding -------------------------------------------------------------------------------------------------------


def _crc_table() -> npt.NDArray[np.uint8]:
    table = np.arange(256)
    for _ in range(8):
        table = np.where(table & 0x80, table << 1 ^ 0x07, table << 1) & 0xFF
    return table.astype(np.uint8)


_CRC = _crc_table()
_HEX = np.full(256, -1, np.int64)
_HEX[np.frombuffer(b"0123456789ABCDEFabcdef", np.uint8)] = [*range(16), *range(10, 16)]


def crc8(rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Of each row; shape ``[n, bytes]`` to ``[n]``."""
    crc = np.zeros(rows.shape[0], np.uint8)
    for column in rows.T:
        crc = _CRC[crc ^ column]
    return crc


def _hex(rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """The number in each row of digits, negative where one is no digit."""
    digits = _HEX[rows]
    value = np.zeros(rows.shape[0], np.int64)
    for column in digits.T:
        value = value * 16 + column
    return np.where((digits < 0).any(axis=1), -1, value)


@dataclass(frozen=True)
class _Samples:
    number: npt.NDArray[np.int64]
    time_us: npt.NDArray[np.int64]
    shunt: npt.NDArray[np.int64]
    bus: npt.NDArray[np.int64]
    inputs: npt.NDArray[np.uint8]
    bad_lines: int


def _samples(rows: npt.NDArray[np.uint8]) -> _Samples:
    """Those rows, shape ``[n, len(SAMPLE)]``, whose form and checksum are right."""
    values = {letter: _hex(rows[:, place]) for letter, place in _FIELDS.items()}
    right = (rows[:, _SEPARATORS] == ord(" ")).all(axis=1)
    for value in values.values():
        right &= value >= 0
    right &= crc8(rows[:, : _FIELDS["c"].start - 1]) == values["c"]
    number, time_us, shunt, bus, inputs = (values[letter][right] for letter in "ntsbi")
    shunt, bus = (np.where(value >= 1 << 23, value - (1 << 24), value) for value in (shunt, bus))
    return _Samples(number, time_us, shunt, bus, inputs.astype(np.uint8), int((~right).sum()))


def decode(header: Header, data: Bytes) -> Trace:
    """The trace in the bytes of a recording.  Raises MeterError."""
    name = header.setting("chip", str)
    if name not in CHIPS:
        raise FormatError(f"no chip '{name}'", hint=", ".join(CHIPS))
    chip, shunt_ohm, place = CHIPS[name], float(header.setting("shunt_ohm")), header.setting("range", int)
    if not 0 <= place < len(chip.shunt_v) or not shunt_ohm > 0:
        raise FormatError(f"{name} with range {place} and a shunt of {shunt_ohm} ohms")
    assembly = _Assembly(header.rate_hz)
    clipped: list[tuple[int, int]] = []
    with Spool(beside=data) as spool:
        for start, end in line_blocks(data):
            samples, others = _lines(data[start:end])
            assembly.others(others)
            current, voltage = samples.shunt * chip.shunt_v[place] / shunt_ohm, samples.bus * chip.bus_v
            time_s = assembly.samples(samples, current * voltage)
            over = runs(np.abs(samples.shunt) >= chip.shunt_max)
            clipped += [(spool.samples + first, spool.samples + stop) for first, stop in over]
            spool.append(current_a=current, voltage_v=voltage, t_s=time_s, digital=samples.inputs)
            let_go(data)
        columns = spool.columns()
    notes = [f"{assembly.bad_lines} lines could not be read"] if assembly.bad_lines else []
    if chip.accumulates and len(assembly.energies) >= 2 and assembly.count >= 2:
        notes += _cross_check(header, assembly)
    time_s = columns.get("t_s", np.empty(0))
    return Trace(
        header.site,
        columns.get("current_a", np.empty(0)),
        columns.get("voltage_v", np.empty(0)),
        t_s=time_s,
        t0_s=float(time_s[0]) if time_s.size else 0.0,
        digital=columns.get("digital"),
        gaps=tuple(assembly.gaps),
        clipped=sum(stop - start for start, stop in clipped),
        clipped_at=tuple(clipped),
        info=header.info,
        notes=tuple(notes),
    )


def _lines(data: Bytes) -> tuple[_Samples, list[bytes]]:
    """The samples in whole lines, and the other lines; what has no end yet is left out."""
    ends = np.flatnonzero(data == ord("\n"))
    starts = np.concatenate(([0], ends[:-1] + 1)) if ends.size else ends
    returns = (ends > starts) & (data[ends - 1] == ord("\r")) if ends.size else ends.astype(bool)
    lengths = ends - starts - returns
    is_sample = (lengths == len(SAMPLE)) & (data[starts] == ord("S"))
    samples = _samples(data[starts[is_sample][:, None] + np.arange(len(SAMPLE))])
    others = zip(starts[~is_sample], lengths[~is_sample], strict=True)
    return samples, [data[start : start + size].tobytes() for start, size in others]


@dataclass
class _Assembly:
    """What goes from block to block: numbers, times, energies; and what they tell."""

    rate_hz: float
    gaps: list[Gap] = field(default_factory=list)
    energies: list[int] = field(default_factory=list)
    bad_lines: int = 0
    count: int = 0
    sampled_j: float = 0.0  # the trapezoid rule over all samples
    first_w: float = 0.0
    last_w: float = 0.0
    _last_number: int = 0
    _last_us: int = 0  # of the bridge's clock, which wraps
    _time_us: int = 0

    def samples(self, samples: _Samples, power_w: Float) -> Float:
        """Times of more samples, shape ``[n]``, seconds."""
        self.bad_lines += samples.bad_lines
        if samples.number.size == 0:
            return np.empty(0)
        if self.count == 0:
            self._last_number, self._last_us = int(samples.number[0]) - 1, int(samples.time_us[0])
            self._time_us, self.first_w, self.last_w = self._last_us, float(power_w[0]), float(power_w[0])
        steps_us = np.diff(samples.time_us, prepend=self._last_us) % (1 << 32)
        missing = (np.diff(samples.number, prepend=self._last_number) - 1) % _NUMBERS
        # The time says which multiple of 65536 was lost.
        wrapped = np.rint((steps_us * 1e-6 * self.rate_hz - 1 - missing) / _NUMBERS).astype(np.int64)
        missing += _NUMBERS * np.maximum(0, wrapped)
        self.gaps += [Gap(self.count + int(place), int(missing[place])) for place in np.flatnonzero(missing)]
        time_us = self._time_us + np.cumsum(steps_us)
        middle_w = (np.concatenate(([self.last_w], power_w[:-1])) + power_w) / 2
        self.sampled_j += float(np.sum(middle_w * steps_us)) * 1e-6
        self.count += samples.number.size
        self._last_number, self._last_us = int(samples.number[-1]), int(samples.time_us[-1])
        self._time_us, self.last_w = int(time_us[-1]), float(power_w[-1])
        return np.asarray(time_us * 1e-6, dtype=np.float64)

    def others(self, lines: list[bytes]) -> None:
        """Lines that are no samples.  Raises MeterRefused for a report of a fault."""
        energies, unknown = _other_lines(lines)
        self.energies += energies
        self.bad_lines += unknown


_ENERGY = re.compile(rb"E ([0-9A-Fa-f]{10}) ([0-9A-Fa-f]{2})")


def _other_lines(lines: list[bytes]) -> tuple[list[int], int]:
    """What the energy register said, and how many lines are nothing.  Raises MeterRefused for a report of a fault."""
    energies, unknown = [], 0
    for line in lines:
        match = _ENERGY.fullmatch(line)
        if match and crc8(np.frombuffer(line[:-3], np.uint8)[None, :])[0] == int(match[2], 16):
            energies.append(int(match[1], 16))
        elif line.startswith(b"X "):
            text = " ".join(line[2:].decode("ascii", "backslashreplace").split())[:200]
            raise MeterRefused(f"the bridge reported '{text}' while it recorded", hint=_DOCS)
        else:
            unknown += line not in (b"", b"A start", b"A stop")
    return energies, unknown


def _cross_check(header: Header, assembly: _Assembly) -> list[str]:
    """A note where the energy register and the samples differ.  The register counts from the acquisition's start to its
    end; a trapezoid over the samples lacks half a period at both ends."""
    lsb_a = float(header.setting("current_lsb_a"))
    counted_j = ((assembly.energies[-1] - assembly.energies[0]) % (1 << 40)) * CURRENT_STEPS_PER_JOULE_STEP * lsb_a
    sampled_j = assembly.sampled_j + (assembly.first_w + assembly.last_w) / 2 / header.rate_hz
    if abs(counted_j - sampled_j) <= _CROSS_CHECK * max(abs(counted_j), abs(sampled_j)):
        return []
    return [f"the chip's energy register has {counted_j:.4g} J where the samples have {sampled_j:.4g} J"]


# --- the instrument -------------------------------------------------------------------------------------------------

_DOCS = "docs/meters-instruments.md describes the bridge"
_ID = re.compile(r"I (\d+) (\w+) (\S+) (\S+) shunt_uohm=(\d+) range=(\d) current_lsb_na=(\d+(?:\.\d+)?)")


class Ina2xx(SerialMeter):
    """A bridge on a serial port, with the chip that is expected behind it."""

    driver = "ina2xx"
    baud = 921_600

    def __init__(self, port: str, *, chip: ChipName, site: str = "", raw_folder: Path | None = None) -> None:
        super().__init__(port, site=site, raw_folder=raw_folder)
        if chip not in CHIPS:
            raise SettingError(f"no chip '{chip}'", hint=", ".join(CHIPS))
        self._chip = chip
        self._shunt: dict[str, float | int] = {}
        self.caps = MeterCaps(
            1.0,
            CHIPS[chip].rate_max_hz,
            measures_voltage=True,
            supplies_dut=False,
            digital_inputs=8,
        )

    def _greet(self, keep_power: bool) -> MeterInfo:
        self._send(b"stop\n")  # it may still be sending for somebody who went away
        self._drain()
        answer = self._ask("id", "I")
        match = _ID.fullmatch(answer)
        if match is None:
            raise MeterProtocolError(f"{self.port}: 'id' answered '{answer[:100]}'", hint=_DOCS)
        protocol, chip, serial, firmware = match.groups()[:4]
        if int(protocol) != PROTOCOL:
            raise MeterProtocolError(f"{self.port}: protocol {protocol}, expected {PROTOCOL}", hint=_DOCS)
        if chip != self._chip:
            raise SettingError(f"{self.port}: has an {chip}, {self._chip} asked for", hint=f"write {chip}:{self.port}")
        shunt_uohm, place, lsb_na = match.groups()[4:]
        if int(place) >= len(CHIPS[chip].shunt_v) or int(shunt_uohm) == 0:
            raise MeterProtocolError(f"{self.port}: impossible shunt or range: '{answer}'", hint=_DOCS)
        self._shunt = {
            "shunt_ohm": int(shunt_uohm) * 1e-6,
            "range": int(place),
            "current_lsb_a": float(lsb_na) * 1e-9,
        }
        return MeterInfo(chip.upper(), serial, firmware, self.driver)

    def _set_rate(self, rate_hz: float, range_a: float | None) -> float:
        full_scale_a = CHIPS[self._chip].shunt_max * CHIPS[self._chip].shunt_v[int(self._shunt["range"])]
        full_scale_a /= self._shunt["shunt_ohm"]
        if range_a is not None and range_a > full_scale_a:
            raise NotSupported(
                f"{self.port}: {range_a:g} A asked for; this shunt ends at {full_scale_a:g} A", hint="a smaller shunt"
            )
        answer = self._ask(f"rate {rate_hz:g}", "R")
        try:
            actual_hz = float(answer.removeprefix("R "))
        except ValueError:
            actual_hz = 0.0
        if not rate_hz * (1 - 1e-6) <= actual_hz <= self.caps.rate_max_hz * 1.01:
            raise MeterProtocolError(f"{self.port}: {rate_hz:g} Hz asked for, answered '{answer}'", hint=_DOCS)
        return actual_hz

    def _set_supply(self, voltage_v: float | None, limit_a: float | None) -> None:
        raise AssertionError("it supplies no board")

    def _settings(self) -> Mapping[str, Any]:
        return {"chip": self._chip, **self._shunt}

    def _command_start(self, trigger: Trigger) -> None:
        self._ask("start", "A")

    def _command_stop(self) -> None:
        self._send(b"stop\n")

    def _decode(self, header: Header, data: Bytes) -> Trace:
        return decode(header, data)

    def _ask(self, command: str, letter: str) -> str:
        """The line that answers, by its first letter.  Raises MeterRefused, MeterTimeout, MeterProtocolError."""
        self._send(command.encode() + b"\n")
        for _ in range(_LINES_MAX):
            line = self._read_until(b"\n", f"'{command}'").decode("ascii", "backslashreplace").strip()
            if line.startswith("X "):
                raise MeterRefused(f"{self.port}: '{command}': the bridge answered '{line[2:100]}'", hint=_DOCS)
            if line.split(" ")[0] == letter:
                return line
        raise MeterProtocolError(f"{self.port}: '{command}': no answer in {_LINES_MAX} lines", hint=_DOCS)
