"""The host's side of the co-simulated accelerator: computes a program's jobs with LiteRT, says how long they take.

The device and the framing are those of ``firmware/include/npu.h``.  Whatever arrives, the answer is a status: the board
must learn that its accelerator failed, and ``NpuServer.failure`` tells the person in front of it why.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from enum import IntEnum
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from hil.emulator.program import Job, Program
from hil.errors import HilError, UnavailableError
from hil.network.reference import Reference

REQUEST_MAGIC = 0x3F55504E  # NPU_REQUEST
REPLY_MAGIC = 0x2155504E  # NPU_REPLY
REQUEST = struct.Struct("<4I")  # magic, command, job, input_bytes
REPLY = struct.Struct("<IIQI")  # magic, status, latency_ns, output_bytes
_PIECE_BYTES = 1 << 16


class Command(IntEnum):
    """``enum npu_command``."""

    INIT = 1
    LOAD_WEIGHTS = 2
    RUN = 3


class Status(IntEnum):
    """Why a command was refused; the device only tells zero from the rest."""

    DONE = 0
    UNKNOWN_COMMAND = 1
    UNKNOWN_JOB = 2
    WRONG_SIZE = 3
    NOT_COMPUTED = 4
    BROKEN_REQUEST = 5


Answer = tuple[int, int, bytes]


class NpuServer:
    """Answers commands for one program.  ``failure`` says what the last refused command was about.

    Raises NetworkError where LiteRT cannot run a job of the program.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self._interpreters = [
            Reference(job.slice.model, f"{program.name}, ops {job.ops[0]} to {job.ops[-1]}") for job in program.jobs
        ]
        self._input_limit = max((_input_bytes(job) for job in program.jobs), default=0)
        self.failure: str | None = None

    def answer(self, command: int, job: int, data: bytes) -> Answer:
        """Status, nanoseconds, and the outputs' bytes, in the order of the job's spans.  Never raises.

        ``INIT`` forgets the state of networks that keep some from one inference to the next.
        """
        if command == Command.INIT:
            for interpreter in self._interpreters:
                interpreter.reset()
            return Status.DONE, self._program.latencies.npu_init_ns, b""
        if command == Command.LOAD_WEIGHTS:
            return Status.DONE, self._program.latencies.weight_load_ns, b""
        if command != Command.RUN:
            return self._refuse(Status.UNKNOWN_COMMAND, f"command {command}; expected 1 to {len(Command)}")
        if not 0 <= job < len(self._program.jobs):
            return self._refuse(Status.UNKNOWN_JOB, f"job {job}; expected 0 to {len(self._program.jobs) - 1}")
        return self._run(self._program.jobs[job], data)

    def serve(self, read: Callable[[int], bytes], write: Callable[[bytes], None]) -> None:
        """Answer requests until the end of the stream, or a request that cannot be told from noise.

        ``read(n)`` blocks for 1 to ``n`` bytes, and returns none at the end of the stream; ``write`` writes all.
        """
        while len(head := _read_all(read, REQUEST.size)) == REQUEST.size:
            magic, command, job, input_bytes = REQUEST.unpack(head)
            whole = magic == REQUEST_MAGIC and input_bytes <= self._input_limit
            if whole:
                data = _read_all(read, input_bytes)
                if len(data) < input_bytes:
                    return
                status, latency_ns, output = self.answer(command, job, data)
            else:
                what = f"a request that starts with {head.hex()}; expected 'NPU?' and at most {self._input_limit} bytes"
                status, latency_ns, output = self._refuse(Status.BROKEN_REQUEST, what)
            write(REPLY.pack(REPLY_MAGIC, status, latency_ns, len(output)) + output)
            if not whole:
                return

    def _run(self, job: Job, data: bytes) -> Answer:
        expected = _input_bytes(job)
        if len(data) != expected:
            return self._refuse(Status.WRONG_SIZE, f"job {job.number}: {len(data)} input bytes; expected {expected}")
        inputs, start = [], 0
        for span in job.spans[: len(job.slice.inputs)]:
            inputs.append(data[start : start + span.size_bytes])
            start += span.size_bytes
        try:
            outputs = self._interpreters[job.number].run(inputs)
        except HilError as error:
            return self._refuse(Status.NOT_COMPUTED, error.message)
        sizes = [span.size_bytes for span in job.spans[len(job.slice.inputs) :]]
        if [len(output) for output in outputs] != sizes:
            found = [len(output) for output in outputs]
            return self._refuse(Status.NOT_COMPUTED, f"job {job.number}: outputs of {found} bytes; expected {sizes}")
        return Status.DONE, job.latency_ns, b"".join(outputs)

    def _refuse(self, status: Status, what: str) -> Answer:
        self.failure = f"the accelerator of {self._program.name} was asked for {what}"
        return status, 0, b""


def _input_bytes(job: Job) -> int:
    return sum(span.size_bytes for span in job.spans[: len(job.slice.inputs)])


def _read_all(read: Callable[[int], bytes], count: int) -> bytes:
    """``count`` bytes, or fewer at the end of the stream."""
    found = bytearray()
    while len(found) < count and (piece := read(min(count - len(found), _PIECE_BYTES))):
        found += piece
    return bytes(found)


class NpuThread:
    """Serves one connection after the other in a thread of its own, until ``close``."""

    def __init__(self, server: NpuServer, name: str) -> None:
        self._server = server
        self._wake, self._waker = os.pipe()
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving; closes the connection, so that a device that waits for an answer sees its end."""
        if self._waker < 0:
            return
        os.close(self._waker)  # the end of this pipe wakes the thread from any wait
        self._waker = -1
        self._thread.join()
        os.close(self._wake)
        self._release()

    def _release(self) -> None:
        """Give back what connections come from; the thread has ended."""
        raise NotImplementedError

    @contextlib.contextmanager
    def _connection(self) -> Iterator[tuple[int, int]]:
        """Descriptors to read requests from and to write replies to.  Raises _Closed when closing."""
        raise NotImplementedError

    def _loop(self) -> None:
        with contextlib.suppress(_Closed):
            while True:
                # A device that dies in mid-answer is no concern of ours: the next connection starts afresh.
                with contextlib.suppress(ConnectionError, BlockingIOError), self._connection() as (source, sink):
                    self._server.serve(partial(self._read, source), partial(self._write, sink))

    def _wait(self, descriptor: int, event: int) -> None:
        poll = select.poll()
        poll.register(descriptor, event)
        poll.register(self._wake, select.POLLIN)
        if self._wake in (ready for ready, _ in poll.poll()):
            raise _Closed

    def _read(self, descriptor: int, count: int) -> bytes:
        self._wait(descriptor, select.POLLIN)
        return os.read(descriptor, count)

    def _write(self, descriptor: int, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            self._wait(descriptor, select.POLLOUT)
            rest = rest[os.write(descriptor, rest) :]


class _Closed(Exception):
    """The thread is asked to end."""


class FifoNpu(NpuThread):
    """Serves over two FIFOs, made where they do not exist: requests come on ``to_host``, replies go to ``from_host``.

    Either side may come first.  One device for life: a second one could still meet the end of the first.
    """

    def __init__(self, server: NpuServer, to_host: Path, from_host: Path) -> None:
        for path in (to_host, from_host):
            try:
                os.mkfifo(path, 0o600)
            except FileExistsError:
                pass
            except OSError as error:
                raise UnavailableError(f"no FIFO at {path}: {error.strerror or error}") from error
        super().__init__(server, "npu fifo")
        self._to_host, self._from_host = to_host, from_host
        self._source = os.open(to_host, os.O_RDONLY | os.O_NONBLOCK)
        self._thread.start()

    def _release(self) -> None:
        os.close(self._source)

    @contextlib.contextmanager
    def _connection(self) -> Iterator[tuple[int, int]]:
        # A descriptor that saw its writer leave would never wait again.  The new one comes before the old one goes:
        # the next device must not find a moment without a reader.
        ended, self._source = self._source, os.open(self._to_host, os.O_RDONLY | os.O_NONBLOCK)
        os.close(ended)
        # A FIFO opens for writing only while somebody reads: ourselves, until the device does.
        reader = os.open(self._from_host, os.O_RDONLY | os.O_NONBLOCK)
        try:
            sink = os.open(self._from_host, os.O_WRONLY | os.O_NONBLOCK)
        finally:
            os.close(reader)
        try:
            yield self._source, sink
        finally:
            os.close(sink)


class TcpNpu(NpuThread):
    """Serves on a port of the loopback interface: ``port``, chosen by the system."""

    def __init__(self, server: NpuServer) -> None:
        try:
            self._listener = socket.create_server(("127.0.0.1", 0))
        except OSError as error:
            raise UnavailableError(f"no TCP port on 127.0.0.1: {error.strerror or error}") from error
        self._listener.setblocking(False)
        super().__init__(server, "npu tcp")
        self.port = int(self._listener.getsockname()[1])
        self._thread.start()

    def _release(self) -> None:
        self._listener.close()

    @contextlib.contextmanager
    def _connection(self) -> Iterator[tuple[int, int]]:
        self._wait(self._listener.fileno(), select.POLLIN)
        connection, _ = self._listener.accept()
        with connection:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield connection.fileno(), connection.fileno()
