"""Why an inference takes as long as it does: its time split into causes that add up to it.

The cost model itself is asked, on a ladder of machines that do not exist.  On the lowest everything is free; every rung
charges one more cause for the first time, until the uppermost is the real machine.  What a rung adds is what its cause
costs: ``memory`` is the time by which weights and activations come later than an arithmetic that needed no memory would
take them.  The rungs telescope, so that the causes add up to the inference whatever form the family's formula has; no
formula of a family falls when a parameter grows, so that none is negative.

The arithmetic of an op on the accelerator splits further: ``peak``, its MACs at the peak rate; ``tiles``, multipliers
that idle because channels, pixels or window do not fill them; ``kernels``, the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hil.cost import CostModel, engine
from hil.cost.model import phase_costs
from hil.cost.parameters import Theta
from hil.cost.workload import KIND_INDEX, PHASE_INDEX, Float, Workload
from hil.plan import Plan

# Causes in the order in which they are shown, and what they mean.
CAUSES: dict[str, str] = {
    "peak": "multiply-accumulates at the accelerator's peak rate",
    "tiles": "multipliers idle: channels, pixels or window do not fill whole tiles",
    "kernels": "multiplying slower than whole tiles would: reading, filling and draining, storing results",
    "memory": "weights and activations come later than they could be computed, or the accelerator stalls",
    "streaming": "layers that stream, as far as they take longer than the input load",
    "data": "pooling, element-wise, copying and other ops without multiply-accumulates",
    "launch": "setting up ops, and the runtime's work per inference",
    "fallback": "ops that the accelerator does not take, on the host, with moving their data there and back",
    "other": "what the cost model does not attribute; for a board, its distance from the cost model",
}

# Parameters by the cause that they charge for, in the order of the ladder.  What is named nowhere comes last.
_LADDER: tuple[tuple[str, frozenset[str]], ...] = (
    (
        "streaming",
        frozenset(
            {
                "streaming_cycle_scale",
                "fifo_poll_host_cycles_per_byte",
                "fifo_poll_bus_cycles_per_byte",
                # In the inference they count against streaming, and for the data of ops that fall back.
                "input_load_host_cycles_per_byte",
                "input_load_bus_cycles_per_byte",
                "output_read_host_cycles_per_byte",
                "output_read_bus_cycles_per_byte",
            }
        ),
    ),
    (
        "kernels",
        frozenset(
            {
                "cycle_scale",
                "pipeline_cycles_per_pass",
                "vela_cycle_scale",
                "conv_cycle_scale",
                "pointwise_cycle_scale",
                "depthwise_cycle_scale",
                "general_cycle_scale",
                "fully_connected_cycle_scale",
                "cycles_per_output_value",
                "pair_step_cycles",
                "single_step_cycles",
                "output_cycles",
                "fully_connected_cycles_per_mac",
                "depthwise_cycles_per_mac",
                "conv_cycles_per_mac",
                "depthwise_cycles_per_value",
                "cpu_conv_cycles_per_mac",
                "cpu_pointwise_cycles_per_mac",
                "cpu_depthwise_cycles_per_mac",
                "cpu_fully_connected_cycles_per_mac",
                "cpu_single_channel_cycles_per_mac",
                "cpu_output_cycles_per_value",
            }
        ),
    ),
    ("tiles", frozenset({"cpu_tail_cycles_per_mac"})),
    (
        "data",
        frozenset(
            {
                "elementwise_cycles_per_byte",
                "other_cycles_per_value",
                "pool_cycles_per_tap",
                "cpu_pool_cycles_per_tap",
                "cpu_elementwise_cycles_per_value",
                "cpu_exp_cycles_per_value",
                "cpu_table_cycles_per_value",
                "cpu_move_cycles_per_byte",
            }
        ),
    ),
    (
        "memory",
        frozenset(
            {
                "weight_cycles_per_byte",
                "activation_cycles_per_byte",
                "external_cycles_per_byte",
                "flash_cycles_per_byte",
                "flash_s_per_byte",
                "external_ram_s_per_byte",
                "stream_cycles_per_value",
                "stall_factor",
                "cpu_weight_cycles_per_byte",
                "cpu_refetch_cycles_per_byte",
                "cpu_window_cycles_per_byte",
                "cpu_memory_cycles_per_byte",
            }
        ),
    ),
    (
        "launch",
        frozenset(
            {
                "launch_cycles",
                "invoke_host_cycles",
                "epoch_host_cycles",
                "position_setup_cycles",
                "run_setup_cycles",
                "window_setup_cycles_per_tap",
                "cpu_op_cycles",
                "cpu_position_cycles",
            }
        ),
    ),
)
# Ratios between other parameters, and sizes: free of cost themselves, they hold on every rung.
_ALWAYS = frozenset({"pointwise_cycle_ratio", "depthwise_narrow_ratio", "cpu_scale", "cpu_lanes", "cpu_cache_bytes"})
# What a parameter is where it costs nothing, unless zero.
_FREE = {"stall_factor": 1.0}


@dataclass(frozen=True, slots=True)
class OpCauses:
    """One op of the inference: its seconds by cause, causes of no time left out."""

    index: int
    name: str
    type: str
    macs: int
    seconds: dict[str, float]

    @property
    def latency_s(self) -> float:
        return sum(self.seconds.values())


@dataclass(frozen=True, slots=True)
class Decomposition:
    """The inference of one plan: seconds by cause (every one of ``CAUSES``), and per op.

    The ops add up to the inference but for the runtime's work around them, which is in ``launch``.
    """

    seconds: dict[str, float]
    ops: tuple[OpCauses, ...]

    @property
    def inference_s(self) -> float:
        return sum(self.seconds.values())

    def worst_op(self, cause: str) -> OpCauses | None:
        """The op that loses most to a cause; None where none does."""
        losing = [op for op in self.ops if op.seconds.get(cause, 0.0) > 0]
        return max(losing, key=lambda op: op.seconds[cause], default=None)

    @property
    def main_loss(self) -> str | None:
        """The cause, other than computing at peak, that takes most time."""
        losses = {cause: seconds for cause, seconds in self.seconds.items() if cause != "peak" and seconds > 0}
        return max(losses, key=lambda cause: losses[cause], default=None)


def decompose(plans: Sequence[Plan], model: CostModel) -> list[Decomposition]:
    """The causes behind the inference time of plans on the model's target, at the centre of its parameters."""
    work = model.workload(plans)
    raw = phase_costs(work, _ladder(model), model.family)
    ops = _per_op(plans, work, raw.op_seconds)
    around = raw.latency_s["inference"][-1] - work.per_plan(raw.op_seconds[-1] * _within(work))
    ends = [*work.starts[1:].tolist(), len(work.kind)]
    found = []
    for index, (plan, start, end) in enumerate(zip(plans, work.starts.tolist(), ends, strict=True)):
        seconds = {cause: float(values[start:end].sum()) for cause, values in ops.items()}
        seconds["launch"] += float(around[index])
        rows = zip(plan.network.ops, range(start, end), strict=False)  # a network without ops has a stand-in row
        found.append(
            Decomposition(
                seconds,
                tuple(
                    OpCauses(op.index, op.name, op.type, op.macs, own)
                    for op, row in rows
                    if (own := {cause: float(values[row]) for cause, values in ops.items() if values[row] != 0.0})
                ),
            )
        )
    return found


def _ladder(model: CostModel) -> Theta:
    """Parameters of every rung, shape ``[rungs + 1, 1]``; on the last row they are the model's own."""
    rung_of = {name: rung for rung, (_, names) in enumerate(_LADDER) for name in names}
    rows = np.arange(len(_LADDER) + 1)
    theta: dict[str, Float] = {}
    for name, parameter in model.parameters.items():
        first = 0 if name in _ALWAYS else rung_of.get(name, len(_LADDER))
        theta[name] = np.where(rows >= first, parameter.prior.value, _FREE.get(name, 0.0))[:, None]
    return theta


def _within(work: Workload) -> Float:
    """1 for ops of the inference, 0 for those before and after."""
    return np.asarray(work.phase == PHASE_INDEX["inference"], dtype=np.float64)


def _per_op(plans: Sequence[Plan], work: Workload, op_seconds: Float) -> dict[str, Float]:
    """Seconds by cause, an array over ops each, from the ops' seconds on every rung."""
    names = [*(cause for cause, _ in _LADDER), "other"]
    added = np.diff(op_seconds * _within(work), axis=0, prepend=0.0)
    found = {cause: np.zeros(len(work.kind)) for cause in CAUSES}
    for cause, seconds in zip(names, added, strict=True):
        found[cause] += seconds
    target = work.target
    if target.npu is None:
        return found
    _split_arithmetic(plans, work, found)
    fallen = work.cpu
    found["fallback"] = np.where(fallen, sum(found.values()), 0.0)
    return {c: values if c == "fallback" else np.where(fallen, 0.0, values) for c, values in found.items()}


def _split_arithmetic(plans: Sequence[Plan], work: Workload, found: dict[str, Float]) -> None:
    """Move parts of ``kernels`` to what else is known of them: no MACs, memory, peak, tiles."""
    npu = work.target.npu
    assert npu is not None  # callers have an accelerator
    arithmetic = found["kernels"]
    plain = np.where(work.op["macs"] > 0, 0.0, arithmetic)
    waiting = (arithmetic - plain) * _waiting_share(plans, work)
    arithmetic = arithmetic - plain - waiting
    peak_s = _dense_cycles(work) / work.target.npu_clock_hz
    idle = _IDLE.get(npu.family, _engine_idle)(work, arithmetic)
    at_peak = np.minimum(arithmetic - idle, peak_s)
    for cause, seconds in (("data", plain), ("memory", waiting), ("peak", at_peak), ("tiles", idle)):
        found[cause] = found[cause] + seconds
    found["kernels"] = arithmetic - at_peak - idle


def _waiting_share(plans: Sequence[Plan], work: Workload) -> Float:
    """The share of Vela's cycles of an op in which its arithmetic waits for memory; zero where Vela said nothing."""
    share = np.zeros(len(work.kind))
    for start, plan in zip(work.starts, plans, strict=True):
        if plan.vela is not None:
            total, busy = np.array(plan.vela.op_cycles), np.array(plan.vela.op_npu_cycles)
            idle = np.clip(1.0 - busy / np.where(total > 0, total, 1.0), 0.0, 1.0)
            share[start : start + len(total)] = np.where(total > 0, idle, 0.0)
    return share


def _engine_idle(work: Workload, arithmetic: Float) -> Float:
    """Whole tiles take the same time however full they are (``hil.cost.engine``): the empty share of them is idle."""
    return arithmetic * _empty(_dense_cycles(work), engine.tile_cycles(work))


def _neural_art_idle(work: Workload, arithmetic: Float) -> Float:
    """Input channels come in whole tiles (``hil.cost.neural_art``)."""
    return arithmetic * _empty(work.op["macs"], work.extra["tile_macs"])


def _ai8x_idle(work: Workload, arithmetic: Float) -> Float:
    """A pass takes a cycle per output channel and pixel, however many of the 64 input channels and nine taps it fills;
    a depthwise pass one per pixel.  Reading comes on top (``hil.cost.ai8x``), so only these cycles can be idle."""
    outputs = np.where(work.kind == KIND_INDEX["depthwise"], 1.0, work.op["out_channels"])
    cycles = work.extra["run_passes"] * outputs
    seconds = cycles * _empty(_dense_cycles(work), cycles) / work.target.npu_clock_hz
    return np.asarray(np.minimum(seconds, arithmetic))


def _dense_cycles(work: Workload) -> Float:
    """Cycles of every op's MACs at the peak rate."""
    npu = work.target.npu
    assert npu is not None  # callers have an accelerator
    return work.op["macs"] / npu.peak_macs_per_cycle.value


def _empty(held: Float, whole: Float) -> Float:
    """The share of whole tiles that nothing fills; zero where there are no tiles."""
    return np.asarray(np.clip(1.0 - held / np.where(whole > 0, whole, np.inf), 0.0, 1.0) * (whole > 0))


# Seconds of an op's arithmetic in which multipliers idle, by family where it is not the engine's way.
_IDLE: Mapping[str, Callable[[Workload, Float], Float]] = {"ai8x": _ai8x_idle, "neural_art": _neural_art_idle}
