"""An emulated board in Renode: the platform's description, the firmware, a program, the accelerator on the host.

The serial port of the board is a PTY of Renode's, in its own folder: Renode's TCP terminal would listen on all
interfaces of the machine.  What the board says before somebody opens the PTY waits there.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from hil.emulator.expose import make_raw
from hil.emulator.renode.client import Monitor
from hil.emulator.renode.find import Renode, find_renode
from hil.errors import ConfigError, LinkError, PlatformError, did_you_mean
from hil.platform.loader import platform_files

NPU_SOURCE = Path(__file__).with_name("HilNpu.cs")

_CONSOLE = re.compile(r"^(\w+)\s*:\s*UART\.", re.MULTILINE)


class RenodeEngine:
    """One board.  ``mips`` is the emulated core's speed in millions of instructions per second of virtual time;
    ``npu_port`` the TCP port on 127.0.0.1 where the accelerator's host listens (:mod:`hil.emulator.npu`).

    ``platform_path`` holds folders of platforms that come before the shipped ones; ``renode`` is looked for where it is
    not given.
    """

    def __init__(
        self,
        platform_id: str,
        elf: Path,
        program_path: Path,
        npu_port: int,
        mips: int,
        *,
        platform_path: Sequence[Path] = (),
        renode: Renode | None = None,
    ) -> None:
        self._script = _description(platform_id, platform_path)
        self._elf = elf
        self._program = program_path
        self._npu_port = npu_port
        self._mips = mips
        self._renode = renode
        self._monitor: Monitor | None = None

    def start(self) -> str:
        """Start the board; the path of its serial port, a PTY.

        Raises UnavailableError without Renode, LinkError where Renode refuses something.
        """
        with contextlib.ExitStack() as stack:
            monitor = stack.enter_context(Monitor(self._renode or find_renode()))
            uart = monitor.folder / "uart"
            commands = start_commands(
                self._script,
                elf=self._elf,
                program=self._program,
                npu_port=self._npu_port,
                mips=self._mips,
                uart=uart,
                log=monitor.log,
            )
            start_board(monitor, commands, uart)
            stack.pop_all()
        self._monitor = monitor
        return str(uart)

    def failure(self) -> str | None:
        """Why the board no longer runs; None while it does, and before it has started."""
        return None if self._monitor is None else self._monitor.failure()

    def npu_complaint(self) -> str | None:
        """What Renode's log last says about the accelerator, its end or not; None where it says nothing."""
        return None if self._monitor is None else self._monitor.npu_complaint()

    def stop(self) -> None:
        """End Renode; nothing of it stays behind.  Harmless where it was never started."""
        if self._monitor is not None:
            self._monitor.close()
            self._monitor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start_commands(
    script: Path, *, elf: Path, program: Path, npu_port: int, mips: int, uart: Path, log: Path
) -> tuple[str, ...]:
    """The Monitor commands that bring a board up, in order, all but ``start``: ``uart`` is the PTY that they make.

    The script finds its files in three variables.
    """
    return (
        f"logFile {_at(log)} true",  # true: every line at once
        f"$elf={_at(elf)}",
        f"$program={_at(program)}",
        f"$npu={_at(NPU_SOURCE)}",
        f"include {_at(script)}",
        f"sysbus.cpu PerformanceInMips {mips}",
        f"sysbus.npu Port {npu_port}",
        *console_commands(script, uart),
    )


def start_board(monitor: Monitor, commands: Sequence[str], uart: Path) -> None:
    """Run the commands, one of which makes the PTY ``uart``, and let the board go.  Raises LinkError."""
    for command in commands:
        monitor.execute(command)
    _make_raw(uart)
    monitor.execute("start")


def console_commands(script: Path, uart: Path) -> tuple[str, ...]:
    """The Monitor commands that put the console of a platform's description behind a PTY, linked at ``uart``."""
    return (
        f'emulation CreateUartPtyTerminal "term" "{_readable(uart)}" true',
        f"connector Connect sysbus.{_console(script.with_suffix('.repl'))} term",
    )


def _at(path: Path) -> str:
    """A path as the Monitor reads it.  Its grammar escapes spaces and has no way to write a semicolon."""
    return "@" + _readable(path).replace(" ", r"\ ")


def _readable(path: Path) -> str:
    text = str(path.absolute())
    if not text.isprintable() or ";" in text or '"' in text:
        raise ConfigError(
            f"Renode's Monitor cannot be given the path {text!r}",
            hint="use a path without semicolons, quotation marks or line breaks",
        )
    return text


def _description(platform_id: str, platform_path: Sequence[Path]) -> Path:
    files = platform_files(platform_path)
    if platform_id not in files:
        raise PlatformError(f"no platform '{platform_id}'", hint=did_you_mean(platform_id, files))
    script = files[platform_id].with_name(f"{platform_id}.resc")
    if not script.is_file():
        raise PlatformError(
            f"{platform_id} has no description for Renode: {script} does not exist",
            hint=f"hil platforms check {platform_id} says why; other engines may have the board",
        )
    return script


def _console(description: Path) -> str:
    """The name of the console: the first UART in the platform's ``.repl``."""
    try:
        found = _CONSOLE.search(description.read_text(encoding="utf-8"))
    except OSError as error:
        raise PlatformError(f"{description}: cannot be read: {error.strerror}") from error
    if found is None:
        raise PlatformError(f"{description}: no UART; expected one, for the console", hint="see docs/renode.md")
    return found[1]


def _make_raw(uart: Path) -> None:
    """Renode takes its PTY's settings from its own standard input, which is no terminal here.  They last, since Renode
    keeps its end open."""
    try:
        terminal = os.open(uart, os.O_RDWR | os.O_NOCTTY)
    except OSError as error:
        raise LinkError(f"Renode made no serial port at {uart}: {error.strerror}") from error
    try:
        make_raw(terminal)
    finally:
        os.close(terminal)
