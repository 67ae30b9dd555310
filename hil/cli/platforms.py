"""``hil platforms``: the platforms, everything that is known of one, or a check of their Renode descriptions."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from hil.cli.common import add_common, console, verb


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verb(
        verbs,
        "platforms",
        "list the platforms, show one with its sources, or check their Renode descriptions",
        "hil platforms show max78000\n  hil platforms check",
    )
    parser.add_argument("action", nargs="?", default="list", metavar="list|show|check", help="default: list")
    parser.add_argument("platforms", nargs="*", metavar="ID")
    add_common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from hil.platform import load_platform, platform_files

    if args.action == "check":
        return _check(args)
    if args.action not in ("list", "show"):  # hil platforms ID means show
        args.platforms, args.action = [args.action, *args.platforms], "show"
    ids = args.platforms or list(platform_files(args.platform_path))
    platforms = [load_platform(platform_id, args.platform_path) for platform_id in ids]
    if args.json:
        documents = [p.model_dump(mode="json", by_alias=True, exclude_none=True) for p in platforms]
        sys.stdout.write(json.dumps({"schema": 1, "platforms": documents}, indent=1, ensure_ascii=False) + "\n")
    elif args.action == "show":
        for platform in platforms:
            _show(platform)
    else:
        _list(platforms)
    return 0


def _check(args: argparse.Namespace) -> int:
    """One line per platform, the findings below it; 2 where there are any."""
    from hil.emulator.describe import check_platforms
    from hil.report.tables import say

    outcomes = check_platforms(args.platforms, args.platform_path)
    if args.json:
        checks = [{"platform": o.platform, "state": o.state, "why": o.why, "problems": o.problems} for o in outcomes]
        sys.stdout.write(json.dumps({"schema": 1, "checks": checks}, indent=1, ensure_ascii=False) + "\n")
    else:
        out = console()
        width = max(len(outcome.platform) for outcome in outcomes)
        for outcome in outcomes:
            texts = {"ok": "ok", "none": f"no description: {outcome.why}", "problems": _count(len(outcome.problems))}
            say(out, f"{outcome.platform:{width}}  {texts[outcome.state]}")
            for problem in outcome.problems:
                say(out, f"  {problem}")
    return 2 if any(outcome.problems for outcome in outcomes) else 0


def _count(problems: int) -> str:
    return "1 problem" if problems == 1 else f"{problems} problems"


def _list(platforms: list[Any]) -> None:
    from rich.table import Table

    from hil.platform import make_target
    from hil.units import format_si

    table = Table(box=None, pad_edge=False)
    for name in ("id", "host", "accelerator", "family"):
        table.add_column(name, no_wrap=True, min_width=10 if name in ("id", "family") else None)
    table.add_column("peak", justify="right", no_wrap=True)
    table.add_column("operating point", no_wrap=True)
    for platform in platforms:
        target = make_target(platform)
        npu = platform.npu
        others = len(platform.operating_points) - 1
        peak = npu.peak_macs_per_cycle.value * target.npu_clock_hz * 2 if npu is not None and target.npu else None
        table.add_row(
            platform.id,
            f"{target.host.isa.split('-', 1)[-1]} {format_si(target.host_clock_hz, 'Hz')}",
            npu.name.removeprefix(f"{platform.name} ") if npu is not None else "none",
            npu.family if npu is not None else "cpu",
            format_si(peak, "OPS") if peak is not None else "-",
            platform.default_operating_point + (f" (+{others})" if others else ""),
        )
    console().print(table)


def _show(platform: Any) -> None:
    from rich.table import Table

    from hil.cost import CostModel
    from hil.platform import make_target
    from hil.report.tables import say

    out = console()
    say(out, f"{platform.name} ({platform.vendor}; {platform.board or 'no board named'})")
    say(out, platform.summary)
    for note in platform.notes:
        say(out, f"- {note}")
    table = Table(box=None, pad_edge=False, title="figures of the platform file", title_justify="left")
    table.add_column("figure", overflow="fold")
    table.add_column("value", justify="right")
    table.add_column("certainty")
    table.add_column("source", overflow="fold")
    table.add_column("note", overflow="fold")
    for path, figure in figures(platform):
        table.add_row(path, _with_unit(path, figure.value), figure.certainty, figure.source, figure.note)
    out.print(table)
    if platform.npu is not None and platform.npu.operators:
        _rules(platform.npu)
    model = CostModel(make_target(platform))
    priors = Table(
        box=None, pad_edge=False, title="cost parameters at the default operating point", title_justify="left"
    )
    priors.add_column("parameter", overflow="fold")
    priors.add_column("median", justify="right")
    priors.add_column("x/÷", justify="right")
    priors.add_column("unit")
    priors.add_column("certainty")
    priors.add_column("reason", overflow="fold")
    for parameter in model.parameters.values():
        prior = parameter.prior
        spread = f"{2.718281828459045**prior.sigma:.2f}" if prior.value > 0 else "-"
        priors.add_row(parameter.name, f"{prior.value:.4g}", spread, parameter.unit, prior.certainty, prior.reason)
    out.print(priors)
    for key, source in platform.sources.items():
        say(out, f"{key}: {source.title} ({source.reference})" if source.reference else f"{key}: {source.title}")


# The unit of a figure stands at the end of its key, or of the table that holds it.
_UNITS = {"_hz": "Hz", "_s": "s", "_w": "W", "_j": "J", "_v": "V"}


def _with_unit(path: str, value: float) -> str:
    from hil.units import format_bytes, format_si

    for key in (path.rsplit(".", 1)[-1], *path.split(".")[-2:-1]):
        if key.endswith("_bytes"):
            return format_bytes(value)
        unit = next((unit for suffix, unit in _UNITS.items() if key.endswith(suffix)), None)
        if unit is not None:
            return format_si(value, unit)
    return f"{value:g}"


def _rules(npu: Any) -> None:
    """What the accelerator takes, within which limits, and who says so."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, title=f"operators of the {npu.name}", title_justify="left")
    table.add_column("ops", overflow="fold")
    table.add_column("limits", overflow="fold")
    table.add_column("certainty")
    table.add_column("source")
    for rule in npu.operators:
        limits = rule.model_dump(exclude={"ops", "source", "certainty", "note"}, exclude_defaults=True)
        table.add_row(
            ", ".join(rule.ops), "; ".join(f"{k} {_plain(v)}" for k, v in limits.items()), rule.certainty, rule.source
        )
    console().print(table)


def _plain(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join("x".join(map(str, v)) if isinstance(v, tuple) else str(v) for v in value) or "none"
    return str(value)


def figures(platform: Any) -> list[tuple[str, Any]]:
    """Every sourced figure of a platform with its key, in file order; costs are shown apart."""
    from pydantic import BaseModel

    from hil.platform.schema import Figure

    found: list[tuple[str, Any]] = []

    def walk(node: Any, path: str) -> None:
        if isinstance(node, Figure):
            found.append((path, node))
        elif isinstance(node, BaseModel):
            for key in type(node).model_fields:
                if not (path == "" and key == "costs"):
                    walk(getattr(node, key), f"{path}.{key}".lstrip("."))
        elif isinstance(node, dict):
            for key, value in node.items():
                walk(value, f"{path}.{key}")

    walk(platform, "")
    return found
