"""``hil doctor``: what is installed here, what is missing, and how to get it."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass

from hil.cli.common import add_common, console, verb


@dataclass(frozen=True)
class Check:
    """One part: what it is for, what was found (None: missing), and how to get it."""

    name: str
    purpose: str
    found: str | None
    get: str
    optional: bool = True


def _package(distribution: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _program(*names: str) -> str | None:
    return next((path for name in names if (path := shutil.which(name)) is not None), None)


def _renode() -> str | None:
    from hil.emulator.renode.find import find_renode
    from hil.errors import UnavailableError

    try:
        renode = find_renode()
    except UnavailableError:
        return None
    return f"{renode.version}, {renode.path}"


# name, purpose, how to find it, how to get it, optional
_PARTS: tuple[tuple[str, str, Callable[[], str | None], str, bool], ...] = (
    ("numpy", "arrays", lambda: _package("numpy"), "pip install hil", False),
    ("simpy", "the simulated system", lambda: _package("simpy"), "pip install hil", False),
    ("pydantic", "platform files and records", lambda: _package("pydantic"), "pip install hil", False),
    ("pyserial", "boards on a port", lambda: _package("pyserial"), "pip install hil", False),
    ("LiteRT", "reference outputs of networks", lambda: _package("ai-edge-litert"), "pip install hil", False),
    ("Vela", "Ethos-U operator support and cycles", lambda: _package("ethos-u-vela"), "pip install 'hil[vela]'", True),
    ("TensorFlow", "rebuilding the zoo", lambda: _package("tensorflow"), "pip install 'hil[tf]'", True),
    ("pyarrow", "Parquet tables", lambda: _package("pyarrow"), "pip install 'hil[parquet]'", True),
    (
        "QEMU (Arm)",
        "emulated boards with Cortex-M cores",
        lambda: _program("qemu-system-arm"),
        "apt install qemu-system-arm",
        True,
    ),
    (
        "QEMU (RISC-V)",
        "emulated boards with RISC-V cores",
        lambda: _program("qemu-system-riscv32") and _program("qemu-system-riscv64"),
        "apt install qemu-system-misc",
        True,
    ),
    ("Renode", "emulated boards", _renode, "renode.io, 1.16.1 or newer; set HIL_RENODE", True),
    (
        "Arm compiler",
        "changing the firmware",
        lambda: _program("arm-none-eabi-gcc"),
        "apt install gcc-arm-none-eabi libnewlib-arm-none-eabi",
        True,
    ),
    (
        "RISC-V compiler",
        "changing the firmware",
        lambda: _program("riscv64-unknown-elf-gcc"),
        "apt install gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf",
        True,
    ),
    ("ruptures", "phases in a trace without a wire", lambda: _package("ruptures"), "pip install 'hil[meters]'", True),
    (
        "Joulescope",
        "the instrument",
        lambda: _package("pyjoulescope_driver"),
        "pip install 'hil[joulescope]'",
        True,
    ),
    ("Otii", "the instrument", lambda: _package("otii-tcp-client"), "pip install 'hil[otii]'", True),
    ("Monsoon", "the instrument", lambda: _package("Monsoon"), "pip install 'hil[monsoon]'", True),
    (
        "Robot Framework",
        "the suites in robot/",
        lambda: _package("robotframework"),
        "pip install 'hil[robot]'",
        True,
    ),
)


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verb(verbs, "doctor", "list what is installed here and how to get the rest", "hil doctor --json")
    add_common(parser)
    parser.set_defaults(run=run)


def checks() -> list[Check]:
    """All parts, looked up now; packages are found without importing them."""
    return [Check(name, purpose, find(), get, optional) for name, purpose, find, get, optional in _PARTS]


def run(args: argparse.Namespace) -> int:
    found = checks()
    if args.json:
        sys.stdout.write(json.dumps({"schema": 1, "checks": [asdict(check) for check in found]}, indent=1) + "\n")
    else:
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for name in ("part", "for", "found", "how to get it"):
            table.add_column(name, overflow="fold")
        for check in found:
            table.add_row(check.name, check.purpose, check.found or "missing", "" if check.found else check.get)
        console().print(table)
    return 3 if any(check.found is None and not check.optional for check in found) else 0
