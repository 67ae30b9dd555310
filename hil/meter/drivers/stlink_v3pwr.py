"""ST STLINK-V3PWR: a debug probe with a meter, up to 100 kHz, supplies 1.6 to 3.6 V."""

from __future__ import annotations

from hil.meter.drivers.powershield import RATES_HZ, STAMP, Model, PowerShield, decode_model
from hil.meter.drivers.raw import Bytes, Header
from hil.meter.types import MeterCaps, Trace

MODEL = Model(
    title="STLINK-V3PWR",
    identity="STLINK-V3PWR",
    enter=("power_monitor",),
    prepare=("trigdelay 0",),
    leave=(),
    formats={"bin": "bin_hex", "ascii": "ascii_dec"},
    hardware_trigger="hw",
    trigger_wire="TGI",
    volt_min=1.6,
    volt_max=3.6,
    full_scale_a=500e-3,
    frames={STAMP: 9, 0xF4: 4, 0xF5: 8, 0xF6: 4, 0xF7: 6, 0xF8: 6, 0xF9: 5, 0xFA: 4, 0xFB: 4},
    text_end=b"\r\n\xff\xff",
)


class StlinkV3Pwr(PowerShield):
    """An STLINK-V3PWR, at its port "STLink Virtual COM Port PWR"."""

    driver = "stlink_v3pwr"
    model = MODEL
    caps = MeterCaps(RATES_HZ[0], RATES_HZ[-1], measures_voltage=False, supplies_dut=True, hw_trigger=True)


def decode(header: Header, data: Bytes) -> Trace:
    """The trace in the bytes of a recording.  Raises MeterError."""
    return decode_model(MODEL, header, data)
