"""The serial protocol that ST's X-NUCLEO-LPM01A and STLINK-V3PWR share, as UM2269 and ST's tools use it.

Commands are lines, answered ``ack ...`` or ``error ...``, perhaps behind a prompt ``PowerShield > ``.  An acquisition
is a stream of samples with messages in between:

* ``ascii_dec``: a sample is ``6409-07`` and a line end, 6409e-7 A; messages are lines that begin with a letter.
* binary: a sample is 16 bits, big endian, ``(v & 0xFFF) * 16 ** -(v >> 12)`` A; the exponent 15 is kept for messages,
  which begin with 0xF0 and a type (F1 error, F2 information, F3 time, F4 end, F5 over-current), and end with 0xFF 0xFF.

Samples carry no number.  The times (milliseconds) in between do instead: a stretch between two of them that holds
another number of samples than its length, or a byte too few, is left out as a whole and counted as lost, because
nobody can say where in it the loss was.  As a time is one millisecond coarse, so is this check.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from hil.errors import MeterError
from hil.meter.drivers.base import between_samples, refuse_limit, require_within, runs
from hil.meter.drivers.raw import Bytes, Header, RawWriter, line_blocks, read_raw
from hil.meter.drivers.stream import SerialMeter
from hil.meter.errors import GapError, MeterProtocolError, MeterRefused, MeterTimeout, NotSupported, SettingError
from hil.meter.spool import Spool, let_go
from hil.meter.types import Float, Gap, MeterInfo, Trace, Trigger

RATES_HZ = tuple(digit * 10**power for power in range(5) for digit in (1, 2, 5)) + (100_000,)
ASCII_RATE_MAX_HZ = 10_000
Format = Literal["bin", "ascii"]
STAMP = 0xF3
_ERROR, _INFORMATION, _END, _OVERCURRENT = 0xF1, 0xF2, 0xF4, 0xF5
_MESSAGE = 0xF0
_TEXT_MAX = 500
_LINES_MAX = 50
_BLOCK = 1 << 20  # bytes; even, as samples have two


@dataclass(frozen=True)
class Model:
    """What differs between the two.

    ``frames``: bytes of a binary message by its type, both ends included; those of text end with ``text_end``.
    ``enter`` are the commands at the beginning, ``prepare`` those before an acquisition.  ``hardware_trigger`` is the
    source of the trigger at ``trigger_wire``.
    """

    title: str
    identity: str
    enter: tuple[str, ...]
    prepare: tuple[str, ...]
    leave: tuple[str, ...]
    formats: Mapping[Format, str]
    hardware_trigger: str
    trigger_wire: str
    volt_min: float
    volt_max: float
    full_scale_a: float
    frames: Mapping[int, int]
    text_end: bytes
    version_min: tuple[int, ...] = ()
    notes: Mapping[int, str] = field(default_factory=dict)


# --- decoding -------------------------------------------------------------------------------------------------------


@dataclass
class _Assembly:
    """Samples put together stretch by stretch, each closed by a time."""

    rate_hz: float
    spool: Spool
    full_scale_a: float
    gaps: list[Gap] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    clipped: list[tuple[int, int]] = field(default_factory=list)
    first_ms: int | None = None
    _start: int = 0  # the first sample of the stretch
    _readable: bool = True  # the stretch, so far
    _last_ms: int = 0
    _base_ms: int = 0
    _since_base: int = 0

    def samples(self, amps: Float | None) -> None:
        """Of the stretch; None where its bytes cannot be read: nothing of it counts from there on."""
        if amps is None:
            self._readable = False
        elif self._readable:
            start = self.spool.samples
            self.clipped += [(start + first, start + stop) for first, stop in runs(amps >= self.full_scale_a)]
            self.spool.append(current_a=amps)

    def take_back(self, samples: int) -> None:
        """Everything behind that many samples."""
        self.spool.truncate(samples)
        self.clipped = [(first, min(stop, samples)) for first, stop in self.clipped if first < samples]

    def stamp(self, time_ms: int, load_percent: int) -> None:
        if load_percent >= 100:
            self.notes.append(f"its buffer was full at {time_ms} ms: samples may be missing")
        if self.first_ms is None:
            self.take_back(0)  # what comes before the first time is the rest of the answer to the command
            self.first_ms = self._last_ms = self._base_ms = time_ms
            self._begin()
            return
        held = self.spool.samples - self._start
        expected = (time_ms - self._base_ms) * self.rate_hz / 1000
        fits = abs(self._since_base + held - expected) <= max(1.0, self.rate_hz / 1000) and time_ms >= self._last_ms
        if fits and self._readable:
            self._since_base += held
        else:
            # A clock that went back says nothing of the length; what was held is missing for certain.
            missing = round((time_ms - self._last_ms) * self.rate_hz / 1000)
            self.gaps.append(Gap(self._start, missing if missing > 0 else max(held, 1)))
            self.notes.append(f"{self._last_ms} to {time_ms} ms do not hold their samples: left out")
            self.take_back(self._start)
            self._base_ms, self._since_base = time_ms, 0
        self._last_ms = time_ms
        self._begin()

    def _begin(self) -> None:
        self._start, self._readable = self.spool.samples, True

    def end(self) -> None:
        """The stretch after the last time, which nothing closes: what can be read of it, from its beginning."""
        if not self._readable:
            self.notes.append("the bytes after the last time cannot be read: left out")
        if self.first_ms is None:
            self.notes.append("no times in between: lost samples cannot be told")


def decode_model(model: Model, header: Header, data: Bytes) -> Trace:
    """The trace in the bytes of a recording.  Raises MeterError."""
    kind = header.setting("format", str)
    voltage_v = float(header.setting("voltage_v"))
    with Spool(beside=data) as spool:
        assembly = _Assembly(header.rate_hz, spool, model.full_scale_a)
        if kind == "ascii":
            _decode_ascii(model, data, assembly)
        else:
            _decode_binary(model, data, assembly)
        assembly.end()
        current = spool.columns().get("current_a", np.empty(0))
    triggered = header.settings.get("trigger") == "hardware"
    if triggered and assembly.first_ms is None:
        # Not even a time: what came is the answer to the stop.
        raise MeterTimeout(
            f"{model.title}: the trigger never came: no edge at {model.trigger_wire}",
            hint="wire the board's synchronisation pin to it, or start by software",
        )
    before, gaps = between_samples(assembly.gaps, current.size)
    if triggered and before:
        raise GapError(
            f"{model.title}: {before} samples missing right after the trigger: the trace does not begin with it",
            hint="measure again with a lower rate, another USB port or a quieter host",
        )
    return Trace(
        header.site,
        current,
        voltage_v,
        dt_s=1 / header.rate_hz,
        t0_s=(assembly.first_ms or 0) / 1000 + before / header.rate_hz,
        gaps=gaps,
        clipped=sum(stop - start for start, stop in assembly.clipped),
        clipped_at=tuple(assembly.clipped),
        info=header.info,
        notes=tuple(assembly.notes),
    )


def _refused(model: Model, text: str) -> MeterRefused:
    return MeterRefused(
        f"{model.title}: reported '{text}' while it recorded", hint="the recording is not to be trusted"
    )


def _decode_binary(model: Model, data: Bytes, assembly: _Assembly) -> None:
    at = 0
    for start, end in _messages(model, data):
        _take_binary(data[at:start], assembly)
        let_go(data)
        at = end
        kind = int(data[start + 1])
        if kind == STAMP:
            payload = data[start + 2 : end - 2].tobytes()
            assembly.stamp(int.from_bytes(payload[:4], "big"), payload[4])
        elif kind == _ERROR:
            raise _refused(model, _text(data[start + 2 : end].tobytes()))
        elif kind == _OVERCURRENT:
            raise _refused(model, "over-current")
        elif kind == _END:
            return
        elif kind in model.notes:
            assembly.notes.append(model.notes[kind])
    _take_binary(data[at:], assembly)


def _take_binary(data: Bytes, assembly: _Assembly) -> None:
    """What lies between two messages: all of it, or nothing where a byte is one too few or none of a sample."""
    before = assembly.spool.samples
    if data.size % 2:
        assembly.samples(None)
        return
    for start in range(0, data.size, _BLOCK):
        amps = _from_binary(data[start : start + _BLOCK])
        if amps is None:
            assembly.take_back(before)
        assembly.samples(amps)
        let_go(data)


def _text(data: bytes) -> str:
    return " ".join(data.rstrip(b"\xff").decode("ascii", "replace").split())


def _messages(model: Model, data: Bytes) -> Iterator[tuple[int, int]]:
    """Where messages are.  0xF0 with a type behind it is in no sample and across no two samples, so they are found
    wherever they lie; what does not end as it must is none."""
    after = 0
    for start in _message_starts(data):
        if start < after:
            continue
        kind = int(data[start + 1])
        if kind in (_ERROR, _INFORMATION):
            text = data[start : start + _TEXT_MAX].tobytes()
            end = text.find(model.text_end, 2)
            size = end + len(model.text_end) if end >= 0 else 0
        else:
            size = model.frames.get(kind, 0)
        if size and data[start + size - 2 : start + size].tobytes() == b"\xff\xff":
            after = start + size
            yield start, after


def _message_starts(data: Bytes) -> Iterator[int]:
    """Where 0xF0 and a type are."""
    for begin in range(0, data.size - 1, _BLOCK):
        block = data[begin : begin + _BLOCK + 1]
        types = block[1:]
        for start in np.flatnonzero((block[:-1] == _MESSAGE) & (types >= _ERROR) & (types <= 0xFB)):
            yield begin + int(start)
        let_go(data)


_POWERS_OF_16: Float = 16.0 ** -np.arange(16.0)


def _from_binary(data: Bytes) -> Float | None:
    """Amperes of an even number of bytes, or None where these are no samples."""
    words = data.view(">u2")
    exponents = (words >> 12).astype(np.intp)
    if (exponents == 15).any():
        return None
    amps: Float = (words & 0xFFF) * _POWERS_OF_16[exponents]
    return amps


_ASCII_MESSAGE = re.compile(rb"[A-Za-z][^\r\n]*\r?\n")
_ASCII_STAMP = re.compile(rb"time\s?stamp:?\s*(\d+)\s*s\s+(\d+)\s*ms,?\s*buff\w*\s*(\d+)\s*%", re.IGNORECASE)
_RECORD = 9  # "6409-07" and a line end


def _decode_ascii(model: Model, data: Bytes, assembly: _Assembly) -> None:
    for start, end in line_blocks(data, _BLOCK):
        text = data[start:end].tobytes().replace(b"\0", b"")  # the instrument pads its messages with zeros
        let_go(data)
        at = 0
        for match in _ASCII_MESSAGE.finditer(text):
            assembly.samples(_from_ascii(text[at : match.start()]))
            at = match.end()
            line = match[0].strip()
            if stamp := _ASCII_STAMP.match(line):
                if max(map(len, stamp.groups())) > 10:
                    raise MeterProtocolError(f"{model.title}: impossible time: {line[:60]!r}")
                seconds, milliseconds, load = map(int, stamp.groups())
                assembly.stamp(1000 * seconds + milliseconds, load)
            elif line.lower().startswith(b"err"):
                raise _refused(model, _text(line))
            elif line == b"end":
                return
        assembly.samples(_from_ascii(text[at:]))


def _from_ascii(text: bytes) -> Float | None:
    text = re.sub(rb"(\r\n)+", b"\r\n", text).removeprefix(b"\r\n")
    if len(text) % _RECORD:
        return None
    table = np.frombuffer(text, np.uint8).reshape(-1, _RECORD)
    digits = table[:, [0, 1, 2, 3, 5, 6]].astype(np.int64) - ord("0")
    negative = table[:, 4] == ord("-")
    signed = negative | (table[:, 4] == ord("+"))
    if not (((digits >= 0) & (digits <= 9)).all() and signed.all() and (table[:, 7:] == (13, 10)).all()):
        return None
    mantissa = digits[:, :4] @ np.array([1000, 100, 10, 1])
    exponent = digits[:, 4:] @ np.array([10, 1])
    amps: Float = mantissa * np.power(10.0, np.where(negative, -exponent, exponent))
    return amps


# --- the instrument -------------------------------------------------------------------------------------------------


class PowerShield(SerialMeter):
    """One of the two on a serial port.

    ``format``: "bin", or "ascii" for at most 10 kHz.  ``voltage_v``: of the board's supply, if the instrument is not
    to be asked.
    """

    model: ClassVar[Model]

    def __init__(
        self,
        port: str,
        *,
        site: str = "",
        raw_folder: Path | None = None,
        format: Format = "bin",
        voltage_v: float | None = None,
    ) -> None:
        super().__init__(port, site=site, raw_folder=raw_folder)
        if format not in self.model.formats:
            raise SettingError(f"{port}: format '{format}', expected {' or '.join(self.model.formats)}")
        if voltage_v is not None and not 0 < voltage_v <= 2 * self.model.volt_max:
            raise SettingError(
                f"{port}: voltage_v is {voltage_v:g}, expected more than 0 V, at most {2 * self.model.volt_max:g} V"
            )
        self._format: Format = format
        self._voltage_v = voltage_v
        self._switched_off = False
        self._trigger: Trigger = "software"

    def start(self, trigger: Trigger = "software") -> None:
        """``hardware``: time 0 of the trace is the first edge of the board's pin from now on."""
        self._require_idle("started")
        self._trigger = trigger
        super().start(trigger)

    def _command_leave(self) -> None:
        if self._switched_off:
            # Control goes back only where no board is supplied: the instrument's own keys might switch it off.
            for command in self.model.leave:
                self._send(_line(command))
        self._switched_off = False

    def _greet(self, keep_power: bool) -> MeterInfo:
        self._send(_line("stop"))  # it may still be sending for somebody who went away
        self._drain()
        for command in self.model.enter:
            self._ask(command)
        identity = self._ask("powershield")
        if self.model.identity.lower() not in identity.lower():
            raise MeterProtocolError(
                f"{self.port}: is '{identity}', expected {self.model.identity}", hint="is this the instrument's port?"
            )
        version = self._ask("version").removeprefix("version").strip(" :")
        self._check_version(version)
        serial = re.search(r"\b[0-9A-F]{12,}\b", identity, re.IGNORECASE)
        return MeterInfo(self.model.title, serial[0] if serial else "", version, self.driver)

    def _check_version(self, version: str) -> None:
        numbers = re.search(r"\d+(?:\.\d+)+", version)
        if numbers and tuple(map(int, numbers[0].split("."))) < self.model.version_min:
            wanted = ".".join(map(str, self.model.version_min))
            raise MeterProtocolError(
                f"{self.port}: firmware {numbers[0]}, expected {wanted} or newer", hint="update it with ST's tool"
            )

    def _set_rate(self, rate_hz: float, range_a: float | None) -> float:
        if range_a is not None:
            require_within(self.port, "range", range_a, 0.0, self.model.full_scale_a, "A")
        rate = next(rate for rate in RATES_HZ if rate >= rate_hz * (1 - 1e-9))
        if self._format == "ascii" and rate > ASCII_RATE_MAX_HZ:
            raise NotSupported(
                f"{self.port}: {rate} Hz asked for; text takes {ASCII_RATE_MAX_HZ} Hz at most", hint="use format=bin"
            )
        self._ask(f"freq {rate // 1000}k" if rate >= 1000 else f"freq {rate}")
        self._ask(f"format {self.model.formats[self._format]}")
        self._ask("acqtime inf")
        for command in self.model.prepare:
            self._ask(command)
        return float(rate)

    def _set_supply(self, voltage_v: float | None, limit_a: float | None) -> None:
        refuse_limit(self.port, limit_a)
        if voltage_v is None:
            self._ask("pwr off")
            self._switched_off = True
            return
        require_within(self.port, "voltage", voltage_v, self.model.volt_min, self.model.volt_max, "V")
        self._ask(f"volt {round(voltage_v * 1000)}m")
        self._ask("pwr on")
        self._voltage_v, self._switched_off = voltage_v, False

    def _settings(self) -> Mapping[str, Any]:
        if self._voltage_v is None:
            self._voltage_v = self._asked_voltage_v()
        return {"format": self._format, "voltage_v": self._voltage_v, "trigger": self._trigger}

    def _asked_voltage_v(self) -> float:
        hint = f"say it: {self.driver}:PORT?voltage_v=3.3, or let it supply the board"
        try:
            answer = self._ask("volt get")
        except MeterRefused as error:
            raise SettingError(f"{self.port}: the board's voltage is not known", hint=hint) from error
        number = re.search(r"(\d{1,6})([+-]\d{1,2})\b", answer)
        voltage_v = float(f"{number[1]}e{number[2]}") if number else math.nan
        if not 0 < voltage_v <= 2 * self.model.volt_max:
            raise MeterProtocolError(f"{self.port}: 'volt get' answered '{answer}'", hint=hint)
        return voltage_v

    def _command_start(self, trigger: Trigger) -> None:
        self._ask(f"trigsrc {'sw' if trigger == 'software' else self.model.hardware_trigger}")
        self._ask("start")

    def _command_stop(self) -> None:
        self._send(_line("stop"))

    def _finish(self, raw: RawWriter) -> MeterError | None:
        problem = super()._finish(raw)
        return self._waiting(raw.path) or problem if isinstance(problem, MeterTimeout) else problem

    def _trouble(self) -> MeterError | None:
        problem = super()._trouble()
        waits = self._trigger == "hardware" and isinstance(problem, MeterTimeout)
        return None if waits and self.recording is not None and self._waiting(self.recording) else problem

    def _waiting(self, path: Path) -> MeterTimeout | None:
        """That the trigger has not come, where a recording says so: silence is no fault then."""
        try:
            self._decode(*read_raw(path))
        except MeterTimeout as never:
            return never
        except MeterError:
            return None
        return None

    def _decode(self, header: Header, data: Bytes) -> Trace:
        return decode_model(self.model, header, data)

    def _ask(self, command: str) -> str:
        """What the answer says behind ``ack``.  Raises MeterRefused, MeterTimeout, MeterProtocolError."""
        self._send(_line(command))
        word = command.split()[0]
        seen = []
        for _ in range(_LINES_MAX):
            line = self._read_until(b"\n", f"'{command}'").decode("ascii", "backslashreplace").strip()
            answer = line.rpartition("> ")[2].strip()
            kind, _, rest = answer.partition(" ")
            if kind.lower().startswith("err"):
                raise MeterRefused(f"{self.port}: '{command}': the instrument answered '{answer}'")
            if kind == "ack" and (rest.split()[:1] == [word] or word == "powershield"):
                return rest
            seen.append(line)
        raise MeterProtocolError(
            f"{self.port}: '{command}': no ack in {_LINES_MAX} lines, the last '{seen[-1][:60]}'",
            hint="is this the instrument's port?",
        )


def _line(command: str) -> bytes:
    return command.encode() + b"\r\n"
