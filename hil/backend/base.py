"""What every backend does: take plans on one target, return runs.  Callers never ask which backend it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from hil.backend.run import Run
from hil.errors import ConfigError, did_you_mean
from hil.plan import Plan
from hil.platform import Target


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to run: ``repeat`` inferences back to back; one inference every ``period_s`` where that is given, from a
    battery of ``battery_j`` joules.  ``calibrated`` false: predictions rest on priors alone."""

    repeat: int = 1
    calibrated: bool = True
    period_s: float | None = None
    battery_j: float = 0.225 * 3600 * 3.0  # CR2032: 225 mAh at 3 V nominal, the usual data-sheet figure


class Backend(Protocol):
    """Runs plans.  ``name`` is what ``--backend`` takes."""

    @property
    def name(self) -> str: ...

    def fingerprint(self, target: Target, options: RunOptions) -> str:
        """What decides this backend's figures on a target beside the plan: parameters, calibration, a board."""
        ...

    def run(self, plans: Sequence[Plan], options: RunOptions) -> list[Run]:
        """Run plans that share a target, in their order.  Raises HilError."""
        ...


def make_backend(name: str) -> Backend:
    """The backend of that name.  Raises ConfigError for one that does not exist (yet)."""
    if name in _PLANNED:
        raise ConfigError(f"the {name} backend is not available yet", hint="use --backend analytic")
    if name not in _BACKENDS:
        raise ConfigError(f"no backend '{name}'", hint=did_you_mean(name, (*_BACKENDS, *_PLANNED)))
    return _BACKENDS[name]()


def _analytic() -> Backend:
    from hil.backend.analytic import AnalyticBackend

    return AnalyticBackend()


_BACKENDS: dict[str, Callable[[], Backend]] = {"analytic": _analytic}
_PLANNED = ("renode", "qemu", "serial", "replay")
BACKEND_NAMES = tuple(_BACKENDS)
