#include "print.h"

#include <string.h>

#include "port.h"

void print_text(const char *text) {
    while (*text) {
        port_putc((unsigned char)*text++);
    }
}

void print_end(void) {
    print_text("\r\n");
}

void print_unsigned(uint64_t value) {
    char digits[21];
    char *next = digits + sizeof digits - 1;
    *next = 0;
    do {
        *--next = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    print_text(next);
}

void print_signed(int32_t value) {
    if (value < 0) {
        port_putc('-');
    }
    print_unsigned(value < 0 ? -(uint64_t)value : (uint64_t)value);
}

void print_hex_byte(uint8_t value) {
    static const char digits[] = "0123456789abcdef";
    port_putc(digits[value >> 4]);
    port_putc(digits[value & 15]);
}

void print_hex_word(uint32_t value) {
    for (int shift = 24; shift >= 0; shift -= 8) {
        print_hex_byte((uint8_t)(value >> shift));
    }
}

/* value >> bits, rounded to nearest, ties to even; value is below 2^62. */
static uint64_t shift_rounded(uint64_t value, int bits) {
    if (bits > 62) {
        return 0;
    }
    uint64_t half = UINT64_C(1) << (bits - 1);
    uint64_t rest = value & ((half << 1) - 1);
    uint64_t kept = value >> bits;
    return kept + (rest > half || (rest == half && (kept & 1)));
}

void print_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    int exponent = (int)(bits >> 23 & 0xFF);
    uint64_t mantissa = bits & 0x7FFFFF;
    if (exponent == 0xFF && mantissa) {
        print_text("nan");
        return;
    }
    if (bits >> 31) {
        port_putc('-');
    }
    if (exponent > 127 + 52) {
        print_text("inf");
        return;
    }
    /* value = mantissa * 2^power; mantissa * 1000 is below 2^34, so shifting left by up to 29 bits fits. */
    mantissa |= exponent ? 0x800000 : 0;
    int power = (exponent ? exponent : 1) - 127 - 23;
    uint64_t thousandths = power >= 0 ? mantissa * 1000 << power : shift_rounded(mantissa * 1000, -power);
    print_unsigned(thousandths / 1000);
    port_putc('.');
    unsigned rest = (unsigned)(thousandths % 1000);
    port_putc((int)('0' + rest / 100));
    port_putc((int)('0' + rest / 10 % 10));
    port_putc((int)('0' + rest % 10));
}
