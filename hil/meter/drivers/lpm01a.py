"""ST X-NUCLEO-LPM01A (and the meter on STM32L562E-DK): 1 Hz to 100 kHz, supplies 1.8 to 3.3 V."""

from __future__ import annotations

from hil.meter.drivers.powershield import RATES_HZ, STAMP, Model, PowerShield, decode_model
from hil.meter.drivers.raw import Bytes, Header
from hil.meter.types import MeterCaps, Trace

MODEL = Model(
    title="X-NUCLEO-LPM01A",
    identity="powershield",
    enter=("htc",),
    prepare=("output current", "funcmode high", "trigdelay 0"),  # by itself it would wait for a millisecond
    leave=("hrc",),
    formats={"bin": "bin_hexa", "ascii": "ascii_dec"},
    hardware_trigger="d7",
    trigger_wire="D7 of its Arduino connector (behind a solder bridge)",
    volt_min=1.8,
    volt_max=3.3,
    full_scale_a=50e-3,
    frames={STAMP: 9, 0xF4: 4, 0xF5: 4, 0xF6: 4, 0xF7: 6},
    text_end=b"\xff\xff",
    version_min=(1, 0, 6),
    notes={0xF6: "the board's supply was switched off"},
)


class Lpm01a(PowerShield):
    """An LPM01A on a serial port."""

    driver = "lpm01a"
    model = MODEL
    baud = 3_686_400
    caps = MeterCaps(RATES_HZ[0], RATES_HZ[-1], measures_voltage=False, supplies_dut=True, hw_trigger=True)


def decode(header: Header, data: Bytes) -> Trace:
    """The trace in the bytes of a recording.  Raises MeterError."""
    return decode_model(MODEL, header, data)
