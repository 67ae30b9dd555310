"""Keywords that choose what to run where, run it, and read figures off the run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from hil.backend import Run
from hil.backend.run import PhaseFigures
from hil.bench.store import from_json
from hil.calibrate.dataset import load_network
from hil.compare.match import Metric, reading_of
from hil.errors import ConfigError, ResultsError
from hil.robot.keyword import keyword
from hil.robot.state import State


class Running:
    """Needs ``state``."""

    state: State

    @keyword("Use Platform")
    def use_platform(self, platform: str, operating_point: str | None = None, **overrides: str) -> str | None:
        """Choose a platform, one of its operating points, and figures to override.

        Returns the name of the accelerator that the operating point uses; None where the core does everything.

        | Use Platform | max78000 |
        | Use Platform | stm32l4r5 | 120mhz-reference |
        | Use Platform | max78000 | npu.clock_hz=30MHz | supply_v=1.0 |
        """
        npu = self.state.choose(platform, operating_point or None, overrides).npu
        return npu.name if npu is not None else None

    @keyword("Add Platform Path")
    def add_platform_path(self, folder: Path) -> None:
        """Look for platforms in a folder of your own before those that come with hil.

        | Add Platform Path | ${CURDIR}/my_platforms |
        """
        self.state.platform_path.insert(0, folder)

    @keyword("Use Backend")
    def use_backend(
        self,
        backend: Literal["analytic", "qemu", "renode", "serial", "replay"],
        port: str | None = None,
        board: str | None = None,
        capture: str | None = None,
    ) -> None:
        """Choose what runs the benchmark.

        ``serial`` takes the ``port`` of a board, or the name of a ``board`` in boards.toml; ``replay`` a ``capture``.

        | Use Backend | qemu |
        | Use Backend | serial | port=/dev/ttyACM0 |
        """
        self.state.backend = backend
        self.state.board_options(port=port, board=board, capture=capture)

    @keyword("Use Meter")
    def use_meter(self, meter: str, site: str | None = None, rate_hz: float | None = None) -> None:
        """Measure the energy of inferences with a power meter (``hil meters``), on a board behind a port.

        ``site`` is what it measures; the platform's own power scope where it is not given.

        | Use Meter | ppk2?voltage_v=3.3 |
        | Use Meter | otii:127.0.0.1:1905 | site=whole board |
        """
        self.state.board_options(meter=meter, site=site, meter_rate_hz=rate_hz)

    @keyword("Load Network")
    def load_network(self, network: str) -> str:
        """Load a network: ``zoo:NAME``, a ``.tflite`` or layer-list file, or a name of the calibration data set.

        Returns its name.

        | Load Network | zoo:kws |
        | Load Network | ${CURDIR}/my_model.tflite |
        | Load Network | mlperf_tiny_ic_resnet8 |
        """
        self.state.network = load_network(network)
        return self.state.network.name

    @keyword("Run Benchmark")
    def run_benchmark(
        self,
        network: str | None = None,
        repeat: int = 1,
        windows: int = 1,
        data_set: str | None = None,
        warmups: int | None = None,
    ) -> Run:
        """Run the chosen network on the chosen platform and backend. Returns the run; later keywords read it.

        ``repeat`` inferences make a window, ``windows`` are measured, each after ``warmups`` (ten on a real board,
        none on an emulated one); ``data_set`` is ``digits`` or a ``.npz`` file.

        | ${run}= | Run Benchmark | zoo:kws |
        | Run Benchmark | repeat=100 | windows=5 |
        """
        if network is not None:
            self.load_network(network)
        self.state.board_options(windows=windows, data_set=data_set, warmups=warmups)
        self.state.repeat(repeat)
        return self.state.measure()

    @keyword("Use Run")
    def use_run(self, run: Run | Path) -> Run:
        """Make an earlier run, or the record of one in a file, the one that keywords read.

        | Use Run | ${before} |
        | Use Run | results/kws.json |
        """
        self.state.run = run if isinstance(run, Run) else only_run(run)
        return self.state.run

    @keyword("Get Latency")
    def get_latency(self, phase: str = "total") -> float:
        """Seconds of a phase, or of ``total``, ``steady``, ``memory_io``, or of phases joined with ``+``.

        | ${seconds}= | Get Latency | inference |
        """
        return self._figure("latency", phase)

    @keyword("Get Energy")
    def get_energy(self, phase: str = "total") -> float:
        """Joules of a phase or sum of phases, on the platform's own supply.

        | ${joules}= | Get Energy |
        """
        return self._figure("energy", phase)

    @keyword("Get Power")
    def get_power(self, phase: str = "total") -> float:
        """Mean watts over a phase or sum of phases.

        | ${watts}= | Get Power | inference |
        """
        return self._figure("power", phase)

    @keyword("Get Fidelity")
    def get_fidelity(self, phase: str = "inference") -> str:
        """``measured``, ``emulated``, ``calibrated`` or ``estimated``: how near to hardware a figure is.

        | ${fidelity}= | Get Fidelity |
        | Should Be Equal | ${fidelity} | emulated |
        """
        return phase_of(self.state.latest(), phase).fidelity

    @keyword("Get Memory")
    def get_memory(self, role: Literal["weights", "activations"]) -> int:
        """Bytes that the network needs for its weights or activations.

        | ${bytes}= | Get Memory | weights |
        """
        memory = self.state.latest().memory
        return memory.weight_bytes if role == "weights" else memory.activation_bytes

    @keyword("Get Outputs")
    def get_outputs(self) -> str:
        """The SHA-256 of the output bytes for the seeded random input, as the board gave them.

        | ${digest}= | Get Outputs |
        """
        outputs = self.state.latest().outputs
        if outputs is None or outputs.sha256 is None:
            raise ConfigError("the run has no output bytes", hint="use a backend with a board that announces 'outputs'")
        return outputs.sha256

    @keyword("Get Accuracy")
    def get_accuracy(self) -> float:
        """The share of right answers on the data set that the run was given.

        | Run Benchmark | zoo:digits | data_set=digits |
        | ${share}= | Get Accuracy |
        """
        accuracy = self.state.latest().accuracy
        if accuracy is None:
            raise ConfigError("the run has no accuracy", hint="Run Benchmark    data_set=digits")
        return accuracy.correct / accuracy.samples

    def _figure(self, metric: Metric, phase: str) -> float:
        run = self.state.latest()
        found = reading_of(run, metric, phase, self.state.platform_path)
        if found is None:
            raise ConfigError(f"the run of {run.network} on {run.platform} has no {metric} of '{phase}'")
        return found.value


def phase_of(run: Run, phase: str) -> PhaseFigures:
    """A phase, or one of the sums of phases.  Raises ConfigError."""
    found = {"total": run.total, "steady": run.steady, "memory_io": run.memory_io, **run.phases}.get(phase)
    if found is None:
        raise ConfigError(
            f"the run of {run.network} on {run.platform} has no phase '{phase}'", hint=f"known: {', '.join(run.phases)}"
        )
    return found


def only_run(path: Path) -> Run:
    """The run in a record file.  Raises ResultsError where there is not exactly one."""
    try:
        runs = from_json(path.read_bytes(), str(path))
    except OSError as error:
        raise ResultsError(
            f"{path}: cannot be read: {error.strerror}", hint="hil bench --out DIR makes records"
        ) from error
    if len(runs) != 1:
        raise ResultsError(f"{path}: {len(runs)} runs, expected one", hint="a file of DIR/records")
    return runs[0]
