"""The emulated backends: the firmware in an emulator, in virtual time, through the same session as a real board.

What the core executes is counted; what the accelerator and the vendor's runtime take is the cost model's, spent in
virtual time.  Two runs give identical figures.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from hil.backend.analytic import predicted_figures
from hil.backend.assemble import Figures, Predicted, assemble, make_model
from hil.backend.base import RunOptions, Surroundings
from hil.backend.observe import Observation, kind_of, observe
from hil.backend.run import PhaseFigures, Run
from hil.backend.timed import around, log_sigma, sums, timed
from hil.board.capture import Capture, new_capture_path
from hil.board.link import open_link
from hil.board.session import Limits, Session
from hil.cost import SUMS, CostModel
from hil.cost.workload import op_kind
from hil.emulator.board import EmulatedBoard
from hil.emulator.clock import CLASS_OF_KIND, instruction_table, time_scales
from hil.emulator.images import image_for
from hil.emulator.layout import TimeClass
from hil.emulator.process import Workspace
from hil.errors import LinkError
from hil.plan import PHASES, Plan
from hil.platform import Target

# Emulation of a large network on the core takes minutes of the host's time.
# An emulator that fails once fails again: nothing is tried twice.
_LIMITS = Limits(open_s=30.0, boot_s=30.0, handshake_s=60.0, answer_s=30.0, run_s=900.0, reconnect_s=0.0, attempts=1)


class EmulatedBackend:
    """Runs plans on emulated boards, one after the other."""

    batched = False

    def __init__(self, engine: str, around: Surroundings | None = None) -> None:
        self.name = engine
        self._around = around or Surroundings()

    def fingerprint(self, target: Target, options: RunOptions) -> str:
        parts = [make_model(target, options).digest, image_for(target, self.name).hash, instruction_table()]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def run(self, plans: Sequence[Plan], options: RunOptions) -> list[Run]:
        if not plans:
            return []
        predicted = Predicted.of(plans, options)
        return [self._run(plan, index, predicted, options) for index, plan in enumerate(plans)]

    def _run(self, plan: Plan, index: int, predicted: Predicted, options: RunOptions) -> Run:
        with Workspace() as space:
            board = EmulatedBoard(
                plan,
                self.name,
                space,
                predicted.model,
                predicted.prediction,
                index,
                platform_path=self._around.platform_path,
            )
            name = f"{plan.network.name}--{plan.target.id}"
            path = new_capture_path(name, self._around.captures)
            try:
                capture = Capture(path, port=board.url, baud=0, limits=asdict(_LIMITS))
                with Session(lambda: open_link(board.url), capture=capture, limits=_LIMITS) as session:
                    session.connect()
                    seen = observe(session, plan, options.board, options.repeat)
            except LinkError as error:
                why = board.failure()
                if why is None:
                    raise
                raise LinkError(f"{error.message}: {why}", hint=error.hint) from error
            finally:
                board.close()
        figures = virtual_figures(plan, index, predicted, seen, self.name, path, board.notes)
        return assemble(plan, index, predicted, figures, options)


def virtual_figures(
    plan: Plan,
    index: int,
    predicted: Predicted,
    seen: Observation,
    backend: str,
    capture: Path,
    notes: tuple[str, ...] = (),
) -> Figures:
    """The figures of a board in virtual time.

    Intervals are those of the cost model behind the times; where the board executed the network, they have the scatter
    of the cycles per instruction too.  A board that only tells predicted times gains no fidelity by it.
    """
    executed = kind_of(seen.identity) == "emulated"
    model = predicted_figures(plan, index, predicted)
    scatter = {"inference": _scatter(plan, seen, predicted.model) if executed else 0.0}
    phases: dict[str, PhaseFigures] = {}
    for phase in PHASES:
        expected, samples = model.phases.get(phase), seen.phase_samples_s.get(phase)
        if expected is None or samples is None:
            continue
        sigma = math.hypot(log_sigma(expected.latency_s), scatter.get(phase, 0.0))
        fidelity = "emulated" if executed else expected.fidelity
        phases[phase] = timed(expected, around(samples[0], sigma), fidelity)
    on_core = {op for op, place in enumerate(plan.placements) if place.unit == "cpu"}
    return Figures(
        backend=backend,
        fidelity="emulated" if executed else model.fidelity,
        phases=phases,
        sums=sums(phases, model.sums, "emulated" if executed else None, scatter),
        op_latency_s=[
            seen.op_s.get(op, predicted_s) if op in on_core else predicted_s
            for op, predicted_s in enumerate(model.op_latency_s)
        ],
        notes=(*model.notes, *(_unmeasured(model.phases, phases) if executed else ()), *notes, *seen.notes),
        board=seen.board.model_copy(update={"capture": str(capture)}),
        outputs=seen.outputs,
        accuracy=seen.accuracy,
    )


def _unmeasured(expected: Mapping[str, PhaseFigures], phases: Mapping[str, PhaseFigures]) -> tuple[str, ...]:
    """Emulation does not make a guess better: which phases rest on priors alone."""
    largest = max((part.latency_s.mean for part in phases.values()), default=0.0)
    guessed = [
        name
        for name, part in phases.items()
        if expected[name].fidelity == "estimated" and part.latency_s.mean > 0.01 * largest and name in SUMS["total"]
    ]
    if not guessed:
        return ()
    return (f"emulated with estimated costs, no measurement behind them: {', '.join(guessed)}",)


def _scatter(plan: Plan, seen: Observation, model: CostModel) -> float:
    """Standard deviation of the logarithm of the inference that the cycles per instruction bring in: that of each
    class, by its share of the time; errors within a class go together."""
    sigma = time_scales(model, image_for(plan.target, "qemu").counts).sigma  # one core, one scatter, whatever engine
    total = sum(seen.phase_samples_s["inference"][:1])
    by_class: dict[TimeClass, float] = {}
    for index, seconds in seen.op_s.items():
        if plan.placements[index].unit == "cpu":
            kind = CLASS_OF_KIND[op_kind(plan.network.ops[index])]
            by_class[kind] = by_class.get(kind, 0.0) + seconds
    shares = {kind: seconds / total for kind, seconds in by_class.items() if total > 0}
    return math.sqrt(sum((share * sigma[kind]) ** 2 for kind, share in shares.items()))
