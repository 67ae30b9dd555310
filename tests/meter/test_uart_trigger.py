"""A board's own signals on a meter: the lines that an Otii hears, and the edge that starts the instruments of ST.

Otii: the vendor's client against a simulated server.  ST: drivers against simulators on PTYs.  The truth is what the
simulators were given: when the board printed, switched its pin, and what it took.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hil.meter.accuracy import Accuracy
from hil.meter.align import Evidence, align, uart_evidence
from hil.meter.drivers import lpm01a, otii, stlink_v3pwr
from hil.meter.drivers.powershield import PowerShield
from hil.meter.drivers.raw import Header, blocks, pack_block, read_raw
from hil.meter.drivers.replay import Replay, decode_recording
from hil.meter.energy import PhaseWindow, energy_by_phase
from hil.meter.errors import (
    GapError,
    MeterProtocolError,
    MeterRefused,
    MeterTimeout,
    MissingEdgeError,
    NotSupported,
    SettingError,
)
from hil.meter.registry import open_meter
from hil.meter.sim.instrument import Live, Source, Timeline
from hil.meter.sim.otii import NoChannelError
from hil.meter.sim.otii import Simulator as OtiiServer
from hil.meter.sim.powershield import Simulator as StSimulator
from hil.meter.store import load_trace, save_trace
from hil.meter.trace import SampleTimes, check_window
from hil.meter.types import Line, MeterInfo, Trace

SUPPLY_V = 3.3
# Of the simulated instruments nothing is wrong but the twelve bits of the samples of ST's: 20 mA is 1311 / 16**4 A.
EXACT = Accuracy(gain_sd=1e-4, lsb_a=16.0**-4, source="the simulator")


@pytest.fixture(autouse=True)
def _locks_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


# --- the lines that an Otii hears -----------------------------------------------------------------------------------

needs_otii = pytest.mark.skipif(find_spec("otii_tcp_client") is None, reason="otii-tcp-client is not installed")

IDLE_A, WORK_A = 2e-3, 20e-3
START_S, END_S = 0.4, 1.4  # of the work, in the time of the recording
BOARD_ZERO_S, BOARD_RATE = 0.15, 1 + 80e-6  # the recording's time when the board's clock was zero; board s per meter s
LENGTH_S = 1.8


def board_us(meter_s: float) -> int:
    return round((meter_s - BOARD_ZERO_S) * BOARD_RATE * 1e6)


LAPS_US = (board_us(START_S), board_us(END_S))
WORK = Timeline((0.0, START_S, END_S), (IDLE_A, WORK_A, IDLE_A))
# What a board prints around an infer: the first lap comes right behind other lines.
PRINTED = (
    (0.3, "m-ready"),
    (START_S - 1e-5, "m-warmup-done"),
    (START_S - 1e-5, "m-infer-start-100"),
    (START_S, f"m-lap-us-{LAPS_US[0]}"),
    (END_S, f"m-lap-us-{LAPS_US[1]}"),
    (END_S + 1e-5, "m-infer-done"),
    (END_S + 1e-5, "m-results-[0.1,0.9]"),
)


def heard(
    tmp_path: Path, lines: Sequence[tuple[float, str]] = PRINTED, *, uart: int | None = 115_200, **server: Any
) -> Trace:
    with OtiiServer(WORK, kind="Ace", samples=round(LENGTH_S * 50_000), lines=lines, **server) as at:
        meter = otii.Otii(at.address, site="board", raw_folder=tmp_path, uart=uart)
        try:
            meter.open()
            meter.configure(50_000)
            meter.start()
            return meter.stop()
        finally:
            meter.close()


@needs_otii
def test_the_lines_of_the_board_are_in_the_trace_and_in_its_replay(tmp_path: Path) -> None:
    trace = heard(tmp_path)
    assert [line.text for line in trace.lines] == [text for _, text in PRINTED]
    # 8N1 at 115200 baud, with CR and LF: "m-ready" takes 9 characters of 10 bits.
    assert trace.lines[0].t_s == pytest.approx(0.3 + 90 / 115_200, abs=1e-6)
    assert (trace.unplaced, trace.notes) == (0, ())
    assert trace.raw is not None
    again = decode_recording(Path(trace.raw))
    assert again.lines == trace.lines
    replayed = Replay(trace.raw)
    replayed.open()
    replayed.start()
    assert replayed.stop().lines == trace.lines
    assert load_trace(save_trace(trace, tmp_path / "a.trace")).lines == trace.lines
    # The raw blocks hold what the server said, line ends and all.
    said = [json.loads(payload) for meta, payload in blocks(read_raw(Path(trace.raw))[1]) if meta["channel"] == "rx"]
    assert said[0][0]["value"] == "m-ready\r\n"


@needs_otii
@pytest.mark.parametrize("stamp_at", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("stamp_step_s", [1e-6, 1e-3])
def test_energy_between_laps_that_were_heard(tmp_path: Path, stamp_at: float, stamp_step_s: float) -> None:
    """Whatever the stamps refer to and however coarse they are, the truth lies within the interval."""
    trace = heard(tmp_path, stamp_at=stamp_at, stamp_step_s=stamp_step_s)
    evidence = uart_evidence(trace, 115_200, LAPS_US)
    assert evidence is not None
    found = align(trace, evidence, ("uart",))
    laps_s = [us / 1e6 for us in LAPS_US]
    # 1.645 standard uncertainties hold both borders.
    for board_s, truth_s in zip(laps_s, (START_S, END_S), strict=True):
        assert abs(found.to_meter(board_s) - truth_s) < 1.645 * np.hypot(found.border_s, found.skew_sd_ppm * 0.5e-6)
    assert found.border_s < 3e-3
    window = PhaseWindow("inference", laps_s[0], laps_s[1], 100)
    energy = energy_by_phase(trace, [window], found, accuracy=EXACT)["inference"]
    truth_j = SUPPLY_V * WORK_A * (END_S - START_S) / 100
    assert energy.low_j <= truth_j <= energy.high_j
    assert energy.high_j - energy.low_j < 0.01 * truth_j
    assert energy.aligned_by == "uart"


@needs_otii
def test_nothing_is_asked_of_the_uart_unless_it_is_wanted(tmp_path: Path) -> None:
    commands = frozenset({"arc_set_uart_baudrate", "arc_enable_uart", "arc_enable_exp_port"})
    trace = heard(tmp_path, uart=None, fail=commands)  # it would fail if it were asked
    assert (trace.lines, trace.notes) == ((), ())
    assert uart_evidence(trace, 115_200, LAPS_US) is None


@needs_otii
def test_a_uart_that_is_not_there_or_wrong(tmp_path: Path) -> None:
    for command in ("arc_set_uart_baudrate", "arc_enable_uart"):
        with pytest.raises(MeterRefused, match="listening to a UART at 7 baud: .*it is simulated") as refused:
            heard(tmp_path, uart=7, fail=frozenset({command}))
        assert "baud rate" in str(refused.value.hint)
    with pytest.raises(SettingError, match="uart is 0, expected a baud rate"):
        otii.Otii("127.0.0.1:1", uart=0)
    silent = heard(tmp_path, ())
    assert silent.notes == ("no line came over the UART at 115200 baud",)
    assert uart_evidence(silent, 115_200, LAPS_US) is None
    garbled = heard(tmp_path, uart=9600)
    assert len(garbled.lines) == len(PRINTED)
    with pytest.raises(MissingEdgeError, match="not among the 7 lines that the meter heard; the last was"):
        uart_evidence(garbled, 115_200, LAPS_US)


class _Stubborn(OtiiServer):
    """Takes any baud rate and listens at 9600."""

    def _answer(self, command: str, data: dict[str, Any]) -> Any:
        return {"value": 9600} if command == "arc_get_uart_baudrate" else super()._answer(command, data)


@needs_otii
def test_a_server_that_listens_at_another_rate(tmp_path: Path) -> None:
    with _Stubborn(WORK, samples=400) as server:
        meter = otii.Otii(server.address, raw_folder=tmp_path, uart=115_200)
        meter.open()
        with pytest.raises(NotSupported, match="115200 baud asked for, Otii Arc listens at 9600 baud"):
            meter.configure(4000)
        meter.close()


class _Without(OtiiServer):
    """Has a channel no more when it is asked for it, as where somebody switches it off in Otii's own window."""

    lost = ""

    def _count(self, channel: str) -> int:
        if channel == self.lost:
            raise NoChannelError("no such channel")
        return super()._count(channel)


@needs_otii
@pytest.mark.parametrize(("lost", "named"), [("rx", r"lines of the UART \(rx\)"), ("i1", "channel i1")])
def test_a_channel_that_is_missing_costs_no_other(tmp_path: Path, lost: str, named: str) -> None:
    with _Without(WORK, samples=400, lines=((0.01, "m-ready"),)) as server:
        server.lost = lost
        meter = otii.Otii(server.address, raw_folder=tmp_path, uart=115_200)
        meter.open()
        meter.configure(4000)
        meter.start()
        with pytest.raises(MeterProtocolError, match=rf"{named}: .*'no such channel"):
            meter.stop()
        meter.close()
    (raw,) = tmp_path.glob("*.bin")
    kept = decode_recording(raw)
    assert (kept.current_a.size, len(kept.lines)) == (400, int(lost != "rx"))


@needs_otii
def test_a_recording_that_is_given_up_is_kept(tmp_path: Path) -> None:
    with OtiiServer(WORK, samples=400, lines=((0.01, "m-ready"),)) as server:
        meter = otii.Otii(server.address, raw_folder=tmp_path, uart=115_200)
        meter.open()
        meter.configure(4000)
        meter.start()
        assert server.recording
        meter.close()
        assert not server.recording
    (raw,) = tmp_path.glob("*.bin")
    kept = decode_recording(raw)
    assert (kept.current_a.size, [line.text for line in kept.lines]) == (400, ["m-ready"])


@needs_otii
@pytest.mark.parametrize(("drop", "unplaced"), [(0, 0), (1, 0), (3, 3), (40, 40)])
def test_samples_that_the_server_does_not_have(tmp_path: Path, drop: int, unplaced: int) -> None:
    """One sample is the rounding of the length; more may be missing anywhere: 0.1 % of a long window, none of a
    phase."""
    with OtiiServer(WORK, samples=4000, drop=drop) as server:
        meter = otii.Otii(server.address, site="board", raw_folder=tmp_path)
        meter.open()
        meter.configure(4000)
        meter.start()
        trace = meter.stop()
        meter.close()
    assert (trace.current_a.size, trace.unplaced) == (4000 - drop, unplaced)
    assert len(trace.notes) == (unplaced > 0)
    times = SampleTimes(trace)
    if unplaced == 0:
        check_window(times, "inference", 0.1, 0.9)
        return
    with pytest.raises(GapError, match=f"{unplaced} samples missing here or elsewhere"):
        check_window(times, "inference", 0.1, 0.9)
    if unplaced < 4:
        check_window(times, "inference", 0.1, 0.9, gaps_allowed=0.001)
    else:
        with pytest.raises(GapError):
            check_window(times, "inference", 0.1, 0.9, gaps_allowed=0.001)


def test_a_line_without_a_time_is_no_recording() -> None:
    header = Header("otii", "P", "", 4e3, MeterInfo("X"))
    channels = [
        pack_block({"channel": c, "timestamp": 0.0, "interval": 1e-3}, np.ones(9).tobytes()) for c in ("mc", "mv")
    ]
    for stamp, right in ((0.25, True), (float("nan"), False)):
        rx = pack_block({"channel": "rx"}, json.dumps([{"timestamp": stamp, "value": "m-ready\n"}]).encode())
        data = np.frombuffer(b"".join([*channels, rx]), np.uint8)
        if right:
            assert otii.decode(header, data).lines == (Line(0.25, "m-ready"),)
        else:
            with pytest.raises(MeterProtocolError, match="without a time"):
                otii.decode(header, data)


@needs_otii
def test_the_setting_of_the_uart(tmp_path: Path) -> None:
    with OtiiServer(WORK, samples=400, lines=((0.01, "m-ready"),)) as server:
        meter = open_meter(f"otii:{server.address}?uart=115200&device=desk", site="board", raw_folder=tmp_path)
        meter.open()
        meter.configure(4000)
        meter.start()
        assert [line.text for line in meter.stop().lines] == ["m-ready"]
        meter.close()
    with pytest.raises(SettingError, match="uart is 'fast', expected int"):
        open_meter("otii:127.0.0.1:1?uart=fast")


# --- the edge that starts the instruments of ST ---------------------------------------------------------------------

CLASSES: dict[str, type[PowerShield]] = {"lpm01a": lpm01a.Lpm01a, "stlink_v3pwr": stlink_v3pwr.StlinkV3Pwr}
WIRES = {"lpm01a": "D7", "stlink_v3pwr": "TGI"}
BOTH = pytest.mark.parametrize("name", CLASSES)

FIRST_S, LAST_S = 0.3, 0.9  # edges of the board, counted from the command to start
PINNED = Timeline((0.0, FIRST_S, LAST_S), (IDLE_A, WORK_A, IDLE_A), edges=((FIRST_S, 1), (LAST_S, 0)))


def armed(sim: StSimulator, name: str, tmp_path: Path, rate_hz: float = 10_000, **options: Any) -> PowerShield:
    meter = CLASSES[name](sim.port, site="board", raw_folder=tmp_path / "raw", **options)
    meter.open()
    meter.configure(rate_hz)
    meter.start("hardware")
    return meter


def triggered(source: Source, name: str, tmp_path: Path, rate_hz: float = 10_000, samples: int = 9000) -> Trace:
    with StSimulator(CLASSES[name].model, source, samples=samples, speed=None) as sim:
        meter = armed(sim, name, tmp_path, rate_hz)
        try:
            assert sim.sent.wait(20)
            return meter.stop()
        finally:
            meter.close()


@BOTH
@pytest.mark.parametrize("rate_hz", [1000, 10_000, 100_000])
def test_time_zero_of_the_trace_is_the_edge(name: str, rate_hz: float, tmp_path: Path) -> None:
    """All samples up to the second edge are of the work, and not one more."""
    trace = triggered(PINNED, name, tmp_path, rate_hz, samples=round(0.9 * rate_hz))
    assert (trace.t0_s, trace.gaps, trace.notes) == (0.0, (), ())
    work = round((LAST_S - FIRST_S) * rate_hz)
    assert trace.current_a[:work] == pytest.approx(np.full(work, WORK_A), rel=2e-3)
    assert trace.current_a[work + 1 :] == pytest.approx(np.full(trace.current_a.size - work - 1, IDLE_A), rel=2e-3)


@BOTH
@pytest.mark.parametrize("board_zero_s", [0.0, -7.3, 123.456789])
def test_energy_of_a_window_by_its_trigger(name: str, board_zero_s: float, tmp_path: Path) -> None:
    trace = triggered(PINNED, name, tmp_path)
    start_s, end_s = FIRST_S - board_zero_s, LAST_S - board_zero_s
    found = align(trace, Evidence(trigger_s=start_s))
    assert found.method == "trigger"
    assert found.to_meter(start_s) == pytest.approx(0.0, abs=1e-9)
    window = PhaseWindow("inference", start_s, end_s, 100)
    energy = energy_by_phase(trace, [window], found, accuracy=EXACT)["inference"]
    truth_j = SUPPLY_V * WORK_A * (LAST_S - FIRST_S) / 100
    assert energy.low_j <= truth_j <= energy.high_j
    assert energy.high_j - energy.low_j < 4e-3 * truth_j
    # From another edge on it would be another energy: the figure does depend on the trigger.
    late = align(trace, Evidence(trigger_s=start_s - 0.2))
    assert energy_by_phase(trace, [window], late, accuracy=EXACT)["inference"].high_j < 0.9 * truth_j


@BOTH
@pytest.mark.parametrize("kind", ["bin", "ascii"])
def test_a_trigger_that_never_came_names_the_wire(name: str, kind: str, tmp_path: Path) -> None:
    """Its answer to the stop must not pass for samples."""
    with StSimulator(CLASSES[name].model, Timeline((0.0,), (1e-3,))) as sim:
        meter = armed(sim, name, tmp_path, format=kind)
        with pytest.raises(MeterTimeout, match=rf"trigger never came: no edge at {WIRES[name]}\b") as never:
            meter.stop()
        assert "synchronisation pin" in str(never.value.hint)
        # Asked again it works: nothing is left over.
        sim.source = Live(lambda: WORK_A, inputs=lambda: int(time.monotonic() * 20) & 1)
        meter.start("hardware")
        assert sim.eventually(lambda: sim.running and sim.taken > 0)
        time.sleep(0.3)
        trace = meter.stop()
        meter.close()
    assert trace.current_a == pytest.approx(np.full(trace.current_a.size, WORK_A), rel=2e-3)
    (raw, _) = sorted((tmp_path / "raw").glob("*.bin"))
    with pytest.raises(MeterTimeout, match="trigger never came"):
        decode_recording(raw)


@BOTH
def test_silence_before_the_trigger_is_no_fault_and_silence_after_it_is(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hil.meter.drivers.stream._SILENT_S", 0.2)
    with StSimulator(CLASSES[name].model, Timeline((0.0,), (1e-3,))) as sim:
        meter = armed(sim, name, tmp_path)
        time.sleep(0.4)
        with pytest.raises(MeterTimeout, match="trigger never came"):
            meter.stop()
        sim.source = PINNED
        meter.start("hardware")
        time.sleep(0.5)
        assert meter.stop().t0_s == 0.0
        meter.close()
    with StSimulator(CLASSES[name].model, PINNED, samples=100, speed=None) as sim:
        meter = armed(sim, name, tmp_path)
        assert sim.sent.wait(20)
        time.sleep(0.4)
        with pytest.raises(MeterTimeout, match="no sample for the last"):
            meter.stop()
        meter.close()


@pytest.mark.parametrize(("name", "begins_s"), [("lpm01a", 0.1), ("stlink_v3pwr", 0.3)])
def test_a_pin_that_is_high_already_is_no_edge(name: str, begins_s: float, tmp_path: Path) -> None:
    """D7 takes its falling edge then, TGI waits for a rising one: 1 mA from 0.1 s on, 2 mA from 0.3 s."""
    pin = Timeline((0.0, 0.1, 0.3), (5e-3, 1e-3, 2e-3), edges=((0.0, 1), (0.1, 0), (0.3, 1)))
    trace = triggered(pin, name, tmp_path, samples=3000)
    assert trace.current_a[0] == pytest.approx(1e-3 if begins_s == 0.1 else 2e-3, rel=2e-3)
    assert trace.current_a[-1] == pytest.approx(2e-3, rel=2e-3)
    # The second half is of 2 mA for D7 from 0.2 s after its edge on.
    twice = np.flatnonzero(trace.current_a > 1.5e-3)
    assert twice[0] == pytest.approx((0.3 - begins_s) * 10_000, abs=1)


@BOTH
def test_a_trigger_while_it_records_by_software_changes_nothing(name: str, tmp_path: Path) -> None:
    with StSimulator(CLASSES[name].model, PINNED, samples=5000, speed=None) as sim:
        meter = CLASSES[name](sim.port, site="board", raw_folder=tmp_path / "raw")
        meter.open()
        meter.configure(10_000)
        meter.start()
        assert sim.sent.wait(20)
        with pytest.raises(SettingError, match="started while it records"):
            meter.start("hardware")
        trace = meter.stop()
        meter.close()
        assert "trigdelay 0" in sim.commands
    assert trace.current_a[:3000] == pytest.approx(np.full(3000, IDLE_A), rel=2e-3)
    assert trace.current_a[3000] == pytest.approx(WORK_A, rel=2e-3)


@pytest.mark.parametrize("trigger", ["hardware", "software"])
def test_a_trace_without_its_first_samples_does_not_begin_with_the_trigger(trigger: str) -> None:
    settings = {"format": "bin", "voltage_v": 3.3, "trigger": trigger}
    header = Header("lpm01a", "P", "board", 1000.0, MeterInfo("X"), settings)

    def stamp(time_ms: int) -> bytes:
        return b"\xf0\xf3" + time_ms.to_bytes(4, "big") + b"\0\xff\xff"

    sample = bytes.fromhex("3029")  # 41 / 16**3 A
    data = stamp(0) + sample * 60 + stamp(100) + sample * 100 + stamp(200) + sample * 100
    if trigger == "software":
        trace = lpm01a.decode(header, np.frombuffer(data, np.uint8))
        assert SampleTimes(trace).first_s == pytest.approx(0.1)
        return
    with pytest.raises(GapError, match="100 samples missing right after the trigger"):
        lpm01a.decode(header, np.frombuffer(data, np.uint8))
