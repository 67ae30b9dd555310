"""``hil robot``: run the Robot Framework suites that come with hil, on what is here or on a board."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hil.cli.common import add_common, console, verb
from hil.errors import ConfigError, UnavailableError

if TYPE_CHECKING:
    from hil.robot.suites import Summary

_EXAMPLE = "hil robot protocol --port /dev/ttyACM0\n  hil robot cross_validation --platform max78000,hx-we2"
_SHOWN_FAILURES = 20


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verb(verbs, "robot", "run Robot Framework suites: conformance, emulation, cross-validation", _EXAMPLE)
    parser.add_argument(
        "suites",
        nargs="*",
        metavar="SUITE",
        help="protocol, emulation, platforms, power, cross_validation, calibration, or your own files (default: all)",
    )
    parser.add_argument("--platform", "-p", metavar="ID[,ID…]", help="only these platforms")
    parser.add_argument("--backend", metavar="NAME[,…]", help="only these: python, qemu, renode, analytic")
    parser.add_argument(
        "--port", metavar="PORT", help="a board: the protocol suite runs on it instead of emulated ones"
    )
    parser.add_argument(
        "--variable", action="append", default=[], metavar="NAME:VALUE", help="a variable of a suite, as Robot has it"
    )
    parser.add_argument("--include", action="append", default=[], metavar="TAG", help="only tests with this tag")
    parser.add_argument("--exclude", action="append", default=[], metavar="TAG", help="no tests with this tag")
    parser.add_argument("--out", type=Path, default=Path("out/robot"), metavar="DIR", help="log, report, xUnit")
    add_common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if importlib.util.find_spec("robot") is None:
        raise UnavailableError("Robot Framework is not installed", hint="pip install 'hil[robot]'")
    from hil.platform.loader import ENV_PATH
    from hil.robot.cases import Selection
    from hil.robot.suites import OUTPUT, run_suites, suite_paths, summarize

    if args.platform_path:  # libraries of the suites look for platforms as every part of hil does
        own = [str(folder.absolute()) for folder in args.platform_path]
        os.environ[ENV_PATH] = os.pathsep.join([*own, *filter(None, [os.environ.get(ENV_PATH)])])
    asked = {"PLATFORM": args.platform, "BACKEND": args.backend, "PORT": args.port}
    variables = {name: value for name, value in asked.items() if value}
    for item in args.variable:
        name, colon, value = item.partition(":")
        if not colon:
            raise ConfigError(f"--variable {item}: not NAME:VALUE", hint="such as --variable NETWORKS:zoo:kws")
        variables[name] = value
    Selection.of(variables).check()
    (args.out / OUTPUT).unlink(missing_ok=True)
    options = {"include": args.include, "exclude": args.exclude, "console": "none" if args.json else "dotted"}
    code = run_suites(suite_paths(args.suites), variables, args.out, options)
    if (args.out / OUTPUT).is_file():
        summary = summarize(args.out)
        _print_json(summary, args.out, code) if args.json else _print(summary, args.out)
    return code


def _print(summary: Summary, folder: Path) -> None:
    from hil.report.tables import say

    out = console()
    for name, message in summary.failures[:_SHOWN_FAILURES]:
        say(out, f"FAILED {name}")
        for line in message.splitlines():
            say(out, f"  {line}")
    if len(summary.failures) > _SHOWN_FAILURES:
        say(out, f"and {len(summary.failures) - _SHOWN_FAILURES} more: see the log")
    for reason, count in summary.skipped.most_common():
        say(out, f"skipped {count}: {reason}")
    known = f" ({summary.known} of them documented disagreements)" if summary.known else ""
    say(out, f"{summary.passed} passed{known}, {summary.failed} failed, {sum(summary.skipped.values())} skipped")
    say(out, f"log, report and xUnit: {folder}")


def _print_json(summary: Summary, folder: Path, code: int) -> None:
    document = {
        "schema": 1,
        "exit_code": code,
        "passed": summary.passed,
        "failed": summary.failed,
        "known_disagreements": summary.known,
        "skipped": dict(summary.skipped.most_common()),
        "failures": [{"test": name, "message": message} for name, message in summary.failures],
        "folder": str(folder),
    }
    sys.stdout.write(json.dumps(document, indent=1) + "\n")
