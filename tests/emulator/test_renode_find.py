"""Finding Renode: where it is looked for, in which order, and what is said of each candidate that will not do."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from hil.emulator.renode.find import ENV_RENODE, Renode, find_renode
from hil.errors import UnavailableError

ANSWER_1_16_1 = "Renode v1.16.1.29124\n  build: 6b5e1b3c-202602161200\n  runtime: .NET 8.0.11"


def fake(folder: Path, answer: str, name: str = "renode") -> Path:
    """An executable that prints ``answer`` when asked for its version, and fails otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f'#!/bin/sh\n[ "$1" = --version ] || exit 9\ncat <<"END"\n{answer}\nEND\n', encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A PATH with the system's tools, whatever Renode this machine has, and no renode-run."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "cat", "rm", "sleep"):
        (tools / name).symlink_to(f"/bin/{name}")
    monkeypatch.delenv(ENV_RENODE, raising=False)
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setitem(sys.modules, "renode_run", None)


def on_path(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("PATH", os.pathsep.join((str(folder), os.environ["PATH"])))


def test_nothing_there() -> None:
    with pytest.raises(UnavailableError, match="not installed") as caught:
        find_renode()
    assert "renode.io" in str(caught.value.hint) and ENV_RENODE in str(caught.value.hint)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("name", ["renode", "Renode"])
def test_on_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    path = fake(tmp_path / "bin", ANSWER_1_16_1, name)
    on_path(monkeypatch, path.parent)
    assert find_renode() == Renode(path, (1, 16, 1))


@pytest.mark.parametrize(
    "answer, version",
    [
        ("Renode v1.16.1.29124", (1, 16, 1)),
        ("Renode, version 1.17.0.12345 (0123abcd-202701010000)", (1, 17, 0)),
        ("some warning first\nrenode 2.0.3", (2, 0, 3)),
    ],
)
def test_how_versions_are_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: str, version: tuple[int, int, int]
) -> None:
    monkeypatch.setenv(ENV_RENODE, str(fake(tmp_path, answer)))
    assert find_renode().version == version


def test_the_environment_variable_is_the_only_one_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    on_path(monkeypatch, fake(tmp_path / "bin", ANSWER_1_16_1).parent)
    monkeypatch.setenv(ENV_RENODE, str(tmp_path / "missing"))
    with pytest.raises(UnavailableError, match=r"missing is not an executable file"):
        find_renode()


@pytest.mark.parametrize("version", ["1.15.3", "1.16.0", "0.99.99"])
def test_too_old(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str) -> None:
    monkeypatch.setenv(ENV_RENODE, str(fake(tmp_path, f"Renode v{version}.1")))
    with pytest.raises(UnavailableError, match=rf"is Renode {version}; expected 1\.16\.1 or newer"):
        find_renode()


def test_an_old_one_on_the_path_does_not_hide_a_new_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    on_path(monkeypatch, fake(tmp_path / "old", "Renode v1.14.0.1", "renode").parent)
    new = fake(tmp_path / "new", ANSWER_1_16_1, "Renode")
    on_path(monkeypatch, new.parent)
    assert find_renode().path == new


def test_something_else_of_that_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(ENV_RENODE, str(fake(tmp_path, "usage: rename [-v] 1.2.3 FILE")))
    with pytest.raises(UnavailableError, match=r"is not Renode: --version answers 'usage: rename"):
        find_renode()


def test_no_program_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "renode"
    path.write_bytes(b"\x00\x01\x02")
    path.chmod(0o755)
    monkeypatch.setenv(ENV_RENODE, str(path))
    with pytest.raises(UnavailableError, match="cannot be started"):
        find_renode()


def test_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(ENV_RENODE, str(tmp_path))
    with pytest.raises(UnavailableError, match="not an executable file"):
        find_renode()


def test_one_that_hangs_is_ended_with_its_children(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "renode"
    path.write_text('#!/bin/sh\nsleep 1000 &\necho "$!" > "${0%/*}/pid"\nwait\n', encoding="utf-8")
    path.chmod(0o755)
    monkeypatch.setenv(ENV_RENODE, str(path))
    with pytest.raises(UnavailableError, match=r"did not answer within 0\.5 s"):
        find_renode(timeout_s=0.5)
    assert not _runs(int((tmp_path / "pid").read_text(encoding="ascii")))


def _runs(pid: int) -> bool:
    """Whether a process still runs; a killed one may take a moment, and stay as a zombie where nobody reaps it."""
    for _ in range(200):
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return False
        if state == "Z":
            return False
        time.sleep(0.01)
    return True


def _renode_run(monkeypatch: pytest.MonkeyPatch, answer: object) -> None:
    module = ModuleType("renode_run")

    def get_default_renode_path(artifacts_path: object = None, **options: bool) -> object:
        assert options == {"try_to_download": False, "use_system_renode": False}
        print("Renode found in a folder of its own")
        if isinstance(answer, BaseException):
            raise answer
        return answer

    module.__dict__["get_default_renode_path"] = get_default_renode_path
    monkeypatch.setitem(sys.modules, "renode_run", module)


def test_renode_run_comes_last(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    downloaded = fake(tmp_path / "downloaded", ANSWER_1_16_1)
    _renode_run(monkeypatch, downloaded)
    assert find_renode().path == downloaded
    assert capsys.readouterr().out == ""
    installed = fake(tmp_path / "bin", ANSWER_1_16_1)
    on_path(monkeypatch, installed.parent)
    assert find_renode().path == installed


@pytest.mark.parametrize("answer", [None, ValueError("its configuration is broken"), SystemExit(1)])
def test_renode_run_has_nothing(monkeypatch: pytest.MonkeyPatch, answer: object) -> None:
    _renode_run(monkeypatch, answer)
    with pytest.raises(UnavailableError, match="not installed"):
        find_renode()
