"""Checks a platform's Renode description without Renode: against Renode's models, the platform file, the firmware.

Findings are lines ``file:line: what``; a platform without a description says why it has none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hil.data import data_dir
from hil.emulator.repl import Command, Description, Entry, Reference, read_description, read_script
from hil.emulator.repl_models import (
    BESIDE,
    COMMANDS,
    CORE_MACROS,
    CORES,
    MODELS,
    NO_FIRMWARE,
    NOT_IN_RENODE,
    Kind,
    Model,
)
from hil.errors import HilError, UnavailableError
from hil.platform import Target, load_platform, make_target, platform_files

# Entries that hil's engine and firmware look for by name.
_CPU, _NPU, _PROGRAM = "cpu", "npu", "program"

# Properties that must be the host core's clock: the counters that the firmware reads count its instructions.
_CLOCKS = (
    ("nvic", "systickFrequency"),
    ("dwt", "frequency"),
    ("clint", "frequency"),
    (_CPU, "frequency"),
)

# Sizes in platform files are what a data sheet says of the whole ("about 2.4 MB"), or less what a system keeps.
_SIZE_TOLERANCE = 0.05

# Inputs of a RISC-V core: the bits of its interrupt registers.
_CPU_INPUTS = 32

_QUANTUM = "SetGlobalQuantum"
# What every script must say, besides loading its files.
_SCRIPT = (
    ("using", "sysbus"),
    ("mach", "create"),
    ("emulation", "SetGlobalSerialExecution", "true"),
    ("emulation", "SetGlobalAdvanceImmediately", "true"),
    ("emulation", "SetSeed"),
    ("emulation", _QUANTUM),
)
_FIXED_POINT = re.compile(r'"(?:(?:(\d+):)?(\d+):)?(\d+\.\d+)"')

# With shorter quanta, latencies come out some hundred cycles off in one job of a thousand, or Renode stands still (0).
_SHORTEST_QUANTUM_S = 0.010


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the check found: ``state`` is ``ok``, ``problems`` or ``none`` (no description, ``why`` says why)."""

    platform: str
    state: str
    why: str = ""
    problems: tuple[str, ...] = ()


def check_platforms(ids: Sequence[str], extra: Sequence[Path] = ()) -> list[Outcome]:
    """Check the descriptions of these platforms, of all where none is named.  Raises PlatformError for unknown ids."""
    files = platform_files(extra)
    shipped = data_dir("platforms")
    headers = _headers()
    outcomes = []
    for platform_id in ids or list(files):
        target = make_target(load_platform(platform_id, extra))
        folder = files[platform_id].parent
        compared = headers is not None and (folder.parent == shipped or (headers / f"{platform_id}.h").is_file())
        outcomes.append(check_description(target, folder, headers if compared else None))
    return outcomes


def check_description(target: Target, folder: Path, headers: Path | None) -> Outcome:
    """Check one platform's description in its folder.

    ``headers`` is the folder with the firmware's header of each platform, None where there is none to compare with
    (an installed hil, a user's own platform that hil does not ship).
    """
    repl = folder / f"{target.id}.repl"
    if not repl.is_file():
        why = NOT_IN_RENODE.get(target.host.isa, f"nobody has written {repl.name} yet")
        return Outcome(target.id, "none", why)
    try:
        problems = tuple(_problems(target, repl, headers))
    except HilError as error:
        problems = (error.message,)
    return Outcome(target.id, "problems" if problems else "ok", "", problems)


def _headers() -> Path | None:
    try:
        return data_dir("firmware") / "port" / "renode"
    except UnavailableError:
        return None


def _problems(target: Target, repl: Path, headers: Path | None) -> Iterator[str]:
    description = read_description(repl)
    yield from _using(description)
    yield from _models(description)
    yield from _names(description)
    yield from _wires(description, target)
    yield from _overlaps(description)
    yield from _platform(description, target)
    script = repl.with_suffix(".resc")
    commands = read_script(script)
    yield from _script(description, script, commands)
    if headers is not None:
        yield from _header(description, commands, headers / f"{target.id}.h")


def _using(description: Description) -> Iterator[str]:
    for name, line in description.using:
        yield f'{description.file}:{line}: using "{name}": the check follows no other file; expected the entries here'


def _models(description: Description) -> Iterator[str]:
    for entry in description.entries.values():
        at = f"{description.file}:{entry.line}"
        if not entry.model:
            if entry.name != "sysbus":
                yield f"{at}: {entry.name} has no type"
            continue
        model = MODELS.get(entry.model)
        if model is None:
            yield f"{at}: {entry.name}: type {entry.model} is not among those that hil has looked up in Renode"
            continue
        yield from _properties_of(description, entry, model)
        for wire in entry.wires:
            if wire.source and wire.source not in model.outputs:
                yield f"{description.file}:{wire.line}: {entry.model} has no output {wire.source}"
        for place in entry.places:
            if model.base is not None and place.address != model.base:
                yield f"{at}: {entry.name} must be at 0x{model.base:08X}, where the core has it"


def _properties_of(description: Description, entry: Entry, model: Model) -> Iterator[str]:
    for name in model.required:
        if name not in entry.properties:
            yield f"{description.file}:{entry.line}: {entry.name}: {entry.model} needs {name}"
    for name, value in entry.properties.items():
        at = f"{description.file}:{value.line}"
        kind = model.properties.get(name)
        if kind is None:
            yield f"{at}: {entry.model} has no property {name}"
        elif type(value.value) is not _written(kind):
            yield f"{at}: {name} must be {_KINDS[_written(kind)]}"
        elif isinstance(value.value, Reference) and (wrong := _wrong_name(description, value.value.name, kind)):
            yield f"{at}: {name}: {wrong}"
        elif value.value is not model.values.get(name, value.value):
            yield f"{at}: {name} must be {str(model.values[name]).lower()}, as the firmware expects it"


_KINDS: Mapping[type, str] = {int: "a number", bool: "true or false", str: "a text in quotes", Reference: "a name"}


def _written(kind: Kind) -> type:
    """How a property of this kind is written in a description."""
    return kind if isinstance(kind, type) else Reference


def _wrong_name(description: Description, name: str, kind: Kind) -> str:
    """What is wrong with a name as the value of a property; empty: nothing."""
    if isinstance(kind, tuple):
        return "" if name in kind else f"no constant '{name}'; expected {', '.join(kind)}"
    entry = description.entries.get(name)
    if entry is None:
        return f"no entry '{name}'"
    return "" if entry.model == kind else f"{name} is a {entry.model}; expected a {kind}"


def _names(description: Description) -> Iterator[str]:
    """Targets and places name entries; the entries that hil needs are there."""
    known = {*description.entries, "sysbus", "none"}
    for entry in description.entries.values():
        for wire in entry.wires:
            if wire.target not in known:
                yield f"{description.file}:{wire.line}: no entry '{wire.target}'"
        for place in entry.places:
            if place.parent not in known:
                yield f"{description.file}:{entry.line}: {entry.name}: no entry '{place.parent}'"
    cpu = description.entries.get(_CPU)
    beside = BESIDE.get(cpu.model, {}) if cpu is not None else {}
    wanted = {_CPU: "CPU.", _NPU: "Miscellaneous.HilNpu", _PROGRAM: "Memory.MappedMemory", **beside}
    for name, prefix in wanted.items():
        found = description.entries.get(name)
        if found is None or not found.model.startswith(prefix):
            yield f"{description.file}:1: expected an entry '{name}' of type {prefix}{'…' if prefix[-1] == '.' else ''}"
    uarts = _uarts(description)
    if len(uarts) != 1:
        yield f"{description.file}:1: {len(uarts)} UARTs; expected one, the console"


def _uarts(description: Description) -> list[Entry]:
    return [entry for entry in description.entries.values() if entry.model.startswith("UART.")]


def _wires(description: Description, target: Target) -> Iterator[str]:
    """Interrupt numbers within what the core or its controller has, no input with two sources."""
    taken: dict[tuple[str, int], str] = {}
    for entry in description.entries.values():
        for wire in entry.wires:
            at = f"{description.file}:{wire.line}"
            limits = _inputs(description, wire.target, target.host.isa)
            if limits is not None and wire.number not in limits:
                yield f"{at}: {wire.target} has no input {wire.number}; {limits.start} to {limits.stop - 1} are there"
            key = (wire.target, wire.number)
            if key in taken:
                yield f"{at}: {entry.name} and {taken[key]} share {wire.target}@{wire.number}"
            taken.setdefault(key, entry.name)
        yield from _unwired(description, entry)


def _unwired(description: Description, entry: Entry) -> Iterator[str]:
    """Outputs without which the firmware would wait for ever: they go to the core, or to what collects interrupts."""
    cpu, model = description.entries.get(_CPU), MODELS.get(entry.model)
    if cpu is None or model is None:
        return
    collector = [_CPU, *BESIDE.get(cpu.model, {})][-1]
    for output, number in model.wired.items():
        target = collector if number is None else _CPU
        wires = [wire for wire in entry.wires if wire.source == output or (not wire.source and output == "IRQ")]
        if not any(wire.target == target and number in (None, wire.number) for wire in wires):
            line = wires[0].line if wires else entry.line
            where = target if number is None else f"{target}@{number}"
            yield f"{description.file}:{line}: {entry.name}: output {output} must go to {where}"


def _inputs(description: Description, name: str, isa: str) -> range | None:
    entry = description.entries.get(name)
    core = CORES.get(isa)
    if entry is None or core is None:
        return None
    if entry.model == "IRQControllers.NVIC":
        return range(core.interrupts)
    if entry.model == "IRQControllers.PlatformLevelInterruptController":
        return range(1, _int(entry, "numberOfSources", 0) + 1)
    if entry.model == "CPU.CortexM":
        return range(1)
    return range(_CPU_INPUTS)


@dataclass(frozen=True, slots=True)
class _Region:
    start: int
    size: int
    name: str
    line: int


def _regions(description: Description) -> list[_Region]:
    """Everything that lies on the bus, tags included, by address."""
    found = []
    for entry in description.entries.values():
        for place in entry.places:
            size = place.size or _bytes(entry)
            if place.address is not None and size:
                found.append(_Region(place.address, size, entry.name, entry.line))
        found += [_Region(tag.start, tag.size, f"{tag.kind} {tag.name}".strip(), tag.line) for tag in entry.tagged]
    return sorted(found, key=lambda region: region.start)


def _bytes(entry: Entry) -> int:
    model = MODELS.get(entry.model)
    return (model.size if model is not None else None) or _int(entry, "size", 0)


def _overlaps(description: Description) -> Iterator[str]:
    highest: _Region | None = None
    for region in _regions(description):
        if highest is not None and region.start < highest.start + highest.size:
            yield (
                f"{description.file}:{region.line}: {region.name} at 0x{region.start:08X} overlaps {highest.name}, "
                f"which ends at 0x{highest.start + highest.size - 1:08X}"
            )
        if highest is None or region.start + region.size > highest.start + highest.size:
            highest = region


def _platform(description: Description, target: Target) -> Iterator[str]:
    """Core, clock and memories as platform.toml has them at the default operating point."""
    cpu = description.entries.get(_CPU)
    if cpu is not None:
        yield from _core(description, cpu, target)
    hz = round(target.host_clock_hz)
    mips = round(hz / 1e6)
    if cpu is not None and _int(cpu, "PerformanceInMips", 0) != mips:
        yield f"{_at(description, cpu, 'PerformanceInMips')}: PerformanceInMips must be {mips}, {target.host.isa}'s MHz"
    for name, key in _CLOCKS:
        entry = description.entries.get(name)
        if entry is not None and key in _properties(entry) and _int(entry, key, 0) != hz:
            yield f"{_at(description, entry, key)}: {name}.{key} must be {hz}, the clock of {target.operating_point}"
    yield from _memories(description, target)


def _core(description: Description, cpu: Entry, target: Target) -> Iterator[str]:
    core = CORES.get(target.host.isa)
    written = cpu.properties.get("cpuType")
    cpu_type = written.value if written is not None else ""
    if core is None:
        yield f"{description.file}:{cpu.line}: Renode has no core for {target.host.isa}"
    elif cpu.model != core.model or cpu_type not in core.cpu_types:
        yield (
            f"{_at(description, cpu, 'cpuType')}: {cpu.model} {cpu_type}; "
            f"expected {core.model} {' or '.join(core.cpu_types)} for {target.host.isa}"
        )


def _memories(description: Description, target: Target) -> Iterator[str]:
    """A memory ``sram`` of the platform file is the entry ``sram``, or ``sram0``, ``sram1``, ``sram_x`` together."""
    keys = {name.replace("-", "_"): memory for name, memory in target.platform.memories.items()}
    described: dict[str, list[Entry]] = {}
    for entry in description.entries.values():
        if entry.model == "Memory.MappedMemory":
            owners = [key for key in keys if re.fullmatch(rf"{key}(\d+|_\w+)?", entry.name)]
            if owners:
                described.setdefault(max(owners, key=len), []).append(entry)
    for key, memory in keys.items():
        entries = described.get(key, [])
        if not entries:
            if memory.kind == "sram":
                yield f"{description.file}:1: {key} of platform.toml is missing"
            continue
        size = sum(_int(entry, "size", 0) for entry in entries)
        expected = memory.size_bytes.value
        if abs(size - expected) > _SIZE_TOLERANCE * expected:
            yield (
                f"{_at(description, entries[0], 'size')}: {key} is {size} bytes here, {expected:.0f} in platform.toml"
            )


_DEFINE = re.compile(r"#define\s+(\w+)\s+(\w+)\s*")


def _header(description: Description, commands: Sequence[Command], file: Path) -> Iterator[str]:
    """The firmware's header says the same addresses, numbers and clocks."""
    cpu = description.entries.get(_CPU)
    if cpu is None or cpu.model in NO_FIRMWARE:
        return
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except OSError:
        yield f"{file}:1: missing; the firmware needs it"
        return
    defined = {match[1]: (match[2], number) for number, line in enumerate(lines, 1) if (match := _DEFINE.match(line))}
    for name, expected in _expected_macros(description, commands, cpu).items():
        text, number = defined.get(name, ("", 1))
        if _c_number(text) != expected:
            yield f"{file}:{number}: {name} is {text or 'missing'}; the description says {_like(expected, text)}"
    memories = [region for region in _regions(description) if _is_memory(description, region.name)]
    for kind in ("ROM", "RAM"):
        origin, number = defined.get(f"{kind}_ORIGIN", ("", 1))
        start, size = _c_number(origin), _c_number(defined.get(f"{kind}_BYTES", ("", 1))[0])
        if start is None or size is None:
            yield f"{file}:{number}: {kind}_ORIGIN and {kind}_BYTES must be numbers"
        elif not any(m.start <= start and start + size <= m.start + m.size for m in memories):
            yield f"{file}:{number}: {kind} 0x{start:08X} with {size} bytes lies in no memory of the description"


def _expected_macros(description: Description, commands: Sequence[Command], cpu: Entry) -> dict[str, int | None]:
    """Macros that follow from the description.  Choices (``CORE_…``, ``RENODE_UART_…``) are 1."""
    expected: dict[str, int | None] = {"MIPS": _int(cpu, "PerformanceInMips", 0)}
    for command in commands:
        if command.words[:2] == ("cpu", "VectorTableOffset"):
            expected["ROM_ORIGIN"] = _c_number(command.words[-1])
    cpu_type = cpu.properties.get("cpuType")
    if cpu_type is not None:
        expected[f"CORE_{CORE_MACROS.get(str(cpu_type.value), '?')}"] = 1
    bases = {"NPU": _NPU, "CLINT": "clint", "PLIC": "plic"}
    for uart in _uarts(description)[:1]:
        bases["UART"] = uart.name
        expected[f"RENODE_UART_{MODELS[uart.model].uart if uart.model in MODELS else '?'}"] = 1
    for macro, name in bases.items():
        entry = description.entries.get(name)
        if entry is not None and entry.places and entry.places[0].address is not None:
            expected[f"{macro}_BASE"] = entry.places[0].address
            if macro in ("NPU", "UART") and entry.wires:
                expected[f"{macro}_IRQ"] = entry.wires[0].number
    program = description.entries.get(_PROGRAM)
    if program is not None and program.places and program.places[0].address is not None:
        expected["PROGRAM_ORIGIN"] = program.places[0].address
        expected["PROGRAM_BYTES"] = _int(program, "size", 0)
    for name in ("dwt", "clint"):
        if name in description.entries:
            expected["TICKS_HZ"] = _int(description.entries[name], "frequency", 0)
    return expected


def _is_memory(description: Description, name: str) -> bool:
    return name in description.entries and description.entries[name].model == "Memory.MappedMemory"


def _c_number(text: str) -> int | None:
    match = re.fullmatch(r"(0[xX][0-9A-Fa-f]+|\d+)[uU]?", text)
    return int(match[1], 16 if match[1][:2].lower() == "0x" else 10) if match else None


def _like(number: int | None, text: str) -> str:
    return f"0x{number:08X}" if text.startswith("0x") and number is not None else str(number)


def _script(description: Description, file: Path, commands: Sequence[Command]) -> Iterator[str]:
    """The start script loads what is there, in an order that works, and leaves nothing to the host's clock."""
    for command in commands:
        yield from _command(description, file, command)
    for wanted in _SCRIPT:
        if not any(command.words[: len(wanted)] == wanted for command in commands):
            yield f"{file}:1: '{' '.join(wanted)}' is missing"
    yield from _variables(file, commands)
    yield from _loading(description, file, commands)


def _command(description: Description, file: Path, command: Command) -> Iterator[str]:
    """A command that Renode has, of a device that is there, with times that it reads as they are meant."""
    head, second = command.words[0], command.words[1] if len(command.words) > 1 else ""
    at = f"{file}:{command.line}"
    if head.startswith("$"):
        return
    device = description.entries.get(head.removeprefix("sysbus.")) if head not in COMMANDS else None
    if head in COMMANDS:
        known: tuple[str, ...] = COMMANDS[head]
    elif device is not None:
        known = (*_monitor(device), *[name for name in _properties(device) if name[0].isupper()])
    else:
        yield f"{at}: no command or device '{head}'"
        return
    if known and second not in known:
        yield f"{at}: {head} has no '{second}'; hil knows {', '.join(sorted(known))}"
    elif second == _QUANTUM:
        for word in command.words[2:]:
            time = _FIXED_POINT.fullmatch(word)
            if time is None:
                yield f'{at}: time {word}; expected fixed point in quotes, such as "0.010000"'
            elif _seconds(time) < _SHORTEST_QUANTUM_S:
                yield f"{at}: a quantum of {word} seconds; expected at least {_SHORTEST_QUANTUM_S:.6f}"


def _seconds(time: re.Match[str]) -> float:
    hours, minutes, seconds = time.groups(default="0")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _variables(file: Path, commands: Sequence[Command]) -> Iterator[str]:
    """Variables are set before they are used; a macro is a variable too."""
    known = {"$ORIGIN", *(f"${command.macro}" for command in commands if command.macro)}
    for command in commands:
        first, *others = command.words
        if others and others[0] in ("?=", "="):
            known.add(first)
            continue
        for word in others:
            name = re.match(r"\$\w+", word)
            if name and name[0] not in known:
                yield f"{file}:{command.line}: {name[0]} is never set"


def _loading(description: Description, file: Path, commands: Sequence[Command]) -> Iterator[str]:
    """The C# peripheral before the description that uses it; firmware and program where the description has room."""
    steps = {command.words[:2]: (number, command) for number, command in enumerate(commands)}
    include = steps.get(("include", "$npu"))
    create = steps.get(("mach", "create"))
    load = steps.get(("machine", "LoadPlatformDescription"))
    if include is None:
        yield f"{file}:1: 'include $npu' is missing"
    if load is None:
        yield f"{file}:1: 'machine LoadPlatformDescription' is missing"
    elif load[1].words[2:] != (f"$ORIGIN/{description.file.name}",):
        yield f"{file}:{load[1].line}: expected 'machine LoadPlatformDescription $ORIGIN/{description.file.name}'"
    if include is not None and load is not None and include[0] > load[0]:
        yield f"{file}:{include[1].line}: 'include $npu' must come before the description is loaded"
    if create is not None and load is not None and create[0] > load[0]:
        yield f"{file}:{create[1].line}: 'mach create' must come before the description is loaded"
    cpu = description.entries.get(_CPU)
    if cpu is None or cpu.model in NO_FIRMWARE:
        return
    program = description.entries.get(_PROGRAM)
    wanted: dict[tuple[str, str], Entry | None] = {("sysbus", "LoadELF"): None, ("sysbus", "LoadBinary"): program}
    if cpu.model == "CPU.CortexM":
        wanted["cpu", "VectorTableOffset"] = None
    for words, entry in wanted.items():
        step = steps.get(words)
        if step is None or step[1].macro != "reset":
            yield f"{file}:1: macro reset: '{' '.join(words)}' is missing"
        elif entry is not None and entry.places and _c_number(step[1].words[-1]) != entry.places[0].address:
            yield f"{file}:{step[1].line}: the program goes to 0x{entry.places[0].address or 0:08X}"
    if ("runMacro", "$reset") not in steps:
        yield f"{file}:1: 'runMacro $reset' is missing"


def _properties(entry: Entry) -> Mapping[str, Kind]:
    model = MODELS.get(entry.model)
    return model.properties if model is not None else {}


def _monitor(entry: Entry) -> tuple[str, ...]:
    model = MODELS.get(entry.model)
    return model.monitor if model is not None else ()


def _int(entry: Entry, name: str, default: int) -> int:
    found = entry.properties.get(name)
    return found.value if found is not None and isinstance(found.value, int) else default


def _at(description: Description, entry: Entry, name: str) -> str:
    found = entry.properties.get(name)
    return f"{description.file}:{found.line if found is not None else entry.line}"
