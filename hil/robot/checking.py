"""Keywords that judge a run.  Their messages say what was found, what was expected, how far it may be off, and what
stands behind the figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from robot.api import logger

from hil.backend import Run
from hil.calibrate.dataset import load_measurements
from hil.compare.match import UNITS, Matches, Metric, Pair, Reading, Side, match, reading_of
from hil.compare.tolerance import parse_tolerances, tolerance_for
from hil.compare.verdict import Verdict, judge
from hil.errors import ConfigError
from hil.robot.keyword import keyword, require
from hil.robot.running import phase_of
from hil.robot.state import State
from hil.units import format_si, parse_quantity

PUBLISHED = "published"


class Checking:
    """Needs ``state``."""

    state: State

    @keyword("Latency Should Agree With")
    def latency_should_agree_with(
        self, expected: Run | str, phase: str = "total", tolerance: str | None = None
    ) -> list[Verdict]:
        """Compare a latency with ``published`` measurements, another run, or a figure such as ``12.3 ms``.

        ``tolerance`` (``10%``) comes before the platform file's. ``marginal`` passes with a warning; figures that
        cannot be compared fail. Returns the verdicts.

        | Latency Should Agree With | published | inference |
        | Latency Should Agree With | ${before} | total | 2% |
        | Latency Should Agree With | 10.4 ms | inference | 15% |
        """
        return self._agree("latency", expected, phase, tolerance)

    @keyword("Energy Should Agree With")
    def energy_should_agree_with(
        self, expected: Run | str, phase: str = "total", tolerance: str | None = None
    ) -> list[Verdict]:
        """Compare an energy with ``published`` measurements, another run, or a figure such as ``0.41 mJ``.

        Energies of different scope (whole board, a rail, above idle) are never compared: that fails.

        | Energy Should Agree With | published | inference |
        | Energy Should Agree With | ${before} | tolerance=5% |
        """
        return self._agree("energy", expected, phase, tolerance)

    @keyword("Power Should Agree With")
    def power_should_agree_with(
        self, expected: Run | str, phase: str = "total", tolerance: str | None = None
    ) -> list[Verdict]:
        """Compare a mean power, as `Energy Should Agree With` does an energy.

        | Power Should Agree With | 40 mW | inference | 20% |
        """
        return self._agree("power", expected, phase, tolerance)

    @keyword("Verdict Should Be")
    def verdict_should_be(
        self,
        outcome: Literal["agree", "marginal", "disagree", "incomparable"],
        expected: Run | str,
        metric: Literal["latency", "energy", "power"] = "latency",
        phase: str = "total",
        tolerance: str | None = None,
    ) -> None:
        """Every verdict of the comparison must be the given one.

        | Verdict Should Be | incomparable | ${run_at_another_clock} |
        | Verdict Should Be | disagree | 1 ms | latency | inference |
        """
        for verdict in self._verdicts(metric, expected, phase, tolerance):
            require(verdict.outcome == outcome, f"expected {outcome}, but {said(verdict)}{self._transcript()}")

    @keyword("All Operators Should Run On NPU")
    def all_operators_should_run_on_npu(self, *but: str) -> None:
        """No op may run on the host core, but for types or names that are given.

        | All Operators Should Run On NPU |
        | All Operators Should Run On NPU | softmax |
        """
        run = self.state.latest()
        require(
            run.npu_macs > 0,
            f"{run.network} on {run.platform} at {run.operating_point}: nothing runs on an accelerator",
        )
        left = [op for op in run.fallback_ops if op.type not in but and op.name not in but]
        listed = "; ".join(f"op {op.index} {op.type} {op.name}: {op.reason or 'no reason given'}" for op in left)
        require(not left, f"{run.network} on {run.platform}: {len(left)} ops left the NPU: {listed}")

    @keyword("Every Operator Should Have A Place")
    def every_operator_should_have_a_place(self) -> None:
        """Every op of the network runs somewhere, and one that left the accelerator says why.

        | Every Operator Should Have A Place |
        """
        run = self.state.latest()
        require(len(run.ops) == run.network_info.ops, f"{run.network} on {run.platform}: ops without a place")
        mute = [f"op {op.index} {op.type}" for op in run.fallback_ops if not op.reason]
        require(not mute, f"{run.network} on {run.platform}: left the accelerator without a reason: {', '.join(mute)}")

    @keyword("Should Fit")
    def should_fit(self) -> None:
        """The network of the run fits the platform's memories and limits.

        | Should Fit |
        """
        run = self.state.latest()
        require(run.fits, f"{run.network} does not fit {run.platform}: {'; '.join(run.reasons)}")

    @keyword("Should Not Fit")
    def should_not_fit(self, *words: str) -> None:
        """The network does not fit, and the reasons hold every one of ``words``.

        | Should Not Fit | weights |
        """
        run = self.state.latest()
        require(not run.fits, f"{run.network} fits {run.platform}; expected that it does not")
        reasons = "; ".join(run.reasons)
        for word in words:
            require(word in reasons, f"{run.network} does not fit {run.platform}, but not for '{word}': {reasons}")

    @keyword("Output Should Equal Reference")
    def output_should_equal_reference(self) -> None:
        """The output bytes for the seeded random input equal those of the reference interpreter.

        A plain MLPerf Tiny board prints rounded results only: then those are compared.

        | Output Should Equal Reference |
        """
        run = self.state.latest()
        outputs = run.outputs
        if outputs is None:
            raise ConfigError(
                "the run has no outputs", hint="use a backend with a board; the analytic one computes none"
            )
        equal = outputs.equal if outputs.equal is not None else outputs.results_equal
        wrong = f"{outputs.different_bytes} of {outputs.bytes} bytes differ" if outputs.bytes else "the results differ"
        where = f"{run.network} on {run.platform} ({run.backend})"
        require(
            equal is True,
            f"{where}: wrong output: {wrong} from the reference interpreter's, input seed {outputs.input_seed}"
            f"{self._transcript()}",
        )

    @keyword("Accuracy Should Equal Reference")
    def accuracy_should_equal_reference(self) -> None:
        """Every prediction on the data set equals the reference interpreter's.

        | Run Benchmark | zoo:digits | data_set=digits |
        | Accuracy Should Equal Reference |
        """
        accuracy = self.state.latest().accuracy
        if accuracy is None:
            raise ConfigError("the run has no accuracy", hint="Run Benchmark    data_set=digits")
        require(
            accuracy.different_predictions == 0,
            f"{accuracy.different_predictions} of {accuracy.samples} predictions differ from the reference's; right:"
            f" {accuracy.correct}, reference {accuracy.reference_correct}{self._transcript()}",
        )

    @keyword("Interval Should Hold")
    def interval_should_hold(self, other: Run, phase: str = "total") -> None:
        """The 90 % interval that the latest run gives its own latency holds the latency of another run.

        | Interval Should Hold | ${predicted} | total |
        """
        run = self.state.latest()
        own, figure = phase_of(run, phase), phase_of(other, phase).latency_s.mean
        low, high = own.latency_s.low, own.latency_s.high
        require(
            low <= figure <= high,
            f"{run.network} on {run.platform} ({run.backend}): {phase} takes {format_si(own.latency_s.mean, 's')}"
            f" ({own.fidelity}), between {format_si(low, 's')} and {format_si(high, 's')} with 90 % certainty;"
            f" {other.backend} says {format_si(figure, 's')}{self._transcript()}",
        )

    @keyword("Accelerated Inference Should Take The Predicted Time")
    def accelerated_inference_should_take_the_predicted_time(self, predicted: Run) -> None:
        """The inference of a network that runs on the accelerator alone takes what the cost model says, and at most a
        thousand cycles of the core more: to start it, to sleep, and to come back from the interrupt.

        | Accelerated Inference Should Take The Predicted Time | ${predicted} |
        """
        run = self.state.latest()
        if run.fallback_ops or not run.npu_macs:
            return
        found, expected = (phase_of(one, "inference").latency_s.mean for one in (run, predicted))
        target = self.state.need(self.state.target, "no platform yet", "Use Platform    max78000")
        allowed_s = 1000 / target.host_clock_hz
        require(
            -1e-6 <= found - expected <= allowed_s,
            f"{run.network} on {run.platform}: the accelerated inference takes {format_si(found, 's')} ({run.backend}),"
            f" predicted {format_si(expected, 's')}, at most {format_si(allowed_s, 's')} more is allowed"
            f"{self._transcript()}",
        )

    @keyword("Runs Should Be Identical")
    def runs_should_be_identical(self, first: Run, second: Run) -> None:
        """Two runs tell the same to the last digit: phases, ops, energies and outputs.

        | Runs Should Be Identical | ${first} | ${second} |
        """
        for part in ("phases", "total", "steady", "ops", "outputs", "memory", "fidelity"):
            one, other = getattr(first, part), getattr(second, part)
            if part == "phases":
                changed = [name for name in one if one[name] != other.get(name)]
                require(not changed and len(one) == len(other), f"two runs differ in the phases {', '.join(changed)}")
            require(one == other, f"two runs differ in {part}: {one} and {other}")

    def _agree(self, metric: Metric, expected: Run | str, phase: str, tolerance: str | None) -> list[Verdict]:
        verdicts = self._verdicts(metric, expected, phase, tolerance)
        good = [verdict for verdict in verdicts if verdict.outcome in ("agree", "marginal")]
        for verdict in good:
            logger.write(said(verdict), "INFO" if verdict.outcome == "agree" else "WARN")
        bad = [said(verdict) for verdict in verdicts if verdict not in good]
        require(not bad, "\n".join(bad) + self._transcript())
        return verdicts

    def _verdicts(self, metric: Metric, expected: Run | str, phase: str, tolerance: str | None) -> list[Verdict]:
        run = self.state.latest()
        asked = parse_tolerances([f"{metric}={tolerance}"]) if tolerance is not None else {}
        pairs = self._pairs(run, metric, expected, phase)
        paths = self.state.platform_path
        return [judge(pair, tolerance_for(metric, pair.a.phase, run.platform, asked, paths)) for pair in pairs]

    def _pairs(self, run: Run, metric: Metric, expected: Run | str, phase: str) -> Sequence[Pair]:
        paths = self.state.platform_path
        if isinstance(expected, Run) or expected == PUBLISHED:
            side = (
                Side("expected", runs=(expected,))
                if isinstance(expected, Run)
                else Side(PUBLISHED, measurements=load_measurements())
            )
            return wanted(match(side, Side("run", runs=(run,)), paths), metric, phase)
        reading = reading_of(run, metric, phase, paths)
        if reading is None:
            raise ConfigError(f"the run of {run.network} on {run.platform} has no {metric} of '{phase}'")
        value = parse_quantity(str(expected), UNITS[metric])
        stated = replace(reading, value=value, low=value, high=value, model_low=None, model_high=None, origin="stated")
        return [Pair(stated, reading)]

    def _transcript(self) -> str:
        board = self.state.latest().board
        return f"\ntranscript: {board.capture}" if board is not None and board.capture else ""


def wanted(matches: Matches, metric: Metric, phase: str) -> Sequence[Pair]:
    """The pairs of one metric and phase.  Raises ConfigError where there is none: nothing compared is no agreement."""
    found = [pair for pair in matches.pairs if pair.b.metric == metric and pair.b.phase == phase]
    if not found:
        have = sorted({f"{pair.b.metric} of {pair.b.phase}" for pair in matches.pairs})
        raise ConfigError(
            f"nothing to compare {metric} of '{phase}' with",
            hint=f"there is: {', '.join(have)}" if have else "; ".join(matches.only_b[:3]) or None,
        )
    return found


def said(verdict: Verdict) -> str:
    """A verdict in one line: measured, expected, difference, tolerance, fidelity."""
    where = f"{verdict.network} on {verdict.platform} at {verdict.operating_point}: {verdict.metric} of {verdict.phase}"
    parts = [f"{where}: {verdict.outcome}"]
    if verdict.a is not None and verdict.b is not None:
        parts.append(f"found {_shown(verdict.b)}, expected {_shown(verdict.a)}")
    if verdict.bias is not None:
        parts.append(f"{verdict.bias:+.1%}, tolerance {verdict.tolerance.value:.0%} ({verdict.tolerance.origin})")
    return "; ".join([*parts, verdict.reason] if verdict.reason else parts)


def _shown(reading: Reading) -> str:
    scope = f", {reading.scope}" if reading.scope else ""
    return f"{format_si(reading.value, UNITS[reading.metric])} ({reading.fidelity}{scope}, {reading.origin})"
