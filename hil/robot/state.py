"""What a suite has chosen and started so far.  Keywords read and change it; nothing else remembers anything."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from robot.libraries.BuiltIn import BuiltIn, RobotNotRunningError

from hil.backend import Run, RunOptions, make_backend
from hil.backend.base import Surroundings
from hil.cli.common import cache_dir
from hil.cost import CostModel
from hil.emulator.board import EmulatedBoard
from hil.emulator.process import Workspace
from hil.errors import ConfigError
from hil.network import Network
from hil.plan import Plan, make_plan
from hil.platform import Target, load_platform, make_target
from hil.robot.wire import Wire

T = TypeVar("T")


@dataclass
class Emulated:
    """A running emulated board and the folder that goes with it."""

    board: EmulatedBoard
    space: Workspace

    def close(self) -> None:
        self.board.close()
        self.space.close()


@dataclass
class State:
    """Choices (platform, operating point, overrides, backend, network), and what is open or was run."""

    target: Target | None = None
    network: Network | None = None
    backend: str = "analytic"
    options: RunOptions = field(default_factory=RunOptions)
    platform_path: list[Path] = field(default_factory=list)
    run: Run | None = None
    emulated: list[Emulated] = field(default_factory=list)
    wire: Wire | None = None
    kept: ExitStack = field(default_factory=ExitStack)

    def choose(self, platform: str, operating_point: str | None, overrides: dict[str, str]) -> Target:
        self.target = make_target(load_platform(platform, self.platform_path), operating_point, overrides)
        return self.target

    def plan(self) -> Plan:
        """The chosen network on the chosen target."""
        network = self.need(self.network, "no network yet", "Load Network    zoo:kws")
        target = self.need(self.target, "no platform yet", "Use Platform    max78000")
        return make_plan(network, target, vela_cache=cache_dir())

    def measure(self) -> Run:
        """Run the plan on the backend; the run is the latest from then on."""
        around = Surroundings(captures_dir(), tuple(self.platform_path))
        (self.run,) = make_backend(self.backend, around).run([self.plan()], self.options)
        return self.run

    def latest(self) -> Run:
        return self.need(self.run, "nothing was run yet", "Run Benchmark")

    def start(self, engine: str, port: int) -> EmulatedBoard:
        """An emulated board that runs the plan, until ``close``."""
        plan, space = self.plan(), Workspace()
        try:
            model = CostModel(plan.target)
            board = EmulatedBoard(plan, engine, space, model, model.predict([plan]), 0, port, self.platform_path)
        except BaseException:
            space.close()
            raise
        self.emulated.append(Emulated(board, space))
        return board

    def open(self, port: str, baud: int) -> Wire:
        self.hang_up()
        self.wire = Wire(port, baud, captures_dir())
        return self.wire

    def talking(self) -> Wire:
        return self.need(self.wire, "no board is open", "Open Board    /dev/ttyACM0")

    def board_options(self, **changes: object) -> None:
        """Change how boards are measured."""
        self.options = replace(self.options, board=replace(self.options.board, **changes))  # type: ignore[arg-type]

    def repeat(self, inferences: int) -> None:
        self.options = replace(self.options, repeat=inferences)

    def hang_up(self) -> None:
        if self.wire is not None:
            self.wire.close()
            self.wire = None

    def keep(self, resource: AbstractContextManager[object]) -> None:
        """Enter a context that is left with ``close``."""
        self.kept.enter_context(resource)

    def close(self) -> None:
        """Close the wire, stop every board and every instrument; no meter watches any more."""
        self.hang_up()
        self.kept.close()
        self.board_options(meter=None, site=None, meter_rate_hz=None)
        while self.emulated:
            self.emulated.pop().close()

    @staticmethod
    def need(value: T | None, missing: str, hint: str) -> T:
        if value is None:
            raise ConfigError(missing, hint=hint)
        return value


def captures_dir() -> Path | None:
    """The folder for raw captures: beside Robot's log, so that messages can name them and CI keeps them."""
    with suppress(RobotNotRunningError):
        return Path(BuiltIn().get_variable_value("${OUTPUT_DIR}")) / "captures"
    return None
