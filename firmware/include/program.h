/* The program: what the firmware runs.  `hil` makes it from a plan (hil/emulator/program.py) and puts it at
 * PORT_PROGRAM_ADDRESS; the firmware image itself knows no network.
 *
 * Little-endian, everything aligned to 4 bytes at least.  "offset" counts bytes from the start of the program; "arena"
 * counts bytes from the start of the arena.  Absent constants have offset 0.
 */
#ifndef HIL_PROGRAM_H
#define HIL_PROGRAM_H

#include <stdint.h>

#define PROGRAM_MAGIC 0x504C4948u /* "HILP" */
#define PROGRAM_VERSION 1u
#define PROGRAM_CLASSES 16
#define PROGRAM_MAX_OUTPUTS 8

/* Phases, in the order of hil.plan.PHASES. */
enum phase {
    PHASE_BOOT,
    PHASE_NPU_INIT,
    PHASE_WEIGHT_LOAD,
    PHASE_INPUT_LOAD,
    PHASE_INFERENCE,
    PHASE_OUTPUT_READ,
    PHASE_POST_PROCESS,
    PHASE_IDLE,
    PHASE_COUNT
};

/* Classes of code, each with its own effective cycles per instruction on an emulated core.  A real board has one time
 * scale for all of them. */
enum time_class {
    CLASS_OFF,  /* printing, waiting for commands: an emulated core's clock stands still */
    CLASS_WAIT, /* asleep until an interrupt */
    CLASS_CODE, /* driver, executor */
    CLASS_CONV,
    CLASS_POINTWISE,
    CLASS_DEPTHWISE,
    CLASS_FULLY_CONNECTED,
    CLASS_POOL,
    CLASS_ELEMENTWISE,
    CLASS_EXP,
    CLASS_MOVE,
    CLASS_INPUT_LOAD,
    CLASS_OUTPUT_READ,
    CLASS_POST_PROCESS,
    CLASS_COUNT
};

enum opcode {
    OP_END,
    OP_NPU,             /* params: struct npu_params */
    OP_DELAY,           /* params: struct delay_params: work of the vendor's runtime that this firmware has not */
    OP_CONV,            /* params: struct conv_params */
    OP_DEPTHWISE,       /* params: struct conv_params */
    OP_TRANSPOSE_CONV,  /* params: struct conv_params */
    OP_FULLY_CONNECTED, /* params: struct fully_connected_params */
    OP_MAX_POOL,        /* params: struct pool_params */
    OP_AVG_POOL,        /* params: struct pool_params */
    OP_MEAN,            /* params: struct mean_params */
    OP_ADD,             /* params: struct binary_params: addition and subtraction */
    OP_MUL,             /* params: struct binary_params */
    OP_SOFTMAX,         /* params: struct softmax_params */
    OP_TABLE,           /* params: struct table_params: any function of one 8-bit value */
    OP_COPY,            /* params: struct copy_params: strided copy of up to five dimensions */
    OP_FILL,            /* params: struct fill_params */
    OP_DECODE           /* params: struct decode_params */
};

struct program {
    uint32_t magic;
    uint32_t version;
    uint32_t total_bytes;
    uint32_t crc32; /* IEEE 802.3, of everything behind this field */
    char network[32];
    char platform[32];
    char point[32];
    uint32_t host_clock_hz;
    uint32_t npu_clock_hz; /* 0: no accelerator */
    uint32_t supply_mv;    /* 0: unknown */
    uint32_t arena_bytes;
    uint32_t input_bytes; /* what `db load` takes; steps of PHASE_INPUT_LOAD bring it into the arena */
    uint32_t input_arena; /* where the protocol puts it */
    uint32_t output_count;
    struct {
        uint32_t arena; /* after PHASE_OUTPUT_READ */
        uint32_t bytes;
        float scale; /* real = scale * (q - zero_point) */
        int32_t zero_point;
    } outputs[PROGRAM_MAX_OUTPUTS];
    uint32_t npu;         /* 1: PHASE_NPU_INIT rings NPU_INIT */
    uint32_t weight_load; /* 1: PHASE_WEIGHT_LOAD rings NPU_LOAD_WEIGHTS */
    uint32_t step_count;
    uint32_t steps; /* offset of struct step[] */
    /* Board nanoseconds per tick of port_ticks(), times 2^20, by enum time_class.  The host fills them in for the
     * engine; all zero: the port's own tick rate is the board's (a real board). */
    uint32_t scale_q20[PROGRAM_CLASSES];
};

struct step {
    uint8_t opcode;
    uint8_t time_class;
    uint8_t phase;
    uint8_t reserved;
    int16_t op; /* index of the network's op, -1: none */
    uint16_t params_bytes;
    uint32_t params; /* offset */
};

/* Tensors of a step: first its inputs, then its outputs. */
struct span {
    uint32_t arena;
    uint32_t bytes;
};

struct npu_params {
    uint32_t job;
    uint32_t input_count;
    uint32_t output_count;
    struct span spans[]; /* inputs, then outputs */
};

struct delay_params {
    uint32_t nanoseconds;
};

/* Convolutions, NHWC.  Zero points as TFLite stores them.  `multipliers` and `shifts` are int32 arrays with one entry
 * per output channel (the quantized multiplier of the TFLite quantization specification).  Weights: conv OHWI with
 * in_channels / groups inputs; depthwise 1HWC; transpose conv OHWI. */
struct conv_params {
    uint32_t input, output; /* arena */
    int32_t batches;
    int32_t in_rows, in_columns, in_channels;
    int32_t out_rows, out_columns, out_channels;
    int32_t kernel_rows, kernel_columns;
    int32_t stride_rows, stride_columns;
    int32_t dilation_rows, dilation_columns;
    int32_t pad_top, pad_left;
    int32_t groups;           /* OP_CONV */
    int32_t depth_multiplier; /* OP_DEPTHWISE */
    int32_t input_zero_point, output_zero_point;
    int32_t activation_min, activation_max;
    uint32_t weights, biases, multipliers, shifts; /* offsets: int8, int32 (0: none), int32, int32 */
};

/* LiteRT's reference kernel multiplies by the real factor here, in double precision, and rounds halves away from 0. */
struct fully_connected_params {
    uint32_t input, output;
    int32_t rows, in_features, out_features;
    int32_t input_zero_point, weight_zero_point, output_zero_point;
    int32_t activation_min, activation_max;
    uint32_t weights, biases, factors; /* offsets: int8, int32 (0: none), double[out_features] */
};

struct pool_params {
    uint32_t input, output;
    int32_t batches;
    int32_t in_rows, in_columns, channels;
    int32_t out_rows, out_columns;
    int32_t kernel_rows, kernel_columns;
    int32_t stride_rows, stride_columns;
    int32_t pad_top, pad_left;
    int32_t activation_min, activation_max;
};

/* Mean over the middle axis of [outer][reduced][inner]. */
struct mean_params {
    uint32_t input, output;
    int32_t outer, reduced, inner;
    int32_t input_zero_point, output_zero_point;
    int32_t multiplier, shift;
};

/* Element-wise with broadcasting: output dimensions, and strides of both inputs in elements (0: broadcast). */
struct binary_params {
    uint32_t inputs[2], output;
    uint32_t constants[2]; /* offset of an input that is a constant, in place of inputs[i]; 0: in the arena */
    int32_t dims[5];
    int32_t strides[2][5];
    int32_t subtract; /* OP_ADD */
    int32_t left_shift;
    int32_t zero_points[2];
    int32_t multipliers[2], shifts[2];
    int32_t output_zero_point, output_multiplier, output_shift;
    int32_t activation_min, activation_max;
};

/* int8 in; int8 out with scale 1/256 and zero point -128, the only pair that LiteRT takes. */
struct softmax_params {
    uint32_t input, output;
    int32_t rows, depth;
    uint32_t exponentials; /* offset: int32[256] in Q0.31, exp(beta * input_scale * (i - 255)) as LiteRT rounds it */
};

struct table_params {
    uint32_t input, output;
    int32_t count;
    uint32_t table; /* offset: int8[256], indexed by value + 128 */
};

/* output[o + sum(i_k * out_strides[k])] = input[in + sum(i_k * in_strides[k])], in elements of element_bytes.
 * `constant` != 0: the source is the constant at that offset. */
struct copy_params {
    uint32_t input, output;
    uint32_t constant;
    int32_t element_bytes;
    int32_t dims[5];
    int32_t in_strides[5], out_strides[5];
};

struct fill_params {
    uint32_t output;
    int32_t bytes;
    int32_t value;
};

/* What an application does with the outputs.  Results are floats in the arena. */
enum decode_kind {
    /* The real values of all inputs, one after the other; then the largest one of inputs[0], and its index. */
    DECODE_ARGMAX = 1,
    /* inputs[0]: [rows][columns][boxes][x, y, width, height, objectness]; inputs[1], if there is one:
     * [rows][columns][classes].  Results per cell: five per box (left, top, right, bottom as fractions of the image,
     * confidence), then, with classes, the best one's index and its real value. */
    DECODE_BOXES = 2
};

struct decode_params {
    int32_t kind;
    int32_t input_count;
    struct {
        uint32_t arena;
        int32_t count;
        float scale;
        int32_t zero_point;
    } inputs[PROGRAM_MAX_OUTPUTS];
    uint32_t output; /* arena, aligned to 4: as many floats as there are input values, plus two (boxes: per cell) */
    int32_t rows, columns; /* DECODE_BOXES: the grid */
};

#endif
