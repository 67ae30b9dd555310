/* Text to the host, without printf: integers, and floats with three decimals. */
#ifndef HIL_PRINT_H
#define HIL_PRINT_H

#include <stdint.h>

void print_text(const char *text);
void print_unsigned(uint64_t value);
void print_signed(int32_t value);
void print_hex_byte(uint8_t value);
void print_hex_word(uint32_t value);

/* As printf("%.3f"): the exact value rounded to nearest, ties to even.  Beyond 2^53 as inf. */
void print_float(float value);

/* CR LF. */
void print_end(void);

#endif
