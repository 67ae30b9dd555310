"""An emulated board: a plan made into a program, an engine that runs it, and the accelerator on this host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from hil.board.dut import Dut
from hil.cost import CostModel, Prediction
from hil.emulator.clock import Ticks, TimeScales, time_scales
from hil.emulator.expose import DutServer
from hil.emulator.images import Image, image_for
from hil.emulator.latency import latencies
from hil.emulator.npu import NpuServer, TcpNpu
from hil.emulator.process import Workspace
from hil.emulator.program import build_program
from hil.emulator.python_board import PythonBoard
from hil.emulator.qemu import QemuEngine
from hil.emulator.qemu import ticks as qemu_ticks
from hil.emulator.renode import RenodeEngine
from hil.errors import ConfigError, HilError, did_you_mean
from hil.plan import END_TO_END, Plan


class Engine(Protocol):
    """What runs the board.  ``url`` is where it answers; ``failure`` says why it no longer does."""

    url: str

    def failure(self) -> str | None: ...
    def close(self) -> None: ...


class EmulatedBoard:
    """A plan on an emulated board, running from construction to ``close``.

    ``index`` is the plan's place in the prediction, ``port`` a TCP port (0: any), ``platform_path`` the user's own
    platform folders.  ``scales`` are None for the Python board, which executes nothing.  Raises UnavailableError where
    the engine is missing or has no such core, NetworkError for a network that the firmware cannot run.
    """

    def __init__(
        self,
        plan: Plan,
        engine: str,
        space: Workspace,
        model: CostModel,
        prediction: Prediction,
        index: int = 0,
        port: int = 0,
        platform_path: Sequence[Path] = (),
    ) -> None:
        if engine not in ENGINES:
            raise ConfigError(f"no engine '{engine}'", hint=did_you_mean(engine, ENGINES))
        self.plan = plan
        self.notes: tuple[str, ...] = ()
        self.scales: TimeScales | None = None
        self._npu: NpuServer | None = None
        times = latencies(plan, model, prediction, index)
        if engine == "python":
            phases = {str(phase): round(prediction.costs[phase].latency_s.mean[index] * 1e9) for phase in END_TO_END}
            board = PythonBoard(plan, phases_ns=phases, op_ns=times.op_ns)
            self._engine: Engine = DutServer(Dut(board), port)
            return
        image = image_for(plan.target, engine)
        self.scales = time_scales(model, image.counts)
        program = build_program(plan, latencies=times, scales=self.scales.q20(_TICKS[engine](image)))
        self.notes = program.notes
        self._npu = npu = NpuServer(program)
        if engine == "qemu":
            self._engine = QemuEngine(image, program.image, npu, space, port)
        else:
            self._engine = _Renode(plan.target.id, image, program.image, npu, space, port, platform_path)

    @classmethod
    def of_plan(
        cls, plan: Plan, engine: str, space: Workspace, port: int = 0, platform_path: Sequence[Path] = ()
    ) -> EmulatedBoard:
        """A board with the cost model's own prediction of the plan."""
        model = CostModel(plan.target)
        return cls(plan, engine, space, model, model.predict([plan]), port=port, platform_path=platform_path)

    @property
    def url(self) -> str:
        return self._engine.url

    def failure(self) -> str | None:
        """What went wrong behind the port: the engine's end, or what the accelerator refused."""
        return self._engine.failure() or (self._npu.failure if self._npu is not None else None)

    def ended(self) -> str | None:
        """Why the engine no longer runs; None while it does."""
        return self._engine.failure()

    def close(self) -> None:
        self._engine.close()


class _Renode:
    """Renode with the accelerator's server beside it."""

    def __init__(
        self,
        platform: str,
        image: Image,
        program: bytes,
        npu: NpuServer,
        space: Workspace,
        port: int,
        platform_path: Sequence[Path],
    ) -> None:
        path = space.path / "program.bin"
        path.write_bytes(program)
        self._npu = TcpNpu(npu)
        self._engine = RenodeEngine(
            platform, image.file, path, self._npu.port, image.mips, port=port, platform_path=platform_path
        )
        try:
            self.url = self._engine.start()
        except HilError:
            self._npu.close()
            raise

    def failure(self) -> str | None:
        return self._engine.failure()

    def close(self) -> None:
        self._engine.stop()
        self._npu.close()


def _renode_ticks(image: Image) -> Ticks:
    """Renode's virtual time is the board's, but for whole millions of instructions per second."""
    return Ticks(image.tick_hz, 1 / (image.mips * 1e6), real_time=True)


_TICKS: dict[str, Callable[[Image], Ticks]] = {"qemu": qemu_ticks, "renode": _renode_ticks}
ENGINES = ("qemu", "renode", "python")
