"""Child processes and files that never outlive ``hil``, even when ``hil`` is killed.

A guard, a shell that waits on a pipe, stands beside each workspace.  The pipe closes when ``hil`` ends in whatever way;
the guard then kills the children and removes the files.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from hil.errors import UnavailableError

# Lines name process groups to kill and paths to remove, once the pipe has closed.
_GUARD = """
while read -r what value; do
    case $what in
    kill) groups="$groups -$value" ;;
    rm) set -- "$@" "$value" ;;
    esac
done
kill -s KILL -- $groups
rm -rf -- "$@"
"""
_KEPT_OUTPUT_BYTES = 64 * 1024
_GRACE_S = 0.5


class Child:
    """A running program in a session of its own; started by ``Workspace.start``."""

    def __init__(self, process: subprocess.Popen[bytes], name: str) -> None:
        self.name = name
        self._process = process
        self._output = bytearray()
        self._reader = threading.Thread(target=self._collect, name=f"{name} output", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def output(self) -> str:
        """The end of what it printed."""
        return bytes(self._output).decode(errors="backslashreplace")

    def close(self) -> None:
        """Stop it: politely, then for good."""
        if self._process.poll() is None:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE_S)
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _collect(self) -> None:
        stream = self._process.stdout
        while stream is not None and (data := os.read(stream.fileno(), 4096)):
            self._output += data
            del self._output[:-_KEPT_OUTPUT_BYTES]


class Workspace:
    """A private folder (``path``) for sockets, FIFOs and programs of one emulated board, and its children."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="hil-board-"))
        self._adopted: list[Path] = []
        self._children: list[Child] = []
        try:
            self._guard = subprocess.Popen(
                ["/bin/sh", "-c", _GUARD],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            shutil.rmtree(self.path, ignore_errors=True)
            raise UnavailableError(
                f"/bin/sh cannot be started: {error.strerror or error}", hint="emulated boards need a shell"
            ) from error
        self._tell_guard(f"rm {self.path}")

    def adopt(self, path: Path) -> None:
        """A file elsewhere that goes with the workspace, such as the link to a PTY."""
        self._adopted.append(path)
        self._tell_guard(f"rm {path.absolute()}")

    def start(
        self, command: Sequence[str], *, environment: Mapping[str, str] | None = None, pass_fds: Sequence[int] = ()
    ) -> Child:
        """Start a program in the folder.  Raises UnavailableError where it cannot be started."""
        try:
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **environment} if environment is not None else None,
                pass_fds=tuple(pass_fds),
                cwd=self.path,
            )
        except OSError as error:
            raise UnavailableError(
                f"{command[0]} cannot be started: {error.strerror or error}", hint="hil doctor lists what is missing"
            ) from error
        self._tell_guard(f"kill {process.pid}")
        child = Child(process, Path(command[0]).name)
        self._children.append(child)
        return child

    def close(self) -> None:
        """Stop the children and remove the files; again is harmless."""
        while self._children:
            self._children.pop().close()
        self._guard.kill()  # before its pipe closes: the process groups may be somebody else's by then
        self._guard.wait()
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        shutil.rmtree(self.path, ignore_errors=True)
        for path in self._adopted:
            path.unlink(missing_ok=True)

    def _tell_guard(self, line: str) -> None:
        assert self._guard.stdin is not None  # it was asked for
        with contextlib.suppress(BrokenPipeError):  # somebody killed it: then nothing is guarded, and nothing breaks
            self._guard.stdin.write(f"{line}\n".encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
