"""What several verbs share: options, naming of networks and platforms, and the console."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hil.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from rich.console import Console

    from hil.network import Network
    from hil.platform import Target

ZOO_PREFIX = "zoo:"
TABLE_WIDTH = 100


def add_common(parser: argparse.ArgumentParser, *, json: bool = True) -> None:
    """Options of every verb."""
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument(
        "--platform-path",
        action="append",
        type=Path,
        default=[],
        metavar="DIR",
        help="a folder of your own platforms, before the shipped ones; may be repeated",
    )
    if json:
        parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def add_targets(parser: argparse.ArgumentParser) -> None:
    """Options that choose platforms and operating points."""
    parser.add_argument(
        "--platform", "-p", default="all", metavar="ID[,ID…]", help="platforms, separated by commas, or all (default)"
    )
    add_operating_point(parser)


def add_operating_point(parser: argparse.ArgumentParser) -> None:
    """Options that choose clocks and voltages, and change single figures."""
    parser.add_argument("--operating-point", metavar="NAME", help="a named operating point of the platforms")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="KEY=VALUE",
        help="override a figure: npu.clock_hz=30MHz, supply_v=1.0, memories.sram.size_bytes=64KiB; may be repeated",
    )


def add_data(parser: argparse.ArgumentParser) -> None:
    """The option that joins a user's own measurements."""
    parser.add_argument(
        "--data",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="your own measurements: a CSV like calibration/measurements.csv, or a run record; may be repeated",
    )


def verb(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser], name: str, help_text: str, example: str
) -> argparse.ArgumentParser:
    """A verb's parser with its help and an example."""
    return verbs.add_parser(
        name,
        help=help_text,
        description=help_text[0].upper() + help_text[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def load_networks(names: Sequence[str]) -> list[Network]:
    """Networks named on the command line: ``zoo:NAME``, ``zoo:all``, or files.  Names are made unique."""
    from dataclasses import replace

    from hil import zoo
    from hil.network.load import load_network

    networks: list[Network] = []
    for name in names:
        if name in (f"{ZOO_PREFIX}all", ZOO_PREFIX):
            networks += [zoo.load(member) for member in zoo.names()]
        elif name.startswith(ZOO_PREFIX):
            networks.append(zoo.load(name.removeprefix(ZOO_PREFIX)))
        elif name in zoo.names() and not Path(name).exists():
            networks.append(zoo.load(name))
        else:
            networks.append(load_network(Path(name)))
    taken: set[str] = set()
    unique = []
    for network in networks:
        name, count = network.name, 1
        while name in taken:
            count += 1
            name = f"{network.name}-{count}"
        taken.add(name)
        unique.append(network if name == network.name else replace(network, name=name))
    return unique


def load_targets(
    chosen: str, operating_point: str | None, overrides: Sequence[str], extra: Sequence[Path]
) -> list[Target]:
    """Targets named on the command line.  Raises ConfigError or PlatformError."""
    from hil.platform import load_platform, make_target, platform_files

    known = list(platform_files(extra))
    ids = known if chosen == "all" else [part.strip() for part in chosen.split(",") if part.strip()]
    if not ids:
        raise ConfigError("--platform names no platform", hint=did_you_mean(chosen, known))
    items = parse_overrides(overrides)
    return [
        make_target(load_platform(platform_id, extra), operating_point, items) for platform_id in dict.fromkeys(ids)
    ]


def parse_overrides(items: Sequence[str]) -> Mapping[str, str]:
    """``KEY=VALUE`` items of ``--set``.  Raises ConfigError."""
    overrides: dict[str, str] = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key or not value:
            raise ConfigError(f"--set {item}: not KEY=VALUE", hint="such as --set npu.clock_hz=30MHz")
        overrides[key.strip()] = value.strip()
    return overrides


def console() -> Console:
    """The console for tables: at most 100 columns, plain where the output is not a terminal."""
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would exit with 1; the command line knows better

    plain = Plain(width=None if sys.stdout.isatty() else TABLE_WIDTH, highlight=False, markup=False)
    return plain if plain.width <= TABLE_WIDTH else Plain(width=TABLE_WIDTH, highlight=False, markup=False)


def cache_dir() -> Path:
    """Where compiler results are kept between runs: ``$HIL_CACHE``, else the user's cache folder."""
    own = os.environ.get("HIL_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "hil" / "vela"
