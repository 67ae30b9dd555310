"""Which figures of two sides are of the same thing, and where they are not: what differs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from hil.backend.run import Run
from hil.calibrate.checks import CLOCK_TOLERANCE
from hil.calibrate.dataset import Measurement, load_measurements, load_network_of
from hil.calibrate.design import phases_of
from hil.compare.reading import METRIC_OF, UNITS, Metric, Reading, canonical, reading_of, reading_of_measurement
from hil.cost import SUMS
from hil.errors import CalibrationError, ConfigError, ResultsError
from hil.network.graph import POOL_OPS, VIEW_OPS
from hil.plan import PHASES
from hil.units import format_bytes, format_count, format_si

if TYPE_CHECKING:
    from hil.network import Network

__all__ = [
    "PUBLISHED",
    "UNITS",
    "Matches",
    "Metric",
    "Pair",
    "Reading",
    "Side",
    "differences",
    "load_side",
    "match",
    "reading_of",
    "run_label",
]

PUBLISHED = "published"
# What two runs are compared in: power is energy over latency, which are compared already.
RUN_METRICS: tuple[Metric, ...] = ("latency", "energy")
RUN_PHASES = (*(phase for phase in PHASES if phase != "idle"), *SUMS)
# A regulator holds its voltage to about this; switching energy goes with its square.
_SUPPLY_TOLERANCE = 0.01
# Of the bytes of two descriptions of one network: biases take 8 or 32 bits.
_WEIGHTS_TOLERANCE = 0.15
# Words of the data set that say nothing.
_NOT_STATED = ("", "unstated", "int")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two readings of one network, platform, metric and phase; ``differences``: why they are not comparable."""

    a: Reading
    b: Reading
    differences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Side:
    """What is compared: runs, or published measurements.  ``name`` is what the user called it.  ``every``: each
    measurement is answered for, also those that cannot be compared."""

    name: str
    runs: tuple[Run, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    every: bool = False


@dataclass(frozen=True, slots=True)
class Matches:
    """Pairs in the order of the first side; ``only_a`` and ``only_b`` name runs that have no counterpart."""

    pairs: tuple[Pair, ...]
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()


def load_side(text: str, extra: Sequence[Path] = ()) -> Side:
    """A side by its name: ``published``, a folder of results, or a record file; ``extra``: further measurements.

    Raises ResultsError or CalibrationError.
    """
    from hil.bench.store import read_runs

    if text == PUBLISHED:
        return Side(text, measurements=load_measurements(extra))
    try:
        return Side(text, runs=tuple(read_runs(Path(text))))
    except ResultsError as error:
        raise ResultsError(error.message, hint=f"{error.hint}; or the word '{PUBLISHED}'") from error


def match(a: Side, b: Side, platform_path: Sequence[Path] = ()) -> Matches:
    """Pair the figures of two sides by network, platform, operating point, metric, phase and scope.

    Runs of one network and platform that differ in the rest are paired in their total, with what differs; a run that no
    publication of a metric and phase fits is paired with the nearest one.  Publications without a run are left out.

    Raises ConfigError where both sides are publications.
    """
    if a.measurements and b.measurements:
        raise ConfigError("both sides are published measurements", hint="one of them must be a run: hil bench --out")
    if a.runs and b.runs:
        return _match_runs(a.runs, b.runs, platform_path)
    published_first = bool(a.measurements)
    runs, rows = (b.runs, a.measurements) if published_first else (a.runs, b.measurements)
    fitted = frozenset(row.record for row in rows if row.use == "fit")
    pairs: list[Pair] = []
    alone: list[str] = []
    for run in runs:
        found = _match_published(run, rows, fitted, platform_path, a.every or b.every)
        pairs += [Pair(p.b, p.a, p.differences) for p in found] if published_first else found
        if not found:
            alone.append(run_label(run))
    return Matches(tuple(pairs), only_b=tuple(alone)) if published_first else Matches(tuple(pairs), tuple(alone))


def run_label(run: Run) -> str:
    """What a run is called in lists."""
    changed = "".join(f" {key}={value}" for key, value in sorted(run.provenance.overrides.items()))
    return f"{run.network} on {run.platform} at {run.operating_point}{changed} ({run.backend})"


# Pairs


Architecture = tuple[tuple[int, ...], tuple[str, ...]]


def _architecture(ops: Iterable[tuple[str, int]]) -> Architecture:
    """What two descriptions of one network share whatever tool wrote them: the MACs of every op that has any, in their
    order, and the types of the others but for views, with all pools alike.  ``ops``: (type, MACs)."""
    listed = list(ops)
    others = ("pool" if kind in POOL_OPS else kind for kind, macs in listed if not macs and kind not in VIEW_OPS)
    return tuple(macs for _, macs in listed if macs), tuple(sorted(others))


def _architecture_of_run(run: Run) -> Architecture:
    return _architecture((op.type, op.macs) for op in run.ops)


@lru_cache(maxsize=512)
def _architecture_of_network(network: Network) -> Architecture:
    return _architecture((op.type, op.macs) for op in network.ops)


def _same_weights(one: int, other: int) -> bool:
    """Weights of fewer bits make another network."""
    return abs(one - other) <= _WEIGHTS_TOLERANCE * max(one, other)


def _match_runs(a: Sequence[Run], b: Sequence[Run], platform_path: Sequence[Path]) -> Matches:
    by_condition: dict[object, list[Run]] = {}
    by_network: dict[object, list[Run]] = {}
    for run in b:
        by_condition.setdefault(_condition(run), []).append(run)
        by_network.setdefault((run.platform, run.network), []).append(run)
    pairs: list[Pair] = []
    alone: list[str] = []
    used: set[int] = set()
    for run in a:
        exact = by_condition.get(_condition(run), [])
        # Where a side holds several backends, each meets its like.
        exact = [other for other in exact if other.backend == run.backend] or exact
        for other in exact:
            pairs += _pairs_of(run, other, RUN_PHASES, platform_path)
        near = [] if exact else by_network.get((run.platform, run.network), [])
        for other in near:
            pairs += _pairs_of(run, other, ("total",), platform_path)
        used.update(id(other) for other in (*exact, *near))
        if not exact and not near:
            alone.append(run_label(run))
    return Matches(tuple(pairs), tuple(alone), tuple(run_label(run) for run in b if id(run) not in used))


def _condition(run: Run) -> object:
    """What two runs must share to be compared in every phase."""
    overrides = canonical(run.provenance.overrides)
    return run.platform, run.operating_point, overrides, _architecture_of_run(run) if run.ops else run.network


def _pairs_of(run: Run, other: Run, phases: Iterable[str], platform_path: Sequence[Path]) -> Iterator[Pair]:
    own = _network_difference(run, other)
    for metric in RUN_METRICS:
        for phase in phases:
            a, b = reading_of(run, metric, phase, platform_path), reading_of(other, metric, phase, platform_path)
            if a is not None and b is not None and (a.value > 0 or b.value > 0):
                yield Pair(a, b, (*own, *differences(a, b)))


def _network_difference(run: Run, other: Run) -> tuple[str, ...]:
    one, two = run.network_info, other.network_info
    alike = bool(run.ops and other.ops) and _architecture_of_run(run) == _architecture_of_run(other)
    if one.hash == two.hash or (alike and _same_weights(one.weight_bytes, two.weight_bytes)):
        return ()
    sizes = [
        f"{format_count(info.macs)} MAC, {format_bytes(info.weight_bytes)} of weights, hash {info.hash[:8]}"
        for info in (one, two)
    ]
    return (f"network {run.network}: {sizes[0]} against {sizes[1]}",)


def _match_published(
    run: Run, rows: Iterable[Measurement], fitted: Collection[str], platform_path: Sequence[Path], every: bool
) -> list[Pair]:
    """The publications of a run's network on its platform that it may be compared with; where there are none of a
    metric and phase, the one that differs in the least, with what differs.  ``every``: all, whatever differs."""
    comparable: list[Pair] = []
    nearest: dict[tuple[Metric, str], Pair] = {}
    for row in rows:
        if not _joinable(row) or row.platform != run.platform or not _same_network(run, row):
            continue
        b = reading_of_measurement(row, fitted)
        a = reading_of(run, b.metric, b.phase, platform_path, above_idle=row.baseline == "above-idle")
        # Of another scope rather than none: then that is what differs.
        a = a or reading_of(run, b.metric, b.phase, platform_path)
        if a is None or a.value <= 0:
            continue
        # Under the run's name, whatever the data set calls the network.
        pair = Pair(a, replace(b, network=a.network, macs=a.macs), differences(a, b))
        key = (b.metric, b.phase)
        if every or not pair.differences:
            comparable.append(pair)
        elif key not in nearest or len(pair.differences) < len(nearest[key].differences):
            nearest[key] = pair
    done = {(pair.b.metric, pair.b.phase) for pair in comparable}
    return comparable + [pair for key, pair in nearest.items() if key not in done]


def _joinable(row: Measurement) -> bool:
    """Does the row hold a figure of a described network that a run has too?"""
    return (
        row.use != "exclude"
        and row.quantity in METRIC_OF
        and row.network_match in ("exact", "same-architecture", "approximate")
        and all(phase in PHASES for phase in phases_of(row.phase))
    )


def _same_network(run: Run, row: Measurement) -> bool:
    if row.network == run.network:
        return True
    try:
        network = load_network_of(row)
    except CalibrationError:
        return False
    if network.hash == run.network_info.hash:
        return True
    alike = bool(run.ops) and _architecture_of_network(network) == _architecture_of_run(run)
    return alike and _same_weights(network.weight_bytes, run.network_info.weight_bytes)


def differences(a: Reading, b: Reading) -> tuple[str, ...]:
    """Why two readings of one network are not comparable, in words; empty where they are.

    What one side does not state cannot differ.  The supply voltage matters to energy and power alone.
    """
    return tuple(_differences(a, b))


def _differences(a: Reading, b: Reading) -> Iterator[str]:
    if a.platform != b.platform:
        yield f"platform {a.platform} against {b.platform}"
    if a.operating_point != b.operating_point:
        yield f"operating point {a.operating_point or 'unknown'} against {b.operating_point or 'unknown'}"
    if a.overrides != b.overrides:
        yield f"overrides {_shown(a.overrides)} against {_shown(b.overrides)}"
    other = dict(b.clocks_hz)
    for domain, hertz in a.clocks_hz:
        if domain in other and abs(hertz / other[domain] - 1) > CLOCK_TOLERANCE:
            yield f"{domain} clock {format_si(hertz, 'Hz')} against {format_si(other[domain], 'Hz')}"
    if a.metric != "latency" and a.supply_v and b.supply_v and abs(a.supply_v / b.supply_v - 1) > _SUPPLY_TOLERANCE:
        yield f"supply {a.supply_v:g} V against {b.supply_v:g} V"
    for what in ("precision", "software", "stack"):
        one, two = getattr(a, what), getattr(b, what)
        if one not in _NOT_STATED and two not in _NOT_STATED and one != two:
            yield f"{'software stack' if what == 'stack' else what} {one} against {two}"
    if a.scope != b.scope:
        yield f"{a.metric} scope {a.scope or 'unknown'} against {b.scope or 'unknown'}"
    yield from dict.fromkeys(reading.doubt for reading in (a, b) if reading.doubt)


def _shown(overrides: tuple[tuple[str, str], ...]) -> str:
    return "; ".join(f"{key}={value}" for key, value in overrides) or "none"
