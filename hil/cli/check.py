"""``hil check``: does a network run on a platform, where does every op go, and why?"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from hil.cli.common import add_common, add_targets, cache_dir, console, load_networks, load_targets, verb


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verb(
        verbs,
        "check",
        "place a network on platforms: does it fit, which ops leave the NPU and why",
        "hil check my_model.tflite --platform max78000,hx-we2",
    )
    parser.add_argument("networks", nargs="+", metavar="FILE|zoo:NAME")
    add_targets(parser)
    parser.add_argument("--ops", action="store_true", help="list every op, not only those that leave the NPU")
    add_common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from hil.plan import make_plan

    networks = load_networks(args.networks)
    targets = load_targets(args.platform, args.operating_point, args.overrides, args.platform_path)
    plans = [make_plan(network, target, vela_cache=cache_dir()) for network in networks for target in targets]
    if args.json:
        sys.stdout.write(json.dumps({"schema": 1, "plans": [describe(p) for p in plans]}, indent=1) + "\n")
    else:
        _table(plans, every=args.ops)
    return 0


def describe(plan: Any) -> dict[str, Any]:
    """A plan as plain data."""
    return {
        "network": plan.network.name,
        "platform": plan.target.id,
        "operating_point": plan.target.operating_point,
        "fits": plan.fits,
        "reasons": list(plan.reasons),
        "notes": list(plan.notes),
        "npu_macs": plan.npu_macs,
        "macs": plan.network.macs,
        "memory": [
            {
                "name": use.name,
                "role": use.role,
                "needed_bytes": use.needed_bytes,
                "capacity_bytes": use.capacity_bytes,
                "fits": use.fits,
            }
            for use in plan.memory
        ],
        "ops": [
            {
                "index": op.index,
                "name": op.name,
                "type": op.type,
                "unit": place.unit,
                "reason": place.reason,
                "phase": place.phase,
                "fused_into": place.fused_into,
            }
            for op, place in zip(plan.network.ops, plan.placements, strict=True)
        ],
    }


def _table(plans: list[Any], *, every: bool) -> None:
    from rich.table import Table

    from hil.report.tables import say
    from hil.units import format_bytes

    out = console()
    table = Table(box=None, pad_edge=False)
    for name in ("network", "platform", "fits"):
        table.add_column(name)
    table.add_column("ops on NPU", justify="right")
    table.add_column("MACs on NPU", justify="right")
    table.add_column("memory (needed / there)", overflow="fold")
    for plan in plans:
        on_npu = sum(1 for place in plan.placements if place.unit == "npu")
        working = sum(1 for place in plan.placements if place.unit != "free")
        uses = [
            f"{use.name} {format_bytes(use.needed_bytes)} / {format_bytes(use.capacity_bytes)}" for use in plan.memory
        ]
        share = plan.npu_macs / plan.network.macs if plan.network.macs else 0.0
        npu = plan.target.npu is not None
        table.add_row(
            plan.network.name,
            plan.target.id,
            "yes" if plan.fits else "NO",
            f"{on_npu}/{working}" if npu else "-",
            f"{share:.0%}" if npu else "-",
            "; ".join(uses),
        )
    out.print(table)
    for plan in plans:
        where = f"{plan.network.name} on {plan.target.id}"
        for reason in plan.reasons:
            say(out, f"{where} does not fit: {reason}")
        for note in plan.notes:
            say(out, f"{where}: {note}")
        _ops(out, plan, where, every=every)


def _ops(out: Any, plan: Any, where: str, *, every: bool) -> None:
    from hil.report.tables import say

    if every:
        say(out, f"{where}:")
    for op, place in zip(plan.network.ops, plan.placements, strict=True):
        if every:
            into = f", in flight with op {place.fused_into}" if place.fused_into is not None else ""
            reason = f": {place.reason}" if place.reason else ""
            say(out, f"  op {op.index} {op.type} {op.name}: {place.unit}{into}{reason}")
        elif op.index in plan.fallback:
            say(out, f"{where}: op {op.index} {op.type} runs on the host: {place.reason}")
