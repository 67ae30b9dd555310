"""Measured power on the page: what the meter saw, phase by phase."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from hil.backend.run import MeterFigures, Run
from hil.errors import MeterError
from hil.meter.energy import PhaseWindow
from hil.meter.phases import BESIDE, read_phases
from hil.meter.store import load_trace
from hil.meter.trace import Envelope, envelope
from hil.report.markup import Html, join, table, tag
from hil.units import format_si

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 960, 220, 64, 22, 24
_COLUMNS = 900
_MARGIN = 0.08  # of the work, shown before and after it
_NARROW = 48  # a phase less wide has no room for its name


def power_section(runs: Sequence[Run]) -> Html:
    """A figure and a table per run under a meter; nothing where there is none."""
    parts = [_run(run, run.meter) for run in runs if run.meter is not None]
    return tag("section", tag("h2", "Measured power"), *parts, id="power") if parts else Html("")


def _run(run: Run, meter: MeterFigures) -> Html:
    title = tag("h3", f"{run.network} on {run.platform} at {meter.site}")
    serial = f" {meter.serial}" if meter.serial else ""
    how = f"{meter.model}{serial}, {format_si(meter.rate_hz, 'Hz')}; aligned: {meter.alignment}; {meter.accuracy}"
    return tag("figure", tag("figcaption", title, tag("p", how)), _picture(meter), _table(meter), class_="power")


def _table(meter: MeterFigures) -> Html:
    windows = [
        (str(number), format_si(joules, "J"), Path(trace).name)
        for number, (joules, trace) in enumerate(zip(meter.windows_j, meter.traces, strict=False), start=1)
    ]
    idle = f"; idle {format_si(meter.idle_power_w, 'W')}" if meter.idle_power_w is not None else ""
    caption = f"Gross energy of one inference in each window{idle}"
    notes = (tag("li", note) for note in meter.notes)
    return join((table(("Window", "Energy", "Trace"), windows, caption), tag("ul", *notes)))


def _picture(meter: MeterFigures) -> Html:
    """The last trace with its phases; a line of text where it is no longer there."""
    folder = Path(meter.traces[-1])
    try:
        work, _ = read_phases(folder / BESIDE)
        first_s, last_s = min(w.start_s for w in work), max(w.end_s for w in work)
        margin_s = _MARGIN * (last_s - first_s)
        shape = envelope(load_trace(folder), _COLUMNS, first_s - margin_s, last_s + margin_s)
    except MeterError as error:
        return tag("p", f"No picture: {error.message}", class_="quiet")
    return tag("div", _svg(shape, work), class_="plot")


def _svg(shape: Envelope, work: Sequence[PhaseWindow]) -> Html:
    begin_s, end_s = float(shape.t_s[0]), float(shape.t_s[-1])
    top_w = max(float(shape.high.max()), 1e-12) * 1.05
    scale_x, scale_y = (_WIDTH - _LEFT) / max(end_s - begin_s, 1e-12), (_HEIGHT - _TOP - _BOTTOM) / top_w
    floor = _HEIGHT - _BOTTOM

    def x(t_s: float) -> float:
        return _LEFT + (min(max(t_s, begin_s), end_s) - begin_s) * scale_x

    def y(power_w: float) -> float:
        return floor - max(power_w, 0.0) * scale_y

    def line(power_w: Sequence[float], times_s: Sequence[float]) -> str:
        return " ".join(f"{x(t):.1f},{y(w):.1f}" for t, w in zip(times_s, power_w, strict=True))

    def phases() -> Iterator[Html]:
        for window in work:
            left, right = x(window.start_s), x(window.end_s)
            band = {"x": f"{left:.1f}", "y": str(_TOP), "width": f"{max(right - left, 0.5):.1f}"}
            kind = f"phase {_GROUPS.get(window.name, 'post')}"
            shown = tag("title", f"{window.name}, {format_si(window.end_s - window.start_s, 's')}")
            yield tag("rect", shown, **band, height=str(floor - _TOP), class_=kind)
            if right - left >= _NARROW:
                yield tag("text", window.name, x=f"{(left + right) / 2:.1f}", y=str(_TOP - 6), text_anchor="middle")

    times = shape.t_s.tolist()
    band = f"{line(shape.high.tolist(), times)} {line(shape.low.tolist()[::-1], times[::-1])}"
    return tag(
        "svg",
        *phases(),
        tag("polygon", points=band, class_="band"),
        tag("polyline", points=line(shape.mean.tolist(), times), class_="mean"),
        tag("line", x1=str(_LEFT), x2=str(_WIDTH), y1=str(floor), y2=str(floor), class_="axis"),
        tag("text", format_si(top_w / 1.05, "W"), x=str(_LEFT - 6), y=str(_TOP + 10), text_anchor="end"),
        tag("text", "0 W", x=str(_LEFT - 6), y=str(floor), text_anchor="end"),
        tag("text", format_si(end_s - begin_s, "s"), x=str(_WIDTH), y=str(_HEIGHT - 6), text_anchor="end"),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label="Power over time: lowest to highest sample of each column, and their mean; phases behind it",
    )


_GROUPS = {
    "npu_init": "init",
    "weight_load": "memory",
    "input_load": "memory",
    "inference": "inference",
    "output_read": "memory",
    "post_process": "post",
}
