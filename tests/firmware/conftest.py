"""The firmware's kernels as a library of the host."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from hil.emulator.layout import Step
from hil.emulator.lower import ConstantPool, LoweredStep

FIRMWARE = Path(__file__).resolve().parents[2] / "firmware"
POOL_BASE = 64  # where the constants begin in the programs of these tests
FLAGS = ("-std=c11", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", f"-I{FIRMWARE / 'include'}")


class Kernels:
    """``kernel_run`` of the library at ``path``."""

    def __init__(self, path: Path) -> None:
        self._run = ctypes.CDLL(str(path)).kernel_run
        self._run.argtypes = (ctypes.POINTER(Step), ctypes.c_void_p, ctypes.c_void_p)
        self._run.restype = ctypes.c_int

    @staticmethod
    def pool() -> ConstantPool:
        return ConstantPool(POOL_BASE)

    def run(self, steps: Sequence[LoweredStep], pool: ConstantPool, arena: bytes) -> bytes:
        """The arena after ``steps``."""
        image = bytearray(POOL_BASE) + pool.data
        compiled = []
        for step in steps:
            image += bytes(-len(image) % 4)
            compiled.append(Step(step.opcode, 0, 0, 0, step.op, len(step.params), len(image)))
            image += step.params
        program, memory = _aligned(bytes(image)), _aligned(arena)
        for one in compiled:
            assert self._run(one, program, memory) == 0
        return ctypes.string_at(memory, len(arena))

    def status(self, opcode: int) -> int:
        """What ``kernel_run`` answers to an opcode that is none of its own."""
        return int(self._run(Step(opcode=opcode), _aligned(bytes(64)), _aligned(bytes(64))))


def _aligned(data: bytes) -> ctypes.Array[ctypes.c_uint32]:
    """A copy of ``data`` that begins at a word, as on a board."""
    words = (ctypes.c_uint32 * (len(data) // 4 + 1))()
    ctypes.memmove(words, data, len(data))
    return words


@pytest.fixture(scope="session")
def compiler() -> str:
    found = shutil.which("gcc")
    if found is None:
        pytest.skip("gcc is not installed: the kernels cannot be built for this machine")
    return found


@pytest.fixture(scope="session")
def kernels(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    library = tmp_path_factory.mktemp("kernels") / "kernels.so"
    sources = sorted((FIRMWARE / "kernels").glob("*.c"))
    subprocess.run([compiler, *FLAGS, "-shared", "-fPIC", "-o", library, *sources], check=True, timeout=120)
    return Kernels(library)
