"""Adapter of Vela, Arm's compiler for Ethos-U: what it places on the NPU and how many cycles it expects.

Vela runs as a subprocess in a temporary folder, with a configuration file made from the platform's ``[npu.vela]``
table and the operating point's clock: the stock file assumes 500 MHz and the memories of no board in particular.  Of
its results only the figures are kept, not the compiled network.

Vela calls its cycles "internal compiler estimates"; work that it leaves to the CPU costs nothing in them.

How ``vela.ini`` expresses a memory (read in ethos-u-vela 5.2.0, ``architecture_features.py``, and observed on its
compiler core): bytes per cycle = port width x ``ports_used`` x ``clock_scale``.  The compiler core takes 8-byte ports
only where the *name* of the system configuration begins with ``Ethos_U55``, and 16-byte ports otherwise, whatever the
accelerator; with another name every memory of a U55 looks twice as fast as its own summary says.
"""

from __future__ import annotations

import csv
import hashlib
import importlib
import importlib.metadata
import json
import math
import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import NamedTuple

from hil.errors import HilError, NetworkError, PlatformError, ResultsError, UnavailableError, did_you_mean
from hil.files import write_atomic
from hil.network import write_tflite
from hil.network.graph import Network
from hil.platform import schema

TIMEOUT_S = 600.0
UNKNOWN_REASON = "Vela places it on the CPU"

_DISTRIBUTION = "ethos-u-vela"
_CACHE_SCHEMA = 1
_KIB = 1024
_MODE = "hil"  # what the generated memory mode is called


@dataclass(frozen=True, slots=True)
class VelaReport:
    """Vela's figures for one network on one accelerator.

    Cycles are of the NPU clock.  ``npu_cycles`` is the time of the arithmetic, ``sram_cycles`` and ``flash_cycles``
    that of the memory traffic; the three overlap, ``total_cycles`` is what Vela expects of the whole.  "Flash" is the
    memory of the constants: off-chip or on-chip flash, DRAM in mode ``Dedicated_Sram``, a part of the SRAM in
    ``Sram_Only``.  ``macs`` is Vela's own count, which has pooling windows in it.

    The tuples have one entry per op of the network.  An op that leaves nothing to execute (a folded constant, a
    conversion that the file does not need) counts as on the NPU, at no cost.  ``reasons`` says, per op that is not
    entirely on the NPU, why.

    ``random_weights``: the network came without a file, so what depends on the weights' values (their encoded size,
    and with it flash traffic) is only typical.
    """

    accelerator: str
    version: str
    clock_hz: float
    npu_cycles: float
    sram_cycles: float
    flash_cycles: float
    total_cycles: float
    macs: int
    sram_bytes: int
    flash_bytes: int
    weight_bytes: int
    encoded_weight_bytes: int
    op_cycles: tuple[float, ...]
    op_npu_cycles: tuple[float, ...]
    op_sram_cycles: tuple[float, ...]
    op_flash_cycles: tuple[float, ...]
    on_npu: tuple[bool, ...]
    reasons: dict[int, str]
    random_weights: bool

    @property
    def latency_s(self) -> float:
        return self.total_cycles / self.clock_hz


class Result(NamedTuple):
    """How a run of Vela ended."""

    returncode: int
    stdout: str
    stderr: str


def available() -> str | None:
    """The installed version of Vela, or None.  Nothing of it is imported."""
    try:
        return importlib.metadata.version(_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return None


def compile_network(
    network: Network,
    settings: schema.Vela,
    clock_hz: float,
    *,
    cache: Path | None,
    timeout_s: float = TIMEOUT_S,
) -> VelaReport:
    """Compile ``network`` for the accelerator in ``settings`` at ``clock_hz`` and report what Vela says.

    A network without a ``.tflite`` file gets one with random weights.  ``cache`` is a folder of earlier reports (made
    if need be), None for none.  Raises UnavailableError without Vela, PlatformError for settings that Vela cannot
    express, NetworkError for a network that it cannot compile in ``timeout_s``.
    """
    version = available()
    if version is None:
        raise UnavailableError("Vela, the compiler for Ethos-U, is not installed", hint="pip install 'hil[vela]'")
    config = configuration(settings, clock_hz)
    options = _options(settings)
    entry = cache / f"{_key(network, config, version, options)}.json" if cache else None
    report = _cached(entry, len(network.ops)) if entry else None
    if report is None:
        report = _compile(network, settings, clock_hz, version, config, options, timeout_s)
        if entry:
            _store(entry, report)
    return report


def compile_many(
    networks: Iterable[Network],
    settings: schema.Vela,
    clock_hz: float,
    *,
    cache: Path | None,
    workers: int | None = None,
    timeout_s: float = TIMEOUT_S,
) -> tuple[VelaReport | HilError, ...]:
    """Compile several networks at once, by default on every core; results in the order of ``networks``.

    A network that fails has its error in the place of its report.  What no network can help, such as a missing Vela,
    is raised.
    """

    def one(network: Network) -> VelaReport | HilError:
        try:
            return compile_network(network, settings, clock_hz, cache=cache, timeout_s=timeout_s)
        except NetworkError as error:
            return error

    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        futures = [pool.submit(one, network) for network in networks]
        try:
            return tuple(future.result() for future in futures)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


# The configuration file


class _Family(NamedTuple):
    """An Ethos-U generation.  ``name`` must begin the name of a system configuration: see the top of this module.

    Port widths and counts: ``architecture_features.py`` and the stock ``vela.ini`` (which also has the bursts).
    """

    name: str
    port_bytes: int
    sram_ports: int
    flash_ports: int
    sram_burst: int
    sizes: tuple[int, ...]


_FAMILIES = {
    "ethos-u55": _Family("Ethos_U55_hil", 8, 1, 1, 32, (32, 64, 128, 256)),
    "ethos-u65": _Family("Ethos_U65_hil", 16, 1, 1, 32, (256, 512)),
    "ethos-u85": _Family("Ethos_U85_hil", 16, 4, 2, 64, (128, 256, 512, 1024, 2048)),
}
_ACCELERATORS = {f"{prefix}-{size}": family for prefix, family in _FAMILIES.items() for size in family.sizes}
_FLASH_BURST = 128


class _Mode(NamedTuple):
    """A memory mode: the ports of constants and arena, and what lies behind the second port.

    Vela wants the arena in SRAM or DRAM, so a slow memory that also holds the arena is a DRAM to it.
    """

    constants: str
    arena: str
    second: str


_MODES = {
    "Sram_Only": _Mode("Axi0", "Axi0", "OffChipFlash"),
    "Shared_Sram": _Mode("Axi1", "Axi0", "OffChipFlash"),
    "Dedicated_Sram": _Mode("Axi1", "Axi1", "Dram"),
}


def configuration(settings: schema.Vela, clock_hz: float) -> str:
    """The text of the ``vela.ini`` for a platform.  Raises PlatformError for what Vela cannot express."""
    family, mode = _family(settings.accelerator), _MODES[settings.memory_mode]
    if not (math.isfinite(clock_hz) and clock_hz > 0):
        raise PlatformError(f"npu.vela: NPU clock {clock_hz} Hz; expected a positive frequency")
    sram = _scale("sram_bytes_per_cycle", settings.sram_bytes_per_cycle.value, family, family.sram_ports)
    second = _scale("flash_bytes_per_cycle", settings.flash_bytes_per_cycle.value, family, family.flash_ports)
    sram_latency = _latency("sram_latency_cycles", settings.sram_latency_cycles.value)
    latency = _latency("flash_latency_cycles", settings.flash_latency_cycles.value)
    lines = [
        f"[System_Config.{family.name}]",
        f"core_clock={clock_hz!r}",
        "axi0_port=Sram",
        f"axi1_port={mode.second}",
        *_memory("Sram", sram, family.sram_burst, sram_latency, sram_latency),
        *_memory(mode.second, second, _FLASH_BURST, latency, latency if mode.second == "Dram" else 0),
        "",
        f"[Memory_Mode.{_MODE}]",
        f"const_mem_area={mode.constants}",
        f"arena_mem_area={mode.arena}",
        "cache_mem_area=Axi0",
    ]
    if settings.arena_cache_bytes is not None:
        lines.append(f"arena_cache_size={int(settings.arena_cache_bytes.value)}")
    return "\n".join(lines) + "\n"


def _family(accelerator: str) -> _Family:
    if accelerator not in _ACCELERATORS:
        raise PlatformError(
            f"npu.vela.accelerator is '{accelerator}'; expected one that Vela compiles for",
            hint=did_you_mean(accelerator, _ACCELERATORS),
        )
    return _ACCELERATORS[accelerator]


def _scale(key: str, bytes_per_cycle: float, family: _Family, ports: int) -> tuple[float, int]:
    """``clock_scale`` and ``ports_used`` that give the bandwidth.  A port moves at most its width per cycle."""
    most = family.port_bytes * ports
    if bytes_per_cycle > most:
        raise PlatformError(
            f"npu.vela.{key} is {bytes_per_cycle:g}; expected at most {most}",
            hint=f"this accelerator has {ports} port(s) of {family.port_bytes} bytes to that memory",
        )
    used = math.ceil(bytes_per_cycle / family.port_bytes)
    return bytes_per_cycle / (family.port_bytes * used), used


def _latency(key: str, cycles: float) -> int:
    """Vela counts whole cycles."""
    if cycles > 1e6:
        raise PlatformError(f"npu.vela.{key} is {cycles:g}; expected NPU clock cycles, at most 1e6")
    return max(1, round(cycles))


def _memory(name: str, scale: tuple[float, int], burst: int, read: int, write: int) -> list[str]:
    return [
        f"{name}_clock_scale={scale[0]!r}",
        f"{name}_ports_used={scale[1]}",
        f"{name}_burst_length={burst}",
        f"{name}_read_latency={read}",
        f"{name}_write_latency={write}",
    ]


def _options(settings: schema.Vela) -> tuple[str, ...]:
    return (
        f"--accelerator-config={settings.accelerator}",
        f"--system-config={_family(settings.accelerator).name}",
        f"--memory-mode={_MODE}",
        f"--optimise={settings.optimise}",
        "--enable-debug-db",
    )


# Running it


def _compile(
    network: Network,
    settings: schema.Vela,
    clock_hz: float,
    version: str,
    config: str,
    options: Sequence[str],
    timeout_s: float,
) -> VelaReport:
    model, origin = _file(network)
    with tempfile.TemporaryDirectory(prefix="hil-vela-") as name:
        folder = Path(name)
        (folder / "network.tflite").write_bytes(model)
        (folder / "hil.ini").write_text(config, encoding="utf-8")
        inputs = [str(folder / "network.tflite"), f"--config={folder / 'hil.ini'}", f"--output-dir={folder / 'out'}"]
        result = _run([sys.executable, "-m", "ethosu.vela", *inputs, *options], folder, timeout_s, network.name)
        if result.returncode != 0:
            raise _failure(network.name, version, result)
        summary = _summary(folder / "out", network.name)
        tables = _tables(folder / "out" / "network_debug.xml", network.name)
    places = _Placement(_operators(network, model, origin), tables, result.stdout, len(network.ops))
    reasons = places.reasons()
    return VelaReport(
        accelerator=settings.accelerator,
        version=version,
        clock_hz=clock_hz,
        npu_cycles=summary["cycles_npu"],
        sram_cycles=summary["cycles_sram_access"],
        flash_cycles=sum(summary[f"cycles_{memory}_access"] for memory in _CONSTANT_MEMORIES),
        total_cycles=summary["cycles_total"],
        macs=round(summary["nn_macs"]),
        sram_bytes=round(summary["sram_memory_used"] * _KIB),
        flash_bytes=round(sum(summary[f"{memory}_memory_used"] for memory in _CONSTANT_MEMORIES) * _KIB),
        weight_bytes=round(summary["total_original_weights"]),
        encoded_weight_bytes=round(summary["total_npu_encoded_weights"]),
        op_cycles=places.cycles("op_cycles"),
        op_npu_cycles=places.cycles("op_npu_cycles"),
        op_sram_cycles=places.cycles("op_sram_cycles"),
        op_flash_cycles=places.cycles("op_flash_cycles"),
        on_npu=tuple(op not in reasons for op in range(len(network.ops))),
        reasons=reasons,
        random_weights=origin is not None,
    )


def _file(network: Network) -> tuple[bytes, tuple[int, ...] | None]:
    """The network's file, or one written for it, which says itself which op each of its operators is from."""
    if network.model is not None:
        return network.model, None
    written = write_tflite.write(network)
    return written.model, written.op_of


def _run(command: Sequence[str], folder: Path, timeout_s: float, name: str) -> Result:
    """Run Vela to its end.  A module-level function so that tests can count processes."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NetworkError(
            f"{name}: Vela did not finish within {timeout_s:g} s", hint="allow it more time, or use a smaller network"
        ) from None
    return Result(done.returncode, done.stdout, done.stderr)


def _failure(name: str, version: str, result: Result) -> HilError:
    """Vela's failure as an error: its last line, or the signal that ended it."""
    lines = [line.strip() for line in (result.stdout + "\n" + result.stderr).splitlines() if line.strip()]
    last = lines[-1] if lines else f"exit code {result.returncode}"
    if result.returncode < 0:
        last = f"ended by signal {-result.returncode}"
    if "ConfigOptionError" in last or "CliOptionError" in last:
        return PlatformError(f"npu.vela: Vela {version} refuses the configuration: {last}")
    return NetworkError(f"{name}: Vela {version} cannot compile it: {last}")


# Reading its results

_CONSTANT_MEMORIES = ("off_chip_flash", "on_chip_flash", "dram")
# Per-op figures: our name, and the columns of Vela's performance table that add up to it.
_PER_OP = {
    "op_cycles": ("op_cycles",),
    "op_npu_cycles": ("npu_cycles",),
    "op_sram_cycles": ("Sram_ac",),
    "op_flash_cycles": ("OffChipFlash_ac", "OnChipFlash_ac", "Dram_ac"),
}
_TABLE = re.compile(r'<table name="(\w+)">\n<!\[CDATA\[\n(.*?)\n?\]\]>\n</table>', re.DOTALL)
_WARNING = re.compile(
    r"^Warning \(supported operators\) operator: (?P<kind>\S+), ofm: '(?P<name>.*?)'\s*\n"
    r"Reason: (?P<why>.*?)(?=\n\s*\n|\nWarning|\Z)",
    re.DOTALL | re.MULTILINE,
)


def _summary(folder: Path, name: str) -> dict[str, float]:
    """The figures of the summary file; words in it are left out."""
    files = sorted(folder.glob("*_summary_*.csv"))
    if not files:
        raise NetworkError(f"{name}: Vela wrote no summary", hint="is its version one that hil knows (5.2)?")
    with files[0].open(encoding="utf-8", newline="") as file:
        row = next(csv.DictReader(file), {})
    figures: dict[str, float] = defaultdict(float)
    for key, text in row.items():
        try:
            figures[key] = float(text)
        except (TypeError, ValueError):
            continue
    if "cycles_total" not in figures:
        raise NetworkError(f"{name}: Vela's summary has no column 'cycles_total'")
    return figures


Row = dict[str, str]


def _tables(path: Path, name: str) -> dict[str, list[Row]]:
    """The tables of the debug database that this module needs; empty ones where Vela scheduled nothing."""
    if not path.is_file():
        return {}
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
        return {table: _rows(body) for table, body in _TABLE.findall(text) if table in {"source", "perf"}}
    except ValueError as error:
        raise NetworkError(f"{name}: Vela's debug database cannot be read: {error}") from None


def _rows(body: str) -> list[Row]:
    """The rows of a table.  Names of tensors stand in it unescaped, so the columns are counted from both ends."""
    header, *lines = body.splitlines()
    columns = [column.strip('"') for column in header.split(",")]
    before = columns.index("name") if "name" in columns else len(columns)
    rows = []
    for line in lines:
        cells = line.split(",", before)
        if before < len(columns):
            cells = [*cells[:before], *cells[-1].rsplit(",", len(columns) - before - 1)]
        rows.append(dict(zip(columns, (cell.strip('"') for cell in cells), strict=True)))
    return rows


class _Operator(NamedTuple):
    """An operator of the file: the network's op that it belongs to (None: none of its own) and its outputs' names."""

    op: int | None
    names: tuple[str, ...]


def _operators(network: Network, model: bytes, origin: Sequence[int] | None) -> list[_Operator]:
    """The operators of a file in its order.  Where their origin is not known, an op is found by the tensors that it
    writes: a network read from a file keeps their numbers."""
    tflite = importlib.import_module("ai_edge_litert.schema_py_generated")
    graph = tflite.Model.GetRootAs(model, 0).Subgraphs(0)
    outputs = [
        [int(graph.Operators(k).Outputs(j)) for j in range(graph.Operators(k).OutputsLength())]
        for k in range(graph.OperatorsLength())
    ]
    names = [tuple((graph.Tensors(t).Name() or b"").decode("utf-8", "replace") for t in out) for out in outputs]
    writer = {t: op.index for op in network.ops for t in op.outputs}
    found = [next((writer[t] for t in out if t in writer), None) for out in outputs]
    return [_Operator(op, name) for op, name in zip(found if origin is None else origin, names, strict=True)]


class _Placement:
    """Attribution of Vela's rows to the network's ops.

    Every row of its performance table names the operator of the file that it was made from (``source_id``, whose
    ``ext_key`` is the operator's number).  Rows of operators that Vela made up itself go to the op before them.
    """

    def __init__(self, operators: Sequence[_Operator], tables: Mapping[str, list[Row]], stdout: str, ops: int) -> None:
        self.operators = operators
        self.ops = ops
        self.rows = tables.get("perf", [])
        number = {row["id"]: row.get("ext_key", "") for row in tables.get("source", [])}
        self.operator_of = [self._number(number.get(row.get("source_id", ""), "")) for row in self.rows]
        self.why = self._warnings(stdout)

    def _number(self, text: str) -> int | None:
        return int(text) if text.isdecimal() and int(text) < len(self.operators) else None

    def cycles(self, key: str) -> tuple[float, ...]:
        """One figure per op; the sum over the ops is the sum over Vela's rows."""
        totals = [0.0] * self.ops
        current = 0
        for row, operator in zip(self.rows, self.operator_of, strict=True):
            op = None if operator is None else self.operators[operator].op
            current = current if op is None else op
            if self.ops:
                totals[current] += sum(float(row.get(column, "") or 0) for column in _PER_OP[key])
        return tuple(totals)

    def reasons(self) -> dict[int, str]:
        """Per op of which any operator is left to the CPU: why, once per reason."""
        found: dict[int, list[str]] = defaultdict(list)
        for operator in sorted(self._on_cpu()):
            op = self.operators[operator].op
            why = self.why.get(operator, UNKNOWN_REASON)
            if op is not None and why not in found[op]:
                found[op].append(why)
        return {op: "; ".join(found[op]) for op in sorted(found)}

    def _on_cpu(self) -> set[int]:
        """Operators that pass through Vela untouched, or that it refused and scheduled nothing for."""
        cpu: set[int] = set()
        npu: set[int] = set()
        for row, operator in zip(self.rows, self.operator_of, strict=True):
            if operator is not None:
                (cpu if row["operator"] == "Passthrough" else npu).add(operator)
        return cpu | (set(self.why) - npu)

    def _warnings(self, stdout: str) -> dict[int, str]:
        """Why operators are refused.  Vela names them by their first output; one line per reason."""
        by_name: dict[str, list[int]] = defaultdict(list)
        for number, operator in enumerate(self.operators):
            for name in operator.names[:1]:
                by_name[name].append(number)
        reasons: dict[int, str] = {}
        for match in _WARNING.finditer(stdout):
            why = ", ".join(line.strip() for line in match["why"].splitlines() if line.strip())
            if match["kind"] != "None":  # Vela has no name for some operators that it does not know
                why = f"{match['kind']}: {why}"
            for number in by_name.get(match["name"], ()):
                reasons.setdefault(number, why)
        return reasons


# The cache


def _key(network: Network, config: str, version: str, options: Sequence[str]) -> str:
    """Everything that a report depends on.  A layer list stands for the file that would be written for it."""
    outputs = repr([op.outputs for op in network.ops])
    listed = repr((write_tflite.VERSION, network.tensors, network.ops, network.inputs, network.outputs))
    digest = hashlib.sha256()
    for part in (
        network.model if network.model is not None else listed.encode(),
        json.dumps([_CACHE_SCHEMA, outputs, config, version, options]).encode(),
    ):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def _cached(path: Path, ops: int) -> VelaReport | None:
    """The stored report; None where there is none or it cannot be trusted."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored.pop("schema") != _CACHE_SCHEMA or set(stored) != {field.name for field in fields(VelaReport)}:
            return None
        stored["reasons"] = {int(op): str(why) for op, why in stored["reasons"].items()}
        for name in (*_PER_OP, "on_npu"):
            kind = bool if name == "on_npu" else float
            stored[name] = tuple(kind(value) for value in stored[name])
            if len(stored[name]) != ops:
                return None
        return VelaReport(**stored)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _store(path: Path, report: VelaReport) -> None:
    """Keep a report.  A full or read-only cache only costs time: the report itself is good."""
    with suppress(ResultsError):
        write_atomic(path, json.dumps({"schema": _CACHE_SCHEMA, **asdict(report)}).encode())
