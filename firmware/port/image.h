/* What image.ld.in places, and the start that it belongs to. */
#ifndef HIL_IMAGE_H
#define HIL_IMAGE_H

#include <stdint.h>

extern uint32_t image_data_start[], image_data_end[], image_data_load[], image_bss_start[], image_bss_end[];
extern uint32_t image_stack_top[];

int main(void);

static inline void image_init_memory(void) {
    const uint32_t *from = image_data_load;
    for (uint32_t *to = image_data_start; to < image_data_end;) {
        *to++ = *from++;
    }
    for (uint32_t *to = image_bss_start; to < image_bss_end;) {
        *to++ = 0;
    }
}

#endif
