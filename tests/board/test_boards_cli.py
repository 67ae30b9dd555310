"""``hil boards`` as it is typed."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from known_board import KnownModel

from hil.board import boards as board_map
from hil.board.boards import PortInfo
from hil.board.dut import Dut
from hil.board.serve import DutLink, PtyBoard
from hil.cli import boards
from hil.errors import ConfigError


@pytest.fixture(autouse=True)
def _nothing_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HIL_CACHE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.delenv("HIL_BOARDS", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def pty() -> Iterator[str]:
    with PtyBoard(DutLink(Dut(KnownModel()))) as board:
        yield board.path


def hil(*words: str) -> int:
    parser = argparse.ArgumentParser()
    boards.add_parser(parser.add_subparsers())
    args = parser.parse_args(["boards", *words])
    status = args.run(args)
    assert isinstance(status, int)
    return status


def write_map(port: str, tmp_path: Path) -> None:
    limits = "timeouts = { handshake_s = 0.3, answer_s = 0.1 }"
    (tmp_path / "boards.toml").write_text(
        f'[boards.good]\nplatform = "max78000"\nport = "{port}"\nnote = "on the desk"\n'
        f'[boards.away]\nplatform = "max78000"\nmatch = {{ serial = "0423" }}\n'
        f'[boards.mute]\nplatform = "max78000"\nport = "loop://"\n{limits}\n'
    )


def test_without_a_map(capsys: pytest.CaptureFixture[str]) -> None:
    assert hil() == 0
    assert "no boards" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="no boards to check"):
        hil("check")


def test_list(pty: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_map(pty, tmp_path)
    assert hil("list") == 0
    out = capsys.readouterr().out
    assert "good" in out and "on the desk" in out and "no ports match serial '0423'" in out
    assert all(len(line) <= 100 for line in out.splitlines())
    assert hil("list", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == 1
    assert [(row["id"], row["state"]) for row in document["boards"]] == [
        ("good", "there"),
        ("away", "no ports match serial '0423'"),
        ("mute", "not checked"),
    ]


def test_check_tells_identity_or_the_stage_that_failed(
    pty: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_map(pty, tmp_path)
    assert hil("check", "good") == 0
    assert "good: hil, hil 1 known, model known01, phases, point" in capsys.readouterr().out
    assert hil("check", "--json") == 4
    good, away, mute = json.loads(capsys.readouterr().out)["boards"]
    assert good["ok"] and good["port"] == pty and good["clean"] and good["model"] == "known01"
    assert not away["ok"] and "no ports match" in away["error"]
    assert not mute["ok"] and mute["error"].startswith("handshake: no valid answer within 0.3")
    assert list((tmp_path / "captures").glob("*.jsonl"))
    with pytest.raises(ConfigError, match="no board 'god'"):
        hil("check", "god")


def test_check_a_port(pty: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert hil("check", "--port", pty, "--baud", "9600") == 0
    assert "model known01" in capsys.readouterr().out
    assert hil("check", "--port", "/dev/none-such") == 4
    assert "/dev/none-such: FAILED: /dev/none-such: cannot be opened" in capsys.readouterr().out


def test_detect_writes_a_stanza_that_the_map_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ports = [
        PortInfo("/dev/ttyACM0", 0x0D28, 0x0204, '04"23', "1-2", "DAPLink"),
        PortInfo("/dev/ttyACM1", 0x0D28, 0x0204, None, "1-3", "DAPLink"),
        PortInfo("/dev/ttyS0"),
    ]
    monkeypatch.setattr(board_map, "list_ports", lambda: ports)
    assert hil("detect") == 0
    out = capsys.readouterr().out
    assert "ttyACM0" in out and "ttyS0" not in out
    (tmp_path / "boards.toml").write_text(out.replace("…", "max78000"))
    found = board_map.load_boards()
    assert [board_map.resolve_port(board_id, board) for board_id, board in found.items()] == [
        "/dev/ttyACM0",
        "/dev/ttyACM1",
    ]
    monkeypatch.setattr(board_map, "list_ports", list)
    assert hil("detect") == 0
    assert "no USB serial port" in capsys.readouterr().out


def test_misuse() -> None:
    with pytest.raises(ConfigError, match="exclude each other"):
        hil("check", "x", "--port", "y")
    with pytest.raises(ConfigError, match="list takes no board"):
        hil("list", "x")
    with pytest.raises(SystemExit):
        hil("check", "--baud", "fast")


def test_power_and_flash_run_the_maps_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hil.cli.main import main

    image = tmp_path / "fw.elf"
    image.write_bytes(b"firmware")
    boards = tmp_path / "boards.toml"
    boards.write_text(
        '[boards.desk]\nplatform = "max78000"\nport = "/dev/ttyX"\n'
        f'[boards.desk.power]\non = ["touch", "{tmp_path}/on"]\noff = ["rm", "{tmp_path}/on"]\n'
        f'[boards.desk.flash]\ncommand = ["cp", "{{image}}", "{tmp_path}/flashed"]\n'
    )
    monkeypatch.setenv("HIL_BOARDS", str(boards))
    assert main(["boards", "power", "desk", "on"]) == 0
    assert (tmp_path / "on").exists()
    assert main(["boards", "power", "desk", "off"]) == 0
    assert not (tmp_path / "on").exists()
    assert main(["boards", "power", "desk", "off"]) == 4  # rm has nothing to remove
    assert main(["boards", "flash", "desk", str(image)]) == 0
    assert (tmp_path / "flashed").read_bytes() == b"firmware"
    assert main(["boards", "flash", "desk"]) == 2
    assert main(["boards", "power", "desk", "up"]) == 2
