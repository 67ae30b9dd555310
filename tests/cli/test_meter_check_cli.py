"""``hil meter check`` against simulated instruments with known resistors and a planted error of gain and offset."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hil.board.boards import PortInfo
from hil.cli.main import main
from hil.meter.accuracy import checks_folder, find_check, load_check
from hil.meter.drivers.ppk2 import START
from hil.meter.energy import COVERAGE_FACTOR
from hil.meter.importers import import_trace
from hil.meter.registry import open_meter
from hil.meter.sim import ina2xx, ppk2
from hil.meter.sim.instrument import Bits, Faults
from hil.meter.types import Float, MeterInfo

VOLTS, GAIN, OFFSET_A = 3.3, 1.03, 4e-6
OHMS = ("100ohm", "1kohm", "10kohm")


class Bench:
    """A resistor on an instrument that reads ``GAIN * truth + OFFSET_A``, with noise; hands that exchange it whenever
    hil waits for Enter."""

    def __init__(self, *ohms: float, noise: float = 1e-3, drift: float = 0.0) -> None:
        self.ohm = ohms[0] if ohms else 1000.0
        self._rest = list(ohms)
        self._noise, self._drift = noise, drift
        self._rng = np.random.default_rng(7)

    def current_a(self, t_s: Float) -> Float:
        true_a = VOLTS / self.ohm * (1 + self._drift * t_s)
        return GAIN * true_a + OFFSET_A + self._rng.normal(0.0, 1.0, t_s.shape) * self._noise * (true_a + 2e-3)

    def voltage_v(self, t_s: Float) -> Float:
        return np.full(t_s.shape, VOLTS)

    def digital(self, t_s: Float) -> Bits:
        return np.zeros(t_s.shape, np.uint8)

    # The terminal.

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        if not self._rest:
            return ""
        self.ohm = self._rest.pop(0)
        return "\n"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("HIL_CACHE", str(tmp_path / "cache"))


Attach = Callable[[Bench], ppk2.Simulator]


@pytest.fixture
def attached(monkeypatch: pytest.MonkeyPatch) -> Iterator[Attach]:
    """Plug in a PPK2, as USB tells it, with a bench behind it and the bench's hands at the terminal."""
    open_ones: list[ppk2.Simulator] = []

    def attach(bench: Bench, faults: Faults | None = None) -> ppk2.Simulator:
        instrument = ppk2.Simulator(bench, faults=faults).__enter__()
        open_ones.append(instrument)
        port = PortInfo(instrument.port, 0x1915, 0xC00A, "C0FFEE", description="PPK2")
        monkeypatch.setattr("hil.meter.registry.list_ports", lambda: [port])
        monkeypatch.setattr(sys, "stdin", bench)
        return instrument

    yield attach
    for instrument in open_ones:
        instrument.__exit__(None, None, None)


def check(spec: str, *arguments: str, resistors: tuple[str, ...] = OHMS) -> int:
    chosen = [word for ohm in resistors for word in ("--resistor", ohm)]
    return main(["meter", "check", "--meter", spec, *chosen, "--seconds", "0.4", *arguments])


def found(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def require_truth(accuracy: dict[str, Any]) -> None:
    assert abs(accuracy["gain"] / GAIN - 1) < 2 * accuracy["gain_sd"]
    assert abs(accuracy["offset_a"] - OFFSET_A) < 2 * accuracy["offset_sd_a"] + 1e-9


def test_a_ppk2_is_checked_and_later_energies_are_right(
    attached: Attach, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(100.0, 1000.0, 10_000.0)
    attached(bench)
    assert check("ppk2", "--voltage", "3.3V", "--voltage-tolerance", "0.01%", "--json") == 0
    written = capsys.readouterr()
    assert "resistor 2 of 3: 1.00 kohm in place of the board, and nothing else: about 3.30 mA" in written.err
    document = json.loads(written.out)
    assert (document["model"], document["serial"]) == ("PPK2", "C0FFEE")
    require_truth(document["accuracy"])
    # Resistors within 0.1 %: the gain to their tolerance, not to the 5 % of an instrument that nobody checked.
    assert document["accuracy"]["gain_sd"] < 0.001
    assert [reading["error"] for reading in document["readings"]] == pytest.approx(
        [GAIN - 1 + OFFSET_A / reading["true_a"] for reading in document["readings"]], abs=3e-3
    )
    stored = find_check(checks_folder(), MeterInfo("PPK2", "C0FFEE"))
    assert stored is not None and stored.date[:2] == "20" and stored.date == document["date"]
    # What a benchmark asks for when it opens the same instrument.
    meter = open_meter("ppk2?voltage_v=3.3")
    meter.open()
    assert load_check(checks_folder(), meter.info) == stored.accuracy
    meter.close()

    bench.ohm = 470.0
    out = tmp_path / "trace"
    assert main(["meter", "record", "--meter", "ppk2?voltage_v=3.3", "--seconds", "0.4", "--out", str(out)]) == 0
    capsys.readouterr()
    seconds = (len(import_trace(out).current_a) - 1) * 1e-5
    truth_j = VOLTS**2 / 470.0 * seconds
    assert main(["energy", str(out), "--json"]) == 0
    document = found(capsys)
    energy = document["phases"]["all"]
    assert (
        document["accuracy"]["source"] == "resistor check, 3 readings" and document["accuracy"]["date"] == stored.date
    )
    assert energy["low_j"] < truth_j < energy["high_j"]
    assert energy["mean_j"] == pytest.approx(truth_j, rel=2e-3)
    assert main(["energy", str(out), "--check", "none", "--json"]) == 0
    document = found(capsys)
    raw = document["phases"]["all"]
    assert raw["mean_j"] == pytest.approx((GAIN * VOLTS / 470 + OFFSET_A) * VOLTS * seconds, rel=2e-3)
    assert raw["high_j"] - raw["mean_j"] == pytest.approx(COVERAGE_FACTOR * 0.05 * raw["mean_j"], rel=0.01)
    assert document["accuracy"]["source"].startswith("assumed") and document["accuracy"]["date"] is None
    # The same file by name, for traces that do not know their instrument.
    assert main(["energy", str(out), "--check", str(stored.path)]) == 0
    assert f"accuracy: resistor check, 3 readings, {stored.date[:10]}; gain 1.0" in capsys.readouterr().out


@pytest.mark.parametrize("chip", ["ina226", "ina228"])
def test_an_ina_is_checked_by_its_own_voltage(
    chip: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(33.0, 100.0, 330.0)
    monkeypatch.setattr(sys, "stdin", bench)
    with ina2xx.Simulator(bench, chip=chip) as bridge:
        assert check(f"{chip}:{bridge.port}", "--json", resistors=("33ohm", "100ohm", "330ohm")) == 0
    document = found(capsys)
    assert document["serial"] == "B0001"
    require_truth(document["accuracy"])
    # The voltage is not better than assumed: 0.5 % is a bound.
    assert document["accuracy"]["voltage_sd"] == pytest.approx(0.005)
    assert 0.005 / 3**0.5 < document["accuracy"]["gain_sd"] < 0.004


def test_the_table_and_the_list_of_meters(attached: Attach, capsys: pytest.CaptureFixture[str]) -> None:
    attached(Bench(100.0, 1000.0, 10_000.0))
    assert main(["meters"]) == 0
    assert "never checked: hil meter check" in capsys.readouterr().out
    assert check("ppk2?voltage_v=3.3") == 0
    text = capsys.readouterr().out
    assert "1.00 kohm" in text and "+3." in text and "use this from now on" in text
    assert all(len(line) <= 100 for line in text.splitlines() if "stored" not in line)
    assert main(["meters", "--json"]) == 0
    (meter,) = found(capsys)["attached"]
    assert meter["serial"] == "C0FFEE"
    require_truth(meter["check"]["accuracy"])
    assert main(["meters"]) == 0
    assert "resistor check, 3 readings, 20" in capsys.readouterr().out
    (checks_folder() / "broken.json").write_text("{")
    assert main(["meters"]) == 0
    assert "broken.json: not a resistor check" in capsys.readouterr().err


def require_refused(capsys: pytest.CaptureFixture[str], words: str) -> None:
    assert words in capsys.readouterr().err
    assert not list(checks_folder().glob("*.json"))


def test_an_instrument_without_serial_number_is_refused_before_anybody_connects(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(1000.0)
    monkeypatch.setattr(sys, "stdin", bench)
    with ppk2.Simulator(bench) as instrument:  # a PTY: no USB, no serial number
        assert check(f"ppk2:{instrument.port}?voltage_v=3.3") == 2
        assert START not in instrument.received
    written = capsys.readouterr().err
    assert "PPK2: no serial number" in written and "in place of the board" not in written


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--resistor", "1kohm", "--resistor", "1000"], "one is in there twice"),
        (["--resistor", "1kV"], "'kV' is not a unit of ohm"),
        (["--resistor", "0"], "--resistor 0: expected more than 0"),
        (["--resistor", "1kohm", "--tolerance", "0"], "--tolerance 0: expected more than 0"),
        (["--resistor", "1kohm", "--seconds", "0"], "--seconds 0: expected more than 0"),
        (["--resistor", "1kohm", "--voltage", "1.8V"], "voltage_v is to be 1.8 too"),
    ],
)
def test_wrong_options_are_found_before_anything_happens(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["meter", "check", "--meter", "ppk2:/dev/none?voltage_v=3.3", *arguments]) == 2
    require_refused(capsys, words)


def test_a_current_beyond_the_range_is_refused(attached: Attach, capsys: pytest.CaptureFixture[str]) -> None:
    attached(Bench(3.0))  # 1.1 A
    assert check("ppk2?voltage_v=3.3", resistors=("3ohm",)) == 4
    require_refused(capsys, "at the end of the range: the true current was higher")


def test_a_reading_with_gaps_is_refused(
    attached: Callable[[Bench, Faults], ppk2.Simulator], capsys: pytest.CaptureFixture[str]
) -> None:
    attached(Bench(1000.0), Faults(drop={20_000: 5}))
    assert check("ppk2?voltage_v=3.3", resistors=("1kohm",)) == 4
    require_refused(capsys, "1.00 kohm: 5 samples missing")


def test_a_reading_that_drifts_is_refused(attached: Attach, capsys: pytest.CaptureFixture[str]) -> None:
    attached(Bench(1000.0, drift=0.05))  # 5 % in a second
    assert check("ppk2?voltage_v=3.3", resistors=("1kohm",)) == 4
    require_refused(capsys, "1.00 kohm: the reading drifts from 3.4")


def test_another_resistor_than_said_is_refused(attached: Attach, capsys: pytest.CaptureFixture[str]) -> None:
    attached(Bench(100.0))
    assert check("ppk2?voltage_v=3.3", resistors=("1kohm",)) == 4
    require_refused(capsys, "1.00 kohm: reads 34.0 mA, expected 3.30 mA (3.30 V across it)")


def test_a_voltage_that_the_meter_does_not_see_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(100.0)
    monkeypatch.setattr(sys, "stdin", bench)
    with ina2xx.Simulator(bench) as bridge:
        assert check(f"ina228:{bridge.port}", "--voltage", "3V", resistors=("100ohm",)) == 4
    require_refused(capsys, "the meter has 3.30 V, 3.00 V stated")


def test_a_reading_that_never_changes_needs_its_resolution(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An INA226 without noise, in steps of 25 uA: the resolution is known to nobody but the user."""
    bench = Bench(330.0, 330.0, noise=0.0)
    monkeypatch.setattr(sys, "stdin", bench)
    with ina2xx.Simulator(bench, chip="ina226") as bridge:
        assert check(f"ina226:{bridge.port}", resistors=("330ohm",)) == 2
        require_refused(capsys, "the resolution of the meter cannot be told")
        arguments = ["--resolution", "25uA", "--voltage-tolerance", "0.01%", "--json"]
        assert check(f"ina226:{bridge.port}", *arguments, resistors=("330ohm",)) == 0
    document = found(capsys)
    (reading,) = document["readings"]
    assert reading["current_sd_a"] == pytest.approx(25e-6 / 12**0.5, rel=0.02)


def test_the_end_of_the_input_stores_nothing(attached: Attach, capsys: pytest.CaptureFixture[str]) -> None:
    attached(Bench(1000.0))  # hands for one resistor
    assert check("ppk2?voltage_v=3.3", resistors=("1kohm", "10kohm")) == 2
    require_refused(capsys, "the input ended")


def test_without_a_terminal_nobody_is_waited_for(
    attached: Attach, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(1000.0)
    attached(bench)
    monkeypatch.setattr(bench, "readline", lambda: pytest.fail("waited"))
    assert check("ppk2?voltage_v=3.3", "--yes", resistors=("1kohm",)) == 0
    monkeypatch.setattr(bench, "isatty", lambda: False)
    assert check("ppk2?voltage_v=3.3", resistors=("1kohm",)) == 0
    assert "Enter" not in capsys.readouterr().err
