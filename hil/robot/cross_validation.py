"""Every measured network on every platform against predictions and emulation: the keywords of ``cross_validation``.

A figure that calibration fits must agree.  One that ``known.toml`` documents as a disagreement must disagree as it says
there.  A figure that the data set itself doubts (``use = check``) is shown with its reason and judges nothing.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from robot.api import Failure, SkipExecution, logger
from robot.api.deco import library

from hil import zoo
from hil.backend import Run, RunOptions, make_backend
from hil.backend.base import Surroundings
from hil.calibrate.dataset import QUANTITIES, Measurement, load_measurements, load_network, overrides_of
from hil.calibrate.design import phases_of, usable
from hil.cli.common import cache_dir
from hil.compare.match import PUBLISHED, Reading, Side
from hil.compare.verdict import Comparison, Verdict, compare
from hil.data import data_dir
from hil.errors import ConfigError
from hil.network import Network
from hil.plan import PHASES, make_plan
from hil.platform import load_platform, make_target, platform_files
from hil.robot.checking import said
from hil.robot.keyword import keyword
from hil.robot.state import captures_dir

KNOWN_FILE = "cross_validation/known.toml"


# How far a documented disagreement may move before its documentation is wrong.
_MOVES = 0.08


@dataclass(frozen=True)
class Known:
    """A documented disagreement of one measurement on one backend, and why: run/measured - 1 is ``off_by``; None where
    the two cannot be compared."""

    off_by: float | None
    reason: str

    def __str__(self) -> str:
        return f"{'incomparable' if self.off_by is None else f'{self.off_by:+.0%}'}: {self.reason}"

    def holds(self, verdict: Verdict) -> bool:
        """Does it really disagree as documented?"""
        if self.off_by is None:
            return verdict.outcome == "incomparable"
        return verdict.outcome == "disagree" and verdict.bias is not None and abs(verdict.bias - self.off_by) <= _MOVES


@lru_cache(maxsize=1)
def known() -> dict[tuple[str, str], Known]:
    """The documented disagreements by measurement and backend.  Raises ConfigError where the file is wrong."""
    file = data_dir("robot") / KNOWN_FILE
    try:
        tables: list[dict[str, Any]] = tomllib.loads(file.read_text(encoding="utf-8"))["known"]
        return {
            (id_, backend): Known(off_by, " ".join(table["reason"].split()))
            for table in tables
            for backend in table.get("backends", ["analytic"])
            for id_, off_by in (table.get("off_by", {}) | dict.fromkeys(table.get("incomparable", ()))).items()
        }
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"{file}: not a list of known disagreements: {error}", hint="[[known]] tables") from error


def documented(rows: Sequence[Measurement], backend: str) -> bool:
    """Is any of these measurements a known disagreement on that backend?"""
    return any((row.id, backend) in known() for row in rows)


@lru_cache(maxsize=1)
def joinable() -> dict[tuple[str, str], tuple[Measurement, ...]]:
    """The measurements that a run has a counterpart of, by platform and network: a described network, a platform file,
    an operating point, phases of hil, and a time, energy or power."""
    there = platform_files(())
    found: dict[tuple[str, str], list[Measurement]] = {}
    for row in load_measurements():
        if (
            row.network
            and row.operating_point
            and row.platform in there
            and row.use != "exclude"
            and row.quantity in QUANTITIES[:3]
            and all(phase in PHASES for phase in phases_of(row.phase))
        ):
            found.setdefault((row.platform, row.network), []).append(row)
    return {pair: tuple(rows) for pair, rows in found.items()}


@lru_cache(maxsize=1)
def zoo_twins() -> dict[str, str]:
    """Measured network to the zoo's network of the same body: equal additions and multiplying ops, one by one."""
    bodies = {_body(zoo.load(name)): name for name in zoo.names()}
    names = sorted({network for _, network in joinable()})
    return {name: bodies[body] for name in names if (body := _body(load_network(name))) in bodies}


def _body(network: Network) -> tuple[tuple[str, int, int], ...]:
    return tuple((op.type, op.macs, op.weight_bytes) for op in network.ops if op.macs or op.type == "add")


@library(scope="SUITE", auto_keywords=False)
class CrossValidation:
    """Compares predictions and emulation with published measurements, platform by platform."""

    def __init__(self) -> None:
        self._verdicts: dict[tuple[str, str], list[Verdict]] = {}
        self._series: tuple[Verdict, ...] = ()

    @keyword("Predict All Measured Networks")
    def predict_all(self, platform: str) -> None:
        """Predict every measured network of a platform at every measured condition, and compare: once per suite.

        | Predict All Measured Networks | max78000 |
        """
        rows = [row for (id_, _), found in joinable().items() if id_ == platform for row in found]
        conditions: dict[tuple[str, str], dict[str, None]] = {}
        for row in rows:
            conditions.setdefault((row.operating_point, row.overrides), {})[row.network] = None
        runs: list[Run] = []
        for (point, overrides), networks in conditions.items():
            runs += _run("analytic", platform, point, overrides, [load_network(name) for name in networks])
        found = _against_published(rows, runs)
        self._keep("analytic", found)
        self._series = found.series

    @keyword("Prediction Should Agree")
    def prediction_should_agree(self, network: str) -> None:
        """Every fitted figure of the network agrees with its prediction, or disagrees as documented.

        | Prediction Should Agree | mlperf_tiny_ic_resnet8 |
        """
        self._judge("analytic", network)

    @keyword("Emulation Should Agree")
    def emulation_should_agree(self, platform: str, network: str, engine: str = "qemu") -> None:
        """The same for the zoo's twin of the network on an emulated board, at every measured condition.

        | Emulation Should Agree | stm32l4r5 | mlperf_tiny_ic_resnet8 |
        """
        rows = joinable()[platform, network]
        twin = replace(zoo.load(zoo_twins()[network]), name=network)
        runs: list[Run] = []
        # Only conditions under which something can be judged: every one of them costs seconds.
        for point, overrides in dict.fromkeys((row.operating_point, row.overrides) for row in rows if _fitted(row)):
            runs += _run(engine, platform, point, overrides, [twin])
        if not runs:
            raise SkipExecution(f"{network} on {platform}: no figure that a calibration fits")
        for run in runs:
            if run.outputs is not None and not run.outputs.equal:
                raise Failure(f"{network} on {platform} ({engine}): wrong output: {run.outputs.different_bytes} bytes")
        self._keep(engine, _against_published(rows, runs))
        self._judge(engine, network)

    @keyword("Platform As A Whole Should Agree")
    def platform_should_agree(self) -> None:
        """No phase of the platform is biased over its networks by more than the tolerance.

        | Platform As A Whole Should Agree |
        """
        if not self._series:
            raise SkipExecution("fewer than three networks per phase: no bias can be told from scatter")
        for verdict in self._series:
            logger.info(said(verdict))
        bad = [said(verdict) for verdict in self._series if verdict.outcome == "disagree"]
        if bad:
            raise Failure("\n".join(bad))

    def _keep(self, backend: str, found: Comparison) -> None:
        for verdict in found.verdicts:
            # A run without a measurement at its own condition comes with the nearest one: of no use here.
            if verdict.a is None or verdict.b is None or _condition(verdict.a) != _condition(verdict.b):
                continue
            self._verdicts.setdefault((backend, verdict.network), []).append(verdict)

    def _judge(self, backend: str, network: str) -> None:
        judged, wrong, doubted = 0, [], list[str]()
        for verdict in self._verdicts.get((backend, network), ()):
            entry = known().get((measurement_of(verdict), backend))
            line = said(verdict)
            if entry is not None:
                judged += 1
                logger.info(f"{line}\nknown: {entry}")
                if not entry.holds(verdict):
                    wrong.append(f"{line}; but {KNOWN_FILE} documents {entry}")
            elif verdict.outcome == "incomparable" and not _must_compare(verdict):
                doubted.append(verdict.reason)
                logger.info(line)
            else:
                judged += 1
                logger.info(line)
                if verdict.outcome in ("disagree", "incomparable"):
                    wrong.append(line)
        if wrong:
            raise Failure("\n".join(wrong))
        if not judged:
            reasons = "; ".join(dict.fromkeys(doubted)) or "no run has its phases"
            raise SkipExecution(f"nothing to judge by: {reasons}")


def _run(backend: str, platform: str, point: str, overrides: str, networks: Sequence[Network]) -> list[Run]:
    target = make_target(load_platform(platform), point, overrides_of(overrides))
    plans = [make_plan(network, target, vela_cache=cache_dir()) for network in networks]
    return make_backend(backend, Surroundings(captures_dir())).run(plans, RunOptions())


def _against_published(rows: Sequence[Measurement], runs: Sequence[Run]) -> Comparison:
    """Publications first, so that a difference is that of the run."""
    return compare(Side(PUBLISHED, measurements=tuple(rows), every=True), Side("run", runs=tuple(runs)))


def _condition(reading: Reading) -> object:
    return reading.operating_point, reading.overrides


def _fitted(row: Measurement) -> bool:
    """Does a calibration of the platform fit this row?"""
    points = load_platform(row.platform).operating_points
    return usable(row) and row.operating_point in points and points[row.operating_point].stack_name == row.software


@lru_cache(maxsize=1)
def _fitted_ids() -> frozenset[str]:
    return frozenset(row.id for rows in joinable().values() for row in rows if _fitted(row))


def _must_compare(verdict: Verdict) -> bool:
    """A figure that calibration fits and that a run cannot be compared with is a fault, not a doubt."""
    return measurement_of(verdict) in _fitted_ids()


def measurement_of(verdict: Verdict) -> str:
    """The id of the measurement behind a verdict on one pair."""
    assert verdict.a is not None
    return verdict.a.origin.removeprefix("measurement ").split(" ")[0]
