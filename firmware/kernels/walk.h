/* Walking two arrays of up to five dimensions in step.  The innermost dimension is the caller's own loop. */
#ifndef HIL_WALK_H
#define HIL_WALK_H

#include <stdint.h>

struct walk {
    int32_t index[4];
    int32_t a, b; /* offsets in elements */
};

/* To the next row of the innermost dimension; 0 behind the last one. */
static inline int walk_next(struct walk *walk, const int32_t dims[5], const int32_t a[5], const int32_t b[5])
{
    for (int d = 3; d >= 0; d--) {
        walk->a += a[d];
        walk->b += b[d];
        if (++walk->index[d] < dims[d]) {
            return 1;
        }
        walk->a -= a[d] * dims[d];
        walk->b -= b[d] * dims[d];
        walk->index[d] = 0;
    }
    return 0;
}

#endif
