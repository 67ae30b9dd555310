"""Fixed-point parameters as TFLite derives them from floating-point scales.

Source: the TFLite 8-bit quantization specification and the behaviour of LiteRT's reference kernels, against which
``tests/firmware`` compares every byte.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

INT8_MIN, INT8_MAX = -128, 127
_Q31 = 1 << 31

# Largest change of a soft-max input that the reference's Q5.26 exponential takes.
_EXP_INTEGER_BITS = 5
_EXP_FRACTION_BITS = 31 - _EXP_INTEGER_BITS


def quantized_multiplier(real: float) -> tuple[int, int]:
    """``real`` (>= 0) as ``multiplier * 2^(shift - 31)`` with ``multiplier`` in [2^30, 2^31), or (0, 0)."""
    fraction, shift = math.frexp(real)
    multiplier = math.floor(fraction * _Q31 + 0.5)
    if multiplier == _Q31:
        multiplier, shift = multiplier // 2, shift + 1
    return (0, 0) if real == 0.0 or shift < -31 else (multiplier, shift)


def multiplier_arrays(reals: Iterable[float]) -> tuple[bytes, bytes]:
    """Multipliers and shifts of many real factors, as int32 arrays."""
    pairs = np.array([quantized_multiplier(real) for real in reals], "<i4").reshape(-1, 2)
    return pairs[:, 0].tobytes(), pairs[:, 1].tobytes()


def mean_multiplier(input_scale: float, output_scale: float, count: int) -> tuple[int, int]:
    """Multiplier and shift from a sum of ``count`` values to their mean: the division is part of the multiplier."""
    multiplier, shift = quantized_multiplier(input_scale / output_scale)
    bits = min(count.bit_length() - 1, 32, 31 + shift)
    return (multiplier << bits) // count, shift - bits


def activation_range(name: str, scale: np.float32, zero_point: int) -> tuple[int, int] | None:
    """Limits in int8 of a fused activation; None for one that clamping does not compute."""

    def quantized(real: float) -> int:
        steps = float(np.float32(real) / scale)
        return zero_point + int(math.copysign(math.floor(abs(steps) + 0.5), steps))

    bounds: dict[str, tuple[float | None, float | None]] = {
        "NONE": (None, None),
        "RELU": (0.0, None),
        "RELU6": (0.0, 6.0),
        "RELU_N1_TO_1": (-1.0, 1.0),
    }
    if name not in bounds:
        return None
    low, high = bounds[name]
    return (
        INT8_MIN if low is None else max(INT8_MIN, quantized(low)),
        INT8_MAX if high is None else min(INT8_MAX, quantized(high)),
    )


def softmax_exponentials(beta: float, input_scale: float) -> bytes:
    """``exp(beta * input_scale * (i - 255))`` for i = 0..255, int32 in Q0.31, as the reference's fixed point rounds it.

    The difference to the largest value is scaled to Q5.26; below -31 the reference counts nothing.
    """
    real = min(beta * input_scale * (1 << _EXP_FRACTION_BITS), _Q31 - 1.0)
    multiplier, shift = quantized_multiplier(real)
    radius = math.floor(((1 << _EXP_INTEGER_BITS) - 1) * (1 << _EXP_FRACTION_BITS) / (1 << shift))
    values = [
        _exponential(_high_mul(-distance << shift, multiplier)) if distance <= radius else 0
        for distance in range(255, -1, -1)
    ]
    return np.array(values, "<i4").tobytes()


def _exponential(x: int) -> int:
    """exp of ``x`` <= 0 in Q5.26, result in Q0.31.

    Split as x = a - n/4 with a in [-1/4, 0): a Taylor series of degree 4 around -1/8 for a, and one factor exp(-2^k)
    per binary digit of n.
    """
    if x == 0:
        return _Q31 - 1
    quarter = 1 << (_EXP_FRACTION_BITS - 2)
    rest = x % quarter - quarter
    t = (rest << _EXP_INTEGER_BITS) + (1 << 28)
    t2 = _high_mul(t, t)
    t3, t4 = _high_mul(t2, t), _high_mul(t2, t2)
    tail = _divide_by_power(_high_mul(_divide_by_power(t4, 2) + t3, round(_Q31 / 3)) + t2, 1)
    at_centre = round(math.exp(-1 / 8) * _Q31)
    result = at_centre + _high_mul(at_centre, t + tail)
    for k in range(-2, _EXP_INTEGER_BITS):
        if (rest - x) >> (_EXP_FRACTION_BITS + k) & 1:
            result = _high_mul(result, round(math.exp(-(2.0**k)) * _Q31))
    return result


def _high_mul(a: int, b: int) -> int:
    """a * b / 2^31, rounded to nearest (halves up), as ``high_mul`` of ``firmware/kernels/fixed_point.h``."""
    product = a * b
    rounded = product + (1 << 30 if product >= 0 else 1 - (1 << 30))
    return rounded // _Q31 if rounded >= 0 else -(-rounded // _Q31)


def _divide_by_power(x: int, exponent: int) -> int:
    """x / 2^exponent, rounded to nearest, halves away from zero."""
    half = 1 << (exponent - 1)
    return (x + half) >> exponent if x >= 0 else -((-x + half) >> exponent)
