"""X-NUCLEO-LPM01A and STLINK-V3PWR: decoders against hand-made bytes, drivers against simulators on PTYs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.errors import MeterError
from hil.meter.drivers import lpm01a, stlink_v3pwr
from hil.meter.drivers.powershield import Model, PowerShield
from hil.meter.drivers.raw import Bytes, Header
from hil.meter.drivers.replay import decode_recording
from hil.meter.errors import MeterProtocolError, MeterRefused, MeterTimeout, NotSupported, SettingError
from hil.meter.sim.instrument import Faults, Timeline
from hil.meter.sim.powershield import Simulator, encode_ascii, encode_binary
from hil.meter.store import load_trace, save_trace
from hil.meter.trace import SampleTimes
from hil.meter.types import Gap, MeterInfo, Trace

CLASSES: dict[str, type[PowerShield]] = {"lpm01a": lpm01a.Lpm01a, "stlink_v3pwr": stlink_v3pwr.StlinkV3Pwr}
MODELS: dict[str, Model] = {name: kind.model for name, kind in CLASSES.items()}
BOTH = pytest.mark.parametrize("name", CLASSES)
FORMATS = pytest.mark.parametrize("kind", ["bin", "ascii"])
TWO_LEVELS = Timeline((0.0, 0.4, 0.6), (1e-3, 20e-3, 1e-3))


@pytest.fixture(autouse=True)
def _locks_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


def header(kind: str = "bin", rate_hz: float = 1000.0) -> Header:
    return Header("lpm01a", "P", "board", rate_hz, MeterInfo("X"), {"format": kind, "voltage_v": 3.3})


def decode(data: bytes, kind: str = "bin", rate_hz: float = 1000.0) -> Trace:
    return lpm01a.decode(header(kind, rate_hz), np.frombuffer(data, np.uint8))


def stamp(time_ms: int, load: int = 0) -> bytes:
    return b"\xf0\xf3" + time_ms.to_bytes(4, "big") + bytes([load]) + b"\xff\xff"


# --- decoders -------------------------------------------------------------------------------------------------------


def test_binary_by_hand() -> None:
    # 0x4123: 0x123 * 16^-4 A; 0x3FFF: 4095 * 16^-3 A, an ampere: beyond the range
    trace = decode(b"ack start\r\n" + stamp(5) + bytes.fromhex("4123 3fff 0000") + b"\xf0\xf4\xff\xff rest")
    assert trace.current_a.tolist() == [0x123 / 16**4, 4095 / 16**3, 0.0]
    assert (trace.t0_s, trace.dt_s, trace.voltage_v) == (0.005, 0.001, 3.3)
    assert (trace.clipped, trace.clipped_at) == (1, ((1, 2),))


def test_ascii_by_hand() -> None:
    data = b"\r\n\0TimeStamp: 1s 250ms, buff 00%\r\n\x006409-07\r\n0012+00\r\n1234-09\r\n\0end\r\nsummary 1 2 3\r\n"
    trace = decode(data, "ascii")
    assert trace.current_a == pytest.approx([640.9e-6, 12.0, 1.234e-6])
    assert trace.t0_s == 1.25


def test_a_time_may_hold_the_bytes_of_a_message() -> None:
    samples = encode_binary(np.full(100, 1e-3))
    first = 0xF0F4FFFF
    data = stamp(first - 100) + samples + stamp(first) + samples
    assert decode(data).current_a.size == 200


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(1e-9, 0.05), min_size=1, max_size=50))
def test_round_trip_within_quantisation(currents: list[float]) -> None:
    """Binary: 12 digits after the base-16 point, at least 256 counts, or the smallest exponent; text: four digits."""
    amps = np.array(currents)
    binary = decode(stamp(0) + encode_binary(amps)).current_a
    assert np.all(np.abs(binary - amps) <= np.maximum(amps / 512, 0.5 * 16.0**-14) * 1.01)
    text = decode(encode_ascii(amps), "ascii").current_a
    assert text == pytest.approx(amps, rel=0.51e-3)


@BOTH
@FORMATS
@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=400))
def test_arbitrary_bytes_raise_only_meter_errors(name: str, kind: str, data: bytes) -> None:
    bytes_of: Bytes = np.frombuffer(data, np.uint8)
    try:
        trace = {"lpm01a": lpm01a, "stlink_v3pwr": stlink_v3pwr}[name].decode(header(kind), bytes_of)
    except MeterError:
        return
    assert np.all(np.isfinite(trace.current_a))


@FORMATS
@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, 1600), replacement=st.binary(max_size=12), cut=st.integers(0, 12))
def test_mutated_recordings_raise_only_meter_errors(kind: str, at: int, replacement: bytes, cut: int) -> None:
    encode = encode_binary if kind == "bin" else encode_ascii
    part = encode(np.full(100, 1e-3))
    stamps = [stamp(100 * k) if kind == "bin" else f"TimeStamp: 0s {100 * k}ms, buff 0%\r\n".encode() for k in range(4)]
    data = b"".join(s + part for s in stamps)
    try:
        trace = decode(data[:at] + replacement + data[at + cut :], kind)
    except MeterError:
        return
    assert trace.current_a.size <= len(data)


@FORMATS
@pytest.mark.parametrize("lost", ["byte", "sample"])
def test_a_stretch_that_does_not_add_up_is_left_out_and_counted(kind: str, lost: str) -> None:
    encode, size = (encode_binary, 2) if kind == "bin" else (encode_ascii, 9)
    part = encode(np.full(100, 1e-3))
    stamps = [stamp(100 * k) if kind == "bin" else f"TimeStamp: 0s {100 * k}ms, buff 0%\r\n".encode() for k in range(4)]
    short = part[: 31 * size] + part[32 * size + 1 :] if lost == "sample" else part[: 31 * size + 1] + part[32 * size :]
    if lost == "sample":
        short = part[: 31 * size] + part[34 * size :]
    trace = decode(stamps[0] + part + stamps[1] + short + stamps[2] + part + stamps[3] + part, kind)
    assert trace.gaps == (Gap(100, 100),)
    assert trace.current_a == pytest.approx(np.full(300, 1e-3), rel=2e-3)
    assert "100 to 200 ms do not hold their samples" in trace.notes[0]


def recorded_stretches(*stretches: tuple[int, int, bytes]) -> Trace:
    """Each begins with a time in ms; of its 100 samples so many are there."""
    part = encode_binary(np.full(100, 1e-3))
    return decode(b"".join(stamp(at) + part[: 2 * samples] + rest for at, samples, rest in stretches))


def test_stretches_left_out_at_the_start_in_a_row_and_at_the_end_are_a_trace_that_can_be_kept(tmp_path: Path) -> None:
    trace = recorded_stretches(
        (0, 40, b""), (100, 100, b""), (200, 30, b""), (300, 0, b"\x01"), (400, 100, b""), (500, 20, b""), (600, 0, b"")
    )
    # From 0 to 0.1 s nothing: the trace begins later.  From 0.2 to 0.4 s one gap.  From 0.5 s on it is over.
    assert trace.gaps == (Gap(100, 200),)
    assert (trace.t0_s, SampleTimes(trace).first_s) == (pytest.approx(0.1), pytest.approx(0.1))
    assert SampleTimes(trace).last_s == pytest.approx(0.499)
    assert len(trace.notes) == 4
    again = load_trace(save_trace(trace, tmp_path / "a.trace"))
    assert again.gaps == trace.gaps


def test_a_time_that_goes_back_leaves_a_gap_of_what_came() -> None:
    trace = recorded_stretches((1000, 100, b""), (1100, 70, b""), (900, 100, b""), (1000, 5, b""))
    assert trace.gaps == (Gap(100, 70),)
    assert trace.current_a.size == 205
    assert "1100 to 900 ms do not hold their samples" in trace.notes[0]


def test_what_cannot_be_read_behind_the_last_time_is_left_out() -> None:
    """A byte too few shifts all behind it, so nothing of it counts; 0xFFFF is no sample."""
    for tail in (b"\x40" * 41, encode_binary(np.full(600_000, 1e-3)) + b"\xff\xff"):
        trace = recorded_stretches((0, 100, b""), (100, 0, tail))
        assert trace.current_a.size == 100
        assert trace.notes == ("the bytes after the last time cannot be read: left out",)


def test_messages() -> None:
    for message, said in ((b"\xf0\xf1 overrun\xff\xff", "overrun"), (b"\xf0\xf5\xff\xff", "over-current")):
        with pytest.raises(MeterRefused, match=said):
            decode(stamp(0) + encode_binary(np.ones(4)) + message)
    trace = decode(stamp(0) + b"\xf0\xf2hello\xff\xff" + encode_binary(np.full(100, 0.01)) + stamp(100, 100))
    assert trace.current_a.size == 100
    assert "buffer was full at 100 ms" in trace.notes[0]
    switched = decode(stamp(0) + b"\xf0\xf6\xff\xff" + encode_binary(np.full(10, 0.01)))
    assert switched.notes == ("the board's supply was switched off",)
    with pytest.raises(MeterRefused, match="error overflow"):
        decode(b"TimeStamp: 0s 0ms, buff 0%\r\nerror overflow\r\n", "ascii")
    # the STLINK's over-current has four bytes more
    frame = np.frombuffer(stamp(0) + b"\xf0\xf5\x00\x01\x02\x03\xff\xff", np.uint8)
    with pytest.raises(MeterRefused, match="over-current"):
        stlink_v3pwr.decode(header(), frame)


# --- drivers --------------------------------------------------------------------------------------------------------


def meter_at(sim: Simulator, name: str, tmp_path: Path, **options: Any) -> PowerShield:
    return CLASSES[name](sim.port, site="board", raw_folder=tmp_path / "raw", **options)


def record(sim: Simulator, name: str, tmp_path: Path, rate_hz: float = 1000, **options: Any) -> Trace:
    meter = meter_at(sim, name, tmp_path, **options)
    try:
        meter.open()
        assert meter.configure(rate_hz) == rate_hz
        meter.start()
        assert sim.sent.wait(20)
        return meter.stop()
    finally:
        meter.close()


@BOTH
@FORMATS
def test_end_to_end(name: str, kind: str, tmp_path: Path) -> None:
    with Simulator(MODELS[name], TWO_LEVELS, samples=1000, speed=None) as sim:
        trace = record(sim, name, tmp_path, format=kind)
        assert sim.supply_changes == []
    assert (trace.current_a.size, trace.gaps, trace.notes, trace.clipped) == (1000, (), (), 0)
    assert (trace.voltage_v, trace.dt_s, trace.site) == (3.3, 1e-3, "board")
    assert trace.info == MeterInfo(MODELS[name].title, "0123456789ABCDEF01234567", "1.0.6", name)
    # 0.8 s at 1 mA and 0.2 s at 20 mA
    assert float(np.sum(trace.current_a)) * 1e-3 == pytest.approx(0.8e-3 + 4e-3, rel=2e-3)
    assert trace.raw is not None
    assert np.array_equal(decode_recording(Path(trace.raw)).current_a, trace.current_a)


@BOTH
def test_a_hundred_kilohertz(name: str, tmp_path: Path) -> None:
    with Simulator(MODELS[name], TWO_LEVELS, samples=100_000, speed=None) as sim:
        trace = record(sim, name, tmp_path, rate_hz=100_000)
        assert "freq 100k" in sim.commands
    assert (trace.current_a.size, trace.gaps) == (100_000, ())


@BOTH
@FORMATS
def test_losses_on_the_line(name: str, kind: str, tmp_path: Path) -> None:
    size = 2 if kind == "bin" else 9
    faults = Faults(drop={250: 40}, lose_bytes=frozenset([560 * size]), garbage={840 * size: b"\x55"})
    with Simulator(MODELS[name], Timeline((0.0,), (1e-3,)), samples=1000, speed=None, faults=faults) as sim:
        trace = record(sim, name, tmp_path, format=kind)
    lost = sum(gap.missing for gap in trace.gaps)
    assert trace.current_a.size + lost == 1000
    assert all(gap.missing % 100 == 0 for gap in trace.gaps)
    assert 200 <= lost <= 300  # three stretches of 100, or two where the last has no time behind it
    assert trace.current_a == pytest.approx(np.full(trace.current_a.size, 1e-3), rel=2e-3)


@BOTH
def test_an_over_current_is_named_although_it_falls_silent_then(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hil.meter.drivers.stream._SILENT_S", 0.2)
    with Simulator(MODELS[name], Timeline((0.0, 0.5), (1e-3, 2.0)), samples=1000, speed=None) as sim:
        meter = meter_at(sim, name, tmp_path)
        meter.open()
        meter.configure(1000)
        meter.start()
        assert sim.sent.wait(20)
        time.sleep(0.3)
        with pytest.raises(MeterRefused, match="over-current"):
            meter.stop()
        meter.close()


@BOTH
def test_supplying(name: str, tmp_path: Path) -> None:
    with Simulator(MODELS[name], TWO_LEVELS, samples=200, speed=None) as sim:
        meter = meter_at(sim, name, tmp_path)
        meter.open()
        assert sim.supply_changes == []
        with pytest.raises(NotSupported, match="voltage 5 V"):
            meter.supply(5.0)
        with pytest.raises(NotSupported, match="limit"):
            meter.supply(3.0, limit_a=0.02)
        meter.supply(3.0)
        meter.configure(1000)
        meter.start()
        assert sim.sent.wait(20)
        assert meter.stop().voltage_v == 3.0
        meter.close()
        assert sim.supply_changes == ["volt 3000m", "pwr on"]
        assert "hrc" not in sim.commands  # its own keys might switch the board off
        meter.open()
        meter.supply(None)
        meter.close()
        assert sim.eventually(lambda: ("hrc" in sim.commands) == bool(MODELS[name].leave))
        assert sim.supply_changes[-1] == "pwr off"


@BOTH
def test_triggers_and_rates(name: str, tmp_path: Path) -> None:
    with Simulator(MODELS[name], TWO_LEVELS, samples=1, speed=None) as sim:
        meter = meter_at(sim, name, tmp_path)
        meter.open()
        assert [meter.configure(rate) for rate in (1, 3, 900, 1001, 60_000)] == [1, 5, 1000, 2000, 100_000]
        with pytest.raises(NotSupported, match="200000"):
            meter.configure(200_000)
        meter.start("hardware")
        assert sim.commands[-2:] == [f"trigsrc {MODELS[name].hardware_trigger}", "start"]
        meter.close()
        text = meter_at(sim, name, tmp_path, format="ascii")
        text.open()
        with pytest.raises(NotSupported, match="text takes 10000 Hz"):
            text.configure(20_000)
        text.close()


def test_refusals_and_wrong_instruments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.meter.drivers.stream._ANSWER_S", 0.3)
    model = MODELS["lpm01a"]
    with Simulator(model, TWO_LEVELS, samples=1, speed=None, refuse=frozenset(["freq"])) as sim:
        meter = meter_at(sim, "lpm01a", tmp_path)
        meter.open()
        with pytest.raises(MeterRefused, match="'freq 1k': the instrument answered 'error freq 1k'"):
            meter.configure(1000)
        meter.close()
        with pytest.raises(MeterProtocolError, match=r"expected STLINK-V3PWR"):
            meter_at(sim, "stlink_v3pwr", tmp_path).open()
    with (
        Simulator(model, TWO_LEVELS, samples=1, speed=None, version="1.0.5") as sim,
        pytest.raises(MeterProtocolError, match=r"firmware 1\.0\.5, expected 1\.0\.6"),
    ):
        meter_at(sim, "lpm01a", tmp_path).open()
    with Simulator(model, TWO_LEVELS, samples=1, speed=None, refuse=frozenset(["volt"])) as sim:
        meter = meter_at(sim, "lpm01a", tmp_path)
        meter.open()
        meter.configure(1000)
        with pytest.raises(SettingError, match="voltage is not known"):
            meter.start()
        meter.close()
    with pytest.raises(SettingError, match="format 'hex'"):
        CLASSES["lpm01a"]("P", format="hex")  # type: ignore[arg-type]

    class Silent(Simulator):
        def _obey(self, command: str) -> None:
            self._reply(self.chatter)

        chatter = b""

    with Silent(model, TWO_LEVELS, samples=1, speed=None) as sim:
        with pytest.raises(MeterTimeout, match="'htc': no answer within"):
            meter_at(sim, "lpm01a", tmp_path).open()
        Silent.chatter = b"PowerShell > what?\r\n" * 60
        with pytest.raises(MeterProtocolError, match="no ack in 50 lines"):
            meter_at(sim, "lpm01a", tmp_path).open()


def test_an_error_report_in_the_stream(tmp_path: Path) -> None:
    with Simulator(MODELS["lpm01a"], TWO_LEVELS, samples=500, speed=None) as sim:
        sim.error = "acquisition buffer overflow"
        with pytest.raises(MeterRefused, match="buffer overflow"):
            record(sim, "lpm01a", tmp_path)
