"""The analytic backend: the cost model's phases on the simulated system, no board and no emulator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hil.backend.assemble import Figures, Predicted, assemble, energy, energy_scope, interval, make_model
from hil.backend.base import RunOptions
from hil.backend.run import PhaseFigures, Run
from hil.cost import SUMS, Cost
from hil.plan import PHASES, Plan
from hil.platform import Target


class AnalyticBackend:
    """Predicts.  Deterministic: the same plan gives the same run, apart from the time stamp in its provenance."""

    name = "analytic"
    batched = True

    def fingerprint(self, target: Target, options: RunOptions) -> str:
        return make_model(target, options).digest

    def run(self, plans: Sequence[Plan], options: RunOptions) -> list[Run]:
        if not plans:
            return []
        predicted = Predicted.of(plans, options)
        return [
            assemble(plan, index, predicted, predicted_figures(plan, index, predicted), options)
            for index, plan in enumerate(plans)
        ]


def predicted_figures(plan: Plan, index: int, predicted: Predicted) -> Figures:
    """The cost model's figures of plan number ``index`` of the prediction."""
    target, model, prediction = plan.target, predicted.model, predicted.prediction

    def figures(cost: Cost, covered: Sequence[str]) -> PhaseFigures:
        seconds, joules = cost.latency_s.at(index), cost.energy_j.at(index)
        sure = model.fidelity(covered, "energy_j")
        return PhaseFigures(
            latency_s=interval(seconds),
            energy_j=energy(joules, energy_scope(target), sure),
            energy_above_idle_j=energy(cost.energy_above_idle_j.at(index), energy_scope(target, above_idle=True), sure),
            power_w=joules[0] / seconds[0] if seconds[0] > 0 else None,
            fidelity=model.fidelity(covered),
        )

    costs, start = prediction.costs, prediction.starts[index]
    return Figures(
        backend=AnalyticBackend.name,
        fidelity=model.fidelity(("inference",)),
        phases={
            phase: figures(costs[phase], (phase,))
            for phase in PHASES
            if phase != "idle" and not (phase == "boot" and costs[phase].latency_s.mean[index] <= 0)
        },
        sums={name: figures(cost, _dominant(costs, SUMS[name], index)) for name, cost in prediction.sums.items()},
        op_latency_s=[float(second) for second in prediction.op_seconds[start : start + len(plan.network.ops)]],
        notes=(*model.notes, *_extrapolated(prediction.extrapolated[index])),
    )


def _dominant(costs: Mapping[str, Cost], phases: Sequence[str], index: int) -> tuple[str, ...]:
    """The phases that make up a sum but for those below a tenth of it: they decide its fidelity."""
    seconds = {phase: costs[phase].latency_s.mean[index] for phase in phases}
    return tuple(phase for phase, value in seconds.items() if value >= 0.1 * sum(seconds.values()))


def _extrapolated(features: Sequence[str]) -> tuple[str, ...]:
    if not features:
        return ()
    return (f"extrapolated: {', '.join(features)} outside what was measured on this platform; intervals are wider",)
