"""``hil meter``: record traces of a power meter, look at them (``show``), ``check`` it, let it ``supply`` the board."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil.cli.common import add_common, console, verb
from hil.cli.instrument import require_instrument, require_seconds
from hil.cli.meter_check import add_check
from hil.cli.meter_supply import add_supply
from hil.cli.recording import wait_recording

if TYPE_CHECKING:
    from hil.errors import MeterError
    from hil.meter.types import PowerMeter, Trace

_COLUMNS = 1600
_SKETCH_COLUMNS = 72


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verb(verbs, "meter", "record or show a power trace, check a meter, supply a board", "hil meter show trace")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    record = verb(
        actions,
        "record",
        "record a power trace",
        "hil meter record --meter 'ppk2?voltage_v=3.3' --seconds 5 --out trace",
    )
    record.add_argument("--meter", required=True, metavar="METER", help="which one (see hil meters)")
    record.add_argument("--seconds", type=float, default=10.0, metavar="N", help="how long (default: 10)")
    record.add_argument("--rate", metavar="RATE", help="samples per second, as 10kHz (default: the most it can)")
    record.add_argument("--site", default="whole board", help="what the current flows into (default: whole board)")
    record.add_argument("--out", type=Path, required=True, metavar="DIR", help="the trace, and the raw bytes beside it")
    add_common(record)
    record.set_defaults(run=run_record)
    show = verb(actions, "show", "tell what is in a trace, and plot it", "hil meter show trace --plot trace.svg")
    show.add_argument("trace", type=Path, metavar="TRACE", help="a trace of hil, or a file of another tool")
    add_trace_format(show)
    show.add_argument("--voltage", metavar="VOLTAGE", help="the supply, for files without one: 3.3V")
    show.add_argument("--site", default="unknown", help="what the current flows into, for files of other tools")
    show.add_argument(
        "--phases", type=Path, metavar="FILE", help="mark phases: CSV name,start_s,end_s (default: phases.csv in TRACE)"
    )
    show.add_argument("--plot", type=Path, metavar="FILE", help="power over time: .svg, .png")
    add_common(show)
    show.set_defaults(run=run_show)
    add_check(actions)
    add_supply(actions)


def add_trace_format(parser: argparse.ArgumentParser) -> None:
    """How to read files of other tools."""
    parser.add_argument("--format", metavar="NAME", help="the file's format, where it cannot be told")
    parser.add_argument("--columns", type=Path, metavar="FILE", help="TOML that declares the columns of any table")


def open_trace(path: Path, format: str | None, columns: Path | None, *, site: str, voltage: str | None) -> Trace:
    """The trace that the options name.  Raises MeterError, ConfigError."""
    from hil.errors import ConfigError
    from hil.meter.importers import import_trace, read_columns
    from hil.units import parse_quantity

    declared = read_columns(columns) if columns is not None else None
    voltage_v = parse_quantity(voltage, "V") if voltage is not None else None
    if voltage_v is not None and voltage_v <= 0:
        raise ConfigError(f"--voltage {voltage}: expected more than 0 V", hint="the board's supply, such as 3.3V")
    return import_trace(path, format, site=site, voltage_v=voltage_v, columns=declared)


def run_record(args: argparse.Namespace) -> int:
    from hil.errors import ConfigError
    from hil.meter.opened import opened
    from hil.meter.registry import open_meter
    from hil.units import parse_quantity

    if (args.out / "trace.json").exists():
        raise ConfigError(f"{args.out}: holds a trace", hint="choose another folder")
    require_seconds(args.seconds)
    require_instrument(args.meter)
    with opened(open_meter(args.meter, site=args.site, raw_folder=args.out)) as meter:
        rate_hz = parse_quantity(args.rate, "Hz") if args.rate is not None else meter.caps.rate_max_hz
        meter.configure(rate_hz)
        meter.start()
        try:
            trace, problem = _recorded(meter, args.seconds)
            saved = trace is not None and _save(trace, args.out, problem)
        except KeyboardInterrupt as stop:
            if (raw := _raw_of(meter)) is not None:
                stop.add_note(f"what was recorded is kept: replay:{raw} decodes it")
            raise
    if trace is not None:
        _tell(args, _facts(trace), args.out if saved else None)
    if problem is not None:
        if (raw := _raw_of(meter)) is not None and str(raw) not in (problem.hint or ""):
            sys.stderr.write(f"hil: the recording ended early; its bytes are kept: replay:{raw}\n")
        raise problem
    return 0


def _recorded(meter: PowerMeter, seconds: float) -> tuple[Trace | None, MeterError | None]:
    """The trace of a recording that runs, and what went wrong with it: then the trace holds what came before, as far as
    that can be decoded."""
    from hil.errors import MeterError
    from hil.meter.drivers.replay import decode_recording

    problem = None
    with suppress(KeyboardInterrupt):  # what was recorded until then is kept
        problem = wait_recording(meter, seconds)
    try:
        return meter.stop(), problem
    except MeterError as error:
        problem = error
    if (raw := _raw_of(meter)) is not None:
        with suppress(MeterError):
            return decode_recording(raw), problem
    return None, problem


def _save(trace: Trace, out: Path, problem: MeterError | None) -> bool:
    """Whether a trace could be saved; that it could not is an error unless there is a problem that says more."""
    from hil.errors import HilError
    from hil.meter.store import save_trace

    try:
        save_trace(trace, out)
    except HilError:
        if problem is None:
            raise
        return False
    return True


def _raw_of(meter: PowerMeter) -> Path | None:
    """The raw bytes of its last recording, where it is an instrument."""
    from hil.meter.drivers.base import Driver

    return meter.recording if isinstance(meter, Driver) else None


def run_show(args: argparse.Namespace) -> int:
    from hil.meter.phases import read_phases
    from hil.meter.trace import envelope

    trace = open_trace(args.trace, args.format, args.columns, site=args.site, voltage=args.voltage)
    phases = args.phases or beside(args.trace)
    windows = [window for part in read_phases(phases) for window in part] if phases is not None else []
    marks = [(window.name, window.start_s, window.end_s) for window in windows]
    if args.plot is not None:
        from hil.report.traces import write_trace_plot

        write_trace_plot(envelope(trace, _COLUMNS), marks, trace.site, args.plot)
    _tell(args, _facts(trace), args.plot)
    if not args.json and args.plot is None:
        from hil.report.traces import print_sketch

        print_sketch(envelope(trace, _SKETCH_COLUMNS), marks, _SKETCH_COLUMNS, console())
    return 0


def beside(trace: Path) -> Path | None:
    """The phases in the folder of a trace, and a word that they are used."""
    from hil.meter.phases import phases_beside

    if (path := phases_beside(trace)) is not None:
        sys.stderr.write(f"hil: phases of {path}, in the meter's time\n")
    return path


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
