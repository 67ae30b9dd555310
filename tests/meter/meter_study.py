"""The coverage study: random courses of power through the simulated meter, alignment and energy, against the truth.

``python tests/meter/meter_study.py`` prints the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hil.errors import MeterError
from hil.meter.accuracy import Accuracy
from hil.meter.align import Evidence, align
from hil.meter.drivers.ppk2 import decode
from hil.meter.drivers.raw import Header
from hil.meter.energy import PhaseEnergy, PhaseWindow, energy_by_phase
from hil.meter.sim.ppk2 import CALIBRATION, encode
from hil.meter.simulated import Faults, Scene, SimulatedMeter
from hil.meter.types import Trace

PHASES = ("npu_init", "weight_load", "input_load", "inference", "output_read", "post_process")
GAIN_SD, OFFSET_SD_A = 0.005, 20e-6  # of the simulated instrument, as a resistor check would leave them
LEAD_S = 0.3


@dataclass(frozen=True)
class Case:
    """A course of power with its phases; two inferences, each phase a few steps of power."""

    scene: Scene
    phases: tuple[PhaseWindow, ...]
    idle: tuple[PhaseWindow, ...]


def random_case(rng: np.random.Generator) -> Case:
    """Phases of 6 to 60 ms with 1 to 5 steps each between 2 and 80 mW, over an idle power of 0.5 to 3 mW."""
    idle_w = float(rng.uniform(0.5e-3, 3e-3))
    t_s, power_w = [-LEAD_S], [idle_w]
    phases, edges = [], [0.0]
    now = 0.0
    for _ in range(2):
        for name in PHASES:
            length = float(rng.uniform(6e-3, 60e-3))
            inner = np.sort(rng.uniform(0, length, int(rng.integers(0, 5))))
            t_s += [now, *(now + inner).tolist()]
            power_w += rng.uniform(2e-3, 80e-3, len(inner) + 1).tolist()
            phases.append(PhaseWindow(name, now, now + length))
            now += length
            edges.append(now)
    t_s.append(now)
    power_w.append(idle_w)
    idle = (PhaseWindow("before", -0.25, -0.05), PhaseWindow("after", now + 0.05, now + 0.25))
    return Case(Scene(t_s, power_w, now, tuple(edges), 1.8), tuple(phases), idle)


@dataclass(frozen=True)
class Instrument:
    """What it does, what is known of it, and its rate."""

    faults: Faults
    accuracy: Accuracy
    rate_hz: float = 100e3
    words: bool = False  # what it measured goes through the words of a PPK2, whose ranges have steps of their own
    lost_byte_s: float | None = None  # the line loses a byte of the word of that board time


def benign(rng: np.random.Generator) -> dict[str, Instrument]:
    """What every instrument does, one by one and together: the interval must cover it.

    Gain and offset are uncertain only where they are wrong: they would hide all else.
    """
    noise = Faults(noise_a=float(rng.uniform(5e-6, 200e-6)))
    lsb = Faults(lsb_a=float(rng.uniform(10e-6, 300e-6)))
    gain = Faults(gain=float(1 + rng.normal(0, GAIN_SD)))
    offset = Faults(offset_a=float(rng.normal(0, OFFSET_SD_A)))
    skew = Faults(clock_ratio=float(1 + rng.normal(0, 50e-6)), t0_s=float(rng.uniform(0, 1000)))
    start = Faults(start_s=-LEAD_S + float(rng.uniform(0, 1e-3)))
    spikes = Faults(spikes=tuple((float(t), float(a)) for t, a in rng.uniform((0, 0.05), (0.3, 0.2), (4, 2))))
    together = Faults(
        noise_a=noise.noise_a,
        lsb_a=lsb.lsb_a,
        gain=gain.gain,
        offset_a=offset.offset_a,
        clock_ratio=skew.clock_ratio,
        t0_s=skew.t0_s,
        spikes=spikes.spikes,
    )
    slow = replace(noise, start_s=-LEAD_S + float(rng.uniform(0, 1e-3)))
    exact, checked = Accuracy(gain_sd=0.0), Accuracy(gain_sd=GAIN_SD, offset_sd_a=OFFSET_SD_A)
    named = {
        "noise": Instrument(noise, exact),
        "quantisation": Instrument(lsb, exact),
        "gain": Instrument(gain, Accuracy(gain_sd=GAIN_SD)),
        "offset": Instrument(offset, Accuracy(gain_sd=0.0, offset_sd_a=OFFSET_SD_A)),
        "clock skew": Instrument(skew, exact),
        "start": Instrument(start, exact),
        "slow (10 kS/s)": Instrument(slow, exact, rate_hz=10e3),
        "range-switch spikes": Instrument(spikes, exact),
        # Less noise: its words know no negative current.
        "auto-ranging (PPK2 words)": Instrument(replace(noise, noise_a=noise.noise_a / 10), exact, words=True),
        "together": Instrument(together, checked),
    }
    return {
        name: replace(
            instrument,
            faults=replace(
                instrument.faults,
                start_s=instrument.faults.start_s if instrument.faults in (start, slow) else -LEAD_S,
                tail_s=LEAD_S,
            ),
        )
        for name, instrument in named.items()
    }


def planted(case: Case) -> dict[str, tuple[Instrument, str | None]]:
    """Faults that must be refused by name: the instrument, and the scope asked for."""
    middle = case.phases[7]
    inside = (middle.start_s + middle.end_s) / 2
    base = Faults(noise_a=20e-6, start_s=-LEAD_S, tail_s=LEAD_S)
    peak_a = max(case.scene.power_w) / case.scene.supply_v

    def instrument(**faults: Any) -> Instrument:
        return Instrument(replace(base, **faults), Accuracy())

    return {
        "gap in a phase": (instrument(gaps=((inside, 7),)), None),
        "samples lost unseen": (instrument(gaps=((inside, 400),), unseen=True), None),
        "misaligned word": (replace(instrument(), words=True, lost_byte_s=inside), None),
        "clock stretched 1.33 times": (instrument(clock_ratio=4 / 3), None),
        "clock stretched 2 times": (instrument(clock_ratio=2.0), None),
        "over-range": (instrument(limit_a=0.9 * peak_a), None),
        "wrong scope": (instrument(), "chip supply"),
        "missing edge": (instrument(lost_edges=(9,)), None),
        "missing pulse": (instrument(lost_edges=(9, 10)), None),
        "extra edge": (instrument(extra_edges_s=(inside,)), None),
        "no edge at all": (instrument(lost_edges=tuple(range(len(case.scene.edges_s)))), None),
        "started too late": (instrument(start_s=case.phases[2].start_s), None),
        "together": (
            instrument(gaps=((inside, 7),), limit_a=0.9 * peak_a, lost_edges=(9, 10), clock_ratio=4 / 3),
            "chip supply",
        ),
    }


def measured(case: Case, instrument: Instrument, seed: int, scope: str | None = None) -> dict[str, PhaseEnergy]:
    """Record, align and integrate: what a user does."""
    meter = SimulatedMeter(case.scene, instrument.faults, site="rail VDD", seed=seed)
    meter.configure(instrument.rate_hz)
    meter.start()
    trace = meter.stop()
    if instrument.words:
        trace = through_words(trace, instrument)
    alignment = align(trace, Evidence(edges_s=case.scene.edges_s))
    return energy_by_phase(
        trace, case.phases, alignment, scope=scope, idle=case.idle, accuracy=instrument.accuracy, tolerance=0.5
    )


def through_words(trace: Trace, instrument: Instrument) -> Trace:
    """The trace as a PPK2 sends it and hil's driver decodes it."""
    supply_v = float(np.mean(trace.voltage_v))
    settings = {"modifiers": dict(CALIBRATION), "voltage_v": supply_v, "mode": "source"}
    amps = np.maximum(np.asarray(trace.current_a, np.float64), 0.0)
    assert trace.digital is not None
    words = encode(np.arange(amps.size), amps, trace.digital, calibration=CALIBRATION, vdd_v=supply_v)
    data = words.astype("<u4").view(np.uint8)
    if instrument.lost_byte_s is not None:
        sample = round((instrument.lost_byte_s - instrument.faults.start_s) * instrument.rate_hz)
        data = np.delete(data, 4 * sample + 1)
    return decode(Header("ppk2", "PORT", trace.site, instrument.rate_hz, trace.info, settings), data)


def truth(case: Case) -> tuple[dict[str, float], dict[str, float]]:
    """Energy of one inference by phase, gross and above idle, from the steps themselves."""
    gross: dict[str, float] = {}
    net: dict[str, float] = {}
    idle_w = float(case.scene.power_at(np.array([-0.1]))[0])
    for phase in case.phases:
        joules = case.scene.energy_j(phase.start_s, phase.end_s) / 2
        gross[phase.name] = gross.get(phase.name, 0.0) + joules
        net[phase.name] = net.get(phase.name, 0.0) + joules - idle_w * (phase.end_s - phase.start_s) / 2
    return gross, net


@dataclass(frozen=True)
class Covered:
    """Of ``figures`` energies: how many lie within their interval, the median relative error and half width."""

    figures: int
    within: int
    within_above_idle: int
    error: float
    half_width: float


def coverage(timelines: int = 20, seed: int = 1) -> dict[str, Covered]:
    """By fault: the phase energies of all timelines against their intervals."""
    rows: dict[str, list[tuple[bool, bool, float, float]]] = {}
    for index in range(timelines):
        rng = np.random.default_rng([seed, index])
        case = random_case(rng)
        gross, net = truth(case)
        for fault, instrument in benign(rng).items():
            for name, figure in measured(case, instrument, seed=index).items():
                assert figure.above_idle is not None
                rows.setdefault(fault, []).append(
                    (
                        figure.low_j <= gross[name] <= figure.high_j,
                        figure.above_idle.low_j <= net[name] <= figure.above_idle.high_j,
                        abs(figure.mean_j / gross[name] - 1),
                        (figure.high_j - figure.low_j) / 2 / gross[name],
                    )
                )
    return {
        fault: Covered(
            len(found),
            sum(row[0] for row in found),
            sum(row[1] for row in found),
            float(np.median([row[2] for row in found])),
            float(np.median([row[3] for row in found])),
        )
        for fault, found in rows.items()
    }


def detections(timelines: int = 20, seed: int = 1) -> dict[str, list[MeterError | None]]:
    """By planted fault: the error that each timeline gave, None where nothing was noticed."""
    found: dict[str, list[MeterError | None]] = {}
    for index in range(timelines):
        case = random_case(np.random.default_rng([seed, index]))
        for fault, (instrument, scope) in planted(case).items():
            try:
                measured(case, instrument, seed=index, scope=scope)
                found.setdefault(fault, []).append(None)
            except MeterError as error:
                found.setdefault(fault, []).append(error)
    return found


def table(covered: Mapping[str, Covered], found: Mapping[str, list[MeterError | None]]) -> Iterator[str]:
    """The lines of the table for a note."""
    yield "| fault | energies | within 90 % interval | above idle within | median error | median half width |"
    yield "|---|---|---|---|---|---|"
    for fault, row in covered.items():
        yield (
            f"| {fault} | {row.figures} | {row.within / row.figures:.1%} | {row.within_above_idle / row.figures:.1%} | "
            f"{row.error:.3%} | {row.half_width:.3%} |"
        )
    yield ""
    yield "| planted fault | timelines | detected | named as |"
    yield "|---|---|---|---|"
    for fault, errors in found.items():
        names = sorted({type(error).__name__ for error in errors if error is not None})
        yield f"| {fault} | {len(errors)} | {sum(e is not None for e in errors)} | {', '.join(names) or '-'} |"


def main(say: Callable[[str], None] = print) -> None:
    for line in table(coverage(), detections()):
        say(line)


if __name__ == "__main__":
    main()
