"""From a trace and what the board told about one ``infer`` to the energy of its phases.

The laps bring both clocks together: the board gives their times, and an edge of its synchronisation pin each, a line
that the meter heard, or a step of power.  Where the board tells the borders of its phases, each phase is a window;
otherwise the inferences between the laps are the only one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import hypot

import numpy as np

from hil.board.codec import Border
from hil.errors import MeterError
from hil.meter.accuracy import Accuracy
from hil.meter.align import Alignment, Evidence, align, digital_edges, fit, same_clock, uart_evidence
from hil.meter.energy import PhaseEnergy, PhaseWindow, energy_by_phase
from hil.meter.errors import ExtraEdgeError, MissingEdgeError
from hil.meter.phases import IDLE
from hil.meter.trace import WINDOW_GAPS, SampleTimes
from hil.meter.types import Trace, Trigger
from hil.units import format_si

# Idle recorded before and after the work, and how near to it the idle windows come.
IDLE_S = 0.3
MARGIN_S = 0.05
# Steps of power fit the board's times only where nothing else makes power: beyond this they are other steps.
STEP_SKEW = 1e-3
# What the figures must be good for.  A phase around the inferences is short: it may be blurred more than they.
TOLERANCE, SHORT_TOLERANCE = 0.05, 0.25
# Idle before and after may differ by so much of what the work takes above it: the interval holds half of that.
IDLE_DRIFT = 0.1
# The laps of a board in energy mode against the host's clock, which has the command, the answer and their lines in it.
HOST_SHARE, HOST_SURE_S = (0.5, 1.1), 0.5
INFERENCE = "inference"


@dataclass(frozen=True)
class Told:
    """What a board told about one ``infer``: laps in seconds (None in energy mode), and the borders of its phases
    (none where it does not know them).  ``before_s``: how long it worked before the first lap, as far as known.
    ``host_s``: from the command to the answer by the host's clock, None where the board's time is virtual."""

    inferences: int
    laps_s: tuple[float, float] | None
    borders: tuple[Border, ...] = ()
    before_s: float = 0.0
    baud: int = 115_200
    warmups: int = 0
    host_s: float | None = None


@dataclass(frozen=True)
class Energies:
    """Energy by phase of one ``infer``; ``refused`` says why a phase has none.  ``windows`` are in the meter's time;
    ``idle`` is the energy of one of both idle windows."""

    phases: Mapping[str, PhaseEnergy]
    refused: Mapping[str, MeterError]
    alignment: Alignment | None = None
    windows: tuple[PhaseWindow, ...] = ()
    idle: PhaseEnergy | None = None


def energies(trace: Trace, told: Told, *, scope: str, accuracy: Accuracy | None, trigger: Trigger) -> Energies:
    """Align, and integrate each phase.  What cannot be trusted is refused by name, never raised."""
    try:
        told, alignment = _aligned(trace, told, trigger)
    except MeterError as unaligned:
        return Energies({}, {INFERENCE: unaligned})
    work = _work(told)
    idle = _idle(trace, alignment, *span(told))
    refused: dict[str, MeterError] = {}
    resting = energy_by_phase(
        trace, idle, alignment, scope=scope, accuracy=accuracy, tolerance=SHORT_TOLERANCE, refused=refused
    ).get(IDLE)
    if resting is None:  # energies above idle are lost then, gross ones are not
        idle = []
    found = energy_by_phase(
        trace,
        work,
        alignment,
        scope=scope,
        idle=idle,
        accuracy=accuracy,
        tolerance={window.name: TOLERANCE if window.name == INFERENCE else SHORT_TOLERANCE for window in work},
        refused=refused,
    )
    if (error := _not_idle(found.get(INFERENCE))) is not None:
        found, resting = {name: replace(energy, above_idle=None, idle=None) for name, energy in found.items()}, None
        refused[IDLE] = error
    for name in [name for name, energy in found.items() if energy.mean_j < 0]:
        refused[name] = MeterError(f"{name}: its energy is negative: is the meter the wrong way round?")
        del found[name]
    windows = tuple(
        replace(
            window,
            start_s=alignment.to_meter(window.start_s),
            end_s=alignment.to_meter(window.end_s),
            border_sd_s=alignment.border_s,
        )
        for window in sorted([*work, *idle], key=lambda w: w.start_s)
    )
    return Energies(found, refused, alignment, windows, resting)


def _not_idle(inference: PhaseEnergy | None) -> MeterError | None:
    """An error where idle before and after differ so much that one of them was none: warm-ups, or a board at work."""
    if inference is None or inference.idle is None:
        return None
    idle = inference.idle
    if abs(idle.drift_w) <= IDLE_DRIFT * abs(inference.power_w - idle.power_w):
        return None
    return MeterError(
        f"{IDLE}: {format_si(idle.power_w - idle.drift_w / 2, 'W')} before the work, "
        f"{format_si(idle.power_w + idle.drift_w / 2, 'W')} after it: one of both is not idle"
    )


def _work(told: Told) -> list[PhaseWindow]:
    """A window per phase, in board time."""
    named = {border.name: (border.start_ns * 1e-9, border.end_ns * 1e-9) for border in told.borders}
    if told.laps_s is not None:
        named.setdefault(INFERENCE, told.laps_s)
    return [
        PhaseWindow(name, start_s, end_s, told.inferences, WINDOW_GAPS if told.inferences > 1 else 0.0)
        if name == INFERENCE
        else PhaseWindow(name, start_s, end_s)
        for name, (start_s, end_s) in named.items()
        if end_s > start_s
    ]


def span(told: Told) -> tuple[float, float]:
    """When the board began to work and when it was done, in its time.  Laps must be known."""
    if told.borders:
        return told.borders[0].start_ns * 1e-9, told.borders[-1].end_ns * 1e-9
    assert told.laps_s is not None
    return told.laps_s[0] - told.before_s, told.laps_s[1]


def _idle(trace: Trace, alignment: Alignment, begin_s: float, end_s: float) -> list[PhaseWindow]:
    """Idle before the host spoke and after the board had answered; none where one of both is too short."""
    times = SampleTimes(trace)
    first_s, last_s = alignment.to_board(times.first_s), alignment.to_board(times.last_s)
    borders = (
        (first_s + MARGIN_S / 5, min(first_s + IDLE_S, begin_s) - MARGIN_S),
        (max(end_s, last_s - IDLE_S) + MARGIN_S, last_s - MARGIN_S / 5),
    )
    if any(end - start < MARGIN_S for start, end in borders):
        return []
    return [PhaseWindow(IDLE, start, end, gaps_allowed=WINDOW_GAPS) for start, end in borders]


# --- both clocks ----------------------------------------------------------------------------------------------------


def _aligned(trace: Trace, told: Told, trigger: Trigger) -> tuple[Told, Alignment]:
    """What was told with its laps, and the alignment by the best evidence that there is.  Raises MeterError."""
    if told.laps_s is None:
        return _energy_mode(trace, told)
    start_s, end_s = told.laps_s
    if trigger == "hardware":  # its edge is before the first sample
        return told, align(trace, Evidence(trigger_s=start_s), ("trigger",))
    if trace.digital is not None and bool(np.any(trace.digital & 1)):
        return told, align(trace, Evidence((start_s, end_s)), ("digital",))
    heard = uart_evidence(trace, told.baud, [round(start_s * 1e6), round(end_s * 1e6)])
    if heard is not None:
        return told, align(trace, heard, ("uart",))
    alignment = align(trace, Evidence(span(told)), ("change-point",))
    if abs(alignment.skew) > STEP_SKEW:
        raise MeterError(
            f"the steps of power are {alignment.skew:+.1%} off the board's times: they are not its work",
            hint="wire the board's synchronisation pin to the meter's first digital input",
        )
    if not told.borders:  # it works before and after what it tells: that is in the skew
        apart_s = abs(alignment.skew) * (told.laps_s[1] - told.laps_s[0]) / 2
        alignment = replace(alignment, common_s=hypot(alignment.common_s, apart_s))
    return told, alignment


def _energy_mode(trace: Trace, told: Told) -> tuple[Told, Alignment]:
    """A board in energy mode prints no laps: the two falling edges of its pin are the laps.

    A pin that only changes its level once per lap has one falling edge; its two changes are the laps then.  Nothing
    else tells the laps, so there must be no other edge, and the host's clock must agree roughly.
    """
    edges = digital_edges(trace, 0)
    high = trace.digital is not None and bool(trace.digital[0] & 1)
    falling = edges[0 if high else 1 :: 2]
    laps = falling if len(falling) > 1 else edges
    hint = "wire the board's synchronisation pin to the meter's first digital input; it must pulse at the laps only"
    if len(laps) != 2:
        kind = MissingEdgeError if len(laps) < 2 else ExtraEdgeError
        raise kind(f"digital input 0: {len(laps)} laps in the trace, expected two around the inferences", hint=hint)
    start_s, end_s = float(laps[0]), float(laps[1])
    if told.host_s is not None and told.host_s > HOST_SURE_S:
        share = (end_s - start_s) / (told.host_s * told.inferences / (told.inferences + told.warmups))
        if not HOST_SHARE[0] < share < HOST_SHARE[1]:
            raise MissingEdgeError(
                f"digital input 0: {format_si(end_s - start_s, 's')} between the laps, but the host waited "
                f"{format_si(told.host_s, 's')} for {told.inferences} inferences and {told.warmups} warm-ups",
                hint=hint,
            )
    interval_s = SampleTimes(trace).interval_s
    border = next((border for border in told.borders if border.name == INFERENCE), None)
    if border is None:
        return replace(told, laps_s=(start_s, end_s)), same_clock(interval_s)
    board = (border.start_ns * 1e-9, border.end_ns * 1e-9)
    return replace(told, laps_s=board), fit("digital", board, (start_s, end_s), "digital input 0", interval_s, 1e-6)
