"""Every shipped platform file: it loads, cites what it declares, and its figures are plausible."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from hil.cost.cpu import cpu_parameters
from hil.cost.families import FAMILIES
from hil.cost.parameters import ENERGY_PARAMETERS, PHASE_PARAMETERS
from hil.data import data_dir
from hil.platform.loader import load_platform, platform_files, read_platform
from hil.platform.schema import Figure, Platform, _mentioned_sources
from hil.platform.target import make_target

EXPECTED = (
    "max78000",
    "max78002",
    "gap8",
    "mcxn947",
    "hx-we2",
    "cv1800b",
    "stm32h7a3",
    "esp32-s3",
    "stm32n6",
    "gap9",
    "efr32xg24",
    "nrf54lm20",
    "ndp120",
    "f28p55x",
    "stm32l4r5",
    "stm32u575",
    "stm32h747",
    "stm32h743",
    "esp32-p4",
)
# The tiles of one computation; where all are published their product is the peak.
TILES = ("in_channel_tile", "out_channel_tile", "pixel_tile", "kernel_tile")
KIB, GIB = 1024, 1024**3

FILES = sorted(data_dir("platforms").glob("*/platform.toml"))
each_platform = pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)


@pytest.fixture(autouse=True)
def _no_user_platforms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HIL_PLATFORM_PATH", raising=False)


@pytest.mark.parametrize("platform_id", EXPECTED)
def test_exists(platform_id: str) -> None:
    assert load_platform(platform_id).id == platform_id


@each_platform
def test_loads_and_folder_is_id(file: Path) -> None:
    assert read_platform(file).id == file.parent.name


@each_platform
def test_has_readme(file: Path) -> None:
    lines = (file.parent / "README.md").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    assert 15 <= len(lines) <= 60


@each_platform
def test_every_declared_source_is_used(file: Path) -> None:
    platform = read_platform(file)
    used = {source for _, source in _mentioned_sources(platform)}
    assert set(platform.sources) == used


@each_platform
def test_sources_can_be_found_again(file: Path) -> None:
    for source in read_platform(file).sources.values():
        assert "../" not in source.reference
        assert not source.reference.startswith("/")


def _clocks(platform: Platform) -> list[Figure]:
    found = [core.clock_max_hz for core in platform.cores.values()]
    found += [clock for point in platform.operating_points.values() for clock in point.clocks_hz.values()]
    if platform.npu is not None:
        found.append(platform.npu.clock_max_hz)
    return [figure for figure in found if figure is not None]


@each_platform
def test_clocks_are_plausible(file: Path) -> None:
    for clock in _clocks(read_platform(file)):
        assert 1e6 <= clock.value <= 2e9


@each_platform
def test_clocks_stay_below_their_maximum(file: Path) -> None:
    platform = read_platform(file)
    maxima = {name: core.clock_max_hz for name, core in platform.cores.items()}
    maxima["npu"] = platform.npu.clock_max_hz if platform.npu is not None else None
    for point in platform.operating_points.values():
        for domain, clock in point.clocks_hz.items():
            maximum = maxima.get(domain)
            assert maximum is None or clock.value <= maximum.value * 1.001, (domain, clock.value)


@each_platform
def test_memories_are_plausible(file: Path) -> None:
    platform = read_platform(file)
    for name, memory in platform.memories.items():
        low = 256 if memory.kind == "npu-bias" else 4 * KIB
        assert low <= memory.size_bytes.value <= GIB, name
        assert memory.size_bytes.value.is_integer(), name
    roles = {role for memory in platform.memories.values() for role in memory.holds}
    assert {"weights", "activations"} <= roles


@each_platform
def test_supplies_and_power_are_plausible(file: Path) -> None:
    platform = read_platform(file)
    for point in platform.operating_points.values():
        assert point.supply_v is None or 0.4 <= point.supply_v.value <= 5.5
    for state in platform.power_states.values():
        assert 1e-8 <= state.power_w.value <= 2.0
        assert state.wake_s is None or 1e-7 <= state.wake_s.value <= 10.0


@each_platform
def test_tiles_multiply_to_the_peak(file: Path) -> None:
    npu = read_platform(file).npu
    if npu is None:
        return
    assert 1 <= npu.peak_macs_per_cycle.value <= 4096
    if all(tile in npu.structure for tile in TILES):
        product = math.prod(npu.structure[tile].value for tile in TILES)
        # Equal, but for arrays whose peak needs a mode that the tiles do not describe (NE16: 144 of 162).
        assert 0.8 * npu.peak_macs_per_cycle.value <= product <= npu.peak_macs_per_cycle.value


@each_platform
def test_costs_are_parameters_with_values_within_bounds(file: Path) -> None:
    platform = read_platform(file)
    for point in platform.operating_points.values():
        known = {
            p.name: p for p in (*PHASE_PARAMETERS, *ENERGY_PARAMETERS, *cpu_parameters(platform.cores[point.host].isa))
        }
        if platform.npu is not None:
            target = make_target(platform, next(n for n, p in platform.operating_points.items() if p is point))
            known |= {p.name: p for p in FAMILIES[platform.npu.family].parameters(target)}
        for name, figure in {**platform.costs, **point.costs}.items():
            assert name in known, name
            assert known[name].low <= figure.value <= known[name].high, name


@each_platform
def test_operators_are_stated_where_there_is_an_accelerator(file: Path) -> None:
    npu = read_platform(file).npu
    assert npu is None or npu.operators


def test_platform_files_lists_them_in_order() -> None:
    names = list(platform_files())
    assert names == sorted(names)
    assert set(names) == {file.parent.name for file in FILES}
