"""Where Renode is: ``$HIL_RENODE``, ``renode`` on the PATH, or what the tool ``renode-run`` downloaded."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hil.emulator.process import Workspace
from hil.errors import UnavailableError

ENV_RENODE = "HIL_RENODE"
# The oldest version that the descriptions, the C# peripheral and the remote server were tried with.
OLDEST = (1, 16, 1)
VERSION_TIMEOUT_S = 30.0

_VERSION = re.compile(r"renode\D{0,20}(\d+)\.(\d+)\.(\d+)", re.IGNORECASE)
_HINT = f"get it from https://renode.io and put it on the PATH, or set {ENV_RENODE} to its executable"


@dataclass(frozen=True, slots=True)
class Renode:
    """A Renode that can be started, and its version."""

    path: Path
    version: tuple[int, int, int]

    def __str__(self) -> str:
        return f"Renode {_dotted(self.version)} ({self.path})"


def find_renode(*, timeout_s: float = VERSION_TIMEOUT_S) -> Renode:
    """The first Renode that is new enough.  ``$HIL_RENODE``, where set, is the only one looked at.

    ``timeout_s``: longest wait for the answer to ``--version``.  Raises UnavailableError, saying of every candidate
    why it will not do.
    """
    refused = []
    for path in _candidates():
        try:
            return _check(path, timeout_s)
        except UnavailableError as error:
            refused.append(error.message)
    raise UnavailableError("; ".join(refused) or "Renode is not installed here", hint=_HINT)


def _candidates() -> Iterator[Path]:
    chosen = os.environ.get(ENV_RENODE)
    if chosen:
        yield Path(chosen).expanduser()
        return
    for name in ("renode", "Renode"):
        found = shutil.which(name)
        if found:
            yield Path(found)
    downloaded = _downloaded()
    if downloaded is not None:
        yield downloaded


def _downloaded() -> Path | None:
    """What ``renode-run`` has downloaded before.  It offers to download too; that is the user's to do."""
    try:
        module = importlib.import_module("renode_run")
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it finds
            path = module.get_default_renode_path(try_to_download=False, use_system_renode=False)
    except (Exception, SystemExit):  # noqa: BLE001 somebody else's module, in any version: as if it were not there
        return None
    return Path(path) if path else None


def _check(path: Path, timeout_s: float) -> Renode:
    """Ask it for its version.  Raises UnavailableError where that fails or the version is too old."""
    if not os.access(path, os.X_OK) or path.is_dir():
        raise UnavailableError(f"{path} is not an executable file", hint=_HINT)
    answer = _ask(path, timeout_s)
    match = _VERSION.search(answer)
    if match is None:
        shown = " ".join(answer.split())[:80]
        raise UnavailableError(f"{path} is not Renode: --version answers '{shown}'", hint=_HINT)
    version = (int(match[1]), int(match[2]), int(match[3]))
    if version < OLDEST:
        raise UnavailableError(
            f"{path} is Renode {_dotted(version)}; expected {_dotted(OLDEST)} or newer",
            hint=_HINT,
        )
    return Renode(path.absolute(), version)


def _ask(path: Path, timeout_s: float) -> str:
    deadline = time.monotonic() + timeout_s
    with Workspace() as workspace:
        child = workspace.start([str(path.absolute()), "--version"])
        while child.exit_code is None:
            if time.monotonic() > deadline:
                raise UnavailableError(f"{path} --version did not answer within {timeout_s:g} s", hint=_HINT)
            time.sleep(0.01)
    return child.output()  # complete once the workspace is closed


def _dotted(version: tuple[int, int, int]) -> str:
    return ".".join(str(part) for part in version)
