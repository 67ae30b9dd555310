"""The board map ``boards.toml``: which boards are on this desk, how to find, power and flash them.

A board is found by what does not change when it is plugged in again: its serial number or USB location.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from hil.board.session import Limits, Session, open_session
from hil.errors import ConfigError, LinkError, did_you_mean
from hil.platform.loader import platform_files
from hil.platform.schema import Strict
from hil.toml import parse_toml, validate

ENV_BOARDS = "HIL_BOARDS"
_FILE = "boards.toml"
_BY_ID = Path("/dev/serial/by-id")
_DOCS = "docs/protocol.md has an example of boards.toml"
_TAIL = 400  # characters of a hook's output that an error shows

Seconds = Annotated[float, Field(ge=0, le=86_400)]
Command = Annotated[tuple[str, ...], Field(min_length=1)]


class Match(Strict):
    """What a USB serial port must have; what is not given may be anything."""

    vid: Annotated[int, Field(ge=0, le=0xFFFF)] | None = None
    pid: Annotated[int, Field(ge=0, le=0xFFFF)] | None = None
    serial: str | None = None
    location: str | None = None
    description: str | None = None  # a part of it

    @model_validator(mode="after")
    def _something(self) -> Match:
        if not self.model_fields_set:
            raise ValueError("expected at least one of vid, pid, serial, location, description")
        return self


class Timeouts(Strict):
    """``hil.board.session.Limits``, as far as a board needs other ones."""

    open_s: Seconds | None = None
    boot_s: Seconds | None = None
    handshake_s: Seconds | None = None
    answer_s: Seconds | None = None
    run_s: Seconds | None = None
    reconnect_s: Seconds | None = None


class Power(Strict):
    """Commands that switch the board's supply."""

    on: Command
    off: Command
    timeout_s: Seconds = 20.0


class Flash(Strict):
    """The command that writes an image; ``{image}`` in it stands for the file."""

    command: Command
    timeout_s: Seconds = 120.0

    @model_validator(mode="after")
    def _image(self) -> Flash:
        if not any("{image}" in word for word in self.command):
            raise ValueError("expected {image} in one of the words of the command")
        return self


class Board(Strict):
    """One board."""

    platform: str
    operating_point: str | None = None
    port: str | None = None
    match: Match | None = None
    baud: Annotated[int, Field(ge=1)] | None = None
    mode: Literal["performance", "energy"] = "performance"
    timeouts: Timeouts = Timeouts()
    power: Power | None = None
    flash: Flash | None = None
    meter: str | None = None
    note: str = ""

    @model_validator(mode="after")
    def _one_way_to_find_it(self) -> Board:
        if (self.port is None) == (self.match is None):
            raise ValueError("expected either port or match")
        return self

    @property
    def limits(self) -> Limits:
        return replace(Limits(), **self.timeouts.model_dump(exclude_none=True))


class BoardMap(Strict):
    """The file."""

    boards: dict[str, Board]


@dataclass(frozen=True)
class PortInfo:
    """A serial port of this machine.  ``by_id`` is its name that survives replugging, where udev gives one."""

    device: str
    vid: int | None = None
    pid: int | None = None
    serial: str | None = None
    location: str | None = None
    description: str = ""
    by_id: str | None = None

    def __str__(self) -> str:
        usb = f"{self.vid:04x}:{self.pid:04x}" if self.vid is not None and self.pid is not None else None
        facts = (
            usb,
            self.serial and f"serial {self.serial}",
            self.location and f"at {self.location}",
            self.description,
        )
        return f"{self.by_id or self.device} ({', '.join(fact for fact in facts if fact)})"


# --- the file -------------------------------------------------------------------------------------------------------


def board_map_path() -> Path | None:
    """The first of ``./boards.toml``, ``$HIL_BOARDS`` and ``~/.config/hil/boards.toml``; None where none is."""
    own = os.environ.get(ENV_BOARDS)
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "hil" / _FILE
    if (here := Path(_FILE)).is_file():
        return here
    if own:
        return Path(own)  # an error where it is missing: it was asked for
    return config if config.is_file() else None


def load_boards(path: Path | None = None, platform_path: Sequence[Path] = ()) -> dict[str, Board]:
    """Boards by id, from ``path`` or where ``board_map_path`` finds them; none where there is no file.

    Raises ConfigError that names file, key and what was expected.
    """
    path = path or board_map_path()
    if path is None:
        return {}
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}", hint=f"see ${ENV_BOARDS}") from error
    boards = validate(BoardMap, parse_toml(data, str(path), ConfigError, _DOCS), str(path), ConfigError, _DOCS).boards
    known = platform_files(platform_path)
    for board_id, board in boards.items():
        if board.platform not in known:
            raise ConfigError(
                f"{path}: boards.{board_id}.platform: no platform '{board.platform}'",
                hint=did_you_mean(board.platform, known),
            )
    return boards


def get_board(boards: Mapping[str, Board], board_id: str) -> Board:
    """The board of that id.  Raises ConfigError with the nearest one."""
    if board_id not in boards:
        hint = did_you_mean(board_id, boards) if boards else "no boards.toml here; hil boards detect writes a stanza"
        raise ConfigError(f"no board '{board_id}'", hint=hint)
    return boards[board_id]


# --- ports ----------------------------------------------------------------------------------------------------------


def list_ports() -> list[PortInfo]:
    """The serial ports of this machine, in order of their names."""
    from serial.tools.list_ports import comports  # type: ignore[import-untyped]

    names = _stable_names()
    return sorted(
        (
            PortInfo(
                port.device,
                port.vid,
                port.pid,
                port.serial_number,
                port.location,
                port.description if port.description != "n/a" else "",
                names.get(port.device),
            )
            for port in comports()
        ),
        key=lambda port: port.device,
    )


def _stable_names() -> dict[str, str]:
    with suppress(OSError):
        return {str(link.resolve()): str(link) for link in _BY_ID.iterdir()}
    return {}


def resolve_port(board_id: str, board: Board, ports: Sequence[PortInfo] | None = None) -> str:
    """The port where a board is now.  Raises LinkError that lists all candidates where none or several match."""
    if board.port is not None:
        return board.port
    assert board.match is not None
    there = list_ports() if ports is None else ports
    found = [port for port in there if _matches(board.match, port)]
    if len(found) == 1:
        return found[0].device
    wanted = ", ".join(
        f"{key} {_shown(key, value)}" for key, value in board.match.model_dump(exclude_none=True).items()
    )
    shown = found or there
    raise LinkError(
        f"board {board_id}: {len(found) or 'no'} ports match {wanted}",
        hint=f"{'these match' if found else 'ports here'}: {'; '.join(map(str, shown)) or 'none'}",
    )


def _matches(match: Match, port: PortInfo) -> bool:
    for key, wanted in match.model_dump(exclude_none=True).items():
        there = getattr(port, key)
        if key == "description":
            if wanted.lower() not in there.lower():
                return False
        elif wanted != there:
            return False
    return True


def _shown(key: str, value: Any) -> str:
    return f"0x{value:04x}" if key in ("vid", "pid") else f"'{value}'"


def open_board(board_id: str, board: Board, *, verify: bool = True) -> Session:
    """A session with a board of the map, not connected yet."""
    return open_session(resolve_port(board_id, board), board.baud, limits=board.limits, mode=board.mode, verify=verify)


# --- hooks ----------------------------------------------------------------------------------------------------------


def switch_power(board_id: str, board: Board, *, on: bool) -> None:
    """Run the board's power command.  Raises ConfigError where there is none, LinkError where it fails."""
    if board.power is None:
        raise ConfigError(f"board {board_id}: no power commands", hint=f"add [boards.{board_id}.power] with on and off")
    command = board.power.on if on else board.power.off
    _run_hook(f"board {board_id}: power {'on' if on else 'off'}", command, board.power.timeout_s)


def flash_image(board_id: str, board: Board, image: Path) -> None:
    """Run the board's flash command.  Raises ConfigError where there is none, LinkError where it fails."""
    if board.flash is None:
        raise ConfigError(f"board {board_id}: no flash command", hint=f"add [boards.{board_id}.flash] with command")
    if not image.is_file():
        raise ConfigError(f"{image}: no such image to flash")
    command = tuple(word.replace("{image}", str(image)) for word in board.flash.command)
    _run_hook(f"board {board_id}: flash", command, board.flash.timeout_s)


def _run_hook(what: str, command: Sequence[str], timeout_s: float) -> None:
    """Run a command; its output is in the error.  On timeout its whole process group is ended."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise LinkError(f"{what}: {command[0]}: {error.strerror}", hint="is it installed?") from error
    with process:
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            _end_group(process.pid)
            output = error.output or b""
            raise LinkError(f"{what}: not done within {timeout_s:g} s", hint=_tail(command, output)) from error
    if process.returncode != 0:
        raise LinkError(f"{what}: ended with status {process.returncode}", hint=_tail(command, output))


def _end_group(group: int) -> None:
    import signal

    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _tail(command: Sequence[str], output: bytes) -> str:
    text = " | ".join(output.decode("utf-8", "backslashreplace").split("\n")).strip(" |")
    return f"{' '.join(command)} said: {text[-_TAIL:] or 'nothing'}"
