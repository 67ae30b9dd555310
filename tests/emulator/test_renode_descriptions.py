"""The Renode descriptions in platforms/, their reader, and their check: known answers and planted faults."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import get_args
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from renode_fixtures import fake_renode

from hil.cli.main import main
from hil.data import data_dir
from hil.emulator import renode
from hil.emulator.describe import Outcome, check_description, check_platforms
from hil.emulator.repl import (
    Description,
    Place,
    Reference,
    Tagged,
    Value,
    Wire,
    read_description,
    read_script,
)
from hil.emulator.repl_models import CORES, MODELS, NOT_IN_RENODE
from hil.errors import PlatformError
from hil.platform import load_platform, make_target, platform_files
from hil.platform.schema import Core

PLATFORMS = data_dir("platforms")
HEADERS = Path(__file__).parents[2] / "firmware" / "port" / "renode"

SAMPLE = """\
// a comment, and "a string" in it
using "common.repl"

cpu: CPU.CortexM @ sysbus
    cpuType: "cortex-m4f" // not "m7"
    nvic: nvic
    PerformanceInMips: 1_00

nvic: IRQControllers.NVIC @ sysbus 0xE000E000
    -> cpu@0

ram: Memory.MappedMemory @ {
        sysbus 0x20000000;
        sysbus 0x30000000
    }
    size: 0x1000

clint: IRQControllers.CoreLevelInterruptor @ sysbus <0x2000000, +0x10000>
    [0, 1] -> cpu@[3, 7]
    mode: Kind.Fast
    enabled: true

uart: UART.NS16550 @ sysbus 0x40000000 { wideRegisters: false; IRQ -> nvic@5 }

sysbus:
    init:
        Tag <0x50000000, 0x50000FFF> "GCR" 0xFFFFFFFF
        SilenceRange <0x50002000, +0x10>
"""


def write(folder: Path, text: str, name: str = "sample.repl") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def parse(folder: Path, text: str) -> Description:
    return read_description(write(folder, text))


def test_reader_understands_every_form(tmp_path: Path) -> None:
    description = parse(tmp_path, SAMPLE)
    entries = description.entries
    assert description.using == (("common.repl", 2),)
    assert list(entries) == ["cpu", "nvic", "ram", "clint", "uart", "sysbus"]
    assert entries["cpu"].properties == {
        "cpuType": Value("cortex-m4f", 5),
        "nvic": Value(Reference("nvic"), 6),
        "PerformanceInMips": Value(100, 7),
    }
    assert entries["cpu"].places == (Place("sysbus"),)
    assert entries["nvic"].wires == [Wire("", "cpu", 0, 10)]
    assert entries["ram"].places == (Place("sysbus", 0x20000000), Place("sysbus", 0x30000000))
    assert entries["clint"].places == (Place("sysbus", 0x2000000, 0x10000),)
    assert entries["clint"].wires == [Wire("0", "cpu", 3, 19), Wire("1", "cpu", 7, 19)]
    assert entries["clint"].properties["mode"].value == Reference("Kind.Fast")
    assert entries["clint"].properties["enabled"].value is True
    assert entries["uart"].properties["wideRegisters"].value is False
    assert entries["uart"].wires == [Wire("IRQ", "nvic", 5, 23)]
    assert entries["sysbus"].tagged == [
        Tagged("Tag", 0x50000000, 0x1000, "GCR", 27),
        Tagged("SilenceRange", 0x50002000, 0x10, "", 28),
    ]


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("cpu CPU.CortexM\n", 1, "is no entry"),
        ("cpu: CPU.CortexM\n", 1, "expected '@ place'"),
        ("\n    size: 3\n", 2, "belongs to no entry"),
        ("a: B.C @ sysbus 0x\n", 1, "place 'sysbus 0x' is not understood"),
        ("a: B.C @ sysbus\n    size: 0x3 4\n", 2, "value '0x3 4' is not understood"),
        ("a: B.C @ sysbus\n    size = 3\n", 2, "'size = 3' is not understood"),
        ("a: B.C @ sysbus\n    size: 3\n    size: 4\n", 3, "a.size is given twice"),
        ("a: B.C @ sysbus\na: B.C @ sysbus\n", 2, "described twice, first in line 1"),
        ("a: B.C @ sysbus\n    [0, 1] -> cpu@3\n", 2, "2 outputs for 1 inputs"),
        ("a: B.C @ sysbus\n    [0-1] -> cpu@[3-4]\n", 2, "the inputs must be numbers"),
        ("a: B.C @ {\n  sysbus 0x1\n", 1, "a brace is never closed"),
        ("a: B.C @ sysbus }\n", 1, "a closing brace too many"),
        ('a: B.C @ sysbus\n    name: "x\n', 2, "a quotation mark is missing"),
        ("a: B.C @ sysbus\n\tsize: 3\n", 2, "a tab"),
        ('sysbus:\n    init:\n        Tag <0x10, 0x0> "X"\n', 3, "ends before it starts"),
        ("sysbus:\n    init:\n        Tag <0x0, 0x10>\n", 3, "a Tag has a name"),
        ("sysbus:\n    init:\n        WriteWord 0x0 1\n", 3, "'WriteWord 0x0 1' is not understood"),
        ("// µNPU\n", 1, "byte 0xc2 is not ASCII"),
    ],
)
def test_reader_names_the_line_of_a_fault(tmp_path: Path, text: str, line: int, what: str) -> None:
    with pytest.raises(PlatformError, match="sample.repl") as refused:
        parse(tmp_path, text)
    assert refused.value.message.startswith(f"{tmp_path / 'sample.repl'}:{line}: ")
    assert what in refused.value.message


@settings(deadline=None)
@given(st.lists(st.sampled_from([*SAMPLE.split("\n"), "{", "}", '"', "  ", "a: B.C @ sysbus {", "[", "-> x@[]", "0x"])))
def test_reader_answers_or_refuses(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    file = write(tmp_path_factory.getbasetemp(), "\n".join(lines), "mutated.repl")
    try:
        read_description(file)
    except PlatformError as refused:
        assert re.match(rf"{re.escape(str(file))}:\d+: ", refused.message)


def test_script_reader_tells_macros_from_the_rest(tmp_path: Path) -> None:
    text = (
        ':name: X\n# no\n$elf?=@a.elf\nusing sysbus\nmacro reset\n"""\n    sysbus LoadELF $elf\n"""\nrunMacro $reset\n'
    )
    commands = read_script(write(tmp_path, text, "x.resc"))
    assert [(c.words, c.line, c.macro) for c in commands] == [
        (("$elf", "?=", "@a.elf"), 3, ""),
        (("using", "sysbus"), 4, ""),
        (("sysbus", "LoadELF", "$elf"), 7, "reset"),
        (("runMacro", "$reset"), 9, ""),
    ]


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ('macro reset\n"""\n    x\n', 4, "never closed"),
        ("macro reset\nx\n", 2, 'expected """'),
        ('"""\n', 1, "without a macro"),
        ('mach create "x\n', 1, "a quotation mark is missing"),
    ],
)
def test_script_reader_names_the_line_of_a_fault(tmp_path: Path, text: str, line: int, what: str) -> None:
    with pytest.raises(PlatformError) as refused:
        read_script(write(tmp_path, text, "x.resc"))
    assert refused.value.message.startswith(f"{tmp_path / 'x.resc'}:{line}: ")
    assert what in refused.value.message


def test_every_platform_is_described_or_says_why_not() -> None:
    outcomes = {outcome.platform: outcome for outcome in check_platforms([])}
    assert list(outcomes) == list(platform_files())
    assert {o.platform: o.problems for o in outcomes.values() if o.problems} == {}
    assert {o.platform: o.why for o in outcomes.values() if o.state == "none"} == {
        "f28p55x": NOT_IN_RENODE["c28x"],
        "ndp120": NOT_IN_RENODE["hifi3"],
    }


# Console and accelerator as the vendors' headers and device trees have them (each README.md names its source).
# An interrupt of None: the vendor publishes none, or the part has no accelerator.
FACTS = {
    "max78000": (0x40042000, 14, 0x50000000, 101),  # msdk max78000.h: UART0_IRQn, CNN_IRQn
    "max78002": (0x40042000, 14, 0x50000000, 101),  # msdk max78002.h
    "mcxn947": (0x400B4000, 39, None, 97),  # MCXN947_cm33_core0_COMMON.h: LP_FLEXCOMM4_IRQn, NPU_IRQn
    "hx-we2": (0x54003000, 90, 0x53020000, 192),  # WE2_ARMCM55.h: UART0_intr_IRQn, U55_IRQn
    "stm32h743": (0x40004800, 39, None, None),  # zephyr stm32h7.dtsi: usart3
    "stm32h747": (0x40011000, 37, None, None),  # usart1
    "stm32h7a3": (0x40004800, 39, None, None),
    "stm32l4r5": (0x40008000, 70, None, None),  # zephyr stm32l4.dtsi: lpuart1
    "stm32u575": (0x40013800, 61, None, None),  # zephyr stm32u5.dtsi: usart1
    "stm32n6": (0x52001000, 159, 0x580E0000, 53),  # zephyr stm32n6.dtsi: usart1; NPU_END_OF_EPOCH_IRQn
    "efr32xg24": (0x5005C000, 9, 0x4D000000, 15),  # zephyr xg24.dtsi: usart0 rx; MVP_IRQn
    "nrf54lm20": (0x500C6000, 198, 0x50056000, 86),  # zephyr nrf54lm20_a_b.dtsi: uart20; AXONS
    "cv1800b": (0x04140000, 44, 0x0C100000, 76),  # linux cv18xx.dtsi: uart0; Milk-V SDK: TDMA
}


@pytest.mark.parametrize("platform_id", FACTS)
def test_console_and_accelerator_are_where_the_vendor_put_them(platform_id: str) -> None:
    entries = read_description(PLATFORMS / platform_id / f"{platform_id}.repl").entries
    (uart,) = (entry for entry in entries.values() if entry.model.startswith("UART."))
    npu = entries["npu"]
    base, irq, npu_base, npu_irq = FACTS[platform_id]
    assert (uart.places[0].address, uart.wires[0].number) == (base, irq)
    assert npu_base in (None, npu.places[0].address)
    assert npu_irq in (None, npu.wires[0].number)


def test_the_peripheral_is_what_the_table_says() -> None:
    source = Path(renode.__file__).with_name("HilNpu.cs").read_text(encoding="ascii")
    model = MODELS["Miscellaneous.HilNpu"]
    assert set(re.findall(r"public int (\w+) \{ get; set; \}", source)) == set(model.properties)
    size = re.search(r"public long Size \{ get \{ return (0x\w+); \} \}", source)
    assert size is not None
    assert int(size[1], 16) == model.size
    assert tuple(re.findall(r"public GPIO (\w+)", source)) == model.outputs


def test_cores_are_those_of_platform_files() -> None:
    assert {*CORES, *NOT_IN_RENODE} == set(get_args(Core.model_fields["isa"].annotation))


def _plant(folder: Path, name: str, old: str, new: str) -> None:
    file = folder / name
    text = file.read_text(encoding="ascii")
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {name}"
    file.write_text(text.replace(old, new), encoding="utf-8")


def _copy(tmp_path: Path, platform_id: str = "max78000") -> Path:
    shutil.copytree(PLATFORMS / platform_id, tmp_path / platform_id)
    shutil.copy(HEADERS / f"{platform_id}.h", tmp_path / platform_id)
    return tmp_path / platform_id


REPL, RESC, HEADER = "max78000.repl", "max78000.resc", "max78000.h"


@pytest.mark.parametrize(
    ("file", "old", "new", "reported"),
    [
        (REPL, "sysbus 0x60000000", "sysbus 0x2001F000", f"{REPL}:22: program at 0x2001F000 overlaps sram"),
        (REPL, "UART.MAX32655_UART", "UART.MAX32999_UART", f"{REPL}:25: uart0: type UART.MAX32999_UART is not"),
        (REPL, "IRQ -> nvic@101", "IRQ -> nvic@240", f"{REPL}:29: nvic has no input 240; 0 to 239 are there"),
        (REPL, "IRQ -> nvic@101", "IRQ -> nvic@14", f"{REPL}:29: npu and uart0 share nvic@14"),
        (REPL, "IRQ -> nvic@101", "Done -> nvic@101", f"{REPL}:29: Miscellaneous.HilNpu has no output Done"),
        (REPL, "IRQ -> nvic@101", "IRQ -> nvic0@101", f"{REPL}:29: no entry 'nvic0'"),
        (REPL, "    frequency: 100000000", "    frequency: 60000000", f"{REPL}:14: dwt.frequency must be 100000000"),
        (REPL, "PerformanceInMips: 100", "PerformanceInMips: 120", f"{REPL}:7: PerformanceInMips must be 100"),
        (REPL, 'cpuType: "cortex-m4f"', 'cpuType: "cortex-m7"', f"{REPL}:5: CPU.CortexM cortex-m7; expected"),
        (REPL, "size: 0x00020000", "size: 0x00040000", f"{REPL}:20: sram is 262144 bytes here, 131072 in"),
        (REPL, "size: 0x00020000", "bytes: 0x00020000", f"{REPL}:19: sram: Memory.MappedMemory needs size"),
        (REPL, "sram: Memory", "ram: Memory", f"{REPL}:1: sram of platform.toml is missing"),
        (REPL, "nvic: nvic", "nvic: 3", f"{REPL}:6: nvic must be a name"),
        (REPL, "nvic: nvic", "nvic: vic", f"{REPL}:6: nvic: no entry 'vic'"),
        (REPL, "npu: Misc", "acc: Misc", f"{REPL}:1: expected an entry 'npu'"),
        (REPL, "// MAX78000:", 'using "lost.repl" // MAX78000:', f'{REPL}:1: using "lost.repl": the check follows no'),
        (REPL, "nvic: nvic", "nvic = nvic", f"{REPL}:6: 'nvic = nvic' is not understood"),
        (RESC, '"0.010000"', '"1e-05"', f'{RESC}:15: time "1e-05"; expected fixed point'),
        (RESC, "emulation SetSeed 0x1", "# none", f"{RESC}:1: 'emulation SetSeed' is missing"),
        (RESC, "include $npu", "# none", f"{RESC}:1: 'include $npu' is missing"),
        (RESC, "$program?=@program.bin", "# none", f"{RESC}:23: $program is never set"),
        (RESC, "$program 0x60000000", "$program 0x61000000", f"{RESC}:23: the program goes to 0x60000000"),
        (RESC, "$ORIGIN/max78000.repl", "$ORIGIN/other.repl", f"{RESC}:12: expected 'machine LoadPlatformDesc"),
        (RESC, "runMacro $reset", "# none", f"{RESC}:1: 'runMacro $reset' is missing"),
        (RESC, "Two runs", "Two µruns", f"{RESC}:14: byte 0xc2 is not ASCII"),
        (RESC, "VectorTableOffset 0x10000000", "VectorTableOffset 0x0", f"{HEADER}:11: ROM_ORIGIN is 0x10000000;"),
        (
            HEADER,
            "#define UART_IRQ 14",
            "#define UART_IRQ 15",
            f"{HEADER}:8: UART_IRQ is 15; the description says 14",
        ),
        (HEADER, "NPU_BASE 0x50000000u", "NPU_BASE 0x50100000u", f"{HEADER}:9: NPU_BASE is 0x50100000u; the"),
        (HEADER, "#define MIPS 100", "", f"{HEADER}:1: MIPS is missing; the description says 100"),
        (HEADER, "RAM_BYTES 0x00020000", "RAM_BYTES 0x00030000", f"{HEADER}:13: RAM 0x20000000 with 196608 bytes"),
        (HEADER, "CORE_CORTEX_M4", "CORE_CORTEX_M7", f"{HEADER}:1: CORE_CORTEX_M4 is missing"),
        (HEADER, "RENODE_UART_MAX32655", "RENODE_UART_NXP_LPUART", f"{HEADER}:1: RENODE_UART_MAX32655 is missing"),
    ],
)
def test_planted_faults_are_reported(tmp_path: Path, file: str, old: str, new: str, reported: str) -> None:
    _report(tmp_path, "max78000", file, old, new, reported)


def _report(tmp_path: Path, platform_id: str, file: str, old: str, new: str, reported: str) -> None:
    folder = _copy(tmp_path, platform_id)
    target = make_target(load_platform(platform_id))
    assert check_description(target, folder, folder) == Outcome(platform_id, "ok")
    _plant(folder, file, old, new)
    outcome = check_description(target, folder, folder)
    assert outcome.state == "problems"
    assert any(problem.startswith(f"{folder}/{reported}") for problem in outcome.problems), outcome.problems


DWT = "dwt: Miscellaneous.DWT @ sysbus 0xE0001000\n    frequency: 100000000\n"
QUANTUM = "a quantum of"


@pytest.mark.parametrize(
    ("file", "old", "new", "reported"),
    [
        # Renode refuses to load these,
        (REPL, "    nvic: nvic\n", "", f"{REPL}:4: cpu: CPU.CortexM needs nvic"),
        (REPL, "nvic: nvic", "nvic: flash", f"{REPL}:6: nvic: flash is a Memory.MappedMemory; expected a IRQControl"),
        (REPL, '"cortex-m4f"', '"cortex-m4fx"', f"{REPL}:5: CPU.CortexM cortex-m4fx; expected CPU.CortexM cortex-m4f "),
        (RESC, 'mach create "max78000"\n', "", f"{RESC}:1: 'mach create' is missing"),
        (RESC, "using sysbus\n", "", f"{RESC}:1: 'using sysbus' is missing"),
        (RESC, "emulation SetSeed", "emulaton SetSeed", f"{RESC}:18: no command or device 'emulaton'"),
        (RESC, "machine Load", "machne Load", f"{RESC}:12: no command or device 'machne'"),
        (RESC, "emulation SetSeed", "emulation SetSead", f"{RESC}:18: emulation has no 'SetSead'; hil knows "),
        (RESC, "sysbus LoadELF", "sysbus LoadELFF", f"{RESC}:22: sysbus has no 'LoadELFF'; hil knows "),
        (RESC, "cpu Vector", "sysbus.core Vector", f"{RESC}:24: no command or device 'sysbus.core'"),
        (RESC, "cpu Vector", "sysbus.cpu Vektor", f"{RESC}:24: sysbus.cpu has no 'VektorTableOffset'; hil knows "),
        # the firmware waits for ever, or runs at an address that faults,
        (REPL, "    IRQ -> nvic@101\n", "", f"{REPL}:28: npu: output IRQ must go to nvic"),
        (REPL, "    IRQ -> nvic@14\n", "", f"{REPL}:25: uart0: output IRQ must go to nvic"),
        (REPL, "    IRQ -> cpu@0\n", "", f"{REPL}:9: nvic: output IRQ must go to cpu@0"),
        (REPL, DWT, "", f"{REPL}:1: expected an entry 'dwt' of type Miscellaneous.DWT"),
        (REPL, "sysbus 0xE000E000", "sysbus 0xE0010000", f"{REPL}:9: nvic must be at 0xE000E000"),
        (REPL, "sysbus 0xE0001000", "sysbus 0xE0002000", f"{REPL}:13: dwt must be at 0xE0001000"),
        # or Renode stands still, or two runs differ.
        (RESC, '"0.010000"', '"0.000000"', f'{RESC}:15: {QUANTUM} "0.000000" seconds; expected at least 0.010000'),
        (RESC, '"0.010000"', '"0.000100"', f'{RESC}:15: {QUANTUM} "0.000100" seconds; expected at least 0.010000'),
    ],
)
def test_what_cannot_load_or_would_hang_is_reported(
    tmp_path: Path, file: str, old: str, new: str, reported: str
) -> None:
    _report(tmp_path, "max78000", file, old, new, reported)


PRIVILEGED = "PrivilegedArchitecture.Priv1_10"


@pytest.mark.parametrize(
    ("platform_id", "old", "new", "reported"),
    [
        ("cv1800b", "    0 -> cpu@11\n", "", "15: plic: output 0 must go to cpu@11"),
        ("cv1800b", "0 -> cpu@11", "0 -> cpu@9", "16: plic: output 0 must go to cpu@11"),
        ("cv1800b", "    [0, 1] -> cpu@[3, 7]\n", "", "11: clint: output 1 must go to cpu@7"),
        ("cv1800b", "cpu@[3, 7]", "cpu@[7, 3]", "12: clint: output 0 must go to cpu@3"),
        ("cv1800b", "    timeProvider: clint\n", "", "4: cpu: CPU.RiscV64 needs timeProvider"),
        ("cv1800b", "    numberOfContexts: 1\n", "", "15: plic: IRQControllers.PlatformLevelInterruptController needs"),
        ("cv1800b", PRIVILEGED, "PrivilegedArchitecture.Nonsense", "6: privilegedArchitecture: no constant 'Privil"),
        ("cv1800b", "wideRegisters: true", "wideRegisters: false", "27: wideRegisters must be true, as the firmware"),
        ("stm32h7a3", "    frequency: 64000000\n", "", "37: usart3: UART.STM32F7_USART needs frequency"),
        ("stm32h7a3", "    initialLimit: 0xFFFFFFFF\n", "", "41: timer2: Timers.STM32_Timer needs initialLimit"),
    ],
)
def test_what_cannot_load_elsewhere_is_reported(
    tmp_path: Path, platform_id: str, old: str, new: str, reported: str
) -> None:
    _report(tmp_path, platform_id, f"{platform_id}.repl", old, new, f"{platform_id}.repl:{reported}")


def test_a_users_copy_is_compared_with_the_shipped_header(tmp_path: Path) -> None:
    """The firmware's image is the shipped one, whoever wrote the description."""
    folder = _copy(tmp_path)
    assert check_platforms(["max78000"], [tmp_path]) == [Outcome("max78000", "ok")]
    _plant(folder, REPL, "IRQ -> nvic@14", "IRQ -> nvic@15")
    (outcome,) = check_platforms(["max78000"], [tmp_path])
    assert outcome.problems == (f"{HEADERS}/{HEADER}:8: UART_IRQ is 14; the description says 15",)


def test_platforms_without_description_or_script(tmp_path: Path) -> None:
    folder = _copy(tmp_path)
    target = make_target(load_platform("max78000"))
    (folder / RESC).unlink()
    assert check_description(target, folder, folder).problems == (
        f"{folder / RESC}: cannot be read: No such file or directory",
    )
    (folder / REPL).unlink()
    assert check_description(target, folder, folder) == Outcome(
        "max78000", "none", "nobody has written max78000.repl yet"
    )


def test_a_missing_header_is_a_problem_only_where_headers_are(tmp_path: Path) -> None:
    folder = _copy(tmp_path)
    target = make_target(load_platform("max78000"))
    (folder / HEADER).unlink()
    assert check_description(target, folder, folder).problems == (
        f"{folder / HEADER}:1: missing; the firmware needs it",
    )
    assert check_description(target, folder, None).state == "ok"


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["platforms", "check", "max78000", "ndp120"]) == 0
    assert capsys.readouterr().out.split("\n")[:2] == [
        "max78000  ok",
        "ndp120    no description: Renode has no core with the instructions of a HiFi 3",
    ]
    folder = _copy(tmp_path)
    _plant(folder, RESC, '"0.010000"', '"1e-05"')
    argv = ["platforms", "check", "max78000", "--platform-path", str(tmp_path)]
    assert main(argv) == 2
    lines = capsys.readouterr().out.split("\n")
    assert lines[:2] == [
        "max78000  1 problem",
        f'  {folder}/{RESC}:15: time "1e-05"; expected fixed point in quotes, such as "0.010000"',
    ]
    assert main([*argv, "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert [(c["platform"], c["state"], len(c["problems"])) for c in document["checks"]] == [
        ("max78000", "problems", 1)
    ]
    assert main(["platforms", "check", "max7800"]) == 2
    assert "no platform 'max7800'" in capsys.readouterr().err


def _loaded(elf: bytes) -> list[tuple[int, int]]:
    """(physical address, bytes) of every loadable segment of a little-endian ELF file with 32 or 64 bits."""
    wide = elf[4] == 2
    (table,) = struct.unpack_from("<Q" if wide else "<I", elf, 32 if wide else 28)
    size, count = struct.unpack_from("<HH", elf, 54 if wide else 42)
    segments = []
    for offset in range(table, table + size * count, size):
        kind, *fields = struct.unpack_from("<IIQQQQQ" if wide else "<IIIIII", elf, offset)
        physical, in_file = (fields[3], fields[4]) if wide else (fields[2], fields[3])
        if kind == 1 and in_file:
            segments.append((physical, in_file))
    return segments


@pytest.mark.parametrize("platform_id", [o.platform for o in check_platforms([]) if o.state != "none"])
def test_firmware_fits_the_memories(platform_id: str) -> None:
    image = Path(renode.__file__).parents[1] / "images" / f"renode-{platform_id}.elf"
    if not image.is_file():
        pytest.skip(f"no firmware for {platform_id}: {image.name} is not there")
    entries = read_description(PLATFORMS / platform_id / f"{platform_id}.repl").entries.values()
    memories = [
        range(place.address, place.address + size)
        for entry in entries
        if isinstance(size := entry.properties.get("size", Value(0, 0)).value, int)
        for place in entry.places
        if place.address is not None
    ]
    segments = _loaded(image.read_bytes())
    assert segments
    for start, size in segments:
        assert any(start in memory and start + size - 1 in memory for memory in memories), f"0x{start:08X} + {size}"


SUITE = Path(__file__).parents[2] / "robot" / "platforms" / "renode_descriptions.robot"


def test_the_robot_suite_loads_every_description() -> None:
    rows = re.findall(r"^(\S+) {2,}\1$", SUITE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [outcome.platform for outcome in check_platforms([]) if outcome.state != "none"]


def _results(folder: Path) -> dict[str, tuple[str, str]]:
    """Run the suite as a user does: state and message of every case."""
    pytest.importorskip("robot", reason="Robot Framework is not installed: pip install 'hil[robot]'")
    command = [sys.executable, "-m", "robot", "--outputdir", str(folder), "--log", "NONE", "--report", "NONE"]
    done = subprocess.run([*command, str(SUITE)], capture_output=True, text=True, timeout=280)
    cases = ElementTree.parse(folder / "output.xml").iter("test")  # its own writing, not a stranger's
    found = {case.attrib["name"]: case.find("status") for case in cases}
    assert done.returncode == 0, done.stdout
    return {name: (s.attrib["status"], s.text or "") for name, s in found.items() if s is not None}


def test_the_robot_suite_with_a_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own steps work: every case starts its board and finds the prompt and the parts."""
    fake = fake_renode(tmp_path)
    monkeypatch.setenv("HIL_RENODE", str(fake.renode.path))
    results = _results(tmp_path / "out")
    assert {state for state, _ in results.values()} == {"PASS"}
    assert len(results) == 1 + len([o for o in check_platforms([]) if o.state != "none"])
    commands = fake.commands()
    assert commands.count("start") == len(results) - 1  # esp32-s3 has no firmware
    _, first, second = fake.record.read_text(encoding="utf-8").split("argv ")
    assert "$elf=" in first and "$" not in second and "include" in second


def test_the_robot_suite_passes_or_says_once_why_not(tmp_path: Path) -> None:
    results = _results(tmp_path)
    states = {state for state, _ in results.values()}
    if states == {"SKIP"}:
        (reason,) = {message.strip().splitlines()[-1] for _, message in results.values()}
        pytest.skip(reason)
    assert states == {"PASS"}
