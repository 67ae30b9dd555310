"""The counts that every cost model starts from: one row per op, over any number of plans on the same target.

Columns are numpy arrays over all ops of all plans, so that a hundred thousand networks cost a few array operations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hil.network import Network, Op, hwc
from hil.plan import PHASES, Plan
from hil.platform import Target

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

# How an op spends its time, whatever computes it.
KINDS = ("conv", "pointwise", "depthwise", "fully_connected", "pool", "elementwise", "exp", "move")
_EXPONENTIAL = frozenset({"sigmoid", "logistic", "silu", "tanh", "gelu", "elu", "softmax", "hard_swish", "lut"})
_KIND_OF_TYPE: dict[str, str] = {
    **dict.fromkeys(("conv2d", "conv1d", "transpose_conv2d", "conv3d", "conv_3d_transpose"), "conv"),
    **dict.fromkeys(("depthwise_conv2d", "depthwise_conv1d"), "depthwise"),
    **dict.fromkeys(
        (
            "fully_connected",
            "matmul",
            "lstm",
            "rnn",
            "svdf",
            "unidirectional_sequence_lstm",
            "unidirectional_sequence_rnn",
            "bidirectional_sequence_lstm",
            "bidirectional_sequence_rnn",
        ),
        "fully_connected",
    ),
    **dict.fromkeys(
        ("max_pool", "avg_pool", "global_avg_pool", "global_max_pool", "mean", "sum", "reduce_max", "reduce_min"),
        "pool",
    ),
    **dict.fromkeys(
        ("softmax", "logistic", "tanh", "exp", "elu", "gelu", "log_softmax", "rsqrt", "sqrt", "log"), "exp"
    ),
    **dict.fromkeys(
        (
            "concat",
            "pad",
            "transpose",
            "slice",
            "strided_slice",
            "split",
            "pack",
            "unpack",
            "tile",
            "gather",
            "fill",
            "shape",
            "upsample",
            "insert_zeros",
            "space_to_batch_nd",
            "batch_to_space_nd",
            "depth_to_space",
            "space_to_depth",
        ),
        "move",
    ),
}
# An output that is a part of another output is decoded with it.
_SLICES = frozenset({"slice", "strided_slice", "split"})
KIND_INDEX = {name: index for index, name in enumerate(KINDS)}
PHASE_INDEX: dict[str, int] = {name: index for index, name in enumerate(PHASES)}


def op_kind(op: Op) -> str:
    """The cost kind of an op; unknown types count as element-wise."""
    if op.type == "activation":
        return "exp" if op.activation in _EXPONENTIAL else "elementwise"
    kind = _KIND_OF_TYPE.get(op.type, "elementwise")
    return "pointwise" if kind == "conv" and math.prod(op.kernel) == 1 else kind


@dataclass(frozen=True)
class Workload:
    """Counts of plans on one target.  ``starts[i]`` is the first op row of plan ``i``; every plan has a row at least.

    Op columns (length: ops): ``kind``, ``phase`` (indices into KINDS and PHASES), ``npu``, ``cpu`` (masks), ``macs``,
    ``in_channels``, ``out_channels``, ``pixels`` (output positions, of the whole batch), ``taps`` (kernel elements),
    ``values`` (output elements), ``work`` (window taps times output elements of pooling), ``weight_bytes``,
    ``moved_bytes`` (activations read and written), ``read_bytes`` and ``written_bytes`` of them, ``fused_exp`` (output
    elements of a fused exponential activation), ``table_values`` (output elements of 8-bit exponential ops: what a
    table of 256 entries can answer), ``bits`` (width of weights and results, the wider one), ``kernel_rows``,
    ``window_bytes`` (the input rows under a kernel),
    ``border_read`` and ``border_write``: bytes that a host op in mid-network exchanges with the accelerator.
    Plan columns (length: plans): ``input_bytes``, ``output_bytes``, ``decoded_values`` (output values that the
    application still has to decode: none behind a soft-max in the network, parts of another output once),
    ``npu_weight_bytes``.
    ``extra``: columns that a family adds.  ``count``: how often each row counts (see ``merged``).
    """

    target: Target
    starts: Int
    op: dict[str, Float]
    kind: Int
    phase: Int
    npu: Mask
    cpu: Mask
    plan: dict[str, Float]
    extra: dict[str, Float] = field(default_factory=dict)
    count: Float | None = None

    @property
    def plans(self) -> int:
        return len(self.starts)

    def per_plan(self, values: Float) -> Float:
        """Sum an op column (or rows of them, shape ``[..., ops]``) over the ops of each plan: ``[..., plans]``."""
        return np.add.reduceat(values if self.count is None else values * self.count, self.starts, axis=-1)

    def merged(self) -> Workload:
        """The same work with equal rows of a plan merged into one that counts as often: sums per plan stay the same.

        Fitting evaluates a workload thousands of times; unrolled networks repeat the same op hundreds of times.
        """
        plan = np.repeat(np.arange(self.plans), np.diff(np.append(self.starts, len(self.kind))))
        columns = [plan, self.kind, self.phase, self.npu, self.cpu, *self.op.values(), *self.extra.values()]
        keys = np.nan_to_num(np.column_stack(columns).astype(np.float64), nan=-1.0)
        _, first, count = np.unique(keys, axis=0, return_index=True, return_counts=True)
        return Workload(
            target=self.target,
            starts=np.searchsorted(plan[first], np.arange(self.plans)),
            op={name: values[first] for name, values in self.op.items()},
            kind=self.kind[first],
            phase=self.phase[first],
            npu=self.npu[first],
            cpu=self.cpu[first],
            plan=self.plan,
            extra={name: values[first] for name, values in self.extra.items()},
            count=count.astype(np.float64),
        )


_OP_COLUMNS = (
    "macs",
    "in_channels",
    "out_channels",
    "pixels",
    "taps",
    "values",
    "work",
    "weight_bytes",
    "moved_bytes",
    "fused_exp",
    "table_values",
    "bits",
    "read_bytes",
    "written_bytes",
    "kernel_rows",
    "window_bytes",
    "border_read",
    "border_write",
)


def build_workload(plans: Sequence[Plan]) -> Workload:
    """Count the work of plans that share a target."""
    rows: list[tuple[float, ...]] = []
    kinds: list[int] = []
    phases: list[int] = []
    units: list[int] = []
    starts: list[int] = []
    for plan in plans:
        starts.append(len(rows))
        network = plan.network
        border = _border(plan)
        for op, place in zip(network.ops, plan.placements, strict=True):
            rows.append((*_counts(network, op), *border.get(op.index, (0.0, 0.0))))
            kinds.append(KIND_INDEX[op_kind(op)])
            phases.append(PHASE_INDEX[place.phase])
            units.append(0 if place.fused_into is not None else {"npu": 1, "cpu": 2, "free": 0}[place.unit])
        if len(rows) == starts[-1]:  # a network without ops still has its phases
            rows.append((0.0,) * len(_OP_COLUMNS))
            kinds.append(KIND_INDEX["move"])
            phases.append(PHASE_INDEX["inference"])
            units.append(0)
    table = np.array(rows, dtype=np.float64).reshape(len(rows), len(_OP_COLUMNS))
    unit = np.array(units, dtype=np.int64)
    networks = [plan.network for plan in plans]
    return Workload(
        target=plans[0].target,
        starts=np.array(starts, dtype=np.int64),
        op={name: table[:, index] for index, name in enumerate(_OP_COLUMNS)},
        kind=np.array(kinds, dtype=np.int64),
        phase=np.array(phases, dtype=np.int64),
        npu=unit == 1,
        cpu=unit == 2,
        plan={
            "input_bytes": np.array([float(n.input_bytes) for n in networks]),
            "output_bytes": np.array([float(n.output_bytes) for n in networks]),
            "decoded_values": np.array([float(_decoded_values(n)) for n in networks]),
            "npu_weight_bytes": np.array([_npu_weight_bytes(plan) for plan in plans]),
        },
    )


def _decoded_values(network: Network) -> int:
    finished = {
        tensor
        for op in network.ops
        if op.type == "softmax" or (op.type in _SLICES and any(source in network.outputs for source in op.inputs))
        for tensor in op.outputs
    }
    return sum(network.tensors[t].elements for t in network.outputs if t not in finished)


def _npu_weight_bytes(plan: Plan) -> float:
    """Weights of accelerated ops, and a byte per bias: what a host loads into an accelerator's own memories."""
    ops = zip(plan.network.ops, plan.placements, strict=True)
    own = [op for op, place in ops if place.unit == "npu" and not op.shared_weights]
    return float(sum(op.weight_bytes + op.const_bytes + op.biases for op in own))


def _border(plan: Plan) -> dict[int, tuple[float, float]]:
    """Per host op within the inference: bytes read from the accelerator, and bytes written back to it."""
    network, places = plan.network, plan.placements
    if not any(place.unit == "npu" for place in places) or not plan.fallback:
        return {}
    written_by_npu = {t for op in network.ops if places[op.index].unit == "npu" for t in op.outputs}
    read_by_npu = {t for op in network.ops if places[op.index].unit == "npu" for t in op.inputs}
    found: dict[int, tuple[float, float]] = {}
    for index in plan.fallback:
        op = network.ops[index]
        if places[index].phase == "inference":
            found[index] = (
                float(sum(network.tensors[t].size_bytes for t in op.inputs if t in written_by_npu)),
                float(sum(network.tensors[t].size_bytes for t in op.outputs if t in read_by_npu)),
            )
    return found


def _counts(network: Network, op: Op) -> tuple[float, ...]:
    _, columns_in, channels_in = hwc(network.in_shape(op))
    rows, columns, channels_out = hwc(network.out_shape(op))
    batch = network.out_shape(op)[0] if len(network.out_shape(op)) > 1 else 1
    values = sum(network.tensors[t].elements for t in op.outputs)
    kind = op_kind(op)
    taps = math.prod(network.pool_window(op)) if kind == "pool" and op.type != "mean" else math.prod(op.kernel)
    in_values = sum(network.tensors[t].elements for t in op.inputs)
    read, written = network.read_bytes(op), network.write_bytes(op)
    out_bits = max((network.tensors[t].bits for t in op.outputs), default=8)
    fused_exp = values if op.type != "activation" and op.activation in _EXPONENTIAL else 0
    table = values if kind == "exp" and op.type != "softmax" else fused_exp
    return (
        float(op.macs),
        float(channels_in / op.groups if op.groups > 1 and op.type in ("conv2d", "conv1d") else channels_in),
        float(channels_out),
        float(rows * columns * batch),
        float(taps),
        float(values),
        float(in_values if op.type in {"mean", "sum"} else taps * values),
        float(op.weight_bytes + op.bias_bytes + op.const_bytes),
        float(read + written),
        float(fused_exp),
        float(table if out_bits <= 8 else 0),
        float(max(op.weight_bits, out_bits)),
        float(read),
        float(written),
        float(op.kernel[0]),
        float(op.kernel[0] * columns_in * channels_in),
    )
