"""``hil gate``: did anything get worse since the baseline?  For CI."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from hil.cli.common import add_common, console, verb


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verb(
        verbs,
        "gate",
        "fail where a benchmark got worse: slower, off the NPU, too big, wrong or gone",
        "hil gate results/baseline out/today --threshold 5% --junit out/gate.xml",
    )
    parser.add_argument("baseline", metavar="BASELINE", help="a record file, or a folder that hil bench --out wrote")
    parser.add_argument("new", metavar="NEW", help="the same benchmark now")
    parser.add_argument(
        "--threshold", default="5%", metavar="SHARE", help="changes of time and energy up to this pass (default 5%%)"
    )
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write a JUnit test case per regression")
    add_common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from hil.compare.gate import document, gate
    from hil.compare.junit import junit_xml
    from hil.compare.match import load_side
    from hil.files import write_atomic
    from hil.report.compare import gate_cases, print_gate
    from hil.units import parse_quantity

    threshold = parse_quantity(args.threshold, "%")
    result = gate(load_side(args.baseline), load_side(args.new), threshold, args.platform_path)
    if args.json:
        sys.stdout.write(json.dumps(document(result), indent=1, ensure_ascii=False) + "\n")
    else:
        print_gate(result, console())
    if args.junit is not None:
        write_atomic(args.junit, junit_xml(f"hil gate {args.baseline} {args.new}", gate_cases(result)))
    return 0 if result.passed else 1
