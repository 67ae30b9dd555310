"""Keywords that start emulated boards, and that talk to any board byte by byte."""

from __future__ import annotations

import re
from typing import Literal

from hil.board.errors import LinkTimeout, ProtocolError
from hil.calibrate.dataset import load_network
from hil.errors import LinkError
from hil.robot.keyword import keyword, require
from hil.robot.state import State
from hil.units import parse_quantity

_QUIET_S = 0.2
_CLOCK = re.compile(r"m-lap-us-(\d+)")


class Boards:
    """Needs ``state``."""

    state: State

    @keyword("Start Emulated Board")
    def start_emulated_board(
        self,
        platform: str | None = None,
        network: str | None = None,
        engine: Literal["qemu", "renode", "python"] = "qemu",
        port: int = 0,
    ) -> str:
        """Start a board that runs the network; it runs until the suite ends or `Stop Emulated Boards`.

        Without ``platform`` or ``network`` those of `Use Platform` and `Load Network` are taken. Returns its URL, for
        `Open Board` or ``Use Backend    serial``. Skipped where the engine is missing or has no such core.

        | ${url}= | Start Emulated Board | max78000 | zoo:digits |
        | Open Board | ${url} |
        """
        if platform is not None:
            self.state.choose(platform, None, {})
        if network is not None:
            self.state.network = load_network(network)
        return self.state.start(engine, port).url

    @keyword("Stop Emulated Boards")
    def stop_emulated_boards(self) -> None:
        """Stop every board that this suite started, and close the line.

        | Stop Emulated Boards |
        """
        self.state.close()

    @keyword("Open Board")
    def open_board(self, port: str, baud: int = 115_200, boot: str = "3 s") -> list[str]:
        """Open the line to a board for the keywords below, and let it settle. Returns what it said meanwhile.

        ``boot`` is how long it may go on talking until it is quiet.

        | ${banner}= | Open Board | /dev/ttyACM0 |
        | ${banner}= | Open Board | socket://127.0.0.1:4000 |
        """
        return self.state.open(port, baud).settle(_QUIET_S, parse_quantity(boot, "s"))

    @keyword("Close Board")
    def close_board(self) -> None:
        """Close the line; the board goes on running.

        | Close Board |
        """
        self.state.hang_up()

    @keyword("Send To Board")
    def send_to_board(self, text: str) -> None:
        """Send characters as they are; a command ends with ``%``.

        | Send To Board | na |
        | Send To Board | me% |
        """
        self.state.talking().send(text.encode("latin-1", "replace"))

    @keyword("Expect From Board")
    def expect_from_board(self, pattern: str, within: str = "5 s") -> list[str]:
        """The next line must match all of a regular expression before the host's deadline. Returns its groups.

        | Send To Board | name% |
        | ${vendor}= | Expect From Board | m-name-dut-\\\\[(.*)\\\\] |
        | Expect From Board | m-ready | within=1 s |
        """
        return [group or "" for group in self.state.talking().expect(pattern, parse_quantity(within, "s")).groups()]

    @keyword("Ask Board")
    def ask_board(self, command: str, within: str = "30 s", within_board: str | None = None) -> list[str]:
        """Send a command without its ``%``; returns the lines of the answer without the prompt.

        ``within`` is a deadline on the host's clock, ``within_board`` one on the board's own, which is virtual time on
        an emulated board.

        | ${lines}= | Ask Board | profile |
        | Ask Board | infer 1 0 | within=10 s | within_board=20 ms |
        """
        wire, host_s = self.state.talking(), parse_quantity(within, "s")
        start_us = self._clock_us(host_s) if within_board is not None else 0
        wire.command(command)
        found = wire.answer(host_s)
        if within_board is not None:
            limit_s, took_s = parse_quantity(within_board, "s"), (self._clock_us(host_s) - start_us) * 1e-6
            if took_s > limit_s:
                raise LinkTimeout(
                    command,
                    took_s,
                    found,
                    what=f"took longer than {limit_s:g} s of its own time, not done",
                    hint=wire.where,
                )
        return found

    @keyword("Board Should Answer")
    def board_should_answer(self, command: str, *patterns: str) -> None:
        """The answer has exactly these lines, each a regular expression, before the prompt.

        | Board Should Answer | timestamp | m-lap-us-\\\\d+ |
        | Board Should Answer | db 00 |
        """
        found = self.ask_board(command)
        good = len(found) == len(patterns) and all(map(re.fullmatch, patterns, found))
        self._require(good, command, " | ".join(patterns) or "nothing", found)

    @keyword("Board Should Refuse")
    def board_should_refuse(self, command: str, text: str | None = None) -> None:
        """The board answers ``e-[text]`` and the prompt, and nothing else; any text where none is given.

        | Board Should Refuse | db load 0 | Command 'db load' must be >0 bytes |
        """
        found = self.ask_board(command)
        pattern = rf"e-\[{re.escape(text)}\]" if text is not None else r"e-\[.*\]"
        good = len(found) == 1 and re.fullmatch(pattern, found[0]) is not None
        self._require(good, command, f"the refusal e-[{text or '…'}]", found)

    @keyword("Get Board Features")
    def get_board_features(self) -> list[str]:
        """The optional verbs that the board announces; none for a plain MLPerf Tiny board.

        | ${features}= | Get Board Features |
        """
        (line,) = self.ask_board("features") or [""]
        match = re.fullmatch(r"m-features-\[(.*)\]", line)
        return [name for name in match[1].split(",") if name] if match is not None else []

    @keyword("Get Board Clock")
    def get_board_clock(self) -> int:
        """The board's own clock in microseconds.

        | ${us}= | Get Board Clock |
        """
        return self._clock_us(5.0)

    def _require(self, good: bool, command: str, expected: str, found: list[str]) -> None:
        said = " | ".join(found) or "nothing"
        require(good, f"{command}: expected {expected}; the board said {said}; {self.state.talking().where}")

    def _clock_us(self, within_s: float) -> int:
        wire = self.state.talking()
        wire.command("timestamp")
        found = wire.answer(within_s)
        match = _CLOCK.fullmatch(found[0]) if len(found) == 1 else None
        if match is None:
            raise ProtocolError(f"timestamp: expected m-lap-us-N, the board said {found}", hint=wire.where)
        return int(match[1])

    @keyword("Board Should Still Run")
    def board_should_still_run(self) -> None:
        """No emulated board of this suite has ended or failed.

        | Board Should Still Run |
        """
        for emulated in self.state.emulated:
            why = emulated.board.failure()
            if why is not None:
                raise LinkError(f"the emulated board failed: {why}")
