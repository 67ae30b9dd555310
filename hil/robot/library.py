"""The keyword library: ``Library    hil.robot.HilLibrary``."""

from __future__ import annotations

from typing import Any

from robot.api.deco import library

from hil import __version__
from hil.robot.attaching import Attaching
from hil.robot.boards import Boards
from hil.robot.checking import Checking
from hil.robot.power import Power
from hil.robot.running import Running
from hil.robot.state import State


@library(scope="SUITE", version=__version__, auto_keywords=False)
class HilLibrary(Running, Checking, Boards, Power, Attaching):
    """Benchmarks of quantized networks on microcontroller NPUs: real, emulated, or predicted.

    A suite chooses a platform, a backend and a network, runs the benchmark, and judges the run:

    | *** Settings ***
    | Library    hil.robot.HilLibrary
    |
    | *** Test Cases ***
    | Keyword Spotting Is Fast Enough
    |     [Timeout]    1 minute
    |     Use Platform    max78000
    |     Use Backend    qemu
    |     Run Benchmark    zoo:kws
    |     Should Fit
    |     Output Should Equal Reference
    |     Latency Should Agree With    2.5 ms    inference    20%

    = What outcomes mean =

    A test is *skipped*, with the reason, where something is missing here: an emulator, a compiler, a power meter.
    It *fails* where figures disagree, cannot be compared, or a board did something wrong; the message tells what was
    found and expected, the tolerance and who set it, the fidelity of the figure, and the capture of the session.
    A ``marginal`` verdict, whose interval crosses the tolerance, passes with a warning.

    = Figures =

    Figures are SI numbers; where a keyword takes one, it may be written with a unit (``12.3 ms``). A phase is one of
    ``npu_init``, ``weight_load``, ``input_load``, ``inference``, ``output_read``, ``post_process``; ``total``,
    ``steady`` and ``memory_io`` are sums of them, and so is ``input_load+inference``.

    = Boards =

    `Start Emulated Board` and `Open Board` leave boards running from test to test; the end of the suite stops them.
    """

    ROBOT_LISTENER_API_VERSION = 3

    def __init__(self) -> None:
        self.state = State()
        self.ROBOT_LIBRARY_LISTENER = self

    def end_suite(self, data: Any, result: Any) -> None:
        """Stop what the suite left running."""
        self.state.close()

    def close(self) -> None:
        """The same, where the run ended early."""
        self.state.close()
