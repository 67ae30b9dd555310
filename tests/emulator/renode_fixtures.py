"""What the tests of the client and of the engine share: a fake Renode and what it was told."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from hil.emulator.renode.find import Renode

FAKE = Path(__file__).with_name("fake_renode.py")


@dataclass(frozen=True)
class FakeRenode:
    renode: Renode
    record: Path

    def lines(self) -> list[str]:
        return self.record.read_text(encoding="utf-8").splitlines()

    def commands(self) -> list[str]:
        """What came as Monitor commands, in order."""
        keyword = "ExecuteCommand "
        return [line.removeprefix(keyword) for line in self.lines() if line.startswith(keyword)]


def fake_renode(folder: Path) -> FakeRenode:
    record = folder / "record.txt"
    script = folder / "renode"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE}" "{record}" "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    return FakeRenode(Renode(script, (1, 16, 1)), record)


def running(marker: str) -> bool:
    """Whether a process has ``marker`` in its command line."""
    return any(marker in _command_line(entry) for entry in Path("/proc").iterdir() if entry.name.isdecimal())


def gone(marker: str) -> bool:
    """Whether no such process is left; killed ones may take a moment."""
    deadline = time.monotonic() + 5
    while running(marker) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not running(marker)


def _command_line(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""
