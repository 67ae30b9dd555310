"""Arm Ethos-U: Vela's cycles for the platform's real clock and ports, scaled to what silicon takes.

Vela calls its figures "internal compiler estimates"; measurements on HX-WE2 are 0.5 to 1.2 of them (uNPU-Bench
results), hence the spread.  Where Vela did not see the network, the tile engine stands in.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hil.cost import engine
from hil.cost.parameters import Parameter, Theta, assumed
from hil.cost.workload import Float, Workload
from hil.plan import Plan
from hil.platform import Target

PARAMETERS: tuple[Parameter, ...] = (
    assumed(
        "vela_cycle_scale",
        "ratio",
        1.0,
        "measured over Vela's cycles",
        "HX-WE2 measurements lie at 0.5-1.2 of Vela's",
        1.5,
    ),
    assumed(
        "invoke_host_cycles",
        "cycle",
        3e4,
        "interpreter and driver per inference",
        "TFLM with one custom operator, cache maintenance",
        3.0,
    ),
)


def features(plans: Sequence[Plan], work: Workload) -> dict[str, Float]:
    """``vela_cycles`` per op, NaN for ops of plans that Vela did not see, beside the engine's tile cycles."""
    cycles = np.full(len(work.kind), np.nan)
    for start, plan in zip(work.starts, plans, strict=True):
        if plan.vela is not None:
            cycles[start : start + len(plan.vela.op_cycles)] = plan.vela.op_cycles
    return {"vela_cycles": cycles, **engine.features(plans, work)}


def npu_cycles(work: Workload, theta: Theta) -> Float:
    vela = work.extra["vela_cycles"]
    seen = ~np.isnan(vela)
    own = 0.0 if seen.all() else engine.npu_cycles(work, theta)
    return np.asarray(np.where(seen, theta["vela_cycle_scale"] * np.nan_to_num(vela), own), dtype=np.float64)


def parameters(target: Target) -> tuple[Parameter, ...]:
    own = {parameter.name: parameter for parameter in (*engine.PARAMETERS, *PARAMETERS)}
    return tuple(own.values())
