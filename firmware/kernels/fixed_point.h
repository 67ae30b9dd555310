/* Arithmetic of the TFLite quantization specification: 32-bit fixed point with two roundings. */
#ifndef HIL_FIXED_POINT_H
#define HIL_FIXED_POINT_H

#include <stdint.h>

/* a * b / 2^31, rounded to nearest.  No two operands here are both INT32_MIN, the only pair that would overflow. */
static inline int32_t high_mul(int32_t a, int32_t b)
{
    const int64_t product = (int64_t)a * b;
    const int64_t half = product >= 0 ? 1 << 30 : 1 - (1 << 30);

    return (int32_t)((product + half) / ((int64_t)1 << 31));
}

/* x / 2^exponent, rounded to nearest, halves away from zero.  Exponent 0 to 31. */
static inline int32_t divide_by_power(int32_t x, int exponent)
{
    const int32_t mask = (int32_t)((1u << exponent) - 1u);
    const int32_t threshold = (mask >> 1) + (x < 0);

    return (x >> exponent) + ((x & mask) > threshold);
}

/* x * multiplier * 2^(shift - 31).  The left shift wraps, as the reference's does. */
static inline int32_t scale(int32_t x, int32_t multiplier, int32_t shift)
{
    const int left = shift > 0 ? (int)shift : 0;
    const int right = shift > 0 ? 0 : (int)-shift;

    return divide_by_power(high_mul((int32_t)((uint32_t)x << left), multiplier), right);
}

static inline int32_t clamp(int32_t x, int32_t low, int32_t high)
{
    return x < low ? low : x > high ? high : x;
}

#endif
