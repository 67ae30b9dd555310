"""Operator support: does a rule of the platform file take this op, and if not, which limit is in the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from hil.network import Network, Op, hwc
from hil.network.graph import POOL_OPS, VIEW_OPS
from hil.platform.schema import OperatorRule

# Views cost nothing anywhere, so no rule need mention them.
ALWAYS_TAKEN = VIEW_OPS
_POOL_OF_GLOBAL = {"global_avg_pool": "avg_pool", "global_max_pool": "max_pool"}
_ONE_DIMENSIONAL = {"conv2d": "conv1d", "depthwise_conv2d": "depthwise_conv1d"}


def unsupported_reason(network: Network, op: Op, rules: Sequence[OperatorRule], npu_name: str) -> str | None:
    """Why the accelerator does not take the op, or None where it does."""
    if op.type in ALWAYS_TAKEN:
        return None
    # A pool over the whole map is also a pool of that window; a one-row convolution is also a 1-D one.
    pool = _POOL_OF_GLOBAL.get(op.type)
    forms = (op, as_one_dimensional(network, op), replace(op, type=pool) if pool is not None else None)
    reasons = [
        violated_limit(network, form, rule)
        for rule in rules
        for form in forms
        if form is not None and form.type in rule.ops
    ]
    if not reasons:
        return f"{npu_name} has no {op.type}"
    return None if None in reasons else "; ".join(dict.fromkeys(reason for reason in reasons if reason is not None))


def as_one_dimensional(network: Network, op: Op) -> Op | None:
    """A 2-D convolution over one row, which is how ``.tflite`` writes 1-D ones, as the 1-D op that it is."""
    rows, columns, _ = hwc(network.in_shape(op))
    name = _ONE_DIMENSIONAL.get(op.type)
    if name is None or rows != 1 or columns == 1 or op.kernel[0] != 1:
        return None
    return replace(
        op,
        type=name,
        kernel=(op.kernel[1], 1),
        stride=(op.stride[1], 1),
        dilation=(op.dilation[1], 1),
        padding=(op.padding[2], op.padding[3], 0, 0),
    )


def violated_limit(network: Network, op: Op, rule: OperatorRule) -> str | None:
    """The first limit of the rule that the op exceeds, in words; None where it keeps them all."""
    for check in _CHECKS:
        reason = check(network, op, rule)
        if reason is not None:
            return reason
    return None


def _pair(pair: tuple[int, int]) -> str:
    return f"{pair[0]}x{pair[1]}"


def _kernel(network: Network, op: Op, rule: OperatorRule) -> str | None:
    kernel = network.pool_window(op) if op.type in POOL_OPS else op.kernel
    if rule.kernel is not None and kernel not in rule.kernel:
        return f"kernel {_pair(kernel)}: only {', '.join(_pair(k) for k in rule.kernel)}"
    if rule.kernel_max is not None and (kernel[0] > rule.kernel_max[0] or kernel[1] > rule.kernel_max[1]):
        return f"kernel {_pair(kernel)}: at most {_pair(rule.kernel_max)}"
    if rule.kernel_elements_max is not None and math.prod(kernel) > rule.kernel_elements_max:
        return f"kernel {_pair(kernel)}: at most {rule.kernel_elements_max} elements"
    return None


def _stride(network: Network, op: Op, rule: OperatorRule) -> str | None:
    stride = op.stride
    if rule.stride is not None and stride not in rule.stride:
        return f"stride {_pair(stride)}: only {', '.join(_pair(s) for s in rule.stride)}"
    if rule.stride_max is not None and max(stride) > rule.stride_max:
        return f"stride {_pair(stride)}: at most {rule.stride_max}"
    return None


def _padding(network: Network, op: Op, rule: OperatorRule) -> str | None:
    if rule.padding_max is not None and max(op.padding) > rule.padding_max:
        return f"padding {max(op.padding)}: at most {rule.padding_max}"
    return None


def _dilation(network: Network, op: Op, rule: OperatorRule) -> str | None:
    if rule.dilation_max is not None and max(op.dilation) > rule.dilation_max:
        return f"dilation {max(op.dilation)}: at most {rule.dilation_max}"
    return None


def _groups(network: Network, op: Op, rule: OperatorRule) -> str | None:
    channels = hwc(network.in_shape(op))[2]
    if rule.groups == "one" and op.groups > 1:
        return f"{op.groups} groups: only ungrouped"
    if rule.groups == "depthwise" and op.groups not in (1, channels):
        return f"{op.groups} groups: only ungrouped or depthwise"
    if rule.depth_multiplier_max is not None and op.depth_multiplier > rule.depth_multiplier_max:
        return f"depth multiplier {op.depth_multiplier}: at most {rule.depth_multiplier_max}"
    return None


def _channels(network: Network, op: Op, rule: OperatorRule) -> str | None:
    taken, made = hwc(network.in_shape(op))[2], hwc(network.out_shape(op))[2]
    for count, limit, multiple, side in (
        (taken, rule.in_channels_max, rule.in_channels_multiple, "input"),
        (made, rule.out_channels_max, rule.out_channels_multiple, "output"),
    ):
        if limit is not None and count > limit:
            return f"{count} {side} channels: at most {limit}"
        if multiple is not None and count % multiple:
            return f"{count} {side} channels: only multiples of {multiple}"
    if rule.in_channels_min is not None and taken < rule.in_channels_min:
        return f"{taken} input channels: at least {rule.in_channels_min}"
    return None


def _extent(network: Network, op: Op, rule: OperatorRule) -> str | None:
    rows, columns, _ = hwc(network.in_shape(op))
    if rule.rows_max is not None and rows > rule.rows_max:
        return f"{rows} rows: at most {rule.rows_max}"
    if rule.columns_max is not None and columns > rule.columns_max:
        return f"{columns} columns: at most {rule.columns_max}"
    return None


def _activation(network: Network, op: Op, rule: OperatorRule) -> str | None:
    if rule.activations is not None and op.activation is not None and op.activation not in rule.activations:
        return f"activation {op.activation}: only {', '.join(rule.activations) or 'none'}"
    return None


def _bits(network: Network, op: Op, rule: OperatorRule) -> str | None:
    if rule.weight_bits is not None and op.weights and op.weight_bits not in rule.weight_bits:
        return f"{op.weight_bits}-bit weights: only {', '.join(map(str, rule.weight_bits))}"
    if rule.activation_bits is not None:
        for index in op.inputs:
            bits = network.tensors[index].bits
            if bits not in rule.activation_bits:
                return f"{network.tensors[index].dtype} input: only {', '.join(map(str, rule.activation_bits))} bit"
    return None


def _operands(network: Network, op: Op, rule: OperatorRule) -> str | None:
    if rule.inputs_max is not None and len(op.inputs) > rule.inputs_max:
        return f"{len(op.inputs)} inputs: at most {rule.inputs_max}"
    if rule.constant_weights and op.type in {"conv2d", "fully_connected", "depthwise_conv2d"} and not op.weights:
        return "weights computed at run time"
    return None


_CHECKS: tuple[Callable[[Network, Op, OperatorRule], str | None], ...] = (
    _kernel,
    _stride,
    _padding,
    _dilation,
    _groups,
    _channels,
    _extent,
    _activation,
    _bits,
    _operands,
)
