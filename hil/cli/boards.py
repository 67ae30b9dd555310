"""``hil boards``: the boards on this desk: the map, what is plugged in, whether they answer; their power and flash."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil.cli.common import add_common, console, verb
from hil.errors import ConfigError, HilError, LinkError

if TYPE_CHECKING:
    from hil.board.boards import PortInfo
    from hil.board.session import Session

SCHEMA_VERSION = 1


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verb(
        verbs,
        "boards",
        "list the boards of boards.toml, detect what is plugged in, check that they answer, switch or flash one",
        "hil boards check --port /dev/ttyACM0",
    )
    parser.add_argument("action", nargs="?", choices=tuple(_ACTIONS), default="list")
    parser.add_argument(
        "ids", nargs="*", metavar="ID", help="check: only these boards; power: ID on|off; flash: ID IMAGE"
    )
    parser.add_argument("--port", metavar="PORT|URL", help="check: a port instead of the map")
    parser.add_argument("--baud", type=_baud, metavar="RATE", help="check: its rate (default: 115200)")
    parser.add_argument("--boards", type=Path, metavar="FILE", help="the map (default: ./boards.toml, $HIL_BOARDS)")
    add_common(parser)
    parser.set_defaults(run=run)


def _baud(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a baud rate")
    return int(text)


def run(args: argparse.Namespace) -> int:
    if args.action in ("list", "detect") and args.ids:
        raise ConfigError(f"hil boards {args.action} takes no board", hint="hil boards check ID")
    if args.action != "check" and (args.port or args.baud):
        raise ConfigError(f"hil boards {args.action} takes no port", hint="hil boards check --port PORT")
    return _ACTIONS[args.action](args)


def _print_json(key: str, value: Any) -> None:
    sys.stdout.write(json.dumps({"schema": SCHEMA_VERSION, key: value}, indent=1, ensure_ascii=False) + "\n")


def _list(args: argparse.Namespace) -> int:
    from hil.board.boards import list_ports, load_boards, resolve_port

    boards = load_boards(args.boards, args.platform_path)
    ports = list_ports()
    rows = []
    for board_id, board in boards.items():
        try:
            port, state = resolve_port(board_id, board, ports), "there"
            if "://" in port:
                state = "not checked"
            elif not Path(port).exists():
                state = "missing"
        except LinkError as error:
            port, state = "", error.message.split(": ", 1)[-1]
        rows.append({"id": board_id, "platform": board.platform, "port": port, "state": state, "note": board.note})
    if args.json:
        _print_json("boards", rows)
    elif rows:
        _table(rows)
    else:
        console().print("no boards: there is no boards.toml; hil boards detect writes a stanza for it")
    return 0


def _detect(args: argparse.Namespace) -> int:
    from hil.board.boards import list_ports

    found = [port for port in list_ports() if port.vid is not None]  # a port without USB ids is the machine's own
    if args.json:
        _print_json("ports", [{**asdict(port), "stanza": _stanza(port, i)} for i, port in enumerate(found, 1)])
        return 0
    out = console()
    if not found:
        out.print("no USB serial port is here: plug a board in, or give hil boards check --port a URL")
    for i, port in enumerate(found, 1):
        out.print(f"# {port}", soft_wrap=True)
        out.print(_stanza(port, i), soft_wrap=True)
    return 0


def _stanza(port: PortInfo, number: int) -> str:
    """What to paste into boards.toml: by serial number where there is one, by USB location otherwise."""
    keys = {"vid": f"0x{port.vid:04x}", "pid": f"0x{port.pid:04x}"}
    if port.serial:
        keys["serial"] = json.dumps(port.serial)
    elif port.location:
        keys["location"] = json.dumps(port.location)
    match = ", ".join(f"{key} = {value}" for key, value in keys.items())
    return f'[boards.board{number}]\nplatform = "…"  # hil platforms\nmatch = {{ {match} }}\n'


@dataclass(frozen=True)
class _Answer:
    """What came of the check of one board."""

    id: str
    ok: bool
    port: str = ""
    vendor: str = ""
    firmware: str = ""
    model: str = ""
    features: tuple[str, ...] = ()
    clean: bool = False  # the link, until then
    error: str = ""
    hint: str = ""


def _check(args: argparse.Namespace) -> int:
    from hil.board.boards import get_board, load_boards, open_board
    from hil.board.session import open_session

    if args.port is not None:
        if args.ids:
            raise ConfigError("--port and board ids exclude each other", hint="hil boards check --port PORT")
        openers: dict[str, Callable[[], Session]] = {args.port: lambda: open_session(args.port, args.baud)}
    else:
        boards = load_boards(args.boards, args.platform_path)
        chosen = {board_id: get_board(boards, board_id) for board_id in args.ids} or boards
        if not chosen:
            raise ConfigError("no boards to check: there is no boards.toml", hint="hil boards check --port PORT")
        own = {"baud": args.baud} if args.baud is not None else {}
        openers = {
            board_id: partial(open_board, board_id, board.model_copy(update=own)) for board_id, board in chosen.items()
        }
    answers = [_ask(board_id, opener) for board_id, opener in openers.items()]
    if args.json:
        _print_json("boards", [asdict(answer) for answer in answers])
    else:
        _report(answers)
    return 0 if all(answer.ok for answer in answers) else LinkError.exit_code


def _ask(board_id: str, opener: Callable[[], Session]) -> _Answer:
    try:
        with opener() as session:
            who = session.connect()
            return _Answer(
                board_id, True, session.port, who.vendor, who.firmware, who.model, who.features, session.stats.clean
            )
    except HilError as error:
        return _Answer(board_id, False, error=error.message, hint=error.hint or "")


def _report(answers: list[_Answer]) -> None:
    from hil.report.tables import say

    out = console()
    for answer in answers:
        if answer.ok:
            extras = ", ".join(answer.features) or "a plain MLPerf Tiny board"
            shaky = "" if answer.clean else "; the link was not clean"
            say(out, f"{answer.id}: {answer.vendor}, {answer.firmware}, model {answer.model}, {extras}{shaky}")
        else:
            say(out, f"{answer.id}: FAILED: {answer.error}")
            if answer.hint:
                say(out, f"  {answer.hint}")


def _power(args: argparse.Namespace) -> int:
    from hil.board.boards import get_board, load_boards, switch_power

    if len(args.ids) != 2 or args.ids[1] not in ("on", "off"):
        raise ConfigError("hil boards power needs a board and on or off", hint="hil boards power ID on")
    board_id, state = args.ids
    switch_power(board_id, get_board(load_boards(args.boards, args.platform_path), board_id), on=state == "on")
    return 0


def _flash(args: argparse.Namespace) -> int:
    from hil.board.boards import flash_image, get_board, load_boards

    if len(args.ids) != 2:
        raise ConfigError("hil boards flash needs a board and an image", hint="hil boards flash ID firmware.elf")
    board_id, image = args.ids
    flash_image(board_id, get_board(load_boards(args.boards, args.platform_path), board_id), Path(image))
    return 0


def _table(rows: list[dict[str, str]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("id", "platform", "port", "state", "note"):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*row.values())
    console().print(table)


_ACTIONS = {"list": _list, "detect": _detect, "check": _check, "power": _power, "flash": _flash}
