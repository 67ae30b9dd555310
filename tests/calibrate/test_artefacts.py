"""The committed artefacts are what the committed data give, and the analytic backend predicts with them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from hil.backend import RunOptions
from hil.backend.analytic import AnalyticBackend
from hil.calibrate.artefacts import calibrate_platform
from hil.calibrate.dataset import load_measurements, load_network, overrides_of
from hil.calibrate.design import phases_of
from hil.calibrate.solve import UnitFit
from hil.calibrate.units import tasks
from hil.cost.artefact import Artefact, artefact_in_use
from hil.plan import make_plan
from hil.plan.vela import available
from hil.platform import load_platform, make_target, platform_files

MEASUREMENTS = load_measurements()
CALIBRATED = [name for name in platform_files() if tasks(load_platform(name), MEASUREMENTS)]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("vela")


@pytest.fixture(scope="module", params=CALIBRATED)
def refitted(request: pytest.FixtureRequest, cache: Path) -> tuple[Artefact, list[UnitFit]]:
    name: str = request.param
    if name == "hx-we2" and available() is None:
        pytest.skip("Vela is not installed, and HX-WE2 is fitted to its cycles (pip install 'hil[vela]')")
    return calibrate_platform(name, tasks(load_platform(name), MEASUREMENTS), load_network, cache)


@pytest.mark.slow
def test_artefacts_are_up_to_date(refitted: tuple[Artefact, list[UnitFit]]) -> None:
    """``make calibration`` renews them.  Other processors round differently: one per cent is the same fit."""
    made, _ = refitted
    kept = artefact_in_use(made.platform)
    assert kept is not None
    assert kept.data_hash == made.data_hash
    assert [fit.stack for fit in kept.fits] == [fit.stack for fit in made.fits]
    for old, new in zip(kept.fits, made.fits, strict=True):
        assert [(p.name, p.point) for p in old.parameters] == [(p.name, p.point) for p in new.parameters]
        for before, after in zip(old.parameters, new.parameters, strict=True):
            assert math.isclose(before.value, after.value, rel_tol=0.01), before.name
        assert old.errors.keys() == new.errors.keys()
        for kind, errors in old.errors.items():
            assert errors.median_ape == pytest.approx(new.errors[kind].median_ape, abs=0.005)
            assert errors.p90_ape == pytest.approx(new.errors[kind].p90_ape, abs=0.01)


@pytest.mark.slow
def test_every_measured_row_can_be_asked_for(refitted: tuple[Artefact, list[UnitFit]], cache: Path) -> None:
    """The backend, with the artefact from its file, gives the in-sample figure of the fit for every row."""
    _, fits = refitted
    for fit in fits:
        unit = fit.unit
        fitted = np.exp(unit.predict(fit.vector[None])[0])
        runs = {}
        for index, row in enumerate(unit.rows):
            key = (row.operating_point, row.overrides, row.network)
            if key not in runs:
                target = make_target(unit.platform, row.operating_point, overrides_of(row.overrides))
                plan = make_plan(load_network(row.network), target, vela_cache=cache)
                (runs[key],) = AnalyticBackend().run([plan], RunOptions())
            run = runs[key]
            parts = [run.phases[phase] for phase in phases_of(row.phase) if phase in run.phases]
            seconds = sum(part.latency_s.mean for part in parts)
            energies = [p.energy_above_idle_j if row.baseline == "above-idle" else p.energy_j for p in parts]
            joules = sum(energy.mean for energy in energies if energy is not None)
            value = {"latency_s": seconds, "energy_j": joules, "power_w": joules / seconds}[row.quantity]
            assert value == pytest.approx(fitted[index], rel=0.02), row.id
            assert run.fidelity == "calibrated"
