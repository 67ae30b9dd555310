/* Windows that slide over an image with padding. */
#ifndef HIL_WINDOW_H
#define HIL_WINDOW_H

#include <stdint.h>

/* Taps `first` to `end` - 1 of a window lie inside the image. */
struct taps {
    int32_t first, end;
};

static inline int32_t divide_up(int32_t x, int32_t by)
{
    return x > 0 ? (x + by - 1) / by : 0;
}

/* `origin`: where tap 0 lies, `size`: of the image, both along one axis. */
static inline struct taps taps_inside(int32_t origin, int32_t taps, int32_t dilation, int32_t size)
{
    const int32_t end = divide_up(size - origin, dilation);

    return (struct taps){divide_up(-origin, dilation), end < taps ? end : taps};
}

#endif
