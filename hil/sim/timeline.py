"""The phases of one or more inferences as SimPy processes over host core, accelerator, and bus: a timeline and its
power trace.

Host and accelerator are resources of capacity one.  Without double buffering an inference goes through its phases one
after the other.  With it, the host loads input n+1 over the bus while the accelerator works on n.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import simpy

from hil.errors import ConfigError

# What a phase occupies while it runs.  The bus is held with the host: it copies words itself.
_HOST_PHASES = ("input_load", "output_read", "post_process")
_ONCE = ("boot", "npu_init", "weight_load")


@dataclass(frozen=True, slots=True)
class PhaseCost:
    """Time and gross energy of one phase."""

    latency_s: float
    energy_j: float


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of one phase on one resource.  ``power_w`` is above static power."""

    phase: str
    resource: str
    start_s: float
    end_s: float
    inference: int
    power_w: float


@dataclass(frozen=True)
class Schedule:
    """What is simulated.

    ``host_in_inference``: the host core works during the inference, so nothing overlaps it; ``accelerated`` is false
    where there is no accelerator and the host does it all.
    """

    inferences: int = 1
    double_buffered: bool = False
    host_in_inference: bool = False
    accelerated: bool = True


@dataclass(frozen=True)
class SocTimeline:
    """Segments in order of their start, static power below them, and when the last one ends."""

    segments: tuple[Segment, ...]
    static_power_w: float
    end_s: float

    def power_trace(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Power as steps: from ``t_s[i]`` on it is ``power_w[i]``; the last step is static power at the end."""
        edges: dict[float, float] = {0.0: 0.0, self.end_s: 0.0}
        for segment in self.segments:
            edges[segment.start_s] = edges.get(segment.start_s, 0.0) + segment.power_w
            edges[segment.end_s] = edges.get(segment.end_s, 0.0) - segment.power_w
        times = np.array(sorted(edges))
        power = self.static_power_w + np.cumsum([edges[t] for t in times])
        return times, np.maximum(power, 0.0)

    def energy_j(self) -> float:
        """Gross energy: static power over the whole time, and every segment's own."""
        own = sum(s.power_w * (s.end_s - s.start_s) for s in self.segments)
        return self.static_power_w * self.end_s + own

    def throughput_hz(self) -> float | None:
        """Inferences per second between the ends of the first and the last one; None for a single inference."""
        ends: dict[int, float] = {}
        for segment in self.segments:
            if segment.phase not in _ONCE:
                ends[segment.inference] = max(ends.get(segment.inference, 0.0), segment.end_s)
        if len(ends) < 2:
            return None
        span = max(ends.values()) - min(ends.values())
        return (len(ends) - 1) / span if span > 0 else None


Process = Generator[simpy.Event, Any, None]


class _Soc:
    """The running simulation: resources, the clock, and what has happened so far."""

    def __init__(self, costs: Mapping[str, PhaseCost], static_power_w: float, schedule: Schedule) -> None:
        self.env = simpy.Environment()
        self.host = simpy.PriorityResource(self.env)
        self.npu = simpy.PriorityResource(self.env)
        self.bus = simpy.PriorityResource(self.env)
        # Input buffers: with two, the next input may come in while the accelerator reads the other one.
        self.buffers = simpy.Resource(self.env, capacity=2 if schedule.double_buffered else 1)
        self.costs, self.static_power_w, self.schedule = costs, static_power_w, schedule
        self.segments: list[Segment] = []

    def run(self) -> SocTimeline:
        self.env.process(self._main())
        self.env.run()
        ordered = tuple(sorted(self.segments, key=lambda s: (s.start_s, s.end_s, s.resource)))
        return SocTimeline(ordered, self.static_power_w, float(self.env.now))

    def _main(self) -> Process:
        for phase in _ONCE:
            yield from self._spend(phase, "host", 0, self.host, self.bus)
        for index in range(self.schedule.inferences):
            buffer = self.buffers.request()
            yield buffer
            yield from self._spend("input_load", "host", index, self.host, self.bus)
            done = self.env.process(self._infer(index, buffer))
            if not self.schedule.double_buffered:
                yield done

    def _infer(self, index: int, buffer: Any) -> Process:
        held = (self.npu, self.host) if self.schedule.host_in_inference else (self.npu,)
        yield from self._spend("inference", "npu" if self.schedule.accelerated else "host", index, *held)
        self.buffers.release(buffer)
        yield from self._spend("output_read", "host", index, self.host, self.bus)
        yield from self._spend("post_process", "host", index, self.host)

    def _spend(self, phase: str, resource: str, index: int, *held: simpy.PriorityResource) -> Process:
        cost = self.costs.get(phase, PhaseCost(0.0, 0.0))
        if cost.latency_s <= 0:
            return
        # Older inferences go first, or fetching input for later ones would make results queue up.
        requests = []
        for held_resource in held:
            request = held_resource.request(priority=index)
            yield request
            requests.append((held_resource, request))
        start = float(self.env.now)
        yield self.env.timeout(cost.latency_s)
        power = cost.energy_j / cost.latency_s - self.static_power_w  # below zero where the system waits asleep
        self.segments.append(Segment(phase, resource, start, float(self.env.now), index, power))
        for held_resource, request in requests:
            held_resource.release(request)


def simulate(costs: Mapping[str, PhaseCost], static_power_w: float, schedule: Schedule) -> SocTimeline:
    """Run the phases of ``schedule.inferences`` inferences in virtual time.  Raises ConfigError for less than one."""
    if schedule.inferences < 1:
        raise ConfigError(f"{schedule.inferences} inferences to simulate", hint="at least 1")
    return _Soc(costs, static_power_w, schedule).run()
