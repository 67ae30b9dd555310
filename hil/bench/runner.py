"""The benchmark: networks times targets on one backend, with progress, and resuming where it was interrupted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hil import __version__
from hil.backend import Backend, Run, RunOptions
from hil.bench.store import Store
from hil.errors import HilError
from hil.network import Network
from hil.plan import Plan, make_plan
from hil.plan.vela import available, compile_many
from hil.platform import Target, platform_hash

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class BenchResult:
    """Runs in the order networks within targets, and the pairs that failed with why."""

    runs: tuple[Run, ...]
    failures: tuple[tuple[str, str, HilError], ...] = ()
    resumed: int = 0


@dataclass
class Bench:
    """One benchmark: what to run, where, how.  ``cache`` keeps compiler results between benches."""

    networks: Sequence[Network]
    targets: Sequence[Target]
    backend: Backend
    options: RunOptions = field(default_factory=RunOptions)
    cache: Path | None = None

    def run(self, store: Store | None = None, progress: Progress | None = None) -> BenchResult:
        """Run everything.  Records are saved one by one; an interrupted bench of the same request resumes."""
        asked = self.request()
        resuming = store is not None and store.begin(asked)
        kept = {_key(run): run for run in store.runs()} if store is not None and resuming else {}
        runs: list[Run] = []
        failures: list[tuple[str, str, HilError]] = []
        resumed = 0
        total = len(self.networks) * len(self.targets)
        for target in self.targets:
            self._precompile(target)
            plans: list[Plan] = []
            done: dict[str, Run] = {}
            for network in self.networks:
                if progress is not None:
                    progress(
                        len(runs) + len(failures) + len(plans) + len(done), total, f"{network.name} on {target.id}"
                    )
                try:
                    plan = make_plan(network, target, vela_cache=self.cache)
                except HilError as error:
                    failures.append((network.name, target.id, error))
                    continue
                old = kept.get((network.name, target.id, target.operating_point, plan.hash))
                if old is not None:
                    done[network.name] = old
                    resumed += 1
                else:
                    plans.append(plan)
            fresh = {run.network: run for run in self.backend.run(plans, self.options)}
            if store is not None:
                for run in fresh.values():
                    store.save(run)
            done.update(fresh)
            runs += [done[network.name] for network in self.networks if network.name in done]
        if progress is not None:
            progress(total, total, "done")
        if store is not None:
            store.finish(asked, runs)
        return BenchResult(tuple(runs), tuple(failures), resumed)

    def request(self) -> dict[str, Any]:
        """What was asked, comparable between benches: decides whether an unfinished one may be resumed."""
        parts = {
            "networks": [[network.name, network.hash] for network in self.networks],
            "targets": [[t.id, t.operating_point, list(t.overrides), platform_hash(t.platform)] for t in self.targets],
            "backend": self.backend.name,
            "options": asdict(self.options),
            "version": __version__,
        }
        text = json.dumps(parts, sort_keys=True)
        return {
            "networks": [network.name for network in self.networks],
            "platforms": [target.id for target in self.targets],
            "backend": self.backend.name,
            "options": asdict(self.options),
            "hash": hashlib.sha256(text.encode()).hexdigest()[:16],
        }

    def _precompile(self, target: Target) -> None:
        """Fill the compiler's cache in parallel; what fails here is reported when its plan is made."""
        npu = target.npu
        if npu is None or npu.vela is None or self.cache is None or available() is None:
            return
        compile_many(self.networks, npu.vela, target.npu_clock_hz, cache=self.cache)


def _key(run: Run) -> tuple[str, str, str, str]:
    return run.network, run.platform, run.operating_point, run.provenance.plan_hash
