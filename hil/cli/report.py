"""``hil report``: the HTML page and tables of a folder of results."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hil.cli.common import add_common, cache_dir, console, verb


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verb(verbs, "report", "print and plot a folder of results", "hil report out/first --html out/first.html")
    parser.add_argument("folder", type=Path, metavar="DIR", help="a folder that hil bench --out wrote")
    parser.add_argument("--html", type=Path, metavar="FILE", help="where to write the page (default: DIR/report.html)")
    add_common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from hil.bench import Store, to_json
    from hil.report.page import write_page
    from hil.report.tables import print_duty, print_runs, say

    runs = Store(args.folder).load()
    if args.json:
        sys.stdout.write(to_json(runs))
        return 0
    if not Store(args.folder).complete:
        sys.stderr.write(f"hil: {args.folder}: this bench was not finished; the same hil bench command resumes it\n")
    page = args.html or args.folder / "report.html"
    write_page(runs, page, args.platform_path, cache_dir())
    out = console()
    print_runs(runs, out)
    print_duty(runs, out)
    say(out, f"page: {page}")
    return 0
