"""Meters by name: specs, what is attached, replay."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.board.boards import PortInfo
from hil.errors import MeterError, UnavailableError
from hil.meter.drivers.base import Driver
from hil.meter.drivers.ina2xx import Ina2xx
from hil.meter.drivers.lpm01a import Lpm01a
from hil.meter.drivers.ppk2 import Ppk2
from hil.meter.drivers.raw import Header, RawWriter, blocks, pack_block, read_raw
from hil.meter.drivers.replay import DECODERS, Replay, decode_recording, decoder_of
from hil.meter.errors import FormatError, MeterProtocolError, NotSupported, SettingError
from hil.meter.registry import METERS, Found, list_meters, open_meter, take_setting, with_setting
from hil.meter.sim.ina2xx import Simulator as BridgeSimulator
from hil.meter.sim.instrument import Faults, Timeline
from hil.meter.sim.ppk2 import Simulator
from hil.meter.types import MeterInfo, PowerMeter

PPK2 = PortInfo("/dev/ttyACM0", 0x1915, 0xC00A, "C0FFEE", description="PPK2")
SHELL = PortInfo("/dev/ttyACM1", 0x1915, 0xC00A, "C0FFEE", description="PPK2")  # the second port of the same one
OTHER = PortInfo("/dev/ttyACM2", 0x1915, 0xC00A, "BEEF", description="PPK2")
PROBE = PortInfo("/dev/ttyACM3", 0x0483, 0x3757, "V3", description="STLink Virtual COM Port PWR")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("HIL_CACHE", str(tmp_path / "cache"))


def attach(monkeypatch: pytest.MonkeyPatch, *ports: PortInfo) -> None:
    monkeypatch.setattr("hil.meter.registry.list_ports", lambda: list(ports))


def test_specs() -> None:
    meter = open_meter("ppk2:/dev/ttyACM7?voltage_v=1.8&mode=ampere", site="mcu rail")
    assert isinstance(meter, Ppk2)
    assert (meter.port, meter.site, meter._voltage_v) == ("/dev/ttyACM7", "mcu rail", 1.8)
    url = open_meter("lpm01a:socket://127.0.0.1:5000?format=ascii")
    assert isinstance(url, Lpm01a)
    assert url.port == "socket://127.0.0.1:5000"
    bridge = open_meter("ina226:/dev/ttyUSB0")
    assert isinstance(bridge, Ina2xx)
    assert bridge.caps.rate_max_hz == pytest.approx(1 / 280e-6)  # the INA226's, not the INA228's
    assert isinstance(open_meter("replay:x.bin"), Replay)
    open_meter("simulated?seed=3", site="board")


@pytest.mark.parametrize(
    ("spec", "message", "hint"),
    [
        ("ppk3", "no meter 'ppk3'", "did you mean 'ppk2'?"),
        ("", "no meter ''", "known: "),
        ("ppk2:P?volts=3", "no setting 'volts'", "voltage_v"),
        ("ppk2:P?voltage_v=high", "voltage_v is 'high', expected float", ""),
        ("ppk2:P?mode", "mode is '', expected str", ""),
        ("replay", "which file?", "replay:FILE"),
        ("ina228", "which port?", "ina228:PORT"),
        ("simulated:x", "has no address", "write simulated"),
        ("ina228:P?x=1", "no setting 'x'", "has no settings"),
    ],
)
def test_wrong_specs(spec: str, message: str, hint: str) -> None:
    with pytest.raises(SettingError) as caught:
        open_meter(spec)
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(max_size=30), st.tuples(st.sampled_from(sorted(METERS)), st.text(max_size=20)).map(":".join)))
def test_any_text_as_spec_raises_only_named_errors(spec: str) -> None:
    with suppress(MeterError, UnavailableError):
        open_meter(spec)


def test_the_port_is_found_where_one_instrument_is_attached(monkeypatch: pytest.MonkeyPatch) -> None:
    attach(monkeypatch, PROBE, PPK2, SHELL)
    meter = open_meter("ppk2?voltage_v=3.3")
    assert isinstance(meter, Ppk2)
    assert meter.port == "/dev/ttyACM0"
    attach(monkeypatch, PPK2, OTHER)
    with pytest.raises(SettingError, match="2 are attached") as caught:
        open_meter("ppk2")
    assert "/dev/ttyACM0 (C0FFEE), /dev/ttyACM2 (BEEF)" in str(caught.value.hint)
    attach(monkeypatch)
    with pytest.raises(SettingError, match="none is attached"):
        open_meter("stlink_v3pwr")


def test_an_instrument_without_a_serial_number_has_that_of_its_usb_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its port, and by a name of it that survives replugging; what was recorded keeps it."""
    with Simulator(Timeline((0.0,), (3e-3,)), samples=2000, speed=None) as sim:
        attach(monkeypatch, OTHER, replace(PPK2, device=sim.port))
        link = tmp_path / "usb-Nordic_PPK2"
        link.symlink_to(sim.port)
        for address in (sim.port, str(link)):
            meter = open_meter(f"ppk2:{address}?voltage_v=3.3", raw_folder=tmp_path)
            meter.open()
            assert meter.info.serial == "C0FFEE"
            meter.configure(1000)
            sim.sent.clear()  # of the time before
            meter.start()
            assert sim.sent.wait(20)
            trace = meter.stop()
            meter.close()
            assert trace.raw is not None
            assert decode_recording(Path(trace.raw)).info.serial == "C0FFEE"
        attach(monkeypatch, OTHER)
        stranger = open_meter(f"ppk2:{sim.port}?voltage_v=3.3")
        stranger.open()
        assert stranger.info.serial == ""
        stranger.close()


def test_what_an_instrument_tells_itself_counts_more_than_usb(monkeypatch: pytest.MonkeyPatch) -> None:
    with BridgeSimulator(Timeline((0.0,), (3e-3,))) as bridge:
        attach(monkeypatch, PortInfo(bridge.port, 0x0403, 0x6001, "CABLE"))
        meter = open_meter(f"ina228:{bridge.port}")
        meter.open()
        assert meter.info.serial == "B0001"
        meter.close()


@pytest.mark.parametrize(
    ("spec", "port", "words", "hint"),
    [
        ("lpm01a", PPK2, "that port is a Nordic Power Profiler Kit II, not a ST X-NUCLEO-LPM01A", "ppk2"),
        ("ina228", PPK2, "that port is a Nordic", "ppk2"),
        ("ppk2", PROBE, "that port is a ST STLINK-V3PWR", "stlink_v3pwr"),
        ("lpm01a", PROBE, "that port is a ST STLINK-V3PWR", "stlink_v3pwr"),
    ],
)
def test_a_port_that_is_another_instruments_is_refused_before_a_byte_goes_there(
    spec: str, port: PortInfo, words: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0x0D, the end of a line of ST's commands, sets the supply of a PPK2."""
    link = tmp_path / "by-id"
    link.symlink_to(port.device)
    attach(monkeypatch, port)
    for address in (port.device, str(link)):
        with pytest.raises(SettingError) as caught:
            open_meter(f"{spec}:{address}")
        assert words in caught.value.message
        assert caught.value.hint == f"write {hint}:{port.device}"


def test_a_number_that_many_boards_share_is_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bridge on an STM32 has the USB numbers of the LPM01A; a USB cable in front of a PPK2 those of the cable."""
    stm32 = PortInfo("/dev/ttyACM5", 0x0483, 0x5740, "1", description="STM32 Virtual ComPort")
    cable = PortInfo("/dev/ttyUSB0", 0x0403, 0x6001, "2", description="FT232R USB UART")
    attach(monkeypatch, stm32, cable, PPK2)
    for spec in ("ina226:/dev/ttyACM5", "lpm01a:/dev/ttyACM5", "ppk2:/dev/ttyUSB0", "ppk2:/dev/ttyACM0"):
        assert isinstance(open_meter(spec), Driver)


def test_a_setting_less_in_a_spec() -> None:
    assert take_setting("ppk2:P?voltage_v=1.80&mode=source", "voltage_v") == ("ppk2:P?mode=source", 1.8)
    assert take_setting("ppk2:P?voltage_v=1.8", "voltage_v") == ("ppk2:P", 1.8)
    assert take_setting("ppk2", "mode") == ("ppk2", None)
    with pytest.raises(SettingError, match="no setting 'volts'"):
        take_setting("ppk2?volts=1", "voltage_v")


def test_a_setting_more_in_a_spec() -> None:
    assert with_setting("ppk2", "voltage_v", "3.3") == "ppk2?voltage_v=3.3"
    assert with_setting("ppk2:P?mode=ampere", "voltage_v", "3.3") == "ppk2:P?mode=ampere&voltage_v=3.3"
    assert with_setting("ppk2?voltage_v=3.30", "voltage_v", "3.3") == "ppk2?voltage_v=3.30"
    assert with_setting("ina228:P", "voltage_v", "3.3") == "ina228:P"  # it measures it
    with pytest.raises(SettingError, match="voltage_v is to be 3.3 too"):
        with_setting("ppk2?voltage_v=1.8", "voltage_v", "3.3")


def test_what_is_attached(tmp_path: Path) -> None:
    for name, (vendor, product, serial) in {
        "1-1": ("2ab9", "0001", "20001"),
        "1-2": ("16d0", "10ba", "002557"),
        "1-3": ("1d6b", "0002", ""),
        "1-4": ("zz", "0002", ""),
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "idVendor").write_text(vendor + "\n")
        (tmp_path / name / "idProduct").write_text(product + "\n")
        if serial:
            (tmp_path / name / "serial").write_text(serial + "\n")
    found = list_meters([PPK2, SHELL, PROBE], tmp_path)
    assert found == [
        Found("ppk2:/dev/ttyACM0", "Nordic Power Profiler Kit II", "C0FFEE"),
        Found("stlink_v3pwr:/dev/ttyACM3", "ST STLINK-V3PWR", "V3"),
        Found("monsoon:20001", "Monsoon HVPM", "20001"),
        Found("joulescope:002557", "Joulescope JS110, JS220", "002557"),
    ]
    assert list_meters([], tmp_path / "nowhere") == []


def test_every_name_has_a_driver_and_every_driver_a_decoder() -> None:
    for name in METERS:
        address = {None: "", "HOST:PORT": ":localhost:1905"}.get(METERS[name].address, ":X")
        meter: PowerMeter = open_meter(name + address)
        assert meter.caps.rate_max_hz >= 0
        meter.close()
    assert all(callable(decoder_of(driver)) for driver in DECODERS)
    with pytest.raises(FormatError, match="no decoder for recordings of 'ppk'"):
        decoder_of("ppk")


# --- recordings and replay ------------------------------------------------------------------------------------------


def recording(tmp_path: Path) -> Path:
    """What a PPK2 with a lossy line left behind."""
    faults = Faults(drop={2000: 5}, lose_bytes=frozenset({16_001}))
    with Simulator(Timeline((0.0,), (3e-3,)), samples=6000, speed=None, faults=faults) as sim:
        meter = Ppk2(sim.port, site="board", raw_folder=tmp_path, voltage_v=3.3)
        meter.open()
        meter.configure(1000)
        meter.start()
        assert sim.sent.wait(20)
        trace = meter.stop()
        meter.close()
    assert trace.raw is not None
    return Path(trace.raw)


def test_replay_is_the_same_trace(tmp_path: Path) -> None:
    path = recording(tmp_path)
    then = decode_recording(path)
    meter = open_meter(f"replay:{path.with_suffix('.json')}", site="board")
    for call in (meter.stop, meter.start, lambda: meter.configure(1)):
        with pytest.raises(SettingError):
            call()
    meter.open()
    assert meter.info == MeterInfo("PPK2", firmware="HW 9173", driver="ppk2")
    assert meter.configure(50) == 100_000
    with pytest.raises(NotSupported):
        meter.configure(200_000)
    with pytest.raises(NotSupported):
        meter.supply(3.3)
    meter.start()
    trace = meter.stop()
    meter.close()
    assert np.array_equal(trace.current_a, then.current_a)
    assert (trace.gaps, trace.notes) == (then.gaps, then.notes)
    assert len(trace.gaps) == 2
    assert read_raw(path)[0].started.startswith("20")
    with pytest.raises(SettingError, match="recorded at site 'board', 'core rail' asked for"):
        open_meter(f"replay:{path}", site="core rail").open()


@settings(max_examples=100, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.recursive(st.none() | st.text(max_size=5) | st.floats(), st.lists, max_leaves=5).map(
            lambda value: json.dumps(value).encode()
        ),
    )
)
def test_any_header_raises_only_format_errors(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("raw") / "x.bin"
    path.write_bytes(b"abc")
    path.with_suffix(".json").write_bytes(data)
    with pytest.raises(FormatError):
        open_meter(f"replay:{path}").open()


@pytest.mark.parametrize(
    "change",
    [{"schema": 2}, {"rate_hz": 0}, {"rate_hz": "x"}, {"info": []}, {"info": {"colour": "red"}}, {"settings": 1}],
)
def test_a_header_with_one_thing_wrong(tmp_path: Path, change: dict[str, object]) -> None:
    writer = RawWriter(Header("ppk2", "P", "", 1e5, MeterInfo("X")), tmp_path)
    writer.write(b"abc")
    writer.close()
    header = writer.path.with_suffix(".json")
    assert read_raw(writer.path)[1].tobytes() == b"abc"
    header.write_text(json.dumps(json.loads(header.read_text()) | change))
    with pytest.raises(FormatError, match="not the header of a recording"):
        read_raw(writer.path)
    with pytest.raises(MeterError, match="cannot be written"):
        writer.write(b"more")
    with pytest.raises(FormatError, match="cannot be read"):
        read_raw(tmp_path / "nothing.bin")


def test_blocks_there_and_back() -> None:
    data = np.frombuffer(pack_block({"a": 1}, b"xyz") + pack_block({"b": [2]}), np.uint8)
    assert list(blocks(data)) == [({"a": 1, "bytes": 3}, b"xyz"), ({"b": [2], "bytes": 0}, b"")]
    assert list(blocks(data[:-1])) == [({"a": 1, "bytes": 3}, b"xyz")]  # cut off


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_as_blocks_raise_only_meter_errors(data: bytes) -> None:
    with suppress(MeterProtocolError):
        list(blocks(np.frombuffer(data, np.uint8)))
