/* Convolution, also grouped and dilated; depthwise convolution; transpose convolution. */
#include "kernels.h"
#include "weighted.h"
#include "window.h"

/* What the pixels of one image have in common. */
struct layer {
    const struct conv_params *p;
    const int8_t *weights;
    const int32_t *biases;
    struct requantize stage;
};

static inline int32_t bias(const struct layer *layer, int32_t channel)
{
    return layer->biases ? layer->biases[channel] : 0;
}

/* Where the window of an output pixel lies. */
struct window {
    int32_t top, left;
    struct taps rows, columns;
};

static struct window window_at(const struct conv_params *p, int32_t row, int32_t column)
{
    const int32_t top = row * p->stride_rows - p->pad_top;
    const int32_t left = column * p->stride_columns - p->pad_left;

    return (struct window){top, left, taps_inside(top, p->kernel_rows, p->dilation_rows, p->in_rows),
                           taps_inside(left, p->kernel_columns, p->dilation_columns, p->in_columns)};
}

static void conv_pixel(const struct layer *layer, const int8_t *image, int32_t row, int32_t column, int8_t *out)
{
    const struct conv_params *p = layer->p;
    const struct window window = window_at(p, row, column);
    const int32_t depth = p->in_channels / p->groups;
    const int32_t outputs_per_group = p->out_channels / p->groups;
    /* Taps that lie side by side in the image and in the weights are one run. */
    const int together = p->groups == 1 && p->dilation_columns == 1;
    const int32_t run = together ? window.columns.end - window.columns.first : 1;
    const int8_t *weights = layer->weights;

    for (int32_t channel = 0; channel < p->out_channels; channel++) {
        const int8_t *group = image + channel / outputs_per_group * depth;
        int32_t sum = bias(layer, channel);

        for (int32_t y = window.rows.first; y < window.rows.end; y++) {
            const int8_t *line = group + (window.top + y * p->dilation_rows) * p->in_columns * p->in_channels;
            const int8_t *taps = weights + y * p->kernel_columns * depth;

            for (int32_t x = window.columns.first; x < window.columns.end; x += run) {
                const int32_t in_column = window.left + x * p->dilation_columns;

                sum += dot(taps + x * depth, line + in_column * p->in_channels, run * depth, p->input_zero_point);
            }
        }
        out[channel] = requantize(&layer->stage, sum, channel);
        weights += p->kernel_rows * p->kernel_columns * depth;
    }
}

/* The sum over one channel `from` of the image. */
static int32_t depthwise_sum(const struct layer *layer, const int8_t *from, struct window window, int32_t channel)
{
    const struct conv_params *p = layer->p;
    const int32_t step = p->dilation_columns * p->in_channels;
    const int32_t left = window.left * p->in_channels + window.columns.first * step;
    int32_t sum = bias(layer, channel);

    for (int32_t y = window.rows.first; y < window.rows.end; y++) {
        const int8_t *value = from + (window.top + y * p->dilation_rows) * p->in_columns * p->in_channels + left;
        const int8_t *weight =
            layer->weights + (y * p->kernel_columns + window.columns.first) * p->out_channels + channel;

        for (int32_t x = window.columns.first; x < window.columns.end; x++) {
            sum += *weight * (*value - p->input_zero_point);
            value += step;
            weight += p->out_channels;
        }
    }
    return sum;
}

static void depthwise_pixel(const struct layer *layer, const int8_t *image, int32_t row, int32_t column, int8_t *out)
{
    const struct conv_params *p = layer->p;
    const struct window window = window_at(p, row, column);
    int32_t channel = 0;

    for (int32_t source = 0; source < p->in_channels; source++) {
        for (int32_t m = 0; m < p->depth_multiplier; m++, channel++) {
            out[channel] = requantize(&layer->stage, depthwise_sum(layer, image + source, window, channel), channel);
        }
    }
}

/* Tap (y, x) reaches this output pixel from the input pixel ((row + pad - y) / stride, ...), where that divides: the
 * taps of one pixel are a stride apart, and the input walks backwards. */
static void transpose_conv_pixel(const struct layer *layer, const int8_t *image, int32_t row, int32_t column,
                                 int8_t *out)
{
    const struct conv_params *p = layer->p;
    const int32_t bottom = row + p->pad_top;
    const int32_t right = column + p->pad_left;
    const int8_t *weights = layer->weights;

    for (int32_t channel = 0; channel < p->out_channels; channel++) {
        int32_t sum = bias(layer, channel);

        for (int32_t y = bottom % p->stride_rows; y < p->kernel_rows && y <= bottom; y += p->stride_rows) {
            const int32_t in_row = (bottom - y) / p->stride_rows;

            if (in_row >= p->in_rows) {
                continue;
            }
            for (int32_t x = right % p->stride_columns; x < p->kernel_columns && x <= right; x += p->stride_columns) {
                const int32_t in_column = (right - x) / p->stride_columns;

                if (in_column < p->in_columns) {
                    sum += dot(weights + (y * p->kernel_columns + x) * p->in_channels,
                               image + (in_row * p->in_columns + in_column) * p->in_channels, p->in_channels,
                               p->input_zero_point);
                }
            }
        }
        out[channel] = requantize(&layer->stage, sum, channel);
        weights += p->kernel_rows * p->kernel_columns * p->in_channels;
    }
}

typedef void (*pixel_function)(const struct layer *, const int8_t *image, int32_t row, int32_t column, int8_t *out);

static void for_each_pixel(const struct conv_params *p, const uint8_t *program, uint8_t *arena, pixel_function pixel)
{
    const struct layer layer = {p,
                                (const int8_t *)(program + p->weights),
                                words(program, p->biases),
                                {words(program, p->multipliers), words(program, p->shifts), p->output_zero_point,
                                 p->activation_min, p->activation_max}};
    const int8_t *image = (const int8_t *)(arena + p->input);
    int8_t *out = (int8_t *)(arena + p->output);

    for (int32_t batch = 0; batch < p->batches; batch++) {
        for (int32_t row = 0; row < p->out_rows; row++) {
            for (int32_t column = 0; column < p->out_columns; column++) {
                pixel(&layer, image, row, column, out);
                out += p->out_channels;
            }
        }
        image += p->in_rows * p->in_columns * p->in_channels;
    }
}

void kernel_conv(const struct conv_params *p, const uint8_t *program, uint8_t *arena)
{
    for_each_pixel(p, program, arena, conv_pixel);
}

void kernel_depthwise(const struct conv_params *p, const uint8_t *program, uint8_t *arena)
{
    for_each_pixel(p, program, arena, depthwise_pixel);
}

void kernel_transpose_conv(const struct conv_params *p, const uint8_t *program, uint8_t *arena)
{
    for_each_pixel(p, program, arena, transpose_conv_pixel);
}
