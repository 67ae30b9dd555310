"""What Renode has: the models that the descriptions in platforms/ use, and its cores.

Read off the constructors and public properties in renode-infrastructure; docs/renode.md names the files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hil.emulator.repl import Reference


@dataclass(frozen=True, slots=True)
class Model:
    """What a type of Renode's takes: constructor arguments and properties with their types, and what it occupies.

    ``size`` is bytes on the bus, None where the property ``size`` says it or nothing is occupied.  ``outputs`` are its
    interrupt lines.  ``uart`` is the driver in the firmware (``RENODE_UART_…``).
    """

    properties: Mapping[str, type]
    size: int | None = None
    outputs: tuple[str, ...] = ()
    uart: str = ""


_RISCV = Model(
    {
        "cpuType": str,
        "privilegedArchitecture": Reference,
        "timeProvider": Reference,
        "hartId": int,
        "PerformanceInMips": int,
    }
)

MODELS: Mapping[str, Model] = {
    "CPU.CortexM": Model({"cpuType": str, "nvic": Reference, "cpuId": int, "PerformanceInMips": int}),
    "CPU.RiscV32": _RISCV,
    "CPU.RiscV64": _RISCV,
    "CPU.Xtensa": Model({"cpuType": str, "cpuId": int, "frequency": int, "PerformanceInMips": int}),
    "IRQControllers.NVIC": Model({"systickFrequency": int, "priorityMask": int}, 0x1000, ("IRQ",)),
    "IRQControllers.PlatformLevelInterruptController": Model(
        {"numberOfSources": int, "numberOfContexts": int, "prioritiesEnabled": bool}, 0x4000000, ("0",)
    ),
    "IRQControllers.CoreLevelInterruptor": Model(
        {"frequency": int, "numberOfTargets": int, "divider": int}, 0x10000, ("0", "1")
    ),
    "Memory.MappedMemory": Model({"size": int}),
    "Miscellaneous.DWT": Model({"frequency": int}, 0x1000),
    "Miscellaneous.HilNpu": Model({"Port": int, "HostTimeoutMs": int}, 0x1000, ("IRQ",)),
    "Timers.STM32_Timer": Model({"frequency": int, "initialLimit": int}, 0x400, ("",)),
    "UART.ESP32_UART": Model({}, 0x100, ("IRQ",)),
    "UART.MAX32655_UART": Model({}, 0x1000, ("IRQ",), "MAX32655"),
    "UART.NS16550": Model({"wideRegisters": bool}, 0x100, ("IRQ",), "NS16550_WIDE"),
    "UART.NXP_LPUART": Model({"frequency": int, "fifoSize": int}, 0x800, ("IRQ",), "NXP_LPUART"),
    "UART.STM32F7_USART": Model({"frequency": int, "lowPowerMode": bool}, 0x400, ("IRQ",), "STM32F7_USART"),
}


@dataclass(frozen=True, slots=True)
class CoreModel:
    """Renode's model of an instruction set: type, start of ``cpuType``, and how many interrupts its controller has.

    ``interrupts`` is 0 where the description says it (a RISC-V interrupt controller's ``numberOfSources``).
    """

    model: str
    cpu_type: str
    interrupts: int = 0


CORES: Mapping[str, CoreModel] = {
    "cortex-m0plus": CoreModel("CPU.CortexM", "cortex-m0+", 32),
    "cortex-m4": CoreModel("CPU.CortexM", "cortex-m4f", 240),
    "cortex-m7": CoreModel("CPU.CortexM", "cortex-m7", 240),
    "cortex-m33": CoreModel("CPU.CortexM", "cortex-m33", 480),
    "cortex-m55": CoreModel("CPU.CortexM", "cortex-m55", 480),
    "cortex-m85": CoreModel("CPU.CortexM", "cortex-m85", 480),
    "rv32": CoreModel("CPU.RiscV32", "rv32"),
    "rv32-simd": CoreModel("CPU.RiscV32", "rv32"),
    "rv32-pulp": CoreModel("CPU.RiscV32", "rv32"),
    "rv64": CoreModel("CPU.RiscV64", "rv64"),
    "xtensa-lx7": CoreModel("CPU.Xtensa", "esp32s3", 32),
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
