/* What all weighted kernels share: the inner product and the way back to 8 bits. */
#ifndef HIL_WEIGHTED_H
#define HIL_WEIGHTED_H

#include <stddef.h>
#include <stdint.h>

#include "fixed_point.h"

static inline const int32_t *words(const uint8_t *program, uint32_t offset)
{
    return offset ? (const int32_t *)(const void *)(program + offset) : NULL;
}

/* Sum of weights[i] * (values[i] - zero_point). */
static inline int32_t dot(const int8_t *weights, const int8_t *values, int32_t count, int32_t zero_point)
{
    int32_t sum = 0;

    for (int32_t i = 0; i < count; i++) {
        sum += weights[i] * (values[i] - zero_point);
    }
    return sum;
}

/* Output stage: from an accumulator to an int8 value of one output channel. */
struct requantize {
    const int32_t *multipliers, *shifts;
    int32_t zero_point, low, high;
};

static inline int8_t requantize(const struct requantize *r, int32_t sum, int32_t channel)
{
    return (int8_t)clamp(scale(sum, r->multipliers[channel], r->shifts[channel]) + r->zero_point, r->low, r->high);
}

#endif
