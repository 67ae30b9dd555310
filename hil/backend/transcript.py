"""A log of another runner as an observation: what a stranger's board said, without a session to repeat.

Nothing can be asked again, so what is not in the log stays unknown: outputs (the input is), phases, ops.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from hil.backend.observe import Observation
from hil.backend.run import BoardFigures
from hil.board import answers, codec
from hil.board.capture import import_transcript
from hil.board.errors import ProtocolError
from hil.board.session import Identity
from hil.errors import ConfigError, LinkError
from hil.plan import Plan


def observe_transcript(path: Path, plan: Plan) -> tuple[Observation, str]:
    """What the log tells, one window per complete ``infer`` of the last number of inferences; and the file's date.

    Raises LinkError where no ``infer`` is whole, ConfigError where the results are not the network's.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    splitter = codec.LineSplitter()
    said = splitter.feed(import_transcript(text, str(path)).bytes_of("in"))
    lines = [codec.parse_line(line.text) for line in said]
    found: list[tuple[int, int, answers.Inference]] = []
    part: list[codec.Line] = []
    for line in lines:
        if isinstance(line, codec.WarmupStart):
            part = []
        if not isinstance(line, codec.Ready):
            part.append(line)
            continue
        warmups = [one.count for one in part if isinstance(one, codec.WarmupStart)]
        inferences = [one.count for one in part if isinstance(one, codec.InferStart)]
        if warmups and inferences:
            with suppress(ProtocolError):  # damaged or cut off: not a window
                whole = answers.inference(part, inferences[0], warmups[0], laps=True)
                found.append((inferences[0], warmups[0], whole))
        part = []
    if not found:
        raise LinkError(f"{path}: no whole infer in this log", hint="m-warmup-start to m-results and m-ready")
    count, warmup, last = found[-1]
    windows = [one for inferences, _, one in found if inferences == count]
    expected = sum(plan.network.tensors[index].elements for index in plan.network.outputs)
    if len(last.results) != expected:
        raise ConfigError(
            f"{path}: {len(last.results)} results; {plan.network.name} has {expected}",
            hint="it is of another network: ask for that",
        )
    latencies = tuple((one.end_us - one.start_us) * 1e-6 / count for one in windows)  # type: ignore[operator]
    identity = _identity(lines)
    board = BoardFigures(
        name=identity.vendor,
        profile=identity.firmware,
        model=identity.model,
        warmups=warmup,
        inferences=count,
        windows=len(windows),
    )
    notes = (f"the board's log says that it runs '{identity.model}'; its input is unknown, so no output is compared",)
    modified = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
    return Observation(identity, {"inference": latencies}, {}, None, None, board, notes), modified


def _identity(lines: list[codec.Line]) -> Identity:
    """Who spoke; unknown where the log does not say."""
    vendor = next((line.vendor for line in lines if isinstance(line, codec.Name)), "unknown")
    firmware = next((line.firmware for line in lines if isinstance(line, codec.Profile)), "unknown")
    model = next((line.model for line in lines if isinstance(line, codec.Model)), "unknown")
    return Identity(vendor, firmware, model, ())
