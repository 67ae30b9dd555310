"""The runner and the store: complete records, resuming, and nothing half-written."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from hil import zoo
from hil.backend import Run, RunOptions, make_backend
from hil.backend.analytic import AnalyticBackend
from hil.bench import Bench, Store, to_json
from hil.bench.store import from_json
from hil.errors import ConfigError, LinkError, ResultsError
from hil.files import write_atomic
from hil.plan import Plan
from hil.platform import Target, load_platform, make_target


def bench(names: Sequence[str] = ("kws", "digits"), platforms: Sequence[str] = ("max78000", "stm32l4r5")) -> Bench:
    targets = [make_target(load_platform(name)) for name in platforms]
    return Bench([zoo.load(name) for name in names], targets, AnalyticBackend())


def test_phases_add_up_to_the_total() -> None:
    for run in bench().run().runs:
        parts = [part for name, part in run.phases.items() if name != "boot"]
        assert run.total.latency_s.mean == pytest.approx(sum(part.latency_s.mean for part in parts))
        energies = [part.energy_j.mean for part in parts if part.energy_j is not None]
        assert run.total.energy_j is not None
        assert run.total.energy_j.mean == pytest.approx(sum(energies))


def test_every_figure_has_an_interval_around_it_and_a_fidelity() -> None:
    for run in bench(["kws", "autoencoder"], ["max78000", "stm32l4r5", "gap9"]).run().runs:
        assert run.fidelity == "calibrated"
        assert run.phases["inference"].fidelity == "calibrated"
        for part in (*run.phases.values(), run.total, run.steady, run.memory_io):
            assert part.fidelity in ("calibrated", "estimated")
            assert part.energy_j is not None and part.energy_j.scope
            for figure in (part.latency_s, part.energy_j, part.energy_above_idle_j):
                assert figure is not None and 0 <= figure.low <= figure.mean <= figure.high


def test_without_calibration_everything_is_estimated() -> None:
    uncalibrated = bench(["simplenet"])
    uncalibrated.options = RunOptions(calibrated=False)
    for prior, fitted in zip(uncalibrated.run().runs, bench(["simplenet"]).run().runs, strict=True):
        assert {part.fidelity for part in prior.phases.values()} == {"estimated"}
        assert prior.provenance.calibration_hash is None and fitted.provenance.calibration_hash is not None
        spread = [run.phases["inference"].latency_s for run in (prior, fitted)]
        assert spread[0].high / spread[0].low > spread[1].high / spread[1].low


def test_energy_above_idle_leaves_out_static_power() -> None:
    run = bench(["kws"], ["max78000"]).run().runs[0]
    assert run.idle_power_w is not None and run.total.energy_j is not None and run.total.energy_above_idle_j is not None
    static = run.idle_power_w.mean * run.total.latency_s.mean
    assert run.total.energy_j.mean - run.total.energy_above_idle_j.mean == pytest.approx(static)


def test_two_benches_give_the_same_figures() -> None:
    def figures() -> list[str]:
        return [run.model_dump_json(exclude={"provenance"}) for run in bench().run().runs]

    assert figures() == figures()


def test_energy_scopes_are_named_by_platform() -> None:
    scopes = {r.platform: r.total.energy_j.scope for r in bench(["kws"]).run().runs if r.total.energy_j is not None}
    assert scopes == {"max78000": "rail VCOREA, gross", "stm32l4r5": "rail MCU supply (EEMBC rig), gross"}


def test_json_reads_back_to_the_same_runs() -> None:
    runs = bench().run().runs
    text = to_json(runs)
    assert json.loads(text)["schema"] == 1
    assert from_json(text.encode(), "x") == runs


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "x: not a run record: Expecting value: line 1 column 1 (char 0)"),
        (b"[]", "x: record schema None, this hil reads schema 1"),
        (b'{"schema": 7, "runs": []}', "x: record schema 7, this hil reads schema 1"),
        (b'{"schema": 1, "runs": [{}]}', "x: not a run record: runs.0.network: Field required"),
        (b'{"schema": 1, "runs": 3}', "x: not a run record: runs: Input should be a valid tuple"),
    ],
)
def test_wrong_records_are_named(data: bytes, message: str) -> None:
    with pytest.raises(ResultsError) as caught:
        from_json(data, "x")
    assert caught.value.message == message


def test_flat_tables_hold_a_line_per_run_and_per_phase(tmp_path: Path) -> None:
    runs = bench().run(Store(tmp_path)).runs
    table = pd.read_csv(tmp_path / "runs.csv")
    assert len(table) == len(runs)
    phases = pd.read_csv(tmp_path / "phases.csv")
    pd.testing.assert_frame_equal(phases, pd.read_parquet(tmp_path / "phases.parquet"), check_dtype=False)
    total = phases[phases.phase != "boot"].groupby(["network", "platform"], sort=False).latency_s.sum()
    for run in runs:
        assert total[(run.network, run.platform)] == pytest.approx(run.total.latency_s.mean)


class _Interrupting(AnalyticBackend):
    """Stops before its second target, as Ctrl-C would."""

    def __init__(self) -> None:
        self.calls = 0

    def run(self, plans: Sequence[Plan], options: RunOptions) -> list[Run]:
        self.calls += 1
        if self.calls == 2:
            raise KeyboardInterrupt
        return super().run(plans, options)


def test_an_interrupted_bench_resumes(tmp_path: Path) -> None:
    first = bench()
    first.backend = _Interrupting()
    with pytest.raises(KeyboardInterrupt):
        first.run(Store(tmp_path))
    assert json.loads((tmp_path / "bench.json").read_text())["complete"] is False
    assert len(Store(tmp_path).runs()) == 2
    result = bench().run(Store(tmp_path))
    assert result.resumed == 2 and len(result.runs) == 4
    assert [run.platform for run in result.runs] == ["max78000"] * 2 + ["stm32l4r5"] * 2
    assert json.loads((tmp_path / "bench.json").read_text())["complete"] is True


def test_a_complete_bench_runs_again(tmp_path: Path) -> None:
    bench().run(Store(tmp_path))
    assert bench().run(Store(tmp_path)).resumed == 0


def test_an_interrupted_repetition_resumes_none_of_the_time_before(tmp_path: Path) -> None:
    """Measured again: what the first time measured must not come back as if it were of the second."""
    bench().run(Store(tmp_path))
    for file in Store(tmp_path).record_files():
        file.write_text(re.sub(r'"created": "[^"]*"', '"created": "2020-01-01T00:00:00+00:00"', file.read_text()))
    repetition = bench()
    repetition.backend = _Interrupting()
    with pytest.raises(KeyboardInterrupt):
        repetition.run(Store(tmp_path))
    result = bench().run(Store(tmp_path))
    assert result.resumed == 2 and len(result.runs) == 4
    assert not any(run.provenance.created.startswith("2020") for run in result.runs)


def test_another_bench_in_the_folder_is_replaced_only_when_asked(tmp_path: Path) -> None:
    bench().run(Store(tmp_path))
    with pytest.raises(ResultsError) as caught:
        bench(["digits"]).run(Store(tmp_path))
    assert caught.value.message == f"{tmp_path}: holds another bench (2 networks, 2 platforms)"
    assert len(Store(tmp_path).load()) == 4
    bench(["digits"]).run(Store(tmp_path), overwrite=True)
    assert [run.network for run in Store(tmp_path).load()] == ["digits", "digits"]


def test_records_of_other_options_are_not_resumed(tmp_path: Path) -> None:
    """The same networks and platforms with a period, interrupted: nothing of the first bench may come back."""
    bench().run(Store(tmp_path))
    periodic = bench()
    periodic.options = RunOptions(period_s=10.0)
    periodic.backend = _Interrupting()
    with pytest.raises(KeyboardInterrupt):
        periodic.run(Store(tmp_path), overwrite=True)
    again = bench()
    again.options = RunOptions(period_s=10.0)
    result = again.run(Store(tmp_path))
    assert result.resumed == 2
    assert all(run.period_s == 10.0 and run.duty for run in result.runs)


def test_a_damaged_record_is_run_again(tmp_path: Path) -> None:
    interrupted = bench()
    interrupted.backend = _Interrupting()
    with pytest.raises(KeyboardInterrupt):
        interrupted.run(Store(tmp_path))
    damaged = Store(tmp_path).record_files()[0]
    damaged.write_bytes(damaged.read_bytes()[:100])
    result = bench().run(Store(tmp_path))
    assert result.resumed == 1 and len(result.runs) == 4


def test_names_that_look_alike_keep_their_own_records(tmp_path: Path) -> None:
    names = ["x y", "x_y", "模型", "网络", ".x"]
    networks = [replace(zoo.load("digits"), name=name) for name in names]
    Bench(networks, [make_target(load_platform("max78000"))], AnalyticBackend()).run(Store(tmp_path))
    assert sorted(run.network for run in Store(tmp_path).load()) == sorted(names)


def test_a_killed_bench_leaves_only_whole_records(tmp_path: Path) -> None:
    """SIGKILL in mid-run, several times; then the same command finishes the work."""
    command = [sys.executable, "-m", "hil", "bench", "zoo:all", "--platform", "all", "--out", str(tmp_path / "out")]
    for delay in (1.2, 1.8, 2.4):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        Store(tmp_path / "out").runs()  # raises where a record is half-written
    done = subprocess.run([*command, "--json"], capture_output=True, check=True, timeout=120)
    assert len(json.loads(done.stdout)["runs"]) == 11 * 19


def test_a_full_disk_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    target = tmp_path / "file"
    target.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResultsError) as caught:
        write_atomic(target, b"new")
    assert caught.value.message == f"{target}: cannot be written: No space left on device"
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_unwritable_folder_is_one_clear_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    with pytest.raises(ResultsError, match="cannot be written: (Not a directory|File exists)"):
        write_atomic(blocked / "sub" / "x", b"")


def test_periods_give_average_power_and_battery_life() -> None:
    """A period spent mostly asleep costs the sleep power and the energy of one run."""
    target = make_target(load_platform("max78000"))
    options = RunOptions(period_s=10.0, battery_j=1000.0)
    run = Bench([zoo.load("digits")], [target], AnalyticBackend(), options).run().runs[0]
    by_state = {duty.state: duty for duty in run.duty}
    keep, lose = by_state["upm-retention"], by_state["upm"]
    assert not keep.reloads_weights and lose.reloads_weights
    assert keep.average_power_w.mean == pytest.approx(0.387e-3, rel=0.1)
    assert lose.battery_life_s == pytest.approx(1000.0 / lose.average_power_w.mean)
    assert sum(duty.best for duty in run.duty) == 1


class Broken:
    """A backend whose board is gone for one of the networks."""

    name = "analytic"  # so that the request is the same
    batched = False

    def __init__(self, lost: str) -> None:
        self.lost = lost

    def fingerprint(self, target: Target, options: RunOptions) -> str:
        return "other"

    def run(self, plans: Sequence[Plan], options: RunOptions) -> list[Run]:
        if plans[0].network.name == self.lost:
            raise LinkError("the cable was pulled")
        return AnalyticBackend().run(plans, options)


def test_a_pulled_cable_takes_no_earlier_record_away(tmp_path: Path) -> None:
    store = Store(tmp_path)
    bench(["kws", "ic"], ["max78000"]).run(store)
    again = bench(["kws", "ic"], ["max78000"])
    again.backend = Broken("kws")
    result = again.run(store)
    assert [failure[0] for failure in result.failures] == ["kws"]
    assert {run.network for run in store.load()} == {"kws", "ic"}
    with (tmp_path / "runs.csv").open() as file:
        assert {row["network"] for row in csv.DictReader(file)} == {"kws", "ic"}
    assert not store.complete  # the same command goes on when the cable is back


def test_one_failure_stops_no_other_board(tmp_path: Path) -> None:
    one = bench(["kws", "ic", "digits"], ["max78000"])
    one.backend = Broken("ic")
    result = one.run()
    assert [run.network for run in result.runs] == ["kws", "digits"]


def test_an_unknown_backend_has_a_nearest_one() -> None:
    with pytest.raises(ConfigError) as caught:
        make_backend("analitic")
    assert caught.value.hint == "did you mean 'analytic'?"


def test_csv_is_plain(tmp_path: Path) -> None:
    bench(["kws"], ["max78000"]).run(Store(tmp_path))
    rows = list(csv.DictReader(io.StringIO((tmp_path / "runs.csv").read_text())))
    assert rows[0]["network"] == "kws" and float(rows[0]["total_latency_s"]) > 0
