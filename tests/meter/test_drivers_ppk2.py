"""The PPK2's decoder against the formula, and its driver against a simulated PPK2 on a PTY."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hil.errors import MeterError
from hil.meter.drivers.ppk2 import (
    ADC_VOLT,
    DEFAULTS,
    MODE,
    Converter,
    Metadata,
    Ppk2,
    Split,
    decode,
    parse_metadata,
)
from hil.meter.drivers.raw import Bytes, Header
from hil.meter.drivers.replay import decode_recording
from hil.meter.errors import (
    MeterLost,
    MeterProtocolError,
    MeterTimeout,
    NotSupported,
    SettingError,
)
from hil.meter.sim.instrument import Faults, Live, Timeline
from hil.meter.sim.ppk2 import CALIBRATION, Simulator, encode, metadata_text, resolution_a
from hil.meter.types import Float, Gap, MeterInfo, Trace

HEADER = Header(
    "ppk2", "PORT", "board", 100e3, MeterInfo("PPK2"), {"modifiers": dict(CALIBRATION), "voltage_v": 3.3, "mode": ""}
)


@pytest.fixture(autouse=True)
def _locks_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("HIL_CACHE", str(tmp_path / "cache"))


def stream(samples: int, current: float = 2e-3, seed: int = 1) -> tuple[Float, np.ndarray, Bytes]:
    """Noisy current within one range, counting inputs, and the bytes of both."""
    rng = np.random.default_rng(seed)
    amps = current * (1 + 0.05 * rng.standard_normal(samples))
    bits = rng.integers(0, 256, samples).astype(np.uint8)
    words = encode(np.arange(samples), amps, bits, calibration=CALIBRATION)
    return amps, bits, words.astype("<u4").view(np.uint8)


def as_bytes(data: bytes) -> Bytes:
    return np.frombuffer(data, np.uint8)


def total(trace: Trace) -> int:
    return trace.current_a.size + sum(gap.missing for gap in trace.gaps)


# --- the decoder ----------------------------------------------------------------------------------------------------


def test_one_word_by_hand() -> None:
    # Range 1, ADC 1000, counter 5, inputs 0x81; R = 101.65 ohms, everything else neutral, GS = 0.
    modifiers = {**DEFAULTS, "GS": (0.0,) * 5}
    word = np.array([1000 | 1 << 14 | 5 << 18 | 0x81 << 24], np.uint32)
    assert word.astype("<u4").tobytes() == bytes([0xE8, 0x43, 0x14, 0x81])
    expected_a = 4000 * (1.8 / 163840) / 101.65
    assert Converter(modifiers, 3.3)(word)[1] == pytest.approx([expected_a])


def test_every_constant_enters_the_formula_as_documented() -> None:
    adc, r, gs, gi, o, s, i, ug, vdd = 4 * 2500, 10.15, 0.8, 0.96, 11.3, -2e-7, 1e-7, 0.99, 1.8
    x = (adc - o) * ADC_VOLT / r
    expected_a = ug * (x * (gs * x + gi) + (s * vdd + i))
    word = np.array([2500 | 2 << 14], np.uint32)
    constants = dict(zip(("R", "GS", "GI", "O", "S", "I", "UG"), (r, gs, gi, o, s, i, ug), strict=True))
    modifiers = {name: (1.0, 1.0, value, 1.0, 1.0) for name, value in constants.items()}
    assert Converter(modifiers, vdd)(word)[1] == pytest.approx([expected_a])


@settings(max_examples=50, deadline=None)
@given(st.floats(1e-6, 0.9), st.integers(8, 400), st.integers(0, 63), st.sampled_from([DEFAULTS, CALIBRATION]))
def test_round_trip_is_within_one_step(
    current: float, samples: int, first: int, calibration: dict[str, tuple[float, ...]]
) -> None:
    amps = np.full(samples, current)
    bits = np.arange(samples).astype(np.uint8)
    words = encode(np.arange(samples) + first, amps, bits, calibration=calibration)
    header = Header("ppk2", "P", "", 1e5, MeterInfo("PPK2"), {"modifiers": calibration, "voltage_v": 3.3})
    trace = decode(header, words.astype("<u4").view(np.uint8))
    assert np.all(np.abs(trace.current_a - amps) <= 0.51 * resolution_a(amps, calibration) + 1e-15)
    assert trace.digital is not None
    assert np.array_equal(trace.digital, bits)
    assert (trace.gaps, trace.notes, trace.clipped) == ((), (), 0)


@settings(max_examples=60, deadline=None)
@given(st.integers(16, 400), st.integers(1, 63), st.integers(0, 2**31))
def test_lost_words_are_counted_exactly(before: int, lost: int, seed: int) -> None:
    amps, bits, data = stream(before + lost + 100, seed=seed)
    cut = np.concatenate([data[: 4 * before], data[4 * (before + lost) :]])
    trace = decode(HEADER, cut)
    assert trace.gaps == (Gap(before, lost),)
    assert total(trace) == amps.size
    assert trace.digital is not None
    assert np.array_equal(trace.digital, np.concatenate([bits[:before], bits[before + lost :]]))


def test_a_loss_of_64_words_cannot_be_seen_and_one_of_65_is_seen_as_one() -> None:
    _, _, data = stream(400)
    gaps = [decode(HEADER, np.concatenate([data[:400], data[400 + 4 * lost :]])).gaps for lost in (64, 65)]
    assert gaps == [(), (Gap(100, 1),)]


@settings(max_examples=60, deadline=None)
@given(st.integers(100, 1500), st.integers(0, 2**31))
def test_a_lost_byte_costs_three_words_not_the_rest(at: int, seed: int) -> None:
    """Reading on in misaligned words is what makes ppk2-api show impossible currents after minutes."""
    amps, bits, data = stream(500, seed=seed)
    trace = decode(HEADER, np.delete(data, at))
    assert total(trace) == amps.size
    (gap,) = trace.gaps
    assert gap.missing <= 4  # three, and one more where misaligned bytes count on by chance
    assert abs(gap.index - at // 4) <= 2
    kept = np.delete(np.arange(500), np.arange(gap.index, gap.index + gap.missing))
    assert np.all(np.abs(trace.current_a - amps[kept]) <= 0.51 * resolution_a(amps[kept], CALIBRATION))
    # Where the byte of the inputs was lost, the word before the gap has another's: debouncing ignores one sample.
    assert trace.digital is not None
    different = np.flatnonzero(trace.digital != bits[kept])
    assert set(different) <= {gap.index - 1}
    assert "resynchronised 1 times" in trace.notes[0]


@settings(max_examples=60, deadline=None)
@given(st.integers(100, 1500), st.binary(min_size=1, max_size=60), st.integers(0, 2**31))
@example(313, b"\xc04\0\0", 0)
def test_garbage_in_the_stream_is_passed_over(at: int, garbage: bytes, seed: int) -> None:
    amps, _, data = stream(500, seed=seed)
    trace = decode(HEADER, np.concatenate([data[:at], as_bytes(garbage), data[at:]]))
    assert total(trace) % 64 == amps.size % 64
    # Inserted bytes look like lost words that came in pieces, and one in 64 whole words of garbage counts on by chance.
    assert abs(total(trace) - amps.size) <= 64
    assert len(trace.gaps) <= 2
    # Such a word may say another range: the three samples that settle behind it are wrong too.
    assert np.count_nonzero(np.abs(trace.current_a / 2e-3 - 1) > 0.4) <= 2 * (1 + 3)


def test_unreadable_words_count_with_the_right_multiple_of_64() -> None:
    amps, _, data = stream(5000)
    broken = data.copy()
    broken[4 * 1000 : 4 * 3000] = 0
    trace = decode(HEADER, broken)
    assert trace.gaps == (Gap(999, 2002),)  # and the words on both sides
    assert total(trace) == amps.size


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=600))
def test_arbitrary_bytes_raise_nothing_and_make_no_more_samples_than_words(data: bytes) -> None:
    trace = decode(HEADER, as_bytes(data))
    assert trace.current_a.size <= len(data) // 4
    assert np.all(np.isfinite(trace.current_a))


def test_noise_is_searched_in_linear_time() -> None:
    rng = np.random.default_rng(3)
    assert decode(HEADER, rng.integers(0, 256, 4_000_000).astype(np.uint8)).current_a.size < 100
    # A fault every 16 words, 25 000 of them: the search must not look at the whole rest each time.
    _, _, data = stream(400_000)
    words = data.view("<u4").reshape(-1, 16)[:, :15].copy()
    split = Split(words.reshape(-1).view(np.uint8))
    assert (sum(block.size for block in split), len(split.gaps)) == (375_000, 24_999)


def settled_one_by_one(ranges: np.ndarray, current: Float) -> list[float]:
    """A sample at a time: what has not settled takes the next value that has; where the range changed again before, it
    lies on the straight line between the settled ones on both sides."""
    last, since, settled = ranges[0], 99, []
    for place in ranges:
        since = 0 if place != last else since + 1
        last = place
        settled.append(since >= 3)
    result = []
    for k, value in enumerate(current):
        before = next((m for m in range(k, -1, -1) if settled[m]), 0)
        after = next((m for m in range(k, len(current)) if settled[m]), None)
        end = len(current) if after is None else after
        level = current[before] if after is None else current[after]
        if settled[k]:
            result.append(float(value))
        elif end - before - 1 <= 3:
            result.append(float(level))
        else:
            result.append(float(current[before] + (level - current[before]) * (k - before) / (end - before)))
    return result


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 6)), min_size=1, max_size=30), st.integers(1, 40))
def test_the_filter_after_a_change_of_range_equals_one_sample_at_a_time(
    stretches: list[tuple[int, int]], block: int
) -> None:
    ranges = np.concatenate([np.full(length, place) for place, length in stretches])
    adc = (np.arange(ranges.size) * 997) % 16000
    words = (adc | ranges << 14).astype(np.uint32)
    # Each by itself there is never a change.
    plain = np.concatenate([Converter(DEFAULTS, 3.3)(words[k : k + 1], end=True)[1] for k in range(words.size)])
    convert = Converter(DEFAULTS, 3.3)
    parts = [convert(words[k : k + block]) for k in range(0, words.size, block)]
    parts.append(convert(words[:0], end=True))
    assert np.array_equal(np.concatenate([part for part, _ in parts]), words)
    assert np.concatenate([part for _, part in parts]) == pytest.approx(settled_one_by_one(ranges, plain))


def test_decoding_is_far_faster_than_real_time() -> None:
    """A minute of samples with a change of range every 10 ms; the limit of this test is that of the suite."""
    seconds = 60
    amps = np.tile(np.repeat([1e-3, 20e-3], 1000), 50 * seconds)
    words = encode(np.arange(amps.size), amps, np.zeros(amps.size, np.uint8), calibration=CALIBRATION)
    start = time.process_time()
    trace = decode(HEADER, words.astype("<u4").view(np.uint8))
    assert time.process_time() - start < seconds / 5
    assert trace.current_a.size == 100_000 * seconds


def test_current_beyond_the_specified_ampere_is_marked() -> None:
    amps = np.full(100, 0.5)
    amps[40:45] = 1.3
    words = encode(np.arange(100), amps, np.zeros(100, np.uint8), calibration=CALIBRATION)
    trace = decode(HEADER, words.astype("<u4").view(np.uint8))
    assert (trace.clipped, trace.clipped_at) == (5, ((40, 45),))


# --- calibration ----------------------------------------------------------------------------------------------------


def test_the_calibration_is_read_back() -> None:
    metadata = parse_metadata(metadata_text(CALIBRATION, 1800, 2).decode())
    assert metadata == Metadata(CALIBRATION, "source", 1.8, "9173")


def test_constants_that_cannot_be_are_defaults() -> None:
    metadata = parse_metadata("R0: 0.0\nR1: -nan\nGS0: 0.0\nO0: x\nEND")
    assert metadata.modifiers["R"] == DEFAULTS["R"]
    assert metadata.modifiers["GS"] == (0.0, 1.0, 1.0, 1.0, 1.0)
    assert metadata.modifiers["O"] == DEFAULTS["O"]
    assert (metadata.mode, metadata.vdd_v) == (None, None)


@given(st.text(max_size=200))
def test_any_text_as_calibration_raises_only_meter_errors(text: str) -> None:
    with suppress(MeterError):
        parse_metadata(text)


@pytest.mark.parametrize("bad", [{}, {"modifiers": {}}, {"modifiers": {**DEFAULTS, "R": (0.0,) * 5}, "voltage_v": 3}])
def test_a_header_without_constants_is_named(bad: dict[str, object]) -> None:
    with pytest.raises(MeterError, match="modifiers"):
        decode(Header("ppk2", "P", "", 1e5, MeterInfo("PPK2"), bad), as_bytes(b""))


# --- the driver, on a PTY -------------------------------------------------------------------------------------------

STEPS = Timeline((0.0, 0.05, 0.15), (300e-6, 20e-3, 300e-6), edges=((0.05, 1), (0.15, 0)))


def record(sim: Simulator, tmp_path: Path, **options: object) -> Trace:
    """Everything that the simulator has."""
    meter = Ppk2(sim.port, site="board", raw_folder=tmp_path / "raw", **{"voltage_v": 3.3, **options})  # type: ignore[arg-type]
    try:
        meter.open()
        assert meter.configure(10_000) == 100_000
        meter.start()
        assert sim.sent.wait(20)
        return meter.stop()
    finally:
        meter.close()
        meter.close()


def test_end_to_end(tmp_path: Path) -> None:
    with Simulator(STEPS, samples=20_000, speed=None) as sim:
        trace = record(sim, tmp_path)
        assert sim.supply_changes == []
    assert (trace.current_a.size, trace.gaps, trace.notes, trace.dt_s) == (20_000, (), (), 1e-5)
    assert trace.info == MeterInfo("PPK2", firmware="HW 9173", driver="ppk2")
    assert (trace.site, trace.voltage_v) == ("board", 3.3)
    # The charge is 0.1 s at 300 uA and 0.1 s at 20 mA; settling after two changes of range costs a few samples.
    charge_c = float(np.sum(trace.current_a)) * 1e-5
    assert charge_c == pytest.approx(0.1 * 300e-6 + 0.1 * 20e-3, rel=1e-3)
    assert trace.digital is not None
    assert np.flatnonzero(np.diff(trace.digital)).tolist() == [4999, 14999]
    assert trace.raw is not None
    again = decode_recording(Path(trace.raw))
    assert np.array_equal(again.current_a, trace.current_a)


def test_every_fault_of_the_line_is_told_and_the_count_stays_right(tmp_path: Path) -> None:
    faults = Faults.random(seed=7, samples=20_000, sample_bytes=4, drops=6, lost_bytes=6)
    with Simulator(Timeline((0.0,), (2e-3,)), samples=20_000, speed=None, faults=faults) as sim:
        trace = record(sim, tmp_path)
    assert total(trace) == 20_000
    assert len(trace.gaps) == 12
    assert {gap.missing for gap in trace.gaps} >= set(faults.drop.values())
    assert any("resynchronised 6 times" in note for note in trace.notes)
    assert trace.current_a == pytest.approx(2e-3, abs=float(resolution_a(np.array([2e-3]), CALIBRATION)[0]))


def test_spikes_at_a_change_of_range_are_filtered(tmp_path: Path) -> None:
    with Simulator(STEPS, samples=20_000, speed=None, spikes=0.8) as sim:
        trace = record(sim, tmp_path)
    assert np.max(trace.current_a) < 1.2 * 20e-3


def test_somebody_left_it_measuring(tmp_path: Path) -> None:
    with Simulator(STEPS, samples=5_000, speed=None, measuring=True) as sim:
        assert record(sim, tmp_path).current_a.size == 5_000


def test_supplying(tmp_path: Path) -> None:
    with Simulator(STEPS, samples=1_000, speed=None) as sim:
        meter = Ppk2(sim.port, raw_folder=tmp_path)
        meter.open()
        meter.configure(100_000)
        with pytest.raises(SettingError, match="voltage is not known"):
            meter.start()
        with pytest.raises(NotSupported, match=r"voltage 5\.5 V"):
            meter.supply(5.5)
        with pytest.raises(NotSupported, match="limit"):
            meter.supply(1.8, limit_a=0.1)
        meter.supply(1.8)
        meter.start()
        with pytest.raises(SettingError, match="while it records"):
            meter.supply(None)
        assert sim.sent.wait(20)
        assert meter.stop().voltage_v == 1.8
        meter.supply(None)
        meter.close()
        assert sim.eventually(lambda: sim.supply_changes == [(0x0D, 1800), (0x11, 2), (0x0C, 1), (0x0C, 0)])
        meter.open()  # source mode now: it knows the voltage
        meter.configure(1)
        meter.start()
        meter.close()


def test_the_mode_is_not_changed_under_a_board(tmp_path: Path) -> None:
    with Simulator(STEPS, mode=2, samples=10, speed=None) as sim:
        meter = Ppk2(sim.port, raw_folder=tmp_path, mode="ampere")
        with pytest.raises(SettingError, match="source mode, ampere asked for"):
            meter.open()
        assert sim.supply_changes == []
        meter.open(keep_power=False)
        assert sim.eventually(lambda: sim.supply_changes == [(MODE, 1), (0x0C, 1)])
        meter.close()


def test_a_port_that_hangs_up_is_lost_and_what_came_stays(tmp_path: Path) -> None:
    with Simulator(STEPS, samples=20_000, speed=None, faults=Faults(hang_up_at=40_000)) as sim:
        meter = Ppk2(sim.port, raw_folder=tmp_path, voltage_v=3.3)
        meter.open()
        meter.configure(100_000)
        meter.start()
        sim._thread.join(20)
        with pytest.raises(MeterLost) as caught:
            meter.stop()
        meter.close()
    assert caught.value.hint is not None
    (path,) = tmp_path.glob("*.bin")
    assert f"replay:{path}" in caught.value.hint
    assert decode_recording(path).current_a.size > 5_000


def test_an_instrument_that_falls_silent_or_never_speaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.meter.drivers.stream._SILENT_S", 0.3)
    with Simulator(STEPS, faults=Faults(silent_from=1000)) as sim:
        meter = Ppk2(sim.port, raw_folder=tmp_path, voltage_v=3.3)
        meter.open()
        meter.configure(100_000)
        meter.start()
        time.sleep(0.6)
        with pytest.raises(MeterTimeout, match="no sample for the last"):
            meter.stop()
        meter.close()
        sim.faults = Faults(silent_from=0)
        meter.open()
        meter.configure(100_000)
        meter.start()
        with pytest.raises(MeterTimeout, match="not one sample"):
            meter.stop()
        meter.close()


def test_a_port_that_is_no_ppk2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.meter.drivers.stream._ANSWER_S", 0.3)

    class Other(Simulator):
        answer = b""

        def _obey(self, opcode: int, value: int) -> None:
            self._reply(self.answer)

    with Other(STEPS, samples=1, speed=None) as sim:
        with pytest.raises(MeterTimeout, match="no answer within"):
            Ppk2(sim.port).open()
        sim.answer = b"m-name-dut\r\nEND\r\n"
        with pytest.raises(MeterProtocolError, match="no calibration"):
            Ppk2(sim.port).open()
    with pytest.raises(MeterLost, match="cannot be opened"):
        Ppk2(str(tmp_path / "nowhere")).open()


def test_wrong_order_is_named(tmp_path: Path) -> None:
    meter = Ppk2("nowhere")
    for call in (meter.start, meter.stop, lambda: meter.configure(1), lambda: meter.supply(3.3)):
        with pytest.raises(SettingError):
            call()
    with pytest.raises(SettingError, match="mode 'amps'"):
        Ppk2("nowhere", mode="amps")  # type: ignore[arg-type]
    with Simulator(STEPS, samples=1, speed=None) as sim:
        meter = Ppk2(sim.port, voltage_v=3.3)
        meter.open()
        with pytest.raises(SettingError, match="before it was configured"):
            meter.start()
        with pytest.raises(NotSupported, match="100000"):
            meter.configure(200_000)
        meter.configure(100)
        with pytest.raises(NotSupported, match="hardware trigger"):
            meter.start("hardware")
        meter.close()


def test_beside_a_board_that_runs(tmp_path: Path) -> None:
    """In real time, the source being asked what flows now: current and input change together."""
    busy = threading.Event()
    source = Live(lambda: 30e-3 if busy.is_set() else 1e-3, inputs=lambda: int(busy.is_set()))
    with Simulator(source) as sim:
        meter = Ppk2(sim.port, raw_folder=tmp_path, voltage_v=3.3)
        meter.open()
        meter.configure(100_000)
        meter.start()
        for change in (busy.set, busy.clear, lambda: None):
            time.sleep(0.1)
            change()
        meter_trace = meter.stop()
        meter.close()
    assert meter_trace.gaps == ()
    assert meter_trace.digital is not None
    rise, fall = np.flatnonzero(np.diff(meter_trace.digital))
    # Each is asked for on its own, so a batch in which the board changes may have one of the two late.
    assert np.median(meter_trace.current_a[rise:fall]) == pytest.approx(30e-3, rel=1e-2)
    assert np.median(meter_trace.current_a[:rise]) == pytest.approx(1e-3, rel=1e-2)
