/* The accelerator as the firmware sees it.  Function and latency come from the host: in Renode a C# peripheral has these
 * registers, in QEMU the port stands in for them and talks to the host by semihosting.
 *
 *   offset  name         access
 *   0x00    ID           r    NPU_ID
 *   0x04    COMMAND      w    enum npu_command; starts it
 *   0x08    STATUS       r    NPU_BUSY, NPU_DONE, NPU_ERROR; writing NPU_DONE clears DONE and ERROR and lowers the interrupt
 *   0x0C    JOB          rw   job of NPU_RUN
 *   0x10    DESCRIPTOR   rw   address of struct npu_params of the job; 0 for commands without data
 *   0x14    ARENA        rw   address that the spans of the descriptor count from
 *   0x18    LATENCY_LO   r    nanoseconds of the last command, low word
 *   0x1C    LATENCY_HI   r
 *
 * Bytes between the device and the host (FIFO or loopback TCP), little-endian:
 *   request   u32 NPU_REQUEST, u32 command, u32 job, u32 input_bytes, then the inputs' bytes in the order of the spans
 *   reply     u32 NPU_REPLY, u32 status (0: done), u64 latency_ns, u32 output_bytes, then the outputs' bytes
 * A host that is absent or answers with a status makes the device set NPU_ERROR beside NPU_DONE.
 */
#ifndef HIL_NPU_H
#define HIL_NPU_H

#define NPU_ID 0x4E4C4948u      /* "HILN" */
#define NPU_REQUEST 0x3F55504Eu /* "NPU?" */
#define NPU_REPLY 0x2155504Eu   /* "NPU!" */

#define NPU_REG_ID 0x00u
#define NPU_REG_COMMAND 0x04u
#define NPU_REG_STATUS 0x08u
#define NPU_REG_JOB 0x0Cu
#define NPU_REG_DESCRIPTOR 0x10u
#define NPU_REG_ARENA 0x14u
#define NPU_REG_LATENCY_LO 0x18u
#define NPU_REG_LATENCY_HI 0x1Cu

enum npu_command { NPU_INIT = 1, NPU_LOAD_WEIGHTS = 2, NPU_RUN = 3 };

#define NPU_BUSY 1u
#define NPU_DONE 2u
#define NPU_ERROR 4u

#endif
