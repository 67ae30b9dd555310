"""From a backend's figures to a run: what every backend's record has in common."""

from __future__ import annotations

import math
import platform as python_platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hil import __version__
from hil.backend.base import RunOptions
from hil.backend.run import (
    Accuracy,
    BoardFigures,
    DutyFigures,
    Energy,
    Fidelity,
    Interval,
    Memory,
    MemoryFigures,
    MeterFigures,
    NetworkFigures,
    OpFigures,
    OutputFigures,
    PhaseFigures,
    Provenance,
    Run,
    Timeline,
    TimelineSegment,
)
from hil.cost import SUMS, Z_90, CostModel, Prediction
from hil.plan import Plan
from hil.platform import Target, platform_hash
from hil.sim import DutyResult, PhaseCost, Schedule, SocTimeline, WaitState, best_state, duty_cycle, simulate

# A timeline of many inferences repeats itself: so many are kept in the record, all count for the throughput.
STORED_INFERENCES = 8


@dataclass(frozen=True)
class Figures:
    """What a backend found out about one plan.

    ``sums`` has an entry per sum of phases (``hil.cost.SUMS``); ``op_latency_s`` one per op, None where unknown.
    ``notes`` come after those of the plan; ``board`` to ``accuracy`` are there where a board ran the network;
    ``idle_power_w`` where a meter measured it.
    """

    backend: str
    fidelity: Fidelity
    phases: Mapping[str, PhaseFigures]
    sums: Mapping[str, PhaseFigures]
    op_latency_s: Sequence[float | None]
    notes: tuple[str, ...] = ()
    board: BoardFigures | None = None
    meter: MeterFigures | None = None
    idle_power_w: Interval | None = None
    outputs: OutputFigures | None = None
    accuracy: Accuracy | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Predicted:
    """The cost model's view of plans that share a target: what no board tells (idle power) comes from here."""

    model: CostModel
    prediction: Prediction

    @staticmethod
    def of(plans: Sequence[Plan], options: RunOptions) -> Predicted:
        model = make_model(plans[0].target, options)
        return Predicted(model, model.predict(plans))


def make_model(target: Target, options: RunOptions) -> CostModel:
    return CostModel(target) if options.calibrated else CostModel(target, artefact=None)


def assemble(plan: Plan, index: int, predicted: Predicted, figures: Figures, options: RunOptions) -> Run:
    """The run of plan number ``index`` of the prediction."""
    target, model = plan.target, predicted.model
    idle = figures.idle_power_w or interval(predicted.prediction.idle_power_w.at(index))
    simple: dict[str, PhaseCost] = {
        name: PhaseCost(part.latency_s.mean, part.energy_j.mean if part.energy_j else 0.0)
        for name, part in figures.phases.items()
    }
    npu = target.npu
    schedule = Schedule(
        inferences=options.repeat,
        double_buffered=npu is not None and npu.double_buffered,
        accelerated=npu is not None,
        host_in_inference=npu is None or any(plan.placements[i].phase == "inference" for i in plan.fallback),
    )
    timeline = simulate(simple, idle.mean, schedule)
    # Without the energy of a phase, or with energies of different scope, nobody knows the power over time.
    powered = figures.sums["total"].energy_j is not None
    static_sigma = model.parameters["static_power_w"].prior.sigma
    total = figures.sums["total"].energy_j
    wide = total.high / total.mean if total is not None and total.mean > 0 else 1.0
    ops = _ops(plan, figures.op_latency_s)
    return Run(
        network=plan.network.name,
        platform=target.id,
        operating_point=target.operating_point,
        backend=figures.backend,
        fidelity=figures.fidelity,
        fits=plan.fits,
        reasons=plan.reasons,
        notes=(*plan.notes, *figures.notes),
        fallback_ops=tuple(ops[i] for i in plan.fallback),
        phases=dict(figures.phases),
        **{name: figures.sums[name] for name in SUMS},
        idle_power_w=idle,
        memory=_memory(plan),
        network_info=_network(plan),
        ops=ops,
        npu_macs=plan.npu_macs,
        peak_macs_per_s=npu.peak_macs_per_cycle.value * target.npu_clock_hz if npu is not None else None,
        duty=_duty(target, simple, idle.mean, static_sigma, wide, options) if powered else (),
        period_s=options.period_s,
        timeline=_timeline(timeline, powered=powered),
        board=figures.board,
        meter=figures.meter,
        outputs=figures.outputs,
        accuracy=figures.accuracy,
        provenance=_provenance(plan, model, figures.provenance),
    )


def energy_scope(target: Target, *, above_idle: bool = False) -> str:
    """What an energy figure of this platform covers, in words that two figures must share to be compared."""
    power = target.platform.power
    where = {"whole-board": "whole board", "rail": f"rail {power.rail}".rstrip(), "chip": "chip supply"}[power.scope]
    return f"{where}, {'above idle' if above_idle else 'gross'}"


def interval(triple: tuple[float, float, float]) -> Interval:
    return Interval(mean=triple[0], low=triple[1], high=triple[2])


def energy(triple: tuple[float, float, float], scope: str, fidelity: Fidelity) -> Energy:
    return Energy(mean=triple[0], low=triple[1], high=triple[2], scope=scope, fidelity=fidelity)


def _ops(plan: Plan, latency_s: Sequence[float | None]) -> tuple[OpFigures, ...]:
    return tuple(
        OpFigures(
            index=op.index,
            name=op.name,
            type=op.type,
            unit=place.unit,
            reason=place.reason,
            fused_into=place.fused_into,
            macs=op.macs,
            latency_s=latency_s[op.index],
        )
        for op, place in zip(plan.network.ops, plan.placements, strict=True)
    )


def _memory(plan: Plan) -> Memory:
    def total(role: str) -> tuple[int, int | None]:
        uses = [use for use in plan.memory if use.role == role]
        biggest = max(uses, key=lambda use: use.needed_bytes, default=None)
        return (biggest.needed_bytes, biggest.capacity_bytes) if biggest is not None else (0, None)

    weights, activations = total("weights"), total("activations")
    return Memory(
        weight_bytes=weights[0],
        weight_capacity_bytes=weights[1],
        activation_bytes=activations[0],
        activation_capacity_bytes=activations[1],
        uses=tuple(
            MemoryFigures(
                name=use.name,
                role=use.role,
                needed_bytes=use.needed_bytes,
                capacity_bytes=use.capacity_bytes,
                fits=use.fits,
            )
            for use in plan.memory
        ),
    )


def _network(plan: Plan) -> NetworkFigures:
    network = plan.network
    return NetworkFigures(
        source=network.source,
        hash=network.hash,
        precision=network.precision,
        macs=network.macs,
        parameters=network.parameters,
        weight_bytes=network.weight_bytes,
        ops=len(network.ops),
        provenance=network.provenance,
    )


def _timeline(timeline: SocTimeline, *, powered: bool) -> Timeline:
    times, power = timeline.power_trace()
    end = max((s.end_s for s in timeline.segments if s.inference < STORED_INFERENCES), default=0.0)
    last = int((times <= end).sum()) if powered else 0
    return Timeline(
        segments=tuple(
            TimelineSegment(
                phase=s.phase,
                resource=s.resource,
                start_s=s.start_s,
                end_s=s.end_s,
                inference=s.inference,
                power_w=s.power_w if powered else 0.0,
            )
            for s in timeline.segments
            if s.inference < STORED_INFERENCES
        ),
        trace_t_s=tuple(float(t) for t in times[:last]),
        trace_power_w=tuple(float(p) for p in power[:last]),
        throughput_hz=timeline.throughput_hz(),
    )


def _duty(
    target: Target,
    costs: dict[str, PhaseCost],
    static_w: float,
    static_sigma: float,
    wide: float,
    options: RunOptions,
) -> tuple[DutyFigures, ...]:
    """Every way to spend the period: stay on, or wait in one of the platform's power states."""
    if options.period_s is None:
        return ()
    states = [WaitState("stay on", static_w, sigma=static_sigma)] + [
        WaitState(
            name,
            state.power_w.value,
            state.wake_s.value if state.wake_s else 0.0,
            state.retains_weights,
            state.retains_registers,
            state.power_w.sigma,
            state.wake_s is not None or state.retains_registers,
        )
        for name, state in target.platform.power_states.items()
    ]
    results = [duty_cycle(costs, static_w, state, options.period_s) for state in states]
    best = best_state(results)
    return tuple(_duty_figures(result, result is best, wide, options) for result in results if result.feasible)


def _duty_figures(result: DutyResult, best: bool, wide: float, options: RunOptions) -> DutyFigures:
    mean = result.average_power_w
    # Active energy and waiting power move together here: the wider, cautious reading.
    wait = math.exp(Z_90 * result.state.sigma)
    low = (result.active_energy_j / wide + result.wait_energy_j / wait) / result.period_s
    high = (result.active_energy_j * wide + result.wait_energy_j * wait) / result.period_s
    return DutyFigures(
        state=result.state.name,
        wake_known=result.state.wake_known,
        average_power_w=Interval(mean=mean, low=low, high=high),
        energy_per_period_j=result.energy_j,
        active_s=result.active_s,
        reloads_weights=result.reloads_weights,
        battery_life_s=options.battery_j / mean,
        best=best,
    )


def _provenance(plan: Plan, model: CostModel, own: Mapping[str, Any]) -> Provenance:
    target = plan.target
    tools = {"vela": plan.vela.version} if plan.vela is not None else {}
    common = Provenance(
        hil_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        plan_hash=plan.hash,
        platform_hash=platform_hash(target.platform),
        model_hash=model.digest,
        calibration=model.calibration,
        calibration_hash=model.artefact.hash if model.artefact is not None and model.fit is not None else None,
        overrides=dict(target.overrides),
        clocks_hz={domain: figure.value for domain, figure in target.point.clocks_hz.items()},
        supply_v=target.point.supply_v.value if target.point.supply_v else None,
        software=target.point.software,
        tools=tools,
        host=f"Python {python_platform.python_version()}",
        sources=tuple(
            f"{s.title} ({s.reference})" if s.reference else s.title for s in target.platform.sources.values()
        ),
    )
    return common.model_copy(update={**own, "tools": {**tools, **own.get("tools", {})}})
