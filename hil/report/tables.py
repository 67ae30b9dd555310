"""Tables for the terminal, at most 100 columns wide: every figure with its unit, interval and fidelity."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TextIO

from hil.backend.run import Interval, OutputFigures, PhaseFigures, Run
from hil.units import format_bytes, format_si

if TYPE_CHECKING:
    from rich.console import Console

    from hil.errors import HilError

_DAY_S = 86_400.0


def say(out: Console, text: str) -> None:
    """A line of text as it is: no markup, not cut at the width of tables."""
    out.print(text, markup=False, soft_wrap=True)


def print_runs(runs: Sequence[Run], out: Console) -> None:
    """One table per platform and operating point, and below it why networks do not fit or leave the accelerator.

    ``x/÷`` is the 90 % interval as a factor: 10 ms with 1.5 means 6.7 ms to 15 ms.
    """
    from rich.table import Table

    for group in _groups(runs):
        first = group[0]
        energy = first.total.energy_j
        scope = f"{energy.scope}, {energy.fidelity or first.fidelity}" if energy else "no energy"
        clocks = ", ".join(f"{name} {format_si(hz, 'Hz')}" for name, hz in first.provenance.clocks_hz.items())
        say(out, f"\n{first.platform}, {first.operating_point} ({clocks}); {first.backend}, {first.fidelity}")
        say(out, f"latency by phase and end to end; energy: {scope}; x/÷ is the 90 % interval as a factor")
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column("network", max_width=16, no_wrap=True, overflow="ellipsis")
        table.add_column("fit", no_wrap=True)
        for name in (
            "CPU",
            "init",
            "mem I/O",
            "infer",
            "post",
            "total",
            "x/÷",
            "energy",
            "x/÷",
            "power",
            "weights",
            "activ.",
        ):
            table.add_column(name, justify="right", no_wrap=True)
        for run in group:
            table.add_row(*_row(run))
        out.print(table)
        _print_remarks(group, out)
    if runs:
        say(
            out,
            "\nCPU: ops that leave the NPU.  init: npu_init.  mem I/O: weight_load + input_load + output_read."
            "\ntotal: npu_init to post_process, once.  weights, activ.: share of the memory they must fit into.",
        )


def _groups(runs: Sequence[Run]) -> list[list[Run]]:
    groups: dict[tuple[str, str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.platform, run.operating_point, run.backend), []).append(run)
    return list(groups.values())


def _row(run: Run) -> list[str]:
    energy = run.total.energy_j
    npu = run.peak_macs_per_s is not None
    return [
        run.network,
        "yes" if run.fits else "NO",
        str(len(run.fallback_ops)) if npu else "-",
        _seconds(run.phases.get("npu_init")),
        _seconds(run.memory_io),
        _seconds(run.phases.get("inference")),
        _seconds(run.phases.get("post_process")),
        _seconds(run.total),
        factor(run.total.latency_s),
        _short(energy.mean, "J") if energy is not None else "-",
        factor(energy) if energy is not None else "-",
        _short(run.total.power_w, "W"),
        share(run.memory.weight_bytes, run.memory.weight_capacity_bytes),
        share(run.memory.activation_bytes, run.memory.activation_capacity_bytes),
    ]


def _seconds(part: PhaseFigures | None) -> str:
    return _short(part.latency_s.mean, "s") if part is not None else "-"


def _short(value: float | None, unit: str) -> str:
    """A quantity in as few characters as three digits allow."""
    return format_si(value, unit).replace(" ", "") if value else "-" if value is None else "0"


def factor(interval: Interval) -> str:
    """The interval as a factor either way (it is symmetric in the logarithm): ``1.53``."""
    if interval.mean <= 0 or interval.low <= 0:
        return "-"
    value = math.sqrt(interval.high / interval.low)
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def share(needed: int, capacity: int | None) -> str:
    """Need as a share of capacity; the need itself where the capacity is unknown."""
    return f"{needed / capacity:.0%}" if capacity else format_bytes(needed).replace(" ", "")


def _print_remarks(group: Sequence[Run], out: Console) -> None:
    for run in group:
        for reason in run.reasons:
            say(out, f"  {run.network} does not fit: {reason}")
    fallbacks: dict[tuple[str, str], list[str]] = {}
    for run in group:
        for op in run.fallback_ops:
            fallbacks.setdefault((op.type, op.reason), []).append(run.network)
    extrapolated: dict[str, list[str]] = {}
    for run in group:
        for note in run.notes:
            if note.startswith("extrapolated: "):
                extrapolated.setdefault(note.partition(" outside")[0], []).append(run.network)
    for what, names_of in extrapolated.items():
        say(out, f"  {what} beyond what was measured here: {', '.join(names_of)}")
    for (kind, reason), networks in fallbacks.items():
        names = ", ".join(f"{name} ({networks.count(name)})" for name in dict.fromkeys(networks))
        say(out, f"  {kind} on the CPU: {reason}: {names}")
    _print_board_remarks(group, out)


# Remarks that start so tell of how a board ran the network.
_BOARD_NOTES = ("emulated with", "the board", "one window", "passed on retry")


def _print_board_remarks(group: Sequence[Run], out: Console) -> None:
    """What a board showed beside times: outputs against the reference interpreter's, accuracy, trouble on the link."""
    remarks: dict[str, list[str]] = {}
    for run in group:
        if run.board is None:
            continue
        for note in run.notes:
            if note.startswith(_BOARD_NOTES) or "no kernel in the firmware" in note:
                remarks.setdefault(note, []).append(run.network)
        if run.outputs is not None:
            remarks.setdefault(_outputs(run.outputs), []).append(run.network)
        if (accuracy := run.accuracy) is not None:
            text = (
                f"{accuracy.data_set}: {accuracy.correct} of {accuracy.samples} right, {accuracy.reference_correct} in"
                f" the reference interpreter, {accuracy.different_predictions} predictions differ"
            )
            remarks.setdefault(text, []).append(run.network)
    for text, networks in remarks.items():
        say(out, f"  {text}: {', '.join(networks)}")


def _outputs(outputs: OutputFigures) -> str:
    if outputs.equal is None:
        agree = "agree with" if outputs.results_equal else "DIFFER from"
        return f"printed results {agree} the reference interpreter's"
    if outputs.equal:
        return "outputs equal the reference interpreter's, byte for byte"
    return f"outputs DIFFER from the reference interpreter's in {outputs.different_bytes} of {outputs.bytes} bytes"


def print_throughput(runs: Sequence[Run], out: Console) -> None:
    """Inferences per second back to back; nothing where only one was asked for."""
    rates = [(run, run.timeline.throughput_hz) for run in runs if run.timeline is not None]
    known = [(run, rate) for run, rate in rates if rate is not None]
    if known:
        say(out, "\nback to back:")
    for run, rate in known:
        say(out, f"  {run.network} on {run.platform}: {rate:.3g} inferences per second")


def print_duty(runs: Sequence[Run], out: Console) -> None:
    """Average power and battery life per run and wait state; nothing where no period was asked for."""
    from rich.table import Table

    periodic = [run for run in runs if run.period_s is not None]
    if not periodic:
        return
    say(out, f"\none inference every {format_si(periodic[0].period_s, 's')}: what to do in between")
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("network", max_width=16, no_wrap=True)
    table.add_column("platform", no_wrap=True)
    table.add_column("wait in", no_wrap=True)
    table.add_column("weights", no_wrap=True)
    for name in ("active", "avg power", "x/÷", "energy/period", "battery life"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for run in periodic:
        for duty in run.duty:
            table.add_row(
                run.network,
                run.platform,
                duty.state,
                "reload" if duty.reloads_weights else "keep",
                format_si(duty.active_s, "s"),
                format_si(duty.average_power_w.mean, "W"),
                factor(duty.average_power_w),
                format_si(duty.energy_per_period_j, "J"),
                _days(duty.battery_life_s),
                "best" if duty.best else "" if duty.wake_known else "wake-up unknown",
            )
        if not run.duty:
            known = run.total.energy_j is not None
            why = "takes longer than the period" if known else "its energy is not known"
            table.add_row(run.network, run.platform, why, "", "", "", "", "", "", "")
    out.print(table)
    scopes = sorted({run.total.energy_j.scope for run in periodic if run.total.energy_j is not None})
    if scopes:
        say(out, f"power and battery life cover {'; '.join(scopes)} only; the rest of a board comes on top")


def _days(seconds: float) -> str:
    days = seconds / _DAY_S
    return f"{days / 365.25:.1f} years" if days > 730 else f"{days:.0f} days" if days >= 10 else f"{days:.1f} days"


def print_failures(failures: Iterable[tuple[str, str, HilError]], stream: TextIO) -> None:
    """Pairs that could not be planned or run, with their hint: one line for all networks that failed alike."""
    alike: dict[tuple[str, str], list[str]] = {}
    for network, platform, error in failures:
        hint = f" ({error.hint})" if error.hint else ""
        alike.setdefault((platform, f"{error.message}{hint}"), []).append(network)
    for (platform, what), networks in alike.items():
        which = networks[0] if len(networks) == 1 else f"{len(networks)} networks"
        stream.write(f"hil: {which} on {platform}: {what}\n")
