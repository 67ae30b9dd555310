"""What Renode has: the models that the descriptions in platforms/ use, and its cores.

Read off the constructors and public properties in renode-infrastructure; docs/renode.md names the files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# What a property takes: a number, a truth value or a text; the name of an entry of a type (``"IRQControllers.NVIC"``);
# one of these constants.
Kind = type | str | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """What a type of Renode's takes, and what it occupies.

    ``properties`` are constructor arguments and properties; ``required`` those without which Renode refuses it, or the
    firmware hangs; ``values`` those that must be as the firmware expects them.  ``size`` is bytes on the bus, None
    where the property ``size`` says it or nothing is occupied; ``base`` its only place, where the core fixes that.
    ``outputs`` are its interrupt lines; ``wired`` those that must be connected, and to which input of the core (None:
    any of the core's interrupt controller).  ``monitor`` are its commands in scripts, beside the properties that begin
    with a capital.  ``uart`` is the driver in the firmware (``RENODE_UART_…``).
    """

    properties: Mapping[str, Kind]
    size: int | None = None
    outputs: tuple[str, ...] = ()
    uart: str = ""
    required: tuple[str, ...] = ()
    values: Mapping[str, bool] = field(default_factory=dict)
    base: int | None = None
    wired: Mapping[str, int | None] = field(default_factory=dict)
    monitor: tuple[str, ...] = ()


_CPU_COMMANDS = ("PC", "SP", "ExecutedInstructions", "IsHalted", "LogFunctionNames", "SetRegister")
_INTERRUPT: Mapping[str, int | None] = {"IRQ": None}
_RISCV = Model(
    {
        "cpuType": str,
        "privilegedArchitecture": tuple(
            f"PrivilegedArchitecture.Priv{version}" for version in ("1_09", "1_10", "1_11", "1_12", "Unratified")
        ),
        "timeProvider": "IRQControllers.CoreLevelInterruptor",
        "hartId": int,
        "PerformanceInMips": int,
    },
    required=("cpuType", "timeProvider"),
    monitor=_CPU_COMMANDS,
)

MODELS: Mapping[str, Model] = {
    "CPU.CortexM": Model(
        {"cpuType": str, "nvic": "IRQControllers.NVIC", "cpuId": int, "PerformanceInMips": int},
        required=("cpuType", "nvic"),
        monitor=(*_CPU_COMMANDS, "VectorTableOffset"),
    ),
    "CPU.RiscV32": _RISCV,
    "CPU.RiscV64": _RISCV,
    "CPU.Xtensa": Model(
        {"cpuType": str, "cpuId": int, "frequency": int, "PerformanceInMips": int},
        required=("cpuType",),
        monitor=_CPU_COMMANDS,
    ),
    "IRQControllers.NVIC": Model(
        {"systickFrequency": int, "priorityMask": int}, 0x1000, ("IRQ",), base=0xE000E000, wired={"IRQ": 0}
    ),
    # Inputs of a RISC-V core are bits of mip: 3 software, 7 timer, 11 external, all of machine mode.
    "IRQControllers.PlatformLevelInterruptController": Model(
        {"numberOfSources": int, "numberOfContexts": int, "prioritiesEnabled": bool},
        0x4000000,
        ("0",),
        required=("numberOfSources", "numberOfContexts"),
        wired={"0": 11},
    ),
    "IRQControllers.CoreLevelInterruptor": Model(
        {"frequency": int, "numberOfTargets": int, "divider": int},
        0x10000,
        ("0", "1"),
        required=("frequency",),
        wired={"0": 3, "1": 7},
    ),
    "Memory.MappedMemory": Model({"size": int}, required=("size",)),
    "Miscellaneous.DWT": Model({"frequency": int}, 0x1000, required=("frequency",), base=0xE0001000),
    "Miscellaneous.HilNpu": Model({"Port": int, "HostTimeoutMs": int}, 0x1000, ("IRQ",), wired=_INTERRUPT),
    "Timers.STM32_Timer": Model(
        {"frequency": int, "initialLimit": int}, 0x400, ("",), required=("frequency", "initialLimit")
    ),
    "UART.ESP32_UART": Model({}, 0x100, ("IRQ",), wired=_INTERRUPT),
    "UART.MAX32655_UART": Model({}, 0x1000, ("IRQ",), "MAX32655", wired=_INTERRUPT),
    "UART.NS16550": Model(
        {"wideRegisters": bool},
        0x100,
        ("IRQ",),
        "NS16550_WIDE",
        required=("wideRegisters",),
        values={"wideRegisters": True},
        wired=_INTERRUPT,
    ),
    "UART.NXP_LPUART": Model({"frequency": int, "fifoSize": int}, 0x800, ("IRQ",), "NXP_LPUART", wired=_INTERRUPT),
    "UART.STM32F7_USART": Model(
        {"frequency": int, "lowPowerMode": bool},
        0x400,
        ("IRQ",),
        "STM32F7_USART",
        required=("frequency",),
        wired=_INTERRUPT,
    ),
}

# What stands beside a core, by the name that the firmware's port and this check know it by; the last one collects the
# interrupts of the devices.
_BESIDE_RISCV = {
    "clint": "IRQControllers.CoreLevelInterruptor",
    "plic": "IRQControllers.PlatformLevelInterruptController",
}
BESIDE: Mapping[str, Mapping[str, str]] = {
    "CPU.CortexM": {"dwt": "Miscellaneous.DWT", "nvic": "IRQControllers.NVIC"},
    "CPU.RiscV32": _BESIDE_RISCV,
    "CPU.RiscV64": _BESIDE_RISCV,
}

# Commands of start scripts and what may follow them; nothing listed: anything.  Names of devices are commands too.
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "using": ("sysbus",),
    "include": (),
    "mach": ("create",),
    "machine": ("LoadPlatformDescription",),
    "emulation": ("SetGlobalAdvanceImmediately", "SetGlobalQuantum", "SetGlobalSerialExecution", "SetSeed"),
    "sysbus": ("LoadELF", "LoadBinary", "LoadSymbolsFrom", "SilenceRange", "Tag", "WriteDoubleWord"),
    "runMacro": (),
    "logFile": (),
    "logLevel": (),
    "showAnalyzer": (),
}


@dataclass(frozen=True, slots=True)
class CoreModel:
    """Renode's model of an instruction set: type, ``cpuType`` exactly, how many interrupts its controller has.

    ``interrupts`` is 0 where the description says it (a RISC-V interrupt controller's ``numberOfSources``).
    """

    model: str
    cpu_types: tuple[str, ...]
    interrupts: int = 0


_RV32 = CoreModel("CPU.RiscV32", ("rv32imc_zicsr_zifencei", "rv32imafc_zicsr_zifencei"))

CORES: Mapping[str, CoreModel] = {
    "cortex-m0plus": CoreModel("CPU.CortexM", ("cortex-m0+",), 32),
    "cortex-m4": CoreModel("CPU.CortexM", ("cortex-m4f",), 240),
    "cortex-m7": CoreModel("CPU.CortexM", ("cortex-m7",), 240),
    "cortex-m33": CoreModel("CPU.CortexM", ("cortex-m33",), 480),
    "cortex-m55": CoreModel("CPU.CortexM", ("cortex-m55",), 480),
    "cortex-m85": CoreModel("CPU.CortexM", ("cortex-m85",), 480),
    "rv32": _RV32,
    "rv32-simd": _RV32,
    "rv32-pulp": _RV32,
    "rv64": CoreModel("CPU.RiscV64", ("rv64imafdc_zicsr_zifencei",)),
    "xtensa-lx7": CoreModel("CPU.Xtensa", ("esp32s3",), 32),
}

# Instruction sets that Renode cannot run.
NOT_IN_RENODE: Mapping[str, str] = {
    "c28x": "Renode has no C28x core",
    "hifi3": "Renode has no core with the instructions of a HiFi 3",
}

# Cores that hil has no firmware for, and so no header in firmware/port/renode.
NO_FIRMWARE = ("CPU.Xtensa",)

# ``cpuType`` to the macro that chooses compiler flags and start-up code (``CORE_…``).
CORE_MACROS: Mapping[str, str] = {
    "cortex-m4f": "CORTEX_M4",
    "cortex-m7": "CORTEX_M7",
    "cortex-m33": "CORTEX_M33",
    "cortex-m55": "CORTEX_M55",
    "rv32imc_zicsr_zifencei": "RV32IMC",
    "rv32imafc_zicsr_zifencei": "RV32IMAFC",
    "rv64imafdc_zicsr_zifencei": "RV64GC",
}
