"""The voltage that a user states where the instrument does not measure it: what cannot be, and what it knows better."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.errors import MeterError
from hil.meter.drivers.ppk2 import Ppk2
from hil.meter.errors import NotSupported, SettingError
from hil.meter.opened import opened
from hil.meter.registry import open_meter
from hil.meter.sim.instrument import Timeline
from hil.meter.sim.ppk2 import Simulator

FLOW = Timeline((0.0,), (1e-3,))
AMPERE, SOURCE = 1, 2


@pytest.mark.parametrize("voltage_v", ["0", "-3.3", "0.5", "5.5", "nan", "inf"])
def test_a_ppk2_takes_no_voltage_that_it_cannot_work_at(voltage_v: str) -> None:
    with pytest.raises(NotSupported, match=r"voltage \S+ V asked for, 0\.8 to 5 V possible"):
        open_meter(f"ppk2:/dev/none?voltage_v={voltage_v}")


@pytest.mark.parametrize("name", ["lpm01a", "stlink_v3pwr"])
@pytest.mark.parametrize("voltage_v", ["0", "-3.3", "50", "nan", "inf"])
def test_the_meters_of_st_take_none_either(name: str, voltage_v: str) -> None:
    with pytest.raises(SettingError, match=r"voltage_v is \S+, expected more than 0 V"):
        open_meter(f"{name}:/dev/none?voltage_v={voltage_v}")
    open_meter(f"{name}:/dev/none?voltage_v=2.5")


def recorded_v(kit: Simulator, meter: Ppk2) -> float:
    """The voltage in a trace of everything that the kit has."""
    meter.configure(100e3)
    meter.start()
    assert kit.sent.wait(20)
    trace = meter.stop()
    assert isinstance(trace.voltage_v, float)
    return trace.voltage_v


def a_kit(mode: int, vdd_mv: int = 3300) -> Simulator:
    return Simulator(FLOW, mode=mode, vdd_mv=vdd_mv, samples=1000, speed=None)


def test_what_a_ppk2_supplies_is_not_contradicted(tmp_path: Path) -> None:
    """In source mode the kit tells its VDD: 3.3 V here."""
    with a_kit(SOURCE) as kit:
        for stated_v in (1.8, 3.1, 3.5):
            with pytest.raises(SettingError, match=rf"supplies 3\.3 V, voltage_v={stated_v:g} stated"):
                Ppk2(kit.port, raw_folder=tmp_path, voltage_v=stated_v).open()


@pytest.mark.parametrize(("stated", "known_v"), [(3.25, 3.25), (None, 3.3)])
def test_who_measured_it_may_say_it_more_exactly(tmp_path: Path, stated: float | None, known_v: float) -> None:
    with a_kit(SOURCE) as kit, opened(Ppk2(kit.port, raw_folder=tmp_path, voltage_v=stated)) as meter:
        assert recorded_v(kit, meter) == known_v


def test_in_ampere_mode_only_the_user_knows(tmp_path: Path) -> None:
    with a_kit(AMPERE) as kit, opened(Ppk2(kit.port, raw_folder=tmp_path, voltage_v=1.8)) as meter:
        assert recorded_v(kit, meter) == 1.8


def test_a_supply_that_is_about_to_change_is_no_contradiction_until_it_records(tmp_path: Path) -> None:
    with (
        a_kit(SOURCE) as kit,
        opened(Ppk2(kit.port, raw_folder=tmp_path, voltage_v=1.8), keep_power=False) as meter,
    ):
        meter.configure(100e3)
        with pytest.raises(SettingError, match=r"supplies 3\.3 V, voltage_v=1\.8 stated"):
            meter.start()
        meter.supply(1.8)
        assert recorded_v(kit, meter) == 1.8


def test_a_vdd_that_no_kit_has_is_not_used(tmp_path: Path) -> None:
    with a_kit(SOURCE, 33_000) as kit, opened(Ppk2(kit.port, raw_folder=tmp_path)) as meter:
        meter.configure(100e3)
        with pytest.raises(MeterError, match="voltage is not known"):
            meter.start()
