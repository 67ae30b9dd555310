"""``hil calibrate``: fit cost models to measurements and write the artefacts."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hil.cli.common import add_common, add_data, cache_dir, console, verb

if TYPE_CHECKING:
    from hil.calibrate.solve import UnitFit
    from hil.cost.artefact import Artefact


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verb(
        verbs,
        "calibrate",
        "fit the cost models of platforms to measurements",
        "hil calibrate max78000 --data my_board.csv --out my_calibration",
    )
    parser.add_argument("platforms", nargs="+", metavar="PLATFORM|all")
    add_data(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write (default: the calibration in use)")
    add_common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from hil.calibrate.artefacts import write_artefact
    from hil.data import data_dir

    results = fit_platforms(args.platforms, args.data, args.platform_path)
    folder = args.out or data_dir("calibration")
    for artefact, _ in results:
        write_artefact(artefact, folder)
    if args.json:
        documents = [json.loads(artefact.model_dump_json()) for artefact, _ in results]
        sys.stdout.write(json.dumps({"schema": 1, "artefacts": documents}, indent=1) + "\n")
    else:
        _table([artefact for artefact, _ in results])
        sys.stdout.write(f"written to {folder}\n")
    return 0


def fit_platforms(
    chosen: list[str], data: list[Path], platform_path: list[Path]
) -> list[tuple[Artefact, list[UnitFit]]]:
    """Fit the chosen platforms (``all``: those with measurements), two at a time, telling on stderr which."""
    from concurrent.futures import ProcessPoolExecutor

    from hil.calibrate.dataset import load_measurements
    from hil.calibrate.units import tasks
    from hil.platform import load_platform, platform_files

    measurements = load_measurements(data)
    every = "all" in chosen
    ids = list(platform_files(platform_path)) if every else list(dict.fromkeys(chosen))
    platforms = [load_platform(platform_id, platform_path) for platform_id in ids]
    if every:
        platforms = [platform for platform in platforms if tasks(platform, measurements)]
    jobs = [(platform.id, data, platform_path) for platform in platforms]
    results = []
    with ProcessPoolExecutor(max_workers=min(2, len(jobs)) or 1) as pool:
        for job, result in zip(jobs, pool.map(_fit_one, jobs), strict=True):
            sys.stderr.write(f"hil: {job[0]}: fitted\n")
            results.append(result)
    return results


def _fit_one(job: tuple[str, list[Path], list[Path]]) -> tuple[Artefact, list[UnitFit]]:
    from hil.calibrate.artefacts import calibrate_platform
    from hil.calibrate.dataset import load_measurements, load_network
    from hil.calibrate.units import tasks
    from hil.platform import load_platform

    platform_id, data, platform_path = job
    platform = load_platform(platform_id, platform_path)
    found = tasks(platform, load_measurements(data))
    return calibrate_platform(platform_id, found, load_network, cache_dir())


def _table(artefacts: list[Artefact]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("platform", "stack"):
        table.add_column(name, no_wrap=True)
    for name in ("networks", "rows", "parameters", "identified", "held-out latency", "energy"):
        table.add_column(name, justify="right")
    for artefact in artefacts:
        for fit in artefact.fits:
            latency, energy = fit.errors.get("latency_s:network"), fit.errors.get("energy_j:network")
            table.add_row(
                artefact.platform,
                fit.stack,
                str(len(fit.networks)),
                str(sum(fit.rows.values())),
                str(len(fit.parameters)),
                str(sum(parameter.identified for parameter in fit.parameters)),
                f"{latency.median_ape:.0%} / {latency.p90_ape:.0%}" if latency else "-",
                f"{energy.median_ape:.0%} / {energy.p90_ape:.0%}" if energy else "-",
            )
    console().print(table)
