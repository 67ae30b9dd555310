"""HilNpu.cs, compiled against a stub of Renode's API, does what ``firmware/include/npu.h`` says."""

from __future__ import annotations

import os
import re
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from hil.emulator.renode.engine import NPU_SOURCE

STUB = Path(__file__).with_name("renode_stub")
NPU_H = Path(__file__).parents[2] / "firmware" / "include" / "npu.h"

pytestmark = pytest.mark.skipif(
    shutil.which("mcs") is None or shutil.which("mono") is None,
    reason="no C# compiler: apt install mono-mcs mono-runtime libmono-system4.0-cil",
)


def _header() -> dict[str, int]:
    """The contract's own values, so that the test cannot repeat a mistake of the C# file."""
    text = NPU_H.read_text(encoding="utf-8")
    found = {name: int(value, 16) for name, value in re.findall(r"#define (NPU_\w+) (0x[0-9A-Fa-f]+)u", text)}
    found |= {name: int(value) for name, value in re.findall(r"#define (NPU_\w+) (\d+)u", text)}
    return found | {name: int(value) for name, value in re.findall(r"(NPU_\w+) = (\d+)", text)}


H = _header()
DONE, BUSY, ERROR = H["NPU_DONE"], H["NPU_BUSY"], H["NPU_ERROR"]

DESCRIPTOR, ARENA = 0x100, 0x1000
INPUTS = ((0x00, bytes(range(16))), (0x40, b"\xaa\xbb\xcc\xdd\xee"))
OUTPUT_SPANS = ((0x200, 3), (0x300, 8))
OUTPUTS = b"out" + b"12345678"


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("csharp") / "harness.exe"
    sources = [*sorted(map(str, STUB.glob("*.cs"))), str(NPU_SOURCE)]
    command = ["mcs", "-warn:4", "-warnaserror", f"-out:{program}", *sources]
    subprocess.run(command, check=True, timeout=60)
    return program


class Device:
    """A HilNpu in a process of its own."""

    def __init__(self, harness: Path) -> None:
        self.log: list[str] = []
        self._process = subprocess.Popen(
            ["mono", str(harness)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def ask(self, *words: object) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        print(*words, file=self._process.stdin, flush=True)
        while not (line := self._process.stdout.readline()).startswith("="):
            assert line, "the harness ended"
            self.log.append(line.strip())
        return line[1:].strip()

    def write(self, register: str, value: int) -> None:
        self.ask("write", H[f"NPU_REG_{register}"], value)

    def read(self, register: str) -> int:
        return int(self.ask("read", H[f"NPU_REG_{register}"]))

    @property
    def irq(self) -> bool:
        return self.ask("irq") == "1"

    @property
    def latency_ns(self) -> int:
        return self.read("LATENCY_LO") | self.read("LATENCY_HI") << 32

    def peek(self, address: int, count: int) -> bytes:
        return bytes.fromhex(self.ask("peek", address, count))

    def poke(self, address: int, data: bytes) -> None:
        self.ask("poke", address, data.hex())

    def load_job(self, job: int) -> None:
        """Descriptor and inputs in memory, the registers set, the command not yet given."""
        spans = [(offset, len(data)) for offset, data in INPUTS] + list(OUTPUT_SPANS)
        words = [job, len(INPUTS), len(OUTPUT_SPANS), *(word for span in spans for word in span)]
        self.poke(DESCRIPTOR, struct.pack(f"<{len(words)}I", *words))
        for offset, data in INPUTS:
            self.poke(ARENA + offset, data)
        self.write("JOB", job)
        self.write("DESCRIPTOR", DESCRIPTOR)
        self.write("ARENA", ARENA)

    def outputs(self) -> bytes:
        return b"".join(self.peek(ARENA + offset, count) for offset, count in OUTPUT_SPANS)

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        assert self._process.wait(20) == 0
        self._process.stdout.close()


@pytest.fixture
def device(harness: Path) -> Iterator[Device]:
    made = Device(harness)
    yield made
    made.close()


class Host:
    """A scripted host: collects whole requests, answers with the given bytes (None: close the connection)."""

    def __init__(self, answers: Sequence[bytes | None]) -> None:
        self.requests: list[tuple[int, int, int, bytes]] = []
        self.connections = 0
        self._answers = list(answers)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while self._answers:
            connection, _ = self._listener.accept()
            self.connections += 1
            with connection, connection.makefile("rb") as stream:
                while self._answers and (head := stream.read(16)):
                    magic, command, job, count = struct.unpack("<4I", head)
                    self.requests.append((magic, command, job, stream.read(count)))
                    answer = self._answers.pop(0)
                    if answer is None:
                        break
                    connection.sendall(answer)

    def close(self) -> None:
        self._thread.join(20)
        self._listener.close()
        assert not self._thread.is_alive()


@pytest.fixture
def host() -> Iterator[Callable[..., Host]]:
    hosts: list[Host] = []

    def make(*answers: bytes | None) -> Host:
        hosts.append(Host(answers))
        return hosts[-1]

    yield make
    for made in hosts:
        made.close()


def reply(latency_ns: int = 1000, output: bytes = b"", status: int = 0, magic: int = H["NPU_REPLY"]) -> bytes:
    return struct.pack("<IIQI", magic, status, latency_ns, len(output)) + output


def test_identity_and_size(device: Device) -> None:
    assert device.read("ID") == H["NPU_ID"]
    assert device.ask("size") == str(0x1000)
    assert device.read("STATUS") == 0 and not device.irq


def test_a_job_takes_its_latency_and_not_a_nanosecond_less(device: Device, host: Callable[..., Host]) -> None:
    latency_ns = 5_000_000_123  # beyond 32 bits
    server = host(reply(latency_ns, OUTPUTS))
    device.ask("port", server.port)
    device.load_job(7)
    device.write("COMMAND", H["NPU_RUN"])
    assert server.requests == [(H["NPU_REQUEST"], H["NPU_RUN"], 7, b"".join(data for _, data in INPUTS))]
    assert device.latency_ns == latency_ns
    device.ask("advance", latency_ns - 1)
    assert device.read("STATUS") == BUSY and not device.irq
    assert device.outputs() == bytes(len(OUTPUTS))
    device.ask("advance", 1)
    assert device.read("STATUS") == DONE and device.irq
    assert device.outputs() == OUTPUTS
    assert device.peek(ARENA + 0x203, 1) == b"\0"  # nothing behind a span


def test_acknowledging_lowers_the_interrupt(device: Device, host: Callable[..., Host]) -> None:
    device.ask("port", host(reply(10)).port)
    device.write("COMMAND", H["NPU_INIT"])
    device.ask("advance", 10)
    device.write("STATUS", ERROR)
    assert device.irq
    device.write("STATUS", DONE)
    assert device.read("STATUS") == 0 and not device.irq


def test_commands_without_data_need_no_descriptor(device: Device, host: Callable[..., Host]) -> None:
    server = host(reply(1), reply(0))
    device.ask("port", server.port)
    for command in ("NPU_INIT", "NPU_LOAD_WEIGHTS"):
        device.write("COMMAND", H[command])
        device.ask("advance", 1)  # a latency of zero counts as one nanosecond
        assert device.read("STATUS") == DONE
        device.write("STATUS", DONE)
    assert [request[1:] for request in server.requests] == [
        (H["NPU_INIT"], 0, b""),
        (H["NPU_LOAD_WEIGHTS"], 0, b""),
    ]
    assert server.connections == 1


def test_the_host_refuses(device: Device, host: Callable[..., Host]) -> None:
    device.ask("port", host(reply(100, status=3)).port)
    device.load_job(1)
    device.write("COMMAND", H["NPU_RUN"])
    device.ask("advance", 100)
    assert device.read("STATUS") == DONE | ERROR and device.irq
    assert device.outputs() == bytes(len(OUTPUTS))


BROKEN = {
    "closed": None,
    "wrong magic": reply(output=OUTPUTS, magic=H["NPU_REQUEST"]),
    "too few bytes": reply(output=OUTPUTS[:-1]),
    "too many bytes": reply(output=OUTPUTS + b"!"),
    "huge length": struct.pack("<IIQI", H["NPU_REPLY"], 0, 1, 0xFFFFFFFF),
    "absurd latency": reply(latency_ns=1 << 63, output=OUTPUTS),
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
def test_a_broken_answer_is_an_error_and_the_next_job_works(
    answer: bytes | None, device: Device, host: Callable[..., Host]
) -> None:
    server = host(answer, reply(5, OUTPUTS))
    device.ask("port", server.port)
    device.load_job(0)
    device.write("COMMAND", H["NPU_RUN"])
    assert device.read("STATUS") == DONE | ERROR and device.irq
    assert any(line.startswith("log error") for line in device.log)
    device.write("COMMAND", H["NPU_RUN"])
    device.ask("advance", 5)
    assert device.read("STATUS") == DONE
    assert device.outputs() == OUTPUTS
    assert server.connections == 2


def test_no_host(device: Device) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    for number in (0, port):
        device.ask("port", number)
        device.write("COMMAND", H["NPU_INIT"])
        assert device.read("STATUS") == DONE | ERROR and device.irq
        device.write("STATUS", DONE)


def test_a_silent_host_times_out(device: Device) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        device.ask("port", silent.getsockname()[1])
        device.ask("timeout", 50)
        device.write("COMMAND", H["NPU_INIT"])
        assert device.read("STATUS") == DONE | ERROR and device.irq


def test_a_hostile_descriptor_is_an_error(device: Device, host: Callable[..., Host]) -> None:
    server = host(reply(1))
    device.ask("port", server.port)
    device.write("COMMAND", H["NPU_RUN"])  # none at all
    assert device.read("STATUS") == DONE | ERROR
    for words in (
        (0, 0xFFFFFFFF, 1, 0, 4),
        (0, 1, 0xFFFFFFFF, 0, 4),
        (0, 1, 0, 0, 0xFFFFFFFF),
        (0, 1, 0, 0xFFFFFFF0, 4),
        (0, 0, 1, 0, 0xFFFFFFFF),
    ):
        device.poke(DESCRIPTOR, struct.pack("<5I", *words))
        device.write("DESCRIPTOR", DESCRIPTOR)
        device.write("ARENA", ARENA)
        device.write("COMMAND", H["NPU_RUN"])
        assert device.read("STATUS") == DONE | ERROR, words
    assert server.requests == []
    device.write("COMMAND", H["NPU_INIT"])
    device.ask("advance", 1)
    assert device.read("STATUS") == DONE


def test_a_command_while_busy_is_ignored(device: Device, host: Callable[..., Host]) -> None:
    server = host(reply(100), reply(1))
    device.ask("port", server.port)
    device.write("COMMAND", H["NPU_INIT"])
    device.write("COMMAND", H["NPU_INIT"])
    assert len(server.requests) == 1 and any("ignored" in line for line in device.log)
    device.ask("advance", 100)
    assert device.read("STATUS") == DONE
    device.write("COMMAND", H["NPU_INIT"])
    assert len(server.requests) == 2


def test_reset_forgets_everything_but_the_host(device: Device, host: Callable[..., Host]) -> None:
    server = host(reply(100, OUTPUTS), reply(1))
    device.ask("port", server.port)
    device.load_job(3)
    device.write("COMMAND", H["NPU_RUN"])
    device.ask("reset")
    assert [device.read(name) for name in ("STATUS", "JOB", "DESCRIPTOR", "ARENA")] == [0, 0, 0, 0]
    assert device.latency_ns == 0
    device.ask("advance", 100)  # the job of before the reset must not finish
    assert device.read("STATUS") == 0 and not device.irq
    assert device.outputs() == bytes(len(OUTPUTS))
    device.write("COMMAND", H["NPU_INIT"])
    device.ask("advance", 1)
    assert device.read("STATUS") == DONE
    assert server.connections == 2


def test_with_the_real_host(device: Device) -> None:
    """A whole job of a network through hil.emulator.npu: the bytes that LiteRT computes arrive in memory."""
    from hil import zoo
    from hil.cost import CostModel
    from hil.emulator.latency import latencies
    from hil.emulator.npu import NpuServer, TcpNpu
    from hil.emulator.program import build_program
    from hil.plan import make_plan
    from hil.platform import load_platform, make_target

    network = zoo.load("kws")
    target = make_target(load_platform("max78000"))
    plan = make_plan(network, target)
    model = CostModel(target)
    program = build_program(plan, latencies=latencies(plan, model, model.predict([plan]), 0))
    job = program.jobs[0]
    inputs = job.spans[: len(job.slice.inputs)]
    outputs = job.spans[len(inputs) :]
    data = [os.urandom(span.size_bytes) for span in inputs]
    spans = [(span.arena, span.size_bytes) for span in job.spans]
    words = [job.number, len(inputs), len(outputs), *(word for span in spans for word in span)]
    with TcpNpu(NpuServer(program)) as server:
        device.ask("port", server.port)
        device.poke(DESCRIPTOR, struct.pack(f"<{len(words)}I", *words))
        for span, piece in zip(inputs, data, strict=True):
            device.poke(ARENA + span.arena, piece)
        device.write("JOB", job.number)
        device.write("DESCRIPTOR", DESCRIPTOR)
        device.write("ARENA", ARENA)
        device.write("COMMAND", H["NPU_RUN"])
        device.ask("advance", job.latency_ns)
        assert device.read("STATUS") == DONE, device.log
    status, latency_ns, expected = NpuServer(program).answer(H["NPU_RUN"], job.number, b"".join(data))
    assert status == 0 and device.latency_ns == latency_ns == job.latency_ns
    assert b"".join(device.peek(ARENA + span.arena, span.size_bytes) for span in outputs) == expected


def test_renode_can_read_it() -> None:
    """Renode compiles it on the user's machine, whatever the locale there."""
    assert NPU_SOURCE.read_text(encoding="utf-8").isascii()
