"""What a run tells about its platform: phases end to end, the achieved rate against the peak and why, energy.

The causes behind the inference time need the plan, which records do not hold: it is made again from the network's
source, the platform file and the cost model.  Where one of them is gone or has changed, the analysis says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hil import zoo
from hil.analyze.causes import Decomposition, decompose
from hil.analyze.limits import Counts, Tile, exceeded, limits
from hil.backend.run import Interval, Run
from hil.cost import CostModel
from hil.errors import HilError, ResultsError
from hil.network import Network
from hil.network.load import load_network
from hil.plan import END_TO_END, Plan, make_plan
from hil.platform import Target, load_platform, make_target
from hil.units import format_bytes

_ZOO = "zoo:"
# Float sums of a thousand ops differ in the last digits: so much of an inference is nothing.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class RunAnalysis:
    """One run, analyzed.  Shares are of 1, rates per second.

    ``phases``: share of each phase end to end.  ``achieved_macs_per_s``: MACs of the whole network over the inference
    time; of the accelerator's MACs alone where it has one.  ``inferences_per_j``: with the weights in place
    (``steady``).  ``causes`` is None where the plan could not be made again, and ``missing`` says why.  ``why`` has a
    sentence per cause, the op that loses most to it.
    """

    run: Run
    phases: dict[str, float]
    inference_s: float
    achieved_macs_per_s: float | None
    utilization: float | None
    inferences_per_j: Interval | None
    causes: Decomposition | None
    missing: str = ""
    why: dict[str, str] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sources:
    """Where networks and platforms may be found again.

    ``networks`` are at hand already; ``folders`` are searched for files by name; ``platforms`` are folders of the
    user's platform files; ``cache`` keeps compiler results.
    """

    networks: Sequence[Network] = ()
    folders: Sequence[Path] = ()
    platforms: Sequence[Path] = ()
    cache: Path | None = None

    def network(self, run: Run) -> Network:
        """The network of a run.  Raises ResultsError where its source is not there any more, or holds another one."""
        info = run.network_info
        for network in self.networks:
            if network.hash == info.hash:
                return network
        found = self._source(info.source)
        if found is None:
            raise ResultsError(
                f"{run.network}: its source '{info.source}' is not there any more, so its plan cannot be made again",
                hint="name the file with --network",
            )
        if found.hash != info.hash:
            raise ResultsError(
                f"{run.network}: its source '{info.source}' holds another network now (hash {found.hash}, the run's is "
                f"{info.hash})",
                hint="name the file that was run with --network",
            )
        return found

    def _source(self, source: str) -> Network | None:
        if source.startswith(_ZOO):
            name = source.removeprefix(_ZOO)
            return zoo.load(name) if name in zoo.names() else None
        files = (folder / source for folder in self.folders if source)
        file = next((file for file in files if file.is_file()), None)
        return load_network(file) if file is not None else None

    def target(self, run: Run) -> Target:
        """The target of a run, its overrides included.  Raises HilError where the platform file is gone or changed."""
        platform = load_platform(run.platform, self.platforms)
        return make_target(platform, run.operating_point, run.provenance.overrides)


def analyze_runs(runs: Sequence[Run], sources: Sources) -> list[RunAnalysis]:
    """Analyze runs, in their order."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, run in enumerate(runs):
        overrides = tuple(sorted(run.provenance.overrides.items()))
        key = (run.platform, run.operating_point, overrides, run.provenance.model_hash)
        groups.setdefault(key, []).append(index)
    found: dict[int, RunAnalysis] = {}
    networks: dict[tuple[str, str], Network | HilError] = {}
    for members in groups.values():
        group = [runs[index] for index in members]
        found.update(zip(members, _analyze_group(group, sources, networks), strict=True))
    return [found[index] for index in range(len(runs))]


def _analyze_group(
    runs: Sequence[Run], sources: Sources, networks: dict[tuple[str, str], Network | HilError]
) -> Iterable[RunAnalysis]:
    """Runs of one target and cost model.  ``networks`` remembers what was looked up."""
    try:
        target = sources.target(runs[0])
        model, notes = _model(target, runs[0])
    except HilError as error:
        return [_analysis(run, None, str(error)) for run in runs]
    plans: dict[int, Plan] = {}
    missing: dict[int, str] = {}
    for index, run in enumerate(runs):
        key = (run.network_info.source, run.network_info.hash)
        try:
            if key not in networks:
                networks[key] = _found(sources, run)
            network = networks[key]
            if isinstance(network, HilError):
                raise network
            plans[index] = make_plan(network, target, vela_cache=sources.cache)
        except HilError as error:
            missing[index] = str(error)
    causes = dict(zip(plans, decompose(list(plans.values()), model), strict=True)) if plans else {}
    result = []
    for index, run in enumerate(runs):
        if index in missing:
            result.append(_analysis(run, None, missing[index]))
            continue
        plan = plans[index]
        changed = plan.hash != run.provenance.plan_hash
        own = ("the plan is not the run's any more: platform file or planner have changed",) if changed else ()
        why = _why(plan, model, causes[index])
        result.append(_analysis(run, causes[index], "", why, (*notes, *own)))
    return result


def _found(sources: Sources, run: Run) -> Network | HilError:
    try:
        return sources.network(run)
    except HilError as error:
        return error


def _model(target: Target, run: Run) -> tuple[CostModel, tuple[str, ...]]:
    """The cost model that the run was made with, calibrated or not; today's with a note where it has changed."""
    today = CostModel(target)
    for model in (today, CostModel(target, artefact=None)):
        if model.digest == run.provenance.model_hash:
            return model, ()
    return today, ("the cost model is not the run's any more: parameters or calibration have changed",)


def _analysis(
    run: Run,
    causes: Decomposition | None,
    missing: str,
    why: dict[str, str] | None = None,
    notes: tuple[str, ...] = (),
) -> RunAnalysis:
    total = run.total.latency_s.mean
    inference = run.phases["inference"].latency_s.mean if "inference" in run.phases else 0.0
    macs = run.npu_macs if run.peak_macs_per_s is not None else run.network_info.macs
    achieved = macs / inference if inference > 0 else None
    peak = run.peak_macs_per_s
    return RunAnalysis(
        run=run,
        phases={
            name: run.phases[name].latency_s.mean / total if total > 0 else 0.0
            for name in END_TO_END
            if name in run.phases
        },
        inference_s=inference,
        achieved_macs_per_s=achieved,
        utilization=achieved / peak if achieved is not None and peak else None,
        inferences_per_j=_per_joule(run.steady.energy_j),
        causes=_completed(causes, inference) if causes is not None else None,
        missing=missing,
        why=why,
        notes=notes,
    )


def _completed(causes: Decomposition, inference_s: float) -> Decomposition:
    """The causes with ``other`` such that they add up to the run's own inference time.

    What a board took beyond the cost model, or less (then ``other`` is negative), has no cause that is known.
    """
    beyond = inference_s - causes.inference_s
    if abs(beyond) <= _ROUNDING * inference_s:
        return causes
    return Decomposition({**causes.seconds, "other": causes.seconds["other"] + beyond}, causes.ops)


def _per_joule(energy: Interval | None) -> Interval | None:
    """Inferences per joule: the reciprocal, whose bounds change places."""
    if energy is None or energy.low <= 0:
        return None
    return Interval(mean=1 / energy.mean, low=1 / energy.high, high=1 / energy.low)


def _why(plan: Plan, model: CostModel, causes: Decomposition) -> dict[str, str]:
    """Per cause with a loss, the op that loses most to it, and what is known of the reason."""
    counts = Counts.of(plan, model)
    known = limits(model)
    found = {}
    for cause in ("fallback", "tiles", "memory", "streaming", "data", "kernels"):
        op = causes.worst_op(cause)
        if op is None:
            continue
        reasons = []
        if cause == "fallback":
            reasons = [plan.placements[op.index].reason]
        elif cause in ("tiles", "memory"):
            own = [limit for limit in known if isinstance(limit, Tile) == (cause == "tiles")]
            reasons = list(exceeded(counts, op.index, own)) or [_traffic(counts, op.index)] * (cause == "memory")
        elif cause == "streaming":
            reasons = [f"{sum(layer.streaming for layer in plan.layers)} layers stream"]
        where = f"op {op.index} ({op.name}, {op.type})" if op.name != op.type else f"op {op.index} ({op.type})"
        found[cause] = ": ".join(part for part in (where, "; ".join(reasons)) if part)
    return found


def _traffic(counts: Counts, op: int) -> str:
    weights, maps = (counts.columns[name][op] for name in ("weight_bytes", "moved_bytes"))
    return f"{format_bytes(weights)} of weights, {format_bytes(maps)} of feature maps"
