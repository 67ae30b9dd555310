"""``hil meters``: the power meters that are attached, and those that hil knows."""

from __future__ import annotations

import argparse
import json
import sys

from hil.cli.common import add_common, console, verb


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verb(verbs, "meters", "list the power meters that are attached, and those that hil knows", "hil meters")
    add_common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from hil.meter.registry import METERS, list_meters

    found = list_meters()
    if args.json:
        known = {name: entry.title for name, entry in METERS.items()}
        document = {"schema": 1, "attached": [asdict(meter) for meter in found], "known": known}
        sys.stdout.write(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        return 0
    from rich.table import Table

    out = console()
    for meter in found:
        out.print(f"{meter.spec}: {meter.title}{', serial ' + meter.serial if meter.serial else ''}", soft_wrap=True)
    if not found:
        out.print("no meter is attached that could be recognised; known:")
    table = Table(box=None, pad_edge=False)
    for name in ("--meter", "instrument"):
        table.add_column(name)
    for name, entry in METERS.items():
        table.add_row(f"{name}:{entry.address}" if entry.address else name, entry.title)
    out.print(table)
    return 0
