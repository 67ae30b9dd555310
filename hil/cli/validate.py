"""``hil validate``: predict every measured network from a fit without it, and say how far off that is."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hil.cli.calibrate import fit_platforms
from hil.cli.common import add_common, add_data, console, verb

if TYPE_CHECKING:
    from hil.calibrate.validate import Line
    from hil.cost.artefact import Errors

# Column heads of the naive models.
_NAIVE = {"peak": "MACs / peak", "MACs": "MACs scaled", "M+P": "MACs + parameters", "tool": "vendor tool"}


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verb(
        verbs,
        "validate",
        "hold out every measured network and compare predictions with measurements",
        "hil validate max78002 --out out/validation",
    )
    parser.add_argument("platforms", nargs="*", default=["all"], metavar="PLATFORM|all")
    add_data(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="write validation.json and plots there")
    parser.add_argument("--strict", action="store_true", help="exit with 1 where a platform misses its bars")
    add_common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from hil.calibrate.validate import document, lines_of, points_of, write_plots
    from hil.files import write_atomic

    fits = [fit for _, unit_fits in fit_platforms(args.platforms, args.data, args.platform_path) for fit in unit_fits]
    lines, points = lines_of(fits), points_of(fits)
    found = document(lines, points)
    text = json.dumps(found, indent=1) + "\n"
    if args.json:
        sys.stdout.write(text)
    else:
        print_lines(lines)
        for quantity, figures in found["overall"].items():
            sys.stdout.write(
                f"all {quantity}: median {figures['median_ape']:.1%}, 90th percentile {figures['p90_ape']:.1%}, "
                f"bias {figures['bias']:+.1%}, 90 % intervals hold {figures['coverage_90']:.0%}\n"
            )
        ranking = found["ranking"]
        if ranking["pairs"]:
            share = f"{ranking['pairs_right']:.0%} of {ranking['pairs']:.0f} pairs"
            sys.stdout.write(f"the faster of two platforms is predicted right for {share}\n")
    if args.out is not None:
        write_atomic(args.out / "validation.json", text.encode())
        try:
            files = write_plots(points, args.out)
        except ModuleNotFoundError:
            sys.stderr.write("hil: no plots: matplotlib is missing (pip install 'hil[plots]')\n")
        else:
            sys.stderr.write(f"hil: written: {', '.join(str(file) for file in files)}\n")
    return 1 if args.strict and any(line.verdict == "MISS" for line in lines) else 0


def print_lines(lines: list[Line]) -> None:
    """The table: held-out errors, coverage, and the medians of the naive models on the same folds."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("platform", "stack", "of"):
        table.add_column(name, no_wrap=True)
    for name in ("nets", "rows", "med", "p90", "infer", "p90", "bias", "in90", "arch", *_NAIVE):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("bars", no_wrap=True)
    for line in lines:
        held, inference, unseen = line.held_out, line.inference, line.unseen
        table.add_row(
            line.platform,
            line.stack,
            {"latency_s": "t", "energy_j": "E"}[line.quantity],
            str(line.networks),
            str(line.rows),
            *_errors(held),
            *_errors(inference),
            f"{held.bias:+.0%}" if held else "-",
            f"{held.coverage_90:.0%}" if held else "-",
            _errors(unseen)[0],
            *(_share(line.naive.get(name)) for name in _NAIVE.values()),
            line.verdict,
        )
    console().print(table)
    sys.stdout.write(
        "t latency, E energy.  med, p90, bias: error of networks held out with twins; infer, p90: of rows that"
        "\nhold an inference; in90: share inside the 90 % interval; arch: median with whole architectures held out."
        "\nNaive models on the same folds, median: MACs over peak, MACs times a factor, M+P MACs and"
        "\nparameters fitted, tool the vendor's own.  bars: 10 % / 30 % for t, 15 % / 35 % for E, 85-95 % inside.\n"
    )


def _errors(errors: Errors | None) -> tuple[str, str]:
    return (f"{errors.median_ape:.0%}", f"{errors.p90_ape:.0%}") if errors is not None else ("-", "-")


def _share(value: float | None) -> str:
    return f"{value:.0%}" if value is not None else "-"
