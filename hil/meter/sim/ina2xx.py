"""A simulated bridge with an INA226 or INA228: the protocol of ``docs/meters-instruments.md`` from the other end."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hil.meter.drivers.ina2xx import CHIPS, CURRENT_STEPS_PER_JOULE_STEP, PROTOCOL, ChipName, crc8
from hil.meter.sim.instrument import Bits, Faults, PtyInstrument, Source
from hil.meter.types import Float


def with_crc(line: str) -> str:
    """A line with its checksum behind it."""
    crc = crc8(np.frombuffer(line.encode(), np.uint8)[None, :])[0]
    return f"{line} {crc:02X}"


def sample_lines(
    number: npt.NDArray[np.int64],
    time_us: npt.NDArray[np.int64],
    shunt: npt.NDArray[np.int64],
    bus: npt.NDArray[np.int64],
    inputs: Bits,
) -> bytes:
    """Sample lines of registers, all of shape ``[n]``."""
    rows = zip(number % 65536, time_us % 2**32, shunt % 2**24, bus % 2**24, inputs, strict=True)
    return "".join(with_crc(f"S {n:04X} {t:08X} {s:06X} {b:06X} {i:02X}") + "\n" for n, t, s, b, i in rows).encode()


class Simulator(PtyInstrument):
    """A bridge whose chip measures ``source``.  ``energy_error``: by which factor its energy register is wrong."""

    def __init__(
        self,
        source: Source,
        *,
        chip: ChipName = "ina228",
        shunt_uohm: int = 100_000,
        place: int = 0,
        current_lsb_na: float = 3125.0,
        first_us: int = 0,
        energy_error: float = 1.0,
        faults: Faults | None = None,
        samples: int | None = None,
        speed: float | None = 1.0,
    ) -> None:
        super().__init__(source, faults=faults, samples=samples, speed=speed)
        self.error = ""  # a text here is reported before the next samples
        self._chip, self._shunt_ohm, self._place = chip, shunt_uohm * 1e-6, place
        self._id = (
            f"I {PROTOCOL} {chip} B0001 1.0 shunt_uohm={shunt_uohm} range={place} current_lsb_na={current_lsb_na}"
        )
        self._lsb_a = current_lsb_na * 1e-9
        self._energy_j, self._energy_error = 0.0, energy_error
        self._first_us = first_us
        self._rate_hz = 1000.0
        self._line = bytearray()

    @property
    def rate_hz(self) -> float:
        return self._rate_hz

    def _answer(self, data: bytes) -> None:
        self._line += data
        *lines, rest = bytes(self._line).split(b"\n")
        self._line[:] = rest
        for line in lines:
            self._obey(*line.decode("ascii", "replace").strip().partition(" ")[::2])

    def _obey(self, word: str, value: str) -> None:
        if word == "id":
            self._reply(self._id.encode() + b"\n")
        elif word == "rate":
            self._rate_hz = float(value)
            self._reply(f"R {self._rate_hz:g}\n".encode())
        elif word == "start":
            self._energy_j = 0.0
            self._reply(b"A start\n" + self._energy_line())
            self._start()
        elif word == "stop":
            was_running = self.running
            self._stop()
            self._reply((self._energy_line() if was_running else b"") + b"A stop\n")
        else:
            self._reply(f"X unknown command {word}\n".encode())

    def _energy_line(self) -> bytes:
        if not CHIPS[self._chip].accumulates:
            return b""
        steps = round(self._energy_j * self._energy_error / (CURRENT_STEPS_PER_JOULE_STEP * self._lsb_a))
        return with_crc(f"E {steps % 2**40:010X}").encode() + b"\n"

    def _encode(self, index: npt.NDArray[np.int64], t_s: Float) -> bytes:
        chip = CHIPS[self._chip]
        current, voltage = self.source.current_a(t_s), self.source.voltage_v(t_s)
        self._energy_j += float(np.sum(current * voltage)) / self._rate_hz
        shunt = np.rint(current * self._shunt_ohm / chip.shunt_v[self._place]).clip(-chip.shunt_max - 1, chip.shunt_max)
        bus = np.rint(voltage / chip.bus_v)
        time_us = self._first_us + np.rint(t_s * 1e6)
        kept = self.faults.kept(index)
        number, time_us, shunt, bus = (column.astype(np.int64)[kept] for column in (index, time_us, shunt, bus))
        head = f"X {self.error}\n".encode() if self.error else b""
        self.error = ""
        return head + sample_lines(number, time_us, shunt, bus, self.source.digital(t_s)[kept])
