"""``hil energy``: energy by phase from a power trace, wherever it comes from."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from hil.cli.common import add_common, console, verb
from hil.cli.meter import add_trace, open_trace


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verb(
        verbs,
        "energy",
        "integrate a power trace by phase: gross and above idle, with intervals",
        "hil energy ppk2.csv --voltage 3.3V --site 'whole board' --phases phases.csv --edges",
    )
    add_trace(parser)
    parser.add_argument("--phases", type=Path, metavar="FILE", help="CSV name,start_s,end_s[,inferences]")
    parser.add_argument(
        "--edges",
        action="store_true",
        help="phases are in the board's time, and its line changed at every border: align by that",
    )
    parser.add_argument("--scope", metavar="TEXT", help="what the figures are to be of; another site is an error")
    parser.add_argument("--tolerance", default="5%", metavar="SHARE", help="what they must be good for (default: 5%%)")
    add_common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from hil.errors import ConfigError, MeterError
    from hil.meter.align import Evidence, align, same_clock
    from hil.meter.energy import PhaseWindow, energy_by_phase
    from hil.meter.phases import read_phases
    from hil.meter.trace import SampleTimes

    try:
        tolerance = float(args.tolerance.removesuffix("%")) / (100 if args.tolerance.endswith("%") else 1)
    except ValueError:
        raise ConfigError(f"--tolerance {args.tolerance}: not a share", hint="such as 5%") from None
    trace = open_trace(args)
    times = SampleTimes(trace)
    if args.phases is not None:
        work, idle = read_phases(args.phases)
    else:
        work, idle = [PhaseWindow("all", times.first_s, times.last_s)], []
    alignment = same_clock()
    if args.edges:
        borders = sorted({edge for window in work for edge in (window.start_s, window.end_s)})
        alignment = align(trace, Evidence(borders))
    refused: dict[str, MeterError] = {}
    found = energy_by_phase(trace, work, alignment, scope=args.scope, idle=idle, tolerance=tolerance, refused=refused)
    if args.json:
        document = {
            "schema": 1,
            "alignment": alignment.describe(),
            "phases": {name: asdict(energy) for name, energy in found.items()},
            "refused": {name: error.message for name, error in refused.items()},
        }
        sys.stdout.write(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    else:
        from hil.report.traces import print_energies

        if found:
            print_energies(found, alignment.describe(), console())
    for note in trace.notes:
        sys.stderr.write(f"hil: note: {note}\n")
    for error in refused.values():
        sys.stderr.write(f"hil: {error.message}{f' ({error.hint})' if error.hint else ''}\n")
    return MeterError.exit_code if refused else 0
