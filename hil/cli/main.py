"""``hil``: reads the command line, runs one verb, and turns errors into one line, a hint and an exit code."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from hil import __version__
from hil.cli import (
    analyze,
    bench,
    board,
    boards,
    calibrate,
    check,
    compare,
    data,
    doctor,
    energy,
    gate,
    meter,
    meters,
    networks,
    platforms,
    report,
    robot,
    sweep,
    validate,
)
from hil.errors import HilError

VERBS = (
    bench,
    compare,
    gate,
    analyze,
    check,
    networks,
    platforms,
    board,
    boards,
    meters,
    meter,
    energy,
    data,
    calibrate,
    validate,
    sweep,
    report,
    robot,
    doctor,
)

_EPILOG = """\
exit codes: 0 done, 1 disagrees or regressed, 2 usage or input, 3 something is missing here (see hil doctor),
4 the device failed

example:
  hil bench zoo:kws my_model.tflite --platform max78000,hx-we2 --out out/first
"""


def make_parser() -> argparse.ArgumentParser:
    """The parser with every verb."""
    parser = argparse.ArgumentParser(
        prog="hil",
        description="Benchmark neural networks on microcontroller-class NPUs, with or without the boards.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"hil {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb in VERBS:
        verb.add_parser(verbs)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = make_parser().parse_args(argv)
    if sys.stdout is None:
        sys.stderr.write("hil: there is no standard output to write to\n")
        return 2
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without µ gets a ?, not an error
    try:
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except HilError as error:
        if args.debug:
            raise
        sys.stderr.write(f"hil: {error.message}\n")
        if error.hint:
            sys.stderr.write(f"     {error.hint}\n")
        return error.exit_code
    except BrokenPipeError:
        # The reader (head, less) has gone: not an error.  Python would complain again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if args.debug:
            raise
        # Files of the user are read and written elsewhere; what arrives here is standard output.
        sys.stderr.write(f"hil: cannot write the output: {error.strerror or error}\n")
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except KeyboardInterrupt as interrupt:
        if argv is None:
            # This process ends now.  A second signal while it does (of an impatient user, of ``timeout`` to the whole
            # group) would end it by that signal, and with a traceback.
            with contextlib.suppress(KeyboardInterrupt):
                signal.signal(signal.SIGINT, signal.SIG_IGN)
        said = [*getattr(interrupt, "__notes__", ()), *_kept(args)]
        sys.stderr.write("; ".join(["hil: interrupted", *said]) + "\n")
        return 130


def _kept(args: argparse.Namespace) -> list[str]:
    """What an interrupted bench of several runs has finished.  Other verbs write at their end only, also a sweep."""
    folder: Path | None = getattr(args, "out", None)
    if args.verb != "bench" or folder is None:
        return []
    try:
        bench = json.loads((folder / "bench.json").read_bytes())
        resumes = bench["complete"] is False and len(bench["asked"]["networks"]) * len(bench["asked"]["platforms"]) > 1
        some = any((folder / "records").glob("*.json"))
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return ["what was finished is kept, the same command resumes"] if resumes and some else []
