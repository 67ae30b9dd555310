"""``hil meter supply``: let an instrument supply the board, or switch it off."""

from __future__ import annotations

import argparse
import json
import sys

from hil.cli.common import add_common, console, verb
from hil.cli.instrument import require_instrument


def add_supply(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    supply = verb(
        actions,
        "supply",
        "supply the board from a meter that can, or switch it off",
        "hil meter supply 3.3V --meter ppk2",
    )
    supply.add_argument("voltage", metavar="VOLTAGE|off", help="3.3V, or off")
    supply.add_argument("--meter", required=True, metavar="METER", help="which one (see hil meters)")
    supply.add_argument("--limit", metavar="CURRENT", help="switch off beyond it, where the meter can: 200mA")
    add_common(supply)
    supply.set_defaults(run=run_supply)


def run_supply(args: argparse.Namespace) -> int:
    from hil.errors import ConfigError
    from hil.meter.errors import NotSupported
    from hil.meter.opened import opened
    from hil.meter.registry import open_meter
    from hil.units import format_si, parse_quantity

    voltage_v = None if args.voltage == "off" else parse_quantity(args.voltage, "V")
    if voltage_v is not None and voltage_v <= 0:
        raise ConfigError(f"{args.voltage}: a supply must be above 0 V", hint="3.3V, or off")
    limit_a = parse_quantity(args.limit, "A") if args.limit is not None else None
    require_instrument(args.meter)
    meter = open_meter(_spec(args.meter, voltage_v))
    if not meter.caps.supplies_dut:
        # Opening some of them anew would already interrupt the supply that the board has.
        raise NotSupported(f"{args.meter}: it supplies no board", hint="supply it by other means")
    # Nothing changes but by ``supply``, which refuses a voltage before it sets anything.
    with opened(meter):
        meter.supply(voltage_v, limit_a)
        info = meter.info
    if args.json:
        sys.stdout.write(json.dumps({"schema": 1, "model": info.model, "voltage_v": voltage_v}) + "\n")
    elif voltage_v is None:
        console().print(f"{info.model}: the board is off", markup=False, soft_wrap=True)
    else:
        said = f"{info.model}: the board is supplied with {format_si(voltage_v, 'V')}; it boots now"
        console().print(said, markup=False, soft_wrap=True)
    return 0


def _spec(spec: str, voltage_v: float | None) -> str:
    """The meter without the settings that supplying decides.  Raises SettingError where they say something else."""
    from hil.meter.errors import SettingError
    from hil.meter.registry import take_setting

    rest, said_v = take_setting(spec, "voltage_v")
    rest, mode = take_setting(rest, "mode")
    if voltage_v is None:
        return rest
    if said_v is not None and said_v != voltage_v:
        raise SettingError(f"{spec}: voltage_v is {said_v:g}, to be supplied are {voltage_v:g} V", hint="say it once")
    if mode not in (None, "source"):
        raise SettingError(f"{spec}: a board is supplied in source mode, not in {mode} mode", hint="leave mode out")
    return rest
