"""``hil meter record`` and ``hil meter show``: traces of a power meter, kept and looked at."""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil.cli.common import add_common, console, verb

if TYPE_CHECKING:
    from hil.meter.types import Trace

_COLUMNS = 1600
_PROGRESS_EVERY_S = 2.0


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verb(verbs, "meter", "record a power trace, or show one", "hil meter show trace")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    record = verb(
        actions, "record", "record a power trace", "hil meter record --meter ppk2?voltage_v=3.3 --seconds 5 --out trace"
    )
    record.add_argument("--meter", required=True, metavar="METER", help="which one (see hil meters)")
    record.add_argument("--seconds", type=float, default=10.0, metavar="N", help="how long (default: 10)")
    record.add_argument("--rate", metavar="RATE", help="samples per second, as 10kHz (default: the most it can)")
    record.add_argument("--site", default="whole board", help="what the current flows into (default: whole board)")
    record.add_argument("--out", type=Path, required=True, metavar="DIR", help="the trace, and the raw bytes beside it")
    add_common(record)
    record.set_defaults(run=run_record)
    show = verb(actions, "show", "tell what is in a trace, and plot it", "hil meter show trace --plot trace.svg")
    add_trace(show)
    show.add_argument("--phases", type=Path, metavar="FILE", help="mark phases: CSV name,start_s,end_s")
    show.add_argument("--plot", type=Path, metavar="FILE", help="power over time: .svg, .png")
    add_common(show)
    show.set_defaults(run=run_show)


def add_trace(parser: argparse.ArgumentParser) -> None:
    """The trace and what its file does not know."""
    parser.add_argument("trace", type=Path, metavar="TRACE", help="a trace of hil, or a file of another tool")
    parser.add_argument("--format", metavar="NAME", help="the file's format, where it cannot be told")
    parser.add_argument("--columns", type=Path, metavar="FILE", help="TOML that declares the columns of any table")
    parser.add_argument("--voltage", metavar="VOLTAGE", help="the supply, for files without one: 3.3V")
    parser.add_argument("--site", default="unknown", help="what the current flows into, for files of other tools")


def open_trace(args: argparse.Namespace) -> Trace:
    """The trace that the options name.  Raises MeterError."""
    from hil.meter.importers import import_trace, read_columns
    from hil.units import parse_quantity

    columns = read_columns(args.columns) if args.columns is not None else None
    voltage_v = parse_quantity(args.voltage, "V") if args.voltage is not None else None
    return import_trace(args.trace, args.format, site=args.site, voltage_v=voltage_v, columns=columns)


def run_record(args: argparse.Namespace) -> int:
    from hil.errors import ConfigError
    from hil.meter.registry import open_meter
    from hil.meter.store import save_trace
    from hil.units import parse_quantity

    if (args.out / "trace.json").exists():
        raise ConfigError(f"{args.out}: holds a trace", hint="choose another folder")
    if not 0 < args.seconds < 1e6:
        raise ConfigError(f"--seconds {args.seconds:g}: expected more than 0")
    meter = open_meter(args.meter, site=args.site, raw_folder=args.out)
    try:
        meter.open()
        rate_hz = parse_quantity(args.rate, "Hz") if args.rate is not None else meter.caps.rate_max_hz
        meter.configure(rate_hz)
        meter.start()
        end_s = time.monotonic() + args.seconds
        with suppress(KeyboardInterrupt):  # what was recorded until then is kept
            while (rest_s := end_s - time.monotonic()) > 0:
                time.sleep(min(rest_s, _PROGRESS_EVERY_S))
                if rest_s > _PROGRESS_EVERY_S:
                    sys.stderr.write(f"hil: recording, {rest_s - _PROGRESS_EVERY_S:.0f} s to go; Ctrl-C ends it\n")
        trace = meter.stop()
    finally:
        meter.close()
    save_trace(trace, args.out)
    _tell(args, _facts(trace), args.out)
    return 0


def run_show(args: argparse.Namespace) -> int:
    from hil.meter.phases import read_phases

    trace = open_trace(args)
    windows = [window for part in read_phases(args.phases) for window in part] if args.phases is not None else []
    if args.plot is not None:
        from hil.meter.trace import envelope
        from hil.report.traces import write_trace_plot

        marks = [(window.name, window.start_s, window.end_s) for window in windows]
        write_trace_plot(envelope(trace, _COLUMNS), marks, trace.site, args.plot)
    _tell(args, _facts(trace), args.plot)
    return 0


def _facts(trace: Trace) -> dict[str, Any]:
    """What a person asks first: how long, how fast, how much, and what is wrong with it."""
    from hil.meter.trace import Integrator, SampleTimes

    times = SampleTimes(trace)
    length_s = times.last_s - times.first_s
    energy_j = Integrator(times).integral(times.first_s, times.last_s)
    return {
        "site": trace.site,
        "samples": len(trace.current_a),
        "seconds": length_s,
        "rate_hz": 1 / times.interval_s,
        "mean_power_w": energy_j / length_s if length_s > 0 else None,
        "energy_j": energy_j,
        "missing_samples": sum(gap.missing for gap in trace.gaps),
        "clipped_samples": trace.clipped,
        "meter": trace.info.model,
        "notes": list(trace.notes),
    }


def _tell(args: argparse.Namespace, facts: dict[str, Any], written: Path | None) -> None:
    from hil.report.tables import say
    from hil.units import format_si

    if args.json:
        sys.stdout.write(json.dumps({"schema": 1, **facts}) + "\n")
        return
    out = console()
    power = format_si(facts["mean_power_w"], "W") if facts["mean_power_w"] is not None else "no power"
    say(out, f"{facts['meter']} at {facts['site']}: {facts['samples']} samples, {format_si(facts['rate_hz'], 'Hz')},")
    say(out, f"{facts['seconds']:.6g} s, mean {power}, {format_si(facts['energy_j'], 'J')}")
    say(out, f"missing samples: {facts['missing_samples']}, at the end of the range: {facts['clipped_samples']}")
    for note in facts["notes"]:
        say(out, f"note: {note}")
    if written is not None:
        say(out, f"written: {written}")
