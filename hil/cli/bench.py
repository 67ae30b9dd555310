"""``hil bench``: networks times platforms on one backend; a table, records, flat files and a page."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from hil.cli.common import add_common, add_targets, cache_dir, console, load_networks, load_targets, verb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hil.backend import Run, RunOptions
    from hil.bench import Bench, BenchResult, Store
    from hil.network import Network
    from hil.platform import Target

_PROGRESS_EVERY_S = 2.0


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verb(
        verbs,
        "bench",
        "benchmark networks on platforms: latency, power, energy by phase, memory, fit",
        "hil bench my_model.tflite --platform all --out out/mine",
    )
    parser.add_argument(
        "networks",
        nargs="*",
        default=["zoo:all"],
        metavar="FILE|zoo:NAME",
        help="a .tflite file, a layer list (.json), zoo:NAME or zoo:all (default)",
    )
    add_targets(parser)
    parser.add_argument(
        "--backend", default="analytic", help="what runs it: analytic (default), qemu, renode, serial, replay"
    )
    parser.add_argument("--repeat", type=_positive, default=1, metavar="N", help="inferences back to back (default: 1)")
    parser.add_argument(
        "--period", metavar="TIME", help="one inference per period, such as 1s: power states and battery life"
    )
    parser.add_argument(
        "--battery",
        default="0.675Wh",
        metavar="ENERGY",
        help="battery for --period (default: a CR2032, 225 mAh at 3 V)",
    )
    parser.add_argument("--out", type=_folder, metavar="DIR", help="write records, tables and report.html there")
    parser.add_argument("--overwrite", action="store_true", help="replace another bench in that folder")
    parser.add_argument("--uncalibrated", action="store_true", help="what the priors alone say, without calibration")
    _add_board(parser)
    add_common(parser)
    parser.set_defaults(run=run)


def _add_board(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("boards, real and emulated")
    group.add_argument("--port", metavar="PORT|URL", help="serial: /dev/ttyACM0, a PTY, socket://…, rfc2217://…")
    group.add_argument("--board", metavar="ID", help="serial: a board of boards.toml (see hil boards)")
    group.add_argument("--baud", type=_positive, metavar="RATE", help="its rate (default: 115200)")
    group.add_argument("--capture", metavar="FILE", help="replay: the raw capture of a run")
    group.add_argument(
        "--warmups", type=_count, metavar="N", help="inferences before timing (default: 10; none on an emulated board)"
    )
    group.add_argument("--window", metavar="TIME", help="time so many inferences that they take at least this, as 10s")
    group.add_argument("--windows", type=_positive, default=1, metavar="N", help="timed windows (default: 1)")
    group.add_argument("--data-set", metavar="SET", help="accuracy over a data set: digits, or a .npz: inputs, labels")
    group.add_argument("--meter", metavar="METER", help="serial: measure energy: ppk2, otii, … (see hil meters)")
    group.add_argument("--meter-rate", metavar="RATE", help="samples per second, as 10kHz (default: the most it can)")
    group.add_argument(
        "--meter-trigger",
        choices=("software", "hardware"),
        default="software",
        help="hardware: the board's pin starts the recording (lpm01a, stlink_v3pwr)",
    )
    group.add_argument("--site", metavar="TEXT", help="what the meter measures (default: the platform's power scope)")
    group.add_argument("--seed", type=_count, default=1, metavar="N", help="of the random input (default: 1)")


def _folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("'' is not a folder")
    return Path(text)


def _positive(text: str) -> int:
    try:
        count = int(text)
    except ValueError:
        count = 0
    if not 1 <= count <= 100_000:
        raise argparse.ArgumentTypeError(f"'{text}' is not a count from 1 to 100000")
    return count


def _count(text: str) -> int:
    return 0 if text == "0" else _positive(text)


def run(args: argparse.Namespace) -> int:
    from hil.backend import Surroundings, make_backend
    from hil.bench import Bench, Store, to_json
    from hil.errors import MeterError
    from hil.report.measured import print_measured
    from hil.report.page import write_page
    from hil.report.tables import print_duty, print_failures, print_runs, print_throughput, say

    captures = args.out / "captures" if args.out is not None else None
    backend = make_backend(args.backend, Surroundings(captures, tuple(args.platform_path)))
    options = _options(args)
    networks = load_networks(args.networks)
    targets = _targets(args)
    _check_board(args, networks, targets, options)
    bench = Bench(networks, targets, backend, options, cache=cache_dir())
    store = Store(args.out) if args.out is not None else None
    result = _with_progress(bench, store, overwrite=args.overwrite)
    if store is not None and result.runs:
        write_page(result.runs, args.out / "report.html", args.platform_path, cache_dir())
    if args.json:
        sys.stdout.write(to_json(result.runs))
    else:
        out = console()
        print_runs(result.runs, out)
        print_measured(result.runs, out)
        print_throughput(result.runs, out)
        print_duty(result.runs, out)
        if result.resumed:
            say(out, f"resumed: {result.resumed} runs were already there")
        if args.out is not None:
            say(out, f"records, tables and report.html: {args.out}")
    print_failures(result.failures, sys.stderr)
    failed = max((error.exit_code for _, _, error in result.failures), default=0)
    for run in result.runs:
        if run.meter is not None and (why := run.meter.refused.get("inference")) is not None:
            sys.stderr.write(f"hil: {run.network} on {run.platform}: energy not measured: {why}\n")
            failed = max(failed, MeterError.exit_code)
    return failed or int(any(_disagrees(run) for run in result.runs))


def _disagrees(run: Run) -> bool:
    """Whether an emulated board gave other outputs than the reference, or any board another prediction.

    Single bytes on real boards are no failure: vendors' kernels round otherwise.
    """
    other_bytes = run.fidelity == "emulated" and run.outputs is not None and run.outputs.equal is False
    return other_bytes or (run.accuracy is not None and run.accuracy.different_predictions > 0)


def _targets(args: argparse.Namespace) -> list[Target]:
    """The platforms that were asked for; those of the board where it is an entry of the map."""
    platform, point = args.platform, args.operating_point
    if args.board is not None:
        from hil.board.boards import get_board, load_boards

        board = get_board(load_boards(None, args.platform_path), args.board)
        platform = board.platform if platform == "all" else platform
        point = point or board.operating_point
    return load_targets(platform, point, args.overrides, args.platform_path)


def _check_board(
    args: argparse.Namespace, networks: Sequence[Network], targets: Sequence[Target], options: RunOptions
) -> None:
    """Options of boards that the backend does not take, or a board that cannot be all that was asked for."""
    from hil.backend import BoardOptions
    from hil.errors import ConfigError

    if args.backend == "analytic" and options.board != BoardOptions():
        raise ConfigError("the analytic backend has no board", hint="--backend qemu, renode, serial or replay")
    told = [name for name in ("meter_rate", "site") if getattr(args, name) is not None]
    told += ["meter_trigger"] if args.meter_trigger != "software" else []
    if args.meter == "":
        raise ConfigError("--meter '': which one?", hint="hil meters lists them")
    if args.backend != "serial" and (args.meter or told):
        hint = "a replay takes the traces beside the capture" if args.backend == "replay" else "--backend serial"
        raise ConfigError(f"no meter can watch {args.backend}", hint=hint)
    if told and args.meter is None and args.board is None:
        raise ConfigError(f"--{told[0].replace('_', '-')} without a meter", hint="--meter NAME; hil meters lists them")
    if args.backend not in ("serial", "replay"):
        if args.port or args.board or args.capture:
            raise ConfigError(f"--port, --board and --capture mean nothing to {args.backend}", hint="--backend serial")
    elif len(networks) != 1 or len(targets) != 1:
        raise ConfigError(
            f"a board is one platform that runs one network; asked for {len(targets)} and {len(networks)}",
            hint="hil bench zoo:ic --platform max78000 --backend serial --port /dev/ttyACM0",
        )


def _options(args: argparse.Namespace) -> RunOptions:
    from hil.backend import BoardOptions, RunOptions
    from hil.errors import ConfigError
    from hil.units import parse_quantity

    period = parse_quantity(args.period, "s") if args.period is not None else None
    battery_j = parse_quantity(args.battery, "Wh") * 3600.0
    if period is not None and period <= 0:
        raise ConfigError(f"--period {args.period}: must be longer than nothing")
    if battery_j <= 0:
        raise ConfigError(f"--battery {args.battery}: must hold something")
    window_s = parse_quantity(args.window, "s") if args.window is not None else None
    if window_s is not None and window_s <= 0:
        raise ConfigError(f"--window {args.window}: must be longer than nothing")
    board = BoardOptions(
        port=args.port,
        board=args.board,
        baud=args.baud,
        capture=args.capture,
        warmups=args.warmups,
        window_s=window_s,
        windows=args.windows,
        data_set=args.data_set,
        seed=args.seed,
        meter=args.meter,
        meter_rate_hz=parse_quantity(args.meter_rate, "Hz") if args.meter_rate is not None else None,
        meter_trigger=args.meter_trigger,
        site=args.site,
    )
    return RunOptions(args.repeat, not args.uncalibrated, period, battery_j, board)


def _with_progress(bench: Bench, store: Store | None, *, overwrite: bool) -> BenchResult:
    """Run with a bar on stderr; where that is no terminal, a line every two seconds."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    if not sys.stderr.isatty():
        last = time.monotonic()

        def tell(done: int, total: int, what: str) -> None:
            nonlocal last
            if time.monotonic() - last >= _PROGRESS_EVERY_S:
                last = time.monotonic()
                sys.stderr.write(f"hil: {done} of {total}: {what}\n")

        return bench.run(store, tell, overwrite=overwrite)
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("start", total=None)
        return bench.run(
            store,
            lambda done, total, what: bar.update(task, completed=done, total=total, description=what),
            overwrite=overwrite,
        )
