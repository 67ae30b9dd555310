"""Runs with known figures: predicted ones of small networks, and boards put together by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from hil import zoo
from hil.backend import Run, RunOptions
from hil.backend.analytic import AnalyticBackend
from hil.backend.run import Interval
from hil.backend.timed import repeated, sums, timed
from hil.bench import to_json
from hil.cost import SUMS
from hil.plan import make_plan
from hil.platform import load_platform, make_target


@pytest.fixture(scope="session")
def predicted() -> Mapping[str, Run]:
    """Analytic runs of MLPerf's networks on EFR32xG24: an accelerator, with some ops on the core."""
    target = make_target(load_platform("efr32xg24"))
    plans = [make_plan(zoo.load(name), target) for name in ("kws", "ad", "ic")]
    return {run.network: run for run in AnalyticBackend().run(plans, RunOptions())}


Measure = Callable[..., Run]


@pytest.fixture(scope="session")
def measure() -> Measure:
    """``measure(run, factor, samples=…)``: a board that took ``factor`` times as long in every phase.

    ``samples``: the scatter, as factors of each window; ``phases``: factors of single phases.
    """

    def make(
        run: Run,
        factor: float = 1.0,
        samples: Sequence[float] = (1.0,),
        phases: Mapping[str, float] | None = None,
        resolution_s: float = 1e-6,
    ) -> Run:
        found = {}
        for name, part in run.phases.items():
            scale = factor * (phases or {}).get(name, 1.0) * part.latency_s.mean
            seen = [scale * sample for sample in samples]
            found[name] = timed(part, repeated(seen, resolution_s), "measured", seen)
        together = sums(found, {name: getattr(run, name) for name in SUMS}, "measured")
        return run.model_copy(update={"phases": found, "fidelity": "measured", "backend": "serial", **together})

    return make


def scaled(run: Run, phase: str, factor: float) -> Run:
    """A prediction with one phase, and the sums that hold it, changed."""
    moved = (factor - 1) * run.phases[phase].latency_s.mean

    def longer(name: str) -> dict[str, object]:
        part = run.phases[name] if name in run.phases else getattr(run, name)
        ratio = 1 + moved / part.latency_s.mean
        old = part.latency_s
        latency = Interval(mean=old.mean * ratio, low=old.low * ratio, high=old.high * ratio)
        return {name: part.model_copy(update={"latency_s": latency})}

    update: dict[str, object] = {"phases": {**run.phases, **longer(phase)}}
    for name, members in SUMS.items():
        if phase in members:
            update |= longer(name)
    return run.model_copy(update=update)


def write(path: Path, *runs: Run) -> str:
    """A record file."""
    path.write_text(to_json(runs), encoding="utf-8")
    return str(path)
