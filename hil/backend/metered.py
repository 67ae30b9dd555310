"""A power meter around the windows of a benchmark: record each, keep the traces, and say what the phases took.

A trace holds idle, one ``infer`` with whatever comes before and after its inferences, and idle again.  Traces are
stored beside the capture of the session, with how they were made: a replay takes them from there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Protocol, get_args

from hil.backend.borders import IDLE_S, INFERENCE, MARGIN_S, Energies, Told, energies, span
from hil.backend.run import MeterFigures
from hil.board.answers import Inference
from hil.board.clock import Clock
from hil.board.session import InferResult, Session
from hil.errors import MeterError
from hil.files import write_atomic
from hil.meter.accuracy import Accuracy, require_sane
from hil.meter.align import UNKNOWN_SKEW, Alignment, no_crystals
from hil.meter.energy import PhaseEnergy
from hil.meter.errors import FormatError
from hil.meter.phases import BESIDE, phases_csv
from hil.meter.simulated import Scene, SimulatedMeter
from hil.meter.store import load_trace, save_trace
from hil.meter.types import MeterInfo, PowerMeter, Trace, Trigger

SCHEMA = 1
# An ``infer`` that had to be repeated leaves two in one trace: it is recorded anew, so often.
RECORDINGS = 3
POLL_S = 0.2  # how often a recording is looked at
# MLPerf Tiny's rule for energy: so many windows of so many seconds.
MLPERF_WINDOWS, MLPERF_WINDOW_S = 5, 10.0
# Fewer, and a meter that does not average between its samples shows what it happens to meet.
SAMPLES_PER_INFERENCE = 4


@dataclass(frozen=True)
class Setup:
    """How the traces of a run were made."""

    info: MeterInfo
    site: str
    rate_hz: float
    trigger: Trigger
    accuracy: Accuracy | None
    simulated: bool = False


@dataclass(frozen=True)
class Metered:
    """One ``infer`` under the meter.  ``host_s``: from the command to the answer, by the host's clock."""

    result: InferResult
    host_s: float


class Traces(Protocol):
    """Where the traces of a run come from: a meter, or an earlier run."""

    @property
    def setup(self) -> Setup: ...

    def infer(self, session: Session, inferences: int, warmups: int, expected_s: float) -> Metered:
        """One ``infer`` under the meter."""
        ...

    def trace(self, number: int, told: Told) -> tuple[Path, Trace]:
        """The trace of the ``infer`` with that number (from 1), of which the board told this; and its folder."""
        ...


class Recorder:
    """Records with a meter.  ``stem`` is the path that the names of its traces begin with."""

    def __init__(self, meter: PowerMeter, setup: Setup, stem: Path, clock: Clock) -> None:
        self.setup = setup
        self._kept: list[Path] = []
        self._meter, self._stem, self._clock = meter, stem, clock
        _write_setup(stem, setup)

    def infer(self, session: Session, inferences: int, warmups: int, expected_s: float) -> Metered:
        """Raises MeterError where the meter fails, or the ``infer`` had to be repeated each time."""
        for _ in range(RECORDINGS):
            found = self._record(session, inferences, warmups, expected_s)
            if found.result.attempts == 1:
                return found
            self._kept.pop()  # its folder is written anew
        raise _unclean()

    def trace(self, number: int, told: Told) -> tuple[Path, Trace]:
        """As it is stored, in single precision: a replay judges the same."""
        path = self._kept[number - 1]
        return path, load_trace(path)

    def _record(self, session: Session, inferences: int, warmups: int, expected_s: float) -> Metered:
        clock, number = self._clock, len(self._kept) + 1
        self._meter.start(self.setup.trigger)
        if self.setup.trigger == "software":
            self._wait(IDLE_S)
        asked_s = clock.now_s()
        answered_s: list[float] = []

        def answered(answer: Inference) -> None:
            """Before anything is asked again: that would be in the trace too."""
            if answered_s:
                return
            answered_s.append(clock.now_s())
            if answer.start_us is not None and answer.end_us is not None:
                # A board in virtual time answers sooner than its power would be over.
                work_s = (answer.end_us - answer.start_us) * 1e-6 * (1 + warmups / inferences)
                self._wait(work_s - (clock.now_s() - asked_s))
            self._wait(IDLE_S)
            # Stored before anything can go wrong with the board, and before anybody judges it.
            self._kept.append(save_trace(self._meter.stop(), _trace_folder(self._stem, number)))

        result = session.infer(inferences, warmups, expected_s, answered)
        return Metered(result, answered_s[0] - asked_s)

    def _wait(self, seconds: float) -> None:
        """Let the recording run.  Raises MeterError as soon as something is wrong with it."""
        end_s = self._clock.now_s() + seconds
        while True:
            if (problem := self._meter.problem()) is not None:
                raise problem
            if (rest_s := end_s - self._clock.now_s()) <= 0:
                return
            self._clock.sleep(min(rest_s, POLL_S))


class Stored:
    """Traces of an earlier run, in its order."""

    def __init__(self, stem: Path, clock: Clock) -> None:
        """``clock``: that of the capture.  Raises FormatError where their setup is damaged or gone."""
        self.setup = _read_setup(_setup_file(stem))
        self._stem, self._clock = stem, clock

    @staticmethod
    def there(stem: Path) -> bool:
        return _setup_file(stem).is_file() or _trace_folder(stem, 1).is_dir()

    def infer(self, session: Session, inferences: int, warmups: int, expected_s: float) -> Metered:
        """As often as it was recorded."""
        for _ in range(RECORDINGS):
            asked_s = self._clock.now_s()
            answered_s: list[float] = []
            result = session.infer(inferences, warmups, expected_s, partial(self._note, answered_s))
            if result.attempts == 1:
                return Metered(result, answered_s[0] - asked_s)
        raise _unclean()

    def _note(self, answered_s: list[float], answer: Inference) -> None:
        answered_s.append(self._clock.now_s())

    def trace(self, number: int, told: Told) -> tuple[Path, Trace]:
        """Raises FormatError where it is damaged."""
        path = _trace_folder(self._stem, number)
        return path, load_trace(path)


class Simulated:
    """A simulated meter watches what the cost model says: ``power_w`` by phase, and ``idle_w``.

    It is for trying a rig without an instrument: its energies are the model's, as the instrument would show them.
    """

    def __init__(
        self, meter: SimulatedMeter, setup: Setup, stem: Path, power_w: Mapping[str, float], idle_w: float
    ) -> None:
        self.setup = setup
        self._meter, self._stem, self._power_w, self._idle_w = meter, stem, power_w, idle_w
        _write_setup(stem, setup)

    def infer(self, session: Session, inferences: int, warmups: int, expected_s: float) -> Metered:
        return Metered(session.infer(inferences, warmups, expected_s), 0.0)

    def trace(self, number: int, told: Told) -> tuple[Path, Trace]:
        """Raises MeterError for a board that tells no laps: its clock is the scene's."""
        if told.laps_s is None:
            raise MeterError("a simulated meter needs a board that tells its laps", hint="use performance mode")
        begin_s, end_s = span(told)
        steps: dict[float, float] = {begin_s - 2 * IDLE_S: self._idle_w}
        # Between the phases, and in warm-ups, the board works as in an inference.
        working_w = self._power_w.get(INFERENCE, self._idle_w)
        steps[begin_s] = working_w
        for border in told.borders:
            steps[border.start_ns * 1e-9] = self._power_w.get(border.name, working_w)
            steps.setdefault(border.end_ns * 1e-9, working_w)
        steps[end_s] = self._idle_w
        ordered = sorted(steps)
        meter = self._meter
        meter.scene = Scene(ordered, [steps[at_s] for at_s in ordered], end_s, told.laps_s)
        meter.faults = replace(meter.faults, start_s=begin_s - IDLE_S - MARGIN_S, tail_s=IDLE_S + MARGIN_S)
        meter.start(self.setup.trigger)
        path = save_trace(meter.stop(), _trace_folder(self._stem, number))
        return path, load_trace(path)


def _unclean() -> MeterError:
    return MeterError(
        f"the inferences had to be repeated in each of {RECORDINGS} recordings",
        hint="the link is not clean: see the capture",
    )


@dataclass(frozen=True)
class MeteredEnergy:
    """What was measured, a value per window: energies by phase, and what stands behind them.

    ``latency_s``: seconds per inference by the meter's clock, where its energy was measured; the length of a window is
    known to ``resolution_s``.  ``idle``: where it was measured before and after.  ``simulated``: by no instrument.
    """

    phases: Mapping[str, Sequence[PhaseEnergy]]
    meter: MeterFigures
    latency_s: tuple[float, ...]
    resolution_s: float
    idle: Sequence[PhaseEnergy] = ()
    simulated: bool = False


def metered(traces: Traces, told: Sequence[Told], first: int = 1) -> MeteredEnergy:
    """The energies of all windows; ``first`` is the number of the first one's trace.

    A phase that one window refuses is refused.  Writes the phases of each trace into its folder, in the meter's time.
    """
    setup = traces.setup
    found: list[Energies] = []
    folders: list[Path] = []
    notes: list[str] = []
    for number, one in enumerate(told, start=first):
        folder, trace = traces.trace(number, one)
        found.append(energies(trace, one, scope=setup.site, accuracy=setup.accuracy, trigger=setup.trigger))
        if not isinstance(traces, Stored):  # which may lie where nothing can be written
            write_atomic(folder / BESIDE, phases_csv(found[-1].windows))
        folders.append(folder)
        notes += trace.notes
    refused = {name: error.message for part in reversed(found) for name, error in part.refused.items()}
    for name in dict.fromkeys(name for part in found for name in part.phases):
        if any(name not in part.phases for part in found):
            refused.setdefault(name, "it was not measured in every window")
    names = [name for name in found[0].phases if name not in refused]
    phases = {name: [part.phases[name] for part in found] for name in names}
    windows = phases.get(INFERENCE, [])
    idle = windows[-1].idle if windows else None
    alignment = found[-1].alignment
    info = setup.info
    notes += [f"{name} not measured: {why.removeprefix(f'{name}: ')}" for name, why in refused.items()]
    notes += _short_of_mlperf(told, windows)
    notes += _doubts(setup, windows, [part.alignment for part in found if part.alignment is not None])
    figures = MeterFigures(
        model=info.model,
        serial=info.serial,
        firmware=info.firmware,
        driver=info.driver,
        site=setup.site,
        rate_hz=setup.rate_hz,
        trigger=setup.trigger,
        accuracy=(setup.accuracy or Accuracy()).source,
        alignment=alignment.describe() if alignment is not None else "none",
        skew_ppm=alignment.skew_ppm if alignment is not None else 0.0,
        idle_power_w=idle.power_w if idle is not None else None,
        idle_drift_w=idle.drift_w if idle is not None else None,
        windows_j=tuple(window.mean_j for window in windows),
        parts_j=dict(windows[-1].parts_j) if windows else {},
        refused=refused,
        notes=tuple(dict.fromkeys(notes)),
        traces=tuple(map(str, folders)),
    )
    latency_s = tuple(window.duration_s for window in windows)
    resolution_s = math.hypot(
        1 / setup.rate_hz, UNKNOWN_SKEW * max((w.duration_s * w.inferences for w in windows), default=0)
    )
    resting = [part.idle for part in found if part.idle is not None]
    return MeteredEnergy(phases, figures, latency_s, resolution_s, resting, simulated=setup.simulated)


def _doubts(setup: Setup, windows: Sequence[PhaseEnergy], alignments: Sequence[Alignment]) -> list[str]:
    """What a reader must know of figures that were not refused."""
    notes = []
    apart = max(alignments, key=lambda one: abs(one.skew), default=None)
    if apart is not None and no_crystals(apart.skew, apart.skew_sd_ppm * 1e-6):
        notes.append(
            f"the clocks of board and meter differ by {apart.skew:+.2%}: an oscillator without a crystal, or samples "
            "lost unseen; the intervals hold either"
        )
    shortest_s = min((window.duration_s for window in windows if window.inferences > window.windows), default=None)
    if shortest_s is not None and setup.rate_hz * shortest_s < SAMPLES_PER_INFERENCE:
        many = setup.rate_hz * shortest_s
        notes.append(f"{many:.2g} samples per inference: right only if the meter averages between its samples")
    return notes


def _short_of_mlperf(told: Sequence[Told], windows: Sequence[PhaseEnergy]) -> list[str]:
    """A board in energy mode is there for MLPerf Tiny's figure: say where it is none."""
    if not windows or told[0].laps_s is not None:
        return []
    shortest_s = min(window.duration_s * window.inferences for window in windows)
    if len(windows) >= MLPERF_WINDOWS and shortest_s >= MLPERF_WINDOW_S:
        return []
    return [
        f"{len(windows)} windows of {shortest_s:.3g} s: MLPerf Tiny asks for {MLPERF_WINDOWS} of {MLPERF_WINDOW_S:g} s "
        f"(--window {MLPERF_WINDOW_S:g}s --windows {MLPERF_WINDOWS})"
    ]


# --- files ----------------------------------------------------------------------------------------------------------


def _setup_file(stem: Path) -> Path:
    return stem.with_name(f"{stem.name}-meter.json")


def _trace_folder(stem: Path, number: int) -> Path:
    return stem.with_name(f"{stem.name}-trace-{number}")


def _write_setup(stem: Path, setup: Setup) -> None:
    write_atomic(_setup_file(stem), json.dumps({"schema": SCHEMA, **asdict(setup)}, indent=1).encode() + b"\n")


def _read_setup(path: Path) -> Setup:
    try:
        document = json.loads(path.read_bytes())
        if document["schema"] != SCHEMA:
            raise FormatError(f"{path}: schema {document['schema']}, this version reads {SCHEMA}")
        known = {field.name: document[field.name] for field in fields(Setup)}
        accuracy = Accuracy(**known["accuracy"]) if known["accuracy"] else None
        setup = Setup(**known | {"info": MeterInfo(**known["info"]), "accuracy": accuracy})
        if accuracy is not None:
            require_sane(accuracy)
        if not 0 < setup.rate_hz < math.inf or not setup.site or setup.trigger not in get_args(Trigger):
            raise ValueError(f"{setup.rate_hz} Hz at '{setup.site}', {setup.trigger} trigger")
        return setup
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{path}: not the setup of a meter: {error}", hint="measure again") from error
