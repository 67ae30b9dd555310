"""An emulated board in Renode: the platform's description, the firmware, a program, the accelerator on the host.

The serial port of the board is a TCP socket of Renode's, raw bytes, one client at a time.  Whatever the board says
before a client connects waits for it.
"""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from hil.emulator.renode.client import Monitor
from hil.emulator.renode.find import Renode, find_renode
from hil.errors import ConfigError, PlatformError, did_you_mean
from hil.platform.loader import platform_files

NPU_SOURCE = Path(__file__).with_name("HilNpu.cs")

_CONSOLE = re.compile(r"^(\w+)\s*:\s*UART\.", re.MULTILINE)


class RenodeEngine:
    """One board.  ``mips`` is the emulated core's speed in millions of instructions per second of virtual time;
    ``npu_port`` the TCP port on 127.0.0.1 where the accelerator's host listens (:mod:`hil.emulator.npu`).

    ``port`` is the TCP port of the serial port, 0 for any free one; ``platform_path`` holds folders of platforms that
    come before the shipped ones; ``renode`` is looked for where it is not given.
    """

    def __init__(
        self,
        platform_id: str,
        elf: Path,
        program_path: Path,
        npu_port: int,
        mips: int,
        *,
        port: int = 0,
        platform_path: Sequence[Path] = (),
        renode: Renode | None = None,
    ) -> None:
        self._script = _description(platform_id, platform_path)
        self._elf = elf
        self._program = program_path
        self._npu_port = npu_port
        self._mips = mips
        self._port = port
        self._renode = renode
        self._monitor: Monitor | None = None

    def start(self) -> str:
        """Start the board; the URL of its serial port.

        Raises UnavailableError without Renode, LinkError where Renode refuses something.
        """
        uart_port = self._port or _free_port()
        commands = start_commands(
            self._script,
            elf=self._elf,
            program=self._program,
            npu_port=self._npu_port,
            uart_port=uart_port,
            mips=self._mips,
        )
        with contextlib.ExitStack() as stack:
            monitor = stack.enter_context(Monitor(self._renode or find_renode()))
            for command in commands:
                monitor.execute(command)
            stack.pop_all()
        self._monitor = monitor
        return f"socket://127.0.0.1:{uart_port}"

    def failure(self) -> str | None:
        """Why the board no longer runs; None while it does, and before it has started."""
        return None if self._monitor is None else self._monitor.failure()

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
    script: Path, *, elf: Path, program: Path, npu_port: int, uart_port: int, mips: int
) -> tuple[str, ...]:
    """The Monitor commands that bring a board up, in order.  The script finds its files in three variables."""
    return (
        f"$elf={_at(elf)}",
        f"$program={_at(program)}",
        f"$npu={_at(NPU_SOURCE)}",
        f"include {_at(script)}",
        f"sysbus.cpu PerformanceInMips {mips}",
        f"sysbus.npu Port {npu_port}",
        f'emulation CreateServerSocketTerminal {uart_port} "term" false',
        f"connector Connect sysbus.{_console(script.with_suffix('.repl'))} term",
        "start",
    )


def _at(path: Path) -> str:
    """A path as the Monitor reads it.  Its grammar escapes spaces and has no way to write a semicolon."""
    text = str(path.absolute())
    if not text.isprintable() or ";" in text:
        raise ConfigError(
            f"Renode's Monitor cannot be given the path {text!r}", hint="use a path without semicolons or line breaks"
        )
    return "@" + text.replace(" ", r"\ ")


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


def _free_port() -> int:
    """A TCP port that nobody holds now.  Renode offers no way to learn which one it took by itself."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
