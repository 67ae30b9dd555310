"""The binary layout that host and firmware share: ctypes mirrors of ``firmware/include/program.h``.

Names follow the header; ``tests/firmware/test_layout.py`` compares sizes, offsets and values with a C compiler's.
Offsets count bytes from the start of the program, ``input``/``output``/``arena`` bytes from the start of the arena.
"""

from __future__ import annotations

from ctypes import LittleEndianStructure, c_char, c_float, c_int16, c_int32, c_uint8, c_uint16, c_uint32
from enum import IntEnum

PROGRAM_MAGIC = 0x504C4948
PROGRAM_VERSION = 1
PROGRAM_CLASSES = 16
PROGRAM_MAX_OUTPUTS = 8
MAX_DIMS = 5  # of struct copy_params and struct binary_params


class PhaseCode(IntEnum):
    """``enum phase``; the names are those of ``hil.plan.PHASES`` in capitals."""

    BOOT = 0
    NPU_INIT = 1
    WEIGHT_LOAD = 2
    INPUT_LOAD = 3
    INFERENCE = 4
    OUTPUT_READ = 5
    POST_PROCESS = 6
    IDLE = 7


class TimeClass(IntEnum):
    """``enum time_class``: classes of code, each with its own effective cycles per instruction."""

    OFF = 0
    WAIT = 1
    CODE = 2
    CONV = 3
    POINTWISE = 4
    DEPTHWISE = 5
    FULLY_CONNECTED = 6
    POOL = 7
    ELEMENTWISE = 8
    EXP = 9
    MOVE = 10
    INPUT_LOAD = 11
    OUTPUT_READ = 12
    POST_PROCESS = 13


class Opcode(IntEnum):
    """``enum opcode``: what a step does, and so which structure its parameters have."""

    END = 0
    NPU = 1
    DELAY = 2
    CONV = 3
    DEPTHWISE = 4
    TRANSPOSE_CONV = 5
    FULLY_CONNECTED = 6
    MAX_POOL = 7
    AVG_POOL = 8
    MEAN = 9
    ADD = 10
    MUL = 11
    SOFTMAX = 12
    TABLE = 13
    COPY = 14
    FILL = 15
    DECODE = 16


class DecodeKind(IntEnum):
    """``enum decode_kind``: what an application does with the outputs."""

    ARGMAX = 1
    BOXES = 2


class ProgramOutput(LittleEndianStructure):
    """One output tensor of the program; real value = scale * (q - zero_point)."""

    _fields_ = [("arena", c_uint32), ("bytes", c_uint32), ("scale", c_float), ("zero_point", c_int32)]


class Program(LittleEndianStructure):
    """``struct program``: the header at the start of a program."""

    _fields_ = [
        ("magic", c_uint32),
        ("version", c_uint32),
        ("total_bytes", c_uint32),
        ("crc32", c_uint32),
        ("network", c_char * 32),
        ("platform", c_char * 32),
        ("point", c_char * 32),
        ("host_clock_hz", c_uint32),
        ("npu_clock_hz", c_uint32),
        ("supply_mv", c_uint32),
        ("arena_bytes", c_uint32),
        ("input_bytes", c_uint32),
        ("input_arena", c_uint32),
        ("output_count", c_uint32),
        ("outputs", ProgramOutput * PROGRAM_MAX_OUTPUTS),
        ("npu", c_uint32),
        ("weight_load", c_uint32),
        ("step_count", c_uint32),
        ("steps", c_uint32),
        ("scale_q20", c_uint32 * PROGRAM_CLASSES),
    ]


class Step(LittleEndianStructure):
    """``struct step``: one entry of the program's step list."""

    _fields_ = [
        ("opcode", c_uint8),
        ("time_class", c_uint8),
        ("phase", c_uint8),
        ("reserved", c_uint8),
        ("op", c_int16),
        ("params_bytes", c_uint16),
        ("params", c_uint32),
    ]


class Span(LittleEndianStructure):
    """``struct span``: a tensor in the arena."""

    _fields_ = [("arena", c_uint32), ("bytes", c_uint32)]


class NpuParams(LittleEndianStructure):
    """``struct npu_params`` without its tail: ``input_count + output_count`` of :class:`Span` follow."""

    _fields_ = [("job", c_uint32), ("input_count", c_uint32), ("output_count", c_uint32)]


class DelayParams(LittleEndianStructure):
    """``struct delay_params``."""

    _fields_ = [("nanoseconds", c_uint32)]


class ConvParams(LittleEndianStructure):
    """``struct conv_params``: OP_CONV, OP_DEPTHWISE, OP_TRANSPOSE_CONV."""

    _fields_ = [
        ("input", c_uint32),
        ("output", c_uint32),
        ("batches", c_int32),
        ("in_rows", c_int32),
        ("in_columns", c_int32),
        ("in_channels", c_int32),
        ("out_rows", c_int32),
        ("out_columns", c_int32),
        ("out_channels", c_int32),
        ("kernel_rows", c_int32),
        ("kernel_columns", c_int32),
        ("stride_rows", c_int32),
        ("stride_columns", c_int32),
        ("dilation_rows", c_int32),
        ("dilation_columns", c_int32),
        ("pad_top", c_int32),
        ("pad_left", c_int32),
        ("groups", c_int32),
        ("depth_multiplier", c_int32),
        ("input_zero_point", c_int32),
        ("output_zero_point", c_int32),
        ("activation_min", c_int32),
        ("activation_max", c_int32),
        ("weights", c_uint32),
        ("biases", c_uint32),
        ("multipliers", c_uint32),
        ("shifts", c_uint32),
    ]


class FullyConnectedParams(LittleEndianStructure):
    """``struct fully_connected_params``."""

    _fields_ = [
        ("input", c_uint32),
        ("output", c_uint32),
        ("rows", c_int32),
        ("in_features", c_int32),
        ("out_features", c_int32),
        ("input_zero_point", c_int32),
        ("weight_zero_point", c_int32),
        ("output_zero_point", c_int32),
        ("activation_min", c_int32),
        ("activation_max", c_int32),
        ("weights", c_uint32),
        ("biases", c_uint32),
        ("factors", c_uint32),
    ]


class PoolParams(LittleEndianStructure):
    """``struct pool_params``: OP_MAX_POOL, OP_AVG_POOL."""

    _fields_ = [
        ("input", c_uint32),
        ("output", c_uint32),
        ("batches", c_int32),
        ("in_rows", c_int32),
        ("in_columns", c_int32),
        ("channels", c_int32),
        ("out_rows", c_int32),
        ("out_columns", c_int32),
        ("kernel_rows", c_int32),
        ("kernel_columns", c_int32),
        ("stride_rows", c_int32),
        ("stride_columns", c_int32),
        ("pad_top", c_int32),
        ("pad_left", c_int32),
        ("activation_min", c_int32),
        ("activation_max", c_int32),
    ]


class MeanParams(LittleEndianStructure):
    """``struct mean_params``: the mean over the middle axis of [outer][reduced][inner]."""

    _fields_ = [
        ("input", c_uint32),
        ("output", c_uint32),
        ("outer", c_int32),
        ("reduced", c_int32),
        ("inner", c_int32),
        ("input_zero_point", c_int32),
        ("output_zero_point", c_int32),
        ("multiplier", c_int32),
        ("shift", c_int32),
    ]


class BinaryParams(LittleEndianStructure):
    """``struct binary_params``: OP_ADD, OP_MUL."""

    _fields_ = [
        ("inputs", c_uint32 * 2),
        ("output", c_uint32),
        ("constants", c_uint32 * 2),
        ("dims", c_int32 * MAX_DIMS),
        ("strides", c_int32 * MAX_DIMS * 2),
        ("subtract", c_int32),
        ("left_shift", c_int32),
        ("zero_points", c_int32 * 2),
        ("multipliers", c_int32 * 2),
        ("shifts", c_int32 * 2),
        ("output_zero_point", c_int32),
        ("output_multiplier", c_int32),
        ("output_shift", c_int32),
        ("activation_min", c_int32),
        ("activation_max", c_int32),
    ]


class SoftmaxParams(LittleEndianStructure):
    """``struct softmax_params``."""

    _fields_ = [
        ("input", c_uint32),
        ("output", c_uint32),
        ("rows", c_int32),
        ("depth", c_int32),
        ("exponentials", c_uint32),
    ]


class TableParams(LittleEndianStructure):
    """``struct table_params``."""

    _fields_ = [("input", c_uint32), ("output", c_uint32), ("count", c_int32), ("table", c_uint32)]


class CopyParams(LittleEndianStructure):
    """``struct copy_params``."""

    _fields_ = [
        ("input", c_uint32),
        ("output", c_uint32),
        ("constant", c_uint32),
        ("element_bytes", c_int32),
        ("dims", c_int32 * MAX_DIMS),
        ("in_strides", c_int32 * MAX_DIMS),
        ("out_strides", c_int32 * MAX_DIMS),
    ]


class FillParams(LittleEndianStructure):
    """``struct fill_params``."""

    _fields_ = [("output", c_uint32), ("bytes", c_int32), ("value", c_int32)]


class DecodeInput(LittleEndianStructure):
    """One input of OP_DECODE."""

    _fields_ = [("arena", c_uint32), ("count", c_int32), ("scale", c_float), ("zero_point", c_int32)]


class DecodeParams(LittleEndianStructure):
    """``struct decode_params``."""

    _fields_ = [
        ("kind", c_int32),
        ("input_count", c_int32),
        ("inputs", DecodeInput * PROGRAM_MAX_OUTPUTS),
        ("output", c_uint32),
        ("rows", c_int32),
        ("columns", c_int32),
    ]
