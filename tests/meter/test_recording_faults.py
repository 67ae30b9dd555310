"""What goes wrong while a meter records is known before it is stopped, and closing hides none of it."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hil.errors import MeterError
from hil.meter.drivers import joulescope, lpm01a, monsoon, otii, ppk2
from hil.meter.drivers.base import Driver
from hil.meter.drivers.raw import Header, RawWriter, read_raw
from hil.meter.drivers.replay import decode_recording
from hil.meter.errors import MeterLost, MeterRefused, MeterTimeout, StorageError
from hil.meter.opened import opened
from hil.meter.sim import joulescope as sim_joulescope
from hil.meter.sim import lpm01a as sim_lpm01a
from hil.meter.sim import ppk2 as sim_ppk2
from hil.meter.sim.instrument import Faults, Live, Timeline
from hil.meter.sim.otii import Simulator as OtiiServer
from hil.meter.types import MeterInfo

STEADY = Timeline((0.0,), (5e-3,))
LIMIT = 65_536


def started(meter: Driver, rate_hz: float = 10_000, **how: Any) -> Driver:
    meter.open()
    meter.configure(rate_hz)
    assert meter.problem() is None  # nothing runs
    meter.start(**how)
    return meter


def problem_of(meter: Driver, patience_s: float = 10.0) -> MeterError | None:
    """The first problem of a recording that runs."""
    end_s = time.monotonic() + patience_s
    while time.monotonic() < end_s:
        if (problem := meter.problem()) is not None:
            return problem
        time.sleep(0.02)
    return None


@contextmanager
def full_disk() -> Iterator[None]:
    """Files end at ``LIMIT`` bytes: what reaches across it is taken in part, what is beyond is refused."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# --- a problem is known while the recording runs --------------------------------------------------------------------


def test_nothing_is_wrong_with_a_recording_that_runs(tmp_path: Path) -> None:
    with sim_ppk2.Simulator(STEADY) as sim:
        meter = started(ppk2.Ppk2(sim.port, raw_folder=tmp_path, voltage_v=3.3))
        assert problem_of(meter, patience_s=0.5) is None
        trace = meter.stop()
        assert meter.problem() is None
        meter.close()
    assert trace.notes == ()
    assert meter.recording is not None and trace.raw == str(meter.recording)


def test_a_port_that_goes_away_is_known_at_once(tmp_path: Path) -> None:
    with sim_ppk2.Simulator(STEADY, faults=Faults(hang_up_at=40_000)) as sim:
        meter = started(ppk2.Ppk2(sim.port, raw_folder=tmp_path, voltage_v=3.3))
        problem = problem_of(meter)
        assert isinstance(problem, MeterLost)
        (raw,) = tmp_path.glob("*.bin")
        assert f"after {raw.stat().st_size} bytes" in problem.message
        assert problem.hint == f"replay:{raw} decodes what came before"
        with pytest.raises(MeterLost):
            meter.stop()
        meter.close()


def test_silence_is_known_as_soon_as_it_is_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.meter.drivers.stream._SILENT_S", 0.3)
    with sim_ppk2.Simulator(STEADY, faults=Faults(silent_from=5_000)) as sim:
        meter = started(ppk2.Ppk2(sim.port, raw_folder=tmp_path, voltage_v=3.3))
        problem = problem_of(meter)
        assert isinstance(problem, MeterTimeout) and "no sample for the last 0.3" in problem.message
        meter.close()
    with sim_ppk2.Simulator(STEADY, faults=Faults(silent_from=0)) as sim:
        meter = started(ppk2.Ppk2(sim.port, raw_folder=tmp_path, voltage_v=3.3))
        problem = problem_of(meter)
        assert isinstance(problem, MeterTimeout) and "not one sample in 0.3" in problem.message
        meter.close()


def test_to_wait_for_the_trigger_is_no_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.meter.drivers.stream._SILENT_S", 0.3)
    pin = [0]
    with sim_lpm01a.Simulator(Live(lambda: 2e-3, inputs=lambda: pin[0]), faults=Faults(silent_from=2_000)) as sim:
        meter = started(lpm01a.Lpm01a(sim.port, raw_folder=tmp_path), trigger="hardware")
        assert problem_of(meter, patience_s=0.8) is None
        pin[0] = 1
        problem = problem_of(meter)  # triggered, 0.2 s of samples, and then nothing
        assert isinstance(problem, MeterTimeout) and "no sample for the last" in problem.message
        assert sim.taken == 2_000
        meter.close()


def test_a_full_disk_is_known_and_what_fitted_is_there(tmp_path: Path) -> None:
    with sim_ppk2.Simulator(STEADY) as sim:
        meter = started(ppk2.Ppk2(sim.port, raw_folder=tmp_path, voltage_v=3.3))
        with full_disk():
            problem = problem_of(meter)
        assert isinstance(problem, StorageError) and problem.exit_code == 2
        (raw,) = tmp_path.glob("*.bin")
        assert raw.stat().st_size == LIMIT
        assert f"cannot be written after {LIMIT} bytes: File too large" in problem.message
        assert problem.hint == f"make room; replay:{raw} decodes what came before"
        with pytest.raises(StorageError):
            meter.stop()
        meter.close()
    assert decode_recording(raw).current_a.size == LIMIT // 4


def test_a_joulescope_that_falls_silent_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.meter.drivers.joulescope._SILENT_S", 0.1)
    monkeypatch.setitem(
        sys.modules, "pyjoulescope_driver", sim_joulescope.Library(sim_joulescope.Device(STEADY, 10_000))
    )
    meter = started(joulescope.Joulescope(raw_folder=tmp_path))
    assert isinstance(problem_of(meter), MeterTimeout)
    meter.close()


@pytest.mark.skipif(find_spec("Monsoon") is None or find_spec("usb") is None, reason="Monsoon is not installed")
def test_a_monsoon_that_goes_away_is_known(tmp_path: Path) -> None:
    from hil.meter.sim.monsoon import Monitor
    from hil.meter.sim.usb_bus import plugged

    with plugged(Monitor(STEADY, faults=Faults(hang_up_at=58 * 500))):
        meter = started(monsoon.Monsoon(raw_folder=tmp_path), 5000)
        assert isinstance(problem_of(meter), MeterLost)
        meter.close()


@pytest.mark.skipif(find_spec("otii_tcp_client") is None, reason="otii-tcp-client is not installed")
def test_a_server_of_an_otii_that_ends_is_known(tmp_path: Path) -> None:
    with OtiiServer(STEADY) as server:
        meter = started(otii.Otii(server.address, raw_folder=tmp_path), 4000)
        assert problem_of(meter, patience_s=0.3) is None
    problem = problem_of(meter)
    assert isinstance(problem, MeterLost) and "the server closed the connection" in problem.message
    meter.close()


# --- a trace that ends early ----------------------------------------------------------------------------------------


def test_a_trace_that_ends_before_the_stop_says_so(tmp_path: Path) -> None:
    with sim_ppk2.Simulator(STEADY, faults=Faults(silent_from=20_000)) as sim:
        meter = started(ppk2.Ppk2(sim.port, raw_folder=tmp_path, voltage_v=3.3))
        assert sim.eventually(lambda: sim.taken == 20_000)
        time.sleep(1.0)
        (note,) = meter.stop().notes
        meter.close()
    head, said_s, tail = note.partition("sending")[0], float(note.split()[4]), note.partition(" s ")[2]
    assert head == "the instrument stopped " and tail == "before it was stopped: the trace ends there"
    assert 0.9 < said_s < 2.0


# --- writing raw bytes ----------------------------------------------------------------------------------------------

HEADER = Header("ppk2", "P", "", 1e5, MeterInfo("PPK2"))


def test_a_write_is_whole_or_an_error(tmp_path: Path) -> None:
    """The system takes a part of what does not fit, without an error: the rest must not be lost without a word."""
    data = np.arange(100_000, dtype=np.uint32).astype(np.uint8).tobytes()
    raw = RawWriter(HEADER, tmp_path)
    with full_disk(), pytest.raises(StorageError, match=f"after {LIMIT} bytes"):
        raw.write(data)
    raw.close()
    assert raw.size == raw.path.stat().st_size == LIMIT
    assert read_raw(raw.path)[1].tobytes() == data[:LIMIT]


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_folder_that_is_a_file_is_wrong_input(below: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(StorageError, match="cannot be written") as caught:
        RawWriter(HEADER, file / below)
    assert caught.value.exit_code == 2
    assert file.read_text() == "mine"


# --- closing --------------------------------------------------------------------------------------------------------


def switched_off(folder: Path) -> Driver:
    """An instrument whose port went away with something left to say: that it has control of its supply again."""
    with sim_lpm01a.Simulator(STEADY) as sim:
        meter = lpm01a.Lpm01a(sim.port, raw_folder=folder)
        meter.open()
        meter.supply(None)
    return meter


def test_an_error_of_closing_is_raised_only_where_nothing_else_went_wrong(tmp_path: Path) -> None:
    with pytest.raises(MeterLost), opened(switched_off(tmp_path)):  # it is open already
        pass
    with pytest.raises(ZeroDivisionError), opened(switched_off(tmp_path)) as meter:
        1 / 0  # noqa: B018
    meter.close()
    with pytest.raises(KeyboardInterrupt), opened(switched_off(tmp_path)):
        raise KeyboardInterrupt


def test_giving_up_a_recording_whose_port_is_gone_says_nothing_new(tmp_path: Path) -> None:
    with sim_ppk2.Simulator(STEADY, faults=Faults(hang_up_at=4_000)) as sim:
        meter = started(ppk2.Ppk2(sim.port, raw_folder=tmp_path, voltage_v=3.3))
        assert isinstance(problem_of(meter), MeterLost)
        meter.close()
    assert decode_recording(next(tmp_path.glob("*.bin"))).current_a.size >= 500


def test_why_a_joulescope_cannot_be_opened_outlives_its_closing(monkeypatch: pytest.MonkeyPatch) -> None:
    library = sim_joulescope.Library(sim_joulescope.Device(STEADY, 10))

    def fails(what: str) -> Any:
        def call(*_: object, **__: object) -> None:
            raise RuntimeError(what)

        return call

    monkeypatch.setitem(sys.modules, "pyjoulescope_driver", library)
    monkeypatch.setattr(sim_joulescope.Driver, "finalize", fails("not finalized"))
    monkeypatch.setattr(sim_joulescope.Driver, "open", fails("in use"))
    with pytest.raises(MeterRefused, match="opening: in use"):
        joulescope.Joulescope().open()


def test_a_joulescope_that_does_not_close_lets_its_library_go(monkeypatch: pytest.MonkeyPatch) -> None:
    device = sim_joulescope.Device(STEADY, 10)
    library = sim_joulescope.Library(device)
    monkeypatch.setitem(sys.modules, "pyjoulescope_driver", library)
    meter = joulescope.Joulescope()
    meter.open()
    library.devices = {"elsewhere": replace(device, path="elsewhere")}  # unplugged
    with pytest.raises(MeterRefused, match="closing"):
        meter.close()
    assert library.finalized == 1
    meter.close()
    assert library.finalized == 1
