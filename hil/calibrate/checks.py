"""Checks of the data set: duplicates, contradictions, E = P·t, plausible units, references that resolve.

Every check takes measurements and yields findings; none changes anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal

from hil.calibrate.dataset import (
    OWN_SOURCE,
    Measurement,
    load_network_of,
    network_file,
    network_names,
    scope_label,
    sources,
    target_of,
)
from hil.errors import HilError
from hil.platform import Target, platform_files
from hil.units import format_si

Severity = Literal["error", "warning", "note"]
SEVERITIES: Final[tuple[Severity, ...]] = ("error", "warning", "note")

# Two figures of the same thing that differ by more contradict each other.
CONTRADICTION: Final = 0.10
# Energy, power and time are printed rounded, and power is often the mean over a slightly longer window.
ENERGY_TOLERANCE: Final = 0.15
CLOCK_TOLERANCE: Final = 0.02
# Of an inference; reading ten output bytes takes less.
LATENCY_RANGE_S: Final = (1e-6, 100.0)
STAGE_RANGE_S: Final = (1e-8, 100.0)
# From binary weights in an accelerator to a plain loop on a microcontroller of the 2010s.
ENERGY_PER_MAC_RANGE_J: Final = (1e-13, 2e-8)
# More 8-bit multiply-accumulates per cycle than any kernel of the core reaches.
CPU_MACS_PER_CYCLE: Final = {"cortex-m55": 8.0, "cortex-m85": 8.0, "xtensa-lx7": 16.0, "rv32-simd": 16.0, "rv64": 16.0}
OTHER_MACS_PER_CYCLE: Final = 2.0


@dataclass(frozen=True, slots=True)
class Finding:
    """Something worth a look: what kind, how bad, which rows, and in words."""

    check: str
    severity: Severity
    ids: tuple[str, ...]
    message: str


def run_checks(rows: Sequence[Measurement], platform_path: Sequence[Path] = ()) -> list[Finding]:
    """All findings, the worst first."""
    resolve = _Resolver(platform_path)
    found = [
        *references(rows, resolve),
        *repetitions(rows),
        *energies(rows),
        *plausibility(rows, resolve),
    ]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


class _Resolver:
    """Targets of rows, each made once; an error is kept and raised again."""

    def __init__(self, platform_path: Sequence[Path]) -> None:
        self.path = tuple(platform_path)
        self.known = frozenset(platform_files(platform_path))
        self._made: dict[tuple[str, str, str], Target | HilError] = {}

    def __call__(self, row: Measurement) -> Target | None:
        """The target, or None for a row whose platform or condition is not described.  Raises HilError."""
        if row.platform not in self.known or (not row.operating_point and row.use != "fit"):
            return None
        key = (row.platform, row.operating_point, row.overrides)
        if key not in self._made:
            try:
                self._made[key] = target_of(row, self.path)
            except HilError as error:
                self._made[key] = error
        made = self._made[key]
        if isinstance(made, HilError):
            raise made
        return made


def references(rows: Iterable[Measurement], resolve: Callable[[Measurement], Target | None]) -> Iterator[Finding]:
    """Platform, condition, network and source exist; clocks and scope are those of the platform file."""
    for row in rows:
        problems = list(_row_references(row, resolve))
        for problem in problems:
            yield Finding("reference", "error", (row.id,), problem)


def _row_references(row: Measurement, resolve: Callable[[Measurement], Target | None]) -> Iterator[str]:
    if row.source != OWN_SOURCE and row.source not in sources():
        yield f"source '{row.source}' is not in calibration/sources.toml"
    for name in filter(None, (row.network, *row.network_alternative.split(";"))):
        if ":" not in name and "." not in name and name not in network_names():
            yield f"network '{name}' is not in calibration/networks"
    try:
        target = resolve(row)
    except HilError as error:
        yield error.message
        return
    if target is None:
        if row.use == "fit":
            yield f"platform '{row.platform}' has no platform file, so the row cannot be fitted"
        return
    yield from _conditions(row, target)


def _conditions(row: Measurement, target: Target) -> Iterator[str]:
    """Clocks and voltage as measured are those of the operating point with its overrides."""
    supply = target.point.supply_v
    pairs = (
        ("host clock", row.clock_host_hz, target.host_clock_hz, "Hz"),
        ("accelerator clock", row.clock_npu_hz, target.npu_clock_hz, "Hz"),
        ("supply", row.supply_v, supply.value if supply is not None else None, "V"),
    )
    for what, measured, modelled, unit in pairs:
        if measured and modelled and abs(measured / modelled - 1) > CLOCK_TOLERANCE:
            here, there = format_si(measured, unit), format_si(modelled, unit)
            yield f"{what} {here}, but {target.operating_point} with its overrides has {there}"
    power = target.platform.power
    own = f"{scope_label(power)}, {power.baseline}"
    if row.use == "fit" and row.quantity in ("energy_j", "power_w") and f"{row.scope}, {row.baseline}" != own:
        yield f"fitted as {row.scope}, {row.baseline}, but the platform's scope is {own}"


def repetitions(rows: Iterable[Measurement]) -> Iterator[Finding]:
    """Figures of the same thing: their spread where they agree, a contradiction where they differ by over 10 %."""
    same: dict[tuple[object, ...], list[Measurement]] = {}
    for row in rows:
        if row.use != "exclude" and row.network and row.phase != "none":
            same.setdefault(row.condition, []).append(row)
    for group in same.values():
        fitted = [row for row in group if row.use == "fit"]
        if len(fitted) > 1:
            yield _repetition(fitted)
        elif len(group) > 1:
            yield _repetition(group)


def _repetition(group: Sequence[Measurement]) -> Finding:
    values = [row.value for row in group]
    # What the printed digits cannot tell apart is no contradiction.
    step = max(row.resolution for row in group)
    spread = max(values) / min(values) - 1
    blurred = max(max(values) - min(values) - step, 0.0) / min(values)
    first = group[0]
    what = f"{first.platform} {first.software} {first.network} {first.phase} {first.quantity.rsplit('_', 1)[0]}"
    shown = ", ".join(format_si(value, _unit(first)) for value in sorted(set(values))[:4])
    ids = tuple(row.id for row in group)
    if blurred <= CONTRADICTION:
        return Finding("duplicate", "note", ids, f"{what}: {len(group)} figures within {spread:.1%}: {shown}")
    severity: Severity = "warning" if all(row.use == "fit" for row in group) else "note"
    return Finding("contradiction", severity, ids, f"{what}: figures differ by {spread:.0%}: {shown}")


def energies(rows: Iterable[Measurement]) -> Iterator[Finding]:
    """E = P·t, where one measurement gives all three with the same scope and baseline."""
    records: dict[str, dict[str, Measurement]] = {}
    for row in rows:
        records.setdefault(row.record, {})[row.quantity] = row
    for record in records.values():
        if not {"latency_s", "energy_j", "power_w"} <= set(record):
            continue
        time, energy, power = record["latency_s"], record["energy_j"], record["power_w"]
        if (energy.scope, energy.baseline) != (power.scope, power.baseline):
            continue
        off = power.value * time.value / energy.value - 1
        if abs(off) > ENERGY_TOLERANCE:
            message = (
                f"{energy.platform} {energy.network or 'no network'}: {format_si(power.value, 'W')} for "
                f"{format_si(time.value, 's')} is {abs(off):.0%} {'over' if off > 0 else 'under'} "
                f"{format_si(energy.value, 'J')}"
            )
            severity: Severity = "warning" if energy.use == "fit" else "note"
            yield Finding("energy", severity, (time.id, energy.id, power.id), message)


def plausibility(rows: Iterable[Measurement], resolve: Callable[[Measurement], Target | None]) -> Iterator[Finding]:
    """Latency between 1 µs and 100 s, MAC rate below the peak, energy per MAC within what chips need."""
    for row in rows:
        if not row.network or row.use == "exclude":
            continue
        for problem in _implausible(row, resolve):
            yield Finding("plausibility", "error" if row.use == "fit" else "note", (row.id,), problem)


def _implausible(row: Measurement, resolve: Callable[[Measurement], Target | None]) -> Iterator[str]:
    shortest, longest = LATENCY_RANGE_S if "inference" in row.phases else STAGE_RANGE_S
    if row.quantity == "latency_s" and row.phase != "none" and not shortest <= row.value <= longest:
        between = f"{format_si(shortest, 's')} to {format_si(longest, 's')}"
        yield f"{row.platform} {row.network}: {format_si(row.value, 's')} is outside {between}; is it in seconds?"
    if row.phase != "inference":
        return
    macs = _macs(row)
    if not macs:
        return
    low, high = ENERGY_PER_MAC_RANGE_J
    if row.quantity == "energy_j" and row.network_match == "exact" and not low <= row.value / macs <= high:
        yield f"{row.platform} {row.network}: {format_si(row.value / macs, 'J')} per MAC; is the energy in joules?"
    if row.quantity == "latency_s":
        peak = _peak(row, resolve)
        if peak and macs / row.value > peak:
            rate = format_si(macs / row.value, "MAC/s")
            yield f"{row.platform} {row.network}: {rate} is above the peak of {format_si(peak, 'MAC/s')}"


def _peak(row: Measurement, resolve: Callable[[Measurement], Target | None]) -> float | None:
    """The most multiply-accumulates per second that the target can do; unknown where the row does not resolve."""
    try:
        target = resolve(row)
    except HilError:
        return None
    if target is None:
        return None
    if target.npu is not None:
        return target.npu.peak_macs_per_cycle.value * target.npu_clock_hz
    per_cycle = CPU_MACS_PER_CYCLE.get(target.host.isa, OTHER_MACS_PER_CYCLE)
    return per_cycle * target.host.count * target.host_clock_hz


def _macs(row: Measurement) -> int:
    return _stored_macs(row.network) or _counted_macs(row)


def _counted_macs(row: Measurement) -> int:
    try:
        return load_network_of(row).macs
    except HilError:
        return 0


@lru_cache(maxsize=512)
def _stored_macs(name: str) -> int:
    """The total at the top of a description of the data set, without reading its layers."""
    if name not in network_names():
        return 0
    macs = json.loads(network_file(name).read_bytes()).get("macs", 0)
    return macs if isinstance(macs, int) else 0


def _unit(row: Measurement) -> str:
    return {"latency_s": "s", "energy_j": "J", "power_w": "W", "memory_bytes": "B"}[row.quantity]
