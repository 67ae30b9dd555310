"""The op types that networks may hold: what platform files can name in their operator rules."""

from __future__ import annotations

from functools import cache


@cache
def known_op_types() -> frozenset[str]:
    """Types of layer lists, and the lower-case names of TensorFlow Lite's builtin operators."""
    from hil.network._layer_rules import ACTIVATION_TYPES, SHAPE_RULES
    from hil.network._schema import BUILTIN_OPERATORS

    return frozenset({*SHAPE_RULES, *ACTIVATION_TYPES, *(name.lower() for name in BUILTIN_OPERATORS)})
