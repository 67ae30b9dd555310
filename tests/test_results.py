"""The reference results are what the code gives now, and the README shows them."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pandas as pd
import pytest

from hil import zoo
from hil.backend.analytic import AnalyticBackend
from hil.bench import Bench, Store
from hil.cost.artefact import read_artefact
from hil.plan.vela import available
from hil.platform import load_platform, make_target, platform_files

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results"


def test_reference_results_are_up_to_date(tmp_path: Path) -> None:
    """Another processor may round the last digits differently, hence a tolerance; ``make results`` renews them."""
    if available() is None:
        pytest.skip("Vela is not installed, and the HX-WE2 figures need it (pip install 'hil[vela]')")
    targets = [make_target(load_platform(name)) for name in platform_files()]
    networks = [zoo.load(name) for name in zoo.names()]
    Bench(networks, targets, AnalyticBackend(), cache=tmp_path / "cache").run(Store(tmp_path / "out"))
    for name in ("runs.csv", "phases.csv"):
        # The plan's hash changes with every word of a platform file; the figures tell whether it matters.
        expected, found = (
            pd.read_csv(folder / name).drop(columns="plan_hash", errors="ignore")
            for folder in (RESULTS, tmp_path / "out")
        )
        pd.testing.assert_frame_equal(found, expected, rtol=1e-6)


def test_the_readme_shows_the_reference_table() -> None:
    table = (RESULTS / "table.txt").read_text(encoding="utf-8")
    shown = re.findall(r"^```\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.M | re.S)[0]
    for block in shown.strip("\n").split("\n\n"):
        assert block in table


def test_the_readme_says_what_the_table_says() -> None:
    """The paper's five networks on the MAX78000: 10 to 30 ms end to end, inference below 10 ms."""
    runs = pd.read_csv(RESULTS / "runs.csv").set_index(["platform", "network"])
    paper = ["cifar10_nas_max", "resnet", "simplenet", "autoencoder", "yolov1_96"]
    totals = [float(runs.loc[("max78000", name), "total_latency_s"]) for name in paper]
    assert math.isclose(min(totals), 10.5e-3, rel_tol=0.01) and max(totals) < 30e-3


def test_the_fidelity_page_shows_the_validation() -> None:
    table = (RESULTS / "validation.txt").read_text(encoding="utf-8").rstrip("\n")
    assert table in (ROOT / "docs" / "fidelity.md").read_text(encoding="utf-8")


def test_the_validation_is_that_of_the_artefacts() -> None:
    """Every line's held-out median and 90th percentile are those of the committed artefact."""
    lines = (RESULTS / "validation.txt").read_text(encoding="utf-8").splitlines()
    shown = {tuple(line.split()[:3]): line.split()[5:7] for line in lines if len(line.split()) > 12}
    for file in sorted((ROOT / "calibration").glob("*.json")):
        artefact = read_artefact(file, file.stem)
        for fit in artefact.fits:
            for quantity, letter in (("latency_s", "t"), ("energy_j", "E")):
                errors = fit.errors.get(f"{quantity}:network")
                if errors is not None:
                    expected = [f"{errors.median_ape:.0%}", f"{errors.p90_ape:.0%}"]
                    assert shown[(artefact.platform, fit.stack, letter)] == expected
