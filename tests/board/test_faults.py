"""Links that misbehave, a thousand ways: a session ends in the truth or in a named error, in time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from known_board import LATENCY_NS, MEMORY, POINT, KnownModel, borders_of, ops_of, outputs_of, phases_of, results_of

from hil.board import codec
from hil.board.capture import Capture, read_capture
from hil.board.clock import Clock, MonotonicClock, VirtualClock
from hil.board.dut import Dut
from hil.board.faults import Deliver, FaultSchedule, FaultyLink, Rates
from hil.board.link import Link, open_link
from hil.board.serve import DutLink, PtyBoard
from hil.board.session import Limits, Session
from hil.errors import LinkError

INPUT = bytes(range(100))
SESSIONS = 1000
ROUGH = Rates(flip=5e-4, drop=5e-4, duplicate=3e-3, split=3e-3, stall=3e-3, noise=3e-3, disconnect=1e-3, reboot=1e-3)
GENTLE = Rates(**{name: rate / 5 for name, rate in vars(ROUGH).items() if name != "budget"})
STALE = b"m-lap-us-12\r\nm-ready\r\nm-name-dut-[hi"
KINDS = [(), codec.FEATURES, ("phases", "ops", "outputs", "point", "memory")]
# Virtual time is exact, so nothing that differs is put down to jitter; the known latency is a multiple of 1 us.
EXACT = Limits(lap_tolerance_us=0, lap_tolerance=0.0, run_s=10, reconnect_s=10)
# What a session may take at most in virtual time; without faults it takes a fraction of a second.
BOUND_S = 60.0


class FaultyBoard:
    """A known board on a cable with faults; a reboot forgets everything, as a real one does."""

    def __init__(self, seed: int, rates: Rates, features: Sequence[str], clock: Clock) -> None:
        self._model = KnownModel(features)
        self._features = features
        self._clock = clock
        self._link = DutLink(Dut(self._model), clock)
        self._stale = STALE if seed % 3 == 0 else b""
        self.ways = FaultSchedule(2 * seed, rates), FaultSchedule(2 * seed + 1, rates)

    def open(self) -> FaultyLink:
        return FaultyLink(self._link, *self.ways, self._clock, self._reboot, self._stale)

    def _reboot(self) -> None:
        KnownModel.__init__(self._model, self._features)
        self._link.reboot()


def check(session: Session) -> None:
    """Everything that the session says must be the truth."""
    who = session.connect()
    session.load(INPUT, verify=True)
    found = session.infer(5, 2)
    assert found.results == results_of(INPUT)
    assert found.lap_start_us is not None and found.lap_end_us is not None
    assert found.lap_end_us - found.lap_start_us == 5 * LATENCY_NS // 1000
    if who.features:
        assert session.phases() == phases_of(5)
        assert session.ops() == ops_of(5)
        if "borders" in who.features:
            borders = session.borders()
            (start_ns,) = (border.start_ns for border in borders if border.name == "inference")
            assert borders == borders_of(start_ns, 5, 2) and start_ns // 1000 == found.lap_start_us
        assert tuple(session.outputs()) == outputs_of(INPUT)
        assert session.point() == POINT
        assert session.memory() == MEMORY


def test_a_thousand_faulty_sessions_end_in_the_truth_or_a_named_error_in_time(tmp_path: Path) -> None:
    ends: Counter[str] = Counter()
    path = tmp_path / "capture.jsonl"
    for seed in range(SESSIONS):
        clock = VirtualClock()
        features = KINDS[seed % len(KINDS)]
        board = FaultyBoard(seed, ROUGH if seed % 2 else GENTLE, features, clock)
        capture = Capture(path, port="faulty", baud=0, clock=clock)
        session = Session(board.open, capture=capture, clock=clock, limits=EXACT)
        try:
            check(session)
            ends["right at once" if session.stats.clean else "right on retry"] += 1
        except LinkError as error:
            assert error.message
            ends[type(error).__name__] += 1
        finally:
            session.close()
        assert clock.now_s() <= BOUND_S
        recording = read_capture(path)
        assert len(recording.bytes_of("in")) == session.stats.bytes_in
        # What was to be written is recorded before the write that may fail.
        assert len(recording.bytes_of("out")) >= session.stats.bytes_out
    right = ends["right at once"] + ends["right on retry"]
    assert right > SESSIONS / 2 and ends["right on retry"] > SESSIONS / 10, ends
    assert right < SESSIONS, f"the faults are too gentle to test anything: {ends}"


@pytest.mark.parametrize("kind", ["flip", "drop", "duplicate", "split", "stall", "noise", "disconnect", "reboot"])
def test_a_single_fault_of_each_kind_is_survived_with_the_truth(kind: str) -> None:
    hit = 0
    for seed in range(60):
        clock = VirtualClock()
        rates = Rates(**{kind: 0.004 if kind in ("flip", "drop") else 0.05}, budget=1)
        board = FaultyBoard(seed, rates, codec.FEATURES, clock)
        session = Session(board.open, clock=clock, limits=EXACT)
        try:
            check(session)
        except LinkError as error:
            # One fault each way can only stop a first connection, or take the figures of an infer that is over.
            assert kind == "disconnect" or "gone" in error.message or "unplugged" in error.message, error.message
        hit += sum(way.faults for way in board.ways)
    assert hit >= 60


def test_faulty_sessions_over_a_pty_end_and_their_captures_are_complete(tmp_path: Path) -> None:
    limits = Limits(answer_s=0.3, handshake_s=1.5, run_s=1.0, reconnect_s=1.0, boot_s=1.0, attempts=2)
    for seed in range(20):
        clock = MonotonicClock()
        faulty = FaultyBoard(seed, GENTLE, KINDS[seed % len(KINDS)], clock)
        seen = {"in": b"", "out": b""}

        class Witness:
            """Notes what passes, below the capture."""

            def __init__(self, link: Link, seen: dict[str, bytes]) -> None:
                self.name, self._link, self._seen = link.name, link, seen

            def read(self, max_bytes: int, timeout_s: float) -> bytes:
                data = self._link.read(max_bytes, timeout_s)
                self._seen["in"] += data
                return data

            def write(self, data: bytes) -> None:
                self._seen["out"] += data
                self._link.write(data)

            def close(self) -> None:
                self._link.close()

        path = tmp_path / f"{seed}.jsonl"
        with PtyBoard(faulty.open()) as board:
            capture = Capture(path, port=board.path, baud=115_200)
            with Session(
                lambda board=board, seen=seen: Witness(open_link(board.path), seen),  # type: ignore[misc]
                capture=capture,
                limits=limits,
            ) as session:
                try:
                    check(session)
                except LinkError as error:
                    assert error.message
        recording = read_capture(path)
        assert recording.bytes_of("in") == seen["in"]
        assert recording.bytes_of("out") == seen["out"] != b""
        assert session.stats.bytes_in == len(seen["in"])


def test_a_schedule_repeats_itself() -> None:
    data = b"m-ready\r\nm-lap-us-1234\r\n" * 20
    rates = Rates(flip=0.01, drop=0.01, duplicate=0.1, split=0.1, stall=0.1, noise=0.1)
    first, second = (list(FaultSchedule(7, rates).actions(data)) for _ in range(2))
    assert first == second != list(FaultSchedule(8, rates).actions(data))


def test_no_rates_change_nothing_and_the_budget_bounds() -> None:
    data = b"m-ready\r\n" * 100
    clean = FaultSchedule(1, Rates())
    assert b"".join(action.data for action in clean.actions(data) if isinstance(action, Deliver)) == data
    bounded = FaultSchedule(1, Rates(drop=1.0, budget=3))
    assert sum(len(action.data) for action in bounded.actions(data) if isinstance(action, Deliver)) == len(data) - 3
    assert bounded.faults == 3
