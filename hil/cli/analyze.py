"""``hil analyze``: where time goes and why, energy, the best platform under a budget; how latency scales."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil.cli.common import (
    add_common,
    add_operating_point,
    cache_dir,
    console,
    load_networks,
    load_targets,
    verb,
)
from hil.cli.sweep import numbers

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from hil.analyze.best import Best, Choice, Which
    from hil.analyze.causes import Decomposition
    from hil.analyze.runs import RunAnalysis
    from hil.analyze.scaling import Change, Scaling
    from hil.backend.run import Run
    from hil.report.paper import Statement

# Sentences about single ops are printed for so many runs; more need --why.
_EXPLAINED_RUNS = 12
_PHASES = {
    "npu_init": "init",
    "weight_load": "weights",
    "input_load": "input",
    "inference": "infer",
    "output_read": "output",
    "post_process": "post",
}
_CAUSES = {"kernels": "kernel", "streaming": "stream", "fallback": "CPU"}


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verb(
        verbs,
        "analyze",
        "analyze runs: phases, achieved against peak and why, energy, best platform; or how latency scales",
        "hil analyze out/bench --budget latency=10ms memory=256KiB --plot out/analysis.png\n"
        "  hil analyze --scale width --platform max78000",
    )
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUNS", help="folders of results, or record files")
    parser.add_argument(
        "--budget", nargs="+", default=[], metavar="NAME=LIMIT", help="of one inference: latency=10ms energy=1mJ …"
    )
    parser.add_argument(
        "--steady", action="store_true", help="judge the budget with accelerator on and weights in place"
    )
    parser.add_argument("--why", action="store_true", help="name the op that loses most, for every cause and run")
    parser.add_argument(
        "--network",
        action="append",
        default=[],
        metavar="FILE|zoo:NAME",
        help="where a run's network is now; with --scale: cnn (default), dscnn, or a network; may be repeated",
    )
    parser.add_argument("--scale", metavar="AXIS", help="sweep a network along width, depth or resolution instead")
    parser.add_argument("--values", metavar="LIST", help="sizes for --scale: 8,16,32 or FROM:TO[:STEP]")
    parser.add_argument("--platform", "-p", metavar="ID[,ID…]", help="with --scale: platforms; else only their runs")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write a picture: .png, .svg or .pdf")
    add_operating_point(parser)
    add_common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from hil.errors import ConfigError

    if args.scale is not None:
        if args.runs:
            raise ConfigError("--scale makes its own networks: it takes no RUNS", hint="leave out one of the two")
        return _scale(args)
    if not args.runs:
        raise ConfigError("nothing to analyze", hint="name a folder of results, or an axis with --scale")
    if args.values is not None or args.operating_point is not None or args.overrides:
        raise ConfigError("--values, --operating-point and --set need --scale", hint="runs have their own")
    return _runs(args)


def _runs(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from hil.analyze.best import best_platforms, parse_budget
    from hil.analyze.runs import Sources, analyze_runs
    from hil.bench import read_runs
    from hil.errors import ResultsError
    from hil.report.page import statements_about

    budget = parse_budget(args.budget)
    runs = [run for path in args.runs for run in read_runs(path)]
    if args.platform is not None:
        chosen = {name.strip() for name in args.platform.split(",")}
        runs = [run for run in runs if run.platform in chosen]
        if not runs:
            raise ResultsError(f"no run on {args.platform}", hint="hil report lists what a folder holds")
    folders = [Path.cwd(), *(path if path.is_dir() else path.parent for path in args.runs)]
    sources = Sources(load_networks(args.network), folders, args.platform_path, cache_dir())
    analyses = analyze_runs(runs, sources)
    best = best_platforms(runs, budget, "steady" if args.steady else "total")
    statements = statements_about(runs, cache_dir())
    if args.plot is not None:
        from hil.analyze.plots import plot_runs

        plot_runs(analyses, args.plot)
    if args.json:
        document = {
            "schema": 1,
            "runs": [_run_document(analysis) for analysis in analyses],
            "best": [_best_document(found) for found in best],
            "paper": [{**asdict(one), "verdict": one.verdict} for one in statements],
        }
        sys.stdout.write(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        return 0
    out = console()
    _print_phases(analyses, out)
    _print_causes(analyses, out, every=args.why)
    _print_energy(analyses, out)
    _print_best(best, args.budget, "steady" if args.steady else "total", out)
    _print_paper(statements, out)
    return 0


def _table(*columns: str, left: int = 2) -> Table:
    """A table whose first ``left`` columns are words, the others figures."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for index, name in enumerate(columns):
        if index < left:
            table.add_column(name, no_wrap=True, max_width=16, overflow="ellipsis")
        else:
            table.add_column(name, justify="right", no_wrap=True)
    return table


def _percent(share: float) -> str:
    return "-" if share == 0 else f"{share:.0%}" if abs(share) >= 0.005 else "<1%"


def _share(causes: Decomposition, cause: str) -> float:
    return causes.seconds[cause] / causes.inference_s if causes.inference_s > 0 else 0.0


def _print_phases(analyses: list[RunAnalysis], out: Console) -> None:
    from hil.report.tables import say
    from hil.units import format_si

    table = _table("network", "platform", "point", *_PHASES.values(), "total", left=3)
    for analysis in analyses:
        run = analysis.run
        shares = [_percent(analysis.phases.get(phase, 0.0)) for phase in _PHASES]
        total = format_si(run.total.latency_s.mean, "s")
        table.add_row(run.network, run.platform, run.operating_point, *shares, total)
    say(out, "share of each phase end to end")
    out.print(table)


def _print_causes(analyses: list[RunAnalysis], out: Console, *, every: bool) -> None:
    from hil.analyze.causes import CAUSES
    from hil.report.tables import say

    table = _table("network", "platform", "GMAC/s", "of peak", *(_CAUSES.get(name, name) for name in CAUSES))
    for analysis in analyses:
        causes, rate = analysis.causes, analysis.achieved_macs_per_s
        shares = ["?"] * len(CAUSES)
        if causes is not None:
            shares = [_percent(_share(causes, cause)) for cause in CAUSES]
        table.add_row(
            analysis.run.network,
            analysis.run.platform,
            f"{rate / 1e9:.3g}" if rate is not None else "-",
            _percent(analysis.utilization) if analysis.utilization is not None else "-",
            *shares,
        )
    say(out, "\nachieved against peak, and what the inference time is spent on")
    out.print(table)
    for name, meaning in CAUSES.items():
        say(out, f"  {_CAUSES.get(name, name)}: {meaning}")
    for text in dict.fromkeys(analysis.missing for analysis in analyses if analysis.missing):
        say(out, f"  ?: {text}")
    for text in dict.fromkeys(note for analysis in analyses for note in analysis.notes):
        say(out, f"  note: {text}")
    if not every and len(analyses) > _EXPLAINED_RUNS:
        say(out, "  --why names the op that loses most to each cause")
        return
    for analysis in analyses:
        for cause, text in (analysis.why or {}).items():
            assert analysis.causes is not None  # where there are sentences there are causes
            share = _share(analysis.causes, cause)
            if every or share >= 0.1:
                where = f"{analysis.run.network} on {analysis.run.platform}"
                say(out, f"  {where}: {_percent(share)} {cause}, most at {text}")


def _print_energy(analyses: list[RunAnalysis], out: Console) -> None:
    from hil.report.tables import factor, say
    from hil.units import format_si

    known = [analysis for analysis in analyses if analysis.run.total.energy_j is not None]
    if not known:
        say(out, "\nno energy figures")
        return
    table = _table("network", "platform", "covers", "end to end", "next", "x/÷", "inferences/J", left=3)
    table.columns[2].max_width = 28
    for analysis in known:
        total, steady, rate = analysis.run.total.energy_j, analysis.run.steady.energy_j, analysis.inferences_per_j
        assert total is not None  # chosen above
        table.add_row(
            analysis.run.network,
            analysis.run.platform,
            total.scope,
            format_si(total.mean, "J"),
            format_si(steady.mean, "J") if steady is not None else "-",
            factor(steady) if steady is not None else "-",
            f"{rate.mean:.3g}" if rate is not None else "-",
        )
    say(out, "\nenergy per inference (end to end; next: weights in place, x/÷ its 90 % interval as a factor)")
    out.print(table)


def _print_best(best: list[Best], budget: list[str], which: Which, out: Console) -> None:
    from hil.report.tables import say
    from hil.units import format_si

    figures = {"total": "end to end", "steady": "of a further inference"}[which]
    say(out, f"\nbest platform under {', '.join(budget)}, {figures}" if budget else f"\nbest platform, {figures}")
    for found in best:
        few = f", {found.within} surely" if budget and found.within < len(found.candidates) else ""
        say(out, f"{found.network}: {len(found.candidates)} of {found.runs} may do{few}")
        if (fastest := found.fastest) is not None:
            say(out, f"  fastest: {_choice(fastest, format_si(getattr(fastest.run, which).latency_s.mean, 's'))}")
        for scope, least in found.least_energy.items():
            joules = format_si(getattr(least.run, which).energy_j.mean, "J")
            say(out, f"  least energy ({scope}): {_choice(least, joules)}")
            if len(members := found.fronts[scope]) > 1:
                say(out, f"    Pareto front, by latency: {', '.join(_label(run) for run in members)}")


def _print_paper(statements: list[Statement], out: Console) -> None:
    from hil.report.tables import say

    if statements:
        say(out, "\nwhat the paper says (arXiv 2503.22567), and what hil predicts")
    for one in statements:
        say(out, f"  {one.verdict}: {one.text}\n    {one.predicted} ({one.fidelity})")


def _label(run: Run) -> str:
    return f"{run.platform} {run.operating_point}"


def _choice(choice: Choice, value: str) -> str:
    text = f"{_label(choice.run)}, {value}" + (" (its interval crosses the budget)" if choice.open else "")
    if choice.rivals:
        text += f"; cannot be told apart: {', '.join(_label(run) for run in choice.rivals)}"
    return text


def _keys(run: Run) -> dict[str, Any]:
    return {
        "network": run.network,
        "platform": run.platform,
        "operating_point": run.operating_point,
        "backend": run.backend,
        "fidelity": run.fidelity,
    }


def _run_document(analysis: RunAnalysis) -> dict[str, Any]:
    from dataclasses import asdict

    run, causes = analysis.run, analysis.causes
    return {
        **_keys(run),
        "fits": run.fits,
        "total_s": run.total.latency_s.model_dump(),
        "phase_shares": analysis.phases,
        "inference_s": analysis.inference_s,
        "achieved_macs_per_s": analysis.achieved_macs_per_s,
        "peak_macs_per_s": run.peak_macs_per_s,
        "utilization": analysis.utilization,
        "causes_s": causes.seconds if causes is not None else None,
        "why": analysis.why,
        "missing": analysis.missing,
        "notes": list(analysis.notes),
        "ops": [asdict(op) for op in causes.ops] if causes is not None else [],
        "energy_j": run.total.energy_j.model_dump() if run.total.energy_j is not None else None,
        "steady_energy_j": run.steady.energy_j.model_dump() if run.steady.energy_j is not None else None,
        "inferences_per_j": analysis.inferences_per_j.model_dump() if analysis.inferences_per_j is not None else None,
    }


def _best_document(found: Best) -> dict[str, Any]:
    def choice(one: Choice | None) -> dict[str, Any] | None:
        if one is None:
            return None
        return {"run": _keys(one.run), "rivals": [_keys(run) for run in one.rivals], "open": one.open}

    return {
        "network": found.network,
        "runs": found.runs,
        "candidates": [_keys(run) for run in found.candidates],
        "within": found.within,
        "fastest": choice(found.fastest),
        "least_energy": {scope: choice(one) for scope, one in found.least_energy.items()},
        "fronts": {scope: [_keys(run) for run in members] for scope, members in found.fronts.items()},
    }


def _scale(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from hil.analyze.scaling import scale, sizes
    from hil.errors import ConfigError
    from hil.network.template import TEMPLATES

    if args.platform is None:
        raise ConfigError("--scale needs a platform", hint="choose it with --platform ID[,ID…]")
    if args.budget or args.why or args.steady:
        raise ConfigError("--budget, --steady and --why are about RUNS, not about --scale")
    if len(args.network) > 1:
        raise ConfigError("--scale takes one --network", hint=f"{', '.join(TEMPLATES)}, or a network")
    name = args.network[0] if args.network else "cnn"
    template = name if name in TEMPLATES else load_networks([name])[0]
    networks = sizes(args.scale, template, numbers(args.values) if args.values is not None else ())
    targets = load_targets(args.platform, args.operating_point, args.overrides, args.platform_path)
    if args.plot is not None and len(targets) > 1:
        raise ConfigError("--plot shows one platform", hint="choose it with --platform ID")
    found = [scale(args.scale, name, networks, target, cache_dir()) for target in targets]
    if args.plot is not None:
        from hil.analyze.plots import plot_scaling

        plot_scaling(found[0], args.plot)
    if args.json:
        document = {"schema": 1, "scalings": [_scaling_document(asdict(one)) for one in found]}
        sys.stdout.write(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        return 0
    for one in found:
        _print_scaling(one, console())
    return 0


def _scaling_document(document: dict[str, Any]) -> dict[str, Any]:
    for point in document["points"]:
        point["causes_s"] = point.pop("causes")["seconds"]
        for name in ("inference_s", "total_s"):
            point[name] = point[name].model_dump()
    return document


def _print_scaling(scaling: Scaling, out: Console) -> None:
    from hil.analyze.causes import CAUSES
    from hil.report.tables import factor, say
    from hil.units import format_count, format_si

    say(out, f"{scaling.template} on {scaling.platform}, {scaling.operating_point}, by {scaling.axis}")
    used = [cause for cause in CAUSES if any(point.causes.seconds[cause] for point in scaling.points)]
    table = _table(
        scaling.axis, "MACs", "infer", "x/÷", "exp.", "total", "CPU", "fit", *(_CAUSES.get(n, n) for n in used), left=0
    )
    for point, local in zip(scaling.points, (None, *scaling.exponents), strict=True):
        table.add_row(
            str(point.value),
            format_count(point.macs),
            format_si(point.inference_s.mean, "s").replace(" ", ""),
            factor(point.inference_s),
            "-" if local is None else f"{local:.2f}" if abs(local) < 100 else ">99",
            format_si(point.total_s.mean, "s").replace(" ", ""),
            str(point.fallback_ops) if point.fallback_ops else "-",
            "yes" if point.fits else "NO",
            *(_percent(_share(point.causes, cause)) for cause in used),
        )
    out.print(table)
    say(out, f"exp.: of latency over MACs since the line above, 1 is linear; typical {scaling.typical:.2f}")
    for change in scaling.changes:
        say(out, f"{scaling.axis} {change.before} to {change.after}: {_change(change)}")
    for note in scaling.notes:
        say(out, f"note: {note}")
    if not scaling.changes:
        say(out, "latency is linear in MACs here, and no limit was met")
    say(out, "")


def _change(change: Change) -> str:
    from hil.units import format_si

    parts = list(change.reasons)
    if change.cause is not None:
        what = {"step": "a step, {} above the trend", "flat": "grows slower than the MACs, {} below the line"}
        size = format_si(abs(change.excess_s), "s")
        blame = _CAUSES.get(change.cause, change.cause) + (f" at {change.op}" if change.op else "")
        parts.insert(0, f"{what[change.kind].format(size)}: {blame}")
    return "; ".join(parts)
