"""Keywords that put evidence into ``log.html``: transcripts, and the run's phases and power as a picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from robot.api import logger

from hil.backend import Run
from hil.board.capture import read_capture, transcript
from hil.errors import ConfigError
from hil.report.markup import escape, join, tag
from hil.robot.keyword import keyword
from hil.robot.state import State
from hil.units import format_si

_MOST_CHARACTERS = 200_000
_WIDTH, _BAR, _TRACE, _LABEL = 720, 18, 120, 130
# One colour per phase, in the order in which they happen.
_COLOURS = {
    "boot": "#7f7f7f",
    "npu_init": "#8c564b",
    "weight_load": "#9467bd",
    "input_load": "#1f77b4",
    "inference": "#2ca02c",
    "output_read": "#17becf",
    "post_process": "#ff7f0e",
    "idle": "#c7c7c7",
}


class Attaching:
    """Needs ``state``."""

    state: State

    @keyword("Attach Transcript")
    def attach_transcript(self, capture: Path | None = None) -> None:
        """Put what was said on the line into the log: of a capture, else of the open board, else of the latest run.

        | Attach Transcript |
        """
        path = capture or self._capture()
        text = transcript(read_capture(path))
        cut = f"\n… {len(text) - _MOST_CHARACTERS} more characters in {path}" if len(text) > _MOST_CHARACTERS else ""
        body = tag("details", tag("summary", escape(str(path))), tag("pre", escape(text[:_MOST_CHARACTERS] + cut)))
        logger.info(str(body), html=True)

    @keyword("Attach Plot")
    def attach_plot(self) -> None:
        """Put the latest run's timeline and power over time into the log.

        | Attach Plot |
        """
        logger.info(picture(self.state.latest()), html=True)

    def _capture(self) -> Path:
        if self.state.wire is not None:
            return self.state.wire.path
        board = self.state.run.board if self.state.run is not None else None
        if board is None or board.capture is None:
            raise ConfigError("no transcript: no board was open", hint="Open Board, or Run Benchmark on a board")
        return Path(board.capture)


def picture(run: Run) -> str:
    """Phases on their resources and the power trace as SVG; both share the time axis."""
    timeline = run.timeline
    if timeline is None or not timeline.segments:
        raise ConfigError(f"the run of {run.network} on {run.platform} has no timeline")
    resources = list(dict.fromkeys(segment.resource for segment in timeline.segments))
    end_s = max(segment.end_s for segment in timeline.segments)
    scale = (_WIDTH - _LABEL) / end_s if end_s > 0 else 0.0

    def bars() -> Iterator[str]:
        for row, resource in enumerate(resources):
            yield tag("text", escape(resource), x="0", y=str(row * (_BAR + 6) + 14))
            for segment in timeline.segments:
                if segment.resource == resource:
                    length_s = segment.end_s - segment.start_s
                    yield tag(
                        "rect",
                        tag("title", escape(f"{segment.phase}: {format_si(length_s, 's')}")),
                        x=f"{_LABEL + segment.start_s * scale:.2f}",
                        y=str(row * (_BAR + 6)),
                        width=f"{max(length_s * scale, 0.5):.2f}",
                        height=str(_BAR),
                        fill=_COLOURS.get(segment.phase, "#bcbd22"),
                    )

    top = len(resources) * (_BAR + 6) + 10
    most_w = max(timeline.trace_power_w, default=0.0)
    steps = list(zip(timeline.trace_t_s, timeline.trace_power_w, strict=True))
    points: list[str] = []
    for (start_s, power_w), after_s in zip(steps, [*timeline.trace_t_s[1:], end_s], strict=False):
        y = top + _TRACE * (1 - power_w / most_w) if most_w > 0 else top + _TRACE
        points += [f"{_LABEL + at * scale:.2f},{y:.2f}" for at in (start_s, after_s)]
    trace = [
        tag("text", escape(f"to {format_si(most_w, 'W')}"), x="0", y=str(top + 14)),
        tag("polyline", points=" ".join(points), fill="none", stroke="#d62728"),
        tag("text", escape(format_si(end_s, "s")), x=str(_WIDTH - 60), y=str(top + _TRACE + 16)),
    ]
    size = {"width": str(_WIDTH), "height": str(top + _TRACE + 24)}
    title = f"{run.network} on {run.platform} at {run.operating_point} ({run.backend}, {run.fidelity})"
    return str(join([tag("p", escape(title)), tag("svg", *bars(), *trace, **size)]))
