# First instructions of a RISC-V image, and the way into the fault report.
    .section .start, "ax"
    .globl start
start:
    .option push
    .option norelax
    la gp, __global_pointer$
    .option pop
    la sp, image_stack_top
    la t0, trap_entry
    csrw mtvec, t0
    j start_c

    .balign 4
trap_entry:
    csrr a0, mcause
    csrr a1, mepc
    la sp, image_stack_top
    j fault_report
