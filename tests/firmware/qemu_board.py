"""A firmware image in QEMU for the tests: its UART, programs by hand, and a host for its accelerator."""

from __future__ import annotations

import os
import select
import shutil
import socket
import struct
import subprocess
import threading
import time
import tomllib
import zlib
from collections.abc import Callable, Sequence
from ctypes import LittleEndianStructure
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from hil.emulator.layout import (
    PROGRAM_MAGIC,
    PROGRAM_VERSION,
    CopyParams,
    DelayParams,
    FillParams,
    NpuParams,
    Opcode,
    PhaseCode,
    Program,
    Span,
    Step,
    TimeClass,
)

IMAGES_DIR = Path(__file__).parents[2] / "hil" / "emulator" / "images"
IMAGES: dict[str, dict[str, Any]] = {
    name: image
    for name, image in tomllib.loads((IMAGES_DIR / "images.toml").read_text()).items()
    if image["engine"] == "qemu"
}
INSTRUCTION_NS = 128  # -icount shift=7
BOOT = b"m-timestamp-mode-performance\r\nm-init-done\r\nm-ready\r\n"
_PATIENCE_S = 60  # host time, only so that a fault ends the test

Answer = Callable[[int, int, bytes], bytes]
StepOf = tuple[Opcode, TimeClass, PhaseCode, int, bytes]


def reply(status: int, latency_ns: int, output: bytes = b"") -> bytes:
    """A reply of the accelerator's host, as ``firmware/include/npu.h`` frames it."""
    return struct.pack("<IIQI", 0x2155504E, status, latency_ns, len(output)) + output


# ---- programs ----


def copy(source: int, target: int, count: int, *, op: int = 0, phase: PhaseCode = PhaseCode.INFERENCE) -> StepOf:
    params = CopyParams(source, target, 0, 1, (1, 1, 1, 1, count), (0, 0, 0, 0, 1), (0, 0, 0, 0, 1))
    return Opcode.COPY, TimeClass.MOVE, phase, op, bytes(params)


def fill(target: int, count: int, value: int, *, op: int = -1, phase: PhaseCode = PhaseCode.INFERENCE) -> StepOf:
    return Opcode.FILL, TimeClass.MOVE, phase, op, bytes(FillParams(target, count, value))


def delay(nanoseconds: int, *, op: int = -1, phase: PhaseCode = PhaseCode.INFERENCE) -> StepOf:
    return Opcode.DELAY, TimeClass.CODE, phase, op, bytes(DelayParams(nanoseconds))


def npu(job: int, inputs: Sequence[tuple[int, int]], outputs: Sequence[tuple[int, int]], *, op: int = 0) -> StepOf:
    spans = b"".join(bytes(Span(*span)) for span in (*inputs, *outputs))
    params = bytes(NpuParams(job, len(inputs), len(outputs))) + spans
    return Opcode.NPU, TimeClass.CODE, PhaseCode.INFERENCE, op, params


def build(
    steps: Sequence[StepOf] = (),
    *,
    outputs: Sequence[tuple[int, int, float, int]] = (),
    scales: dict[TimeClass, float] | None = None,
    **fields: Any,
) -> bytes:
    """A program; ``scales`` are board nanoseconds per tick, ``fields`` those of the header."""
    header = Program(PROGRAM_MAGIC, PROGRAM_VERSION)
    header.network, header.platform, header.point = b"tiny", b"somewhere", b"slow"
    for name, value in {"arena_bytes": 1 << 16, **fields}.items():
        setattr(header, name, value)
    header.output_count = len(outputs)
    for index, (arena, size, scale, zero_point) in enumerate(outputs):
        slot = header.outputs[index]
        slot.arena, slot.bytes, slot.scale, slot.zero_point = arena, size, scale, zero_point
    for kind, ns_per_tick in (scales or {}).items():
        header.scale_q20[kind] = round(ns_per_tick * (1 << 20))
    header.steps, header.step_count = len(bytes(header)), len(steps)
    table, params = b"", b""
    start = header.steps + len(steps) * len(bytes(Step()))
    for opcode, time_class, phase, op, data in steps:
        table += bytes(Step(opcode, time_class, phase, 0, op, len(data), start + len(params)))
        params += data
    header.total_bytes = start + len(params)
    return seal(header, table + params)


def seal(header: LittleEndianStructure, rest: bytes) -> bytes:
    """The bytes of a program with the right checksum."""
    whole = bytearray(bytes(header) + rest)
    struct.pack_into("<I", whole, 12, zlib.crc32(whole[16:]))
    return bytes(whole)


# ---- the host of the accelerator ----


class Host:
    """Answers requests on two FIFOs until closed; ``requests`` holds (command, job, input bytes)."""

    def __init__(self, folder: Path, answer: Answer) -> None:
        self.requests: list[tuple[int, int, bytes]] = []
        self._answer = answer
        for name in ("to-host", "from-host"):
            os.mkfifo(folder / name)
        # Opened both ways, so that no open waits for the firmware.
        self._from, self._to = (os.open(folder / name, os.O_RDWR) for name in ("to-host", "from-host"))
        self._wake, self._waker = os.pipe()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        os.close(self._waker)
        self._thread.join()
        os.close(self._wake)

    def _serve(self) -> None:
        try:
            while head := self._read(16):
                magic, command, job, count = struct.unpack("<4I", head)
                assert magic == 0x3F55504E
                self.requests.append((command, job, self._read(count)))
                answer = memoryview(self._answer(*self.requests[-1]))
                if not answer:
                    return
                while answer:
                    answer = answer[os.write(self._to, answer) :]
        finally:
            os.close(self._from)
            os.close(self._to)

    def _read(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            if self._wake in select.select([self._from, self._wake], [], [])[0]:
                return b""
            found += os.read(self._from, count - len(found))
        return found


# ---- the board ----


class Board:
    """A started image that has printed its boot lines."""

    def __init__(self, name: str, folder: Path, program: bytes | None = None, answer: Answer | None = None) -> None:
        image = IMAGES[name]
        binary = shutil.which(image["qemu"])
        if binary is None:
            pytest.skip(f"{image['qemu']} is not installed")
        folder.mkdir()
        self.host = Host(folder, answer) if answer else None
        self._listener = socket.create_server(("127.0.0.1", 0))
        arguments = "arg=fw,arg=to-host,arg=from-host" if answer else "arg=fw"
        command = [binary, "-M", image["machine"], *image["options"], "-display", "none", "-monitor", "none"]
        command += ["-icount", "shift=7,sleep=off", "-kernel", str(IMAGES_DIR / f"{name}.elf")]
        command += ["-semihosting-config", f"enable=on,target=native,{arguments}"]
        command += ["-chardev", f"socket,id=uart,port={self._listener.getsockname()[1]},host=127.0.0.1,nodelay=on"]
        command += ["-serial", "chardev:uart"]
        if program is not None:
            (folder / "program.bin").write_bytes(program)
            command += ["-device", f"loader,file=program.bin,addr={image['program_address']:#x},force-raw=on"]
        self.process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._listener.settimeout(_PATIENCE_S)
        self._uart, _ = self._listener.accept()
        self._uart.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._uart.settimeout(_PATIENCE_S)
        self._received = b""
        self.boot = self.until_ready()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        self._uart.close()
        self._listener.close()
        if self.host:
            self.host.close()

    def until_ready(self) -> bytes:
        """Everything up to the next prompt."""
        while b"m-ready\r\n" not in self._received:
            piece = self._uart.recv(1 << 16)
            assert piece, f"the emulator ended after {self._received!r}"
            self._received += piece
        answer, prompt, self._received = self._received.partition(b"m-ready\r\n")
        return answer + prompt

    def ask(self, command: str | bytes, *, pause_s: float = 0.0) -> bytes:
        """The raw answer with its prompt; with a pause, byte after byte."""
        data = (command.encode() if isinstance(command, str) else command) + b"%"
        for piece in [data[i : i + 1] for i in range(len(data))] if pause_s else [data]:
            self._uart.sendall(piece)
            time.sleep(pause_s)
        return self.until_ready()

    def lines(self, command: str) -> list[str]:
        """The lines of the answer without the prompt."""
        lines = self.ask(command).decode().split("\r\n")
        assert lines[-2:] == ["m-ready", ""]
        return lines[:-2]

    def load(self, data: bytes) -> None:
        assert self.lines(f"db load {len(data)}") == [f"m-[Expecting {len(data)} bytes]"]
        pieces = [data[i : i + 31] for i in range(0, len(data), 31)]
        for piece in pieces[:-1]:
            assert self.ask(f"db {piece.hex()}") == b"m-ready\r\n"
        assert self.lines(f"db {pieces[-1].hex()}") == ["m-load-done"]

    def phases(self) -> dict[str, tuple[int, int]]:
        """Nanoseconds and executions by phase."""
        *lines, done = self.lines("phases")
        assert done == "m-phases-done"
        found = {}
        for line in lines:
            name, ns, count = line.removeprefix("m-phase-[").removesuffix("]").split(",")
            found[name] = (int(ns), int(count))
        return found

    def ops(self) -> list[tuple[int, int, int, int]]:
        """Index, nanoseconds, ticks, executions of each step with an op."""
        *lines, done = self.lines("ops")
        assert done == "m-ops-done"
        found = []
        for line in lines:
            index, ns, ticks, count = map(int, line.removeprefix("m-op-[").removesuffix("]").split(","))
            found.append((index, ns, ticks, count))
        return found
