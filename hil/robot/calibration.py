"""A calibration run: measure networks on a board, store the figures, fit the cost model to them, compare.

The proof that it works is a stand-in: a board in Python that takes the time of a cost model whose parameters are known
and are not those of the prior.  It does not call itself emulated, because here it is what hardware is elsewhere.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from robot.api import Failure, logger
from robot.api.deco import library

from hil.backend import Run, RunOptions
from hil.bench.store import record_name, to_json
from hil.board.dut import Dut
from hil.calibrate.artefacts import calibrate_platform, write_artefact
from hil.calibrate.dataset import COLUMNS, Measurement, load_network, read_csv, read_record
from hil.calibrate.solve import UnitFit
from hil.calibrate.units import tasks
from hil.cli.common import cache_dir
from hil.cost import Z_90, CostModel
from hil.cost.artefact import Artefact, FittedParameter
from hil.emulator.expose import DutServer
from hil.emulator.latency import latencies
from hil.emulator.python_board import PythonBoard
from hil.errors import ConfigError
from hil.files import write_atomic
from hil.plan import END_TO_END, make_plan
from hil.platform import load_platform, make_target
from hil.robot.keyword import keyword, require
from hil.robot.state import State
from hil.units import format_si

# Of several parameters one is easily beyond two standard deviations; beyond three, none should be.
_MOST_SIGMAS = 3.0


class StandIn(PythonBoard):
    """A Python board that does not say that it is emulated: its figures count as measured."""

    profile = "stand-in with known parameters"


@dataclass
class Refit:
    """A fit and what it was made from."""

    artefact: Artefact
    fits: list[UnitFit]


@library(scope="SUITE", auto_keywords=False)
class Calibration:
    """Measures a board, refits its cost model, and says what came of it."""

    ROBOT_LISTENER_API_VERSION = 3

    def __init__(self) -> None:
        self.ROBOT_LIBRARY_LISTENER = self
        self._server: DutServer | None = None
        self._refit: Refit | None = None

    def end_suite(self, data: object, result: object) -> None:
        self.stop()

    @keyword("Start Stand-In")
    def start(self, platform: str, network: str, **true_parameters: str) -> str:
        """Start a board whose cost parameters are known; returns its URL. One at a time.

        | ${url}= | Start Stand-In | max78000 | zoo:kws | npu_init_s=30e-6 |
        """
        self.stop()
        model = _truth(platform, true_parameters)
        plan = make_plan(load_network(network), model.target, vela_cache=cache_dir())
        prediction = model.predict([plan])
        phases = {str(phase): round(prediction.costs[phase].latency_s.mean[0] * 1e9) for phase in END_TO_END}
        board = StandIn(plan, phases_ns=phases, op_ns=latencies(plan, model, prediction, 0).op_ns)
        self._server = DutServer(Dut(board))
        return self._server.url

    @keyword("Stop Stand-In")
    def stop(self) -> None:
        """Stop the stand-in, if one runs.

        | Stop Stand-In |
        """
        if self._server is not None:
            self._server.close()
            self._server = None

    @keyword("Measure Network")
    def measure(self, platform: str, network: str, port: str, folder: Path, windows: int = 1) -> Run | None:
        """Measure a network on a board, and keep the record in a folder. None where the network does not fit.

        | Measure Network | max78000 | zoo:kws | /dev/ttyACM0 | ${OUTPUT_DIR}/records | windows=5 |
        """
        state = State(backend="serial", options=RunOptions(), network=load_network(network))
        state.choose(platform, None, {})
        if not state.plan().fits:
            return None
        state.board_options(port=port, windows=windows)
        run = state.measure()
        write_atomic(folder / record_name(run), to_json([run]).encode())
        return run

    @keyword("Store Measurements")
    def store(self, folder: Path, file: Path) -> int:
        """Write the measured records of a folder as a CSV like ``calibration/measurements.csv``. Returns the count.

        ``hil calibrate --data FILE`` and ``hil validate --data FILE`` read it as well.

        | ${figures}= | Store Measurements | ${OUTPUT_DIR}/records | ${OUTPUT_DIR}/measurements.csv |
        """
        rows = [row for record in sorted(folder.glob("*.json")) for row in read_record(record)]
        require(bool(rows), f"{folder}: no measured records to store")
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([_cell(getattr(row, name)) for name in COLUMNS] for row in rows)
        write_atomic(file, text.getvalue().encode())
        return len(rows)

    @keyword("Refit Platform")
    def refit(self, platform: str, file: Path, folder: Path) -> Path:
        """Fit the platform's cost model to the stored measurements alone, from its priors. Returns the artefact's file.

        ``HIL_CALIBRATION_PATH`` set to the folder makes hil use it.

        | ${artefact}= | Refit Platform | max78000 | ${OUTPUT_DIR}/measurements.csv | ${OUTPUT_DIR}/calibration |
        """
        work = tasks(load_platform(platform), read_csv(file))
        self._refit = Refit(*calibrate_platform(platform, work, load_network, cache_dir()))
        return write_artefact(self._refit.artefact, folder)

    @keyword("Refit Should Predict Better")
    def better(self, platform: str, file: Path, at_most: str = "5%") -> None:
        """The median error of the measured figures is smaller after the fit than before, and at most so large.

        | Refit Should Predict Better | max78000 | ${OUTPUT_DIR}/measurements.csv | at_most=5% |
        """
        limit = float(at_most.rstrip("% ")) / 100
        rows = [row for row in read_csv(file) if row.platform == platform]
        before = _median_error(platform, rows, None)
        after = _median_error(platform, rows, self._fitted().artefact)
        logger.info(f"median error of {len(rows)} figures: {before:.1%} with priors alone, {after:.1%} after the fit")
        require(
            after < before, f"{platform}: the fit did not help: median error {before:.1%} before, {after:.1%} after"
        )
        require(after <= limit, f"{platform}: median error after the fit is {after:.1%}, expected at most {limit:.0%}")

    @keyword("True Parameters Should Be Recovered")
    def recovered(self, platform: str, **true_parameters: str) -> None:
        """Every fitted parameter is the stand-in's within three of its stated standard deviations, nine of ten within
        their 90 % interval, and the measurements identify those that are named.

        | True Parameters Should Be Recovered | max78000 | npu_init_s=30e-6 |
        """
        truth = _truth(platform, true_parameters)
        fitted = [parameter for part in self._fitted().artefact.fits for parameter in part.parameters]
        identified = {parameter.name for parameter in fitted if parameter.identified}
        wrong, inside = [], 0
        for parameter in fitted:
            value = truth.parameters[parameter.name].prior.value
            sigmas = math.log(parameter.value / value) / parameter.sigma
            line = _line(parameter, value, sigmas)
            logger.info(line)
            inside += abs(sigmas) <= Z_90
            if abs(sigmas) > _MOST_SIGMAS:
                wrong.append(line)
        if wrong:
            raise Failure("not recovered: " + "; ".join(wrong))
        missing = sorted(set(true_parameters) - identified)
        require(not missing, f"{platform}: the measurements do not identify {', '.join(missing)}")
        require(
            inside >= math.floor(0.9 * len(fitted)),
            f"{platform}: only {inside} of {len(fitted)} parameters lie within their 90 % intervals",
        )

    def _fitted(self) -> Refit:
        if self._refit is None:
            raise ConfigError("nothing was fitted yet", hint="Refit Platform")
        return self._refit


def _truth(platform: str, true_parameters: dict[str, str]) -> CostModel:
    """The cost model of the stand-in: the calibrated one with the given parameters in place of its own."""
    overrides = {f"costs.{name}": value for name, value in true_parameters.items()}
    return CostModel(make_target(load_platform(platform), None, overrides))


def _median_error(platform: str, rows: Sequence[Measurement], artefact: Artefact | None) -> float:
    """Median relative error of predicted phases against measured ones."""
    model = CostModel(make_target(load_platform(platform)), artefact=artefact)
    names = list(dict.fromkeys(row.network for row in rows))
    plans = [make_plan(load_network(name), model.target, vela_cache=cache_dir()) for name in names]
    costs = model.predict(plans).costs
    errors = [abs(costs[row.phase].latency_s.mean[names.index(row.network)] / row.value - 1) for row in rows]
    return float(np.median(errors))


def _line(fitted: FittedParameter, value: float, sigmas: float) -> str:
    shown = [format_si(figure, fitted.unit) for figure in (fitted.prior_value, value, fitted.value)]
    return f"{fitted.name}: prior {shown[0]}, true {shown[1]}, fitted {shown[2]} (off by {sigmas:+.1f} sigma)" + (
        "" if fitted.identified else ", not identified"
    )


def _cell(value: object) -> object:
    """As the columns have it: what is not known is empty."""
    return "" if value is None or value == 0.0 else value
