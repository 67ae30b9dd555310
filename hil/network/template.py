"""Networks made from a template: the candidates of a sweep over width, depth, resolution and kernel size.

Two shapes cover most of what is searched for microcontrollers: ``cnn`` (convolutions, pooling between stages) and
``dscnn`` (a first convolution, then depthwise-separable blocks).  Both end in a global average and a fully connected
layer; everything is int8.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hil.errors import ConfigError, did_you_mean
from hil.network.graph import Network, Op, Tensor


@dataclass(frozen=True, slots=True)
class Candidate:
    """One point of a sweep: output channels per stage, blocks per stage, input side in pixels, kernel side."""

    template: str
    widths: tuple[int, ...]
    depth: int
    resolution: int
    kernel: int
    channels: int = 3
    classes: int = 10

    @property
    def name(self) -> str:
        widths = "-".join(map(str, self.widths))
        return f"{self.template}_w{widths}_d{self.depth}_r{self.resolution}_k{self.kernel}"


def template_network(candidate: Candidate) -> Network:
    """The network of a candidate.  Raises ConfigError for an unknown template or sizes that leave no pixel."""
    if candidate.template not in TEMPLATES:
        raise ConfigError(f"no template '{candidate.template}'", hint=did_you_mean(candidate.template, TEMPLATES))
    sizes = (*candidate.widths, candidate.depth, candidate.resolution, candidate.kernel, candidate.channels)
    if min(sizes) < 1 or candidate.classes < 1:
        raise ConfigError(f"{candidate.name}: widths, depth, resolution and kernel must be at least 1")
    if candidate.resolution >> (len(candidate.widths) - 1) < 1:
        raise ConfigError(f"{candidate.name}: {candidate.resolution} pixels do not survive the pooling between stages")
    return TEMPLATES[candidate.template](candidate)


class _Builder:
    """Appends ops to a chain; ``side`` and ``channels`` are those of the last tensor."""

    def __init__(self, candidate: Candidate) -> None:
        self.side, self.channels = candidate.resolution, candidate.channels
        self.tensors = [Tensor("input", (1, self.side, self.side, self.channels), "int8")]
        self.ops: list[Op] = []

    def _add(self, op_type: str, shape: tuple[int, ...], **fields: object) -> None:
        index = len(self.ops)
        self.tensors.append(Tensor(f"t{index}", shape, "int8"))
        self.ops.append(Op(index, f"{op_type}_{index}", op_type, (index,), (index + 1,), **fields))  # type: ignore[arg-type]

    def conv(self, filters: int, kernel: int) -> None:
        weights = kernel * kernel * self.channels * filters
        self._convolution("conv2d", filters, kernel, weights, 1)

    def depthwise(self, kernel: int) -> None:
        self._convolution("depthwise_conv2d", self.channels, kernel, kernel * kernel * self.channels, self.channels)

    def _convolution(self, op_type: str, filters: int, kernel: int, weights: int, groups: int) -> None:
        before = (kernel - 1) // 2
        after = kernel - 1 - before
        self._add(
            op_type,
            (1, self.side, self.side, filters),
            kernel=(kernel, kernel),
            padding=(before, after, before, after),
            groups=groups,
            activation="relu",
            macs=weights * self.side * self.side,
            weights=weights,
            biases=filters,
            weight_bytes=weights,
            bias_bytes=4 * filters,
        )
        self.channels = filters

    def pool(self) -> None:
        self.side //= 2
        self._add("max_pool", (1, self.side, self.side, self.channels), kernel=(2, 2), stride=(2, 2))

    def head(self, classes: int) -> Network:
        self._add("global_avg_pool", (1, 1, 1, self.channels), kernel=(self.side, self.side))
        weights = self.channels * classes
        self._add(
            "fully_connected",
            (1, classes),
            macs=weights,
            weights=weights,
            biases=classes,
            weight_bytes=weights,
            bias_bytes=4 * classes,
        )
        last = len(self.ops)
        return Network("", tuple(self.tensors), tuple(self.ops), (0,), (last,), "template", "computed")


def _cnn(candidate: Candidate) -> Network:
    builder = _Builder(candidate)
    for stage, width in enumerate(candidate.widths):
        if stage:
            builder.pool()
        for _ in range(candidate.depth):
            builder.conv(width, candidate.kernel)
    return builder.head(candidate.classes)


def _dscnn(candidate: Candidate) -> Network:
    builder = _Builder(candidate)
    builder.conv(candidate.widths[0], candidate.kernel)
    for stage, width in enumerate(candidate.widths):
        if stage:
            builder.pool()
        for _ in range(candidate.depth):
            builder.depthwise(candidate.kernel)
            builder.conv(width, 1)
    return builder.head(candidate.classes)


TEMPLATES: dict[str, Callable[[Candidate], Network]] = {"cnn": _cnn, "dscnn": _dscnn}
