"""What a board may answer to each verb, checked strictly: the lines of an answer in, figures out.

``lines`` are those before ``m-ready``.  Everything here raises ProtocolError for a line too many, too few, out of order
or with a figure that cannot be: a wrong figure is worse than none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from hil.board import codec
from hil.board.codec import Border, Line, MemoryUse, OpTime, PhaseTime, Point
from hil.board.errors import ProtocolError

PHASE_NAMES = ("npu_init", "weight_load", "input_load", "inference", "output_read", "post_process")
MEMORY_ROLES = ("weights", "activations", "program")

LineT = TypeVar("LineT", bound=Line)


@dataclass(frozen=True)
class Inference:
    """The answer to ``infer N W``.  Laps are None on a board in energy mode, which prints none."""

    start_us: int | None
    end_us: int | None
    results: tuple[float, ...]


def exactly(lines: Sequence[Line], *kinds: type[Line]) -> Sequence[Line]:
    """The lines, which must be of these kinds in this order."""
    for i, kind in enumerate(kinds):
        if i >= len(lines):
            raise ProtocolError(f"the answer ends where {kind.shape()} was expected")
        if not isinstance(lines[i], kind):
            raise ProtocolError(f"'{lines[i]!s:.60}' where {kind.shape()} was expected")
    if len(lines) > len(kinds):
        raise ProtocolError(f"'{lines[len(kinds)]!s:.60}' after the end of the answer")
    return lines


def one(lines: Sequence[Line], kind: type[LineT]) -> LineT:
    """The only line."""
    (line,) = exactly(lines, kind)
    assert isinstance(line, kind)
    return line


def listed(lines: Sequence[Line], kind: type[LineT], end: type[Line]) -> list[LineT]:
    """Lines of one kind, closed by ``end``."""
    exactly(lines, *[kind] * (len(lines) - 1), end)
    return [line for line in lines if isinstance(line, kind)]


def inference(lines: Sequence[Line], inferences: int, warmups: int, *, laps: bool) -> Inference:
    lap_lines = [codec.Lap] * 2 if laps else []
    exactly(lines, codec.WarmupStart, codec.WarmupDone, codec.InferStart, *lap_lines, codec.InferDone, codec.Results)
    start, end = (line.us for line in lines if isinstance(line, codec.Lap)) if laps else (None, None)
    if lines[0] != codec.WarmupStart(warmups) or lines[2] != codec.InferStart(inferences):
        raise ProtocolError(f"{lines[0]}, {lines[2]} in answer to infer {inferences} {warmups}")
    if start is not None and end is not None and end < start:
        raise ProtocolError(f"lap {end} us after lap {start} us: the clock of the board went backwards")
    results = lines[-1]
    assert isinstance(results, codec.Results)
    if not results.values:
        raise ProtocolError("no results")
    return Inference(start, end, results.values)


def buffer(lines: Sequence[Line]) -> bytes:
    exactly(lines, *[codec.Buffer] * len(lines))
    return b"".join(line.data for line in lines if isinstance(line, codec.Buffer))


def phases(lines: Sequence[Line], inferences: int) -> tuple[PhaseTime, ...]:
    """Phases in their order, at most once each; ``inference`` must be there and count the N of the last ``infer``."""
    found = listed(lines, PhaseTime, codec.PhasesDone)
    _ordered("phase", [phase.name for phase in found], PHASE_NAMES)
    counted = {phase.name: phase.count for phase in found}
    if counted.get("inference") != inferences:
        raise ProtocolError(f"inference counts {counted.get('inference')} executions where infer did {inferences}")
    return tuple(found)


def ops(lines: Sequence[Line], inferences: int) -> tuple[OpTime, ...]:
    """Steps in their order; each counts the N of the last ``infer``."""
    found = listed(lines, OpTime, codec.OpsDone)
    for op in found:
        if op.count != inferences:
            raise ProtocolError(f"op {op.index} counts {op.count} executions where infer did {inferences}")
    return tuple(found)


def borders(lines: Sequence[Line], lap_start_us: int | None, lap_end_us: int | None) -> tuple[Border, ...]:
    """Borders of phases in their order, none before the end of the one before it.

    ``inference`` must be there and, where the laps are known, lie within them: the same clock in whole microseconds.
    """
    found = listed(lines, Border, codec.BordersDone)
    _ordered("phase", [border.name for border in found], PHASE_NAMES)
    before_ns = 0
    for border in found:
        if not before_ns <= border.start_ns <= border.end_ns:
            raise ProtocolError(
                f"{border.name} from {border.start_ns} to {border.end_ns} ns, where the clock was at {before_ns} ns"
            )
        before_ns = border.end_ns
    inference = next((border for border in found if border.name == "inference"), None)
    if inference is None:
        raise ProtocolError("no borders of the inference")
    if lap_start_us is not None and lap_end_us is not None:
        laps_ns = lap_start_us * 1000, (lap_end_us + 1) * 1000
        if inference.start_ns < laps_ns[0] or inference.end_ns > laps_ns[1]:
            raise ProtocolError(
                f"inference from {inference.start_ns} to {inference.end_ns} ns is not within the laps, "
                f"{lap_start_us} to {lap_end_us} us"
            )
    return tuple(found)


def memory(lines: Sequence[Line]) -> tuple[MemoryUse, ...]:
    found = listed(lines, MemoryUse, codec.MemoryDone)
    _ordered("role", [use.role for use in found], MEMORY_ROLES)
    return tuple(found)


def point(lines: Sequence[Line]) -> Point:
    return one(lines, Point)


def outputs(lines: Sequence[Line], expected_bytes: Sequence[int] | None = None) -> tuple[bytes, ...]:
    """Output tensors, each from its pieces in order.  ``expected_bytes``: their sizes, where the caller knows them."""
    found: list[bytearray] = []
    for piece in listed(lines, codec.Output, codec.OutputsDone):
        if len(piece.data) > codec.OUTPUT_LINE_BYTES:
            raise ProtocolError(f"output {piece.index}: {len(piece.data)} bytes in one line")
        if piece.index == len(found) and piece.offset == 0:
            found.append(bytearray())
        if piece.index != len(found) - 1 or piece.offset != len(found[-1]):
            raise ProtocolError(f"output {piece.index}, offset {piece.offset}: out of order")
        found[-1] += piece.data
    sizes = [len(data) for data in found]
    if expected_bytes is not None and sizes != list(expected_bytes):
        raise ProtocolError(f"outputs of {sizes} bytes where {list(expected_bytes)} were expected")
    return tuple(bytes(data) for data in found)


def _ordered(what: str, names: Sequence[str], known: Sequence[str]) -> None:
    """Names must be known, in their order, once each."""
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ProtocolError(f"unknown {what} '{unknown[0]:.40}'", hint=f"known: {', '.join(known)}")
    places = [known.index(name) for name in names]
    if places != sorted(set(places)):
        raise ProtocolError(f"{what}s out of order or twice: {', '.join(names)}")
