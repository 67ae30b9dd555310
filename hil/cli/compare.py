"""``hil compare``: do two benchmarks, or a benchmark and publications, agree within a tolerance?"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from hil.cli.common import add_common, add_data, console, verb

_EXIT = {"agree": 0, "marginal": 0, "disagree": 1, "incomparable": 2}


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verb(
        verbs,
        "compare",
        "compare the figures of two benchmarks, or of one with published measurements",
        "hil compare published out/first --tolerance latency=10% energy=20% --plot out/parity.svg",
    )
    for side, help_text in (("a", "the reference"), ("b", "what is compared with it")):
        parser.add_argument(
            side,
            metavar=side.upper(),
            help=f"{help_text}: a record file, a folder that hil bench --out wrote, or the word published",
        )
    parser.add_argument(
        "--tolerance",
        nargs="+",
        action="extend",
        default=[],
        metavar="METRIC[.PHASE]=SHARE",
        help="before those of the platform files: latency=10%% energy=20%% latency.inference=5%%",
    )
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write a JUnit test case per verdict")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="write parity and difference against size: .svg, .png"
    )
    add_data(parser)
    add_common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from hil.compare.junit import junit_xml
    from hil.compare.match import PUBLISHED, load_side
    from hil.compare.tolerance import parse_tolerances
    from hil.compare.verdict import compare, document
    from hil.errors import ConfigError
    from hil.files import write_atomic
    from hil.report.compare import comparison_cases, print_comparison, write_plot

    if args.data and PUBLISHED not in (args.a, args.b):
        raise ConfigError("--data joins the published measurements, and neither side is these", hint=f"A: {PUBLISHED}")
    tolerances = parse_tolerances(args.tolerance)
    a, b = (load_side(name, args.data) for name in (args.a, args.b))
    found = compare(a, b, tolerances, args.platform_path)
    if args.json:
        sys.stdout.write(json.dumps(document(found), indent=1, ensure_ascii=False) + "\n")
    else:
        print_comparison(found, console())
    if args.junit is not None:
        write_atomic(args.junit, junit_xml(f"hil compare {args.a} {args.b}", comparison_cases(found)))
    if args.plot is not None:
        write_plot(found, args.plot)
        sys.stderr.write(f"hil: written: {args.plot}\n")
    return _EXIT[found.outcome]
