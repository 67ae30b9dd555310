"""``hil board emulate`` and ``hil bench`` over its port, as a user types them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hil.board.codec import encode_command
from hil.cli.main import main

HIL = [sys.executable, "-m", "hil"]


@contextmanager
def emulated(*options: str, engine: str = "python") -> Iterator[tuple[subprocess.Popen[str], dict[str, object]]]:
    command = [*HIL, "board", "emulate", "max78000", "--engine", engine, "--json", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    try:
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def test_a_board_on_a_pty_is_benchmarked_and_goes_with_ctrl_c(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "board"
    with emulated("--pty", str(path)) as (process, facts):
        assert facts["port"] == str(path) and facts["network"] == "digits"
        out = tmp_path / "out"
        arguments = ["bench", "zoo:digits", "-p", "max78000", "--backend", "serial", "--port", str(path)]
        assert main([*arguments, "--out", str(out)]) == 0
        assert "outputs equal the reference interpreter's, byte for byte: digits" in capsys.readouterr().out
        (capture,) = (out / "captures").glob("*.jsonl")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert not path.is_symlink()
    arguments = ["bench", "zoo:digits", "-p", "max78000", "--backend", "replay", "--capture", str(capture), "--json"]
    assert main(arguments) == 0
    (again,) = json.loads(capsys.readouterr().out)["runs"]
    (record,) = (out / "records").glob("*.json")
    (first,) = json.loads(record.read_text())["runs"]
    for run in (first, again):
        run.pop("backend")
        run["provenance"].pop("request_hash")
    assert again == first


def test_a_board_on_tcp_answers_any_program() -> None:
    with (
        emulated("--tcp", "0", "--network", "zoo:kws") as (_, facts),
        socket.create_connection(("127.0.0.1", int(str(facts["port"]).rpartition(":")[2])), timeout=30) as link,
    ):
        link.sendall(encode_command("profile"))
        text = b""
        while b"m-model-[kws]\r\nm-ready\r\n" not in text:
            data = link.recv(4096)
            assert data
            text += data
    assert text.startswith(b"m-timestamp-mode-performance\r\nm-init-done\r\nm-ready\r\n")


def test_sigterm_ends_it_cleanly(tmp_path: Path) -> None:
    path = tmp_path / "board"
    with emulated("--pty", str(path)) as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert not path.is_symlink()


def test_a_killed_one_leaves_no_link(tmp_path: Path) -> None:
    path = tmp_path / "board"
    with emulated("--pty", str(path)) as (process, _):
        process.kill()
        process.wait()
    deadline = time.monotonic() + 20
    while path.is_symlink():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def fake_renode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in whose board says that it is ready, and then sends back what it is sent.  Its record of commands."""
    fake = Path(__file__).parents[1] / "emulator" / "fake_renode.py"
    script, record = tmp_path / "renode", tmp_path / "record.txt"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{fake}" "{record}" "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    monkeypatch.setenv("HIL_RENODE", str(script))
    return record


BOOT = b"m-init-done\r\nm-ready\r\n"


def test_a_board_in_renode_on_tcp(fake_renode: Path) -> None:
    with emulated("--tcp", "0", engine="renode") as (process, facts):
        assert "listens on all interfaces" in str(facts["notes"])
        address = ("127.0.0.1", int(str(facts["port"]).rpartition(":")[2]))
        for expected in (BOOT + b"name%", b"name%"):  # one client leaves, and the next one comes
            with socket.create_connection(address, timeout=30) as link:
                link.sendall(b"name%")
                text = b""
                while len(text) < len(expected):
                    text += link.recv(4096)
                assert text == expected
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert "CreateServerSocketTerminal" not in fake_renode.read_text(encoding="utf-8")


def test_a_board_in_renode_on_a_pty(fake_renode: Path, tmp_path: Path) -> None:
    """The link leads to Renode's own PTY and goes with hil, even with a killed one."""
    path = tmp_path / "board"
    with emulated("--pty", str(path), engine="renode") as (process, facts):
        assert facts["port"] == str(path)
        terminal = os.open(path, os.O_RDWR | os.O_NOCTTY)
        text = b""
        while len(text) < len(BOOT):
            text += os.read(terminal, 4096)
        assert text == BOOT
        os.close(terminal)
        process.kill()
        process.wait()
    deadline = time.monotonic() + 20
    while path.is_symlink():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (["board", "emulate", "max7800"], "did you mean 'max7800", 2),
        (["board", "emulate", "max78000,max78002"], "one platform that runs one network", 2),
        (["board", "emulate", "f28p55x"], "no firmware image for qemu and a c28x core", 3),
        (
            ["board", "emulate", "max78000", "--operating-point", "riscv-60mhz", "--engine", "renode"],
            "renode's image is for cortex-m4; operating point riscv-60mhz runs on rv32",
            3,
        ),
        (["bench", "zoo:ic", "-p", "max78000", "--backend", "serial"], "--port /dev/ttyACM0", 2),
        (["bench", "zoo:ic", "-p", "max78000", "--backend", "serial", "--port", "/dev/null0"], "/dev/null0", 4),
        (["bench", "zoo:ic", "-p", "max78000", "--backend", "replay"], "--capture FILE", 2),
        (["bench", "zoo:ic", "-p", "max78000", "--backend", "qmeu"], "did you mean 'qemu'?", 2),
        (["bench", "zoo:ic", "-p", "ndp120", "--backend", "qemu"], "hifi3", 3),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    arguments: list[str], words: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == code
    assert words in capsys.readouterr().err


def test_outputs_that_differ_from_an_emulated_board_exit_with_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from hil.backend import emulated
    from hil.backend.run import OutputFigures
    from tests.backend.conftest import need_qemu

    need_qemu("stm32h7a3")
    honest = emulated.observe

    def wrong(*args: object, **kwargs: object) -> object:
        seen = honest(*args, **kwargs)  # type: ignore[arg-type]
        outputs = OutputFigures(sha256="0", bytes=10, different_bytes=1, equal=False, input_seed=1)
        return emulated.Observation(**{**vars(seen), "outputs": outputs})

    monkeypatch.setattr(emulated, "observe", wrong)
    assert main(["bench", "zoo:digits", "-p", "stm32h7a3", "--backend", "qemu"]) == 1
    assert "outputs DIFFER from the reference interpreter's in 1 of 10 bytes: digits" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--backend", "analytic", "--windows", "5"], "the analytic backend has no board"),
        (["--backend", "qemu", "--port", "/dev/ttyACM0"], "mean nothing to qemu"),
        (["--backend", "serial", "--port", "x", "-p", "max78000,max78002"], "one platform that runs one network"),
        (["--backend", "replay", "--capture", "nothing.jsonl"], "nothing.jsonl: no such capture"),
    ],
)
def test_options_that_do_not_go_together(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "zoo:digits", "-p", "max78000", *arguments]) == 2
    assert words in capsys.readouterr().err
