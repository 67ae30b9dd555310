"""``hil sweep``: predict very many candidate networks on one platform."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hil.cli.common import add_common, add_targets, console, load_targets, verb

if TYPE_CHECKING:
    from hil.bench.sweep import Row, Source


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verb(
        verbs,
        "sweep",
        "predict many candidate networks on one platform: a template's grid or a folder of files",
        "hil sweep --template dscnn --width 8:64:8 --depth 1:4 --resolution 32,48 -p max78002 --out sweep.csv",
    )
    parser.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="a folder of .tflite files or layer lists")
    parser.add_argument("--template", default="cnn", help="cnn or dscnn (default: cnn)")
    parser.add_argument("--width", default="8:64:8", metavar="LIST", help="channels of a stage: 8,16 or FROM:TO[:STEP]")
    parser.add_argument("--stages", type=int, default=3, help="stages with a pooling between them (default: 3)")
    parser.add_argument("--depth", default="1:3", metavar="LIST", help="blocks per stage (default: 1:3)")
    parser.add_argument("--resolution", default="32", metavar="LIST", help="input side in pixels (default: 32)")
    parser.add_argument("--kernel", default="3", metavar="LIST", help="kernel side (default: 3)")
    parser.add_argument("--limit", type=int, default=1_000_000, help="most candidates (default: 1,000,000)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write a CSV with a row per candidate")
    add_targets(parser)
    add_common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from hil.bench.sweep import front, grid, sources_in, sweep, write_rows
    from hil.errors import ConfigError

    targets = load_targets(args.platform, args.operating_point, args.overrides, args.platform_path)
    if len(targets) != 1:
        raise ConfigError("a sweep takes one platform", hint="choose it with --platform ID")
    if args.folder is not None:
        if not args.folder.is_dir():
            raise ConfigError(f"{args.folder}: no such folder", hint="a folder of .tflite files or layer lists")
        sources: list[Source] = list(sources_in(args.folder))
    else:
        lists = (numbers(args.width), args.stages, numbers(args.depth), numbers(args.resolution), numbers(args.kernel))
        sources = list(grid(args.template, *lists, args.limit))
    started = time.monotonic()
    with _progress(len(sources)) as tell:
        rows = sweep(sources, targets[0], tell)
        kept = list(write_rows(rows, args.out) if args.out is not None else rows)
    seconds = time.monotonic() - started
    best = front(kept)
    if args.json:
        document = {
            "schema": 1,
            "platform": targets[0].id,
            "candidates": len(kept),
            "fit": sum(row.fits for row in kept),
            "seconds": seconds,
            "front": [{name: getattr(row, name) for name in row.__slots__} for row in best],
        }
        sys.stdout.write(json.dumps(document, indent=1) + "\n")
    else:
        _summary(kept, best, seconds, args.out)
    return 0


def numbers(text: str) -> list[int]:
    """``8,16,32`` or ``FROM:TO[:STEP]`` (TO included).  Raises ConfigError."""
    from hil.errors import ConfigError

    try:
        if ":" in text:
            first, last, *step = (int(part) for part in text.split(":"))
            found = list(range(first, last + 1, step[0] if step else 1))
        else:
            found = [int(part) for part in text.split(",")]
    except (ValueError, IndexError) as error:
        raise ConfigError(f"'{text}' is not a list of numbers", hint="such as 8,16,32 or 8:64:8") from error
    if not found:
        raise ConfigError(f"'{text}' holds no number", hint="such as 8,16,32 or 8:64:8")
    return found


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr, where that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("candidates", total=total)
        yield lambda done: bar.update(task, completed=done)


def _summary(rows: list[Row], best: list[Row], seconds: float, out: Path | None) -> None:
    from rich.table import Table

    from hil.units import format_count, format_si

    fits = sum(row.fits for row in rows)
    sys.stdout.write(f"{len(rows)} candidates in {seconds:.1f} s; {fits} fit; {len(best)} on the front\n")
    table = Table(box=None, pad_edge=False)
    table.add_column("most parameters for their latency", no_wrap=True)
    for name in ("MACs", "parameters", "CPU ops", "latency", "90 % interval", "energy"):
        table.add_column(name, justify="right", no_wrap=True)
    step = max(1, len(best) // 12)
    for row in best[::step]:
        table.add_row(
            row.network,
            format_count(row.macs),
            format_count(row.parameters),
            str(row.fallback_ops),
            format_si(row.latency_s, "s"),
            f"{format_si(row.latency_low_s, 's')} - {format_si(row.latency_high_s, 's')}",
            format_si(row.energy_j, "J"),
        )
    console().print(table)
    if out is not None:
        sys.stdout.write(f"all candidates: {out}\n")
