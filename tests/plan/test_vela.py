"""The Vela adapter: known figures, attribution to ops, placement, the cache, and what happens when things go wrong."""

from __future__ import annotations

import csv
import dataclasses
import importlib.metadata
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hil.errors import HilError, NetworkError, PlatformError, UnavailableError
from hil.network.graph import Network
from hil.network.layers import read_layers
from hil.network.tflite import read_tflite
from hil.plan import vela
from hil.platform import schema

MODELS = Path(__file__).parents[2] / "hil" / "zoo" / "models"
needs_vela = pytest.mark.skipif(vela.available() is None, reason="ethos-u-vela is not installed")


def figure(value: float) -> schema.Figure:
    return schema.Figure(value=value, source="test", certainty="assumed")


def settings(**changes: Any) -> schema.Vela:
    """The memories of Arm's stock Ethos_U55_High_End_Embedded."""
    values: dict[str, Any] = {
        "accelerator": "ethos-u55-64",
        "sram_bytes_per_cycle": figure(8),
        "flash_bytes_per_cycle": figure(1),
        "sram_latency_cycles": figure(32),
        "flash_latency_cycles": figure(64),
    }
    return schema.Vela(**{**values, **changes})


def zoo(name: str) -> Network:
    data = (MODELS / f"{name}.tflite").read_bytes()
    return dataclasses.replace(read_tflite(data, name), model=data)


def listed(*ops: dict[str, Any], shape: Sequence[int] = (1, 16, 16, 8)) -> Network:
    document = {"input_shapes": [list(shape)], "ops": list(ops)}
    return read_layers(json.dumps(document).encode(), "listed")


CONV = {"type": "conv2d", "kernel": [3, 3], "padding": "same", "filters": 16, "activation": "relu"}
SMALL = listed(CONV, {"type": "round"}, {"type": "fully_connected", "filters": 10})


class Runs:
    """Counts the processes, and may stand in for them."""

    def __init__(self, result: vela.Result | None = None) -> None:
        self.count = 0
        self.folders: list[Path] = []
        self.result = result
        self.real = vela._run

    def __call__(self, command: Sequence[str], folder: Path, timeout_s: float, name: str) -> vela.Result:
        self.count += 1
        self.folders.append(folder)
        return self.result or self.real(command, folder, timeout_s, name)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    counter = Runs()
    monkeypatch.setattr(vela, "_run", counter)
    return counter


@pytest.fixture(autouse=True)
def no_folder_left(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("scratch")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert list(folder.iterdir()) == []


# Figures

# Network, nn_macs and weight bytes published in uNPU-Bench's Vela summaries (pooling windows included).
PUBLISHED = [
    ("cifar10_nas", 36_471_808, 352_960),
    ("resnet", 18_498_048, 381_792),
    ("simplenet", 18_498_048, 381_792),
    ("autoencoder", 201_984, 136_448),
    ("yolov1_96", 21_428_928, 40_304),
]


@needs_vela
@pytest.mark.parametrize(("name", "macs", "weight_bytes"), PUBLISHED)
def test_published_macs_and_sums(name: str, macs: int, weight_bytes: int) -> None:
    network = zoo(name)
    report = vela.compile_network(network, settings(), 500e6, cache=None)
    assert (report.macs, report.weight_bytes) == (macs, weight_bytes)
    assert all(report.on_npu) and not report.reasons and not report.random_weights
    assert len(report.op_cycles) == len(report.on_npu) == len(network.ops)
    # Every row of Vela's table went to one op: the sums are the summary's.
    assert sum(report.op_cycles) == report.total_cycles
    assert sum(report.op_npu_cycles) == report.npu_cycles
    assert sum(report.op_sram_cycles) == report.sram_cycles
    assert sum(report.op_flash_cycles) == report.flash_cycles
    assert report.latency_s == report.total_cycles / 500e6


@needs_vela
def test_the_stock_configuration_is_reproduced() -> None:
    """The figures of `vela --config Arm/vela.ini --system-config Ethos_U55_High_End_Embedded` of version 5.2.0."""
    report = vela.compile_network(zoo("kws"), settings(), 500e6, cache=None)
    stock = _stock("kws")
    found = (report.npu_cycles, report.sram_cycles, report.flash_cycles, report.total_cycles)
    assert found == tuple(
        float(stock[f"cycles_{key}"]) for key in ("npu", "sram_access", "off_chip_flash_access", "total")
    )
    assert report.sram_bytes == float(stock["sram_memory_used"]) * 1024


def _stock(name: str) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "ethosu.vela", str(MODELS / f"{name}.tflite"), "--config", "Arm/vela.ini"]
        command += ["--system-config", "Ethos_U55_High_End_Embedded", "--memory-mode", "Shared_Sram"]
        command += ["--accelerator-config", "ethos-u55-64", "--output-dir", folder]
        subprocess.run(command, check=True, capture_output=True)
        with next(Path(folder).glob("*_summary_*.csv")).open(encoding="utf-8", newline="") as file:
            return next(csv.DictReader(file))


@needs_vela
def test_cycles_go_to_the_ops_that_cause_them() -> None:
    network = zoo("resnet")
    report = vela.compile_network(network, settings(), 500e6, cache=None)
    for op, cycles, sram in zip(network.ops, report.op_npu_cycles, report.op_sram_cycles, strict=True):
        assert cycles >= op.macs / 64 and (cycles > 0 and sram > 0)


@needs_vela
def test_two_runs_agree() -> None:
    first, second = (vela.compile_network(SMALL, settings(), 1e8, cache=None) for _ in range(2))
    assert first == second


@needs_vela
@pytest.mark.parametrize("mode", ["Sram_Only", "Shared_Sram", "Dedicated_Sram"])
@pytest.mark.parametrize("accelerator", ["ethos-u55-128", "ethos-u65-256", "ethos-u85-256"])
def test_every_mode_and_generation(mode: str, accelerator: str) -> None:
    given = settings(accelerator=accelerator, memory_mode=mode, arena_cache_bytes=figure(65536))
    report = vela.compile_network(zoo("kws"), given, 1e8, cache=None)
    assert sum(report.op_flash_cycles) == report.flash_cycles
    assert sum(report.op_cycles) == report.total_cycles > 0
    assert report.flash_bytes > 0 and (report.flash_cycles > 0) == (mode != "Sram_Only")


@needs_vela
def test_bandwidth_of_the_table_is_what_vela_uses() -> None:
    slow, fast = (
        vela.compile_network(zoo("autoencoder"), settings(flash_bytes_per_cycle=figure(b)), 1e8, cache=None)
        for b in (0.5, 2.0)
    )
    assert slow.flash_cycles / fast.flash_cycles == pytest.approx(4, rel=0.05)
    assert fast.flash_cycles == pytest.approx(fast.encoded_weight_bytes / 2, rel=0.1)


# Placement


@needs_vela
def test_ops_left_to_the_cpu_have_a_reason() -> None:
    report = vela.compile_network(SMALL, settings(), 1e8, cache=None)
    assert report.on_npu == (True, False, True)
    assert list(report.reasons) == [1] and "ROUND: Unsupported opType" in report.reasons[1]
    assert report.op_cycles[1] == 0 and report.random_weights


@needs_vela
def test_a_limit_is_quoted() -> None:
    network = listed(
        {"type": "reshape", "out_shape": [1, 2, 400, 25, 16]},
        {"type": "transpose", "perm": [0, 1, 3, 2, 4], "out_shape": [1, 2, 25, 400, 16]},
        shape=[1, 20, 16, 1000],
    )
    report = vela.compile_network(network, settings(), 1e8, cache=None)
    assert report.on_npu[1] is False and "shape out of range" in report.reasons[1]


@needs_vela
def test_a_network_wholly_on_the_cpu() -> None:
    report = vela.compile_network(listed({"type": "round"}), settings(), 1e8, cache=None)
    assert report.on_npu == (False,) and report.total_cycles == 0


def test_unknown_output_still_gives_a_reason() -> None:
    operators = [vela._Operator(0, ("a",)), vela._Operator(1, ("b",))]
    tables = {
        "source": [{"id": "1", "ext_key": "0"}, {"id": "2", "ext_key": "1"}],
        "perf": [
            {"source_id": "2", "operator": "Passthrough", "op_cycles": "0"},
            {"source_id": "1", "operator": "Conv2D", "op_cycles": "7"},
            {"source_id": "0", "operator": "MemoryCopy", "op_cycles": "5"},
        ],
    }
    placement = vela._Placement(operators, tables, "nothing that can be understood", 2)
    assert placement.reasons() == {1: vela.UNKNOWN_REASON}
    assert placement.cycles("op_cycles") == (12.0, 0.0)  # the row without a source goes to the op before it


def test_names_that_look_like_columns() -> None:
    body = '"id","name","op_cycles"\n1,"a,"b",3",42\n'
    assert vela._rows(body) == [{"id": "1", "name": 'a,"b",3', "op_cycles": "42"}]


def test_warnings_of_several_lines() -> None:
    text = (
        "\nWarning (supported operators) operator: QUANTIZE, ofm: 'it's'\nReason: has Float32 (x)\nmust be INT8\n"
        "\nWarning (supported operators) operator: None, ofm: 'b'\nReason: Unsupported opType\n\nNetwork summary\n"
    )
    operators = [vela._Operator(0, ("it's",)), vela._Operator(1, ("b",))]
    placement = vela._Placement(operators, {}, text, 2)
    assert placement.reasons() == {0: "QUANTIZE: has Float32 (x), must be INT8", 1: "Unsupported opType"}


# The configuration file


def test_configuration_of_a_u55() -> None:
    text = vela.configuration(settings(flash_bytes_per_cycle=figure(0.5), arena_cache_bytes=figure(4096)), 1e8)
    for line in (
        "[System_Config.Ethos_U55_hil]",
        "core_clock=100000000.0",
        "Sram_clock_scale=1.0",
        "OffChipFlash_clock_scale=0.0625",
        "OffChipFlash_read_latency=64",
        "arena_cache_size=4096",
    ):
        assert line in text.splitlines()


def test_several_ports_of_a_u85() -> None:
    text = vela.configuration(settings(accelerator="ethos-u85-512", sram_bytes_per_cycle=figure(24)), 1e9)
    assert "Sram_ports_used=2\n" in text and "Sram_clock_scale=0.75\n" in text


@pytest.mark.parametrize(
    ("changes", "clock_hz", "what"),
    [
        ({"sram_bytes_per_cycle": figure(9)}, 1e8, "sram_bytes_per_cycle is 9; expected at most 8"),
        ({"flash_bytes_per_cycle": figure(16)}, 1e8, "flash_bytes_per_cycle is 16"),
        ({"flash_latency_cycles": figure(1e9)}, 1e8, "flash_latency_cycles"),
        ({"accelerator": "ethos-u55-65"}, 1e8, "ethos-u55-65"),
        ({}, 0.0, "clock"),
        ({}, float("nan"), "clock"),
    ],
)
def test_what_vela_cannot_express(changes: dict[str, Any], clock_hz: float, what: str) -> None:
    with pytest.raises(PlatformError, match=what):
        vela.configuration(settings(**changes), clock_hz)


# The cache


@needs_vela
def test_a_hit_runs_nothing(runs: Runs, tmp_path: Path) -> None:
    cache = tmp_path / "new" / "cache"
    first = vela.compile_network(SMALL, settings(), 1e8, cache=cache)
    second = vela.compile_network(SMALL, settings(), 1e8, cache=cache)
    assert runs.count == 1 and first == second
    vela.compile_network(SMALL, settings(), 2e8, cache=cache)
    vela.compile_network(SMALL, settings(optimise="Size"), 1e8, cache=cache)
    vela.compile_network(zoo("autoencoder"), settings(), 1e8, cache=cache)
    assert runs.count == 4
    assert sorted(path.suffix for path in cache.iterdir()) == [".json"] * 4


@needs_vela
@pytest.mark.parametrize("damage", ["", "{", "[]", '{"schema": 1}', "\x00", "cut", "short", "old", "types"])
def test_a_damaged_entry_is_made_again(damage: str, runs: Runs, tmp_path: Path) -> None:
    report = vela.compile_network(SMALL, settings(), 1e8, cache=tmp_path)
    (entry,) = tmp_path.iterdir()
    good = json.loads(entry.read_text())
    changed = {
        "cut": json.dumps(good)[:-20],
        "short": json.dumps({**good, "op_cycles": good["op_cycles"][1:]}),
        "old": json.dumps({**good, "schema": 0}),
        "types": json.dumps({**good, "op_cycles": ["x", 1, 2]}),
    }
    entry.write_text(changed.get(damage, damage))
    assert vela.compile_network(SMALL, settings(), 1e8, cache=tmp_path) == report
    assert runs.count == 2
    assert json.loads(entry.read_text()) == good


@needs_vela
def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    vela.compile_network(SMALL, settings(), 1e8, cache=tmp_path / "file")


# Many networks


@needs_vela
def test_many_networks_keep_their_order(runs: Runs, tmp_path: Path) -> None:
    broken = dataclasses.replace(zoo("kws"), name="broken", model=b"not a model")
    reports = vela.compile_many([SMALL, broken, zoo("autoencoder")], settings(), 1e8, cache=tmp_path, workers=2)
    assert runs.count == 3
    small, error, autoencoder = reports
    assert isinstance(small, vela.VelaReport) and isinstance(autoencoder, vela.VelaReport)
    assert autoencoder.macs == 201_984
    assert isinstance(error, HilError) and "broken" in str(error)


def test_many_networks_and_no_vela(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vela, "available", lambda: None)
    with pytest.raises(UnavailableError):
        vela.compile_many([SMALL, SMALL], settings(), 1e8, cache=None)


# Failures


def test_missing_vela_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert vela.available() is None
    with pytest.raises(UnavailableError) as caught:
        vela.compile_network(SMALL, settings(), 1e8, cache=None)
    assert caught.value.hint == "pip install 'hil[vela]'" and caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("result", "error", "what"),
    [
        (vela.Result(1, "", "Traceback\nRuntimeError: it broke\n"), NetworkError, "RuntimeError: it broke"),
        (vela.Result(-11, "", ""), NetworkError, "signal 11"),
        (vela.Result(3, "", ""), NetworkError, "exit code 3"),
        (vela.Result(1, "", "ethosu.vela.errors.ConfigOptionError: 'no'\n"), PlatformError, "refuses"),
        (vela.Result(0, "", ""), NetworkError, "no summary"),
    ],
)
def test_failures_carry_the_last_line(
    result: vela.Result, error: type[HilError], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vela, "available", lambda: "5.2.0")
    monkeypatch.setattr(vela, "_run", Runs(result))
    with pytest.raises(error, match=what):
        vela.compile_network(SMALL, settings(), 1e8, cache=None)


@needs_vela
@pytest.mark.parametrize("size", [0, 100, 3000])
def test_a_broken_file_is_an_error(size: int) -> None:
    network = zoo("kws")
    assert network.model is not None
    with pytest.raises(NetworkError, match="kws"):
        vela.compile_network(dataclasses.replace(network, model=network.model[:size]), settings(), 1e8, cache=None)


@needs_vela
def test_a_time_limit_is_kept() -> None:
    with pytest.raises(NetworkError, match=r"0\.01 s"):
        vela.compile_network(SMALL, settings(), 1e8, cache=None, timeout_s=0.01)
