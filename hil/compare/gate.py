"""The regression gate: did anything get worse from one set of runs to the next?

A change of time or energy counts where it exceeds a threshold and chance does not explain it: the 90 % interval of the
ratio excludes 1.  Predictions come out the same every time, and the interval of a cost model moves baseline and new
figures together, so between predictions the centres are compared and the threshold alone decides.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from hil.backend.run import OpFigures, OutputFigures, Run
from hil.compare.match import RUN_METRICS, RUN_PHASES, Side, differences, run_label
from hil.compare.reading import UNITS, Reading, canonical, is_immaterial, reading_of
from hil.compare.statistics import ratio_interval
from hil.compare.verdict import finite, percent
from hil.errors import ConfigError, ResultsError
from hil.units import format_si

SCHEMA_VERSION = 1
THRESHOLD = 0.05
Kind = Literal["figure", "op time", "placement", "fit", "outputs", "accuracy", "missing", "incomparable", "note"]
# An op is worth a line where it moved the inference by so much.
_OP_SHARE = 0.01
# memory_io is a sum of phases that are listed themselves.
_PHASES = tuple(phase for phase in RUN_PHASES if phase != "memory_io")


@dataclass(frozen=True, slots=True)
class Change:
    """Something that is not as it was.  ``worse``: it fails the gate; else it is better, or explains something.

    ``what`` is a phase, an op or a property; ``a`` and ``b`` are the baseline's and the new figure (SI, unit by
    ``metric``), ``change`` is b/a - 1 and ``interval`` what chance leaves open of it (90 %).
    """

    kind: Kind
    run: str
    what: str
    text: str
    worse: bool
    metric: str = ""
    a: float | None = None
    b: float | None = None
    change: float | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """The outcome: ``runs`` were compared; ``changes`` in the order of the baseline's runs."""

    baseline: str
    new: str
    threshold: float
    runs: int
    changes: tuple[Change, ...]

    @property
    def regressions(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.worse)

    @property
    def passed(self) -> bool:
        return not self.regressions


def gate(baseline: Side, new: Side, threshold: float = THRESHOLD, platform_path: Sequence[Path] = ()) -> Gate:
    """Compare every run of the baseline with the new run of the same network, platform, operating point and backend.

    Raises ConfigError for publications and a threshold that is none, ResultsError where a side has a run twice.
    """
    if baseline.measurements or new.measurements:
        raise ConfigError("published measurements are no baseline: they have no ops and no outputs", hint="hil compare")
    if not 0 < threshold <= 1:
        raise ConfigError(f"threshold {threshold:g}: expected more than 0 % and at most 100 %", hint="--threshold 5%")
    old_runs, new_runs = _by_key(baseline), _by_key(new)
    changes: list[Change] = []
    for key, run in old_runs.items():
        after = new_runs.get(key)
        if after is None:
            changes.append(Change("missing", key, "run", "the run has vanished", worse=True))
        else:
            changes += _changes(key, run, after, threshold, platform_path)
    changes += [
        Change("note", key, "run", "new: the baseline does not have it", worse=False)
        for key in new_runs
        if key not in old_runs
    ]
    return Gate(baseline.name, new.name, threshold, len(old_runs.keys() & new_runs.keys()), tuple(changes))


def document(result: Gate) -> dict[str, Any]:
    """The gate's outcome for JSON."""
    found: dict[str, Any] = finite(asdict(result))
    return {"schema": SCHEMA_VERSION, "passed": result.passed, **found}


def _by_key(side: Side) -> Mapping[str, Run]:
    """Runs by what they are called; overrides count by what they mean, not by how they are spelt."""
    runs: dict[str, Run] = {}
    for run in side.runs:
        provenance = run.provenance.model_copy(update={"overrides": dict(canonical(run.provenance.overrides))})
        key = run_label(run.model_copy(update={"provenance": provenance}))
        if key in runs:
            raise ResultsError(
                f"{side.name}: holds {key} twice", hint="a gate needs one run of each; remove one record"
            )
        runs[key] = run
    return runs


def _changes(key: str, a: Run, b: Run, threshold: float, platform_path: Sequence[Path]) -> Iterator[Change]:
    """Everything that differs between two runs of one key, what decides first."""
    yield from _fit(key, a, b)
    yield from _outputs(key, a, b)
    yield from _accuracy(key, a, b)
    yield from _conditions(key, a, b, platform_path)
    yield from _placements(key, a, b)
    yield from _figures(key, a, b, threshold, platform_path)
    yield from _op_times(key, a, b, threshold)


def _fit(key: str, a: Run, b: Run) -> Iterator[Change]:
    if a.fits and not b.fits:
        yield Change("fit", key, "memory", f"no longer fits: {'; '.join(b.reasons)}", worse=True)
    elif b.fits and not a.fits:
        yield Change("fit", key, "memory", "fits now", worse=False)


def _outputs(key: str, a: Run, b: Run) -> Iterator[Change]:
    before, after = _right(a.outputs), _right(b.outputs)
    if before is None and after is None:
        return
    if after is None:
        yield Change("outputs", key, "outputs", "are no longer checked against the reference", worse=True)
    elif not after:
        count = b.outputs.different_bytes if b.outputs is not None else None
        where = f" in {count} of {b.outputs.bytes} bytes" if b.outputs is not None and count else ""
        already = ", as in the baseline" if before is False else ""
        text = f"differ from the reference interpreter's{where}{already}"
        yield Change("outputs", key, "outputs", text, worse=before is not False)
    elif before is False:
        yield Change("outputs", key, "outputs", "equal the reference interpreter's now", worse=False)


def _right(outputs: OutputFigures | None) -> bool | None:
    """Do the outputs equal the reference?  None where nobody looked."""
    if outputs is None:
        return None
    return outputs.equal if outputs.equal is not None else outputs.results_equal


def _accuracy(key: str, a: Run, b: Run) -> Iterator[Change]:
    if a.accuracy is None:
        return
    if b.accuracy is None:
        yield Change("accuracy", key, "accuracy", "is no longer measured", worse=True)
        return
    sets = [f"{part.data_set}, {part.samples} samples" for part in (a.accuracy, b.accuracy)]
    if sets[0] != sets[1]:
        yield Change("incomparable", key, "accuracy", f"of {sets[0]} before, of {sets[1]} now", worse=True)
        return
    before, after = (part.correct / max(part.samples, 1) for part in (a.accuracy, b.accuracy))
    if before != after:
        text = f"{before:.1%} before, {after:.1%} now".replace("%", " %")
        yield Change("accuracy", key, "accuracy", text, after < before, "accuracy", before, after)


def _conditions(key: str, a: Run, b: Run, platform_path: Sequence[Path]) -> Iterator[Change]:
    """What else changed and so may explain a figure: clocks, voltage, software, network, cost model."""
    before, after = (reading_of(run, "latency", "total", platform_path) for run in (a, b))
    changed = list(differences(before, after)) if before is not None and after is not None else []
    if a.network_info.hash != b.network_info.hash:
        changed.append(f"network content {a.network_info.hash[:8]} against {b.network_info.hash[:8]}")
    if a.provenance.model_hash != b.provenance.model_hash:
        changed.append("cost model (calibration, priors or platform file)")
    for text in changed:
        yield Change("note", key, "condition", f"changed: {text}", worse=False)


def _placements(key: str, a: Run, b: Run) -> Iterator[Change]:
    if b.npu_macs < a.npu_macs and a.network_info.macs == b.network_info.macs:
        text = f"{a.npu_macs} MACs before, {b.npu_macs} now"
        yield Change("placement", key, "work on the NPU", text, worse=True)
    for old, new in _ops(a, b):
        if old.unit == "npu" and new.unit == "cpu":
            text = f"{new.type} left the NPU: {new.reason or 'no reason given'}"
            yield Change("placement", key, f"op {new.name}", text, worse=True)
        elif old.unit == "cpu" and new.unit == "npu":
            yield Change("placement", key, f"op {new.name}", f"{new.type} runs on the NPU now", worse=False)


def _figures(key: str, a: Run, b: Run, threshold: float, platform_path: Sequence[Path]) -> Iterator[Change]:
    for metric in RUN_METRICS:
        for phase in _PHASES:
            before, after = (reading_of(run, metric, phase, platform_path) for run in (a, b))
            if before is None or (before.value == 0 and after is None):
                continue
            what = f"{metric} {phase}"
            if after is None:
                yield Change("missing", key, what, "is no longer given", True, metric, before.value)
            elif before.fidelity == "measured" != after.fidelity:
                text = f"was measured, is only {after.fidelity} now"
                yield Change("missing", key, what, text, True, metric, before.value, after.value)
            elif before.scope != after.scope:
                text = f"scope {before.scope} against {after.scope}: cannot be compared"
                yield Change("incomparable", key, what, text, True, metric, before.value, after.value)
            else:
                yield from _moved(key, what, before, after, threshold)


def _moved(key: str, what: str, a: Reading, b: Reading, threshold: float) -> Iterator[Change]:
    """A figure that is up or down by more than the threshold and than chance."""
    if a.value == b.value or is_immaterial(a, b):
        return
    low, high = _interval(a, b)
    change = b.value / a.value - 1 if a.value > 0 else math.inf
    up = change > threshold and low > 0
    if up or (change < -threshold and high < 0):
        interval = (math.expm1(low), math.expm1(high))
        chance = f" ({percent(interval[0])} to {percent(interval[1])})" if interval[1] - interval[0] > 5e-4 else ""
        unit = UNITS[a.metric]
        by = percent(change) if math.isfinite(change) else "from nothing"
        text = f"{format_si(a.value, unit)} before, {format_si(b.value, unit)} now: {by}{chance}"
        yield Change("figure", key, what, text, up, a.metric, a.value, b.value, change, interval)


def _interval(a: Reading, b: Reading) -> tuple[float, float]:
    if a.value <= 0:
        return math.inf, math.inf
    if b.value <= 0:
        return -math.inf, -math.inf
    return ratio_interval((a.value, a.low, a.high), (b.value, b.low, b.high))


def _op_times(key: str, a: Run, b: Run, threshold: float) -> Iterator[Change]:
    """Ops that explain a change of the inference, the biggest first; the phase decides, not they."""
    inference = a.phases.get("inference")
    if inference is None:
        return
    least_s = _OP_SHARE * inference.latency_s.mean
    found: list[tuple[float, Change]] = []
    for old, new in _ops(a, b):
        if old.latency_s is None or new.latency_s is None:
            continue
        moved_s = new.latency_s - old.latency_s
        change = new.latency_s / old.latency_s - 1 if old.latency_s > 0 else math.inf
        if abs(moved_s) > least_s and abs(change) > threshold:
            by = percent(change) if math.isfinite(change) else "from nothing"
            text = f"{format_si(old.latency_s, 's')} before, {format_si(new.latency_s, 's')} now: {by}"
            what = f"op {new.name} ({new.type})"
            one = Change("op time", key, what, text, False, "latency", old.latency_s, new.latency_s, change)
            found.append((abs(moved_s), one))
    yield from (change for _, change in sorted(found, key=lambda item: -item[0]))


def _ops(a: Run, b: Run) -> Iterator[tuple[OpFigures, OpFigures]]:
    """The ops that both have: in order where types and MACs agree (a converter may have renamed them), otherwise by
    name, and by their number among ops of that name."""
    if [(op.type, op.macs) for op in a.ops] == [(op.type, op.macs) for op in b.ops]:
        return zip(a.ops, b.ops, strict=True)
    later = dict(_named(b.ops))
    return ((op, later[name]) for name, op in _named(a.ops) if name in later)


def _named(ops: Sequence[OpFigures]) -> Iterator[tuple[tuple[str, int], OpFigures]]:
    seen: Counter[str] = Counter()
    for op in ops:
        seen[op.name] += 1
        yield (op.name, seen[op.name]), op
