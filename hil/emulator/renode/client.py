"""A running Renode and its Monitor: the one place that knows how Renode is started and spoken to.

Renode's server for Robot Framework takes Monitor commands over XML-RPC.  It listens on a port of its own choice and
writes the number to ``renode-<PID>/robot_port`` in the folder for temporary files, which is a private one here.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import time
import xmlrpc.client
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from xml.parsers.expat import ExpatError

from hil.emulator.process import Workspace
from hil.emulator.renode.find import Renode
from hil.errors import LinkError

FLAGS = ("--disable-gui", "--hide-log", "--robot-server-port", "0", "--port", "-1", "--plain")
START_TIMEOUT_S = 60.0
COMMAND_TIMEOUT_S = 60.0

# A line of Renode's log about the accelerator: 12:00:00 [ERROR] npu: what, or [ERROR] machine/npu: what.
_ABOUT_NPU = re.compile(r"\[\w+\] (?:\S+[/.])?npu: (.+)")

_BROKEN = (OSError, http.client.HTTPException, xmlrpc.client.Error, ExpatError)


class Monitor:
    """A Renode process, killed on :meth:`close` and when ``hil`` ends in whatever way.

    ``start_timeout_s``: longest wait for its server; ``command_timeout_s``: longest wait for one command's answer.
    Raises UnavailableError where Renode cannot be started, LinkError where it does not come up.
    """

    def __init__(
        self,
        renode: Renode,
        *,
        start_timeout_s: float = START_TIMEOUT_S,
        command_timeout_s: float = COMMAND_TIMEOUT_S,
    ) -> None:
        with contextlib.ExitStack() as stack:
            self._workspace = stack.enter_context(Workspace())
            folder = self._workspace.path
            self._child = self._workspace.start([str(renode.path), *FLAGS], environment={"TMPDIR": str(folder)})
            port = self._wait_for_port(folder, start_timeout_s)
            transport = _Transport(command_timeout_s)
            stack.callback(transport.close)
            self._server = xmlrpc.client.ServerProxy(f"http://127.0.0.1:{port}/", transport=transport, allow_none=True)
            self._stack = stack.pop_all()

    @property
    def folder(self) -> Path:
        """A private folder that goes with Renode, and in which it runs."""
        return self._workspace.path

    @property
    def log(self) -> Path:
        """Where Renode writes its log, once it is told to: ``logFile``."""
        return self.folder / "renode.log"

    def execute(self, command: str) -> str:
        """Run one Monitor command; what it printed.

        Raises LinkError with the command and Renode's own message.  Where the answer does not come, Renode is ended.
        """
        try:
            answer: Any = self._server.run_keyword("ExecuteCommand", [command])
        except _BROKEN as error:
            raise self._lost(
                f"Renode did not answer '{command}': {_one_line(error)}",
                "the command may have stopped Renode; try it in Renode's own Monitor",
            ) from error
        if not isinstance(answer, dict) or answer.get("status") != "PASS":
            reason = answer.get("error", "") if isinstance(answer, dict) else answer
            raise LinkError(
                f"Renode refused '{command}': {_one_line(reason) or 'no reason given'}{self._npu_words()}",
                hint="see docs/renode.md; try the command in Renode's own Monitor",
            )
        return str(answer.get("return", ""))

    def failure(self) -> str | None:
        """Why Renode no longer runs; None while it does."""
        code = self._child.exit_code
        return None if code is None else f"Renode ended with exit code {code}{self._last_words()}{self._npu_words()}"

    def npu_complaint(self) -> str | None:
        """The last line about the accelerator in Renode's log; None where there is none."""
        try:
            found = _ABOUT_NPU.findall(self.log.read_text(encoding="utf-8", errors="replace"))
        except OSError:
            return None  # no log yet, or no more
        return f"the accelerator in Renode: {_one_line(found[-1])}" if found else None

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _wait_for_port(self, folder: Path, timeout_s: float) -> int:
        deadline = time.monotonic() + timeout_s
        # A wrapper script may stand between, so the number in the folder's name need not be the child's.
        while not (port := _read_port(folder)):
            if self._child.exit_code is not None:
                raise self._lost(
                    f"Renode ended at its start with exit code {self._child.exit_code}",
                    "start it by hand with the same version to see why",
                )
            if time.monotonic() > deadline:
                raise self._lost(
                    f"Renode's server did not come up within {timeout_s:g} s",
                    "is the machine overloaded? start Renode by hand to see what it says",
                )
            time.sleep(0.02)
        return port

    def _lost(self, what: str, hint: str) -> LinkError:
        """Ends Renode, so that its output is complete, and adds the last line of it."""
        npu_words = self._npu_words()  # the log goes with Renode
        self._workspace.close()
        return LinkError(what + self._last_words() + npu_words, hint=hint)

    def _npu_words(self) -> str:
        complaint = self.npu_complaint()
        return f"; {complaint}" if complaint is not None else ""

    def _last_words(self) -> str:
        lines = self._child.output().strip().splitlines()
        return f"; its last line: {lines[-1].strip()[:200]}" if lines else ""


class _Transport(xmlrpc.client.Transport):
    """HTTP with a timeout, which the standard library's transport lacks."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__()
        self._timeout_s = timeout_s

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = super().make_connection(host)
        connection.timeout = self._timeout_s
        return connection


def _read_port(folder: Path) -> int | None:
    for file in folder.glob("renode-*/robot_port"):
        text = file.read_text(encoding="ascii", errors="replace").strip().lstrip("\ufeff")
        if text.isdecimal():
            return int(text)
    return None


def _one_line(what: object) -> str:
    return " ".join(str(what).split())[:400]
