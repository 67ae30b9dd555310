#include "executor.h"
#include "fault.h"
#include "port.h"
#include "print.h"
#include "protocol.h"

int main(void) {
    port_init();
    executor_load(port_program());
    protocol_boot();
    for (;;) {
        protocol_feed(port_getc());
    }
}

_Noreturn void fault(const char *what, uint32_t address) {
    print_text("e-[Fault: ");
    print_text(what);
    print_text(" at 0x");
    print_hex_word(address);
    print_text("]");
    print_end();
    for (;;) {
        port_reset();
    }
}
