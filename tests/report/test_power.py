"""Measured power on the page: the picture shows what is in the trace, and no name gets out of its text."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from hil.backend.run import MeterFigures, Run
from hil.meter.store import save_trace
from hil.meter.types import Trace
from hil.report.html import render
from hil.report.power import power_section
from tests.report.test_html import EVIL, fake_run

SPIKE_W = 33.0


def run_with(trace: Path, site: str = "whole board") -> Run:
    meter = MeterFigures(
        model="PPK2",
        site=site,
        rate_hz=1000.0,
        alignment="digital, 2 edges",
        skew_ppm=3.0,
        windows_j=(1e-3,),
        notes=("weight_load not measured: too short",),
        traces=(str(trace),),
    )
    return fake_run("kws", "fast-npu", 0, 6, meter=meter)


def trace_with_a_spike(folder: Path) -> Path:
    """Two seconds at 1 kS/s, 1 A at 3.3 V, one sample of ten times that."""
    current_a = np.ones(2000)
    current_a[1234] = SPIKE_W / 3.3
    save_trace(Trace("whole board", current_a, 3.3, dt_s=1e-3), folder)
    (folder / "phases.csv").write_text(
        "name,start_s,end_s,inferences\nidle,0,0.2,1\ninference,0.5,1.5,8\npost_process,1.5,1.501,1\nidle,1.8,1.9,1\n"
    )
    return folder


def test_the_picture_has_phases_and_hides_no_spike(tmp_path: Path) -> None:
    page = power_section([run_with(trace_with_a_spike(tmp_path / "trace"))])
    assert page.count("<rect") == 2
    assert "<title>inference, 1.00 s</title>" in page and "<title>post_process, 1.00 ms" in page
    assert ">inference</text>" in page and ">post_process</text>" not in page  # too narrow for its name
    assert ">33.0 W</text>" in page
    (band,) = re.findall(r'<polygon points="([^"]*)"', page)
    heights = [float(point.split(",")[1]) for point in band.split()]
    # The highest point is the spike; the plain course is a tenth of it above the floor.
    floor = 220 - 24
    tops = sorted({floor - height for height in heights})
    assert abs(tops[-1] / tops[0] - SPIKE_W / 3.3) < 0.1
    assert "weight_load not measured: too short" in page


def test_runs_without_a_meter_have_no_section() -> None:
    assert power_section([fake_run("kws", "fast-npu", 0, 6)]) == ""


def test_a_trace_that_is_gone_is_said(tmp_path: Path) -> None:
    page = power_section([run_with(tmp_path / "gone")])
    assert "No picture" in page and "<svg" not in page


def test_no_name_gets_out_of_its_text(tmp_path: Path) -> None:
    run = run_with(trace_with_a_spike(tmp_path / "trace"), site=EVIL)
    page = render([run], {})
    assert "onerror=alert(1)>" not in page.split('<script type="application/json"')[0]
