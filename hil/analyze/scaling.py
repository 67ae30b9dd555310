"""How latency scales when one dimension of a network grows: where it leaves the straight line in MACs, and why.

Between two sizes of a network the local exponent is ``e = ln(t2/t1) / ln(m2/m1)`` with latencies ``t`` and MACs ``m``:
1 where time grows as the work does, less where growth comes cheap (a flat stretch).  A step is where time leaves the
trend of the sweep, ``t1 * (m2/m1)**E`` with ``E`` the median of its local exponents: a staircase of tiles has steps
even where it climbs no faster than the MACs.  A step is put down to the cause (``hil.analyze.causes``) with the largest
excess over the trend, to the op that has most of it, and to the limits that this op crossed.  What latency does not
show is reported as well: a network that does not fit any more, ops that leave the accelerator, layers that begin to
stream.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from pathlib import Path
from statistics import median
from typing import Literal, NamedTuple

from hil.analyze.causes import CAUSES, Decomposition, decompose
from hil.analyze.limits import Counts, crossings, limits
from hil.backend.assemble import interval
from hil.backend.run import Interval
from hil.cost import CostModel
from hil.errors import ConfigError, did_you_mean
from hil.network import Network
from hil.network.template import TEMPLATES, Candidate, template_network
from hil.plan import Plan, make_plan
from hil.plan.vela import available, compile_many
from hil.platform import Target

# Local exponents above so many times the typical one are a step, those below the second figure are flat, where more
# than this share of the latency is at stake.
STEEP, FLAT = 1.25, 0.75
AT_STAKE = 0.02

Kind = Literal["step", "flat", "limit"]

# The axes, and the values that they take unless the user says otherwise.
AXES: Mapping[str, tuple[int, ...]] = {
    "width": tuple(range(8, 129, 8)),
    "depth": tuple(range(1, 9)),
    "resolution": tuple(range(16, 129, 8)),
}
# The network that is varied: two stages of one 3x3 convolution each, on 32x32 pixels.
BASE = Candidate("cnn", (32, 32), 1, 32, 3)


@dataclass(frozen=True)
class Point:
    """One size: latency of the inference and end to end with 90 % intervals, and what makes up the inference."""

    value: int
    network: str
    macs: int
    inference_s: Interval
    total_s: Interval
    fits: bool
    fallback_ops: int
    causes: Decomposition


@dataclass(frozen=True)
class Change:
    """Latency leaves the line between two sizes (``before`` and ``after`` on the axis).

    ``exponent``: the local one, see above.  ``excess_s``: inference time beyond the trend at a step, beyond growth with
    the MACs elsewhere (negative where it came cheap).  ``cause`` and ``op`` have most of it; ``reasons`` are the limits
    crossed.
    """

    kind: Kind
    before: int
    after: int
    exponent: float | None
    excess_s: float
    cause: str | None
    op: str | None
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Scaling:
    """A sweep along one axis on one target.

    ``exponents[i]`` belongs to the growth from point ``i`` to ``i + 1``; None where the MACs did not grow.  ``typical``
    is their median, zero where that is negative.
    """

    axis: str
    template: str
    platform: str
    operating_point: str
    calibration: str
    points: tuple[Point, ...]
    exponents: tuple[float | None, ...]
    typical: float
    changes: tuple[Change, ...]
    notes: tuple[str, ...] = ()


class _Size(NamedTuple):
    point: Point
    plan: Plan


def sizes(axis: str, template: str | Network, values: Sequence[int] = ()) -> dict[int, Network]:
    """The networks of a sweep, by value of the axis, smallest first.

    ``template``: a template's name, or a network; of that, ``depth`` takes its first ops, as many as the value says.
    Raises ConfigError.
    """
    if axis not in AXES:
        raise ConfigError(f"--scale {axis}: no such axis", hint=did_you_mean(axis, AXES))
    if isinstance(template, Network):
        if axis != "depth":
            raise ConfigError(
                f"--scale {axis}: {template.name} can only be scaled in depth",
                hint=f"width and resolution need a template: {', '.join(TEMPLATES)}",
            )
        own = values or range(1, len(template.ops) + 1)
        return {value: first_ops(template, value) for value in sorted(set(own))}
    candidates = {value: _candidate(axis, template, value) for value in sorted(set(values or AXES[axis]))}
    return {value: replace(template_network(candidate), name=candidate.name) for value, candidate in candidates.items()}


def _candidate(axis: str, template: str, value: int) -> Candidate:
    base = replace(BASE, template=template)
    if axis == "width":
        return replace(base, widths=(value,) * len(base.widths))
    return replace(base, depth=value) if axis == "depth" else replace(base, resolution=value)


def first_ops(network: Network, count: int) -> Network:
    """The network that ends behind op number ``count - 1``; its outputs are what nothing in it reads.

    It has no ``.tflite`` file.  Raises ConfigError where there are not so many ops.
    """
    if not 1 <= count <= len(network.ops):
        raise ConfigError(f"{network.name}: {count} ops of {len(network.ops)}", hint=f"1 to {len(network.ops)}")
    ops = network.ops[:count]
    read = {tensor for op in ops for tensor in op.inputs}
    outputs = tuple(tensor for op in ops for tensor in op.outputs if tensor not in read)
    return replace(network, name=f"{network.name}_first{count}", ops=ops, outputs=outputs, model=None, file_bytes=None)


def scale(
    axis: str, template: str, networks: Mapping[int, Network], target: Target, cache: Path | None = None
) -> Scaling:
    """Predict every size on the target, and explain where latency is not linear in MACs."""
    npu = target.npu
    if npu is not None and npu.vela is not None and cache is not None and available() is not None:
        compile_many(list(networks.values()), npu.vela, target.npu_clock_hz, cache=cache)
    plans = [make_plan(network, target, vela_cache=cache) for network in networks.values()]
    model = CostModel(target)
    prediction = model.predict(plans)
    inference, total = prediction.costs["inference"].latency_s, prediction.sums["total"].latency_s
    points = tuple(
        Point(
            value=value,
            network=plan.network.name,
            macs=plan.network.macs,
            inference_s=interval(inference.at(index)),
            total_s=interval(total.at(index)),
            fits=plan.fits,
            fallback_ops=len(plan.fallback),
            causes=causes,
        )
        for index, (value, plan, causes) in enumerate(zip(networks, plans, decompose(plans, model), strict=True))
    )
    exponents = tuple(exponent(before, after) for before, after in pairwise(points))
    known = [value for value in exponents if value is not None]
    typical = max(median(known), 0.0) if known else 1.0
    return Scaling(
        axis=axis,
        template=template,
        platform=target.id,
        operating_point=target.operating_point,
        calibration=model.calibration,
        points=points,
        exponents=exponents,
        typical=typical,
        changes=_changes([_Size(*pair) for pair in zip(points, plans, strict=True)], model, typical),
        notes=_notes(plans),
    )


def _notes(plans: Sequence[Plan]) -> tuple[str, ...]:
    """What a reader should know of how the sizes were planned."""
    npu = plans[0].target.npu
    unseen = sum(plan.vela is None for plan in plans) if npu is not None and npu.vela is not None else 0
    if not unseen:
        return ()
    return (f"Vela did not compile {unseen} of {len(plans)} sizes: operator support and cycles are approximate there",)


def exponent(before: Point, after: Point) -> float | None:
    """The local exponent of latency over MACs; None where MACs or latency stand still at zero or do not grow."""
    small = min(before.macs, before.inference_s.mean, after.inference_s.mean)
    if small <= 0 or after.macs <= before.macs:
        return None
    return math.log(after.inference_s.mean / before.inference_s.mean) / math.log(after.macs / before.macs)


def _growth(before: Point, after: Point, power: float) -> float:
    """By what factor the MACs let latency grow."""
    return (after.macs / before.macs) ** power if before.macs else 1.0


def _excess(before: Point, after: Point, power: float = 1.0) -> float:
    """Seconds of inference beyond growth with that power of the MACs."""
    return after.inference_s.mean - before.inference_s.mean * _growth(before, after, power)


def _kind(before: Point, after: Point, met: Sequence[str], typical: float) -> Kind | None:
    local = exponent(before, after)
    stake = AT_STAKE * after.inference_s.mean
    steep = after.macs == before.macs or (local is not None and local > STEEP * typical)
    if steep and _excess(before, after, typical) > stake:
        return "step"
    if met:
        return "limit"
    return "flat" if local is not None and local < FLAT else None


def _changes(sizes: Sequence[_Size], model: CostModel, typical: float) -> tuple[Change, ...]:
    """Steps and limits one by one; flat stretches as wide as they are."""
    met = [_met(before.plan, after.plan) for before, after in pairwise(sizes)]
    kinds = [
        _kind(before.point, after.point, reasons, typical)
        for (before, after), reasons in zip(pairwise(sizes), met, strict=True)
    ]
    found = []
    for kind, group in groupby(range(len(kinds)), key=lambda i: kinds[i]):
        members = list(group)
        if kind == "flat":
            small, large = sizes[members[0]], sizes[members[-1] + 1]
            if -_excess(small.point, large.point) > AT_STAKE * large.point.inference_s.mean:
                found.append(_change(kind, small, large, (), model, 1.0))
        elif kind is not None:
            power = typical if kind == "step" else 1.0
            found += [_change(kind, sizes[i], sizes[i + 1], met[i], model, power) for i in members]
    return tuple(found)


def _change(kind: Kind, small: _Size, large: _Size, met: Sequence[str], model: CostModel, power: float) -> Change:
    """The change between two sizes, put down to a cause, an op and what that crossed, as far as known."""
    before, after = small.point, large.point
    cause, worst = _blame(kind, before, after, _growth(before, after, power))
    op, reasons = None, list(met)
    if worst is not None and _same_start(small.plan, large.plan):
        own = large.plan.network.ops[worst]
        op = f"op {worst} ({own.name})" if own.name == own.type else f"op {worst} ({own.name}, {own.type})"
        if kind == "step":
            more = _reasons(small.plan, large.plan, worst, cause, model)
            reasons += [text for text in more if not any(text in known for known in met)]
    return Change(
        kind=kind,
        before=before.value,
        after=after.value,
        exponent=exponent(before, after),
        excess_s=_excess(before, after, power),
        cause=cause,
        op=op,
        reasons=tuple(reasons),
    )


def _met(before: Plan, after: Plan) -> list[str]:
    """What the larger plan met that the smaller did not: memories, fall-backs, streaming."""
    found = [f"does not fit: {reason}" for reason in after.reasons if before.fits]
    fallen = {before.network.ops[i].type for i in before.fallback}
    for index in after.fallback:
        op = after.network.ops[index]
        if op.type not in fallen:
            fallen.add(op.type)
            found.append(f"op {index} ({op.type}) falls back to the host: {after.placements[index].reason}")
    streams = [sum(layer.streaming for layer in plan.layers) for plan in (before, after)]
    if streams[1] > streams[0]:
        found.append(f"{streams[1]} layers stream ({streams[0]} before): a map exceeds one data memory")
    return found


def _blame(kind: Kind, before: Point, after: Point, growth: float) -> tuple[str | None, int | None]:
    """The cause that grew most beyond ``growth`` (least, on a flat stretch), and the op with most of that."""
    if kind == "limit":
        return None, None
    sign = -1.0 if kind == "flat" else 1.0
    beyond = {cause: sign * (after.causes.seconds[cause] - growth * before.causes.seconds[cause]) for cause in CAUSES}
    cause = max(beyond, key=lambda name: beyond[name])
    old = {op.index: op.seconds.get(cause, 0.0) for op in before.causes.ops}
    losses = {
        op.index: sign * (op.seconds.get(cause, 0.0) - growth * old.get(op.index, 0.0)) for op in after.causes.ops
    }
    return cause, max((i for i in losses if losses[i] > 0), key=lambda i: losses[i], default=None)


def _reasons(before: Plan, after: Plan, op: int, cause: str | None, model: CostModel) -> list[str]:
    """What is known of an op that made a step: why it left the accelerator, or the limits that it crossed."""
    if cause == "fallback":
        return [after.placements[op].reason]
    if op >= len(before.network.ops):
        return []
    return list(crossings(Counts.of(before, model), Counts.of(after, model), op, limits(model)))


def _same_start(before: Plan, after: Plan) -> bool:
    """The larger network begins with the ops of the smaller, whatever their sizes: op numbers mean the same."""
    small, large = ([op.type for op in plan.network.ops] for plan in (before, after))
    return large[: len(small)] == small
