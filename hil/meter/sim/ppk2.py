"""A simulated Nordic PPK2: the protocol of ``hil.meter.drivers.ppk2`` from the other end."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hil.meter.drivers.ppk2 import (
    ADC_MAX,
    ADC_VOLT,
    DEFAULTS,
    DUT_POWER,
    METADATA,
    MODE,
    RATE_HZ,
    START,
    STOP,
    VOLTAGE,
)
from hil.meter.sim.instrument import Faults, PtyInstrument, Source
from hil.meter.types import Float

# Where the instrument changes to the next range: the specified ends of ranges 0 to 3.
RANGE_ENDS_A = (50e-6, 500e-6, 5e-3, 60e-3)
_ARGUMENTS = {MODE: 1, DUT_POWER: 1, VOLTAGE: 2}

# Constants of the size that real instruments have, none of them neutral.
CALIBRATION: dict[str, tuple[float, ...]] = {
    "R": (1003.35, 101.59, 10.15, 0.9403, 0.0594),
    "GS": (0.5, 1.2, 0.8, 0.03, 0.06),
    "GI": (1.0, 0.9695, 0.9609, 0.9519, 0.9582),
    "O": (112.7, 18.0, 11.3, 8.8, 4.4),
    "S": (4.8e-8, 1.0e-7, -2.0e-7, 5.0e-6, 3.0e-5),
    "I": (-2.4e-8, -3.0e-8, 1.0e-7, 2.0e-6, -4.0e-5),
    "UG": (1.0, 1.01, 0.99, 1.0, 1.02),
}


def metadata_text(calibration: dict[str, tuple[float, ...]], vdd_mv: int, mode: int) -> bytes:
    """The answer to opcode 0x19."""
    lines = [f"{name}{index}: {value!r}" for name, row in calibration.items() for index, value in enumerate(row)]
    return "\n".join(["Calibrated: 0", *lines, f"VDD: {vdd_mv}", "HW: 9173", f"mode: {mode}", "IA: 56", "END"]).encode()


def encode(
    index: npt.NDArray[np.int64],
    current_a: Float,
    digital: npt.NDArray[np.uint8],
    *,
    calibration: dict[str, tuple[float, ...]] = DEFAULTS,
    vdd_v: float = 3.3,
) -> npt.NDArray[np.uint32]:
    """Words of samples, all of shape ``[n]``: the conversion formula backwards.  ``index`` gives the counter."""
    ranges = np.searchsorted(RANGE_ENDS_A, current_a, side="left")
    k = {name: np.asarray(row, np.float64)[ranges] for name, row in calibration.items()}
    # UG * (GS x^2 + GI x + c) = I, solved for x; the form without a difference of nearly equal numbers.
    wanted = current_a / k["UG"] - (k["S"] * vdd_v + k["I"])
    x = 2 * wanted / (k["GI"] + np.sqrt(np.maximum(k["GI"] ** 2 + 4 * k["GS"] * wanted, 0.0)))
    words: npt.NDArray[np.uint32] = np.rint((x / ADC_VOLT * k["R"] + k["O"]) / 4).clip(0, ADC_MAX).astype(np.uint32)
    for value, place in ((ranges, 14), (index & 63, 18), (digital, 24)):
        words |= value.astype(np.uint32) << np.uint32(place)
    return words


def resolution_a(current_a: Float, calibration: dict[str, tuple[float, ...]] = DEFAULTS) -> Float:
    """One step of the transmitted ADC value at a current, in amperes: four steps of the ADC, times the slope."""
    ranges = np.searchsorted(RANGE_ENDS_A, current_a, side="left")
    k = {name: np.asarray(row, np.float64)[ranges] for name, row in calibration.items()}
    slope: Float = k["UG"] * np.sqrt(np.maximum(k["GI"] ** 2 + 4 * k["GS"] * current_a / k["UG"], 0.0))
    step: Float = 4 * ADC_VOLT / k["R"] * slope
    return step


class Simulator(PtyInstrument):
    """A PPK2 with a board.  ``supply_changes`` lists what was done to the board's supply, as (opcode, value)."""

    def __init__(
        self,
        source: Source,
        *,
        mode: int = 1,
        vdd_mv: int = 3300,
        calibration: dict[str, tuple[float, ...]] = CALIBRATION,
        spikes: float = 0.0,
        measuring: bool = False,
        faults: Faults | None = None,
        samples: int | None = None,
        speed: float | None = 1.0,
    ) -> None:
        super().__init__(source, faults=faults, samples=samples, speed=speed)
        self.mode, self.vdd_mv = mode, vdd_mv
        self.supply_changes: list[tuple[int, int]] = []
        self._calibration = calibration
        self._spikes = spikes
        self._command = bytearray()
        self._range = -1
        if measuring:  # somebody else left it so
            self._start()

    @property
    def rate_hz(self) -> float:
        return RATE_HZ

    def _answer(self, data: bytes) -> None:
        self._command += data
        while self._command and len(self._command) > _ARGUMENTS.get(self._command[0], 0):
            size = 1 + _ARGUMENTS.get(self._command[0], 0)
            opcode, value = self._command[0], int.from_bytes(self._command[1:size], "big")
            del self._command[:size]
            self._obey(opcode, value)

    def _obey(self, opcode: int, value: int) -> None:
        if opcode in _ARGUMENTS:
            self.supply_changes.append((opcode, value))
        if opcode == START:
            self._start()
        elif opcode == STOP:
            self._stop()
        elif opcode == METADATA:
            self._reply(metadata_text(self._calibration, self.vdd_mv, self.mode))
        elif opcode == MODE:
            self.mode = value
        elif opcode == VOLTAGE:
            self.vdd_mv = value

    def _encode(self, index: npt.NDArray[np.int64], t_s: Float) -> bytes:
        current = self.source.current_a(t_s)
        words = encode(
            index, current, self.source.digital(t_s), calibration=self._calibration, vdd_v=self.vdd_mv / 1000
        )
        if self._spikes:
            words = self._with_spikes(words)
        return words[self.faults.kept(index)].astype("<u4").tobytes()

    def _with_spikes(self, words: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
        """Two samples after a change of range are too high, by a factor of ``1 + spikes``."""
        ranges = (words >> 14 & 7).astype(np.int64)
        changed = np.diff(ranges, prepend=self._range if self._range >= 0 else ranges[0]) != 0
        self._range = int(ranges[-1])
        late = changed | np.concatenate(([False], changed[:-1]))
        adc = (words & ADC_MAX) * np.where(late, 1 + self._spikes, 1.0)
        return (words & ~np.uint32(ADC_MAX)) | adc.clip(0, ADC_MAX).astype(np.uint32)
