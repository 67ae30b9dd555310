"""``hil data``: the measurements that cost models are fitted to: what there is, single rows, and what looks wrong."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hil.cli.common import add_common, add_data, console, verb
from hil.errors import CalibrationError, did_you_mean

if TYPE_CHECKING:
    from hil.calibrate.checks import Finding, Severity
    from hil.calibrate.dataset import Measurement

SCHEMA_VERSION = 1
# Findings of these kinds make ``check --strict`` fail.
_STRICT: tuple[Severity, ...] = ("error", "warning")
# Phases as the coverage table abbreviates them.
_SHORT = {
    "npu_init": "init",
    "weight_load": "weights",
    "input_load": "in",
    "inference": "infer",
    "output_read": "out",
    "post_process": "post",
}


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verb(
        verbs,
        "data",
        "list, show or check the measurements that cost models are fitted to",
        "hil data check --platform max78000 --data my_board.csv",
    )
    parser.add_argument("action", nargs="?", choices=("list", "show", "check"), default="list")
    parser.add_argument("ids", nargs="*", metavar="ID", help="rows to show: 1079-t, or 1079 for all of a measurement")
    parser.add_argument("--platform", "-p", metavar="ID[,ID…]", help="only these platforms")
    add_data(parser)
    parser.add_argument("--strict", action="store_true", help="check: exit with 1 on an error or contradiction")
    add_common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from hil.calibrate.dataset import load_measurements

    rows = _of_platforms(load_measurements(args.data), args.platform)
    if args.action == "check":
        return _check(rows, args)
    if args.action == "show":
        _show(_chosen(rows, args.ids), args.json)
    else:
        _list(rows, args.json)
    return 0


def _of_platforms(rows: Sequence[Measurement], chosen: str | None) -> list[Measurement]:
    if not chosen or chosen == "all":
        return list(rows)
    known = {row.platform for row in rows}
    ids = [part.strip() for part in chosen.split(",") if part.strip()]
    for platform in ids:
        if platform not in known:
            raise CalibrationError(f"no measurements of '{platform}'", hint=did_you_mean(platform, known))
    return [row for row in rows if row.platform in ids]


def _chosen(rows: Sequence[Measurement], ids: Sequence[str]) -> list[Measurement]:
    if not ids and len({row.platform for row in rows}) > 1:
        raise CalibrationError("show needs an ID or one --platform", hint="such as hil data show 1079")
    found: list[Measurement] = []
    for wanted in ids:
        matching = [row for row in rows if wanted in (row.id, row.record)]
        if not matching:
            raise CalibrationError(f"no measurement '{wanted}'", hint="hil data list, then show --platform ID")
        found += matching
    return list(dict.fromkeys(found)) if ids else list(rows)


def coverage(rows: Sequence[Measurement]) -> list[dict[str, Any]]:
    """What there is per platform and software stack; counts by quantity and phase are of the fitted rows."""
    stacks: dict[tuple[str, str], list[Measurement]] = {}
    for row in rows:
        stacks.setdefault((row.platform, row.software), []).append(row)
    return [_stack(platform, software, stacks[platform, software]) for platform, software in sorted(stacks)]


def _stack(platform: str, software: str, rows: Sequence[Measurement]) -> dict[str, Any]:
    fitted = [row for row in rows if row.use == "fit"]
    uses = Counter(row.use for row in rows)
    phases: dict[str, Counter[str]] = {}
    for row in fitted:
        phases.setdefault(row.quantity, Counter())[row.phase] += 1
    return {
        "platform": platform,
        "software": software,
        "networks": len({row.network for row in fitted}),
        "groups": len({row.group for row in fitted}),
        "phases": {quantity: dict(counts) for quantity, counts in phases.items()},
        "grades": dict(sorted(Counter(row.grade for row in fitted).items())),
        "fit": uses["fit"],
        "check": uses["check"],
        "exclude": uses["exclude"],
    }


def _list(rows: Sequence[Measurement], as_json: bool) -> None:
    stacks = coverage(rows)
    if as_json:
        _print_json("coverage", stacks)
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("platform", "stack"):
        table.add_column(name, no_wrap=True)
    for name in ("nets", "groups"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("latency", "energy"):
        table.add_column(name, no_wrap=True)
    table.add_column("grades", no_wrap=True)
    table.add_column("fit/check/out", justify="right", no_wrap=True)
    for stack in stacks:
        table.add_row(
            stack["platform"],
            stack["software"],
            str(stack["networks"] or "-"),
            str(stack["groups"] or "-"),
            _counts(stack["phases"].get("latency_s", {})),
            _counts(stack["phases"].get("energy_j", {})),
            " ".join(f"{count}{grade}" for grade, count in stack["grades"].items()) or "-",
            "/".join(str(stack[use]) for use in ("fit", "check", "exclude")),
        )
    out = console()
    out.print(table)
    fitted = [row for row in rows if row.use == "fit"]
    out.print(
        f"{len(rows)} figures, {len(fitted)} fitted: {len({row.network for row in fitted})} networks of "
        f"{len({row.group for row in fitted})} architectures; latency and energy count fitted figures by phase"
    )


def _counts(counts: dict[str, int]) -> str:
    def short(phase: str) -> str:
        return "+".join(_SHORT.get(part, part) for part in phase.split("+"))

    return "\n".join(f"{count} {short(phase)}" for phase, count in sorted(counts.items())) or "-"


def _show(rows: Sequence[Measurement], as_json: bool) -> None:
    from hil.calibrate.dataset import sources

    known = sources()
    used = {row.source: known[row.source] for row in rows if row.source in known}
    if as_json:
        document = [_document(row) for row in rows]
        _print_json("measurements", document, sources={key: _document(source) for key, source in used.items()})
        return
    from rich.table import Table

    out = console()
    for row in rows:
        table = Table(box=None, pad_edge=False, show_header=False, title=row.id, title_justify="left")
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for key, value in _document(row).items():
            if value not in ("", None) and key != "id":
                table.add_row(key, f"{value:.9g}" if isinstance(value, float) else str(value))
        if row.source in used:
            source = used[row.source]
            table.add_row("published in", f"{source.title} ({source.reference})")
        out.print(table)


def _check(rows: Sequence[Measurement], args: argparse.Namespace) -> int:
    from hil.calibrate.checks import SEVERITIES, run_checks

    findings = run_checks(rows, args.platform_path)
    counts = Counter(finding.severity for finding in findings)
    if args.json:
        _print_json("findings", [_document(finding) for finding in findings])
    else:
        _print_findings(findings)
        console().print(", ".join(f"{counts[severity]} {severity}s" for severity in SEVERITIES))
    return 1 if args.strict and any(counts[severity] for severity in _STRICT) else 0


def _print_findings(findings: Sequence[Finding]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("severity", no_wrap=True)
    table.add_column("check", no_wrap=True)
    table.add_column("rows", overflow="fold", max_width=22)
    table.add_column("finding", overflow="fold", ratio=1)
    for finding in findings:
        table.add_row(finding.severity, finding.check, " ".join(finding.ids), finding.message)
    console().print(table)


def _document(item: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(item)


def _print_json(key: str, items: list[dict[str, Any]], **more: Any) -> None:
    document = {"schema": SCHEMA_VERSION, key: items, **more}
    sys.stdout.write(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
