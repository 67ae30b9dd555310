"""The calibration data set: measurements with their conditions, sources, and the networks that they refer to.

``calibration/measurements.csv`` holds one figure per row; ``calibration/README.md`` explains every column.  A user's
own figures join it: a CSV with the same columns, or the run record of a measured or emulated bench (JSON).  Anything
wrong in a file is a ``CalibrationError`` that names file, line, column, value and what was expected.
"""

from __future__ import annotations

import csv
import math
import statistics
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from hil.data import data_dir
from hil.errors import CalibrationError, NetworkError, did_you_mean, nearest
from hil.plan.types import PHASES

if TYPE_CHECKING:
    from hil.backend.run import Energy, PhaseFigures, Run
    from hil.network import Network
    from hil.platform import Target
    from hil.platform.schema import Power

Quantity = Literal["latency_s", "energy_j", "power_w", "memory_bytes"]
Use = Literal["fit", "check", "exclude"]
Grade = Literal["A", "B", "C"]
Baseline = Literal["", "gross", "above-idle"]
Match = Literal["exact", "same-architecture", "approximate", "none", "not-a-network"]

QUANTITIES: Final = ("latency_s", "energy_j", "power_w", "memory_bytes")
USES: Final = ("fit", "check", "exclude")
GRADES: Final = ("A", "B", "C")
BASELINES: Final = ("", "gross", "above-idle")
MATCHES: Final = ("exact", "same-architecture", "approximate", "none", "not-a-network")
# Besides hil's phases and sums of them joined with "+": what the run record also sums up, and what is no phase.
OTHER_PHASES: Final = ("total", "steady", "none")
# Whole-board and chip supply, a named rail, or what the source leaves open; of memory, what the figure counts.
SCOPES: Final = ("whole-board", "chip", "system", "unstated")
MEMORY_SCOPES: Final = ("weights", "activations", "peak-sram", "ram", "arena")

ZOO_PREFIX: Final = "zoo:"
FOLDER: Final = "calibration"
OWN_SOURCE: Final = "user"
# Run records whose figures are measurements; the others are predictions.
_MEASURED: Final = ("measured", "emulated")
_FORMATS: Final = "a CSV with the columns of calibration/measurements.csv, or a run record (.json)"


@dataclass(frozen=True, slots=True)
class Measurement:
    """One figure with everything that is known of how it came about; all values are SI.

    ``operating_point`` with ``overrides`` (items of ``--set`` separated by ``;``) is the measured condition.
    ``resolution`` is the step between neighbouring printed figures, 0 where it is not known: the true value lies within
    half a step.  ``group`` names the architecture; variants of one architecture share it, so that leaving a group out
    leaks nothing.
    """

    id: str
    platform: str
    operating_point: str
    overrides: str
    clock_host_hz: float | None
    clock_npu_hz: float | None
    supply_v: float | None
    mode: str
    network: str
    network_match: Match
    network_alternative: str
    group: str
    precision: str
    software: str
    software_detail: str
    quantity: Quantity
    phase: str
    scope: str
    baseline: Baseline
    value: float
    resolution: float
    grade: Grade
    source: str
    locator: str
    date: str
    use: Use
    reason: str
    note: str
    origin: str = ""

    @property
    def phases(self) -> tuple[str, ...]:
        """The phases that the figure covers: ``input_load+inference`` is two."""
        return tuple(self.phase.split("+"))

    @property
    def stack(self) -> str:
        """The software without its version: ``x-cube-ai`` for ``x-cube-ai-9``."""
        name, _, version = self.software.rpartition("-")
        return name if name and version[:1].isdigit() else self.software

    @property
    def record(self) -> str:
        """The measurement that the figure belongs to: latency, energy and power of one run share it."""
        return self.id.rpartition("-")[0] or self.id

    @property
    def condition(self) -> tuple[object, ...]:
        """What two figures must share to be of the same thing."""
        return (
            self.platform,
            self.operating_point,
            self.overrides,
            self.clock_host_hz,
            self.clock_npu_hz,
            self.mode,
            self.network,
            self.precision,
            self.phase,
            self.software,
            self.quantity,
            self.scope,
            self.baseline,
        )


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """Where measurements were published, and how far to trust them."""

    id: str
    title: str
    reference: str
    grade: Grade
    licence: str = ""
    note: str = ""


def scope_label(power: Power) -> str:
    """A platform's energy scope in the words of the data set."""
    return f"rail:{power.rail}" if power.scope == "rail" else power.scope


def data_file() -> Path:
    """The measurements in the repository."""
    return data_dir(FOLDER) / "measurements.csv"


def load_measurements(extra: Sequence[Path] = ()) -> tuple[Measurement, ...]:
    """The repository's measurements and those of a user's files, in file order.  Raises CalibrationError."""
    found = list(_shipped())
    where = {row.id: row.origin for row in found}
    for path in extra:
        for row in _read_own(path):
            if row.id in where:
                raise CalibrationError(
                    f"{row.origin}: column 'id' is '{row.id}'; expected an id of its own",
                    hint=f"{where[row.id]} has it already",
                )
            where[row.id] = row.origin
            found.append(row)
    return tuple(found)


def load_network_of(measurement: Measurement) -> Network:
    """The network that a measurement refers to.  Raises CalibrationError where there is none or it cannot be read."""
    if not measurement.network:
        hint = f"see hil data show {measurement.id}"
        raise CalibrationError(f"measurement {measurement.id}: its network has no description", hint=hint)
    try:
        return load_network(measurement.network)
    except CalibrationError as error:
        raise CalibrationError(f"measurement {measurement.id}: {error.message}", hint=error.hint) from error


@lru_cache(maxsize=512)
def load_network(name: str) -> Network:
    """A network by the name that measurements use: of the data set, ``zoo:NAME``, or a file.

    Raises CalibrationError.
    """
    from hil import zoo
    from hil.network.load import load_network as load_file

    if name.startswith(ZOO_PREFIX):
        if name.removeprefix(ZOO_PREFIX) not in zoo.names():
            hint = did_you_mean(name.removeprefix(ZOO_PREFIX), zoo.names())
            raise CalibrationError(f"network '{name}' is not in the zoo", hint=hint)
        return zoo.load(name.removeprefix(ZOO_PREFIX))
    if not _is_file(name) and name not in network_names():
        raise CalibrationError(f"network '{name}' is not in calibration/networks", hint=_close(name, network_names()))
    try:
        return load_file(Path(name) if _is_file(name) else network_file(name))
    except NetworkError as error:
        raise CalibrationError(f"network '{name}': {error.message}", hint=error.hint) from error


def network_file(name: str) -> Path:
    """The file of a network of the data set; it need not exist."""
    return data_dir(FOLDER) / "networks" / f"{name}.json"


@lru_cache(maxsize=1)
def network_names() -> frozenset[str]:
    """The networks described in the data set."""
    return frozenset(file.stem for file in (data_dir(FOLDER) / "networks").glob("*.json"))


def overrides_of(text: str) -> dict[str, str]:
    """The items of ``overrides`` as ``make_target`` takes them."""
    return dict(_items(text))


def target_of(measurement: Measurement, platform_path: Sequence[Path] = ()) -> Target:
    """The platform at the measured condition.  Raises PlatformError or ConfigError where it does not exist."""
    from hil.platform import load_platform, make_target

    platform = load_platform(measurement.platform, platform_path)
    return make_target(platform, measurement.operating_point or None, overrides_of(measurement.overrides))


@lru_cache(maxsize=1)
def sources() -> Mapping[str, SourceInfo]:
    """Every source of the repository's measurements, by id.  Raises CalibrationError."""
    path = data_dir(FOLDER) / "sources.toml"
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        return {key: SourceInfo(id=key, **table) for key, table in tables.items()}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError) as error:
        raise CalibrationError(f"{path}: {error}") from error


# Reading CSV


def _items(text: str) -> list[tuple[str, str]]:
    parts = [item.partition("=") for item in text.split(";") if item.strip()]
    return [(key.strip(), value.strip()) for key, _, value in parts]


def _overrides(text: str) -> str:
    items = _items(text)
    if not all(key and value for key, value in items):
        raise _Wrong("KEY=VALUE items separated by ';', such as npu.clock_hz=25e6;supply_v=1.0")
    return ";".join(f"{key}={value}" for key, value in items)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise _Wrong("a positive number in SI units")
    return value


def _optional(text: str) -> float | None:
    return _number(text) if text else None


def _step(text: str) -> float:
    return _number(text) if text else 0.0


def _phase(text: str) -> str:
    parts = text.split("+")
    single = text in OTHER_PHASES
    if not single and (not set(parts) <= set(PHASES) or len(set(parts)) < len(parts)):
        wrong = next((part for part in parts if part not in PHASES), text)
        raise _Wrong(
            f"phases joined with '+' of {', '.join(PHASES)}, or {', '.join(OTHER_PHASES)}",
            hint=_close(wrong, (*PHASES, *OTHER_PHASES)),
        )
    return text


def _one_of(known: Collection[str]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in known:
            named = ", ".join(word or "(empty)" for word in known)
            raise _Wrong(f"one of {named}", hint=_close(text, known))
        return text

    return parse


def _given(text: str) -> str:
    if not text:
        raise _Wrong("a value")
    return text


def _close(word: str, known: Collection[str]) -> str | None:
    close = nearest(word, known)
    return f"did you mean '{close}'?" if close else None


class _Wrong(Exception):
    """What a cell should have held."""

    def __init__(self, expected: str, *, hint: str | None = None) -> None:
        super().__init__(expected)
        self.expected = expected
        self.hint = hint


# Columns that are more than text, and what an empty or missing cell of a user's file stands for.
_PARSERS: Final[dict[str, Callable[[str], Any]]] = {
    "id": _given,
    "platform": _given,
    "overrides": _overrides,
    "clock_host_hz": _optional,
    "clock_npu_hz": _optional,
    "supply_v": _optional,
    "network_match": _one_of(MATCHES),
    "quantity": _one_of(QUANTITIES),
    "phase": _phase,
    "baseline": _one_of(BASELINES),
    "value": _number,
    "resolution": _step,
    "grade": _one_of(GRADES),
    "source": _given,
    "use": _one_of(USES),
}
_DEFAULTS: Final = {
    "network_match": "exact",
    "precision": "int8",
    "software": "own",
    "phase": "inference",
    "grade": "A",
    "source": OWN_SOURCE,
    "use": "fit",
}
COLUMNS: Final = tuple(field.name for field in fields(Measurement) if field.name != "origin")
_REQUIRED: Final = ("id", "platform", "quantity", "value")


def read_csv(path: Path) -> tuple[Measurement, ...]:
    """Measurements in a CSV file.  Columns may be left out but for id, platform, quantity and value."""
    rows: list[Measurement] = []
    seen: dict[str, str] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            _check_header(path, header)
            for cells in reader:
                if cells:
                    row = _row(path, reader.line_num, header, cells)
                    if row.id in seen:
                        raise _cell_error(row.origin, "id", row.id, f"an id of its own, {seen[row.id]} has it too")
                    seen[row.id] = row.origin
                    rows.append(row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CalibrationError(f"{path}: cannot be read: {reason}", hint=f"expected {_FORMATS}") from error
    if not rows:
        raise CalibrationError(f"{path}: no measurements", hint=f"expected {_FORMATS}")
    return tuple(rows)


def _check_header(path: Path, header: Sequence[str]) -> None:
    for name in header:
        if name not in COLUMNS:
            hint = did_you_mean(name, COLUMNS)
            raise CalibrationError(f"{path}:1: column '{name[:60]}' is unknown; expected one of the columns", hint=hint)
    missing = [name for name in _REQUIRED if name not in header]
    twice = [name for name in header if header.count(name) > 1]
    if missing or twice:
        what = f"column '{missing[0]}' is missing" if missing else f"column '{twice[0]}' appears twice"
        raise CalibrationError(f"{path}:1: {what}", hint=f"required: {', '.join(_REQUIRED)}")


def _row(path: Path, line: int, header: Sequence[str], cells: Sequence[str]) -> Measurement:
    origin = f"{path}:{line}"
    if len(cells) != len(header):
        raise CalibrationError(f"{origin}: {len(cells)} cells; expected {len(header)}, as the header has")
    texts = dict.fromkeys(COLUMNS, "") | dict(zip(header, cells, strict=True))
    values: dict[str, Any] = {}
    for column, text in texts.items():
        stripped = text.strip() or _DEFAULTS.get(column, "")
        try:
            values[column] = _PARSERS[column](stripped) if column in _PARSERS else stripped
        except _Wrong as wrong:
            raise _cell_error(origin, column, stripped, wrong.expected, wrong.hint) from None
    values["network"] = _beside(values["network"], path)
    row = Measurement(**values, origin=origin)
    _check_row(row)
    return row


def _check_row(row: Measurement) -> None:
    """What the columns of one row must say together."""
    if row.quantity == "memory_bytes":
        _expect(row, "scope", row.scope in MEMORY_SCOPES, f"what was counted: {', '.join(MEMORY_SCOPES)}")
    elif row.quantity == "latency_s":
        _expect(row, "scope", not row.scope, "nothing for a latency")
        _expect(row, "baseline", not row.baseline, "nothing for a latency")
    else:
        named = row.scope in SCOPES or (row.scope.startswith("rail:") and len(row.scope) > len("rail:"))
        _expect(row, "scope", named, f"{', '.join(SCOPES)} or rail:NAME, for energy and power")
        _expect(row, "baseline", bool(row.baseline), "gross or above-idle, for energy and power")
    described = row.network_match in ("exact", "same-architecture", "approximate")
    _expect(row, "network", bool(row.network) == described, "a network where network_match names one, else nothing")
    _expect(row, "reason", row.use == "fit" or bool(row.reason), f"why the row is '{row.use}'")
    _expect(row, "reason", row.use != "fit" or not row.reason, "nothing in a row that is fitted")
    fitted = row.use == "fit"
    _expect(row, "use", not fitted or bool(row.network), "check or exclude for a row without network")
    _expect(row, "use", not fitted or row.phase != "none", "check or exclude for a row without phase")


def _expect(row: Measurement, column: str, good: bool, expected: str) -> None:
    if not good:
        raise _cell_error(row.origin, column, str(getattr(row, column)), expected)


def _cell_error(origin: str, column: str, value: str, expected: str, hint: str | None = None) -> CalibrationError:
    shown = value if len(value) <= 60 else f"{value[:57]}..."
    return CalibrationError(f"{origin}: column '{column}' is '{shown}'; expected {expected}", hint=hint)


def _is_file(network: str) -> bool:
    return not network.startswith(ZOO_PREFIX) and Path(network).suffix in (".json", ".tflite")


def _beside(network: str, path: Path) -> str:
    """A network named by a file is looked for beside the file that names it."""
    return str(path.parent / network) if _is_file(network) else network


@lru_cache(maxsize=1)
def _shipped() -> tuple[Measurement, ...]:
    return read_csv(data_file())


def _read_own(path: Path) -> Iterator[Measurement]:
    """A user's file of either kind, with architectures as the data set names them."""
    groups = {row.network: row.group for row in _shipped() if row.network}
    for row in read_record(path) if path.suffix.lower() == ".json" else read_csv(path):
        stem = Path(row.network).stem if _is_file(row.network) else row.network
        yield row if row.group or not row.network else replace(row, group=groups.get(stem, stem))


# Run records


def read_record(path: Path) -> tuple[Measurement, ...]:
    """The figures of a bench on a board or an emulator.  Raises CalibrationError for predictions.

    Every phase becomes a latency (the median of its samples) and, where a meter ran, an energy; repeated samples of one
    phase tell about the clock, not about the model, so they make one row.  Sums of phases are left out.
    """
    from hil.bench.store import from_json

    try:
        data = path.read_bytes()
    except OSError as error:
        raise CalibrationError(f"{path}: cannot be read: {error.strerror}", hint=f"expected {_FORMATS}") from error
    runs = from_json(data, str(path))
    predicted = next((run for run in runs if run.fidelity not in _MEASURED), None)
    if predicted is not None:
        raise CalibrationError(
            f"{path}: the run of {predicted.network} on {predicted.platform} is '{predicted.fidelity}'; "
            f"expected one of {', '.join(_MEASURED)}",
            hint="a prediction cannot calibrate what predicted it; give runs of a board or an emulator",
        )
    rows = [row for number, run in enumerate(runs) for row in _rows_of(run, path, number)]
    if not rows:
        raise CalibrationError(f"{path}: no measured phases", hint=f"expected {_FORMATS}")
    return tuple(rows)


def _rows_of(run: Run, path: Path, number: int) -> Iterator[Measurement]:
    from hil.platform import load_platform

    platform = load_platform(run.platform)
    point = platform.operating_points.get(run.operating_point)
    if point is None:
        raise CalibrationError(
            f"{path}: operating point '{run.operating_point}' is not one of {run.platform}",
            hint=did_you_mean(run.operating_point, platform.operating_points),
        )
    made = run.provenance
    row = Measurement(
        id="",
        platform=run.platform,
        operating_point=run.operating_point,
        overrides=";".join(f"{key}={value}" for key, value in sorted(made.overrides.items())),
        clock_host_hz=made.clocks_hz.get(point.host),
        clock_npu_hz=made.clocks_hz.get("npu"),
        supply_v=made.supply_v,
        mode="",
        network=_network_of(run, path),
        network_match="exact",
        network_alternative="",
        group="",
        precision=run.network_info.precision,
        software=point.stack_name,
        software_detail=made.software,
        quantity="latency_s",
        phase="inference",
        scope="",
        baseline="",
        value=1.0,
        resolution=0.0,
        grade="A",
        source=OWN_SOURCE,
        locator=path.name,
        date=made.created[:10],
        use="fit",
        reason="",
        note="",
        origin=f"{path}:runs.{number}",
    )
    for name, part in run.phases.items():
        if name in PHASES and name != "idle" and part.fidelity in _MEASURED:
            yield from _figures_of(part, replace(row, id=f"{path.stem}-{number}-{name}", phase=name), platform.power)


def _figures_of(part: PhaseFigures, row: Measurement, power: Power) -> Iterator[Measurement]:
    """The latency of one phase, and its energy on the platform's own scope where a meter measured it."""
    emulated = part.fidelity == "emulated"
    seconds = statistics.median(part.samples_s) if part.samples_s else part.latency_s.mean
    if seconds > 0:
        yield replace(
            row,
            id=f"{row.id}-t",
            value=seconds,
            use="check" if emulated else "fit",
            reason="emulated: the accelerator's time comes from the cost model" if emulated else "",
            note=f"median of {len(part.samples_s)} samples" if part.samples_s else "",
        )
    energy = part.energy_above_idle_j if power.baseline == "above-idle" else part.energy_j
    if energy is not None and energy.mean > 0 and not emulated and (energy.fidelity or part.fidelity) == "measured":
        scope, baseline = _scope_of(energy, row)
        yield replace(row, id=f"{row.id}-e", quantity="energy_j", value=energy.mean, scope=scope, baseline=baseline)


def _scope_of(energy: Energy, row: Measurement) -> tuple[str, Baseline]:
    """The words of a run record (``rail VCOREA, above idle``) in those of the data set."""
    where, _, idle = energy.scope.rpartition(", ")
    known = {"whole board": "whole-board", "chip supply": "chip"}
    scope = f"rail:{where.removeprefix('rail ')}" if where.startswith("rail ") else known.get(where, "")
    if not scope or idle not in ("gross", "above idle"):
        raise _cell_error(row.origin, "scope", energy.scope, "whole board, chip supply or rail NAME, and its baseline")
    return scope, "above-idle" if idle == "above idle" else "gross"


def _network_of(run: Run, path: Path) -> str:
    """The network of a run, found again by name and content: in the data set, in the zoo, or beside the record."""
    from hil import zoo

    beside = path.parent / run.network_info.source
    candidates = [run.network] if run.network in network_names() else []
    candidates += [f"{ZOO_PREFIX}{run.network}"] if run.network in zoo.names() else []
    candidates += [str(beside)] if run.network_info.source and beside.is_file() else []
    for name in candidates:
        if load_network(name).hash == run.network_info.hash:
            return name
    raise CalibrationError(
        f"{path}: network '{run.network}' with hash {run.network_info.hash} is neither in the data set nor in the zoo",
        hint=f"put its file '{run.network_info.source}' beside the record",
    )
