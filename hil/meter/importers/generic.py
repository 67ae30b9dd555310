"""Any table whose columns and units are declared, in TOML or as arguments."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, PositiveFloat, model_validator

from hil.errors import ConfigError
from hil.meter.errors import FormatError
from hil.meter.importers.table import bits_of, cells_of, head_of, lines_of, make_trace, read_columns_at
from hil.meter.types import MeterInfo, Trace
from hil.toml import parse_toml, validate
from hil.units import parse_quantity

_DOCS = "docs/meters.md has an example"


class Column(BaseModel):
    """A column, by its name in the header or by its number (from 0), and its unit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str | int
    unit: str


class Columns(BaseModel):
    """What a table holds.

    Either ``time`` or ``rate_hz``, and ``current`` or ``power``.  ``header_line`` is the line with the names (from 1),
    0 where there is none; samples begin below it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    time: Column | None = None
    current: Column | None = None
    voltage: Column | None = None
    power: Column | None = None
    digital: tuple[str | int, ...] = ()
    rate_hz: PositiveFloat | None = None
    header_line: int = 1
    delimiter: str = ","
    model: str = "unknown"

    @model_validator(mode="after")
    def _complete(self) -> Columns:
        if (self.time is None) == (self.rate_hz is None):
            raise ValueError("declare either 'time' or 'rate_hz'")
        if self.current is None and self.power is None:
            raise ValueError("declare 'current' or 'power'")
        if len(self.delimiter) != 1 or len(self.digital) > 8 or self.header_line < 0:
            raise ValueError("one character of delimiter, at most 8 digital inputs, a header line from 0 on")
        return self


def read_columns(path: Path) -> Columns:
    """The declaration from a TOML file.  Raises FormatError."""
    document = parse_toml(head_of(path), str(path), FormatError, _DOCS)
    return validate(Columns, document, str(path), FormatError, _DOCS)


def read_generic(path: Path, columns: Columns, site: str, voltage_v: float | None) -> Trace:
    """A trace from a declared table.  Raises FormatError."""
    lines = lines_of(head_of(path))
    names: list[str] = []
    if columns.header_line:
        if len(lines) < columns.header_line:
            raise FormatError(f"{path}: no line {columns.header_line}, where its header should be")
        names = cells_of(lines[columns.header_line - 1], columns.delimiter)

    def index(column: str | int) -> int:
        if isinstance(column, int):
            return column
        if column not in names:
            raise FormatError(f"{path}: no column '{column}'", hint=f"its columns: {', '.join(names) or 'no names'}")
        return names.index(column)

    units = {"time": "s", "current": "A", "voltage": "V", "power": "W"}
    declared = {role: column for role in units if (column := getattr(columns, role)) is not None}
    factors: dict[str, float] = {}
    for role, column in declared.items():
        try:
            factors[role] = parse_quantity(f"1{column.unit}", units[role])
        except ConfigError as error:
            raise FormatError(f"{path}: {role}: {error.message}", hint=error.hint) from error
    indices = [*(index(column.column) for column in declared.values()), *map(index, columns.digital)]
    table = read_columns_at(path, columns.header_line, indices, columns.delimiter)
    found = {role: table[:, i] * factors[role] for i, role in enumerate(declared)}
    inputs = [table[:, len(declared) + i] for i in range(len(columns.digital))]
    return make_trace(
        path,
        found,
        bits_of(path, inputs) if inputs else None,
        site=site,
        voltage_v=voltage_v,
        rate_hz=columns.rate_hz,
        info=MeterInfo(columns.model, driver="file"),
    )
