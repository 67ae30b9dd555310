"""QEMU as the engine of an emulated board: the firmware's image, the program beside it, the accelerator on two FIFOs.

Time is virtual: with ``-icount`` every instruction takes the same stretch of it, so two runs give identical figures.
"""

from __future__ import annotations

import shutil

from hil.emulator.clock import Ticks
from hil.emulator.expose import listen
from hil.emulator.images import Image
from hil.emulator.npu import FifoNpu, NpuServer
from hil.emulator.process import Child, Workspace
from hil.errors import UnavailableError

# An instruction takes 2^7 ns: longer than a tick of any machine's counter, so that ticks count instructions exactly.
ICOUNT_SHIFT = 7
INSTRUCTION_S = (1 << ICOUNT_SHIFT) * 1e-9


def ticks(image: Image) -> Ticks:
    """How the counter of an image runs here."""
    return Ticks(image.tick_hz, INSTRUCTION_S)


class QemuEngine:
    """A running emulator.  ``url`` is what a link opens.  Raises UnavailableError where QEMU is missing."""

    def __init__(self, image: Image, program: bytes, npu: NpuServer, space: Workspace, port: int = 0) -> None:
        binary = shutil.which(image.qemu)
        if binary is None:
            raise UnavailableError(f"{image.qemu} is not installed", hint=f"apt install {image.package}")
        (space.path / "program.bin").write_bytes(program)
        to_host, from_host = space.path / "to-host", space.path / "from-host"
        self._npu = FifoNpu(npu, to_host, from_host)
        try:
            # QEMU takes over our listening socket: no other program can get in between.  It waits for the first client,
            # who so hears the board boot.
            with listen(port) as listener:
                self.url = f"socket://127.0.0.1:{listener.getsockname()[1]}"
                self._child: Child = space.start(
                    [
                        binary,
                        *("-M", image.machine, *image.options),
                        *("-display", "none", "-monitor", "none", "-nodefaults", "-no-reboot"),
                        *("-icount", f"shift={ICOUNT_SHIFT},sleep=off"),
                        *("-kernel", str(image.file)),
                        *("-device", f"loader,file=program.bin,addr={image.program_address:#x},force-raw=on"),
                        *("-chardev", f"socket,id=uart,fd={listener.fileno()},server=on,wait=on,nodelay=on"),
                        *("-serial", "chardev:uart"),
                        "-semihosting-config",
                        f"enable=on,target=native,arg=fw,arg={to_host.name},arg={from_host.name}",
                    ],
                    pass_fds=(listener.fileno(),),
                )
        except BaseException:
            self._npu.close()
            raise

    def failure(self) -> str | None:
        """Why it no longer runs; None while it does."""
        code = self._child.exit_code
        if code is None:
            return None
        last = self._child.output().strip().splitlines()
        return f"{self._child.name} ended with code {code}" + (f": {last[-1]}" if last else "")

    def close(self) -> None:
        # The FIFOs first: a read that blocks in the emulator would keep it from ending.
        self._npu.close()
        self._child.close()
