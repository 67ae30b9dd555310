"""The ctypes mirrors against what a C compiler makes of ``program.h``."""

from __future__ import annotations

import ctypes
import subprocess
from enum import IntEnum
from pathlib import Path

from hil.emulator import layout
from hil.plan import PHASES

INCLUDE = Path(__file__).resolve().parents[2] / "firmware" / "include"

# C names of structures; those inside others are named by an expression.
STRUCTURES = {
    "struct program": layout.Program,
    "__typeof__(((struct program *)0)->outputs[0])": layout.ProgramOutput,
    "struct step": layout.Step,
    "struct span": layout.Span,
    "struct npu_params": layout.NpuParams,
    "struct delay_params": layout.DelayParams,
    "struct conv_params": layout.ConvParams,
    "struct fully_connected_params": layout.FullyConnectedParams,
    "struct pool_params": layout.PoolParams,
    "struct mean_params": layout.MeanParams,
    "struct binary_params": layout.BinaryParams,
    "struct softmax_params": layout.SoftmaxParams,
    "struct table_params": layout.TableParams,
    "struct copy_params": layout.CopyParams,
    "struct fill_params": layout.FillParams,
    "struct decode_params": layout.DecodeParams,
    "__typeof__(((struct decode_params *)0)->inputs[0])": layout.DecodeInput,
}
ENUMERATIONS: dict[str, type[IntEnum]] = {
    "PHASE": layout.PhaseCode,
    "CLASS": layout.TimeClass,
    "OP": layout.Opcode,
    "DECODE": layout.DecodeKind,
}
CONSTANTS = ("PROGRAM_MAGIC", "PROGRAM_VERSION", "PROGRAM_CLASSES", "PROGRAM_MAX_OUTPUTS")


def expectations() -> dict[str, int]:
    """C expressions and their values according to the mirrors."""
    found = {name: getattr(layout, name) for name in CONSTANTS}
    for prefix, enumeration in ENUMERATIONS.items():
        found |= {f"{prefix}_{member.name}": member.value for member in enumeration}
    found |= {"PHASE_COUNT": len(layout.PhaseCode), "CLASS_COUNT": len(layout.TimeClass)}
    for name, structure in STRUCTURES.items():
        found[f"sizeof({name})"] = ctypes.sizeof(structure)
        for field, *_ in structure._fields_:
            found[f"offsetof({name}, {field})"] = getattr(structure, field).offset
            found[f"sizeof((({name} *)0)->{field})"] = getattr(structure, field).size
    found["offsetof(struct npu_params, spans)"] = ctypes.sizeof(layout.NpuParams)
    return found


def test_sizes_offsets_and_values_are_those_of_the_header(compiler: str, tmp_path: Path) -> None:
    expected = expectations()
    prints = "\n".join(f'printf("%lu\\n", (unsigned long)({expression}));' for expression in expected)
    headers = "#include <stddef.h>\n#include <stdio.h>\n#include <program.h>\n"
    (tmp_path / "layout.c").write_text(f"{headers}int main(void) {{ {prints} return 0; }}\n")
    command = [compiler, "-Wall", "-Werror", f"-I{INCLUDE}", "-o", tmp_path / "layout", tmp_path / "layout.c"]
    subprocess.run(command, check=True, timeout=60)
    printed = subprocess.run([tmp_path / "layout"], check=True, timeout=60, capture_output=True, text=True).stdout
    assert dict(zip(expected, map(int, printed.split()), strict=True)) == expected


def test_every_structure_and_enumerator_has_a_mirror() -> None:
    lines = (INCLUDE / "program.h").read_text().splitlines()
    structures = {line.removesuffix(" {") for line in lines if line.startswith("struct ")}
    assert structures <= set(STRUCTURES)
    words = {word.rstrip(",;") for line in lines for word in line.split()}
    for prefix, enumeration in ENUMERATIONS.items():
        named = {w for w in words if w.startswith(f"{prefix}_") and w.isupper() and w.isidentifier()}
        assert named - {f"{prefix}_COUNT"} == {f"{prefix}_{member.name}" for member in enumeration}


def test_phases_are_those_of_plans_in_order() -> None:
    assert [phase.name.lower() for phase in layout.PhaseCode] == list(PHASES)
