"""INA226 and INA228: the decoder against the data sheets' steps, the driver against a simulated bridge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.errors import MeterError
from hil.meter.drivers.ina2xx import ChipName, Ina2xx, crc8, decode
from hil.meter.drivers.raw import Header, RawWriter
from hil.meter.drivers.replay import Replay, decode_recording
from hil.meter.errors import MeterProtocolError, MeterRefused, NotSupported, SettingError, TraceError
from hil.meter.sim.ina2xx import Simulator, sample_lines, with_crc
from hil.meter.sim.instrument import Faults, Timeline
from hil.meter.types import Gap, MeterInfo, Trace

SETTINGS = {"chip": "ina228", "shunt_ohm": 0.1, "range": 0, "current_lsb_a": 3.125e-6}
CHIPS = pytest.mark.parametrize("chip", ["ina226", "ina228"])
STEPS = Timeline((0.0, 0.5, 0.75), (10e-3, 100e-3, 10e-3), edges=((0.5, 0x81), (0.75, 0x80)))


@pytest.fixture(autouse=True)
def _locks_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


def decoded(data: bytes, rate_hz: float = 1000.0, **changes: Any) -> Trace:
    header = Header("ina2xx", "P", "board", rate_hz, MeterInfo("INA228"), SETTINGS | changes)
    return decode(header, np.frombuffer(data, np.uint8))


def lines(samples: int, first: int = 0, step_us: int = 1000) -> bytes:
    index = np.arange(samples) + first
    return sample_lines(index, index * step_us, index % 5000, index % 7000, (index % 251).astype(np.uint8))


def test_the_checksum_is_the_common_crc_8() -> None:
    assert crc8(np.frombuffer(b"123456789", np.uint8)[None, :]).tolist() == [0xF4]  # the published check value


def test_by_hand() -> None:
    # Shunt 0x640 = 1600 steps of 312.5 nV over 0.1 ohm: 5 mA; bus 0x4200 = 16896 steps of 195.3125 uV: 3.3 V.
    data = with_crc("S 00FF 00001000 000640 004200 05")
    trace = decoded(data.encode() + b"\n" + with_crc("S 0100 00001400 FFF9C0 004200 04").encode() + b"\r\n")
    assert trace.current_a == pytest.approx([5e-3, -5e-3])
    assert trace.voltage_v == pytest.approx([3.3, 3.3])
    assert trace.t_s == pytest.approx([4096e-6, 5120e-6])
    assert trace.digital is not None
    assert (trace.digital.tolist(), trace.gaps, trace.notes) == ([5, 4], (), ())
    # INA226: 0x7D0 = 2000 steps of 2.5 uV over 0.1 ohm: 50 mA; 0xA50 = 2640 steps of 1.25 mV: 3.3 V; at the end 0x7FFF.
    rows = [with_crc("S 0000 00000000 0007D0 000A50 00"), with_crc("S 0001 00000400 007FFF 000A50 00")]
    trace = decoded("\n".join([*rows, ""]).encode(), chip="ina226")
    assert trace.current_a == pytest.approx([50e-3, 0.819175])
    assert trace.voltage_v == pytest.approx([3.3, 3.3])
    assert trace.clipped_at == ((1, 2),)
    # The INA228's small range has steps of 78.125 nV.
    assert decoded(data.encode() + b"\n", range=1).current_a == pytest.approx([1.25e-3])


def test_the_page_for_bridge_builders_shows_a_valid_sample() -> None:
    page = (Path(__file__).parents[2] / "docs" / "meters-instruments.md").read_text(encoding="utf-8")
    (example,) = [line for line in page.splitlines() if line.startswith("S 0")]
    assert decoded(example.encode() + b"\n").current_a == pytest.approx([5e-3])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 50), st.integers(1, 60_000), st.integers(0, 70_000))
def test_lost_lines_are_counted_exactly(before: int, lost: int, first: int) -> None:
    data = lines(before, first) + lines(20, first + before + lost)
    trace = decoded(data)
    assert trace.gaps == (Gap(before, lost),)
    assert trace.current_a.size == before + 20


def test_more_than_65535_lost_lines_are_told_by_the_time() -> None:
    trace = decoded(lines(5) + lines(5, 5 + 200_000))
    assert trace.gaps == (Gap(5, 200_000),)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 36 * 50 - 1), st.integers(1, 255))
def test_a_changed_byte_costs_its_line(at: int, change: int) -> None:
    data = bytearray(lines(50))
    data[at] ^= change
    trace = decoded(bytes(data))
    line = at // 36
    inside = trace.current_a.size + sum(gap.missing for gap in trace.gaps)
    assert 48 <= trace.current_a.size <= 50
    assert inside == 50 or line in (0, 48, 49)  # a first or last line is not missed
    index = np.rint(trace.current_a * 0.1 / 312.5e-9).astype(int)
    assert np.all(np.diff(index) >= 1)
    assert np.array_equal(index, np.rint(np.asarray(trace.voltage_v) / 195.3125e-6).astype(int))


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=300), st.text("SEXA 0123456789ABCDEF\n\r", max_size=300).map(str.encode)))
def test_arbitrary_bytes_raise_only_meter_errors(data: bytes) -> None:
    try:
        trace = decoded(data)
    except MeterError:
        return
    assert trace.current_a.size <= len(data) // 36 + 1


def test_the_time_wraps_after_71_minutes() -> None:
    index = np.arange(4)
    data = sample_lines(index, 2**32 - 2000 + index * 1000, index, index, index.astype(np.uint8))
    trace = decoded(data)
    assert trace.t_s is not None
    assert np.diff(trace.t_s) == pytest.approx([1e-3] * 3)


def test_a_recording_of_one_sample_is_no_trace_and_of_two_takes_the_site_that_replay_says(tmp_path: Path) -> None:
    for samples in (0, 1, 2):
        writer = RawWriter(Header("ina2xx", "P", "", 1000.0, MeterInfo("INA228"), SETTINGS), tmp_path / str(samples))
        writer.write(lines(samples))
        writer.close()
        meter = Replay(str(writer.path), site="rail VDD")
        meter.open()
        meter.start()
        if samples < 2:
            with pytest.raises(MeterProtocolError, match=f"{('no', 'one')[samples]} sample in {36 * samples} bytes"):
                meter.stop()
        else:
            trace = meter.stop()
            assert (trace.current_a.size, trace.site) == (2, "rail VDD")


def test_times_that_stand_still_are_no_trace(tmp_path: Path) -> None:
    writer = RawWriter(Header("ina2xx", "P", "board", 1000.0, MeterInfo("INA228"), SETTINGS), tmp_path)
    writer.write(lines(3) + lines(1, 2))
    writer.close()
    with pytest.raises(TraceError, match="the time of sample 3"):
        decode_recording(writer.path)


@pytest.mark.parametrize("wrong", [{"chip": "ina219"}, {"range": 2}, {"shunt_ohm": 0.0}, {"shunt_ohm": "x"}])
def test_a_wrong_header_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(MeterError):
        decoded(lines(3), **wrong)


# --- the driver -----------------------------------------------------------------------------------------------------


def record(sim: Simulator, tmp_path: Path, chip: ChipName = "ina228", rate_hz: float = 1000) -> Trace:
    meter = Ina2xx(sim.port, chip=chip, site="board", raw_folder=tmp_path / "raw")
    try:
        meter.open()
        assert meter.configure(rate_hz) == rate_hz
        meter.start()
        assert sim.sent.wait(20)
        return meter.stop()
    finally:
        meter.close()


@CHIPS
def test_end_to_end(chip: ChipName, tmp_path: Path) -> None:
    with Simulator(STEPS, chip=chip, samples=1000, speed=None, first_us=12_000) as sim:
        trace = record(sim, tmp_path, chip)
    assert (trace.current_a.size, trace.gaps, trace.notes, trace.clipped) == (1000, (), (), 0)
    assert trace.info == MeterInfo(chip.upper(), "B0001", "1.0", "ina2xx")
    # 0.75 s at 10 mA, 0.25 s at 100 mA, all at 3.3 V; half a step of 2.5 uV over 0.1 ohm is 12.5 uA
    energy_j = float(np.sum(trace.current_a * trace.voltage_v)) * 1e-3
    assert energy_j == pytest.approx(3.3 * (0.75 * 10e-3 + 0.25 * 100e-3), rel=2e-3)
    assert trace.t_s is not None
    assert trace.t_s[[0, -1]] == pytest.approx([0.012, 0.012 + 0.999])
    assert trace.digital is not None
    assert trace.digital[[0, 499, 500, 749, 750]].tolist() == [0, 0, 0x81, 0x81, 0x80]
    assert trace.raw is not None
    assert np.array_equal(decode_recording(Path(trace.raw)).current_a, trace.current_a)


def test_faults_on_the_line(tmp_path: Path) -> None:
    faults = Faults(drop={100: 7}, lose_bytes=frozenset({36 * 300}), garbage={36 * 600 + 4: b"\xff\x00\n"})
    with Simulator(STEPS, samples=1000, speed=None, faults=faults) as sim:
        trace = record(sim, tmp_path)
    assert trace.current_a.size + sum(gap.missing for gap in trace.gaps) == 1000
    assert trace.gaps[0] == Gap(100, 7)
    assert len(trace.gaps) == 3
    assert any("lines could not be read" in note for note in trace.notes)


def test_the_energy_register_is_a_cross_check(tmp_path: Path) -> None:
    with Simulator(STEPS, samples=1000, speed=None, energy_error=1.05) as sim:
        trace = record(sim, tmp_path)
    (note,) = trace.notes
    assert "energy register has 0.1126 J where the samples have 0.1073 J" in note  # 107.25 mJ, and 5 % more


def test_wrong_chips_ranges_and_reports(tmp_path: Path) -> None:
    with Simulator(STEPS, samples=10, speed=None) as sim:
        with pytest.raises(SettingError, match="has an ina228, ina226 asked for"):
            Ina2xx(sim.port, chip="ina226").open()
        meter = Ina2xx(sim.port, chip="ina228", raw_folder=tmp_path)
        meter.open()
        with pytest.raises(NotSupported, match=r"shunt ends at 1\.638"):
            meter.configure(1000, range_a=2.0)
        with pytest.raises(NotSupported, match="10000"):
            meter.configure(20_000)
        with pytest.raises(NotSupported, match="supplies no board"):
            meter.supply(3.3)
        sim.error = "i2c: no acknowledge"
        meter.configure(1000, range_a=1.0)
        meter.start()
        assert sim.sent.wait(20)
        with pytest.raises(MeterRefused, match="i2c: no acknowledge"):
            meter.stop()
        meter.close()
    with pytest.raises(SettingError, match="no chip 'ina219'"):
        Ina2xx("P", chip="ina219")  # type: ignore[arg-type]

    class Old(Simulator):
        def _obey(self, word: str, value: str) -> None:
            self._reply(b"I 2 ina228 B 1 shunt_uohm=1 range=0 current_lsb_na=1\n" if word == "id" else b"")

    with Old(STEPS, samples=1, speed=None) as sim, pytest.raises(MeterProtocolError, match="protocol 2, expected 1"):
        Ina2xx(sim.port, chip="ina228").open()
