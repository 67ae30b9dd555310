"""Simulated X-NUCLEO-LPM01A and STLINK-V3PWR: the protocol of ``hil.meter.drivers.powershield`` from the other end."""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

from hil.meter.drivers.powershield import STAMP, Model
from hil.meter.sim.instrument import Faults, PtyInstrument, Source
from hil.meter.types import Float

_EXPONENT_MAX = 14  # 15 is kept for messages
_STAMP_S = 0.1
# Of the trigger: D7 takes both (the kit's list of commands, as MLPerf Tiny's runner quotes it); TGI: assumed.
_EDGES = {"d7": (1, -1), "hw": (1,)}


def encode_binary(current_a: Float) -> bytes:
    """16-bit samples with the most digits that fit.  A current beyond 4095 A or below 0 is at the end of the range."""
    current = current_a.clip(1e-30, 4095.0)
    exponent = np.floor(np.log(4095.49 / current) / np.log(16.0)).clip(0, _EXPONENT_MAX)
    mantissa = np.rint(current * 16.0**exponent).astype(np.uint16)
    words: npt.NDArray[np.uint16] = mantissa | exponent.astype(np.uint16) << 12
    return words.astype(">u2").tobytes()


def encode_ascii(current_a: Float) -> bytes:
    """``6409-07`` and a line end, one per sample."""
    lines = []
    for current in current_a:
        mantissa, exponent = f"{max(float(current), 0.0):.3e}".split("e")
        power = int(exponent) - 3 if float(mantissa) else 0
        lines.append(f"{mantissa.replace('.', '')}{power:+03d}\r\n")
    return "".join(lines).encode()


class Simulator(PtyInstrument):
    """One of the two with a board.  ``supply_changes`` lists the commands about the board's supply; ``refuse`` those
    that are declined, by their first words; ``load_percent`` is how full it says its buffer is."""

    def __init__(
        self,
        model: Model,
        source: Source,
        *,
        version: str = "1.0.6",
        refuse: frozenset[str] = frozenset(),
        load_percent: int = 0,
        faults: Faults | None = None,
        samples: int | None = None,
        speed: float | None = 1.0,
    ) -> None:
        super().__init__(source, faults=faults, samples=samples, speed=speed)
        self.supply_changes: list[str] = []
        self.commands: list[str] = []
        self.load_percent = load_percent
        self.error = ""  # a text here is reported before the next samples
        self._model, self._version, self._refuse = model, version, refuse
        self._rate_hz, self._format, self._supply_mv = 1000.0, "bin", 3300
        self._trigger = "sw"
        self._line = bytearray()

    @property
    def rate_hz(self) -> float:
        return self._rate_hz

    def _answer(self, data: bytes) -> None:
        self._line += data
        *lines, rest = bytes(self._line).split(b"\r\n")
        self._line[:] = rest
        for line in lines:
            self._obey(line.decode("ascii", "replace"))

    def _obey(self, command: str) -> None:
        self.commands.append(command)
        word, _, value = command.partition(" ")
        known = {"freq", "format", "acqtime", "trigsrc", "trigdelay", "output", "funcmode", "htc", "hrc", "pwr", "volt"}
        answers = {
            "powershield": f"{self._model.identity} 0123456789ABCDEF01234567",
            "version": f"version {self._version}",
            "power_monitor": command,
            "start": command,
        }
        if word == "stop":
            self._end()
        elif word in self._refuse or (word not in answers and word not in known):
            self._reply(f"PowerShield > error {command}\r\n\r\n".encode())
        elif command == "volt get":
            self._reply(f"PowerShield > ack volt get {self._supply_mv}-03\r\n\r\n".encode())
        else:
            self._set(word, value)
            self._reply(f"PowerShield > ack {answers.get(word, command)}\r\n\r\n".encode())

    def _set(self, word: str, value: str) -> None:
        if word == "freq":
            self._rate_hz = float(value.removesuffix("k")) * (1000 if value.endswith("k") else 1)
        elif word == "format":
            self._format = {name: kind for kind, name in self._model.formats.items()}[value]
        elif word in ("volt", "pwr"):
            self.supply_changes.append(f"{word} {value}")
            self._supply_mv = int(value.removesuffix("m")) if word == "volt" else self._supply_mv
        elif word == "trigsrc":
            self._trigger = value
        elif word == "start":
            self._start(_EDGES.get(self._trigger, ()))

    def _end(self) -> None:
        if self.running:
            self._stop()
            self._reply(self._message(0xF4, "end"))
        self._reply(b"PowerShield > Acquisition completed\r\nPowerShield > ")

    def _message(self, kind: int, text: str, payload: bytes = b"") -> bytes:
        if self._format == "ascii":
            return f"\r\n\0{text}\r\n".encode()
        if kind in (0xF1, 0xF2):
            return bytes([0xF0, kind]) + text.encode() + self._model.text_end
        return bytes([0xF0, kind]) + payload.ljust(self._model.frames[kind] - 4, b"\0") + b"\xff\xff"

    def _encode(self, index: npt.NDArray[np.int64], t_s: Float) -> bytes:
        current = self.source.current_a(t_s)
        kept = self.faults.kept(index)
        over = bool((current > self._model.full_scale_a * 1.1).any())
        if over:
            kept &= np.arange(index.size) < int((current > self._model.full_scale_a * 1.1).argmax())
        encode = encode_ascii if self._format == "ascii" else encode_binary
        data = self._message(0xF1, f"error {self.error}") if self.error else b""
        self.error = ""
        every = max(1, round(_STAMP_S * self._rate_hz))
        borders = [0, *np.flatnonzero(index % every == 0).tolist(), index.size]
        for start, stop in zip(borders, borders[1:], strict=False):
            if start < index.size and index[start] % every == 0:
                data += self._stamp(int(index[start]))
            data += encode(current[start:stop][kept[start:stop]])
        if over:
            data += self._message(0xF5, "error overcurrent") + self._message(0xF4, "end")
            self._samples = self._next
        return data

    def _stamp(self, index: int) -> bytes:
        time_ms = int(index * 1000 / self._rate_hz)
        text = f"TimeStamp: {time_ms // 1000}s {time_ms % 1000}ms, buff {self.load_percent}%"
        return self._message(STAMP, text, struct.pack(">IB", time_ms, self.load_percent))
