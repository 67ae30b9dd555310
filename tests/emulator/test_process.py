"""Children and files of an emulated board go with hil, however hil goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hil.emulator.process import Workspace
from hil.errors import UnavailableError

PARENT = """
import sys, time
from pathlib import Path
from hil.emulator.process import Workspace
link = Path(sys.argv[1])
link.symlink_to("/nowhere")
space = Workspace()
space.adopt(link)
child = space.start(["sh", "-c", "sleep 1000 & sleep 1000"])
print(space.path, child.pid, flush=True)
time.sleep(1000)
"""


def gone(group: int) -> bool:
    """No process of the group is left (zombies, which nobody reaps in a container, aside)."""
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, own_group = file.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(own_group) == group and state != "Z":
            return False
    return True


def eventually(condition: object, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if callable(condition) and condition():
            return True
        time.sleep(0.02)
    return False


def test_close_stops_children_and_removes_files(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("/nowhere")
    with Workspace() as space:
        space.adopt(link)
        child = space.start(["sh", "-c", "echo said; sleep 1000"])
        assert eventually(lambda: "said" in child.output())
        assert child.exit_code is None
    assert gone(child.pid)
    assert not space.path.exists()
    assert not link.is_symlink()


def test_a_child_that_ignores_the_polite_signal_is_killed() -> None:
    with Workspace() as space:
        child = space.start(["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"])
        assert eventually(lambda: "ready" in child.output())
    assert gone(child.pid)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_a_killed_hil(tmp_path: Path, number: signal.Signals) -> None:
    link = tmp_path / "port"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(link)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    folder, pid = parent.stdout.readline().split()
    assert Path(folder).exists()
    os.kill(parent.pid, number)
    parent.wait()
    parent.stdout.close()
    assert eventually(lambda: gone(int(pid)) and not Path(folder).exists() and not link.is_symlink())


def test_a_program_that_is_not_there_is_named() -> None:
    with Workspace() as space, pytest.raises(UnavailableError, match="no-such-program"):
        space.start(["no-such-program"])
