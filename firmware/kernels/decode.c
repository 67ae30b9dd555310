/* What applications do with the outputs of a classifier or detector.  Nothing here is compared bit by bit, but it gives
 * the same bits on every core: single precision, no fused operations, no library. */
#include <stddef.h>
#include <string.h>

#include "kernels.h"

/* 2^x for x in (-126, 0]: the exponent's bits for the whole part, a polynomial through the ends for the rest, whose
 * relative error is below 2e-4. */
static float power_of_two(float x)
{
    const int32_t whole = (int32_t)x - 1; /* x - whole lies in (0, 1] */
    const float rest = x - (float)whole;
    const float mantissa = 1.0f + rest * (0.6956f + rest * (0.2252f + rest * 0.0792f));
    const uint32_t bits = (uint32_t)(whole + 127) << 23;
    float power;

    memcpy(&power, &bits, sizeof power);
    return mantissa * power;
}

static float sigmoid(float x)
{
    const float distance = x < 0.0f ? -x : x;
    const float small = distance > 80.0f ? 0.0f : power_of_two(distance * -1.44269504f);

    return (x < 0.0f ? small : 1.0f) / (1.0f + small);
}

static float real_value(const struct decode_params *p, int32_t input, const uint8_t *arena, int32_t i)
{
    const int8_t *values = (const int8_t *)(arena + p->inputs[input].arena);

    return p->inputs[input].scale * (float)(values[i] - p->inputs[input].zero_point);
}

/* The largest of `count` int8 values, the first where several are. */
static int32_t index_of_largest(const int8_t *values, int32_t count)
{
    int32_t best = 0;

    for (int32_t i = 1; i < count; i++) {
        best = values[i] > values[best] ? i : best;
    }
    return best;
}

static void decode_values(const struct decode_params *p, const uint8_t *arena, float *out)
{
    const int32_t best = index_of_largest((const int8_t *)(arena + p->inputs[0].arena), p->inputs[0].count);

    for (int32_t input = 0; input < p->input_count; input++) {
        for (int32_t i = 0; i < p->inputs[input].count; i++) {
            *out++ = real_value(p, input, arena, i);
        }
    }
    *out++ = real_value(p, 0, arena, best);
    *out = (float)best;
}

/* The box of five values from `first` on, in the cell at (row, column). */
static void decode_box(const struct decode_params *p, const uint8_t *arena, int32_t first, int32_t row, int32_t column,
                       float out[5])
{
    const float x = ((float)column + sigmoid(real_value(p, 0, arena, first))) / (float)p->columns;
    const float y = ((float)row + sigmoid(real_value(p, 0, arena, first + 1))) / (float)p->rows;
    const float half_width = sigmoid(real_value(p, 0, arena, first + 2)) * 0.5f;
    const float half_height = sigmoid(real_value(p, 0, arena, first + 3)) * 0.5f;

    out[0] = x - half_width;
    out[1] = y - half_height;
    out[2] = x + half_width;
    out[3] = y + half_height;
    out[4] = sigmoid(real_value(p, 0, arena, first + 4));
}

static void decode_boxes(const struct decode_params *p, const uint8_t *arena, float *out)
{
    const int32_t cells = p->rows * p->columns;
    const int32_t boxes = p->inputs[0].count / cells / 5;
    const int32_t classes = p->input_count > 1 ? p->inputs[1].count / cells : 0;

    for (int32_t cell = 0; cell < cells; cell++) {
        for (int32_t box = 0; box < boxes; box++, out += 5) {
            decode_box(p, arena, (cell * boxes + box) * 5, cell / p->columns, cell % p->columns, out);
        }
        if (classes > 0) {
            const int32_t first = cell * classes;
            const int32_t best = index_of_largest((const int8_t *)(arena + p->inputs[1].arena) + first, classes);

            *out++ = (float)best;
            *out++ = real_value(p, 1, arena, first + best);
        }
    }
}

void kernel_decode(const struct decode_params *p, const uint8_t *program, uint8_t *arena)
{
    float *out = (float *)(void *)(arena + p->output);

    (void)program;
    if (p->kind == DECODE_ARGMAX) {
        decode_values(p, arena, out);
    } else {
        decode_boxes(p, arena, out);
    }
}
