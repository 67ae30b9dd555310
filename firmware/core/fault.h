/* What the processor's exceptions lead to: a line to the host, then a restart. */
#ifndef HIL_FAULT_H
#define HIL_FAULT_H

#include <stdint.h>

_Noreturn void fault(const char *what, uint32_t address);

#endif
