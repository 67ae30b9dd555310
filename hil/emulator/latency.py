"""What the emulated board cannot execute, as time: the accelerator, and the vendor's runtime around it.

Figures are the cost model's centres.  The firmware spends them in virtual time.
"""

from __future__ import annotations

from dataclasses import dataclass

from hil.cost import CostModel, Prediction
from hil.plan import Plan


@dataclass(frozen=True, slots=True)
class Latencies:
    """Nanoseconds of board time: switching the accelerator on, loading its weights, the runtime's overhead of one
    inference, and every op of the network (``op_ns``, by index; zero where an op is free)."""

    npu_init_ns: int
    weight_load_ns: int
    invoke_ns: int
    op_ns: tuple[int, ...]


def latencies(plan: Plan, model: CostModel, prediction: Prediction, index: int) -> Latencies:
    """The latencies of plan number ``index`` of a prediction by ``model``."""
    start = prediction.starts[index]
    seconds = prediction.op_seconds[start : start + len(plan.network.ops)]
    return Latencies(
        npu_init_ns=_ns(prediction.costs["npu_init"].latency_s.mean[index]),
        weight_load_ns=_ns(prediction.costs["weight_load"].latency_s.mean[index]),
        invoke_ns=_ns(model.theta["invoke_host_cycles"][0, 0] / plan.target.host_clock_hz),
        op_ns=tuple(_ns(second) for second in seconds),
    )


def _ns(seconds: float) -> int:
    return round(float(seconds) * 1e9)
