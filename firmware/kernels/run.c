/* From an opcode to its kernel. */
#include "kernels.h"

#define KERNEL(opcode, name, type)                                                                                     \
    case opcode:                                                                                                       \
        name((const struct type *)params, program, arena);                                                             \
        return 0

int kernel_run(const struct step *step, const uint8_t *program, uint8_t *arena)
{
    const void *params = program + step->params;

    switch (step->opcode) {
        KERNEL(OP_CONV, kernel_conv, conv_params);
        KERNEL(OP_DEPTHWISE, kernel_depthwise, conv_params);
        KERNEL(OP_TRANSPOSE_CONV, kernel_transpose_conv, conv_params);
        KERNEL(OP_FULLY_CONNECTED, kernel_fully_connected, fully_connected_params);
        KERNEL(OP_MAX_POOL, kernel_max_pool, pool_params);
        KERNEL(OP_AVG_POOL, kernel_avg_pool, pool_params);
        KERNEL(OP_MEAN, kernel_mean, mean_params);
        KERNEL(OP_ADD, kernel_add, binary_params);
        KERNEL(OP_MUL, kernel_mul, binary_params);
        KERNEL(OP_SOFTMAX, kernel_softmax, softmax_params);
        KERNEL(OP_TABLE, kernel_table, table_params);
        KERNEL(OP_COPY, kernel_copy, copy_params);
        KERNEL(OP_FILL, kernel_fill, fill_params);
        KERNEL(OP_DECODE, kernel_decode, decode_params);
    default:
        return -1;
    }
}
