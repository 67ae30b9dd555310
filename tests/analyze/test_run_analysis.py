"""Runs analyzed: shares and rates in closed form, plans made again, and what is said where they cannot be."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from hand_made import exactly, made_run

from hil import zoo
from hil.analyze.runs import RunAnalysis, Sources, analyze_runs
from hil.backend import RunOptions
from hil.backend.analytic import AnalyticBackend
from hil.backend.run import Energy, Interval, Run
from hil.bench import Bench
from hil.network import Network
from hil.network.load import load_network
from hil.platform import load_platform, make_target

PHASES = {
    "boot": 1.0,
    "npu_init": 1e-3,
    "weight_load": 2e-3,
    "input_load": 1e-3,
    "inference": 4e-3,
    "output_read": 1e-3,
    "post_process": 1e-3,
}


def benched(
    networks: Sequence[Network], platform: str = "max78000", calibrated: bool = True, **overrides: str
) -> list[Run]:
    items = {key.replace("__", "."): value for key, value in overrides.items()}
    target = make_target(load_platform(platform), None, items)
    return list(Bench(networks, [target], AnalyticBackend(), RunOptions(calibrated=calibrated)).run().runs)


def analyzed(run: Run, **sources: object) -> RunAnalysis:
    (found,) = analyze_runs([run], Sources(**sources))  # type: ignore[arg-type]
    return found


def added_up(found: RunAnalysis) -> float:
    assert found.causes is not None
    return sum(found.causes.seconds.values())


def test_a_run_built_by_hand() -> None:
    """10 ms end to end without boot; a million MACs in 4 ms are 250 million per second, a quarter of the peak."""
    energy = Energy(mean=2e-3, low=1e-3, high=4e-3, scope="chip")
    found = analyzed(made_run("nowhere", exactly(10e-3), energy, PHASES))
    assert found.phases == pytest.approx({name: seconds / 10e-3 for name, seconds in PHASES.items() if name != "boot"})
    assert sum(found.phases.values()) == pytest.approx(1.0)
    assert found.achieved_macs_per_s == pytest.approx(250e6)
    assert found.utilization == pytest.approx(0.25)
    assert found.inferences_per_j == Interval(mean=500.0, low=250.0, high=1000.0)


def test_a_run_without_energy_and_inference() -> None:
    found = analyzed(made_run("nowhere", exactly(1e-3), None, {"post_process": 1e-3}))
    assert found.inferences_per_j is None and found.achieved_macs_per_s is None and found.utilization is None


def test_a_platform_that_is_gone() -> None:
    found = analyzed(made_run("nowhere", exactly(1e-3), None, PHASES))
    assert found.causes is None and "nowhere" in found.missing


def test_a_source_that_is_gone() -> None:
    run = made_run("max78000", exactly(1e-3), None, PHASES).model_copy(update={"operating_point": "arm-100mhz"})
    found = analyzed(run)
    assert found.causes is None
    assert found.missing == "net: its source 'gone.tflite' is not there any more, so its plan cannot be made again"


@pytest.mark.parametrize("platform", ["max78000", "gap9", "esp32-s3"])
def test_a_predicted_run_has_nothing_left_over(platform: str) -> None:
    for run, found in zip(
        runs := benched([zoo.load("kws"), zoo.load("resnet")], platform), analyze_runs(runs, Sources()), strict=True
    ):
        assert found.missing == "" and found.notes == ()
        assert found.causes is not None and found.causes.seconds["other"] == 0.0
        assert added_up(found) == pytest.approx(run.phases["inference"].latency_s.mean, rel=1e-9)


def test_peak_is_the_utilization_where_nothing_bounds_it() -> None:
    """MACs at the peak rate over the inference time: the same number found two ways."""
    found = analyzed(benched([zoo.load("resnet")])[0])
    assert found.causes is not None and found.utilization is not None
    assert found.causes.seconds["peak"] / found.inference_s == pytest.approx(found.utilization)


@pytest.mark.parametrize("factor", [1.5, 0.5])
def test_what_a_board_takes_beyond_the_model_is_other(factor: float) -> None:
    run = benched([zoo.load("resnet")])[0]
    inference = run.phases["inference"]
    predicted_s = inference.latency_s.mean
    slower = inference.model_copy(update={"latency_s": exactly(factor * predicted_s)})
    board = run.model_copy(update={"phases": {**run.phases, "inference": slower}, "backend": "serial"})
    found = analyzed(board)
    assert found.causes is not None
    assert found.causes.seconds["other"] == pytest.approx((factor - 1) * predicted_s)
    assert added_up(found) == pytest.approx(factor * predicted_s)


def test_overrides_of_the_run_are_applied_again() -> None:
    run = benched([zoo.load("resnet")], npu__clock_hz="25MHz")[0]
    found = analyzed(run)
    assert found.notes == ()
    assert added_up(found) == pytest.approx(run.phases["inference"].latency_s.mean, rel=1e-9)


def test_a_run_on_priors_alone_is_taken_as_such() -> None:
    run = benched([zoo.load("resnet")], "gap9", calibrated=False)[0]
    found = analyzed(run)
    assert found.notes == () and found.causes is not None and found.causes.seconds["other"] == 0.0


def test_a_model_or_plan_that_has_changed_is_noted() -> None:
    run = benched([zoo.load("resnet")])[0]
    origin = run.provenance.model_copy(update={"model_hash": "another", "plan_hash": "another"})
    found = analyzed(run.model_copy(update={"provenance": origin}))
    assert [note.partition(" is ")[0] for note in found.notes] == ["the cost model", "the plan"]
    assert added_up(found) == pytest.approx(run.phases["inference"].latency_s.mean, rel=1e-9)


def test_a_file_is_found_by_name_and_checked_by_content(tmp_path: Path) -> None:
    file = tmp_path / "mine.tflite"
    shutil.copy(zoo.entry("digits").path, file)
    run = benched([load_network(file)])[0]
    assert analyzed(run).causes is None
    assert analyzed(run, folders=(tmp_path / "elsewhere", tmp_path)).causes is not None
    shutil.copy(zoo.entry("kws").path, file)
    changed = analyzed(run, folders=(tmp_path,))
    assert changed.causes is None and "holds another network now" in changed.missing
    shutil.copy(zoo.entry("digits").path, tmp_path / "renamed.tflite")
    given = load_network(tmp_path / "renamed.tflite")
    assert analyzed(run, networks=(given,), folders=(tmp_path,)).causes is not None


def test_one_lost_source_does_not_lose_the_others() -> None:
    runs = benched([zoo.load("kws"), zoo.load("resnet")])
    lost = runs[0].model_copy(
        update={"network_info": runs[0].network_info.model_copy(update={"source": "gone.tflite"})}
    )
    first, second = analyze_runs([lost, runs[1]], Sources())
    assert first.causes is None and second.causes is not None and second.run is runs[1]


def test_why_names_the_op_and_what_is_known_of_it() -> None:
    """Plain facts of the zoo: kws has a 10x4 window, ResNet an input of 3 channels, YOLO maps beyond a data memory."""
    kws, yolo = analyze_runs(benched([zoo.load("kws"), zoo.load("yolov1_96")]), Sources())
    assert kws.why is not None and yolo.why is not None
    assert kws.why["fallback"] == "op 0 (conv0, conv2d): kernel 10x4: only 1x1, 3x3"
    assert "layers stream" in yolo.why["streaming"]
    resnet = analyzed(benched([zoo.load("resnet")], "gap9")[0])
    assert resnet.why is not None and "of weights" in resnet.why["memory"]
    assert "input channels used" in resnet.why["tiles"]


def test_no_runs_no_analyses() -> None:
    assert analyze_runs([], Sources()) == []
