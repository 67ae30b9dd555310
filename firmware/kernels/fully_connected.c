/* Fully connected layer. */
#include <string.h>

#include "kernels.h"
#include "weighted.h"

/* As dot(), with weights that have a zero point too. */
static int32_t asymmetric_dot(const struct fully_connected_params *p, const int8_t *weights, const int8_t *values)
{
    int32_t sum = 0;

    for (int32_t i = 0; i < p->in_features; i++) {
        sum += (weights[i] - p->weight_zero_point) * (values[i] - p->input_zero_point);
    }
    return sum;
}

/* Rounded to nearest, halves away from zero.  Adding a half before truncating would round twice. */
static int32_t nearest(double x)
{
    const int32_t whole = (int32_t)x;
    const double rest = x - (double)whole;

    return whole + (rest >= 0.5) - (rest <= -0.5);
}

/* sum * factor.  A program need not lie where a double may be loaded from. */
static int32_t scaled(int32_t sum, const uint8_t *factor)
{
    double real;

    memcpy(&real, factor, sizeof real);
    return nearest((double)sum * real);
}

void kernel_fully_connected(const struct fully_connected_params *p, const uint8_t *program, uint8_t *arena)
{
    const int32_t *biases = words(program, p->biases);
    const int8_t *values = (const int8_t *)(arena + p->input);
    int8_t *out = (int8_t *)(arena + p->output);

    for (int32_t row = 0; row < p->rows; row++) {
        const int8_t *weights = (const int8_t *)(program + p->weights);
        const uint8_t *factor = program + p->factors;

        for (int32_t feature = 0; feature < p->out_features; feature++) {
            int32_t sum = biases ? biases[feature] : 0;

            sum += p->weight_zero_point ? asymmetric_dot(p, weights, values)
                                        : dot(weights, values, p->in_features, p->input_zero_point);
            *out++ = (int8_t)clamp(scaled(sum, factor) + p->output_zero_point, p->activation_min, p->activation_max);
            weights += p->in_features;
            factor += sizeof(double);
        }
        values += p->in_features;
    }
}
