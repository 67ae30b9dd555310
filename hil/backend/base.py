"""What every backend does: take plans on one target, return runs.  Callers never ask which backend it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from hil.backend.run import Run
from hil.errors import ConfigError, did_you_mean
from hil.plan import Plan
from hil.platform import Target


@dataclass(frozen=True, slots=True)
class BoardOptions:
    """How to measure on a board.

    ``port`` or ``board`` (an entry of the board map) is where it is, ``capture`` the file that ``replay`` plays back.
    ``warmups``: None for ten on a real board and none on an emulated one.  ``window_s``: choose the number of
    inferences so that one window of them takes at least so long; ``windows``: how many such windows.  ``data_set``:
    samples to predict, ``digits`` or a ``.npz`` file.  ``seed`` makes the input.  ``meter`` measures energy at ``site``
    (None: the scope of the platform file) with ``meter_rate_hz`` (None: the most that it can), started by the host or
    (``meter_trigger``) by the board's pin.
    """

    port: str | None = None
    board: str | None = None
    baud: int | None = None
    capture: str | None = None
    warmups: int | None = None
    window_s: float | None = None
    windows: int = 1
    data_set: str | None = None
    seed: int = 1
    meter: str | None = None
    meter_rate_hz: float | None = None
    meter_trigger: Literal["software", "hardware"] = "software"
    site: str | None = None


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to run: ``repeat`` inferences back to back; one inference every ``period_s`` where that is given, from a
    battery of ``battery_j`` joules.  ``calibrated`` false: predictions rest on priors alone."""

    repeat: int = 1
    calibrated: bool = True
    period_s: float | None = None
    battery_j: float = 0.225 * 3600 * 3.0  # CR2032: 225 mAh at 3 V nominal, the usual data-sheet figure
    board: BoardOptions = field(default_factory=BoardOptions)


class Backend(Protocol):
    """Runs plans.  ``name`` is what ``--backend`` takes.  ``batched``: many plans at once cost little more than one;
    otherwise each takes its time, and one may fail without the others."""

    @property
    def name(self) -> str: ...

    @property
    def batched(self) -> bool: ...

    def fingerprint(self, target: Target, options: RunOptions) -> str:
        """What decides this backend's figures on a target beside the plan: parameters, calibration, a board."""
        ...

    def run(self, plans: Sequence[Plan], options: RunOptions) -> list[Run]:
        """Run plans that share a target, in their order.  Raises HilError."""
        ...


@dataclass(frozen=True)
class Surroundings:
    """What is around a backend, and decides no figure: the folder for raw captures (None: the user's cache folder), and
    the user's own platform folders."""

    captures: Path | None = None
    platform_path: tuple[Path, ...] = ()


def make_backend(name: str, around: Surroundings | None = None) -> Backend:
    """The backend of that name.  Raises ConfigError for one that does not exist."""
    if name not in _BACKENDS:
        raise ConfigError(f"no backend '{name}'", hint=did_you_mean(name, _BACKENDS))
    return _BACKENDS[name](around or Surroundings())


def _analytic(around: Surroundings) -> Backend:
    from hil.backend.analytic import AnalyticBackend

    return AnalyticBackend()


def _qemu(around: Surroundings) -> Backend:
    from hil.backend.emulated import EmulatedBackend

    return EmulatedBackend("qemu", around)


def _renode(around: Surroundings) -> Backend:
    from hil.backend.emulated import EmulatedBackend

    return EmulatedBackend("renode", around)


def _serial(around: Surroundings) -> Backend:
    from hil.backend.serial import SerialBackend

    return SerialBackend(around)


def _replay(around: Surroundings) -> Backend:
    from hil.backend.serial import ReplayBackend

    return ReplayBackend()


_BACKENDS: dict[str, Callable[[Surroundings], Backend]] = {
    "analytic": _analytic,
    "qemu": _qemu,
    "renode": _renode,
    "serial": _serial,
    "replay": _replay,
}
BACKEND_NAMES = tuple(_BACKENDS)
