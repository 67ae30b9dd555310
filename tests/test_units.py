"""Units at the edges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.errors import ConfigError
from hil.units import format_bytes, format_count, format_si, parse_quantity


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("1s", "s", 1.0),
        ("30 MHz", "Hz", 30e6),
        ("30e6", "Hz", 30e6),
        ("2.5µs", "s", 2.5e-6),
        ("2min", "s", 120.0),
        ("64KiB", "B", 65536.0),
        ("0.675Wh", "Wh", 0.675),
        ("10%", "%", 0.1),
    ],
)
def test_quantities(text: str, unit: str, value: float) -> None:
    assert parse_quantity(text, unit) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "unit", "message"),
    [
        ("fast", "Hz", "'fast' is not a quantity in Hz"),
        ("3 Mhz", "Hz", "'3 Mhz': unknown unit 'Mhz', expected Hz"),
        ("3 V", "Hz", "'3 V': 'V' is not a unit of Hz"),
        ("", "s", "'' is not a quantity in s"),
        ("1e999", "s", "'1e999' is not a finite quantity in s"),
    ],
)
def test_wrong_quantities(text: str, unit: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_quantity(text, unit)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("value", "text"),
    [(2.593e-3, "2.59 ms"), (0.0, "0 s"), (1.0, "1.00 s"), (999.96e-6, "1.00 ms"), (12345.0, "12.3 ks"), (None, "-")],
)
def test_format_si(value: float | None, text: str) -> None:
    assert format_si(value, "s") == text


@given(st.floats(1e-11, 1e9))
def test_what_is_formatted_reads_back_within_its_digits(value: float) -> None:
    assert parse_quantity(format_si(value, "s"), "s") == pytest.approx(value, rel=0.006)


def test_bytes_and_counts() -> None:
    assert [format_bytes(n) for n in (0, 1023, 1024, 442_368, 20 * 1024 * 1024)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "432 KiB",
        "20.0 MiB",
    ]
    assert [format_count(n) for n in (0, 9_999, 36_180_992)] == ["0", "9999", "36.2 M"]
