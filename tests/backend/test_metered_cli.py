"""``hil bench`` with a meter, as a user types it: an emulated board, and each driver against its simulated instrument.

In a process of its own where the instrument is a port or a socket; in this one where a vendor's library has to find it.
The truth is the simulated course of power: idle, then a known power from the first lap to the last.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hil.backend import RunOptions
from hil.backend.analytic import AnalyticBackend
from hil.cli.main import main
from hil.emulator.board import EmulatedBoard
from hil.emulator.process import Workspace
from hil.meter.sim import ina2xx, joulescope, lpm01a, otii, ppk2, stlink_v3pwr
from hil.meter.sim.instrument import Bits, Source, Timeline
from hil.meter.types import Float
from tests.backend.conftest import plan_of
from tests.backend.test_metered import BEFORE, IDLE_W, SITE, WORK_S, WORK_W, timeline

PROGRESS = re.compile(r"(hil: \d of 1: .*\n)*")  # all that may be said beside the JSON, where it takes some seconds


class Noisy:
    """What flows, with noise of 50 uA: without any there are only two readings, and nothing tells the meter's step."""

    def __init__(self, source: Timeline) -> None:
        self._source, self._random = source, np.random.default_rng(1)

    def current_a(self, t_s: Float) -> Float:
        return self._source.current_a(t_s) + self._random.normal(0.0, 50e-6, t_s.shape)

    def voltage_v(self, t_s: Float) -> Float:
        return self._source.voltage_v(t_s)

    def digital(self, t_s: Float) -> Bits:
        return self._source.digital(t_s)


@dataclass(frozen=True)
class Bench:
    """A board that answers at ``url``; one inference takes ``latency_s`` there, ``before_s`` pass before the first."""

    url: str
    latency_s: float
    before_s: float

    @property
    def inferences(self) -> int:
        return round(WORK_S / self.latency_s)

    def source(self, edges: bool) -> Noisy:
        return Noisy(timeline(self.before_s, self.latency_s, self.inferences, edges))

    def arguments(self, meter: str, rate_hz: float, out: Path) -> list[str]:
        asked = ["bench", "zoo:digits", "--platform", "max78000", "--backend", "serial", "--port", self.url]
        asked += ["--repeat", str(self.inferences), "--warmups", "0", "--out", str(out), "--json"]
        return [*asked, "--meter", meter, "--meter-rate", f"{rate_hz:g}Hz", "--site", SITE]

    def check(self, said: str, model: str, edges: bool) -> None:
        """The record's energy of the inference against what flowed."""
        (run,) = json.loads(said)["runs"]
        inference = run["phases"]["inference"]
        # The emulated board's times are the model's; what flowed was measured.
        assert run["fidelity"] == inference["fidelity"] == "calibrated"
        for key, true_w in (("energy_j", WORK_W), ("energy_above_idle_j", WORK_W - IDLE_W)):
            energy, true_j = inference[key], true_w * self.latency_s
            assert energy["fidelity"] == "measured"
            assert energy["low"] <= true_j <= energy["high"]
            # An interval that holds everything would say nothing.
            assert energy["high"] - energy["low"] < 0.3 * true_j
            assert energy["mean"] == pytest.approx(true_j, rel=0.02)
        assert inference["energy_j"]["scope"] == f"{SITE}, gross"
        meter = run["meter"]
        assert (meter["model"], meter["site"]) == (model, SITE)
        assert meter["alignment"].startswith("digital" if edges else "change-point")
        assert meter["idle_power_w"] == pytest.approx(IDLE_W, rel=0.05)
        assert [(Path(trace) / "trace.json").is_file() for trace in meter["traces"]] == [True]


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    plan = plan_of("digits", "max78000")
    (run,) = AnalyticBackend().run([plan], RunOptions())
    # The board counts whole nanoseconds.
    latency_s = round(run.phases["inference"].latency_s.mean * 1e9) * 1e-9
    before_s = math.fsum(run.phases[phase].latency_s.mean for phase in BEFORE)
    with Workspace() as space:
        emulated = EmulatedBoard.of_plan(plan, "python", space)
        yield Bench(emulated.url, latency_s, before_s)
        emulated.close()


def needs(module: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"{module} is not installed")


@pytest.mark.parametrize(
    ("spec", "kind", "rate_hz", "edges", "model"),
    [
        pytest.param("ppk2:{}?voltage_v=3.3", ppk2.Simulator, 10e3, True, "PPK2", id="ppk2"),
        pytest.param("lpm01a:{}", lpm01a.Simulator, 10e3, False, "X-NUCLEO-LPM01A", id="lpm01a"),
        pytest.param("stlink_v3pwr:{}", stlink_v3pwr.Simulator, 10e3, False, "STLINK-V3PWR", id="stlink_v3pwr"),
        pytest.param("ina226:{}", partial(ina2xx.Simulator, chip="ina226"), 2e3, True, "INA226", id="ina226"),
        pytest.param("ina228:{}", ina2xx.Simulator, 2e3, False, "INA228", id="ina228"),
        pytest.param("otii:{}", otii.Simulator, 4e3, False, "Otii Arc", id="otii", marks=needs("otii_tcp_client")),
    ],
)
def test_bench_with_an_instrument_at_a_port(
    bench: Bench,
    tmp_path: Path,
    spec: str,
    kind: Callable[[Source], AbstractContextManager[Any]],
    rate_hz: float,
    edges: bool,
    model: str,
) -> None:
    with kind(bench.source(edges)) as instrument:
        address = getattr(instrument, "address", None) or instrument.port
        command = [sys.executable, "-m", "hil", *bench.arguments(spec.format(address), rate_hz, tmp_path / "out")]
        done = subprocess.run(
            command,
            env={**os.environ, "XDG_CONFIG_HOME": str(tmp_path)},  # no stored check of a meter
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert PROGRESS.fullmatch(done.stderr)
    bench.check(done.stdout, model, edges)


def test_bench_with_a_joulescope(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stand-in for the library: it delivers two seconds at once."""
    device = joulescope.Device(bench.source(True), samples=20_000)
    monkeypatch.setitem(sys.modules, "pyjoulescope_driver", joulescope.Library(device))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    code = main(bench.arguments("joulescope:2557", 10e3, tmp_path / "out"))
    said = capsys.readouterr()
    assert code == 0 and PROGRESS.fullmatch(said.err)
    bench.check(said.out, "JS220", edges=True)
    assert device.opened == ["restore", "closed"]


@needs("Monsoon")
@needs("usb")
def test_bench_with_a_monsoon(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The vendor's library, against a monitor on a simulated USB bus."""
    from hil.meter.sim.monsoon import Monitor
    from hil.meter.sim.usb_bus import plugged

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    device = Monitor(bench.source(False))
    with plugged(device):
        code = main(bench.arguments("monsoon:20001", 5e3, tmp_path / "out"))
    said = capsys.readouterr()
    assert code == 0 and PROGRESS.fullmatch(said.err)
    bench.check(said.out, "Monsoon HVPM", edges=False)
    assert device.written == []


def test_bench_with_a_meter_that_is_not_there(bench: Bench, tmp_path: Path) -> None:
    """The code for a device that failed, and one line that names it."""
    command = [sys.executable, "-m", "hil", *bench.arguments("otii:127.0.0.1:1", 4e3, tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 4
    assert "127.0.0.1:1: connecting" in done.stderr and "Traceback" not in done.stderr
    assert json.loads(done.stdout)["runs"] == []
