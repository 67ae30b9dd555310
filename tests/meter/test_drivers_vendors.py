"""Instruments behind vendors' libraries.  Otii: the vendor's own client against a simulated server.  Joulescope and
Monsoon: the libraries are replaced by stand-ins, so only our half is tested."""

from __future__ import annotations

import gc
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.errors import MeterError, UnavailableError
from hil.meter.drivers import joulescope, monsoon, otii
from hil.meter.drivers.base import Driver
from hil.meter.drivers.raw import Header, pack_block
from hil.meter.drivers.replay import decode_recording
from hil.meter.errors import GapError, MeterRefused, MeterTimeout, NotSupported, SettingError
from hil.meter.sim import joulescope as sim_joulescope
from hil.meter.sim import monsoon as sim_monsoon
from hil.meter.sim.instrument import Faults, Timeline
from hil.meter.sim.otii import Simulator as OtiiServer
from hil.meter.types import Gap, MeterInfo, Trace

STEPS = Timeline((0.0, 0.1, 0.3), (1e-3, 50e-3, 1e-3), edges=((0.1, 0b01), (0.2, 0b11), (0.3, 0b10)))
CHARGE_C = 0.2 * 1e-3 + 0.2 * 50e-3  # of the first 0.4 s


def recorded(meter: Driver, rate_hz: float, wait_s: float = 0.0) -> Trace:
    try:
        meter.open()
        meter.configure(rate_hz)
        meter.start()
        time.sleep(wait_s)
        return meter.stop()
    finally:
        meter.close()
        meter.close()


def check(trace: Trace) -> None:
    assert trace.dt_s is not None
    assert float(np.sum(trace.current_a)) * trace.dt_s == pytest.approx(CHARGE_C, rel=1e-3)
    assert np.asarray(trace.voltage_v) == pytest.approx(3.3)
    assert (trace.site, trace.clipped) == ("board", 0)
    assert trace.raw is not None
    again = decode_recording(Path(trace.raw))
    assert np.array_equal(again.current_a, trace.current_a)


KEYS = ["channel", "signal", "info", "timestamp", "interval", "dtype", "sample_id", "decimate_factor", "dropped"]
VALUES = ["mc", "mv", "i1", "i", "v", "gpi/0", "<f4", "|u1", "O", 0, 1, -1, 2**70, None, [], {}]


@pytest.mark.parametrize("module", [otii, joulescope, monsoon])
@settings(max_examples=50, deadline=None)
@given(data=st.binary(max_size=100), meta=st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES)))
def test_arbitrary_blocks_raise_only_meter_errors(module: Any, data: bytes, meta: dict[str, Any]) -> None:
    header = Header("x", "P", "", 1e3, MeterInfo("X"), {"inputs": 2})
    for content in (data, pack_block(meta, data), pack_block(meta, data) * 2):
        with suppress(MeterError):
            module.decode(header, np.frombuffer(content, np.uint8))


# --- Otii -----------------------------------------------------------------------------------------------------------

needs_otii = pytest.mark.skipif(find_spec("otii_tcp_client") is None, reason="otii-tcp-client is not installed")


@needs_otii
@pytest.mark.parametrize(("kind", "rate_hz", "samples"), [("Arc", 4000, 1600), ("Ace", 50_000, 20_000)])
def test_otii_end_to_end(kind: str, rate_hz: float, samples: int, tmp_path: Path) -> None:
    with OtiiServer(STEPS, kind=kind, samples=samples) as server:
        trace = recorded(otii.Otii(server.address, site="board", raw_folder=tmp_path), rate_hz)
        assert server.supply_changes == []
    check(trace)
    assert trace.info == MeterInfo(f"Otii {kind}", "Arc1", "1.2.3", "otii")
    assert (trace.current_a.size, trace.notes) == (samples, ())
    assert trace.digital is not None
    quarter = samples // 4
    assert trace.digital[[0, quarter, 2 * quarter, 3 * quarter]].tolist() == [0, 1, 3, 2]
    assert np.flatnonzero(np.diff(trace.digital)).tolist() == [quarter - 1, 2 * quarter - 1, 3 * quarter - 1]


@needs_otii
def test_otii_supplying_and_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with OtiiServer(STEPS, samples=400) as server:
        meter = otii.Otii(server.address, raw_folder=tmp_path, device="desk")
        meter.open()
        with pytest.raises(NotSupported, match="9 V"):
            meter.supply(9.0)
        meter.supply(3.0, limit_a=0.5)
        meter.supply(None)
        assert server.supply_changes == [
            ("arc_set_main_voltage", 3.0),
            ("arc_set_max_current", 0.5),
            ("arc_set_main", True),
            ("arc_set_main", False),
        ]
        with pytest.raises(NotSupported, match="takes 4000 Hz"):
            meter.configure(10_000)
        meter.close()
        with pytest.raises(SettingError, match="device 'shelf': 0 of them"):
            otii.Otii(server.address, device="shelf").open()
    with OtiiServer(STEPS, samples=4000, drop=3) as server:
        trace = recorded(otii.Otii(server.address, raw_folder=tmp_path), 4000)
        assert trace.notes == ("the server has 3 samples fewer than its recording is long",)
    with OtiiServer(STEPS, samples=4000, drop=40) as server, pytest.raises(GapError, match="40 samples fewer"):
        recorded(otii.Otii(server.address, raw_folder=tmp_path), 4000)
    with (
        OtiiServer(STEPS, samples=400, fail=frozenset({"project_start_recording"})) as server,
        pytest.raises(MeterRefused, match="starting: .*it is simulated"),
    ):
        recorded(otii.Otii(server.address, raw_folder=tmp_path), 4000)
    monkeypatch.setattr("hil.meter.drivers.otii._ANSWER_S", 0.2)
    with (
        OtiiServer(STEPS, samples=400, mute=frozenset({"recording_get_channel_data"})) as server,
        pytest.raises(MeterRefused, match="fetching the recording: timed out"),
    ):
        recorded(otii.Otii(server.address, raw_folder=tmp_path), 4000)
    with pytest.raises(MeterRefused, match="connecting"):
        otii.Otii("127.0.0.1:1").open()
    with pytest.raises(SettingError, match="expected HOST:PORT"):
        otii.Otii("somewhere")


@needs_otii
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the client leaves its socket open
def test_an_otii_server_without_a_licence() -> None:
    with OtiiServer(STEPS, samples=400, licenses=0) as server, pytest.raises(MeterRefused, match="licenses"):
        otii.Otii(server.address).open()
    gc.collect()


# --- Joulescope -----------------------------------------------------------------------------------------------------


def place(monkeypatch: pytest.MonkeyPatch, *devices: sim_joulescope.Device) -> sim_joulescope.Library:
    library = sim_joulescope.Library(*devices)
    monkeypatch.setitem(sys.modules, "pyjoulescope_driver", library)
    return library


def test_joulescope_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = sim_joulescope.Device(STEPS, 40_000)
    library = place(monkeypatch, device)
    meter = joulescope.Joulescope("2557", site="board", raw_folder=tmp_path)
    trace = recorded(meter, 90_000)
    check(trace)
    assert (trace.current_a.size, trace.gaps, trace.notes) == (40_000, (), ())
    assert trace.info == MeterInfo("JS220", "002557", driver="joulescope")
    assert trace.digital is not None
    assert trace.digital[[9_999, 10_000, 20_000, 30_000]].tolist() == [0, 1, 3, 2]
    assert (device.opened, library.finalized) == (["restore", "closed"], 1)
    assert device.published[0] == ("h/fs", 100_000)
    assert not any("range" in topic for topic, _ in device.published)
    device.opened.clear()
    meter.open(keep_power=False)
    meter.close()
    assert device.opened == ["defaults", "closed"]
    assert ("s/i/range/mode", "auto") in device.published


def test_joulescope_losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Marked samples and blocks that never came are both missing, in place."""
    place(monkeypatch, sim_joulescope.Device(STEPS, 40_000, nan=(7, 8), faults=Faults(drop={4096: 2048})))
    trace = recorded(joulescope.Joulescope(site="board", raw_folder=tmp_path), 100_000)
    assert trace.gaps == (Gap(7, 2), Gap(4094, 2048))
    assert trace.current_a.size == 40_000 - 2050
    assert np.isfinite(trace.current_a).all()


def test_joulescopes_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    place(monkeypatch)
    with pytest.raises(SettingError, match="0 match"):
        joulescope.Joulescope().open()
    two = [sim_joulescope.Device(STEPS, 1, path=f"u/js110/{serial}") for serial in ("001", "002")]
    place(monkeypatch, *two)
    with pytest.raises(SettingError, match="2 match"):
        joulescope.Joulescope().open()
    meter = joulescope.Joulescope("002")
    meter.open()
    assert (meter.caps.rate_max_hz, meter.caps.digital_inputs) == (2e6, 2)
    with pytest.raises(NotSupported, match="supplies no board"):
        meter.supply(3.3)
    meter.close()
    monkeypatch.setitem(sys.modules, "pyjoulescope_driver", None)
    with pytest.raises(UnavailableError) as caught:
        joulescope.Joulescope().open()
    assert "hil[joulescope]" in str(caught.value.hint)


def test_a_joulescope_that_falls_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.meter.drivers.joulescope._SILENT_S", 0.05)
    place(monkeypatch, sim_joulescope.Device(STEPS, 100))
    with pytest.raises(MeterTimeout, match="no sample for the last"):
        recorded(joulescope.Joulescope(raw_folder=tmp_path), 100_000, wait_s=0.15)


# --- Monsoon --------------------------------------------------------------------------------------------------------


def attach(monkeypatch: pytest.MonkeyPatch, device: sim_monsoon.Device) -> sim_monsoon.Device:
    for name, module in sim_monsoon.modules(device).items():
        monkeypatch.setitem(sys.modules, name, module)
    return device


def test_monsoon_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    device = attach(monkeypatch, sim_monsoon.Device(STEPS))
    trace = recorded(monsoon.Monsoon(site="board", raw_folder=tmp_path), 1000, wait_s=0.01)
    assert trace.current_a[[0, 500]] == pytest.approx([1e-3, 50e-3])
    assert np.asarray(trace.voltage_v)[0] == pytest.approx(3.3)
    assert (trace.dt_s, trace.notes) == (2e-4, ())
    assert trace.info == MeterInfo("Monsoon HVPM", "20001", "32", "monsoon")
    assert (device.closed, device.supply_changes) == (1, [])
    assert capsys.readouterr().out == ""


def test_monsoon_supplying_and_failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = attach(monkeypatch, sim_monsoon.Device(STEPS))
    meter = monsoon.Monsoon(raw_folder=tmp_path)
    meter.open()
    with pytest.raises(NotSupported, match="14 V"):
        meter.supply(14.0)
    meter.supply(4.2, limit_a=1.0)
    meter.supply(None)
    meter.close()
    assert [name for name, _ in device.supply_changes] == [
        "setPowerUpCurrentLimit",
        "setRunTimeCurrentLimit",
        "setVout",
        "setVout",
    ]
    assert device.supply_changes[2:] == [("setVout", 4.2), ("setVout", 0.0)]
    attach(monkeypatch, sim_monsoon.Device(STEPS, fail_at=2000))
    with pytest.raises(MeterRefused, match="sampling: .*No such device"):
        recorded(monsoon.Monsoon(raw_folder=tmp_path), 5000, wait_s=0.05)
    attach(monkeypatch, sim_monsoon.Device(STEPS, attached=False))
    with pytest.raises(MeterRefused, match="no Monsoon is attached"):
        monsoon.Monsoon().open()


@pytest.mark.parametrize(("dropped", "spoilt"), [(0, False), (1, False), (2, True)])
def test_samples_that_the_monsoon_dropped(dropped: int, spoilt: bool) -> None:
    block = pack_block({"dropped": dropped}, np.ones((2, 1000)).tobytes())
    header = Header("monsoon", "P", "", 5000, MeterInfo("X"))
    if spoilt:
        with pytest.raises(GapError, match="dropped 2 of 1002"):
            monsoon.decode(header, np.frombuffer(block, np.uint8))
    else:
        trace = monsoon.decode(header, np.frombuffer(block, np.uint8))
        assert trace.current_a[0] == 1e-3
        assert len(trace.notes) == dropped
