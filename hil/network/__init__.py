"""Networks: the graph, the readers of ``.tflite`` and layer lists, and the activation-memory planner."""

from __future__ import annotations

from hil.network.graph import Network, Op, Quantization, Tensor, hwc

__all__ = ["Network", "Op", "Quantization", "Tensor", "hwc"]
