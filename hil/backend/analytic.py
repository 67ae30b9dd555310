"""The analytic backend: the cost model's phases on the simulated system, no board and no emulator."""

from __future__ import annotations

import math
import platform as python_platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from hil import __version__
from hil.backend.base import RunOptions
from hil.backend.run import (
    DutyFigures,
    Energy,
    Fidelity,
    Interval,
    Memory,
    MemoryFigures,
    NetworkFigures,
    OpFigures,
    PhaseFigures,
    Provenance,
    Run,
    Timeline,
    TimelineSegment,
)
from hil.cost import SUMS, Z_90, Cost, CostModel, Prediction
from hil.plan import PHASES, Plan
from hil.platform import Target, platform_hash
from hil.sim import DutyResult, PhaseCost, Schedule, SocTimeline, WaitState, best_state, duty_cycle, simulate

# A timeline of many inferences repeats itself: so many are kept in the record, all count for the throughput.
STORED_INFERENCES = 8


class AnalyticBackend:
    """Predicts.  Deterministic: the same plan gives the same run, apart from the time stamp in its provenance."""

    name = "analytic"

    def fingerprint(self, target: Target, options: RunOptions) -> str:
        return _model(target, options).digest

    def run(self, plans: Sequence[Plan], options: RunOptions) -> list[Run]:
        if not plans:
            return []
        model = _model(plans[0].target, options)
        prediction = model.predict(plans)
        return [_run(plan, index, model, prediction, options) for index, plan in enumerate(plans)]


def _model(target: Target, options: RunOptions) -> CostModel:
    return CostModel(target) if options.calibrated else CostModel(target, artefact=None)


def energy_scope(target: Target, *, above_idle: bool = False) -> str:
    """What an energy figure of this platform covers, in words that two figures must share to be compared."""
    power = target.platform.power
    where = {"whole-board": "whole board", "rail": f"rail {power.rail}".rstrip(), "chip": "chip supply"}[power.scope]
    return f"{where}, {'above idle' if above_idle else 'gross'}"


def _run(plan: Plan, index: int, model: CostModel, prediction: Prediction, options: RunOptions) -> Run:
    target = plan.target

    def figures(cost: Cost, covered: Sequence[str]) -> PhaseFigures:
        seconds, joules = cost.latency_s.at(index), cost.energy_j.at(index)
        sure = model.fidelity(covered, "energy_j")
        return PhaseFigures(
            latency_s=_interval(seconds),
            energy_j=_energy(joules, energy_scope(target), sure),
            energy_above_idle_j=_energy(
                cost.energy_above_idle_j.at(index), energy_scope(target, above_idle=True), sure
            ),
            power_w=joules[0] / seconds[0] if seconds[0] > 0 else None,
            fidelity=model.fidelity(covered),
        )

    costs = prediction.costs
    phases: dict[str, PhaseFigures] = {
        phase: figures(costs[phase], (phase,))
        for phase in PHASES
        if phase != "idle" and not (phase == "boot" and costs[phase].latency_s.mean[index] <= 0)
    }
    sums = {name: figures(cost, _dominant(costs, SUMS[name], index)) for name, cost in prediction.sums.items()}

    idle = _interval(prediction.idle_power_w.at(index))
    simple: dict[str, PhaseCost] = {
        name: PhaseCost(part.latency_s.mean, part.energy_j.mean if part.energy_j else 0.0)
        for name, part in phases.items()
    }
    npu = target.npu
    schedule = Schedule(
        inferences=options.repeat,
        double_buffered=npu is not None and npu.double_buffered,
        accelerated=npu is not None,
        host_in_inference=npu is None or any(plan.placements[i].phase == "inference" for i in plan.fallback),
    )
    timeline = simulate(simple, idle.mean, schedule)
    static_sigma = model.parameters["static_power_w"].prior.sigma
    duty = _duty(target, simple, idle.mean, static_sigma, prediction, index, options)
    ops = _ops(plan, prediction, index)
    return Run(
        network=plan.network.name,
        platform=target.id,
        operating_point=target.operating_point,
        backend=AnalyticBackend.name,
        fidelity=model.fidelity(("inference",)),
        fits=plan.fits,
        reasons=plan.reasons,
        notes=(*plan.notes, *model.notes, *_extrapolated(prediction.extrapolated[index])),
        fallback_ops=tuple(ops[i] for i in plan.fallback),
        phases=phases,
        total=sums["total"],
        steady=sums["steady"],
        memory_io=sums["memory_io"],
        idle_power_w=idle,
        memory=_memory(plan),
        network_info=_network(plan),
        ops=ops,
        npu_macs=plan.npu_macs,
        peak_macs_per_s=npu.peak_macs_per_cycle.value * target.npu_clock_hz if npu is not None else None,
        duty=duty,
        period_s=options.period_s,
        timeline=_timeline(timeline),
        provenance=_provenance(plan, model),
    )


def _interval(triple: tuple[float, float, float]) -> Interval:
    return Interval(mean=triple[0], low=triple[1], high=triple[2])


def _energy(triple: tuple[float, float, float], scope: str, fidelity: Fidelity) -> Energy:
    return Energy(mean=triple[0], low=triple[1], high=triple[2], scope=scope, fidelity=fidelity)


def _dominant(costs: Mapping[str, Cost], phases: Sequence[str], index: int) -> tuple[str, ...]:
    """The phases that make up a sum but for those below a tenth of it: they decide its fidelity."""
    seconds = {phase: costs[phase].latency_s.mean[index] for phase in phases}
    return tuple(phase for phase, value in seconds.items() if value >= 0.1 * sum(seconds.values()))


def _extrapolated(features: Sequence[str]) -> tuple[str, ...]:
    if not features:
        return ()
    return (f"extrapolated: {', '.join(features)} outside what was measured on this platform; intervals are wider",)


def _ops(plan: Plan, prediction: Prediction, index: int) -> tuple[OpFigures, ...]:
    start = prediction.starts[index]
    return tuple(
        OpFigures(
            index=op.index,
            name=op.name,
            type=op.type,
            unit=place.unit,
            reason=place.reason,
            fused_into=place.fused_into,
            macs=op.macs,
            latency_s=float(prediction.op_seconds[start + op.index]),
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


def _timeline(timeline: SocTimeline) -> Timeline:
    times, power = timeline.power_trace()
    end = max((s.end_s for s in timeline.segments if s.inference < STORED_INFERENCES), default=0.0)
    last = int((times <= end).sum())
    return Timeline(
        segments=tuple(
            TimelineSegment(
                phase=s.phase,
                resource=s.resource,
                start_s=s.start_s,
                end_s=s.end_s,
                inference=s.inference,
                power_w=s.power_w,
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
    prediction: Prediction,
    index: int,
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
    total = prediction.sums["total"].energy_j
    wide = total.high[index] / total.mean[index] if total.mean[index] > 0 else 1.0
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


def _provenance(plan: Plan, model: CostModel) -> Provenance:
    target = plan.target
    tools = {"vela": plan.vela.version} if plan.vela is not None else {}
    return Provenance(
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


__all__ = ["AnalyticBackend", "Fidelity", "energy_scope"]
