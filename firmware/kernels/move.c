/* Moving bytes. */
#include <string.h>

#include "kernels.h"
#include "walk.h"

/* One row of the innermost dimension; strides in bytes. */
static void copy_row(uint8_t *out, const uint8_t *in, int32_t count, int32_t out_stride, int32_t in_stride,
                     int32_t bytes)
{
    if (in_stride == bytes && out_stride == bytes) {
        memcpy(out, in, (size_t)(count * bytes));
        return;
    }
    for (int32_t i = 0; i < count; i++, in += in_stride, out += out_stride) {
        for (int32_t byte = 0; byte < bytes; byte++) {
            out[byte] = in[byte];
        }
    }
}

void kernel_copy(const struct copy_params *p, const uint8_t *program, uint8_t *arena)
{
    const int32_t bytes = p->element_bytes;
    const uint8_t *in = p->constant ? program + p->constant : arena + p->input;
    uint8_t *out = arena + p->output;
    struct walk walk = {{0}, 0, 0};

    do {
        copy_row(out + walk.b * bytes, in + walk.a * bytes, p->dims[4], p->out_strides[4] * bytes,
                 p->in_strides[4] * bytes, bytes);
    } while (walk_next(&walk, p->dims, p->in_strides, p->out_strides));
}

void kernel_fill(const struct fill_params *p, const uint8_t *program, uint8_t *arena)
{
    (void)program;
    memset(arena + p->output, p->value, (size_t)p->bytes);
}
