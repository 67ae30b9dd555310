"""Long recordings: what decoding holds in memory does not grow with them, and blocks change nothing."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hil.meter import spool
from hil.meter.drivers import ina2xx, ppk2
from hil.meter.drivers.raw import Header, RawWriter, line_blocks
from hil.meter.drivers.replay import Replay
from hil.meter.sim.ina2xx import with_crc
from hil.meter.sim.powershield import encode_ascii, encode_binary
from hil.meter.sim.ppk2 import CALIBRATION, encode
from hil.meter.spool import Spool, let_go
from hil.meter.store import load_trace, save_trace
from hil.meter.types import Gap, MeterInfo, Trace

VOLTAGE = {"voltage_v": 3.3}
PPK2 = Header("ppk2", "P", "board", 1e5, MeterInfo("PPK2"), {"modifiers": dict(CALIBRATION), **VOLTAGE})
BINARY = Header("lpm01a", "P", "board", 1e5, MeterInfo("X"), {"format": "bin", **VOLTAGE})
TEXT = Header("lpm01a", "P", "board", 1e4, MeterInfo("X"), {"format": "ascii", **VOLTAGE})
INA = {"chip": "ina228", "shunt_ohm": 0.1, "range": 0, "current_lsb_a": 3.125e-6}
BRIDGE = Header("ina2xx", "P", "board", 1e6 / 65536, MeterInfo("INA228"), INA)


def words(first: int, samples: int) -> bytes:
    """10 ms at 1 mA, 10 ms at 20 mA, and so on."""
    index = np.arange(first, first + samples)
    busy = index // 1000 % 2
    return (
        encode(index, np.where(busy, 20e-3, 1e-3), busy.astype(np.uint8), calibration=CALIBRATION)
        .astype("<u4")
        .tobytes()
    )


def binary(first: int, samples: int) -> bytes:
    """A time every 100 ms."""
    part = encode_binary(np.tile([1e-3, 5e-3], 5000))
    return b"".join(
        b"\xf0\xf3" + (at // 100).to_bytes(4, "big") + b"\0\xff\xff" + part
        for at in range(first, first + samples, 10_000)
    )


def bare(first: int, samples: int) -> bytes:
    return encode_binary(np.tile([1e-3, 5e-3], samples // 2))


def text(first: int, samples: int) -> bytes:
    part = encode_ascii(np.tile([1e-3, 5e-3], 500))
    return b"".join(
        f"\r\n\0TimeStamp: {at // 10_000}s {at // 10 % 1000}ms, buff 0%\r\n".encode() + part
        for at in range(first, first + samples, 1000)
    )


def lines(first: int, samples: int) -> bytes:
    """Every 65536 us, so that numbers and times wrap together: 1 mA, 3.3 V."""
    index = np.arange(first, first + samples, dtype=np.int64)
    digits = np.frombuffer(b"0123456789ABCDEF", np.uint8)
    rows = np.tile(np.frombuffer(b"S nnnn tttttttt 000140 004200 05 cc\n", np.uint8), (samples, 1))
    for at, value, size in ((2, index % 65536, 4), (7, index * 65536 % 2**32, 8)):
        rows[:, at : at + size] = digits[value[:, None] >> 4 * np.arange(size - 1, -1, -1) & 15]
    crc = ina2xx.crc8(rows[:, :32])
    rows[:, 33], rows[:, 34] = digits[crc >> 4], digits[crc & 15]
    return rows.tobytes()


def recording(header: Header, make: Callable[[int, int], bytes], samples: int, folder: Path) -> Path:
    writer = RawWriter(header, folder)
    step = samples // 4
    for first in range(0, samples, step):
        writer.write(make(first, step))
    writer.close()
    return writer.path


def replayed(path: Path) -> Trace:
    meter = Replay(str(path))
    meter.open()
    meter.start()
    return meter.stop()


@pytest.mark.parametrize(
    ("header", "make", "samples", "mean_a", "most_bytes"),
    [
        (PPK2, words, 1_600_000, 10.5e-3, 60e6),
        (BINARY, binary, 1_600_000, 3e-3, 30e6),
        (BINARY, bare, 1_600_000, 3e-3, 30e6),
        (TEXT, text, 160_000, 3e-3, 30e6),
        (BRIDGE, lines, 160_000, 1e-3, 40e6),
    ],
    ids=["ppk2", "binary", "no times", "text", "bridge"],
)
def test_what_is_held_does_not_grow_with_the_recording(
    header: Header,
    make: Callable[[int, int], bytes],
    samples: int,
    mean_a: float,
    most_bytes: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The peak at three times the length is that at once the length: a column of it all would show."""
    monkeypatch.setattr(spool, "_IN_MEMORY", 1 << 16)
    replayed(recording(header, make, 40_000, tmp_path / "warm"))  # imports what is imported at first use
    peaks = []
    for times in (1, 3):
        path = recording(header, make, times * samples, tmp_path / f"{times}")
        tracemalloc.start()
        trace = replayed(path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert isinstance(trace.current_a, np.memmap)
        assert (trace.current_a.size, trace.gaps) == (times * samples, ())
        assert float(trace.current_a.mean(dtype=np.float64)) == pytest.approx(mean_a, rel=2e-3)
        assert len(list(path.parent.iterdir())) == 2  # the recording, and nothing that decoding left behind
        again = load_trace(save_trace(trace, tmp_path / "again.trace"))
        assert np.array_equal(again.current_a, trace.current_a)
    assert peaks[1] < 1.15 * peaks[0] + 1e6
    assert peaks[1] < most_bytes


# --- blocks change nothing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
def test_words_in_blocks_of_any_size_are_the_same_trace(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    data = np.frombuffer(words(0, 20_000), np.uint8)
    pieces = [data[4 * place : 4 * (place + 990)] for place in range(0, 20_000, 1000)]  # ten lost of every thousand
    pieces.insert(3, rng.integers(0, 256, 21).astype(np.uint8))
    pieces[9] = np.delete(pieces[9], 1234)
    broken = np.concatenate(pieces)
    whole = ppk2.decode(PPK2, broken)
    monkeypatch.setattr(ppk2, "_BLOCK_WORDS", block)
    again = ppk2.decode(PPK2, broken)
    assert np.array_equal(again.current_a, whole.current_a)
    assert np.array_equal(again.digital, whole.digital)  # type: ignore[arg-type]
    assert (again.gaps, again.notes, again.clipped) == (whole.gaps, whole.notes, whole.clipped)
    assert len(whole.gaps) >= 20


def test_lines_of_many_blocks() -> None:
    """Numbers, times and energies go over from one block to the next, also where samples are lost between them."""
    size = len(lines(0, 1))
    data = lines(0, 100_000)
    first_end = next(line_blocks(np.frombuffer(data, np.uint8)))[1]
    assert first_end % size == 0
    cut = data[: first_end - 3 * size] + data[first_end + 2 * size :]
    trace = ina2xx.decode(BRIDGE, np.frombuffer(cut, np.uint8))
    assert trace.gaps == (Gap(first_end // size - 3, 5),)
    assert trace.current_a.size == 99_995
    assert trace.t_s is not None
    index = np.delete(np.arange(100_000), np.arange(first_end // size - 3, first_end // size + 2))
    assert trace.t_s == pytest.approx(index * 65536e-6)
    # 1 mA * 3.3 V, half a period more at both ends.
    counted = round(3.3e-3 * 100_000 * 65536e-6 / (ina2xx.CURRENT_STEPS_PER_JOULE_STEP * INA["current_lsb_a"]))
    for wrong, notes in ((1.0, 0), (1.03, 1)):
        register = with_crc(f"E {round(counted * wrong):010X}")
        told = f"{with_crc('E 0000000000')}\n".encode() + cut + f"{register}\n".encode()
        assert len(ina2xx.decode(BRIDGE, np.frombuffer(told, np.uint8)).notes) == notes


# --- the spool ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_memory", [0, 1 << 20])
def test_a_spool_takes_back_and_reads(in_memory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "_IN_MEMORY", in_memory)
    (tmp_path / "raw.bin").write_bytes(b"x")
    raw = np.memmap(tmp_path / "raw.bin", np.uint8, mode="r")
    with Spool(beside=raw) as columns:
        columns.append(current_a=np.arange(10.0), digital=np.arange(10, dtype=np.uint8))
        columns.truncate(4)
        columns.append(current_a=np.array([7.5, 8.5]), digital=np.array([70, 80], np.uint8))
        columns.truncate(99)
        assert columns.samples == 6
        found = columns.columns()
    assert found["current_a"].tolist() == [0, 1, 2, 3, 7.5, 8.5]
    assert found["digital"].tolist() == [0, 1, 2, 3, 70, 80]
    assert isinstance(found["current_a"], np.memmap) == (in_memory == 0)
    let_go(*found.values(), raw[:0], None, 3.3)
    assert found["current_a"][-1] == 8.5
    assert [path.name for path in tmp_path.iterdir()] == ["raw.bin"]
