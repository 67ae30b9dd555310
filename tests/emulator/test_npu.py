"""The host's side of the accelerator: its answers, the framing, and connections that come and go."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil import zoo
from hil.emulator.latency import Latencies
from hil.emulator.npu import FifoNpu, NpuServer, NpuThread, TcpNpu
from hil.emulator.program import Job, Program, Span
from hil.errors import NetworkError, UnavailableError
from hil.network.reference import Reference
from hil.network.slice import cut

# A connection that hangs is a failure, and soon.
pytestmark = pytest.mark.timeout(60)

# As firmware/include/npu.h has them.
REQUEST, REPLY = b"NPU?", b"NPU!"
INIT, LOAD_WEIGHTS, RUN = 1, 2, 3
INPUT = bytes(range(64))


@cache
def program() -> Program:
    """The network of digits as two jobs: 64 bytes to a map, and the map to 10."""
    network = zoo.load("digits")
    assert network.model is not None
    jobs = []
    for number, ops in enumerate([range(1), range(1, len(network.ops))]):
        part = cut(network.model, ops)
        spans = tuple(Span(0, network.tensors[i].size_bytes) for i in (*part.inputs, *part.outputs))
        jobs.append(Job(number, tuple(ops), part, spans, latency_ns=1000 + number, assisted=False))
    return Program("digits", b"", tuple(jobs), Latencies(11, 2**40, 0, ()))


@cache
def expected() -> bytes:
    model = zoo.load("digits").model
    assert model is not None
    return Reference(model).run([INPUT])[0]


def request(command: int, job: int = 0, data: bytes = b"", *, magic: bytes = REQUEST, size: int | None = None) -> bytes:
    return magic + struct.pack("<3I", command, job, len(data) if size is None else size) + data


def replies(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Status, latency and outputs of each reply; asserts the framing."""
    while data:
        assert data[:4] == REPLY
        status, latency_ns, size = struct.unpack_from("<IQI", data, 4)
        assert len(data) >= 20 + size
        yield status, latency_ns, data[20 : 20 + size]
        data = data[20 + size :]


def served(data: bytes, piece: int = 1 << 16) -> list[tuple[int, int, bytes]]:
    """What the server answers to a stream that comes in pieces of at most so many bytes."""
    written = bytearray()
    rest = memoryview(data)

    def read(count: int) -> bytes:
        nonlocal rest
        found, rest = bytes(rest[: min(count, piece)]), rest[min(count, piece) :]
        return found

    NpuServer(program()).serve(read, written.extend)
    return list(replies(bytes(written)))


def test_commands_take_the_given_time() -> None:
    server = NpuServer(program())
    assert server.answer(INIT, 0, b"") == (0, 11, b"")
    assert server.answer(LOAD_WEIGHTS, 0, b"") == (0, 2**40, b"")
    assert server.failure is None


def test_jobs_compute_the_network() -> None:
    server = NpuServer(program())
    status, latency_ns, middle = server.answer(RUN, 0, INPUT)
    assert (status, latency_ns) == (0, 1000)
    assert server.answer(RUN, 1, middle) == (0, 1001, expected())


@pytest.mark.parametrize(
    ("command", "job", "data", "what"),
    [
        (0, 0, b"", "command 0"),
        (4, 0, b"", "command 4"),
        (RUN, 2, INPUT, "job 2; expected 0 to 1"),
        (RUN, 2**32 - 1, INPUT, "job 4294967295"),
        (RUN, 0, INPUT[:-1], "63 input bytes; expected 64"),
        (RUN, 1, INPUT, "64 input bytes; expected"),
    ],
)
def test_nonsense_is_a_status_and_a_reason(command: int, job: int, data: bytes, what: str) -> None:
    server = NpuServer(program())
    status, latency_ns, output = server.answer(command, job, data)
    assert status != 0
    assert (latency_ns, output) == (0, b"")
    assert server.failure is not None
    assert what in server.failure


def test_a_model_that_litert_refuses_is_named_before_anything_runs() -> None:
    good = program().jobs[0]
    bad = Program("bad", b"", (replace(good, slice=replace(good.slice, model=b"no model")),), program().latencies)
    with pytest.raises(NetworkError, match="bad, ops 0 to 0: LiteRT cannot load it"):
        NpuServer(bad)


def test_a_job_that_fails_is_a_status(monkeypatch: pytest.MonkeyPatch) -> None:
    server = NpuServer(program())
    monkeypatch.setattr(Reference, "run", lambda *_: [b"too short"])
    assert server.answer(RUN, 0, INPUT)[0] != 0
    assert server.failure is not None
    assert "outputs of [9] bytes" in server.failure

    def refuse(*_: object) -> list[bytes]:
        raise NetworkError("no such thing")

    monkeypatch.setattr(Reference, "run", refuse)
    assert server.answer(RUN, 0, INPUT)[0] != 0
    assert "no such thing" in server.failure


@pytest.mark.parametrize("piece", [1, 7, 1 << 16])
def test_a_stream_of_requests_is_answered_in_order(piece: int) -> None:
    (_, _, middle) = NpuServer(program()).answer(RUN, 0, INPUT)
    stream = request(INIT) + request(RUN, 0, INPUT) + request(9) + request(RUN, 1, middle)
    found = served(stream, piece)
    assert [status == 0 for status, _, _ in found] == [True, True, False, True]
    assert [data for _, _, data in found] == [b"", middle, b"", expected()]


@settings(max_examples=60, deadline=None)
@given(cut_at=st.integers(0, 2 * (16 + 64)), piece=st.integers(1, 100))
def test_a_truncated_stream_ends_cleanly(cut_at: int, piece: int) -> None:
    stream = request(RUN, 0, INPUT) * 2
    assert len(served(stream[:cut_at], piece)) == cut_at // 80


@settings(max_examples=60, deadline=None)
@given(magic=st.binary(min_size=4, max_size=4).filter(lambda magic: magic != REQUEST), tail=st.binary(max_size=64))
def test_a_wrong_magic_is_refused_and_ends_the_connection(magic: bytes, tail: bytes) -> None:
    found = served(request(INIT) + request(RUN, 0, INPUT, magic=magic) + tail + request(INIT))
    assert [status == 0 for status, _, _ in found] == [True, False]


@pytest.mark.parametrize("more", [1, 2**31, 2**32 - 1])
def test_a_huge_length_is_refused_without_reading_it(more: int) -> None:
    largest = program().jobs[1].spans[0].size_bytes
    size = min(largest + more, 2**32 - 1)
    asked: list[int] = []
    stream = iter([request(RUN, 0, size=size)])

    def read(count: int) -> bytes:
        asked.append(count)
        return next(stream)

    written = bytearray()
    server = NpuServer(program())
    server.serve(read, written.extend)
    assert [status == 0 for status, _, _ in replies(bytes(written))] == [False]
    assert asked == [16]
    assert server.failure is not None
    assert f"at most {largest} bytes" in server.failure


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=400), prefix=st.sampled_from([b"", REQUEST, request(RUN), request(RUN, 0, INPUT)]))
def test_noise_never_raises(data: bytes, prefix: bytes) -> None:
    for status, _, output in served(prefix + data):
        assert status == 0 or output == b""


# Connections


class Device:
    """The far end, as the emulated board has it: blocking, byte streams only."""

    def __init__(self, source: int, sink: int) -> None:
        self._source, self._sink = source, sink

    def ask(self, data: bytes) -> tuple[int, int, bytes]:
        os.write(self._sink, data)
        head = self._read(20)
        return next(replies(head + self._read(struct.unpack_from("<I", head, 16)[0])))

    def _read(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            piece = os.read(self._source, count - len(found))
            if not piece:
                raise EOFError
            found += piece
        return found


def fifo_device(folder: Path) -> Device:
    """In the order of the firmware: requests first."""
    sink = os.open(folder / "to", os.O_WRONLY)
    return Device(os.open(folder / "from", os.O_RDONLY), sink)


def close(device: Device) -> None:
    for descriptor in {device._source, device._sink}:
        os.close(descriptor)


@pytest.fixture(params=["fifo", "tcp"])
def connect(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[NpuThread, Callable[[], Device]]]:
    server = NpuServer(program())
    if request.param == "fifo":
        with FifoNpu(server, tmp_path / "to", tmp_path / "from") as fifo:
            yield fifo, lambda: fifo_device(tmp_path)
    else:
        with TcpNpu(server) as tcp:

            def device() -> Device:
                descriptor = socket.create_connection(("127.0.0.1", tcp.port), timeout=20).detach()
                os.set_blocking(descriptor, True)
                return Device(descriptor, descriptor)

            yield tcp, device


def test_devices_come_and_go(connect: tuple[NpuThread, Callable[[], Device]]) -> None:
    """Over TCP one after the other.  FIFOs have one device for life: two in a row could mix on one stream."""
    thread, open_device = connect
    for _ in range(3 if isinstance(thread, TcpNpu) else 1):
        device = open_device()
        assert device.ask(request(INIT)) == (0, 11, b"")
        middle = device.ask(request(RUN, 0, INPUT))[2]
        assert device.ask(request(RUN, 1, middle)) == (0, 1001, expected())
        close(device)


def test_closing_ends_a_waiting_device_and_leaves_nothing(connect: tuple[NpuThread, Callable[[], Device]]) -> None:
    thread, open_device = connect
    device = open_device()
    assert device.ask(request(INIT))[0] == 0
    os.write(device._sink, request(RUN, 0, INPUT)[:-1])  # the server waits for the last byte
    closing = threading.Timer(0.05, thread.close)
    closing.start()
    with pytest.raises(EOFError):
        device._read(1)
    closing.join()
    thread.close()  # once more does no harm
    close(device)
    assert not [one for one in threading.enumerate() if one.name.startswith("npu ")]


def test_starting_and_stopping_leaks_no_descriptor(tmp_path: Path) -> None:
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("this system has no /proc: open descriptors cannot be counted")
    before = len(list(folder.iterdir()))
    for _ in range(20):
        FifoNpu(NpuServer(program()), tmp_path / "to", tmp_path / "from").close()
        TcpNpu(NpuServer(program())).close()
    assert len(list(folder.iterdir())) == before


def test_the_port_is_on_loopback_only() -> None:
    with TcpNpu(NpuServer(program())) as tcp:
        assert tcp._listener.getsockname() == ("127.0.0.1", tcp.port)


def test_a_fifo_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no FIFO at"):
        FifoNpu(NpuServer(program()), tmp_path / "nowhere" / "to", tmp_path / "from")
