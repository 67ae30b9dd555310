"""The same benchmark in a real Renode, where there is one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hil import zoo
from hil.backend import BoardOptions, Run, RunOptions, Surroundings
from hil.backend.emulated import EmulatedBackend
from hil.board.link import open_link
from hil.board.session import Session
from hil.cli.main import main
from hil.emulator import board as board_module
from hil.emulator.board import EmulatedBoard
from hil.emulator.images import images
from hil.emulator.npu import NpuServer, TcpNpu
from hil.emulator.process import Workspace
from hil.emulator.renode import find_renode
from hil.errors import LinkError, UnavailableError
from tests.backend.conftest import need_qemu, plan_of

PLATFORMS = sorted(image.platform for image in images().values() if image.engine == "renode")


try:
    find_renode()
except UnavailableError as _error:
    pytest.skip(f"{_error.message} ({_error.hint})", allow_module_level=True)


def run(network: str, platform: str, captures: Path, options: RunOptions | None = None, engine: str = "renode") -> Run:
    (found,) = EmulatedBackend(engine, Surroundings(captures)).run(
        [plan_of(network, platform)], options or RunOptions()
    )
    return found


@pytest.mark.parametrize("platform", PLATFORMS)
def test_outputs_equal_litert_and_times_equal_qemus(platform: str, tmp_path: Path) -> None:
    """Both engines execute the same instructions; Renode's speed is whole millions of them per second."""
    need_qemu(platform)
    found, other = run("kws", platform, tmp_path), run("kws", platform, tmp_path, engine="qemu")
    assert found.outputs is not None and found.outputs.equal
    assert found.phases["inference"].latency_s.mean == pytest.approx(other.phases["inference"].latency_s.mean, rel=1e-3)


def test_two_runs_are_identical_in_every_figure(tmp_path: Path) -> None:
    first, second = run("digits", "max78000", tmp_path), run("digits", "max78000", tmp_path)
    assert first.phases and first.phases == second.phases
    assert (first.total, first.steady, first.ops) == (second.total, second.steady, second.ops)
    assert first.outputs == second.outputs


def test_digits_is_predicted_as_the_reference_does(tmp_path: Path) -> None:
    found = run("digits", "max78000", tmp_path, RunOptions(board=BoardOptions(data_set="digits")))
    assert found.accuracy is not None
    assert (found.accuracy.samples, found.accuracy.different_predictions) == (360, 0)
    assert found.accuracy.correct / found.accuracy.samples == pytest.approx(zoo.entry("digits").accuracy, abs=5e-4)


def test_a_network_that_changes_between_core_and_accelerator(tmp_path: Path) -> None:
    """The accelerator of max78000 refuses some ops of kws: several jobs, several interrupts, one result."""
    units = [place.unit for place in plan_of("kws", "max78000").placements]
    assert {"cpu", "npu"} <= set(units)
    found = run("kws", "max78000", tmp_path, RunOptions(repeat=3, board=BoardOptions(warmups=1)))
    assert found.fallback_ops
    assert found.outputs is not None and found.outputs.equal


def test_a_host_that_is_gone_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(TcpNpu):
        def __init__(self, server: NpuServer) -> None:
            super().__init__(server)
            self.close()

    monkeypatch.setattr(board_module, "TcpNpu", Gone)
    with pytest.raises(LinkError, match=r"NPU error.*the accelerator in Renode: command"):
        run("digits", "max78000", tmp_path)


def _inside(folder: Path) -> list[int]:
    """Processes whose working directory is this one."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if (entry / "cwd").readlink() == folder:
                    found.append(int(entry.name))
            except OSError:
                pass  # it ended meanwhile, or is somebody else's
    return found


def test_a_killed_renode_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    with Workspace() as space:
        board = EmulatedBoard.of_plan(plan_of("digits", "max78000"), "renode", space)
        try:
            folder = Path(board.url).parent
            processes = _inside(folder)
            assert processes
            for process in processes:
                os.kill(process, signal.SIGKILL)
            with pytest.raises(LinkError), Session(lambda: open_link(board.url)) as session:
                session.connect()
            assert str(board.failure()).startswith("Renode ended with exit code ")
        finally:
            board.close()
    assert not folder.exists()
    assert not _inside(folder)


def test_a_board_on_a_pty_is_benchmarked_and_goes_with_ctrl_c(tmp_path: Path) -> None:
    path = tmp_path / "board"
    command = [sys.executable, "-m", "hil", "board", "emulate", "max78000", "--engine", "renode", "--json"]
    process = subprocess.Popen([*command, "--pty", str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        facts = json.loads(process.stdout.readline())
        assert facts["port"] == str(path)
        assert "listens on all interfaces" in " ".join(facts["notes"])
        arguments = ["bench", "zoo:digits", "-p", "max78000", "--backend", "serial", "--port", str(path)]
        assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
        (record,) = (tmp_path / "out" / "records").glob("*.json")
        (found,) = json.loads(record.read_text(encoding="utf-8"))["runs"]
        assert found["outputs"]["equal"]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    deadline = time.monotonic() + 20
    while path.is_symlink():
        assert time.monotonic() < deadline
        time.sleep(0.05)
