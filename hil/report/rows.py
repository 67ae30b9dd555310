"""Arranging runs for comparison: a row per platform, operating point and backend, a column per network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from hil.backend.run import Run

_Network = tuple[str, str]  # name and hash: two files may share a name


@dataclass(frozen=True)
class Row:
    """Runs of one configuration, by network label.  ``label`` says as much as it takes to be unique."""

    platform: str
    operating_point: str
    backend: str
    label: str
    runs: dict[str, Run] = field(default_factory=dict)


@dataclass(frozen=True)
class Arrangement:
    """All runs, as rows and columns in the order in which they first appear."""

    rows: tuple[Row, ...]
    networks: tuple[str, ...]

    @property
    def platforms(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(row.platform for row in self.rows))

    def of_platform(self, platform: str) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.platform == platform)

    def example(self, network: str) -> Run:
        """A run of that network, for what all its runs share."""
        return next(row.runs[network] for row in self.rows if network in row.runs)


def arrange(runs: Sequence[Run]) -> Arrangement:
    """Group runs.  Nothing is lost: a second run of the same pair opens another row."""
    labels = _network_labels(runs)
    groups: dict[tuple[str, ...], dict[str, Run]] = {}
    for run in runs:
        network = labels[_network(run)]
        repeat = 1
        while network in groups.get(key := _configuration(run, repeat), {}):
            repeat += 1
        groups.setdefault(key, {})[network] = run
    row_labels = _row_labels(list(groups))
    rows = tuple(Row(key[0], key[1], key[2], row_labels[key], runs) for key, runs in groups.items())
    return Arrangement(rows, tuple(dict.fromkeys(labels.values())))


def _network(run: Run) -> _Network:
    return run.network, run.network_info.hash


def _configuration(run: Run, repeat: int) -> tuple[str, ...]:
    overrides = " ".join(f"{key}={value}" for key, value in sorted(run.provenance.overrides.items()))
    return run.platform, run.operating_point, run.backend, overrides, f"#{repeat}" if repeat > 1 else ""


def _network_labels(runs: Sequence[Run]) -> dict[_Network, str]:
    networks = list(dict.fromkeys(_network(run) for run in runs))
    shared = Counter(name for name, _ in networks)
    return {(name, digest): name if shared[name] == 1 else f"{name} ({digest[:8]})" for name, digest in networks}


def _row_labels(keys: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """The platform, and of the rest only what tells rows of that platform apart."""
    labels: dict[tuple[str, ...], str] = {}
    for key in keys:
        siblings = [other for other in keys if other[0] == key[0]]
        telling = [part for i, part in enumerate(key) if i > 0 and part and len({other[i] for other in siblings}) > 1]
        labels[key] = " · ".join((key[0], *telling))
    return labels
