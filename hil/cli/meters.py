"""``hil meters``: the power meters that are attached, and those that hil knows."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from hil.cli.common import add_common, console, verb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hil.meter.accuracy import StoredCheck
    from hil.meter.registry import Found


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verb(verbs, "meters", "list the power meters that are attached, and those that hil knows", "hil meters")
    add_common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from hil.meter.registry import METERS, list_meters

    found, checks = list_meters(), _checks()
    if args.json:
        known = {name: entry.title for name, entry in METERS.items()}
        attached = [
            {**asdict(meter), "check": _document(check) if (check := _check_of(meter, checks)) is not None else None}
            for meter in found
        ]
        document = {"schema": 1, "attached": attached, "known": known, "checks": [_document(check) for check in checks]}
        sys.stdout.write(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        return 0
    from rich.table import Table

    from hil.report.traces import describe_accuracy

    out = console()
    for meter in found:
        out.print(f"{meter.spec}: {meter.title}{', serial ' + meter.serial if meter.serial else ''}", soft_wrap=True)
        check = _check_of(meter, checks)
        out.print(
            f"  {describe_accuracy(check.accuracy, check.date)}" if check else "  never checked: hil meter check",
            soft_wrap=True,
        )
    if not found:
        out.print("no meter is attached that could be recognised; known:")
    table = Table(box=None, pad_edge=False)
    for name in ("--meter", "instrument"):
        table.add_column(name)
    for name, entry in METERS.items():
        table.add_row(f"{name}:{entry.address}" if entry.address else name, entry.title)
    out.print(table)
    for check in checks:
        if not any(_is_of(check, meter) for meter in found):
            text = f"{check.model} {check.serial}, not seen here: {describe_accuracy(check.accuracy, check.date)}"
            out.print(text, soft_wrap=True)
    return 0


def _check_of(meter: Found, checks: Sequence[StoredCheck]) -> StoredCheck | None:
    return next((check for check in checks if _is_of(check, meter)), None)


def _is_of(check: StoredCheck, meter: Found) -> bool:
    """Whether a check is of this very instrument: serial numbers count per model.

    An instrument says its model once it is opened (X-NUCLEO-LPM01A, JS220); its name and title here hold that word.
    """
    model, name, title = map(_letters, (check.model, meter.spec.partition(":")[0], meter.title))
    return bool(meter.serial) and check.serial == meter.serial and (name in model or model in title)


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text)).casefold()


def _checks() -> list[StoredCheck]:
    """The stored checks against known resistors; of one that cannot be read only a word."""
    from hil.meter.accuracy import checks_folder, read_check, stored_checks
    from hil.meter.errors import FormatError

    found = []
    for path in stored_checks(checks_folder()):
        try:
            found.append(read_check(path))
        except FormatError as error:
            sys.stderr.write(f"hil: {error.message}\n")
    return found


def _document(check: StoredCheck) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(check), "path": str(check.path)}
