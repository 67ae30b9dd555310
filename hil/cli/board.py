"""``hil board emulate``: a port behind which a platform answers, for hil, a terminal, or any MLPerf Tiny runner."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hil.cli.common import add_common, add_operating_point, cache_dir, load_networks, load_targets, verb

if TYPE_CHECKING:
    from types import FrameType

    from hil.emulator.board import EmulatedBoard

_ENGINES = ("qemu", "renode", "python")
_POLL_S = 0.2
# What to know of an engine, whatever it runs.
_NOTES = {
    "renode": "Renode's own server for commands listens on all interfaces of this machine: use a firewall on a network "
    "that others share"
}


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verb(verbs, "board", "be a board", "hil board emulate max78000 --network zoo:kws --pty /tmp/max78000")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    emulate = verb(
        actions,
        "emulate",
        "open a port behind which a platform answers the MLPerf Tiny protocol, in virtual time",
        "hil board emulate max78000 --network zoo:kws --pty /tmp/max78000",
    )
    emulate.add_argument("platform", metavar="PLATFORM", help="a platform (see hil platforms)")
    emulate.add_argument(
        "--network", default="zoo:digits", metavar="FILE|zoo:NAME", help="what it runs (default: zoo:digits)"
    )
    emulate.add_argument("--engine", choices=_ENGINES, default="qemu", help="what emulates it (default: qemu)")
    where = emulate.add_mutually_exclusive_group()
    where.add_argument("--pty", type=Path, metavar="PATH", help="a link to the serial port (default: a temporary one)")
    where.add_argument("--tcp", type=_port, metavar="PORT", help="a TCP port of 127.0.0.1 instead; 0: any free one")
    add_operating_point(emulate)
    add_common(emulate)
    emulate.set_defaults(run=run)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is not a port from 0 to 65535")
    return int(text)


def run(args: argparse.Namespace) -> int:
    from hil.emulator.board import EmulatedBoard
    from hil.emulator.expose import expose
    from hil.emulator.process import Workspace
    from hil.errors import ConfigError, LinkError
    from hil.plan import make_plan

    networks = load_networks([args.network])
    targets = load_targets(args.platform, args.operating_point, args.overrides, args.platform_path)
    if len(networks) != 1 or len(targets) != 1:
        raise ConfigError("a board is one platform that runs one network", hint="hil board emulate max78000")
    plan = make_plan(networks[0], targets[0], vela_cache=cache_dir())
    signal.signal(signal.SIGTERM, _stop)
    with Workspace() as space:
        board = EmulatedBoard.of_plan(plan, args.engine, space, args.tcp or 0, args.platform_path)
        try:
            way_in = expose(board.url, space, pty=args.pty, tcp=args.tcp)
            try:
                _announce(args, board, way_in.name)
                while board.ended() is None and not way_in.wait(_POLL_S):
                    pass
            finally:
                way_in.close()
            why = board.ended()
        except KeyboardInterrupt:
            return 0
        finally:
            board.close()
        raise LinkError(f"the board stopped: {why or 'its engine closed the port'}")


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _announce(args: argparse.Namespace, board: EmulatedBoard, port: str) -> None:
    plan = board.plan
    notes = [*board.notes, *([_NOTES[args.engine]] if args.engine in _NOTES else [])]
    if args.json:
        facts = {
            "schema": 1,
            "port": port,
            "platform": plan.target.id,
            "operating_point": plan.target.operating_point,
            "network": plan.network.name,
            "engine": args.engine,
            "notes": notes,
        }
        sys.stdout.write(json.dumps(facts) + "\n")
    else:
        target = plan.target
        sys.stdout.write(f"{target.id} at {target.operating_point} runs {plan.network.name} ({args.engine})\n")
        sys.stdout.write(f"port: {port}\n")
        sys.stdout.writelines(f"note: {note}\n" for note in notes)
        sys.stdout.write("Ctrl-C stops it.\n")
    sys.stdout.flush()
