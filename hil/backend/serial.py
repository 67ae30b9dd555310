"""The serial backend: a board behind a port.  And its replay: the same session from a raw capture."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hil.backend.analytic import predicted_figures
from hil.backend.assemble import Figures, Predicted, assemble, energy_scope, make_model
from hil.backend.base import RunOptions, Surroundings
from hil.backend.emulated import virtual_figures
from hil.backend.energies import with_energy
from hil.backend.metered import Recorder, Setup, Simulated, Stored, Traces
from hil.backend.observe import LAP_RESOLUTION_S, Observation, kind_of, observe
from hil.backend.run import Fidelity, PhaseFigures, Run
from hil.backend.timed import repeated, sums, timed
from hil.backend.transcript import observe_transcript
from hil.board.boards import Board, get_board, load_boards, resolve_port
from hil.board.capture import ReplayLink, is_capture, new_capture_path, read_capture
from hil.board.clock import MonotonicClock
from hil.board.codec import BAUD
from hil.board.session import Limits, Session, open_session
from hil.errors import ConfigError
from hil.meter.accuracy import checks_folder, load_check
from hil.meter.energy import same_site
from hil.meter.opened import opened
from hil.meter.registry import open_meter
from hil.meter.simulated import SimulatedMeter
from hil.plan import PHASES, Plan
from hil.platform import Target


class SerialBackend:
    """Measures on the board at ``options.board.port``, or on ``options.board.board`` of the board map."""

    name = "serial"
    batched = False

    def __init__(self, around: Surroundings | None = None) -> None:
        self._around = around or Surroundings()

    def fingerprint(self, target: Target, options: RunOptions) -> str:
        return make_model(target, options).digest

    def run(self, plans: Sequence[Plan], options: RunOptions) -> list[Run]:
        return [self._run(plan, options) for plan in plans]

    def _run(self, plan: Plan, options: RunOptions) -> Run:
        board = self._board(plan.target, options)
        path = new_capture_path(f"{plan.network.name}--{plan.target.id}", self._around.captures)
        port = resolve_port(options.board.board or "at the port", board)
        baud = options.board.baud or board.baud
        with (
            open_session(port, baud, capture_path=path, limits=board.limits, mode=board.mode) as session,
            self._metering(plan, options, board, path) as traces,
        ):
            session.connect()
            seen = observe(session, plan, options.board, options.repeat, traces, baud or BAUD[board.mode])
        return _run_of(plan, options, seen, self.name, path, read_capture(path).header.started)

    @contextmanager
    def _metering(self, plan: Plan, options: RunOptions, board: Board, capture: Path) -> Iterator[Traces | None]:
        """The meter that was asked for, or that of the board map, opened without a glitch of the board's supply."""
        asked = options.board
        spec = asked.meter or board.meter
        if spec is None:
            yield None
            return
        own = energy_scope(plan.target).partition(",")[0]
        site = own if asked.site is None or same_site(asked.site, own) else asked.site.partition(",")[0].strip()
        with opened(open_meter(spec, site=site, raw_folder=capture.parent)) as meter:
            # An instrument shows the most at its highest rate; a simulated one has none.
            usual_hz = meter.rate_hz if isinstance(meter, SimulatedMeter) else meter.caps.rate_max_hz
            rate_hz = meter.configure(usual_hz if asked.meter_rate_hz is None else asked.meter_rate_hz)
            accuracy = load_check(checks_folder(), meter.info)
            simulated = isinstance(meter, SimulatedMeter)
            setup = Setup(meter.info, site, rate_hz, asked.meter_trigger, accuracy, simulated)
            if isinstance(meter, SimulatedMeter):
                yield Simulated(meter, setup, capture.with_suffix(""), *_power(plan, options))
            else:
                yield Recorder(meter, setup, capture.with_suffix(""), MonotonicClock())

    def _board(self, target: Target, options: RunOptions) -> Board:
        """The board that was asked for; an unknown one has the usual limits.  Raises ConfigError."""
        asked = options.board
        if asked.board is not None:
            board = get_board(load_boards(None, self._around.platform_path), asked.board)
            if board.platform != target.id:
                raise ConfigError(
                    f"board {asked.board} is a {board.platform}; asked for {target.id}",
                    hint=f"--platform {board.platform}",
                )
            return board
        if asked.port is None:
            raise ConfigError(
                "the serial backend needs a board", hint="--port /dev/ttyACM0, or --board ID of boards.toml"
            )
        return Board(platform=target.id, port=asked.port)


class ReplayBackend:
    """Plays the capture of a run back: the same plan and options give the same record.

    A log of another runner (text) is read as what it is: the last ``infer`` in it.
    """

    name = "replay"
    batched = False

    def fingerprint(self, target: Target, options: RunOptions) -> str:
        content = hashlib.sha256(_capture_of(options).read_bytes()).hexdigest()
        return f"{make_model(target, options).digest}-{content[:16]}"

    def run(self, plans: Sequence[Plan], options: RunOptions) -> list[Run]:
        return [self._run(plan, options) for plan in plans]

    def _run(self, plan: Plan, options: RunOptions) -> Run:
        path = _capture_of(options)
        if not is_capture(path):
            seen, started = observe_transcript(path, plan)
            return _run_of(plan, options, seen, self.name, path, started)
        recording = read_capture(path)
        link = ReplayLink(recording)
        header, stem = recording.header, path.with_suffix("")
        traces = Stored(stem, link) if Stored.there(stem) else None
        with Session(link.open, clock=link, limits=Limits.of(header.limits), mode=header.mode) as session:
            session.connect()
            seen = observe(session, plan, options.board, options.repeat, traces, header.baud)
        return _run_of(plan, options, seen, self.name, path, recording.header.started)


def _power(plan: Plan, options: RunOptions) -> tuple[dict[str, float], float]:
    """The cost model's mean power by phase, and idle: what a simulated meter watches."""
    predicted = Predicted.of([plan], options)
    phases = predicted_figures(plan, 0, predicted).phases
    watts = {name: part.power_w for name, part in phases.items() if part.power_w is not None}
    return watts, predicted.prediction.idle_power_w.at(0)[0]


def _capture_of(options: RunOptions) -> Path:
    if options.board.capture is None:
        raise ConfigError("replay needs the capture of a run", hint="--capture FILE")
    path = Path(options.board.capture)
    if not path.is_file():
        raise ConfigError(f"{path}: no such capture", hint="hil bench --out DIR keeps them in DIR/captures")
    return path


def _run_of(plan: Plan, options: RunOptions, seen: Observation, backend: str, capture: Path, started: str) -> Run:
    predicted = Predicted.of([plan], options)
    make = measured_figures if kind_of(seen.identity) is None else virtual_figures
    figures = with_energy(make(plan, 0, predicted, seen, backend, capture), seen.energy, energy_scope(plan.target))
    run = assemble(plan, 0, predicted, figures, options)
    # The time of the measurement, not of its replay.
    return run.model_copy(update={"provenance": run.provenance.model_copy(update={"created": started})})


def measured_figures(
    plan: Plan, index: int, predicted: Predicted, seen: Observation, backend: str, capture: Path
) -> Figures:
    """Times as measured; energies from the cost model's power, as there is no meter."""
    model = predicted_figures(plan, index, predicted)
    fidelity: Fidelity = "measured"
    phases: dict[str, PhaseFigures] = {}
    for phase in PHASES:
        samples = seen.phase_samples_s.get(phase)
        if samples is not None:
            window = phase == "inference"
            resolution_s = seen.resolution_s / seen.board.inferences if window else LAP_RESOLUTION_S
            phases[phase] = timed(model.phases.get(phase), repeated(samples, resolution_s), fidelity, samples)
    return Figures(
        backend=backend,
        fidelity=fidelity,
        phases=phases,
        sums=sums(phases, model.sums, fidelity),
        op_latency_s=[seen.op_s.get(op.index) for op in plan.network.ops],
        notes=(*_caveats(seen), *seen.notes),
        board=seen.board.model_copy(update={"capture": str(capture)}),
        outputs=seen.outputs,
        accuracy=seen.accuracy,
    )


def _caveats(seen: Observation) -> tuple[str, ...]:
    """What a reader of the figures must know."""
    notes = []
    if seen.energy is None:
        notes.append("energies are the cost model's power times the measured time: no meter")
    if set(seen.phase_samples_s) == {"inference"}:
        notes.append("the board times inferences only: the total leaves out initialisation, memory I/O and decoding")
    if seen.board.windows == 1:
        notes.append("one window: the interval is the clock's resolution, repeatability is unknown (--windows 5)")
    return tuple(notes)
