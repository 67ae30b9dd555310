"""The fit recovers a known law, and one wrong measurement does not move it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from hil.calibrate.artefacts import as_fit, calibrate_platform
from hil.calibrate.dataset import Measurement, load_measurements
from hil.calibrate.design import Unit, build_unit
from hil.calibrate.fit import Jacobian, solve
from hil.calibrate.solve import fit_unit, structural_sigma
from hil.calibrate.units import Task, loosen, tasks
from hil.cost.artefact import artefact_json, read_artefact
from hil.errors import CalibrationError
from hil.network import Network
from hil.network.template import Candidate, template_network
from hil.platform import load_platform

PLATFORM = load_platform("stm32l4r5")
POINT = PLATFORM.default_operating_point

# Ten networks that tell kernels apart: plain and depthwise-separable, deep and shallow, wide and narrow.
CANDIDATES = {
    candidate.name: candidate
    for candidate in (
        Candidate("cnn", (8, 16), 1, 32, 3),
        Candidate("cnn", (16, 32), 2, 32, 3),
        Candidate("cnn", (8, 8), 1, 16, 5),
        Candidate("cnn", (64, 128), 1, 8, 1),
        Candidate("cnn", (32, 64), 2, 16, 1),
        Candidate("dscnn", (16, 32), 2, 32, 3),
        Candidate("dscnn", (32, 64), 1, 24, 3),
        Candidate("dscnn", (8, 16), 3, 32, 5),
        Candidate("dscnn", (64, 128), 2, 16, 3),
        Candidate("cnn", (4, 4), 4, 8, 3),
    )
}
LAW = {
    "cpu_conv_cycles_per_mac": 1.7,
    "cpu_pointwise_cycles_per_mac": 2.6,
    "cpu_depthwise_cycles_per_mac": 9.0,
}


def load(name: str) -> Network:
    return template_network(CANDIDATES[name])


def measurement(network: str, value: float) -> Measurement:
    template = next(m for m in load_measurements() if m.use == "fit" and m.quantity == "latency_s")
    return replace(
        template,
        id=f"{network}-t",
        platform=PLATFORM.id,
        operating_point=POINT,
        overrides="",
        network=network,
        group=network,
        software="test",
        phase="inference",
        value=value,
        resolution=None,
        grade="A",
    )


def unit(values: dict[str, float]) -> Unit:
    rows = [measurement(name, value) for name, value in values.items()]
    return build_unit(PLATFORM, "test", rows, load, None, loosen)


@pytest.fixture(scope="module")
def law() -> tuple[dict[str, float], np.ndarray]:
    """Latencies that follow the law to 1 %, and the parameter vector behind them."""
    blank = unit(dict.fromkeys(CANDIDATES, 1.0))
    vector = blank.prior.copy()
    for index, slot in enumerate(blank.slots):
        if slot.parameter.name in LAW:
            vector[index] = math.log(LAW[slot.parameter.name])
    exact = np.exp(blank.predict(vector[None])[0])
    noise = np.exp(0.01 * np.random.default_rng(7).standard_normal(len(exact)))
    return dict(zip(CANDIDATES, exact * noise, strict=True)), vector


def test_ten_measurements_with_a_known_law_recover_its_parameters(law: tuple[dict[str, float], np.ndarray]) -> None:
    fit = fit_unit(unit(law[0]))
    found = {p.name: p for p in as_fit(fit).parameters}
    for name, value in LAW.items():
        assert found[name].identified
        assert abs(math.log(found[name].value / value)) <= 1.645 * found[name].sigma


def test_a_measurement_ten_times_off_does_not_move_the_fit(law: tuple[dict[str, float], np.ndarray]) -> None:
    clean = fit_unit(unit(law[0]), hold_out=False)
    spoilt = fit_unit(unit({**law[0], "dscnn_w32-64_d1_r24_k3": 10 * law[0]["dscnn_w32-64_d1_r24_k3"]}), hold_out=False)
    for index, slot in enumerate(clean.unit.slots):
        if slot.parameter.name in LAW:
            assert spoilt.vector[index] == pytest.approx(clean.vector[index], abs=0.05)


def test_linear_problems_agree_with_the_closed_form() -> None:
    """With small residuals the solution is the weighted ridge estimate."""
    generator = np.random.default_rng(1)
    design, truth = generator.standard_normal((30, 3)), np.array([0.3, -0.2, 0.5])
    measured = design @ truth
    prior, prior_sigma, noise = np.zeros(3), np.full(3, 2.0), np.full(30, 0.5)
    found = solve(lambda x: (design @ x, design), measured, noise, prior, prior_sigma)
    weight = found.weights / noise**2
    normal = design.T @ (design * weight[:, None]) + np.diag(1 / prior_sigma**2)
    assert found.vector == pytest.approx(np.linalg.solve(normal, design.T @ (weight * measured)), abs=1e-3)
    assert found.covariance == pytest.approx(np.linalg.inv(normal), rel=1e-6)


def test_the_curvature_agrees_with_a_bootstrap() -> None:
    """Standard deviations from the curvature against those over resampled rows, on a problem that is not linear.

    Latencies are the sum of two kernels and an overhead in their logarithms.  Student-t weights discount nothing here,
    so the two must agree within what eighty resamples tell.
    """
    generator = np.random.default_rng(11)
    counts = generator.lognormal(0.0, 1.0, (60, 3))
    truth = np.log([2.0, 5.0, 1.0])

    def jacobian(rows: np.ndarray) -> Jacobian:
        def evaluate(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            parts = counts[rows] * np.exp(x)
            total = parts.sum(axis=1)
            return np.log(total), parts / total[:, None]

        return evaluate

    everything = np.arange(60)
    noise = np.full(60, 0.1)
    measured = jacobian(everything)(truth)[0] + noise * generator.standard_normal(60)
    prior, prior_sigma = np.zeros(3), np.full(3, 3.0)
    whole = solve(jacobian(everything), measured, noise, prior, prior_sigma)
    samples = []
    for _ in range(80):
        rows = generator.integers(0, 60, 60)
        samples.append(solve(jacobian(rows), measured[rows], noise, prior, prior_sigma).vector)
    ratio = np.std(samples, axis=0) / np.sqrt(np.diag(whole.covariance))
    assert np.all((ratio > 0.6) & (ratio < 1.6)), ratio


def test_structural_error_makes_nine_of_ten_rows_lie_inside() -> None:
    residual = 0.2 * np.random.default_rng(3).standard_normal(400)
    sigma = structural_sigma(residual, np.zeros(400), np.full(400, 0.01))
    assert sigma == pytest.approx(0.2, rel=0.1)
    assert np.mean(np.abs(residual) <= 1.645 * np.hypot(sigma, 0.01)) == pytest.approx(0.9, abs=0.01)


def test_an_unidentified_parameter_stays_at_its_prior(law: tuple[dict[str, float], np.ndarray]) -> None:
    """No network here has a transposed or moved tensor, so nothing tells the cost of moving bytes."""
    fit = fit_unit(unit(law[0]))
    names = {p.name for p in as_fit(fit).parameters}
    assert "cpu_move_cycles_per_byte" not in names


def test_artefacts_round_trip_and_are_deterministic(law: tuple[dict[str, float], np.ndarray], tmp_path) -> None:  # type: ignore[no-untyped-def]
    rows = tuple(measurement(name, value) for name, value in law[0].items())
    task = Task(PLATFORM, "test", (POINT,), rows)
    first, _ = calibrate_platform(PLATFORM.id, [task], load, None)
    second, _ = calibrate_platform(PLATFORM.id, [task], load, None)
    assert first.hash == second.hash
    file = tmp_path / "stm32l4r5.json"
    file.write_text(artefact_json(first))
    assert read_artefact(file, PLATFORM.id) == first
    with pytest.raises(CalibrationError) as caught:
        read_artefact(file, "max78000")
    assert caught.value.message == f"{file}: calibrates 'stm32l4r5', expected 'max78000'"
    file.write_text(artefact_json(first).replace('"schema_version": 1', '"schema_version": 2'))
    with pytest.raises(CalibrationError, match="not a calibration artefact of schema 1: schema_version: "):
        read_artefact(file, PLATFORM.id)


def test_energies_of_another_scope_are_refused(law: tuple[dict[str, float], np.ndarray]) -> None:
    (name, *_) = law[0]
    row = replace(
        measurement(name, 1e-3), software="x-cube-ai-9", quantity="energy_j", scope="whole-board", baseline="gross"
    )
    with pytest.raises(CalibrationError) as caught:
        tasks(PLATFORM, [row])
    assert "covers 'whole-board', stm32l4r5 is modelled for 'rail:MCU supply (EEMBC rig)'" in caught.value.message


def test_no_measurements_is_an_error() -> None:
    with pytest.raises(CalibrationError, match="^stm32l4r5: no measurements to fit at any of its operating points$"):
        calibrate_platform("stm32l4r5", [], load, None)
