"""The data set in the repository, files of a user's own, and the checks on both."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hil.calibrate.checks import energies, plausibility, repetitions, run_checks
from hil.calibrate.dataset import (
    COLUMNS,
    Measurement,
    load_measurements,
    load_network_of,
    network_names,
    overrides_of,
    read_csv,
    scope_label,
    sources,
    target_of,
)
from hil.cli import main as command
from hil.errors import CalibrationError
from hil.platform import load_platform, platform_files


@pytest.fixture(scope="module")
def rows() -> tuple[Measurement, ...]:
    return load_measurements()


@pytest.fixture(scope="module")
def by_id(rows: tuple[Measurement, ...]) -> dict[str, Measurement]:
    return {row.id: row for row in rows}


# The repository's data


# Read off the sources once more: id, platform, condition, phase, SI value.
KNOWN = [
    ("1-t", "stm32l4r5", "120mhz-reference", "", "inference", 0.0100516),
    ("0-e", "stm32l4r5", "120mhz-reference", "", "inference", 416.312e-6),
    ("132-t", "gap9", "240mhz-0v65", "", "inference", 0.949339e-3),
    ("177-e", "ndp120", "98mhz-1v1", "", "inference", 43.802e-6),
    ("889-t", "max78002", "pipeline-200mhz-1v0", "", "weight_load", 53.8e-3),
    ("891-e", "max78002", "pipeline-200mhz-1v0", "", "input_load+inference", 5977e-6),
    ("939-t", "max78002", "pipeline-200mhz-1v1", "bus.clock_hz=100000000", "weight_load", 72.1e-3),
    ("1012-e", "max78002", "no-pipeline-50mhz", "npu.clock_hz=30000000;supply_v=1.0", "inference", 1336e-6),
    ("1055-t", "max78000", "arm-100mhz", "", "inference", 2.593e-3),
    ("1316-t", "max78000", "arm-100mhz", "", "weight_load", 12.2e-3),
    ("1339-t", "max78000", "riscv-lpm-60mhz", "", "input_load+inference", 18.0e-3),
    ("1360-t", "max78000", "arm-100mhz", "", "output_read", 0.05e-3),
    ("1087-t", "hx-we2", "unpu-bench-100mhz", "npu.vela.optimise=Size", "npu_init", 3.4037e-3),
    ("1093-t", "hx-we2", "unpu-bench-100mhz", "", "inference", 9.03215e-3),
    ("1158-t", "stm32n6", "overdrive-800mhz", "", "inference", 2.83e-3),
    ("1454-t", "mcxn947", "150mhz", "", "inference", 6.399e-3),
    ("1451-t", "mcxn947", "150mhz-cpu", "", "inference", 57.514e-3),
    ("556-e", "gap8", "fc-250mhz-1v2", "", "inference", 27.6e-3),
    ("679-t", "esp32-p4", "400mhz-esp-dl", "", "inference", 2.5353),
]


@pytest.mark.parametrize(("id_", "platform", "point", "overrides", "phase", "value"), KNOWN)
def test_known_figures(
    by_id: dict[str, Measurement], id_: str, platform: str, point: str, overrides: str, phase: str, value: float
) -> None:
    row = by_id[id_]
    assert (row.platform, row.operating_point, row.overrides, row.phase) == (platform, point, overrides, phase)
    assert row.value == pytest.approx(value, rel=1e-6)
    assert row.use == "fit"


def test_counts(rows: tuple[Measurement, ...]) -> None:
    """Nothing is dropped, and what is fitted changes only on purpose."""
    assert Counter(row.use for row in rows) == {"fit": 848, "check": 1251, "exclude": 92}
    assert len({row.record for row in rows}) == 1252


def test_what_is_not_fitted_says_why(rows: tuple[Measurement, ...]) -> None:
    for row in rows:
        assert bool(row.reason) == (row.use != "fit"), row.id


def test_every_source_is_used_and_explained(rows: tuple[Measurement, ...]) -> None:
    assert {row.source for row in rows} == set(sources())
    for source in sources().values():
        assert source.title and source.reference
        assert {row.grade for row in rows if row.source == source.id} <= {source.grade, "C"}


def test_references_resolve(rows: tuple[Measurement, ...]) -> None:
    findings = run_checks(rows)
    assert [finding for finding in findings if finding.severity != "note"] == []


def test_fitted_rows_are_whole(rows: tuple[Measurement, ...]) -> None:
    known = set(platform_files())
    for row in rows:
        if row.use == "fit":
            assert row.platform in known, row.id
            assert row.operating_point in load_platform(row.platform).operating_points, row.id
            assert row.network and row.group and row.resolution > 0 and row.precision == "int8", row.id
            assert row.network_match in ("exact", "same-architecture"), row.id


def test_fitted_energy_has_the_scope_of_its_platform(rows: tuple[Measurement, ...]) -> None:
    for row in rows:
        if row.use == "fit" and row.quantity == "energy_j":
            power = load_platform(row.platform).power
            assert (row.scope, row.baseline) == (scope_label(power), power.baseline), row.id


def test_every_network_is_used_and_reads(rows: tuple[Measurement, ...]) -> None:
    referred = {name for row in rows for name in (row.network, *row.network_alternative.split(";")) if name}
    assert referred == network_names()
    for row in {row.network: row for row in rows if row.network}.values():
        assert load_network_of(row).macs > 0


def test_networks_share_the_group_of_their_architecture(rows: tuple[Measurement, ...]) -> None:
    """Same layer types, kernels and strides: same group, however the network is called."""
    groups: dict[tuple[Any, ...], set[str]] = {}
    for network, row in {row.network: row for row in rows if row.network}.items():
        ops = [op for op in load_network_of(row).ops if op.macs]
        if len(ops) > 4:
            key = tuple((op.type, op.kernel, op.stride) for op in ops)
            groups.setdefault(key, set()).add(row.group)
        assert row.group, network
    assert [found for found in groups.values() if len(found) > 1] == []


def test_network_names_one_group(rows: tuple[Measurement, ...]) -> None:
    pairs = {(row.network, row.group) for row in rows if row.network}
    assert len(pairs) == len({network for network, _ in pairs})


def test_vela_goals_are_two_rows(by_id: dict[str, Measurement]) -> None:
    size, speed = by_id["1081-t"], by_id["1085-t"]
    assert (size.mode, speed.mode) == ("vela-size", "vela-performance")
    vela = target_of(size).platform.npu
    assert vela is not None and vela.vela is not None and vela.vela.optimise == "Size"


def test_resolution_of_whole_milliseconds_and_frame_rates(by_id: dict[str, Measurement]) -> None:
    assert by_id["513-t"].resolution == 1e-3
    # 2.1 frames per second: a tenth of a frame is 23 ms.
    assert by_id["552-t"].resolution == pytest.approx(0.0227, rel=0.05)


def test_loading_is_quick_and_light() -> None:
    code = (
        "import sys, time, hil.calibrate.dataset as d\n"
        "start = time.process_time(); d.load_measurements(); print(time.process_time() - start)\n"
        "print(sorted({'pandas', 'scipy', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    seconds, heavy = done.stdout.splitlines()
    assert float(seconds) < 0.3
    assert heavy == "[]"


# Files of a user's own

OWN = {
    "id": "mine-t",
    "platform": "max78000",
    "operating_point": "arm-100mhz",
    "network": "ai8x_faceid",
    "quantity": "latency_s",
    "phase": "inference",
    "value": "0.0141",
}


def _write(path: Path, **changes: str) -> Path:
    cells = OWN | changes
    path.write_text(",".join(cells) + "\n" + ",".join(f'"{value}"' for value in cells.values()) + "\n")
    return path


def test_own_csv_joins(tmp_path: Path) -> None:
    *_, row = load_measurements([_write(tmp_path / "own.csv")])
    assert (row.id, row.value, row.group, row.use, row.source) == ("mine-t", 0.0141, "faceid", "fit", "user")
    assert row.origin.endswith("own.csv:2")


def test_own_network_lies_beside_the_csv(tmp_path: Path) -> None:
    layers = {"input_shapes": [[1, 8, 8, 3]], "ops": [{"type": "conv2d", "kernel": [3, 3], "filters": 4}]}
    (tmp_path / "net.json").write_text(json.dumps(layers))
    *_, row = load_measurements([_write(tmp_path / "own.csv", network="net.json")])
    assert load_network_of(row).macs == 6 * 6 * 4 * 27
    assert row.group == "net"


WRONG = [
    ({"quantity": "latency"}, "quantity", "latency", "one of latency_s, energy_j, power_w, memory_bytes", "latency_s"),
    ({"value": "-3"}, "value", "-3", "a positive number in SI units", None),
    ({"value": "14.1ms"}, "value", "14.1ms", "a positive number in SI units", None),
    ({"value": "nan"}, "value", "nan", "a positive number in SI units", None),
    ({"use": "fitt"}, "use", "fitt", "one of fit, check, exclude", "fit"),
    ({"use": "check"}, "reason", "", "why the row is 'check'", None),
    ({"grade": "D"}, "grade", "D", "one of A, B, C", None),
    ({"overrides": "npu.clock_hz"}, "overrides", "npu.clock_hz", "KEY=VALUE items separated by ';'", None),
    ({"quantity": "energy_j"}, "scope", "", "whole-board, chip, system, unstated or rail:NAME", None),
    ({"quantity": "energy_j", "scope": "chip"}, "baseline", "", "gross or above-idle, for energy and power", None),
    ({"scope": "chip"}, "scope", "chip", "nothing for a latency", None),
    ({"network": ""}, "network", "", "a network where network_match names one", None),
    ({"phase": "none"}, "use", "fit", "check or exclude for a row without phase", None),
]


@pytest.mark.parametrize(("changes", "column", "shown", "expected", "near"), WRONG)
def test_wrong_cells(
    tmp_path: Path, changes: dict[str, str], column: str, shown: str, expected: str, near: str | None
) -> None:
    path = _write(tmp_path / "own.csv", **changes)
    with pytest.raises(CalibrationError) as caught:
        load_measurements([path])
    assert caught.value.message.startswith(f"{path}:2: column '{column}' is '{shown}'; expected {expected}")
    assert caught.value.hint == (f"did you mean '{near}'?" if near else None)


def test_wrong_phase_names_the_nearest(tmp_path: Path) -> None:
    path = _write(tmp_path / "own.csv", phase="input_load+inferense")
    with pytest.raises(CalibrationError, match=r"own.csv:2: column 'phase' is 'input_load\+inferense'") as caught:
        read_csv(path)
    assert caught.value.hint == "did you mean 'inference'?"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("id,platform,quantity,valu\n", ":1: column 'valu' is unknown", "did you mean 'value'?"),
        ("id,platform,quantity\n", ":1: column 'value' is missing", "required: id, platform, quantity, value"),
        ("id,id,platform,quantity,value\n", ":1: column 'id' appears twice", None),
        ("id,platform,quantity,value\nx,y\n", ":2: 2 cells; expected 4, as the header has", None),
        ("id,platform,quantity,value\n", ": no measurements", None),
        ("", ":1: column 'id' is missing", None),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, message: str, hint: str | None) -> None:
    path = tmp_path / "own.csv"
    path.write_text(text)
    with pytest.raises(CalibrationError) as caught:
        read_csv(path)
    assert caught.value.message.startswith(f"{path}{message}")
    assert hint is None or caught.value.hint == hint


def test_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="cannot be read: No such file"):
        load_measurements([tmp_path / "absent.csv"])
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00id")
    with pytest.raises(CalibrationError, match="cannot be read"):
        load_measurements([tmp_path / "binary.csv"])


def test_ids_stay_unique(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="column 'id' is '1-t'; expected an id of its own"):
        load_measurements([_write(tmp_path / "own.csv", id="1-t")])


def test_unknown_network_names_the_nearest(by_id: dict[str, Measurement]) -> None:
    row = replace(by_id["1316-t"], network="ai8x_facied")
    with pytest.raises(CalibrationError, match="measurement 1316-t: network 'ai8x_facied' is not in") as caught:
        load_network_of(row)
    assert caught.value.hint == "did you mean 'ai8x_faceid'?"
    with pytest.raises(CalibrationError, match="measurement 1316-t: its network has no description"):
        load_network_of(replace(row, network=""))


def test_columns_are_those_of_the_file() -> None:
    from hil.calibrate.dataset import data_file

    assert tuple(data_file().read_text(encoding="utf-8").splitlines()[0].split(",")) == COLUMNS


def test_overrides_of() -> None:
    assert overrides_of("npu.clock_hz=25e6; supply_v=1.0") == {"npu.clock_hz": "25e6", "supply_v": "1.0"}
    assert overrides_of("") == {}


# Run records


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    """A record as ``hil bench`` writes it."""
    from hil.backend import RunOptions
    from hil.backend.analytic import AnalyticBackend
    from hil.bench.store import to_json
    from hil.calibrate.dataset import load_network
    from hil.plan import make_plan
    from hil.platform import make_target

    target = make_target(load_platform("max78000"), None, {"npu.clock_hz": "25e6"})
    plan = make_plan(load_network("ai8x_faceid"), target)
    document: dict[str, Any] = json.loads(to_json(AnalyticBackend().run([plan], RunOptions())))
    return document


def _fidelity(record: dict[str, Any], fidelity: str) -> dict[str, Any]:
    changed: dict[str, Any] = json.loads(json.dumps(record))
    for run in changed["runs"]:
        run["fidelity"] = fidelity
        for part in (*run["phases"].values(), run["total"], run["steady"], run["memory_io"]):
            part["fidelity"] = fidelity
            for energy in (part["energy_j"], part["energy_above_idle_j"]):
                energy.pop("fidelity", None)
        run["phases"]["inference"]["samples_s"] = [0.0140, 0.0150, 0.0142]
    return changed


def test_measured_record_joins(tmp_path: Path, record: dict[str, Any]) -> None:
    path = tmp_path / "board.json"
    path.write_text(json.dumps(_fidelity(record, "measured")))
    shipped = len(load_measurements())
    rows = {row.id: row for row in load_measurements([path])[shipped:]}
    latency, energy = rows["board-0-inference-t"], rows["board-0-inference-e"]
    assert (latency.value, latency.use, latency.note) == (0.0142, "fit", "median of 3 samples")
    assert (latency.network, latency.group, latency.overrides) == ("ai8x_faceid", "faceid", "npu.clock_hz=25e6")
    assert latency.software == "ai8xize"
    assert (energy.scope, energy.baseline) == ("rail:VCOREA", "above-idle")
    assert energy.value == record["runs"][0]["phases"]["inference"]["energy_above_idle_j"]["mean"]
    assert [finding for finding in run_checks(list(rows.values())) if finding.severity == "error"] == []


def test_emulated_record_is_for_comparison(tmp_path: Path, record: dict[str, Any]) -> None:
    path = tmp_path / "emulated.json"
    path.write_text(json.dumps(_fidelity(record, "emulated")))
    rows = load_measurements([path])[len(load_measurements()) :]
    assert {(row.use, row.quantity) for row in rows} == {("check", "latency_s")}


@pytest.mark.parametrize("fidelity", ["estimated", "calibrated"])
def test_predictions_are_refused(tmp_path: Path, record: dict[str, Any], fidelity: str) -> None:
    path = tmp_path / "predicted.json"
    path.write_text(json.dumps(_fidelity(record, fidelity)))
    with pytest.raises(CalibrationError, match=f"on max78000 is '{fidelity}'; expected one of measured, emulated"):
        load_measurements([path])


def test_record_of_another_network_is_refused(tmp_path: Path, record: dict[str, Any]) -> None:
    changed = _fidelity(record, "measured")
    changed["runs"][0]["network_info"]["hash"] = "0123456789abcdef"
    path = tmp_path / "other.json"
    path.write_text(json.dumps(changed))
    with pytest.raises(CalibrationError, match="network 'ai8x_faceid' with hash 0123456789abcdef is neither in"):
        load_measurements([path])


# Checks


def test_contradiction_and_duplicate(by_id: dict[str, Measurement]) -> None:
    row = by_id["1316-t"]
    near, far = replace(row, id="near-t", value=row.value * 1.05), replace(row, id="far-t", value=row.value * 1.5)
    [finding] = repetitions([row, near])
    assert (finding.check, finding.severity, finding.ids) == ("duplicate", "note", ("1316-t", "near-t"))
    [finding] = repetitions([row, near, far])
    assert (finding.check, finding.severity) == ("contradiction", "warning")
    assert "figures differ by 50%" in finding.message


def test_coarse_figures_do_not_contradict(by_id: dict[str, Measurement]) -> None:
    row = replace(by_id["513-t"], value=2e-3)
    [finding] = repetitions([row, replace(row, id="other-t", value=3e-3)])
    assert finding.check == "duplicate"


def test_energy_is_power_times_time(by_id: dict[str, Measurement]) -> None:
    record = [by_id["0-t"], by_id["0-e"], by_id["0-p"]]
    assert list(energies(record)) == []
    record[2] = replace(record[2], value=record[2].value * 1000)
    [finding] = energies(record)
    assert (finding.check, finding.ids) == ("energy", ("0-t", "0-e", "0-p"))
    record[2] = replace(record[2], baseline="above-idle")
    assert list(energies(record)) == []


@pytest.mark.parametrize(
    ("id_", "factor", "message"),
    [
        ("1055-t", 1e-3, "is above the peak of"),
        ("513-t", 1e6, "is it in seconds?"),
        ("0-e", 1e6, "is the energy in joules?"),
        ("0-e", 1e-6, "is the energy in joules?"),
    ],
)
def test_wrong_units_are_found(by_id: dict[str, Measurement], id_: str, factor: float, message: str) -> None:
    row = replace(by_id[id_], value=by_id[id_].value * factor)
    findings = list(plausibility([row], lambda row: target_of(row)))
    assert any(message in finding.message and finding.severity == "error" for finding in findings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"operating_point": "arm-100mz"}, "max78000 has no operating point 'arm-100mz'"),
        ({"overrides": "npu.clok_hz=1"}, "--set npu.clok_hz"),
        ({"clock_npu_hz": 25e6}, "accelerator clock 25.0 MHz, but arm-100mhz with its overrides has 50.0 MHz"),
        ({"source": "hearsay"}, "source 'hearsay' is not in calibration/sources.toml"),
        ({"network": "nothing"}, "network 'nothing' is not in calibration/networks"),
        ({"platform": "pdp11"}, "platform 'pdp11' has no platform file"),
    ],
)
def test_broken_references_are_found(by_id: dict[str, Measurement], changes: dict[str, Any], message: str) -> None:
    findings = run_checks([replace(by_id["1316-t"], **changes)])
    assert any(finding.check == "reference" and message in finding.message for finding in findings)


# The verb


@pytest.fixture
def hil(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    from hil.cli import data

    if data not in command.VERBS:
        monkeypatch.setattr(command, "VERBS", (*command.VERBS, data))

    def run(*argv: str) -> tuple[int, str, str]:
        code = command.main(["data", *argv])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_list(hil: Any) -> None:
    code, out, _ = hil()
    assert code == 0
    assert max(map(len, out.splitlines())) <= 100
    assert "2191 figures, 848 fitted" in out
    code, out, _ = hil("list", "--platform", "gap9", "--json")
    [stack] = [stack for stack in json.loads(out)["coverage"] if stack["fit"]]
    assert (stack["software"], stack["networks"], stack["phases"]["energy_j"]) == ("gapflow", 3, {"inference": 6})


def test_show(hil: Any) -> None:
    code, out, _ = hil("show", "1-t")
    assert code == 0 and "0.0100516" in out and "MLPerf Tiny v0.5 results" in out
    code, out, _ = hil("show", "0", "--json")
    document = json.loads(out)
    assert [row["id"] for row in document["measurements"]] == ["0-t", "0-e", "0-p"]
    assert document["sources"]["mlperf-0.5"]["licence"] == "Apache-2.0"
    code, _, err = hil("show", "nothing")
    assert code == 2 and "no measurement 'nothing'" in err


def test_check(hil: Any, tmp_path: Path) -> None:
    code, out, _ = hil("check", "--strict")
    assert code == 0 and "0 errors, 0 warnings" in out
    wrong = _write(tmp_path / "wrong.csv", operating_point="arm-99mhz")
    code, out, _ = hil("check", "-p", "max78000", "--data", str(wrong), "--json")
    assert code == 0
    assert any("arm-99mhz" in finding["message"] for finding in json.loads(out)["findings"])
    code, _, _ = hil("check", "--data", str(wrong), "--strict")
    assert code == 1


def test_unknown_platform(hil: Any) -> None:
    code, _, err = hil("--platform", "max7800")
    assert code == 2 and "no measurements of 'max7800'" in err and "did you mean" in err
