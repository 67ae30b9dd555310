"""Arm Ethos-U: Vela's cycles for the platform's real clock and ports, scaled to what silicon takes.

Vela calls its figures "internal compiler estimates"; with weights in SRAM, measurements on HX-WE2 are 0.9 to 1.2 of
them (uNPU-Bench results), hence the spread.  Where Vela did not see the network, the tile engine stands in.

Vela is run once per network, for memories that keep up with the accelerator.  Where they do not, two costs of the
operating point come on top: every cycle lasts ``stall_factor`` as long, and ``flash_cycles_per_byte`` is paid for each
byte of weights that streams from external flash.  Without either, both are absent.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hil.cost import engine
from hil.cost.parameters import Parameter, Prior, Theta, assumed
from hil.cost.workload import Float, Workload
from hil.plan import Plan
from hil.platform import Target

PARAMETERS: tuple[Parameter, ...] = (
    assumed(
        "vela_cycle_scale",
        "ratio",
        1.0,
        "measured over Vela's cycles",
        "HX-WE2 measurements lie at 0.9-1.2 of Vela's",
        1.5,
    ),
    Parameter(
        "stall_factor",
        "ratio",
        "cycles where the accelerator waits for its memories or runs on a divided clock, over those where it does not",
        Prior(1.0, 0.0, "assumed", "absent unless the operating point says otherwise"),
    ),
    assumed(
        "flash_cycles_per_byte",
        "cycle/B",
        0.0,
        "accelerator cycles per byte of weights that streams from external flash, beside computing",
        "absent unless the operating point says otherwise",
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
    """``stall_factor * cycles + flash_cycles_per_byte * weight_bytes`` per op, shape ``[..., ops]``."""
    vela = work.extra["vela_cycles"]
    seen = ~np.isnan(vela)
    own = 0.0 if seen.all() else engine.npu_cycles(work, theta)
    cycles = np.where(seen, theta["vela_cycle_scale"] * np.nan_to_num(vela), own)
    streamed = theta["flash_cycles_per_byte"] * work.op["weight_bytes"]
    return np.asarray(theta["stall_factor"] * cycles + streamed, dtype=np.float64)


def parameters(target: Target) -> tuple[Parameter, ...]:
    own = {parameter.name: parameter for parameter in (*engine.PARAMETERS, *PARAMETERS)}
    return tuple(own.values())
