/* The int8 kernels: plain C, bit-exact to LiteRT's reference kernels, the same bits on every core.
 *
 * `program` is the start of the program (constants), `arena` the start of the arena (tensors); both are aligned to 4
 * bytes.  The host has checked the parameters (hil/emulator/lower.py); kernels trust them.
 */
#ifndef HIL_KERNELS_H
#define HIL_KERNELS_H

#include "program.h"

/* Run one step.  0, or -1 where its opcode is no kernel (OP_END, OP_NPU, OP_DELAY, unknown). */
int kernel_run(const struct step *step, const uint8_t *program, uint8_t *arena);

void kernel_conv(const struct conv_params *p, const uint8_t *program, uint8_t *arena);
void kernel_depthwise(const struct conv_params *p, const uint8_t *program, uint8_t *arena);
void kernel_transpose_conv(const struct conv_params *p, const uint8_t *program, uint8_t *arena);
void kernel_fully_connected(const struct fully_connected_params *p, const uint8_t *program, uint8_t *arena);
void kernel_max_pool(const struct pool_params *p, const uint8_t *program, uint8_t *arena);
void kernel_avg_pool(const struct pool_params *p, const uint8_t *program, uint8_t *arena);
void kernel_mean(const struct mean_params *p, const uint8_t *program, uint8_t *arena);
void kernel_add(const struct binary_params *p, const uint8_t *program, uint8_t *arena);
void kernel_mul(const struct binary_params *p, const uint8_t *program, uint8_t *arena);
void kernel_softmax(const struct softmax_params *p, const uint8_t *program, uint8_t *arena);
void kernel_table(const struct table_params *p, const uint8_t *program, uint8_t *arena);
void kernel_copy(const struct copy_params *p, const uint8_t *program, uint8_t *arena);
void kernel_fill(const struct fill_params *p, const uint8_t *program, uint8_t *arena);
void kernel_decode(const struct decode_params *p, const uint8_t *program, uint8_t *arena);

#endif
