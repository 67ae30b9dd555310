"""Sweeps: the grid is complete, the figures are those of a bench, the file appears whole."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from hil.backend import RunOptions
from hil.backend.analytic import AnalyticBackend
from hil.bench.sweep import COLUMNS, front, grid, sweep, write_rows
from hil.cli.main import main
from hil.errors import ConfigError
from hil.network.memory import arena_need, plan_memory
from hil.network.template import Candidate, template_network
from hil.plan import make_plan
from hil.platform import load_platform, make_target

CANDIDATES = grid("cnn", [8, 12], 2, [1, 2], [16], [3], 100)


def test_a_grid_holds_every_combination() -> None:
    assert len(CANDIDATES) == 2**2 * 2
    assert len({candidate.name for candidate in CANDIDATES}) == len(CANDIDATES)


def test_a_grid_beyond_its_limit_is_refused() -> None:
    with pytest.raises(ConfigError, match="^the grid has 1000 candidates, at most 999$"):
        grid("cnn", list(range(10)), 3, [1], [32], [3], 999)


def test_template_macs_equal_the_closed_form() -> None:
    """cnn, widths 8 and 12, one block each, 16 pixels, 3x3: 9*3*8*256 + 9*8*12*64 + 12*10."""
    network = template_network(Candidate("cnn", (8, 12), 1, 16, 3))
    assert network.macs == 9 * 3 * 8 * 256 + 9 * 8 * 12 * 64 + 12 * 10
    assert network.parameters == 9 * 3 * 8 + 8 + 9 * 8 * 12 + 12 + 12 * 10 + 10


def test_dscnn_macs_equal_the_closed_form() -> None:
    """First 3x3 convolution to 8 channels, then a depthwise 3x3 and a 1x1 to 8: all at 16 pixels."""
    network = template_network(Candidate("dscnn", (8,), 1, 16, 3))
    assert network.macs == (9 * 3 * 8 + 9 * 8 + 8 * 8) * 256 + 8 * 10


def test_the_arena_of_a_chain_is_its_largest_pair() -> None:
    for candidate in CANDIDATES:
        network = template_network(candidate)
        need, peak = arena_need(network)
        plan = plan_memory(network)
        assert plan.lower_bound_bytes <= need <= plan.arena_bytes
        assert peak == plan.peak_op


@pytest.mark.parametrize("platform", ["max78000", "stm32h747", "hx-we2"])
def test_a_sweep_predicts_what_a_bench_predicts(platform: str) -> None:
    target = make_target(load_platform(platform))
    rows = list(sweep(CANDIDATES, target))
    for candidate, row in zip(CANDIDATES, rows, strict=True):
        plan = make_plan(template_network(candidate), target, use_vela=False)
        (run,) = AnalyticBackend().run([plan], RunOptions())
        assert row.latency_s == pytest.approx(run.total.latency_s.mean)
        assert row.latency_high_s == pytest.approx(run.total.latency_s.high)
        assert run.total.energy_j is not None and row.energy_j == pytest.approx(run.total.energy_j.mean)
        assert row.fits == run.fits


def test_the_file_holds_every_candidate_and_appears_whole(tmp_path: Path) -> None:
    file = tmp_path / "sweep.csv"
    rows = write_rows(sweep(CANDIDATES, make_target(load_platform("max78000"))), file)
    first = next(rows)
    assert not file.exists()
    rest = list(rows)
    with file.open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert tuple(table[0]) == COLUMNS
    assert [row["network"] for row in table] == [first.network, *(row.network for row in rest)]
    assert list(tmp_path.iterdir()) == [file]


def test_nothing_on_the_front_is_beaten() -> None:
    rows = list(sweep(CANDIDATES, make_target(load_platform("stm32h747"))))
    best = front(rows)
    for one in best:
        assert not any(o.fits and o.latency_s < one.latency_s and o.parameters >= one.parameters for o in rows)


def test_the_command_line_reads_lists_and_ranges(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["sweep", "--width", "8:16:8", "--depth", "1,2", "--stages", "2", "-p", "max78000"])
    assert code == 0
    assert capsys.readouterr().out.startswith("8 candidates in ")
    assert main(["sweep", "--width", "a", "-p", "max78000"]) == 2
    assert capsys.readouterr().err.startswith("hil: 'a' is not a list of numbers\n")
    assert main(["sweep"]) == 2
    assert capsys.readouterr().err.startswith("hil: a sweep takes one platform\n")
