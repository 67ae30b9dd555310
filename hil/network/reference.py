"""The reference interpreter: LiteRT on its reference kernels, one thread.

These kernels round the same on every processor, so their bytes are what every emulated board must answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hil.errors import NetworkError, UnavailableError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output as the interpreter has it.  Real values are ``scale * (q - zero_point)``."""

    tensor: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: float = 1.0
    zero_point: int = 0

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class Reference:
    """A ``.tflite`` model, ready to run.  Tensors go in and out as raw bytes in the order of the model's interface.

    ``name`` starts every message.  Raises NetworkError for a model that LiteRT cannot run.
    """

    def __init__(self, model: bytes, name: str = "model") -> None:
        self.name = name
        self._model = model
        self.reset()
        self.inputs = tuple(self._port(detail) for detail in self._interpreter.get_input_details())
        self.outputs = tuple(self._port(detail) for detail in self._interpreter.get_output_details())

    def reset(self) -> None:
        """Forget all state: variable tensors and resource variables are as in the file again."""
        litert = _litert()
        try:
            self._interpreter = litert.Interpreter(
                model_content=self._model,
                num_threads=1,
                experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF,
            )
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise self._refused("load", error) from error

    def run(self, inputs: Sequence[bytes]) -> list[bytes]:
        """One inference.  State, where the network has some, carries over to the next."""
        import numpy as np

        if len(inputs) != len(self.inputs):
            raise NetworkError(f"{self.name}: {len(inputs)} inputs given; expected {len(self.inputs)}")
        try:
            for port, data in zip(self.inputs, inputs, strict=True):
                if len(data) != port.size_bytes:
                    raise NetworkError(
                        f"{self.name}: {len(data)} bytes for input tensor {port.tensor}; expected {port.size_bytes}"
                    )
                self._interpreter.set_tensor(port.tensor, np.frombuffer(data, port.dtype).reshape(port.shape))
            self._interpreter.invoke()
            return [bytes(self._interpreter.get_tensor(port.tensor).tobytes()) for port in self.outputs]
        except (RuntimeError, ValueError) as error:
            raise self._refused("run", error) from error

    def split(self, data: bytes) -> list[bytes]:
        """The bytes of all inputs, one behind the other, as ``run`` takes them."""
        parts, start = [], 0
        for port in self.inputs:
            parts.append(data[start : start + port.size_bytes])
            start += port.size_bytes
        return parts

    def real(self, outputs: Sequence[bytes]) -> list[float]:
        """Output bytes as real values, one output behind the other: in single precision, as firmware dequantizes them.

        Outputs without quantization are their own values.
        """
        import numpy as np

        values: list[float] = []
        for port, data in zip(self.outputs, outputs, strict=True):
            raw = np.frombuffer(data, port.dtype).astype(np.float32)
            values += ((raw - np.float32(port.zero_point)) * np.float32(port.scale)).tolist()
        return values

    def _port(self, detail: dict[str, Any]) -> Port:
        import numpy as np

        dtype = np.dtype(detail["dtype"])
        if dtype.hasobject or dtype.kind == "S":
            raise NetworkError(f"{self.name}: tensor {detail['index']} ({detail['name']}) is text; expected numbers")
        scale, zero_point = detail["quantization"]
        shape = tuple(int(size) for size in detail["shape"])
        return Port(int(detail["index"]), shape, dtype, float(scale) or 1.0, int(zero_point))

    def _refused(self, what: str, error: Exception) -> NetworkError:
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        return NetworkError(
            f"{self.name}: LiteRT cannot {what} it: {reason}",
            hint="the reference kernels lack a few operators, and all custom ones",
        )


def _litert() -> Any:
    """LiteRT's interpreter module; imported only here because it takes its time."""
    try:
        from ai_edge_litert import interpreter
    except ImportError as error:
        raise UnavailableError("LiteRT is missing: no network can be run", hint="pip install ai-edge-litert") from error
    return interpreter
