"""The section of one platform: what it is, its configurations, its notes, and where its figures come from."""

from __future__ import annotations

from collections.abc import Sequence

from hil.platform import Platform
from hil.report.configuration import configuration
from hil.report.figures import badge
from hil.report.markup import Html, join, tag
from hil.report.origin import key_figures, sources
from hil.report.plots import platform_anchor
from hil.report.rows import Row
from hil.units import format_bytes


def platform_section(platform_id: str, platform: Platform | None, rows: Sequence[Row], *, is_open: bool) -> Html:
    """Everything about one platform, folded under its name."""
    name = platform.name if platform is not None else platform_id
    return tag(
        "details",
        tag("summary", tag("h3", name), " ", _headline(platform_id, platform, rows)),
        _description(platform, rows),
        *(configuration(row, platform) for row in rows),
        _notes(platform, rows),
        key_figures(platform, rows) if platform is not None else "",
        sources(platform) if platform is not None else "",
        class_="platform",
        id=platform_anchor(platform_id),
        open="" if is_open else None,
    )


def _headline(platform_id: str, platform: Platform | None, rows: Sequence[Row]) -> Html:
    runs = [run for row in rows for run in row.runs.values()]
    fitting = sum(run.fits for run in runs)
    fits = "fits the network" if fitting == 1 == len(runs) else f"fits {fitting} of {len(runs)}"
    vendor = f"{platform.vendor} · " if platform is not None else ""
    return join(
        (
            tag("code", platform_id),
            tag("span", f"{vendor}{fits}", class_="quiet"),
            *(badge(fidelity) for fidelity in dict.fromkeys(run.fidelity for run in runs)),
        ),
        " ",
    )


def _description(platform: Platform | None, rows: Sequence[Row]) -> Html:
    if platform is None:
        return tag("p", "The platform file was not at hand when this page was made: only the runs are shown.")
    npu = "none: the cores compute everything"
    if platform.npu is not None:
        npu = f"{platform.npu.name}, {platform.npu.peak_macs_per_cycle.value:g} MAC/cycle"
        npu += f"; compiler: {platform.npu.compiler}" if platform.npu.compiler else ""
    cores = (
        (f"{core.count} × " if core.count > 1 else "") + core.isa + (f" ({core.note})" if core.note else "")
        for core in platform.cores.values()
    )
    memories = (f"{name} {format_bytes(memory.size_bytes.value)}" for name, memory in platform.memories.items())
    facts = [
        ("Board", platform.board),
        ("Cores", ", ".join(cores)),
        ("Accelerator", npu),
        ("Memories", ", ".join(memories)),
        ("Energy covers", _scope_text(rows)),
        ("Its power data", platform.power.note),
    ]
    pairs = (join((tag("dt", term), tag("dd", text))) for term, text in facts if text)
    return join((tag("p", platform.summary, class_="lead"), tag("dl", *pairs)))


def _scope_text(rows: Sequence[Row]) -> str:
    energies = [run.total.energy_j for row in rows for run in row.runs.values()]
    scopes = dict.fromkeys(energy.scope for energy in energies if energy is not None)
    return "; ".join(scopes) if scopes else "no energy figures"


def _notes(platform: Platform | None, rows: Sequence[Row]) -> Html:
    """The platform's notes, then those of runs with the networks that they concern."""
    concerned: dict[str, list[str]] = {}
    total = 0
    for row in rows:
        for network, run in row.runs.items():
            total += 1
            for note in run.notes:
                concerned.setdefault(note, []).append(network)
    items = [tag("li", note) for note in platform.notes] if platform is not None else []
    for note, networks in concerned.items():
        where = "" if len(networks) == total else f" ({', '.join(dict.fromkeys(networks))})"
        items.append(tag("li", note, tag("span", where, class_="quiet")))
    return join((tag("h4", "Notes"), tag("ul", *items))) if items else Html("")
