"""``hil meter check``: an instrument against known resistors; what it finds corrects every later energy."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from hil.cli.common import add_common, console, verb
from hil.cli.instrument import require_instrument, require_seconds
from hil.cli.recording import wait_recording

if TYPE_CHECKING:
    from hil.meter.accuracy import ResistorReading
    from hil.meter.types import PowerMeter, Trace


def add_check(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    check = verb(
        actions,
        "check",
        "check a meter against known resistors, and store its gain and offset",
        "hil meter check --meter ppk2 --voltage 3.3V --resistor 100ohm --resistor 1kohm --resistor 10kohm",
    )
    check.add_argument("--meter", required=True, metavar="METER", help="which one (see hil meters)")
    check.add_argument(
        "--resistor",
        action="append",
        required=True,
        dest="resistors",
        metavar="OHMS",
        help="1kohm; best three, over the currents that matter; may be repeated",
    )
    check.add_argument("--tolerance", default="0.1%", metavar="SHARE", help="of the resistors (default: 0.1%%)")
    check.add_argument("--voltage", metavar="VOLTAGE", help="across the resistor: 3.3V (default: what the meter says)")
    check.add_argument(
        "--voltage-tolerance",
        default="0.5%",
        metavar="SHARE",
        help="how far that voltage may be off (default: 0.5%%, a hand-held multimeter)",
    )
    check.add_argument("--resolution", metavar="CURRENT", help="the meter's step, if its reading never changes: 25uA")
    check.add_argument("--seconds", type=float, default=2.0, metavar="N", help="how long each (default: 2)")
    check.add_argument("--yes", action="store_true", help="do not wait for Enter: something switches the resistors")
    add_common(check)
    check.set_defaults(run=run_check)


def run_check(args: argparse.Namespace) -> int:
    from math import sqrt

    from hil.errors import ConfigError
    from hil.meter.accuracy import check_path, checks_folder, read_check, resistor_check, save_check
    from hil.meter.opened import opened
    from hil.meter.registry import open_meter, with_setting
    from hil.meter.resistor import resistor_reading

    ohms = [_positive("--resistor", text, "ohm") for text in args.resistors]
    if len(set(ohms)) < len(ohms):
        raise ConfigError("--resistor: one is in there twice", hint="resistors that differ tell gain and offset")
    # A maker's tolerance is a bound: of a uniform distribution within it (GUM 4.3.7).
    resistor_sd = _positive("--tolerance", args.tolerance, "%") / sqrt(3)
    voltage_sd = _positive("--voltage-tolerance", args.voltage_tolerance, "%") / sqrt(3)
    voltage_v = _positive("--voltage", args.voltage, "V") if args.voltage is not None else None
    resolution_a = _positive("--resolution", args.resolution, "A") if args.resolution is not None else None
    require_seconds(args.seconds)
    require_instrument(args.meter)
    spec = args.meter if voltage_v is None else with_setting(args.meter, "voltage_v", f"{voltage_v:g}")
    readings: list[ResistorReading] = []
    with opened(open_meter(spec, site="known resistor")) as meter:
        check_path(checks_folder(), meter.info)  # before anybody connects resistors
        meter.configure(meter.caps.rate_max_hz)
        for number, resistance_ohm in enumerate(ohms, 1):
            _ask_for(resistance_ohm, f"{number} of {len(ohms)}", voltage_v, wait=not args.yes and sys.stdin.isatty())
            trace = _recorded(meter, args.seconds)
            readings.append(
                resistor_reading(trace, resistance_ohm, resistor_sd, voltage_v=voltage_v, resolution_a=resolution_a)
            )
    accuracy = resistor_check(meter.info, readings, voltage_sd)
    check = read_check(save_check(checks_folder(), meter.info, accuracy, readings))
    if args.json:
        document = {
            "schema": 1,
            "model": check.model,
            "serial": check.serial,
            "date": check.date,
            "file": str(check.path),
            "accuracy": asdict(accuracy),
            "readings": [
                {**asdict(reading), "true_a": reading.true_a, "error": reading.current_a / reading.true_a - 1}
                for reading in readings
            ],
        }
        sys.stdout.write(json.dumps(document, indent=1) + "\n")
        return 0
    from hil.report.traces import print_check

    print_check(check, readings, console())
    return 0


def _positive(option: str, text: str, unit: str) -> float:
    from hil.errors import ConfigError
    from hil.units import parse_quantity

    value = parse_quantity(text, unit)
    if value <= 0:
        raise ConfigError(f"{option} {text}: expected more than 0")
    return value


def _ask_for(resistance_ohm: float, which: str, voltage_v: float | None, *, wait: bool) -> None:
    """Say what to connect, and wait for Enter.  The end of the input is no Enter."""
    from hil.errors import ConfigError
    from hil.units import format_si

    current = f": about {format_si(voltage_v / resistance_ohm, 'A')}" if voltage_v is not None else ""
    name = format_si(resistance_ohm, "ohm")
    sys.stderr.write(f"hil: resistor {which}: {name} in place of the board, and nothing else{current}")
    sys.stderr.write("; then press Enter " if wait else "\n")
    sys.stderr.flush()
    if wait and not sys.stdin.readline():
        raise ConfigError("the input ended before the last resistor was connected", hint="nothing was stored")


def _recorded(meter: PowerMeter, seconds: float) -> Trace:
    meter.start()
    problem = wait_recording(meter, seconds)
    trace = meter.stop()
    if problem is not None:
        raise problem
    return trace
