"""Sessions: over a PTY, sockets and in memory; what they accept, what they refuse, and that they end."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from known_board import LATENCY_NS, MEMORY, POINT, KnownModel, borders_of, ops_of, outputs_of, phases_of, results_of

from hil.board import answers, codec
from hil.board.clock import VirtualClock
from hil.board.dut import Dut, InferOutcome
from hil.board.errors import BoardFault, BoardRefused, LinkLost, LinkTimeout, ProtocolError
from hil.board.serve import DutLink, FdLink, PtyBoard, Pump
from hil.board.session import Identity, InferResult, Limits, Session, State, open_session
from hil.errors import LinkError

INPUT = bytes(range(100))


@pytest.fixture(autouse=True)
def _captures_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIL_CACHE", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


def in_memory(model: KnownModel, **more: object) -> Session:
    clock = VirtualClock()
    return Session(lambda: DutLink(Dut(model), clock), clock=clock, **more)  # type: ignore[arg-type]


def measure(session: Session, inferences: int = 5, warmups: int = 2) -> InferResult:
    """Everything a board can say, compared with what is known of it."""
    who = session.connect()
    assert (who.vendor, who.firmware, who.model) == ("hil", "hil 1 known", "known01")
    session.load(INPUT)
    found = session.infer(inferences, warmups)
    assert found.results == results_of(INPUT) == session.results()
    assert found.latency_s == pytest.approx(LATENCY_NS / 1e9)
    if who.features:
        assert session.phases() == phases_of(inferences)
        assert session.ops() == ops_of(inferences)
        if "borders" in who.features:
            borders = session.borders()
            (start_ns,) = (border.start_ns for border in borders if border.name == "inference")
            assert borders == borders_of(start_ns, inferences, warmups)
            assert found.lap_start_us in (start_ns // 1000, None)
        assert tuple(session.outputs([10, 103])) == outputs_of(INPUT)
        assert session.point() == POINT
        assert session.memory() == MEMORY
    assert session.timestamp() >= (found.lap_end_us or 0)
    return found


@pytest.mark.parametrize("features", [(), codec.FEATURES, ("phases", "ops", "outputs", "point", "memory")])
@pytest.mark.parametrize("verify", [True, False])
def test_in_memory(features: Sequence[str], verify: bool) -> None:
    session = in_memory(KnownModel(features), verify=verify)
    found = measure(session)
    assert found.attempts == 1
    assert session.identity == Identity("hil", "hil 1 known", "known01", tuple(features))
    assert session.stats.clean and session.state is State.READY
    session.close()
    assert session.state is State.CLOSED


def test_over_a_pty() -> None:
    with PtyBoard(DutLink(Dut(KnownModel()))) as board, open_session(board.path) as session:
        measure(session)
        assert session.stats.clean


def test_over_a_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        session = open_session(f"socket://127.0.0.1:{server.getsockname()[1]}", limits=Limits(handshake_s=30))
        accepting = threading.Thread(target=lambda: pumps.append(_serve(server.accept()[0])), daemon=True)
        pumps: list[Pump] = []
        accepting.start()
        with session:
            measure(session)
            assert session.stats.clean
        accepting.join(10)
        pumps[0].close()


def _serve(connection: socket.socket) -> Pump:
    return Pump(FdLink(connection.detach(), "connection"), DutLink(Dut(KnownModel())))


def test_a_port_that_echoes_is_no_board() -> None:
    with open_session("loop://", limits=Limits(handshake_s=0.4, answer_s=0.1)) as session:
        with pytest.raises(LinkTimeout, match="handshake: no valid answer within 0.4") as raised:
            session.connect()
        assert raised.value.hint is not None and "hil-sync-0001%" in raised.value.hint


class Silent:
    """A link from which nothing ever comes."""

    name = "silent"

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock

    def read(self, max_bytes: int, timeout_s: float) -> bytes:
        self.clock.sleep(timeout_s)
        return b""

    def write(self, data: bytes) -> None:
        pass

    def close(self) -> None:
        pass


class Chatter(Silent):
    """A link that never stops."""

    def read(self, max_bytes: int, timeout_s: float) -> bytes:
        self.clock.sleep(0.01)
        return b"\xf0\x0f" * (max_bytes // 2)


@pytest.mark.parametrize(
    ("link", "stage", "what"),
    [(Silent, "handshake", "no valid answer within 10 s"), (Chatter, "boot", "never quiet within 5")],
)
def test_a_stage_that_times_out_is_named(link: type[Silent], stage: str, what: str) -> None:
    clock = VirtualClock()
    session = Session(lambda: link(clock), clock=clock)
    with pytest.raises(LinkTimeout, match=f"{stage}: .*{what}") as raised:
        session.connect()
    assert raised.value.stage == stage
    assert clock.now_s() <= 15.1


def test_a_port_that_goes_away_at_once_can_be_connected_again() -> None:
    clock = VirtualClock()

    class Gone(Silent):
        def read(self, max_bytes: int, timeout_s: float) -> bytes:
            raise LinkLost("unplugged")

    links = [Gone(clock), DutLink(Dut(KnownModel()), clock)]
    session = Session(lambda: links.pop(0), clock=clock)
    with pytest.raises(LinkLost, match="boot: unplugged"):
        session.connect()
    assert session.state is State.LOST
    measure(session)


def test_garbage_hints_at_the_baud_rate() -> None:
    clock = VirtualClock()

    class Noise(Silent):
        def read(self, max_bytes: int, timeout_s: float) -> bytes:
            self.clock.sleep(timeout_s)
            self.noise = not getattr(self, "noise", False)
            return b"\x80\xff\r\n" if self.noise else b""

    session = Session(lambda: Noise(clock), clock=clock)
    with pytest.raises(LinkTimeout) as raised:
        session.connect()
    assert "is the baud rate right?" in (raised.value.hint or "")


def test_the_banner_is_awaited_where_asked() -> None:
    session = in_memory(KnownModel())
    assert session.connect(expect_boot=True).model == "known01"
    clock = VirtualClock()
    with pytest.raises(LinkTimeout, match="boot: no m-ready within 5 s"):
        Session(lambda: Silent(clock), clock=clock).connect(expect_boot=True)


def test_stale_bytes_of_the_last_session_are_no_answer() -> None:
    clock = VirtualClock()
    dut = Dut(KnownModel())
    dut.feed(b"infer 7 1%infer 3")  # its host died in the middle of a command
    link = DutLink(dut, clock)
    link._out[:] = b"1.0]\r\nm-ready\r\nm-name-dut-[other]\r\nm-ready\r\nm-profi"
    dut.feed(b"infer 3")
    session = Session(lambda: link, clock=clock)
    measure(session)
    assert session.stats.stray_lines >= 5


class Scripted(Silent):
    """A board that answers some commands from a script, by their count, and the others rightly."""

    def __init__(self, clock: VirtualClock, model: KnownModel, change: Callable[[int, bytes, bytes], bytes]) -> None:
        super().__init__(clock)
        self.board, self.change, self.count, self.out = DutLink(Dut(model), clock), change, 0, b""

    def read(self, max_bytes: int, timeout_s: float) -> bytes:
        data = self.out or self.board.read(max_bytes, timeout_s)
        self.out = b""
        return data

    def write(self, data: bytes) -> None:
        self.board.write(data)
        self.out = self.change(self.count, data, self.board.read(1 << 20, 0.0))
        self.count += 1


def scripted(change: Callable[[int, bytes, bytes], bytes], features: Sequence[str] = codec.FEATURES) -> Session:
    clock = VirtualClock()
    return Session(lambda: Scripted(clock, KnownModel(features), change), clock=clock)


# Every way to spoil an answer that would otherwise give a wrong figure: what to spoil, how, and what is said.
SPOILED = [
    ("infer", rb"m-lap-us-(\d)", rb"m-lap-us-9\1", "backwards|laps"),
    ("infer", rb"m-lap-us-\d+\r\n", b"", "m-infer-done.* where m-lap-us-… was expected"),
    ("infer", rb"(m-lap-us-\d+\r\n)", rb"\1\1", "where m-infer-done was expected"),
    ("infer", rb"warmup-start-2", b"warmup-start-3", "in answer to infer 5 2"),
    ("infer", rb"infer-start-5", b"infer-start-4", "in answer to infer 5 2"),
    ("infer", rb"0\.\d", b"1.5", "infer and results"),
    ("infer", rb"m-infer-done\r\n", b"", "m-infer-done was expected"),
    ("infer", rb"m-results.*\r\n", b"", "ends where m-results"),
    ("infer", rb"m-results.*\]", b"m-results-[]", "no results"),
    ("results", rb"0\.\d", b"1.5", "results"),
    ("laps", rb"\]", b"0]", "laps"),
    ("phases", rb"inference,(\d)", rb"inference,1\1", "two answers to phases differ|second source"),
    ("phases", rb"m-phases-done\r\n", b"", "ends where|was expected"),
    ("phases", rb"m-phase-\[npu_init.*\r\n", b"", "two answers"),
    ("borders", rb"m-borders-done\r\n", b"", "ends where|was expected"),
    ("borders", rb"m-border-\[inference.*\r\n", b"", "no borders of the inference"),
    ("borders", rb"weight_load,\d+", b"weight_load,7", "weight_load from 7 to"),
    ("borders", rb"(inference,\d+,)\d+", rb"\g<1>7", "inference from .* to 7 ns"),
    ("borders", rb"(output_read,\d+,)(\d)", rb"\g<1>1\2", "two answers to borders differ"),
    ("borders", rb"(npu_init)(.*\r\n.*)weight_load", rb"weight_load\2npu_init", "out of order"),
    ("ops", rb"m-op-\[3.*\r\n", b"", "two answers"),
    ("outputs", rb"m-output-\[1,32.*\r\n", b"", "out of order"),
    ("outputs", rb"m-output-\[1,96.*\r\n", b"", "bytes were expected|were expected"),
    ("point", rb"100000000", b"10000000", "two answers"),
    ("memory", rb"weights", b"weight", "two answers|unknown role"),
    ("memory", rb"m-ready", b"m-raedy", "no answer"),
]


@pytest.mark.parametrize(("verb", "pattern", "by", "said"), SPOILED)
def test_an_answer_spoiled_once_is_repeated_and_spoiled_always_is_refused(
    verb: str, pattern: bytes, by: bytes, said: str
) -> None:
    spoilt: list[int] = []

    def once(count: int, command: bytes, answer: bytes) -> bytes:
        if command.startswith(verb.encode()) and not spoilt:
            spoilt.append(count)
            return re.sub(pattern, by, answer)
        return answer

    session = scripted(once)
    measure(session)
    assert spoilt and session.stats.retries == 1 and len(session.stats.attempts) == 1
    assert re.search(said, session.stats.attempts[0].error), session.stats.attempts[0].error

    def by_turns(count: int, command: bytes, answer: bytes) -> bytes:
        return re.sub(pattern, by, answer) if command.startswith(verb.encode()) and count % 2 else answer

    session = scripted(by_turns)
    with contextlib.suppress(LinkError):
        measure(session)  # right, where the turns allow; never wrong


def borders(*phases: tuple[str, int, int]) -> list[codec.Line]:
    return [*(codec.Border(*phase) for phase in phases), codec.BordersDone()]


def test_borders_that_cannot_be_are_refused() -> None:
    """The laps are at 10 and 30 us: the clock truncated, so the last one stands for up to 31 us."""
    whole = ("inference", 10_000, 31_000)
    accepted = [
        borders(whole),
        borders(("npu_init", 0, 0), ("input_load", 0, 10_000), whole, ("post_process", 31_000, 99_000)),
        borders(("inference", 20_000, 20_000)),
    ]
    for lines in accepted:
        assert answers.borders(lines, 10, 30) == tuple(lines[:-1])
    refused = {
        "inference from 9999 to 31000 ns is not within the laps, 10 to 30 us": [("inference", 9_999, 31_000)],
        "inference from 10000 to 31001 ns is not within the laps": [("inference", 10_000, 31_001)],
        "inference from 20000 to 19999 ns": [("inference", 20_000, 19_999)],
        "inference from 10000 to 31000 ns, where the clock was at 10001 ns": [("input_load", 5, 10_001), whole],
        "no borders of the inference": [("npu_init", 0, 5), ("output_read", 40_000, 50_000)],
        "phases out of order or twice": [("input_load", 0, 1), ("npu_init", 2, 3), whole],
        "out of order or twice: inference, inference": [whole, ("inference", 31_000, 31_000)],
        "unknown phase 'idle'": [whole, ("idle", 31_000, 32_000)],
    }
    for said, phases in refused.items():
        with pytest.raises(ProtocolError, match=said):
            answers.borders(borders(*phases), 10, 30)
    with pytest.raises(ProtocolError, match="where m-borders-done was expected"):
        answers.borders(borders(whole)[:-1], 10, 30)


def test_without_laps_only_the_order_of_borders_is_known() -> None:
    answers.borders(borders(("inference", 10_000, 31_000)), None, None)
    with pytest.raises(ProtocolError, match="where the clock was at 10001 ns"):
        answers.borders(borders(("input_load", 5, 10_001), ("inference", 10_000, 31_000)), None, None)


def test_a_board_whose_borders_never_fit_its_laps_is_refused() -> None:
    class Late(KnownModel):
        def borders(self) -> tuple[codec.Border, ...]:
            return borders_of(self.start_ns + 2_000, self.inferences, self.warmups)

    session = in_memory(Late())
    session.connect()
    session.load(INPUT)
    session.infer(5, 2)
    with pytest.raises(ProtocolError, match="run: inference from .* is not within the laps"):
        session.borders()
    assert len(session.stats.attempts) == 3


def test_a_retried_inference_says_so() -> None:
    model = KnownModel()
    failures = iter([BoardFault("NPU error")])

    def infer(inferences: int, warmups: int) -> InferOutcome:
        for failure in failures:
            raise failure
        return KnownModel.infer(model, inferences, warmups)

    model.infer = infer  # type: ignore[method-assign]
    session = in_memory(model)
    assert measure(session).attempts == 2
    assert [attempt.error for attempt in session.stats.attempts] == ["infer 5 2: the board answered e-[NPU error]"]


def test_a_failed_accelerator_is_named() -> None:
    class Broken(KnownModel):
        def infer(self, inferences: int, warmups: int) -> InferOutcome:
            raise BoardFault("NPU error")

    session = in_memory(Broken())
    session.connect()
    session.load(INPUT)
    with pytest.raises(BoardRefused, match=r"run: infer 1 0: the board answered e-\[NPU error\]"):
        session.infer()
    assert len(session.stats.attempts) == 2  # the same refusal twice is the board's word


def test_a_wrong_byte_on_the_way_to_the_board_is_found_by_reading_back() -> None:
    clock = VirtualClock()

    class Flipping(Scripted):
        flips = 1

        def write(self, data: bytes) -> None:
            if data.startswith(b"db 00") and self.flips:
                self.flips -= 1
                data = data.replace(b"0a", b"0b", 1)
            super().write(data)

    link = Flipping(clock, KnownModel(), lambda _, __, answer: answer)
    session = Session(lambda: link, clock=clock)
    session.connect()
    session.load(INPUT, verify=True)
    assert session.infer().results == results_of(INPUT)
    assert "other bytes" in session.stats.attempts[0].error


def test_a_board_that_restarts_gets_its_input_again() -> None:
    clock = VirtualClock()
    model = KnownModel()
    link = DutLink(Dut(model), clock)
    session = Session(lambda: link, clock=clock)
    session.connect()
    session.load(INPUT)
    model.input = bytes(5)  # gone, like the clock
    link.reboot()
    found = session.infer(5, 2)
    assert found.results == results_of(INPUT)
    assert found.attempts == 2 and session.stats.restarts == 1


def test_figures_of_before_a_restart_are_gone() -> None:
    clock = VirtualClock()
    link = DutLink(Dut(KnownModel()), clock)
    session = Session(lambda: link, clock=clock)
    session.connect()
    session.load(INPUT)
    session.infer(5, 2)
    link.reboot()
    with pytest.raises(LinkError, match="figures of the last infer are gone"):
        session.phases()
    assert session.infer(5, 2).results == results_of(INPUT)
    assert session.phases() == phases_of(5)


def test_a_restart_without_a_banner_shows_by_the_clock() -> None:
    model = KnownModel(features=())
    session = in_memory(model)
    session.connect()
    session.load(INPUT)
    session.infer(50, 0)
    model.now_ns, model.input = 0, bytes(5)
    found = session.infer(50, 0)
    assert found.results == results_of(INPUT) and found.attempts == 2


def test_a_lost_link_is_opened_again_and_the_step_repeated() -> None:
    clock = VirtualClock()
    model = KnownModel()
    opened: list[float] = []

    class Once(DutLink):
        def write(self, data: bytes) -> None:
            if len(opened) < 4 and data.startswith(b"infer"):
                raise LinkLost("unplugged")
            super().write(data)

    def opener() -> DutLink:
        opened.append(clock.now_s())
        if len(opened) in (2, 3):
            raise LinkError("no such port")
        return Once(Dut(model), clock)

    session = Session(opener, clock=clock)
    found = measure(session)
    assert found.attempts == 2 and session.stats.reconnects == 1
    assert [round(after - before, 3) for before, after in itertools.pairwise(opened[1:])] == [0.2, 0.4]


def test_a_port_that_stays_away_ends_the_step_in_time() -> None:
    clock = VirtualClock()
    links = [DutLink(Dut(KnownModel()), clock)]

    def opener() -> DutLink:
        if not links:
            raise LinkError("ttyX: no such port")
        return links.pop()

    session = Session(opener, clock=clock)
    session.connect()
    session._distrust(lost=True)
    start_s = clock.now_s()
    with pytest.raises(LinkError, match="no such port"):
        session.load(INPUT)
    assert clock.now_s() - start_s <= 30
    assert session.state is State.LOST


def test_another_board_after_the_link_was_lost_is_refused() -> None:
    clock = VirtualClock()
    other = KnownModel()
    other.model = "vww01"
    duts = [Dut(KnownModel()), Dut(other)]
    session = Session(lambda: DutLink(duts.pop(0), clock), clock=clock)
    session.connect()
    session._distrust(lost=True)
    with pytest.raises(LinkError, match="another board answers .* vww01, before it was .* known01"):
        session.load(INPUT)


def test_energy_mode_has_no_laps() -> None:
    clock = VirtualClock()
    session = Session(lambda: DutLink(Dut(KnownModel(), mode="energy"), clock), clock=clock, mode="energy")
    session.connect()
    session.load(INPUT)
    found = session.infer(5, 2)
    assert found.latency_s is None and found.results == results_of(INPUT)
    assert [border.name for border in session.borders()] == ["npu_init", "weight_load", "inference", "output_read"]
    with pytest.raises(LinkError, match="energy mode"):
        session.timestamp()
    wrong = Session(lambda: DutLink(Dut(KnownModel(), mode="energy"), clock), clock=clock)
    wrong.connect()
    wrong.load(INPUT)
    with pytest.raises(ProtocolError, match="m-infer-done' where m-lap-us-… was expected"):
        wrong.infer(5, 2)


def test_a_slow_line_is_no_timeout_but_a_silent_one_is() -> None:
    class Slow(Silent):
        """A line of 100 bytes a second: outputs take longer than the longest pause."""

        def __init__(self, clock: VirtualClock) -> None:
            super().__init__(clock)
            self.board = DutLink(Dut(KnownModel()), clock)

        def read(self, max_bytes: int, timeout_s: float) -> bytes:
            data = self.board.read(1, timeout_s)
            self.clock.sleep(0.01 * len(data))
            return data

        def write(self, data: bytes) -> None:
            self.board.write(data)

    clock = VirtualClock()
    session = Session(lambda: Slow(clock), clock=clock, limits=Limits(answer_s=1, handshake_s=60))
    found = measure(session)
    assert found.attempts == 1 and session.stats.clean


def test_misuse_is_named() -> None:
    session = in_memory(KnownModel(features=("point",)))
    with pytest.raises(LinkError, match="closed"):
        session.load(INPUT)
    session.connect()
    for wrong, said in {
        session.connect: "ready already",
        session.phases: "does not have this verb",
        session.borders: "borders: the board does not have this verb",
        lambda: session.load(b""): "no input",
        lambda: session.infer(0): "at least 1 inference",
    }.items():
        with pytest.raises(LinkError, match=said):
            wrong()
    other = in_memory(KnownModel())
    other.connect()
    for figures in (other.phases, other.borders):
        with pytest.raises(LinkError, match="no infer before"):
            figures()
