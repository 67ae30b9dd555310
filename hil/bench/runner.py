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
from hil.errors import HilError, LinkError, UnavailableError
from hil.network import Network
from hil.plan import Plan, make_plan
from hil.plan.vela import available, compile_many
from hil.platform import Target

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

    def run(
        self, store: Store | None = None, progress: Progress | None = None, *, overwrite: bool = False
    ) -> BenchResult:
        """Run everything.  Records are saved one by one; an interrupted bench resumes with those that still hold.

        Raises ResultsError where the store holds another bench and ``overwrite`` is false.
        """
        asked = self.request()
        resuming = store.begin(asked, overwrite=overwrite) if store is not None else False
        earlier = store.readable() if store is not None and resuming else []
        begun = store.started if store is not None else ""
        kept = {run.provenance.request_hash: run for run in earlier if run.provenance.created >= begun}
        runs: list[Run] = []
        failures: list[tuple[str, str, HilError]] = []
        resumed = 0
        total = len(self.networks) * len(self.targets)
        for target in self.targets:
            self._precompile(target)
            try:
                fingerprint = self.backend.fingerprint(target, self.options)
            except UnavailableError as error:  # nothing runs on this target; others may
                failures += [(network.name, target.id, error) for network in self.networks]
                continue
            plans: dict[int, Plan] = {}
            done: dict[int, Run] = {}
            for index, network in enumerate(self.networks):
                if progress is not None:
                    finished = len(runs) + len(failures) + len(plans) + len(done)
                    progress(finished, total, f"{network.name} on {target.id}")
                try:
                    plan = make_plan(network, target, vela_cache=self.cache)
                except HilError as error:
                    failures.append((network.name, target.id, error))
                    continue
                old = kept.get(self._key(plan, fingerprint))
                if old is not None and old.network == network.name:
                    done[index] = old
                    resumed += 1
                else:
                    plans[index] = plan
            for part in [plans] if self.backend.batched else [{index: plan} for index, plan in plans.items()]:
                if progress is not None and not self.backend.batched:
                    (plan,) = part.values()
                    finished = len(runs) + len(failures) + len(done)
                    progress(finished, total, f"{plan.network.name} on {target.id} ({self.backend.name})")
                try:
                    fresh = self.backend.run(list(part.values()), self.options)
                except HilError as error:
                    if self.backend.batched:
                        raise
                    failures += [(plan.network.name, target.id, error) for plan in part.values()]
                    continue
                for (index, plan), run in zip(part.items(), fresh, strict=True):
                    done[index] = _stamped(run, self._key(plan, fingerprint))
                    if store is not None:
                        store.save(done[index])
            runs += [done[index] for index in sorted(done)]
        if progress is not None:
            progress(total, total, "done")
        if store is not None:
            # What the environment or a device lacked may be there the next time: the same command goes on then.
            passing = any(isinstance(error, (UnavailableError, LinkError)) for _, _, error in failures)
            told = [(network, platform, error.message) for network, platform, error in failures]
            store.finish(asked, runs, told, complete=not passing)
        return BenchResult(tuple(runs), tuple(failures), resumed)

    def request(self) -> dict[str, Any]:
        """What was asked, in names: a folder of results holds one such request."""
        return {
            "networks": [network.name for network in self.networks],
            "platforms": [target.id for target in self.targets],
            "operating_points": [target.operating_point for target in self.targets],
            "overrides": sorted({f"{key}={value}" for target in self.targets for key, value in target.overrides}),
            "backend": self.backend.name,
            "options": asdict(self.options),
        }

    def _key(self, plan: Plan, fingerprint: str) -> str:
        """What decides the figures of a run: its plan, the options, the backend and what stands behind it."""
        parts = [plan.hash, asdict(self.options), self.backend.name, fingerprint, __version__]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def _precompile(self, target: Target) -> None:
        """Fill the compiler's cache in parallel; what fails here is reported when its plan is made."""
        npu = target.npu
        if npu is None or npu.vela is None or self.cache is None or available() is None:
            return
        compile_many(self.networks, npu.vela, target.npu_clock_hz, cache=self.cache)


def _stamped(run: Run, key: str) -> Run:
    return run.model_copy(update={"provenance": run.provenance.model_copy(update={"request_hash": key})})
