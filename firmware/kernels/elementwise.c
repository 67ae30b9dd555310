/* Element-wise kernels: sums and products with broadcasting, tables. */
#include "fixed_point.h"
#include "kernels.h"
#include "walk.h"

/* Input `i` on the common scale of a sum. */
static inline int32_t term(const struct binary_params *p, int i, int8_t value)
{
    const int32_t shifted = (value - p->zero_points[i]) * (1 << p->left_shift);

    return scale(shifted, p->multipliers[i], p->shifts[i]);
}

static int32_t add(const struct binary_params *p, int8_t a, int8_t b)
{
    const int32_t first = term(p, 0, a);
    const int32_t second = term(p, 1, b);

    return p->subtract ? first - second : first + second;
}

static int32_t multiply(const struct binary_params *p, int8_t a, int8_t b)
{
    return (a - p->zero_points[0]) * (b - p->zero_points[1]);
}

static const int8_t *operand(const struct binary_params *p, int i, const uint8_t *program, const uint8_t *arena)
{
    return (const int8_t *)(p->constants[i] ? program + p->constants[i] : arena + p->inputs[i]);
}

static void binary(const struct binary_params *p, const uint8_t *program, uint8_t *arena,
                   int32_t (*combine)(const struct binary_params *, int8_t, int8_t))
{
    const int8_t *first = operand(p, 0, program, arena);
    const int8_t *second = operand(p, 1, program, arena);
    int8_t *out = (int8_t *)(arena + p->output);
    struct walk walk = {{0}, 0, 0};

    do {
        const int8_t *a = first + walk.a;
        const int8_t *b = second + walk.b;

        for (int32_t i = 0; i < p->dims[4]; i++, a += p->strides[0][4], b += p->strides[1][4]) {
            const int32_t value = scale(combine(p, *a, *b), p->output_multiplier, p->output_shift);

            *out++ = (int8_t)clamp(value + p->output_zero_point, p->activation_min, p->activation_max);
        }
    } while (walk_next(&walk, p->dims, p->strides[0], p->strides[1]));
}

void kernel_add(const struct binary_params *p, const uint8_t *program, uint8_t *arena)
{
    binary(p, program, arena, add);
}

void kernel_mul(const struct binary_params *p, const uint8_t *program, uint8_t *arena)
{
    binary(p, program, arena, multiply);
}

void kernel_table(const struct table_params *p, const uint8_t *program, uint8_t *arena)
{
    const int8_t *table = (const int8_t *)(program + p->table) + 128;
    const int8_t *in = (const int8_t *)(arena + p->input);
    int8_t *out = (int8_t *)(arena + p->output);

    for (int32_t i = 0; i < p->count; i++) {
        out[i] = table[in[i]];
    }
}
