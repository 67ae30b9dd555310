"""The gate: what fails it, what does not, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from hil.backend import Run
from hil.backend.run import Accuracy, OutputFigures
from hil.compare.gate import Change, Gate, gate
from hil.compare.match import Side
from hil.errors import ConfigError, ResultsError
from tests.compare.conftest import Measure, scaled


def passed(a: Run, b: Run, threshold: float = 0.05) -> Gate:
    return gate(Side("old", runs=(a,)), Side("new", runs=(b,)), threshold)


def worse(a: Run, b: Run) -> dict[str, str]:
    """What failed: kind and subject to text."""
    return {f"{change.kind}: {change.what}": change.text for change in passed(a, b).regressions}


def beside(a: Run, b: Run) -> list[Change]:
    return [change for change in passed(a, b).changes if not change.worse]


def with_ops(run: Run, index: int, **update: Any) -> Run:
    ops = tuple(op.model_copy(update=update) if op.index == index else op for op in run.ops)
    return run.model_copy(update={"ops": ops})


OUTPUTS = OutputFigures(sha256="0" * 64, bytes=12, different_bytes=0, equal=True, input_seed=1)


def test_nothing_changed(predicted: Mapping[str, Run]) -> None:
    result = passed(predicted["kws"], predicted["kws"])
    assert result.passed and result.changes == () and result.runs == 1


def test_a_slower_inference_fails_and_names_what_grew(predicted: Mapping[str, Run]) -> None:
    run = predicted["kws"]
    found = worse(run, scaled(run, "inference", 1.15))
    assert set(found) == {"figure: latency inference", "figure: latency total", "figure: latency steady"}
    assert "+15.0 %" in found["figure: latency inference"]


def test_a_faster_one_passes_and_is_told(predicted: Mapping[str, Run]) -> None:
    run = predicted["kws"]
    result = passed(run, scaled(run, "inference", 0.8))
    assert result.passed
    assert any(change.what == "latency inference" and "-20.0 %" in change.text for change in result.changes)


def test_up_to_the_threshold_passes(predicted: Mapping[str, Run]) -> None:
    run = predicted["kws"]
    assert passed(run, scaled(run, "inference", 1.049)).passed
    assert not passed(run, scaled(run, "inference", 1.051)).passed
    assert passed(run, scaled(run, "inference", 1.15), threshold=0.20).passed


def test_between_predictions_the_centres_decide(predicted: Mapping[str, Run]) -> None:
    """The model's interval is far wider than 15 %, and common to both."""
    part = predicted["kws"].phases["inference"].latency_s
    assert part.high / part.mean > 1.02
    assert not passed(predicted["kws"], scaled(predicted["kws"], "inference", 1.08)).passed


def test_noise_of_boards_explains_what_it_can(predicted: Mapping[str, Run], measure: Measure) -> None:
    """Three windows that scatter by 10 %: a median 8 % higher is nothing; with 0.2 % it is a regression."""
    run = predicted["kws"]
    wild, calm = (0.90, 1.0, 1.10), (0.998, 1.0, 1.002)
    assert passed(measure(run, samples=wild), measure(run, 1.08, samples=wild)).passed
    assert not passed(measure(run, samples=calm), measure(run, 1.08, samples=calm)).passed
    assert passed(measure(run, samples=calm), measure(run, 1.03, samples=calm)).passed


def test_phases_that_are_too_short_to_matter_pass(predicted: Mapping[str, Run]) -> None:
    run = predicted["kws"]
    assert run.phases["output_read"].latency_s.mean < 1e-3 * run.steady.latency_s.mean
    assert passed(run, scaled(run, "output_read", 5.0)).passed


def test_an_op_that_left_the_npu_fails_though_no_time_changed(predicted: Mapping[str, Run]) -> None:
    run = predicted["kws"]
    op = next(op for op in run.ops if op.unit == "npu")
    found = worse(run, with_ops(run, op.index, unit="cpu", reason="kernel 10x4: at most 3x3"))
    assert found == {f"placement: op {op.name}": f"{op.type} left the NPU: kernel 10x4: at most 3x3"}


def test_an_op_that_came_to_the_npu_is_good_news(predicted: Mapping[str, Run]) -> None:
    run = predicted["kws"]
    op = next(op for op in run.ops if op.unit == "cpu")
    (change,) = beside(run, with_ops(run, op.index, unit="npu"))
    assert change.kind == "placement" and "runs on the NPU now" in change.text


def test_ops_of_one_name_are_told_apart(predicted: Mapping[str, Run]) -> None:
    run = predicted["kws"]
    same = run.model_copy(update={"ops": tuple(op.model_copy(update={"name": "conv"}) for op in run.ops)})
    last = [op for op in same.ops if op.unit == "npu"][-1]
    found = passed(same, with_ops(same, last.index, unit="cpu", reason="why")).regressions
    assert [change.kind for change in found] == ["placement"]


def test_the_op_behind_a_slower_inference_is_named(predicted: Mapping[str, Run]) -> None:
    run = predicted["kws"]
    op = max((op for op in run.ops if op.latency_s), key=lambda op: op.latency_s or 0.0)
    assert op.latency_s is not None
    slow = with_ops(scaled(run, "inference", 1.15), op.index, latency_s=1.6 * op.latency_s)
    (change,) = [change for change in passed(run, slow).changes if change.kind == "op time"]
    assert change.what == f"op {op.name} ({op.type})" and "+60.0 %" in change.text and not change.worse


def test_a_network_that_no_longer_fits_fails(predicted: Mapping[str, Run]) -> None:
    run = predicted["kws"]
    big = run.model_copy(update={"fits": False, "reasons": ("weights need 60 KiB of 32 KiB",)})
    assert worse(run, big) == {"fit: memory": "no longer fits: weights need 60 KiB of 32 KiB"}
    (change,) = beside(big, run)
    assert change.text == "fits now"


def test_wrong_outputs_fail(predicted: Mapping[str, Run]) -> None:
    right = predicted["kws"].model_copy(update={"outputs": OUTPUTS})
    wrong = right.model_copy(update={"outputs": OUTPUTS.model_copy(update={"equal": False, "different_bytes": 1})})
    expected = "differ from the reference interpreter's in 1 of 12 bytes"
    assert worse(right, wrong) == {"outputs: outputs": expected}
    assert worse(predicted["kws"], wrong) == {"outputs: outputs": expected}
    assert [change.text for change in beside(wrong, wrong)] == [f"{expected}, as in the baseline"]
    assert [change.text for change in beside(wrong, right)] == ["equal the reference interpreter's now"]


def test_printed_results_count_where_bytes_are_not_given(predicted: Mapping[str, Run]) -> None:
    printed = OutputFigures(results_equal=True, input_seed=1)
    right = predicted["kws"].model_copy(update={"outputs": printed})
    wrong = right.model_copy(update={"outputs": printed.model_copy(update={"results_equal": False})})
    assert list(worse(right, wrong)) == ["outputs: outputs"]


def test_a_check_that_vanished_fails(predicted: Mapping[str, Run]) -> None:
    right = predicted["kws"].model_copy(update={"outputs": OUTPUTS})
    assert worse(right, predicted["kws"]) == {"outputs: outputs": "are no longer checked against the reference"}


def test_lower_accuracy_fails(predicted: Mapping[str, Run]) -> None:
    accuracy = Accuracy(data_set="digits", samples=100, correct=97, reference_correct=97, different_predictions=0)
    good = predicted["kws"].model_copy(update={"accuracy": accuracy})
    bad = good.model_copy(update={"accuracy": accuracy.model_copy(update={"correct": 96})})
    assert worse(good, bad) == {"accuracy: accuracy": "97.0 % before, 96.0 % now"}
    assert passed(bad, good).passed
    assert worse(good, predicted["kws"]) == {"accuracy: accuracy": "is no longer measured"}


def test_a_run_that_vanished_fails_and_a_new_one_does_not(predicted: Mapping[str, Run]) -> None:
    both, one = Side("old", runs=(predicted["kws"], predicted["ad"])), Side("new", runs=(predicted["kws"],))
    (change,) = gate(both, one).regressions
    assert (change.kind, change.run) == ("missing", "ad on efr32xg24 at 78mhz (analytic)")
    assert gate(one, both).passed


def test_a_phase_that_vanished_fails_and_a_new_one_too(predicted: Mapping[str, Run]) -> None:
    run = predicted["ad"]
    phases = {name: part for name, part in run.phases.items() if name != "post_process"}
    less = run.model_copy(update={"phases": phases})
    assert {"missing: latency post_process", "missing: energy post_process"} <= set(worse(run, less))
    nothing = scaled(run, "post_process", 0.0)
    assert "from nothing" in worse(nothing, run)["figure: latency post_process"]


def test_another_energy_scope_fails(predicted: Mapping[str, Run]) -> None:
    run = predicted["kws"]
    assert run.total.energy_j is not None
    scope = run.total.energy_j.model_copy(update={"scope": "whole board, gross"})
    other = run.model_copy(update={"total": run.total.model_copy(update={"energy_j": scope})})
    assert "whole board, gross: cannot be compared" in worse(run, other)["incomparable: energy total"]


def test_what_else_changed_is_told(predicted: Mapping[str, Run]) -> None:
    run = predicted["kws"]
    clocks = {name: 0.75 * hertz for name, hertz in run.provenance.clocks_hz.items()}
    provenance = run.provenance.model_copy(update={"clocks_hz": clocks, "model_hash": "other"})
    texts = [change.text for change in beside(run, run.model_copy(update={"provenance": provenance}))]
    assert "changed: host clock 78.0 MHz against 58.5 MHz" in texts
    assert any("cost model" in text for text in texts)


def test_backends_are_told_apart(predicted: Mapping[str, Run], measure: Measure) -> None:
    run = predicted["kws"]
    (change,) = passed(run, measure(run)).regressions
    assert change.text == "the run has vanished"


def test_what_is_no_baseline(predicted: Mapping[str, Run]) -> None:
    run = predicted["kws"]
    with pytest.raises(ResultsError, match="holds kws on efr32xg24 at 78mhz \\(analytic\\) twice"):
        gate(Side("old", runs=(run, run)), Side("new", runs=(run,)))
    with pytest.raises(ConfigError, match="at most 100 %"):
        passed(run, run, threshold=5.0)
    from hil.compare.match import load_side

    with pytest.raises(ConfigError, match="no baseline"):
        gate(load_side("published"), Side("new", runs=(run,)))


def test_a_renamed_op_that_left_the_npu_fails_too(predicted: Mapping[str, Run]) -> None:
    """Another converter gives other names: types and MACs in their order say which op is which."""
    run = predicted["kws"]
    ops = tuple(op.model_copy(update={"name": f"model_1/{op.name}", "unit": "cpu"}) for op in run.ops)
    moved = run.model_copy(update={"ops": ops, "npu_macs": 0})
    found = worse(run, moved)
    assert any("left the NPU" in text for text in found.values())
    assert found["placement: work on the NPU"] == f"{run.npu_macs} MACs before, 0 now"


def test_a_measured_energy_that_became_the_models_fails(predicted: Mapping[str, Run]) -> None:
    run = predicted["kws"]
    phase = run.phases["inference"]
    assert phase.energy_j is not None
    measured = phase.model_copy(update={"energy_j": phase.energy_j.model_copy(update={"fidelity": "measured"})})
    before = run.model_copy(update={"phases": {**run.phases, "inference": measured}})
    assert "was measured, is only" in worse(before, run)["missing: energy inference"]


def test_overrides_count_by_what_they_mean(predicted: Mapping[str, Run]) -> None:
    runs = [
        predicted["kws"].model_copy(
            update={"provenance": predicted["kws"].provenance.model_copy(update={"overrides": {"npu.clock_hz": text}})}
        )
        for text in ("30MHz", "30e6")
    ]
    assert passed(*runs).passed and passed(*runs).runs == 1


def test_accuracies_of_different_sets_are_not_compared(predicted: Mapping[str, Run]) -> None:
    def with_set(name: str) -> Run:
        part = Accuracy(data_set=name, samples=10, correct=9, reference_correct=9, different_predictions=0)
        return predicted["kws"].model_copy(update={"accuracy": part})

    assert worse(with_set("one"), with_set("other")) == {
        "incomparable: accuracy": "of one, 10 samples before, of other, 10 samples now"
    }
