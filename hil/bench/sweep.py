"""Sweeps: one platform, very many candidate networks, as fast as arrays allow.

Candidates are planned one by one and predicted by the thousand: a chunk is one set of arrays.  Chunks run on all cores;
rows come back in order.  Ethos-U candidates use the tile engine, not Vela: that is what makes a sweep possible.
"""

from __future__ import annotations

import csv
import io
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from hil.cost import CostModel
from hil.errors import ConfigError
from hil.files import atomic_stream
from hil.network import Network
from hil.network.load import load_network
from hil.network.template import Candidate, template_network
from hil.plan import make_plan
from hil.platform import Target

CHUNK = 2000
COLUMNS = (
    "network",
    "macs",
    "parameters",
    "fits",
    "fallback_ops",
    "latency_s",
    "latency_low_s",
    "latency_high_s",
    "energy_j",
    "energy_low_j",
    "energy_high_j",
    "weight_bytes",
    "activation_bytes",
    "extrapolated",
    "reason",
)

Source = Candidate | Path
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Row:
    """One candidate: end-to-end latency and energy, with the bounds of the 90 % interval, and what it needs."""

    network: str
    macs: int
    parameters: int
    fits: bool
    fallback_ops: int
    latency_s: float
    latency_low_s: float
    latency_high_s: float
    energy_j: float
    energy_low_j: float
    energy_high_j: float
    weight_bytes: int
    activation_bytes: int
    extrapolated: bool
    reason: str


def grid(
    template: str,
    widths: Sequence[int],
    stages: int,
    depths: Sequence[int],
    resolutions: Sequence[int],
    kernels: Sequence[int],
    limit: int,
) -> list[Candidate]:
    """All combinations, every stage with every width, in a fixed order.  Raises ConfigError beyond ``limit``."""
    count = len(widths) ** stages * len(depths) * len(resolutions) * len(kernels)
    if not 1 <= count <= limit:
        raise ConfigError(f"the grid has {count} candidates, at most {limit}", hint="fewer values, or a higher --limit")
    return [
        Candidate(template, per_stage, depth, resolution, kernel)
        for per_stage in itertools.product(widths, repeat=stages)
        for depth in depths
        for resolution in resolutions
        for kernel in kernels
    ]


def sweep(
    sources: Sequence[Source], target: Target, progress: Progress | None = None, workers: int | None = None
) -> Iterator[Row]:
    """Predict every candidate, in order.  Raises HilError for one that cannot be read."""
    chunks = [(sources[start : start + CHUNK], target) for start in range(0, len(sources), CHUNK)]
    done = 0
    if len(chunks) == 1:
        results: Iterator[list[Row]] = map(_chunk, chunks)
        pool = None
    else:
        pool = ProcessPoolExecutor(max_workers=workers or os.cpu_count())
        results = pool.map(_chunk, chunks)
    try:
        for rows in results:
            yield from rows
            done += len(rows)
            if progress is not None:
                progress(done)
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)


def _network(source: Source) -> tuple[str, Network]:
    if isinstance(source, Candidate):
        return source.name, template_network(source)
    return source.name, load_network(source)


def _chunk(job: tuple[Sequence[Source], Target]) -> list[Row]:
    sources, target = job
    named = [_network(source) for source in sources]
    plans = [make_plan(network, target, use_vela=False) for _, network in named]
    prediction = CostModel(target).predict(plans)
    total = prediction.sums["total"]
    rows = []
    for index, ((name, network), plan) in enumerate(zip(named, plans, strict=True)):
        needs = {use.role: use.needed_bytes for use in reversed(plan.memory)}
        rows.append(
            Row(
                name,
                network.macs,
                network.parameters,
                plan.fits,
                len(plan.fallback),
                *total.latency_s.at(index),
                *total.energy_j.at(index),
                needs.get("weights", 0),
                needs.get("activations", 0),
                bool(prediction.extrapolated[index]),
                "; ".join(plan.reasons),
            )
        )
    return rows


def write_rows(rows: Iterator[Row], file: Path) -> Iterator[Row]:
    """Pass rows through while writing them to a CSV that appears whole at the end.  Raises ResultsError."""
    with atomic_stream(file) as raw:
        stream = io.TextIOWrapper(raw, encoding="utf-8", newline="")
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in rows:
            writer.writerow([getattr(row, column) for column in COLUMNS])
            yield row
        stream.flush()
        stream.detach()


def front(rows: Sequence[Row]) -> list[Row]:
    """Candidates that fit and that no other beats in both end-to-end latency and number of parameters."""
    best: list[Row] = []
    for row in sorted((r for r in rows if r.fits), key=lambda r: (r.latency_s, -r.parameters)):
        if not best or row.parameters > best[-1].parameters:
            best.append(row)
    return best


def sources_in(folder: Path) -> list[Path]:
    """The network files of a folder, by name.  Raises ConfigError where there are none."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in (".tflite", ".json"))
    if not files:
        raise ConfigError(f"{folder}: no .tflite or .json network in it")
    return files


__all__ = ["COLUMNS", "Row", "Source", "front", "grid", "sources_in", "sweep", "write_rows"]
