"""The TFLite schema (version 3) as data: field numbers, operator names, element types.

Field numbers are the order of the fields in ``schema.fbs``; a field's place in a table's vtable is ``4 + 2 * number``.
"""

from __future__ import annotations

from typing import NamedTuple

from hil.network import _flatbuffer as fb

FILE_IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3


def words(text: str) -> tuple[str, ...]:
    """The words of a text: a table of names without a quote around each."""
    return tuple(text.split())


class Model:
    VERSION, OPERATOR_CODES, SUBGRAPHS, DESCRIPTION, BUFFERS = range(5)


class OperatorCode:
    DEPRECATED_BUILTIN_CODE, CUSTOM_CODE, VERSION, BUILTIN_CODE = range(4)


class SubGraph:
    TENSORS, INPUTS, OUTPUTS, OPERATORS, NAME = range(5)


class TensorFields:
    SHAPE, TYPE, BUFFER, NAME, QUANTIZATION, IS_VARIABLE, SPARSITY, SHAPE_SIGNATURE = range(8)


class QuantizationParameters:
    MIN, MAX, SCALE, ZERO_POINT, DETAILS_TYPE, DETAILS, QUANTIZED_DIMENSION = range(7)


class Operator:
    OPCODE_INDEX, INPUTS, OUTPUTS, OPTIONS_TYPE, OPTIONS = range(5)


class Buffer:
    DATA, OFFSET, SIZE = range(3)


# enum TensorType, in the order of the schema.
ELEMENT_TYPES: tuple[str, ...] = words(
    """
    float32 float16 int32 uint8 int64 string bool int16 complex64 int8 float64 complex128 uint64 resource variant
    uint32 uint16 int4 bfloat16 int2 uint4 float8_e4m3fn float8_e5m2
    """
)

# enum ActivationFunctionType
FUSED_ACTIVATIONS: tuple[str | None, ...] = (None, "relu", "relu_n1_to_1", "relu6", "tanh", "sign_bit")

SAME, VALID = 0, 1  # enum Padding


class OptionField(NamedTuple):
    slot: int
    flags: object
    default: int


_BYTES = {"padding": fb.INT8, "activation": fb.INT8}
_BOOLS = {"adj_x", "adj_y"}
_DEFAULTS = {"dilation_w": 1, "dilation_h": 1}


def _fields(names: str) -> dict[str, OptionField]:
    return {
        name: OptionField(slot, fb.BOOL if name in _BOOLS else _BYTES.get(name, fb.INT32), _DEFAULTS.get(name, 0))
        for slot, name in enumerate(names.split())
        if name != "_"
    }


_POOL = (5, _fields("padding stride_w stride_h filter_w filter_h activation"))
_CONV_3D = (106, _fields("padding _ stride_w stride_h activation _ dilation_w dilation_h"))
# Builtin operator -> (its value in union BuiltinOptions, its option fields; "_" is a field that is not needed here).
OPTIONS: dict[str, tuple[int, dict[str, OptionField]]] = {
    "CONV_2D": (1, _fields("padding stride_w stride_h activation dilation_w dilation_h")),
    "DEPTHWISE_CONV_2D": (2, _fields("padding stride_w stride_h _ activation dilation_w dilation_h")),
    "TRANSPOSE_CONV": (49, _fields("padding stride_w stride_h activation")),
    "CONV_3D": _CONV_3D,
    "CONV_3D_TRANSPOSE": _CONV_3D,
    "AVERAGE_POOL_2D": _POOL,
    "MAX_POOL_2D": _POOL,
    "L2_POOL_2D": _POOL,
    "FULLY_CONNECTED": (8, _fields("activation")),
    "CONCATENATION": (10, _fields("_ activation")),
    "ADD": (11, _fields("activation")),
    "MUL": (21, _fields("activation")),
    "SUB": (28, _fields("activation")),
    "DIV": (29, _fields("activation")),
    "L2_NORMALIZATION": (12, _fields("activation")),
    "BATCH_MATMUL": (101, _fields("adj_x adj_y")),
    "LSTM": (14, _fields("activation")),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (71, _fields("activation")),
    "BIDIRECTIONAL_SEQUENCE_LSTM": (69, _fields("activation")),
    "RNN": (7, _fields("activation")),
    "UNIDIRECTIONAL_SEQUENCE_RNN": (31, _fields("_ activation")),
    "BIDIRECTIONAL_SEQUENCE_RNN": (70, _fields("_ activation")),
    "SVDF": (6, _fields("_ activation")),
}

# enum BuiltinOperator: the position is the code.
BUILTIN_OPERATORS: tuple[str, ...] = words(
    """
    ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE EMBEDDING_LOOKUP FLOOR
    FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOGISTIC
    LSH_PROJECTION LSTM MAX_POOL_2D MUL RELU RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH
    SVDF TANH CONCAT_EMBEDDINGS SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN GATHER
    BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE
    BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM
    ARG_MAX MINIMUM LESS NEG PADV2 GREATER GREATER_EQUAL LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV SPARSE_TO_DENSE
    TILE EXPAND_DIMS EQUAL NOT_EQUAL LOG SUM SQRT RSQRT SHAPE POW ARG_MIN FAKE_QUANT REDUCE_PROD REDUCE_MAX PACK
    LOGICAL_OR ONE_HOT LOGICAL_AND LOGICAL_NOT UNPACK REDUCE_MIN FLOOR_DIV REDUCE_ANY SQUARE ZEROS_LIKE FILL
    FLOOR_MOD RANGE RESIZE_NEAREST_NEIGHBOR LEAKY_RELU SQUARED_DIFFERENCE MIRROR_PAD ABS SPLIT_V UNIQUE CEIL
    REVERSE_V2 ADD_N GATHER_ND COS WHERE RANK ELU REVERSE_SEQUENCE MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG ROUND
    HARD_SWISH IF WHILE NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND SELECT_V2 DENSIFY SEGMENT_SUM
    BATCH_MATMUL PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO RFFT2D CONV_3D IMAG REAL COMPLEX_ABS
    HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL CONV_3D_TRANSPOSE VAR_HANDLE READ_VARIABLE
    ASSIGN_VARIABLE BROADCAST_ARGS RANDOM_STANDARD_NORMAL BUCKETIZE RANDOM_UNIFORM MULTINOMIAL GELU
    DYNAMIC_UPDATE_SLICE RELU_0_TO_1 UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_SUM ATAN2
    UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR RIGHT_SHIFT STABLEHLO_LOGISTIC STABLEHLO_ADD STABLEHLO_DIVIDE
    STABLEHLO_MULTIPLY STABLEHLO_MAXIMUM STABLEHLO_RESHAPE STABLEHLO_CLAMP STABLEHLO_CONCATENATE
    STABLEHLO_BROADCAST_IN_DIM STABLEHLO_CONVOLUTION STABLEHLO_SLICE STABLEHLO_CUSTOM_CALL STABLEHLO_REDUCE
    STABLEHLO_ABS STABLEHLO_AND STABLEHLO_COSINE STABLEHLO_EXPONENTIAL STABLEHLO_FLOOR STABLEHLO_LOG
    STABLEHLO_MINIMUM STABLEHLO_NEGATE STABLEHLO_OR STABLEHLO_POWER STABLEHLO_REMAINDER STABLEHLO_RSQRT
    STABLEHLO_SELECT STABLEHLO_SUBTRACT STABLEHLO_TANH STABLEHLO_SCATTER STABLEHLO_COMPARE STABLEHLO_CONVERT
    STABLEHLO_DYNAMIC_SLICE STABLEHLO_DYNAMIC_UPDATE_SLICE STABLEHLO_PAD STABLEHLO_IOTA STABLEHLO_DOT_GENERAL
    STABLEHLO_REDUCE_WINDOW STABLEHLO_SORT STABLEHLO_WHILE STABLEHLO_GATHER STABLEHLO_TRANSPOSE DILATE
    STABLEHLO_RNG_BIT_GENERATOR REDUCE_WINDOW STABLEHLO_COMPOSITE STABLEHLO_SHIFT_LEFT STABLEHLO_CBRT STABLEHLO_CASE
    """
)
CUSTOM = "CUSTOM"
# Operators that run another sub-graph every inference; its ops would be missing from every figure.
CONTROL_FLOW = frozenset({"IF", "WHILE", "CALL", "STABLEHLO_WHILE", "STABLEHLO_CASE", "STABLEHLO_COMPOSITE"})
