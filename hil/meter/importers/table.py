"""Tables of numbers in text files, and traces from their columns."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hil.meter.errors import FormatError
from hil.meter.types import Float, Gap, MeterInfo, Trace

HEAD_BYTES = 1 << 16
_GRID = 0.25  # of the interval that a time may lie beside the grid
_BEYOND = 1e30  # no cell says that, in whatever unit; its products would overflow
_EMPTY = re.compile(r"(^|,)\s*(?=,|$)")


def head_of(path: Path) -> bytes:
    """The start of a file.  Raises FormatError."""
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error


def lines_of(head: bytes) -> list[str]:
    return head.decode("utf-8-sig", "replace").splitlines()


def cells_of(line: str, delimiter: str = ",") -> list[str]:
    """Cells without quotes and blanks around them."""
    return [cell.strip().strip('"').strip() for cell in line.split(delimiter)]


def read_columns_at(
    path: Path, skip_lines: int, indices: Sequence[int], delimiter: str = ","
) -> npt.NDArray[np.float64]:
    """The columns ``indices`` below ``skip_lines`` lines, shape ``[rows, columns]``; empty cells are NaN.

    Raises FormatError for what is no number, or beyond all numbers, and for rows too short.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: cannot be read: {error}") from error
    body = "\n".join(text.splitlines()[skip_lines:]).strip("\r\n \t").replace('"', "")
    if not body:
        raise FormatError(f"{path}: a header and no samples")
    if delimiter == "," and _holes(body, len(indices)):
        body = "\n".join(_EMPTY.sub(r"\1nan", line) for line in body.split("\n"))
    try:
        table = np.loadtxt(
            io.StringIO(body), delimiter=delimiter, usecols=list(indices), ndmin=2, dtype=np.float64, comments=None
        )
    except (ValueError, OverflowError) as error:
        said = re.sub(r"\s+", " ", str(error)).split(";")[0]
        raise FormatError(f"{path}: below line {skip_lines}: {said:.120}", hint="a line was cut or damaged") from error
    if (beyond := np.abs(table) > _BEYOND).any():
        row, column = (int(index[0]) for index in np.nonzero(beyond))
        raise FormatError(
            f"{path}: sample {row}, column {indices[column]}: {table[row, column]:g} is no reading",
            hint="the file is damaged; a lost sample is an empty cell, or nan",
        )
    return table


def _holes(body: str, columns: int) -> bool:
    """Whether cells are empty: two delimiters side by side, or one at a line's start."""
    return ",," in body or ", ," in body or "\n," in body or body.startswith(",") or (columns > 1 and ",\n" in body)


def make_trace(
    path: Path,
    columns: Mapping[str, Float],
    digital: npt.NDArray[np.uint8] | None,
    *,
    site: str,
    voltage_v: float | None,
    rate_hz: float | None,
    info: MeterInfo,
    marked: bool = False,
) -> Trace:
    """A trace from columns in SI: ``time`` (or ``rate_hz``), ``current``, ``voltage``, ``power``.

    Rows without a current (NaN) are lost samples; ``marked``: all lost samples are such rows.  Times on a grid give a
    constant interval, holes in it gaps; other times are kept as they are.  Where there is power, the voltage is the one
    that gives it (P / I): power is what the energy is made of, and the product of two means is not the mean of the
    product.
    Raises FormatError.
    """
    current, power = columns.get("current"), columns.get("power")
    volts: Float | float | None = columns.get("voltage", voltage_v)
    if current is None:
        if power is None or volts is None:
            raise FormatError(
                f"{path}: no current in it", hint="give the supply voltage: current is power over voltage"
            )
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            current = np.divide(power, volts)
    if power is not None:
        fallback = np.zeros_like(power) if volts is None else np.broadcast_to(volts, power.shape)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            volts = np.where(current != 0, power / current, fallback)
    if volts is None:
        raise FormatError(f"{path}: no voltage in it", hint="give the supply voltage of the board")
    good = np.isfinite(current)
    if isinstance(volts, np.ndarray):
        good &= np.isfinite(volts)
    if good.sum() < 2:
        raise FormatError(f"{path}: {int(good.sum())} samples, expected at least two")
    rows = np.flatnonzero(good)
    t0_s, dt_s, t_s = 0.0, None, None
    notes: tuple[str, ...] = ()
    if rate_hz is not None:
        ticks, dt_s = rows, 1 / rate_hz
        notes = () if marked else (f"samples counted at {rate_hz:g} Hz: those that were lost before do not show",)
    else:
        if "time" not in columns:
            raise FormatError(f"{path}: neither times nor a sampling rate in it", hint="declare rate_hz")
        time_s = columns["time"][good]
        if not np.isfinite(time_s).all() or (np.diff(time_s) <= 0).any():
            raise FormatError(
                f"{path}: times that are missing, stand still or go backwards",
                hint="exported with too few digits: declare the rate and no time column",
            )
        t0_s = float(time_s[0])
        grid = _grid(time_s)
        if grid is None:
            ticks, t_s = rows, time_s
        else:
            ticks, dt_s = grid
    lost = np.diff(ticks) - 1
    return Trace(
        site=site,
        current_a=current[good],
        voltage_v=volts[good] if isinstance(volts, np.ndarray) else float(volts),
        dt_s=dt_s,
        t0_s=t0_s,
        t_s=t_s,
        digital=None if digital is None else digital[good],
        gaps=tuple(Gap(int(i) + 1, int(lost[i])) for i in np.flatnonzero(lost > 0)),
        info=info,
        raw=str(path),
        notes=notes,
    )


def _grid(time_s: Float) -> tuple[npt.NDArray[np.int64], float] | None:
    """Ticks of a constant interval that the times lie on, and the interval; None where they lie on none."""
    steps = np.diff(time_s)
    step = float(np.median(steps))
    with np.errstate(over="ignore"):  # a step that is next to nothing is no grid
        counts = np.round(steps / step)
    if counts.max() > 1e9 or counts.min() < 1 or (np.abs(steps - counts * step) > _GRID * step).any():
        return None
    ticks = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    step = float((time_s[-1] - time_s[0]) / ticks[-1])  # better than the median of rounded times
    if (np.abs(time_s - time_s[0] - ticks * step) > _GRID * step).any():
        return None
    return ticks, step


def bits_of(path: Path, columns: Sequence[Float]) -> npt.NDArray[np.uint8]:
    """One byte per row from columns of 0 and 1, the first column in bit 0.  Raises FormatError."""
    byte = np.zeros(len(columns[0]), dtype=np.uint8)
    for bit, column in enumerate(columns[:8]):
        if not ((column == 0) | (column == 1)).all():
            raise FormatError(f"{path}: a digital input that is neither 0 nor 1")
        byte |= column.astype(np.uint8) << bit
    return byte


def unpack_digits(path: Path, column: Float, lowest_first: bool) -> npt.NDArray[np.uint8]:
    """One byte per row from eight digits that were read as one decimal number.  Raises FormatError."""
    if not ((column >= 0) & (column <= 11_111_111) & (column == np.round(column))).all():
        raise FormatError(f"{path}: digital inputs that are not eight digits of 0 and 1")
    number = column.astype(np.int64)
    digits = [(number // 10**place % 10).astype(np.float64) for place in range(8)]  # the rightmost first
    return bits_of(path, digits[::-1] if lowest_first else digits)
