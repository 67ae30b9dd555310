"""Instruments behind vendors' libraries.  Otii: the vendor's own client against a simulated server.  Monsoon: the
vendor's own library against a simulated monitor on a simulated USB bus.  Joulescope: the library is replaced by a
stand-in, which is compared with the real one."""

from __future__ import annotations

import errno
import gc
import importlib
import inspect
import json
import re
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
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
from hil.meter.drivers.vendor import import_vendor
from hil.meter.errors import MeterLost, MeterRefused, MeterTimeout, NotSupported, SettingError
from hil.meter.sim import joulescope as sim_joulescope
from hil.meter.sim.instrument import Faults, Timeline
from hil.meter.sim.otii import Simulator as OtiiServer
from hil.meter.trace import SampleTimes
from hil.meter.types import Gap, MeterInfo, Trace

STEPS = Timeline((0.0, 0.1, 0.3), (1e-3, 50e-3, 1e-3), edges=((0.1, 0b01), (0.2, 0b11), (0.3, 0b10)))
CHARGE_C = 0.2 * 1e-3 + 0.2 * 50e-3  # of the first 0.4 s


def recorded(meter: Driver, rate_hz: float, wait_s: float = 0.0, until: Callable[[], bool] = lambda: True) -> Trace:
    """A recording of at least ``wait_s``, ended as soon as something is so."""
    try:
        meter.open()
        meter.configure(rate_hz)
        meter.start()
        time.sleep(wait_s)
        eventually(until)
        return meter.stop()
    finally:
        meter.close()
        meter.close()


def eventually(condition: Callable[[], bool], patience_s: float = 30.0) -> None:
    end_s = time.monotonic() + patience_s
    while not condition() and time.monotonic() < end_s:
        time.sleep(0.01)


def check(trace: Trace) -> None:
    assert trace.dt_s is not None
    assert float(np.sum(trace.current_a)) * trace.dt_s == pytest.approx(CHARGE_C, rel=1e-3)
    assert np.asarray(trace.voltage_v) == pytest.approx(3.3)
    assert (trace.site, trace.clipped) == ("board", 0)
    assert trace.raw is not None
    again = decode_recording(Path(trace.raw))
    assert np.array_equal(again.current_a, trace.current_a)


KEYS = ["channel", "signal", "info", "timestamp", "interval", "dtype", "sample_id", "decimate_factor", "dropped"]
KEYS += ["lost", "calibrations"]
VALUES = ["mc", "mv", "i1", "i", "v", "gpi/0", "<f4", "|u1", "O", 0, 1, -1, 2**70, float("inf"), None, [], {}]
VALUES += [[[1, 1]], [[3, -1]], [[1]]]


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
        with pytest.raises(NotSupported, match="Arc takes 4000 to 4000 Hz"):
            meter.configure(10_000)
        meter.close()
        with pytest.raises(SettingError, match="device 'shelf': 0 of them"):
            otii.Otii(server.address, device="shelf").open()
    with OtiiServer(STEPS, samples=4000, drop=3) as server:
        trace = recorded(otii.Otii(server.address, raw_folder=tmp_path), 4000)
        assert trace.notes == ("the server has 3 samples fewer than its recording is long",)
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
    library = place(monkeypatch)
    with pytest.raises(MeterRefused, match="no Joulescope is attached"):
        joulescope.Joulescope().open()
    assert library.finalized == 1
    two = [sim_joulescope.Device(STEPS, 1, path=f"u/js110/{serial}") for serial in ("001", "002")]
    place(monkeypatch, *two)
    with pytest.raises(SettingError, match="2 match"):
        joulescope.Joulescope().open()
    with pytest.raises(SettingError, match="0 match"):
        joulescope.Joulescope("003").open()
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


needs_joulescope = pytest.mark.skipif(
    find_spec("pyjoulescope_driver") is None, reason="pyjoulescope_driver is not installed"
)


@needs_joulescope
def test_the_real_joulescope_library_without_an_instrument(tmp_path: Path) -> None:
    """In a process of its own: the library has threads, and all of them must end with it."""
    code = "import pyjoulescope_driver as p, sys; d = p.Driver(); n = len(d.device_paths()); d.finalize(); sys.exit(n)"
    if subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode:
        pytest.skip("a Joulescope is attached")
    command = [sys.executable, "-m", "hil", "meter", "record", "--meter", "joulescope", "--seconds", "1"]
    command += ["--out", str(tmp_path / "trace")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 4
    assert done.stderr.splitlines()[0].endswith("joulescope: no Joulescope is attached")
    assert len(done.stderr.splitlines()) == 2
    assert done.stdout == ""


@needs_joulescope
@pytest.mark.parametrize("name", [name for name in vars(sim_joulescope.Driver) if not name.startswith("_")])
def test_the_stand_in_has_the_parameters_of_the_real_joulescope_library(name: str) -> None:
    real = import_vendor("pyjoulescope_driver", "joulescope")
    theirs, ours = (inspect.signature(getattr(kind, name)) for kind in (real.Driver, sim_joulescope.Driver))
    assert [(p.name, p.default) for p in ours.parameters.values()] == [
        (p.name, p.default) for p in theirs.parameters.values()
    ]


@needs_joulescope
def test_what_the_joulescope_driver_says_is_known_to_the_real_library() -> None:
    """Topics, rates and modes are in the native code as text; the keys of a block are those that its recorder reads."""
    binding = importlib.import_module("pyjoulescope_driver.binding")
    record = importlib.import_module("pyjoulescope_driver.record")
    code = Path(binding.__file__).read_bytes()
    signals = ["i", "v", *(f"gpi/{bit}" for bit in range(4))]
    topics = ["h/fs", *(f"s/{signal}/{end}" for signal in signals for end in ("ctrl", "!data"))]
    topics += [topic for _, _, ranges in joulescope._MODELS.values() for topic in ranges]
    assert [topic for topic in topics if topic.encode() + b"\0" not in code] == []
    found = re.search(rb'"The sampling frequency\.".*?"options": (\[\[.*?\]\])', code)
    assert found is not None
    rates = {rate for rate, _ in json.loads(found[1])}
    assert {int(rate) for rate in joulescope._RATES_HZ} == {rate for rate in rates if rate >= 1000}
    assert max(rates) == sim_joulescope._FULL_RATE_HZ
    assert set(sim_joulescope.OPEN_MODES) == {mode for mode in binding._DEVICE_OPEN_MODES if isinstance(mode, str)}
    assert "pub" in binding._SUBSCRIBE_FLAG_LOOKUP
    read = set(re.findall(r"value\['(\w+)'\]", inspect.getsource(record)))
    assert set(sim_joulescope.DATA_KEYS) <= read


# --- Monsoon --------------------------------------------------------------------------------------------------------

needs_monsoon = pytest.mark.skipif(
    find_spec("Monsoon") is None or find_spec("usb") is None, reason="Monsoon and pyusb are not installed"
)
if find_spec("usb") is not None:
    from hil.meter.sim import monsoon as sim_monsoon
    from hil.meter.sim.usb_bus import plugged
BEFORE = 12  # samples that calibrate the monitor, and the rest of their last packet: the engine begins behind them


def close_to(true_a: float) -> Any:
    """Within half a step of the ADC: the fine range, in microamperes, as far as it goes; the coarse one, in mA."""
    fine = true_a / (sim_monsoon.FINE.step * 1e-6) + sim_monsoon.FINE.zero + sim_monsoon.FINE.offset
    step_a = sim_monsoon.FINE.step * 1e-6 if fine < sim_monsoon.FINE_THRESHOLD else sim_monsoon.COARSE.step * 1e-3
    return pytest.approx(true_a, abs=0.501 * step_a, rel=0)


@needs_monsoon
def test_monsoon_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both ranges; each step at the very sample that the simulator made it at, also behind a calibration."""
    edges_s, levels_a = (0.1, 0.3, 0.5, 1.35), (1e-3, 50e-3, -2e-4, 0.4, 2.0)
    device = sim_monsoon.Monitor(Timeline((0.0, *edges_s), levels_a, supply_v=3.7))
    with plugged(device):
        trace = recorded(monsoon.Monsoon(site="board", raw_folder=tmp_path), 1000, until=lambda: device.sampled >= 7250)
    assert trace.dt_s == 2e-4
    ticks = np.rint(SampleTimes(trace).between(0, trace.current_a.size) / trace.dt_s).astype(int)
    changes = np.flatnonzero(np.diff(trace.current_a)) + 1
    assert [(ticks[change] + BEFORE) * trace.dt_s for change in changes] == pytest.approx(edges_s, abs=1e-9)
    for start, level_a in zip([0, *changes], levels_a, strict=True):
        assert trace.current_a[start] == close_to(level_a)
    assert np.asarray(trace.voltage_v) == pytest.approx(3.7, abs=0.51 * sim_monsoon.VOLT_STEP_V)
    # 1250 ms after the first, a zero and a reference take the places of two samples; it was 0.4 A before and after.
    assert (trace.gaps, trace.clipped) == ((), 0)
    assert trace.notes == ("2 samples were used for calibration, the mean of their neighbours stands in",)
    assert (trace.site, trace.info) == ("board", MeterInfo("Monsoon HVPM", "20001", "32", "monsoon"))
    assert trace.raw is not None
    again = decode_recording(Path(trace.raw))
    assert np.array_equal(again.current_a, trace.current_a) and again.gaps == trace.gaps
    assert (device.written, device.resets) == ([], 1)
    assert capsys.readouterr() == ("", "")


@needs_monsoon
def test_monsoon_twice_with_one_connection(tmp_path: Path) -> None:
    device = sim_monsoon.Monitor(STEPS)
    with plugged(device):
        meter = monsoon.Monsoon("20001", raw_folder=tmp_path)
        meter.open()
        meter.configure(5000)
        for _ in range(2):
            meter.start()
            eventually(lambda: device.sampled >= 1750)
            trace = meter.stop()
            assert np.flatnonzero(np.diff(trace.current_a)).tolist() == [499 - BEFORE, 1499 - BEFORE]
            assert trace.gaps == ()
        meter.close()


@needs_monsoon
def test_what_a_monsoon_dropped_is_missing_in_its_place(tmp_path: Path) -> None:
    """Also where its counter of 16 bits begins anew.  What was dropped before the first sample is not missing."""
    device = sim_monsoon.Monitor(STEPS, faults=Faults(drop={BEFORE: 3, 700: 40, 1000: 1}), count=0x10000 - 30)
    with plugged(device):
        trace = recorded(monsoon.Monsoon(raw_folder=tmp_path), 5000, until=lambda: device.sampled >= 1750)
    first = BEFORE + 3
    assert trace.gaps == (Gap(700 - first, 40), Gap(1000 - first - 40, 1))
    assert trace.notes == ("41 samples were dropped",)
    assert device.dropped == 0x10000 - 30 + 44
    ticks = np.rint(SampleTimes(trace).between(0, trace.current_a.size) * 5000).astype(int)
    changes = np.flatnonzero(np.diff(trace.current_a)) + 1
    assert (ticks[changes] + first).tolist() == [500, 1500]


@needs_monsoon
@pytest.mark.parametrize(
    ("faults", "kind", "match"),
    [
        (Faults(hang_up_at=58 * 500), MeterLost, "sampling: the device went away: No such device"),
        (Faults(silent_from=1500), MeterTimeout, "sampling: nothing came for a second"),
    ],
)
def test_a_monsoon_that_fails_in_mid_stream(tmp_path: Path, faults: Faults, kind: type[MeterError], match: str) -> None:
    """What came before stays in the recording, but for the engine's last batch."""
    start_s = time.monotonic()
    with plugged(sim_monsoon.Monitor(STEPS, faults=faults)), pytest.raises(kind, match=match):
        recorded(monsoon.Monsoon(raw_folder=tmp_path), 5000, wait_s=0.5)
    assert time.monotonic() - start_s < 5
    (raw,) = tmp_path.glob("*.bin")
    kept = decode_recording(raw).current_a
    assert 1500 - BEFORE - 129 <= kept.size <= 1500 - BEFORE
    assert kept[[0, 600]].tolist() == [close_to(1e-3), close_to(50e-3)]


@needs_monsoon
def test_a_monsoon_that_does_not_calibrate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.meter.drivers.monsoon._CALIBRATION_S", 0.2)
    with (
        plugged(sim_monsoon.Monitor(STEPS, calibrates=False)),
        pytest.raises(MeterTimeout, match="not calibrated within 0.2 s|stopped before it was calibrated"),
    ):
        recorded(monsoon.Monsoon(raw_folder=tmp_path), 5000)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("meter")]


@needs_monsoon
def test_monsoons_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with plugged(), pytest.raises(MeterRefused, match="no Monsoon is attached"):
        monsoon.Monsoon().open()
    with plugged(sim_monsoon.Monitor(STEPS, serial=20002)):
        with pytest.raises(MeterRefused, match="no Monsoon with the serial number 20001 is attached") as caught:
            monsoon.Monsoon("20001").open()
        assert caught.value.hint == "there: 20002"
        meter = monsoon.Monsoon("20002")
        meter.open()
        assert meter.info.serial == "20002"
        meter.close()
    low_voltage = sim_monsoon.Monitor(STEPS, values={0x45: 1})
    with plugged(low_voltage), pytest.raises(MeterRefused, match="not a High Voltage"):
        monsoon.Monsoon().open()
    unplugged = sim_monsoon.Monitor(STEPS)
    with plugged(unplugged):
        meter = monsoon.Monsoon()
        meter.open()
        unplugged.unplug()
        with pytest.raises(MeterLost, match="supplying"):
            meter.supply(3.3)
        meter.close()
    for backend in ("libusb1", "libusb0", "openusb"):
        importlib.import_module(f"usb.backend.{backend}")
        monkeypatch.setattr(f"usb.backend.{backend}.get_backend", lambda *_, **__: None)
    with pytest.raises(UnavailableError, match="libusb is not installed") as missing:
        monsoon.Monsoon().open()
    assert missing.value.exit_code == 3


@needs_monsoon
def test_a_monsoon_without_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> bytes:
        raise importlib.import_module("usb.core").USBError("Access denied", -3, errno.EACCES)

    device = sim_monsoon.Monitor(STEPS)
    monkeypatch.setattr(device, "control_in", denied)
    with plugged(device), pytest.raises(MeterRefused, match="no permission"):
        monsoon.Monsoon().open()


@needs_monsoon
def test_monsoon_supplying() -> None:
    """Volts are counted in 2^-20, limits in 15.625 A over 0xFFFF - 0x0F00."""
    device = sim_monsoon.Monitor(STEPS)
    with plugged(device):
        meter = monsoon.Monsoon()
        meter.open()
        with pytest.raises(NotSupported, match="14 V"):
            meter.supply(14.0)
        meter.supply(4.2, limit_a=1.0)
        meter.supply(None)
        meter.close()
    limit = 0x0F00 + (0xFFFF - 0x0F00) * 64 // 1000
    assert device.written == [(0x43, limit), (0x44, limit), (0x41, int(4.2 * 2**20)), (0x41, 0)]
    # A monitor whose supply would be far off: the library refuses to set it.
    with plugged(sim_monsoon.Monitor(STEPS, values={0x88: 0xFFFF})):
        meter.open()
        with pytest.raises(MeterRefused, match="dacCalLow out of tolerance"):
            meter.supply(3.3)
        meter.close()


def test_warnings_of_a_vendors_library_are_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pmapi.py of Monsoon compares with a literal by ``is``, which Python says again each time that it compiles it."""
    (tmp_path / "hil_test_vendor.py").write_text('SAME = "x" is "x"\n')
    monkeypatch.syspath_prepend(tmp_path)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        import_vendor("hil_test_vendor", "nothing")
    assert said == []


def decoded(meta: dict[str, Any], *currents_ma: float) -> Trace:
    table = np.array([currents_ma, [3.3] * len(currents_ma)])
    content = pack_block(meta, table.tobytes()) * 2
    return monsoon.decode(Header("monsoon", "P", "", 5000, MeterInfo("X")), np.frombuffer(content, np.uint8))


@pytest.mark.parametrize(
    ("meta", "currents_ma", "gaps"),
    [
        ({"calibrations": [[2, 2]]}, [10, 20, 22, 22, 24, 40, 50], ()),
        ({"calibrations": [[3, 2]]}, [10, 20, 24, 40, 50], (Gap(3, 2), Gap(8, 2))),  # a step
        ({"calibrations": [[2, 5]]}, [10, 20, 24, 40, 50], (Gap(2, 5), Gap(7, 5))),  # too many
        ({"calibrations": [[2, 1]], "lost": [[2, 7]]}, [10, 20, 24, 40, 50], (Gap(2, 8), Gap(7, 8))),
        (
            {"calibrations": [[2, 1]], "lost": [[4, 7]]},
            [10, 20, 22, 24, 40, 50],
            (Gap(5, 7), Gap(11, 7)),
        ),
    ],
)
def test_calibrations_of_a_monsoon(meta: dict[str, Any], currents_ma: list[float], gaps: tuple[Gap, ...]) -> None:
    """Two blocks of five samples."""
    trace = decoded({"dropped": 0, **meta}, 10, 20, 24, 40, 50)
    assert trace.current_a.tolist() == pytest.approx([1e-3 * current for current in currents_ma * 2])
    assert trace.gaps == gaps
    assert np.asarray(trace.voltage_v) == pytest.approx(3.3) and len(trace.voltage_v) == len(currents_ma) * 2


def test_what_a_monsoon_dropped_without_a_place() -> None:
    trace = decoded({"dropped": 2}, 1.0, 1.0)
    assert (trace.unplaced, trace.gaps) == (4, ())
    assert trace.notes == ("4 samples were dropped, it is not known where",)
