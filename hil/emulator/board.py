"""An emulated board: a plan made into a program, an engine that runs it, and the accelerator on this host."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from hil.board.dut import Dut
from hil.cost import CostModel, Prediction
from hil.emulator.clock import Ticks, time_scales
from hil.emulator.expose import DutServer
from hil.emulator.images import Image, image_for
from hil.emulator.latency import latencies
from hil.emulator.layout import Program as Header
from hil.emulator.npu import NpuServer, TcpNpu
from hil.emulator.process import Workspace
from hil.emulator.program import ALIGNMENT, Program, build_program
from hil.emulator.python_board import PythonBoard
from hil.emulator.qemu import QemuEngine
from hil.emulator.qemu import ticks as qemu_ticks
from hil.emulator.renode import RenodeEngine
from hil.errors import ConfigError, NetworkError, did_you_mean
from hil.plan import END_TO_END, Plan

# A counter of 32 bits tells stretches below 2^32 ticks from one another; half of it, to be sure of what lies around.
_LONGEST_WAIT_TICKS = 1 << 31


class Engine(Protocol):
    """What runs the board.  ``url`` is where it answers: ``socket://127.0.0.1:port``, or the path of a PTY; ``failure``
    says why it no longer does."""

    url: str

    def failure(self) -> str | None: ...
    def close(self) -> None: ...


class EmulatedBoard:
    """A plan on an emulated board, running from construction to ``close``.

    ``index`` is the plan's place in the prediction, ``port`` the TCP port of engines that have one (0: any), Renode has
    a PTY; ``platform_path`` are the user's own platform folders.  Raises UnavailableError where the engine is missing
    or has no such core, NetworkError for a network that the firmware cannot run.
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
        self._complaints: list[Callable[[], str | None]] = []
        times = latencies(plan, model, prediction, index)
        if engine == "python":
            phases = {str(phase): round(prediction.costs[phase].latency_s.mean[index] * 1e9) for phase in END_TO_END}
            board = PythonBoard(plan, phases_ns=phases, op_ns=times.op_ns)
            self._engine: Engine = DutServer(Dut(board), port)
            return
        image = image_for(plan.target, engine)
        ticks = _TICKS[engine](image)
        scales = time_scales(model, image.counts).q20(ticks)
        program = build_program(plan, latencies=times, scales=scales)
        _check_room(program, image)
        if ticks.real_time:
            _check_waits(program, image)
        self.notes = program.notes
        npu = NpuServer(program)
        self._complaints.append(lambda: npu.failure)
        if engine == "qemu":
            self._engine = QemuEngine(image, program.image, npu, space, port)
        else:
            self._engine = renode = _Renode(plan.target.id, image, program.image, npu, space, platform_path)
            self._complaints.append(renode.npu_complaint)

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
        """What went wrong behind the port: the engine's end, what the accelerator refused, or what its device saw."""
        return next((why for ask in (self._engine.failure, *self._complaints) if (why := ask())), None)

    def ended(self) -> str | None:
        """Why the engine no longer runs; None while it does."""
        return self._engine.failure()

    def close(self) -> None:
        self._engine.close()


def _check_room(program: Program, image: Image) -> None:
    """Program and arena lie one behind the other in the image's memory.  Raises NetworkError."""
    program_bytes = -(-len(program.image) // ALIGNMENT) * ALIGNMENT
    arena_bytes = Header.from_buffer_copy(program.image).arena_bytes
    if program_bytes + arena_bytes > image.memory_bytes:
        raise NetworkError(
            f"{program.name}: a program of {program_bytes} bytes and tensors of {arena_bytes} bytes; "
            f"{image.name} has {image.memory_bytes} bytes for both",
            hint="use --backend analytic, or hil board emulate --engine python",
        )


def _check_waits(program: Program, image: Image) -> None:
    """An accelerator's command is waited for in one go, on the clock of the board.  Raises NetworkError."""
    times = program.latencies
    waits = {
        "the accelerator's initialisation": times.npu_init_ns,
        "the loading of weights": times.weight_load_ns,
        **{f"the job of ops {job.ops[0]} to {job.ops[-1]}": job.latency_ns for job in program.jobs},
    }
    for what, latency_ns in waits.items():
        ticks = latency_ns * image.tick_hz / 1e9
        if ticks >= _LONGEST_WAIT_TICKS:
            raise NetworkError(
                f"{program.name}: {what} takes {latency_ns / 1e9:.3g} s, {ticks:.3g} ticks of {image.name}'s counter; "
                f"expected less than {_LONGEST_WAIT_TICKS:.3g} ({_LONGEST_WAIT_TICKS / image.tick_hz:.3g} s)",
                hint="qemu has no such limit: --backend qemu, or hil board emulate --engine qemu",
            )


class _Renode:
    """Renode with the accelerator's server beside it."""

    def __init__(
        self,
        platform: str,
        image: Image,
        program: bytes,
        npu: NpuServer,
        space: Workspace,
        platform_path: Sequence[Path],
    ) -> None:
        path = space.path / "program.bin"
        path.write_bytes(program)
        with contextlib.ExitStack() as stack:  # whatever interrupts the start, neither stays behind
            host = stack.enter_context(TcpNpu(npu))
            self._engine = stack.enter_context(
                RenodeEngine(platform, image.file, path, host.port, image.mips, platform_path=platform_path)
            )
            self.url = self._engine.start()
            self._running = stack.pop_all()

    def failure(self) -> str | None:
        return self._engine.failure()

    def npu_complaint(self) -> str | None:
        return self._engine.npu_complaint()

    def close(self) -> None:
        self._running.close()


def _renode_ticks(image: Image) -> Ticks:
    """Renode's virtual time is the board's, but for whole millions of instructions per second."""
    return Ticks(image.tick_hz, 1 / (image.mips * 1e6), real_time=True)


_TICKS: dict[str, Callable[[Image], Ticks]] = {"qemu": qemu_ticks, "renode": _renode_ticks}
ENGINES = ("qemu", "renode", "python")
