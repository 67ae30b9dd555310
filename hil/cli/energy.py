"""``hil energy``: energy by phase from power traces, wherever they come from."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil.cli.common import add_common, console, verb
from hil.cli.meter import add_trace_format, beside, open_trace

if TYPE_CHECKING:
    from hil.errors import MeterError
    from hil.meter.accuracy import Accuracy
    from hil.meter.align import Alignment
    from hil.meter.energy import PhaseEnergy, PhaseWindow, Regulator
    from hil.meter.types import MeterInfo, Trace

_EXAMPLE = """\
hil energy ppk2.csv --voltage 3.3V --site 'whole board' --phases phases.csv --edges
  hil energy board.trace --regulator 'chip supply=0.90+-0.02'       # what is behind a regulator
  hil energy core.trace io.trace --rails 'chip supply' --phases phases.csv --edges"""
_REGULATOR = re.compile(r"(.+?)\s*=\s*([\d.]+%?)\s*(?:±|\+-|\+/-)\s*([\d.]+%?)")


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verb(verbs, "energy", "integrate power traces by phase: gross and above idle, with intervals", _EXAMPLE)
    parser.add_argument(
        "traces",
        type=Path,
        nargs="+",
        metavar="TRACE",
        help="a trace of hil, or a file of another tool; several: rails",
    )
    add_trace_format(parser)
    parser.add_argument(
        "--voltage",
        action="append",
        metavar="VOLTAGE",
        help="the supply, for files without one: 3.3V; one, or per trace",
    )
    parser.add_argument(
        "--site",
        action="append",
        metavar="SITE",
        help="what the current flows into, for files of other tools; per trace",
    )
    parser.add_argument(
        "--phases",
        type=Path,
        metavar="FILE",
        help="CSV name,start_s,end_s[,inferences] (default: phases.csv in TRACE, else all of it)",
    )
    clocks = parser.add_mutually_exclusive_group()
    clocks.add_argument(
        "--edges",
        action="store_true",
        help="phases are in the board's time, and its line changed at every border: align by that",
    )
    clocks.add_argument(
        "--laps",
        type=int,
        metavar="BAUD",
        help="phases are in the board's time, and the meter heard its laps on the serial port: align by these lines",
    )
    parser.add_argument(
        "--check",
        default="auto",
        metavar="FILE",
        help="the meter's resistor check; none: without (default: the stored one)",
    )
    parser.add_argument(
        "--regulator",
        metavar="SITE=EFF+-SD",
        help="what is asked for lies behind a regulator: 'chip supply=0.90+-0.02', one standard uncertainty",
    )
    parser.add_argument("--rails", metavar="SITE", help="what the sites of several traces add up to")
    parser.add_argument("--scope", metavar="TEXT", help="what the figures are to be of; another site is an error")
    parser.add_argument(
        "--tolerance",
        metavar="SHARE",
        help="what they must be good for (default: 5%%; in a benchmark's own phases, 25%% around the inference)",
    )
    add_common(parser)
    parser.set_defaults(run=run)


@dataclass(frozen=True)
class _Part:
    """One trace and what it gave.  ``refused`` says why a phase has no figure."""

    trace: Trace
    aligned: str
    accuracy: Accuracy
    accuracy_date: str
    found: Mapping[str, PhaseEnergy]
    refused: Mapping[str, MeterError]
    too_short: frozenset[str]  # those among them that a benchmark passes over too


def run(args: argparse.Namespace) -> int:
    from hil.errors import ConfigError
    from hil.meter.energy import add_rails, check_scope
    from hil.units import parse_quantity

    tolerance = parse_quantity(args.tolerance, "%") if args.tolerance is not None else None
    if len(args.traces) > 1 and args.rails is None:
        raise ConfigError(f"{len(args.traces)} traces", hint="say what their sites add up to: --rails 'chip supply'")
    if args.rails is not None and (len(args.traces) < 2 or args.regulator is not None):
        raise ConfigError(
            "--rails adds up two traces or more, and knows no regulator", hint="measure each rail behind its regulator"
        )
    if (args.edges or args.laps is not None) and args.phases is None:
        raise ConfigError("phases in the board's time are not in the trace", hint="give them: --phases FILE")
    if args.laps is not None and args.laps < 1:
        raise ConfigError(f"--laps {args.laps}: expected a baud rate above 0", hint="such as --laps 115200")
    traces = _opened(args)
    parts = [_integrated(args, path, trace, tolerance) for path, trace in zip(args.traces, traces, strict=True)]
    if args.rails is None:
        found: Mapping[str, PhaseEnergy] = parts[0].found
    else:
        if args.scope is not None:
            check_scope(args.rails, args.scope)
        whole = [name for name in parts[0].found if all(name in part.found for part in parts)]
        found = add_rails([{name: part.found[name] for name in whole} for part in parts], args.rails)
    refused = [(part, name, error) for part in parts for name, error in part.refused.items()]
    if args.json:
        sys.stdout.write(json.dumps(_document(args, parts, found), indent=1, ensure_ascii=False) + "\n")
    else:
        _print(args, parts, found)
    for part in parts:
        for note in part.trace.notes:
            sys.stderr.write(f"hil: note: {note}\n")
    for part, _, error in refused:
        where = f"{part.trace.site}: " if args.rails is not None else ""
        sys.stderr.write(f"hil: {where}{error.message}{f' ({error.hint})' if error.hint else ''}\n")
    return max((error.exit_code for part, name, error in refused if name not in part.too_short), default=0)


def _opened(args: argparse.Namespace) -> list[Trace]:
    """The traces, each with its own site and voltage where they are given one by one."""
    from hil.errors import ConfigError
    from hil.meter.energy import check_rails

    count = len(args.traces)
    each: dict[str, list[Any]] = {}
    for option in ("site", "voltage"):
        given = getattr(args, option) or [{"site": "unknown", "voltage": None}[option]]
        if len(given) not in (1, count):
            raise ConfigError(f"--{option}: {len(given)} given for {count} traces", hint="one for all, or one for each")
        each[option] = given * count if len(given) == 1 else given
    traces = [
        open_trace(path, args.format, args.columns, site=site, voltage=voltage)
        for path, site, voltage in zip(args.traces, each["site"], each["voltage"], strict=True)
    ]
    if args.rails is not None:
        check_rails([trace.site for trace in traces], args.rails)
    return traces


def _integrated(args: argparse.Namespace, path: Path, trace: Trace, tolerance: float | None) -> _Part:
    from hil.meter.energy import energy_by_phase

    work, idle, of_bench = _windows(args, path, trace)
    alignment = _aligned(args, trace, work)
    accuracy, date = _accuracy(args.check, trace.info)
    regulator = _regulator(args.regulator, trace.site) if args.regulator is not None else None
    refused: dict[str, MeterError] = {}
    found = energy_by_phase(
        trace,
        work,
        alignment,
        scope=args.scope if args.rails is None else None,
        idle=idle,
        accuracy=accuracy,
        regulator=regulator,
        tolerance=_tolerances(work, of_bench) if tolerance is None else tolerance,
        refused=refused,
    )
    short = of_bench and tolerance is None
    too_short = {name for name, error in refused.items() if short and _passed_over(name, error)}
    return _Part(trace, _described(alignment, work), accuracy, date, found, refused, frozenset(too_short))


def _passed_over(name: str, error: MeterError) -> bool:
    """Whether a benchmark does without the energy of that phase: around the inference some are too short."""
    from hil.backend.borders import INFERENCE
    from hil.meter.errors import WindowError

    return name != INFERENCE and isinstance(error, WindowError)


def _tolerances(work: Sequence[PhaseWindow], of_bench: bool) -> dict[str, float]:
    """What each phase must be good for: as a benchmark takes its own."""
    from hil.backend.borders import INFERENCE, SHORT_TOLERANCE, TOLERANCE

    return {w.name: SHORT_TOLERANCE if of_bench and w.name != INFERENCE else TOLERANCE for w in work}


def _described(alignment: Alignment, work: Sequence[PhaseWindow]) -> str:
    """How the phases came into the meter's time, and how sure their borders are."""
    from hil.units import format_si

    border_s = max(window.border_sd_s for window in work)
    if alignment.method is not None or border_s == 0:
        return alignment.describe()
    return f"phases in the meter's time, borders ± {format_si(border_s, 's')}"


def _windows(args: argparse.Namespace, path: Path, trace: Trace) -> tuple[list[PhaseWindow], list[PhaseWindow], bool]:
    """Work and idle: of the file, of the one beside the trace (a benchmark's own), or the whole trace."""
    from hil.meter.energy import PhaseWindow
    from hil.meter.phases import read_phases
    from hil.meter.trace import SampleTimes

    if args.phases is not None:
        return *read_phases(args.phases), False
    if (own := beside(path)) is not None:
        return *read_phases(own), True
    times = SampleTimes(trace)
    return [PhaseWindow("all", times.first_s, times.last_s)], [], False


def _aligned(args: argparse.Namespace, trace: Trace, work: Sequence[PhaseWindow]) -> Alignment:
    from hil.meter.align import Evidence, align, lap_lines, same_clock, uart_evidence
    from hil.meter.errors import AlignmentError

    if args.edges:
        borders = sorted({edge for window in work for edge in (window.start_s, window.end_s)})
        return align(trace, Evidence(borders))
    if args.laps is not None:
        heard = sorted({round(board_s * 1e6) for board_s, _ in lap_lines(trace)})
        evidence = uart_evidence(trace, args.laps, heard)
        if evidence is None:
            raise AlignmentError(
                f"trace at {trace.site}: the meter heard no line m-lap-us-N",
                hint="record with the board's serial port on the meter (otii?uart=115200)",
            )
        return align(trace, evidence, ("uart",))
    return same_clock()


def _accuracy(wanted: str, info: MeterInfo) -> tuple[Accuracy, str]:
    """What is known of the instrument, and the date of its check."""
    from hil.meter.accuracy import Accuracy, checks_folder, find_check, read_check

    if wanted == "none":
        return Accuracy(), ""
    check = find_check(checks_folder(), info) if wanted == "auto" else read_check(Path(wanted))
    return (check.accuracy, check.date) if check is not None else (Accuracy(), "")


def _regulator(text: str, input_site: str) -> Regulator:
    """``SITE=EFFICIENCY+-SD`` as a regulator behind the trace's site.  Raises ConfigError."""
    from hil.errors import ConfigError
    from hil.meter.energy import Regulator
    from hil.units import parse_quantity

    match = _REGULATOR.fullmatch(text.strip())
    if match is None:
        raise ConfigError(
            f"--regulator {text}: not SITE=EFFICIENCY+-SD", hint="such as --regulator 'chip supply=0.90+-0.02'"
        )
    efficiency, sd = parse_quantity(match[2], "%"), parse_quantity(match[3], "%")
    if not 0 < sd < efficiency <= 1:
        raise ConfigError(
            f"--regulator {text}: an efficiency of {efficiency:g} ± {sd:g}, expected shares of 1",
            hint="such as --regulator 'chip supply=0.90+-0.02'",
        )
    return Regulator(input_site, match[1], efficiency, sd, "command line")


def _document(args: argparse.Namespace, parts: Sequence[_Part], found: Mapping[str, PhaseEnergy]) -> dict[str, Any]:
    def figures(part: _Part, energies: Mapping[str, PhaseEnergy]) -> dict[str, Any]:
        return {
            "alignment": part.aligned,
            "phases": {name: asdict(energy) for name, energy in energies.items()},
            "refused": {name: error.message for name, error in part.refused.items()},
            "accuracy": {**asdict(part.accuracy), "date": part.accuracy_date or None},
        }

    if args.rails is None:
        regulator = _regulator(args.regulator, parts[0].trace.site) if args.regulator is not None else None
        return {
            "schema": 1,
            **figures(parts[0], found),
            "regulator": asdict(regulator) if regulator is not None else None,
        }
    return {
        "schema": 1,
        "alignment": "each rail by itself",
        "phases": {name: asdict(energy) for name, energy in found.items()},
        "refused": {name: error.message for part in parts for name, error in part.refused.items()},
        "rails": {part.trace.site: figures(part, part.found) for part in parts},
    }


def _print(args: argparse.Namespace, parts: Sequence[_Part], found: Mapping[str, PhaseEnergy]) -> None:
    from hil.report.tables import say
    from hil.report.traces import describe_accuracy, print_energies, print_rails

    out = console()
    if args.rails is not None and found:
        print_rails(found, [part.found for part in parts], out)
    elif found:
        print_energies(found, parts[0].aligned, out)
        if args.regulator is not None:
            behind = _regulator(args.regulator, parts[0].trace.site)
            share = f"{behind.efficiency:g} ± {behind.efficiency_sd:g}"
            say(out, f"measured at {behind.input_site}, before a regulator of {share}")
    for part in parts:
        where = f" at {part.trace.site}" if args.rails is not None else ""
        if args.rails is not None:
            say(out, f"aligned{where}: {part.aligned}")
        say(out, f"accuracy{where}: {describe_accuracy(part.accuracy, part.accuracy_date)}")
