/* Soft-max in fixed point. */
#include "fixed_point.h"
#include "kernels.h"

/* Integer bits of the sum of exponentials: rows of up to 4095 values cannot overflow it. */
#define SUM_BITS 12

static int32_t saturated_shift(int32_t x, int left)
{
    const int64_t shifted = (int64_t)x * (1 << left);

    return shifted > INT32_MAX ? INT32_MAX : shifted < INT32_MIN ? INT32_MIN : (int32_t)shifted;
}

/* 1 / (1 + x) for x in [0, 1), both in Q0.31: Newton's method for the reciprocal of the half denominator, in Q2.29,
 * from the best linear start 48/17 - 32/17 d. */
static int32_t reciprocal_of_one_plus(int32_t x)
{
    const int32_t half_denominator = (int32_t)(((int64_t)x + INT32_MAX + 1) / 2);
    int32_t guess = 1515870810 + high_mul(half_denominator, -1010580540);

    for (int i = 0; i < 3; i++) {
        const int32_t error = (1 << 29) - high_mul(half_denominator, guess);

        guess += saturated_shift(high_mul(guess, error), 2);
    }
    return saturated_shift(guess, 1);
}

static int leading_zeros(uint32_t x)
{
    int count = 0;

    for (; !(x & 0x80000000u); x <<= 1) {
        count++;
    }
    return count;
}

static void softmax_row(const int32_t *exponentials, const int8_t *in, int32_t depth, int8_t *out)
{
    int32_t largest = INT8_MIN;
    int32_t sum = 0;

    for (int32_t i = 0; i < depth; i++) {
        largest = in[i] > largest ? in[i] : largest;
    }
    exponentials += 255 - largest; /* by value now */
    for (int32_t i = 0; i < depth; i++) {
        sum += divide_by_power(exponentials[in[i]], SUM_BITS);
    }

    const int zeros = leading_zeros((uint32_t)sum);
    const int32_t reciprocal = reciprocal_of_one_plus((int32_t)(((uint32_t)sum << zeros) - 0x80000000u));
    const int exponent = SUM_BITS - zeros + 31 - 8;

    for (int32_t i = 0; i < depth; i++) {
        const int32_t share = divide_by_power(high_mul(reciprocal, exponentials[in[i]]), exponent);

        out[i] = (int8_t)clamp(share + INT8_MIN, INT8_MIN, INT8_MAX);
    }
}

void kernel_softmax(const struct softmax_params *p, const uint8_t *program, uint8_t *arena)
{
    const int32_t *exponentials = (const int32_t *)(const void *)(program + p->exponentials);
    const int8_t *in = (const int8_t *)(arena + p->input);
    int8_t *out = (int8_t *)(arena + p->output);

    for (int32_t row = 0; row < p->rows; row++) {
        softmax_row(exponentials, in, p->depth, out);
        in += p->depth;
        out += p->depth;
    }
}
