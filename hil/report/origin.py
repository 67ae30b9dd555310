"""Where figures come from: provenance of the runs, key figures of the platform with their certainty, sources."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import BaseModel

from hil.backend.run import Provenance, Run
from hil.platform import Figure, OperatorRule, Platform
from hil.report.figures import keyed_figure
from hil.report.markup import Html, join, tag
from hil.report.rows import Row


def provenance(runs: Sequence[Run], networks: Sequence[str]) -> Html:
    """What it takes to make the runs again: once what they share, then the hashes of each network."""
    shared = _facts(runs[0].provenance)
    differing = [key for key in shared if any(_facts(run.provenance).get(key) != shared[key] for run in runs)]
    pairs = [
        (key, "differs between runs, see the records" if key in differing else text) for key, text in shared.items()
    ]
    definitions = (join((tag("dt", key), tag("dd", text))) for key, text in pairs if text)
    hashes = (
        tag(
            "tr",
            tag("th", network, scope="row"),
            tag("td", tag("code", run.provenance.plan_hash)),
            tag("td", tag("code", run.network_info.hash[:16])),
            tag("td", run.network_info.source),
            tag("td", run.network_info.provenance),
        )
        for network, run in zip(networks, runs, strict=True)
    )
    head = tag("tr", *(tag("th", title, scope="col") for title in ("Network", "Plan", "Hash", "File", "Origin")))
    return tag(
        "details",
        tag("summary", "Provenance: versions, hashes, calibration"),
        tag("dl", *definitions),
        tag("div", tag("table", tag("thead", head), tag("tbody", *hashes)), class_="scroll words"),
    )


def _facts(origin: Provenance) -> dict[str, str]:
    """One line per fact; empty where it does not apply."""
    return {
        "hil": origin.hil_version,
        "made": origin.created,
        "calibration": origin.calibration,
        "calibration hash": origin.calibration_hash or "",
        "platform hash": origin.platform_hash,
        "firmware": origin.software,
        "tools": ", ".join(f"{tool} {version}" for tool, version in origin.tools.items()),
        "host": origin.host,
        "seed": "" if origin.seed is None else str(origin.seed),
    }


def key_figures(platform: Platform, rows: Sequence[Row]) -> Html:
    """The platform file's figures that these runs rest on, each with certainty and source."""
    used = {row.operating_point for row in rows}
    lines = [
        tag(
            "tr",
            tag("th", path, scope="row"),
            tag("td", keyed_figure(path, figure.value)),
            tag("td", figure.certainty, class_=f"certainty {figure.certainty}"),
            tag("td", tag("abbr", figure.source, title=_title(platform, figure.source))),
            tag("td", figure.note),
        )
        for path, figure in _figures(platform, "")
        if not path.startswith("operating_points.") or path.split(".")[1] in used
    ]
    head = tag("tr", *(tag("th", title, scope="col") for title in ("Figure", "Value", "Certainty", "Source", "Note")))
    table = tag("table", tag("thead", head), tag("tbody", *lines))
    summary = tag("summary", f"Key figures of the platform file and how sure they are ({len(lines)})")
    return tag("details", summary, tag("div", table, class_="scroll words"))


def sources(platform: Platform) -> Html:
    items = (
        tag("li", tag("code", key), f" {source.title}", f": {source.reference}" if source.reference else "")
        for key, source in platform.sources.items()
    )
    return tag("details", tag("summary", f"Sources ({len(platform.sources)})"), tag("ul", *items))


def _title(platform: Platform, source: str) -> str:
    return platform.sources[source].title if source in platform.sources else source


def _figures(node: object, path: str) -> Iterator[tuple[str, Figure]]:
    """Every figure of a model with its key path, in the order of the schema."""
    if isinstance(node, Figure):
        yield path, node
    elif isinstance(node, BaseModel) and not isinstance(node, OperatorRule):
        for key in type(node).model_fields:
            yield from _figures(getattr(node, key), f"{path}.{key}".lstrip("."))
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from _figures(value, f"{path}.{key}".lstrip("."))
