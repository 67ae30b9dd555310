"""The accelerator families: which model computes the accelerator's cycles, with which parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hil.cost import ai8x, cluster, engine, ethos_u, mvp, neural_art
from hil.cost.parameters import Parameter, Theta
from hil.cost.workload import Float, Workload
from hil.plan import Plan
from hil.platform import Target


@dataclass(frozen=True)
class Family:
    """From plans to extra columns (``features``), and from columns and parameters to accelerator cycles per op."""

    parameters: Callable[[Target], tuple[Parameter, ...]]
    features: Callable[[Sequence[Plan], Workload], dict[str, Float]]
    npu_cycles: Callable[[Workload, Theta], Float]


_ENGINE = Family(engine.parameters, engine.features, engine.npu_cycles)

FAMILIES: dict[str, Family] = {
    "ai8x": Family(ai8x.parameters, ai8x.features, ai8x.npu_cycles),
    "ethos_u": Family(ethos_u.parameters, ethos_u.features, ethos_u.npu_cycles),
    "neutron": _ENGINE,
    "neural_art": Family(neural_art.parameters, neural_art.features, neural_art.npu_cycles),
    "ne16": _ENGINE,
    "cluster": Family(cluster.parameters, cluster.features, cluster.npu_cycles),
    "tpu_cv18xx": _ENGINE,
    "mvp": Family(mvp.parameters, mvp.features, mvp.npu_cycles),
    "axon": _ENGINE,
    "tinpu": _ENGINE,
    "core2": _ENGINE,
}
