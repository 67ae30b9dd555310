"""hil: benchmark neural networks on microcontroller-class NPUs, with or without the boards."""

from __future__ import annotations

__version__ = "0.1.0"
