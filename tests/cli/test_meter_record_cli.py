"""``hil meter record`` and ``supply`` when something is wrong, and what an interrupted verb says."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from hil.backend import RunOptions
from hil.backend.analytic import AnalyticBackend
from hil.backend.run import Run
from hil.cli.main import main
from hil.meter.drivers.replay import decode_recording
from hil.meter.importers import import_trace
from hil.meter.sim import ina2xx, ppk2
from hil.meter.sim import joulescope as sim_joulescope
from hil.meter.sim.instrument import Faults, Timeline
from hil.plan import Plan

STEADY = Timeline((0.0,), (5e-3,))
LIMIT = 65_536


def record(port: str, out: Path, seconds: float = 60) -> list[str]:
    meter = f"ppk2:{port}?voltage_v=3.3"
    return ["meter", "record", "--meter", meter, "--seconds", f"{seconds:g}", "--out", str(out)]


@contextmanager
def process(arguments: Sequence[str], **more: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "hil", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **(pipes | more)) as running:  # type: ignore[call-overload]
        try:
            yield running
        finally:
            running.kill()


# --- recording ------------------------------------------------------------------------------------------------------


def test_a_port_that_goes_away_ends_the_recording_and_what_came_is_a_trace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "trace"
    start_s = time.monotonic()
    with ppk2.Simulator(STEADY, faults=Faults(hang_up_at=200_000)) as sim:  # half a second
        assert main(record(sim.port, out)) == 4
    assert time.monotonic() - start_s < 15
    said = capsys.readouterr()
    (raw,) = out.glob("*.bin")
    assert "lost while" in said.err and said.err.count(f"replay:{raw}") == 1
    assert "PPK2 at whole board" in said.out and f"written: {out}" in said.out
    trace = import_trace(out)
    assert trace.current_a.size == raw.stat().st_size // 4 > 40_000
    assert float(trace.current_a.mean()) == pytest.approx(5e-3, rel=0.01)


def test_silence_ends_the_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two seconds of it, of sixty that were asked for."""
    start_s = time.monotonic()
    with ppk2.Simulator(STEADY, faults=Faults(silent_from=20_000)) as sim:
        assert main(record(sim.port, tmp_path / "trace")) == 4
    assert time.monotonic() - start_s < 15
    assert "no sample for the last 2" in capsys.readouterr().err
    assert import_trace(tmp_path / "trace").current_a.size == 20_000


def test_a_full_disk_is_no_fault_of_the_instrument(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "trace"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, hard))
    try:
        with ppk2.Simulator(STEADY) as sim:
            assert main(record(sim.port, out)) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    said = capsys.readouterr().err
    (raw,) = out.glob("*.bin")
    assert f"cannot be written after {LIMIT} bytes" in said and f"make room; replay:{raw} decodes" in said


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_file_where_the_trace_should_go_is_wrong_input(
    below: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    with ppk2.Simulator(STEADY) as sim:
        assert main(record(sim.port, file / below, 0.2)) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert file.read_text() == "mine"


def test_a_process_that_stood_still_has_lost_nothing(tmp_path: Path) -> None:
    """What came meanwhile waits in the port: that is no silence."""
    with ppk2.Simulator(STEADY) as sim, process(record(sim.port, tmp_path / "trace", 4)) as running:
        assert sim.eventually(lambda: sim.running, 20)
        time.sleep(0.5)
        running.send_signal(signal.SIGSTOP)
        time.sleep(2.5)
        running.send_signal(signal.SIGCONT)
        _, said = running.communicate(timeout=60)
        assert running.returncode == 0, said


# --- interrupts -----------------------------------------------------------------------------------------------------


def test_a_recording_that_is_interrupted_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "trace"
    with ppk2.Simulator(STEADY) as sim, process(record(sim.port, out)) as running:
        assert sim.eventually(lambda: sim.taken > 50_000, 20)
        running.send_signal(signal.SIGINT)
        said, errors = running.communicate(timeout=60)
        assert running.returncode == 0, errors
    assert f"written: {out}" in said
    assert import_trace(out).current_a.size > 50_000


def test_a_second_interrupt_names_the_raw_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While the trace is being saved."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hil.meter.store.save_trace", interrupted)
    with ppk2.Simulator(STEADY) as sim:
        assert main(record(sim.port, tmp_path / "trace", 0.3)) == 130
    (raw,) = (tmp_path / "trace").glob("*.bin")
    said = capsys.readouterr().err
    assert said == f"hil: interrupted; what was recorded is kept: replay:{raw} decodes it\n"
    assert decode_recording(raw).current_a.size > 10_000


def test_further_interrupts_do_not_change_how_it_ends(tmp_path: Path) -> None:
    """An impatient user; or ``timeout``, which signals the process and then its whole group."""
    with ina2xx.Simulator(STEADY) as sim:
        check = ["meter", "check", "--meter", f"ina228:{sim.port}", "--resistor", "1kohm", "--yes"]
        with process([*check, "--seconds", "60"]) as running:
            assert sim.eventually(lambda: sim.taken > 1_000, 20)
            running.send_signal(signal.SIGINT)
            assert running.stderr is not None
            lines = [running.stderr.readline()]
            while "interrupted" not in lines[-1]:
                lines.append(running.stderr.readline())
            while running.poll() is None:
                running.send_signal(signal.SIGINT)
            assert running.returncode == 130
            assert lines[-1] == "hil: interrupted\n" and running.stderr.read() == ""


class _Interrupting(AnalyticBackend):
    """Ctrl-C before its n-th target."""

    at = 2

    def run(self, plans: Sequence[Plan], options: RunOptions) -> list[Run]:
        type(self).at -= 1
        if type(self).at == 0:
            raise KeyboardInterrupt
        return super().run(plans, options)


@pytest.mark.parametrize(
    ("platforms", "at", "said"),
    [
        ("max78000,stm32l4r5", 2, "hil: interrupted; what was finished is kept, the same command resumes\n"),
        ("max78000,stm32l4r5", 1, "hil: interrupted\n"),
        ("max78000", 1, "hil: interrupted\n"),
    ],
)
def test_an_interrupted_bench_says_what_is_kept_only_where_something_is(
    platforms: str,
    at: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("hil.backend.make_backend", lambda *_: _Interrupting())
    bench = ["bench", "zoo:digits", "--platform", platforms, "--out", str(tmp_path / "out")]
    monkeypatch.setattr(_Interrupting, "at", 0)  # never
    if len(platforms.split(",")) == 1:
        assert main(bench) == 0  # records of an earlier, complete one are not those of this
        capsys.readouterr()
    monkeypatch.setattr(_Interrupting, "at", at)
    assert main(bench) == 130
    assert capsys.readouterr().err.splitlines(keepends=True)[-1] == said


# --- supplying ------------------------------------------------------------------------------------------------------


def test_what_supplies_no_board_is_not_even_opened(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A Joulescope that is opened with defaults interrupts the board's supply."""
    device = sim_joulescope.Device(STEADY, 10)
    monkeypatch.setitem(sys.modules, "pyjoulescope_driver", sim_joulescope.Library(device))
    assert main(["meter", "supply", "3.3V", "--meter", "joulescope"]) == 2
    assert "supplies no board" in capsys.readouterr().err
    assert device.opened == []


@pytest.mark.parametrize(
    ("voltage", "settings", "words"),
    [
        ("3.3V", "voltage_v=1.8", "voltage_v is 1.8, to be supplied are 3.3 V"),
        ("3.3V", "mode=ampere", "supplied in source mode, not in ampere mode"),
        ("9V", "mode=source", "voltage 9 V asked for, 0.8 to 5 V possible"),
    ],
)
def test_a_contradiction_changes_nothing(
    voltage: str, settings: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with ppk2.Simulator(STEADY) as sim:
        assert main(["meter", "supply", voltage, "--meter", f"ppk2:{sim.port}?{settings}"]) == 2
        assert words in capsys.readouterr().err
        assert sim.supply_changes == []


def test_the_voltage_is_set_before_the_mode(capsys: pytest.CaptureFixture[str]) -> None:
    """The kit has 5 V from the last time: a mode set first would put them on a board for 1.8 V."""
    with ppk2.Simulator(STEADY, vdd_mv=5000) as sim:
        assert main(["meter", "supply", "1.8V", "--meter", f"ppk2:{sim.port}?mode=source&voltage_v=1.8"]) == 0
        assert sim.eventually(lambda: len(sim.supply_changes) >= 3)
        assert sim.supply_changes == [(0x0D, 1800), (0x11, 2), (0x0C, 1)]
        assert main(["meter", "supply", "3V", "--meter", f"ppk2:{sim.port}?voltage_v=3"]) == 0  # it has 1.8 V now
        assert sim.eventually(lambda: sim.supply_changes[3:] == [(0x0D, 3000), (0x0C, 1)])
        assert main(["meter", "supply", "off", "--meter", f"ppk2:{sim.port}?voltage_v=1.8&mode=ampere"]) == 0
        assert sim.eventually(lambda: sim.supply_changes[5:] == [(0x0C, 0)])
