"""The board map: what it takes, how its errors read, how boards are found, powered and flashed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from hil.board.boards import (
    Board,
    Match,
    PortInfo,
    board_map_path,
    flash_image,
    get_board,
    list_ports,
    load_boards,
    resolve_port,
    switch_power,
)
from hil.errors import ConfigError, LinkError

GOOD = """
[boards.feather]
platform = "max78000"
match = { vid = 0x0d28, pid = 0x0204, serial = "0423A" }
baud = 115200
meter = "ppk2"
note = "the one with the blue jumper"
timeouts = { run_s = 120 }
power = { on = ["true"], off = ["false"] }
flash = { command = ["openocd", "-c", "program {image} exit"], timeout_s = 60 }

[boards.disco]
platform = "stm32n6"
port = "socket://127.0.0.1:4000"
mode = "energy"
"""
PORTS = [
    PortInfo("/dev/ttyACM0", 0x0D28, 0x0204, "0423A", "1-2", "DAPLink CMSIS-DAP", "/dev/serial/by-id/usb-A"),
    PortInfo("/dev/ttyACM1", 0x0D28, 0x0204, "0423B", "1-3", "DAPLink CMSIS-DAP"),
    PortInfo("/dev/ttyS0"),
]


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "boards.toml"
    path.write_text(text)
    return path


def test_a_map_is_read(tmp_path: Path) -> None:
    boards = load_boards(written(tmp_path, GOOD))
    assert list(boards) == ["feather", "disco"]
    feather = boards["feather"]
    assert feather.match is not None and feather.match.vid == 0x0D28
    assert feather.limits.run_s == 120 and feather.limits.answer_s == 2
    assert boards["disco"].mode == "energy"


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("[boards.x]\nplatform = 'max78000'\nprt = 'a'", r"boards.x.prt: unknown key 'prt'", "did you mean 'port'"),
        ("[boards.x]\nplatform = 'max-78000'\nport = 'a'", r"no platform 'max-78000'", "did you mean 'max78000'"),
        ("[boards.x]\nport = 'a'", r"boards.x.platform: missing", "boards.toml"),
        ("[boards.x]\nplatform = 'max78000'", r"boards.x: expected either port or match", "boards.toml"),
        ("[boards.x]\nplatform = 'max78000'\nmatch = {}", r"boards.x.match: expected at least one of vid", "boards"),
        ("[boards.x]\nplatform = 'max78000'\nmatch = {vid = 'a'}", r"boards.x.match.vid: 'a': .*integer", "boards"),
        ("[boards.x]\nplatform = 'max78000'\nmatch = {serail = 'a'}", r"unknown key 'serail'", "did you mean 'serial'"),
        ("[boards.x]\nplatform = 'max78000'\nport = 'a'\nbaud = 0", r"boards.x.baud: 0: .*greater than", "boards"),
        ("[boards.x]\nplatform = 'max78000'\nport = 'a'\nmode = 'fast'", r"boards.x.mode: 'fast'", "boards"),
        ("[boards.x]\nplatform = 'max78000'\nport = 'a'\nflash = {command = ['x']}", r"flash: expected {image}", "b"),
        ("[boards.x]\nplatform = 'max78000'\nport = 'a'\npower = {on = []}", r"power", "boards"),
        ("[boards.x]\nplatform = 'max78000'\nport = 'a'\ntimeouts = {run = 1}", r"unknown key 'run'", "run_s"),
        ("[board.x]\nplatform = 'max78000'", r"board: unknown key 'board'", "did you mean 'boards'"),
        ("boards = 3", r"boards: 3: .*table", "boards"),
        ("[boards", r"not valid TOML", "boards"),
    ],
)
def test_errors_name_file_key_and_what_is_right(tmp_path: Path, text: str, said: str, hint: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError, match=said) as raised:
        load_boards(path)
    assert str(path) in raised.value.message and "\n" not in raised.value.message
    assert hint in (raised.value.hint or "")


def test_where_the_map_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, config, own = tmp_path / "here", tmp_path / "config", tmp_path / "own.toml"
    here.mkdir()
    (config / "hil").mkdir(parents=True)
    monkeypatch.chdir(here)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(config))
    monkeypatch.delenv("HIL_BOARDS", raising=False)
    assert board_map_path() is None and load_boards() == {}
    written(config / "hil", GOOD)
    assert board_map_path() == config / "hil" / "boards.toml"
    monkeypatch.setenv("HIL_BOARDS", str(own))
    assert board_map_path() == own
    with pytest.raises(ConfigError, match="own.toml: cannot be read"):
        load_boards()
    written(here, GOOD)
    assert board_map_path() == Path("boards.toml") and len(load_boards()) == 2


def test_an_unknown_board_is_named_with_the_nearest(tmp_path: Path) -> None:
    boards = load_boards(written(tmp_path, GOOD))
    with pytest.raises(ConfigError, match="no board 'fether'") as raised:
        get_board(boards, "fether")
    assert raised.value.hint == "did you mean 'feather'?"


def board(**match: object) -> Board:
    return Board(platform="max78000", match=Match(**match))  # type: ignore[arg-type]


def test_a_board_is_found_by_what_survives_replugging() -> None:
    assert resolve_port("x", board(serial="0423B"), PORTS) == "/dev/ttyACM1"
    assert resolve_port("x", board(vid=0x0D28, location="1-2"), PORTS) == "/dev/ttyACM0"
    assert resolve_port("x", Board(platform="max78000", port="/dev/any"), []) == "/dev/any"
    swapped = [PORTS[1], PORTS[0]]
    assert resolve_port("x", board(serial="0423A"), swapped) == "/dev/ttyACM0"


def test_none_or_several_matches_list_the_candidates() -> None:
    with pytest.raises(LinkError, match="board x: 2 ports match vid 0x0d28, description 'daplink'") as raised:
        resolve_port("x", board(vid=0x0D28, description="daplink"), PORTS)
    assert raised.value.hint == (
        "these match: /dev/serial/by-id/usb-A (0d28:0204, serial 0423A, at 1-2, DAPLink CMSIS-DAP); "
        "/dev/ttyACM1 (0d28:0204, serial 0423B, at 1-3, DAPLink CMSIS-DAP)"
    )
    with pytest.raises(LinkError, match="board x: no ports match serial 'none'") as raised:
        resolve_port("x", board(serial="none"), PORTS)
    assert "/dev/ttyS0" in (raised.value.hint or "")


def test_the_ports_of_this_machine_can_be_listed() -> None:
    assert all(port.device for port in list_ports())


def hooked(on: list[str], flash: list[str], timeout_s: float = 10) -> Board:
    return Board.model_validate(
        {
            "platform": "max78000",
            "port": "x",
            "power": {"on": on, "off": ["true"], "timeout_s": timeout_s},
            "flash": {"command": flash, "timeout_s": timeout_s},
        }
    )


def test_hooks_run_and_get_the_image(tmp_path: Path) -> None:
    image, copy = tmp_path / "with space.elf", tmp_path / "copy"
    image.write_bytes(b"elf")
    able = hooked(["true"], ["cp", "{image}", str(copy)])
    switch_power("x", able, on=True)
    flash_image("x", able, image)
    assert copy.read_bytes() == b"elf"
    with pytest.raises(ConfigError, match="no such image"):
        flash_image("x", able, tmp_path / "none")


def test_hooks_that_fail_say_what_they_printed(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"")
    failing = hooked(["no-such-program"], [sys.executable, "-c", "print('no probe'); raise SystemExit(3)", "{image}"])
    with pytest.raises(LinkError, match="board x: flash: ended with status 3") as raised:
        flash_image("x", failing, image)
    assert "no probe" in (raised.value.hint or "")
    with pytest.raises(LinkError, match="board x: power on: no-such-program: No such file"):
        switch_power("x", failing, on=True)
    bare = Board(platform="max78000", port="x")
    for call in (lambda: switch_power("x", bare, on=False), lambda: flash_image("x", bare, image)):
        with pytest.raises(ConfigError, match="board x: no (power|flash) command"):
            call()


def test_hooks_end_at_their_timeout_with_their_children() -> None:
    hanging = hooked(["sh", "-c", "echo started; sleep 1000 & sleep 1000"], ["x", "{image}"], timeout_s=0.5)
    start_s = time.monotonic()
    with pytest.raises(LinkError, match=r"board x: power on: not done within 0.5 s") as raised:
        switch_power("x", hanging, on=True)
    assert "started" in (raised.value.hint or "")
    assert time.monotonic() - start_s < 100  # it ended long before the sleep
