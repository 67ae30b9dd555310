/* Pooling and means. */
#include "fixed_point.h"
#include "kernels.h"
#include "window.h"

/* The part of a window inside the image, one channel: `value` is its first pixel. */
struct patch {
    const int8_t *value;
    int32_t rows, columns;
    int32_t row_step, column_step;
};

static int32_t largest(const struct patch *patch)
{
    int32_t found = INT8_MIN;

    for (int32_t y = 0; y < patch->rows; y++) {
        const int8_t *value = patch->value + y * patch->row_step;

        for (int32_t x = 0; x < patch->columns; x++, value += patch->column_step) {
            found = *value > found ? *value : found;
        }
    }
    return found;
}

/* Rounded to nearest, halves away from zero. */
static int32_t average(const struct patch *patch)
{
    const int32_t count = patch->rows * patch->columns;
    int32_t sum = 0;

    for (int32_t y = 0; y < patch->rows; y++) {
        const int8_t *value = patch->value + y * patch->row_step;

        for (int32_t x = 0; x < patch->columns; x++, value += patch->column_step) {
            sum += *value;
        }
    }
    return (sum > 0 ? sum + count / 2 : sum - count / 2) / count;
}

static int8_t *pool_pixel(const struct pool_params *p, const int8_t *image, int32_t row, int32_t column, int8_t *out,
                          int32_t (*reduce)(const struct patch *))
{
    const int32_t top = row * p->stride_rows - p->pad_top;
    const int32_t left = column * p->stride_columns - p->pad_left;
    const struct taps rows = taps_inside(top, p->kernel_rows, 1, p->in_rows);
    const struct taps columns = taps_inside(left, p->kernel_columns, 1, p->in_columns);
    struct patch patch = {image + ((top + rows.first) * p->in_columns + left + columns.first) * p->channels,
                          rows.end - rows.first, columns.end - columns.first, p->in_columns * p->channels,
                          p->channels};

    for (int32_t channel = 0; channel < p->channels; channel++, patch.value++) {
        *out++ = (int8_t)clamp(reduce(&patch), p->activation_min, p->activation_max);
    }
    return out;
}

static void pool(const struct pool_params *p, uint8_t *arena, int32_t (*reduce)(const struct patch *))
{
    const int8_t *image = (const int8_t *)(arena + p->input);
    int8_t *out = (int8_t *)(arena + p->output);

    for (int32_t batch = 0; batch < p->batches; batch++) {
        for (int32_t row = 0; row < p->out_rows; row++) {
            for (int32_t column = 0; column < p->out_columns; column++) {
                out = pool_pixel(p, image, row, column, out, reduce);
            }
        }
        image += p->in_rows * p->in_columns * p->channels;
    }
}

void kernel_max_pool(const struct pool_params *p, const uint8_t *program, uint8_t *arena)
{
    (void)program;
    pool(p, arena, largest);
}

void kernel_avg_pool(const struct pool_params *p, const uint8_t *program, uint8_t *arena)
{
    (void)program;
    pool(p, arena, average);
}

void kernel_mean(const struct mean_params *p, const uint8_t *program, uint8_t *arena)
{
    const int8_t *values = (const int8_t *)(arena + p->input);
    int8_t *out = (int8_t *)(arena + p->output);

    (void)program;
    for (int32_t outer = 0; outer < p->outer; outer++) {
        for (int32_t inner = 0; inner < p->inner; inner++) {
            int32_t sum = -p->reduced * p->input_zero_point;

            for (int32_t i = 0; i < p->reduced; i++) {
                sum += values[i * p->inner + inner];
            }
            *out++ = (int8_t)clamp(scale(sum, p->multiplier, p->shift) + p->output_zero_point, INT8_MIN, INT8_MAX);
        }
        values += p->reduced * p->inner;
    }
}
