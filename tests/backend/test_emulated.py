"""The same benchmark on emulated boards: real QEMU, outputs equal to LiteRT's, the same figures every time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hil import zoo
from hil.backend import BoardOptions, RunOptions, Surroundings, make_backend
from hil.backend.analytic import AnalyticBackend
from hil.backend.emulated import EmulatedBackend
from hil.backend.run import Run
from hil.cost import CostModel
from hil.emulator.clock import time_scales
from hil.emulator.images import image_for, images
from hil.emulator.layout import TimeClass
from hil.errors import LinkError, UnavailableError
from hil.plan import END_TO_END
from hil.platform import load_platform, make_target, platform_files
from tests.backend.conftest import need_qemu, plan_of

OPTIONS = RunOptions()


def run(network: str, platform: str, folder: Path, options: RunOptions = OPTIONS) -> Run:
    need_qemu(platform)
    (found,) = EmulatedBackend("qemu", Surroundings(folder)).run([plan_of(network, platform)], options)
    return found


def figures(found: Run) -> dict[str, object]:
    """Everything but what tells one run from another: when it was, where its bytes are, and how many polls it took."""
    document = found.model_dump(mode="json")
    document["provenance"].pop("created")
    for link in ("capture", "bytes_in", "bytes_out"):
        document["board"].pop(link)
    return document


@pytest.mark.parametrize("platform", ["max78000", "mcxn947", "hx-we2", "stm32h7a3"])
def test_ic_equals_litert_and_repeats_exactly(platform: str, tmp_path: Path) -> None:
    first, second = (run("ic", platform, tmp_path) for _ in range(2))
    assert first.fidelity == "emulated"
    assert {part.fidelity for part in first.phases.values()} == {"emulated"}
    assert first.outputs is not None and first.outputs.equal and first.outputs.bytes == 10
    assert figures(first) == figures(second)


@pytest.mark.parametrize("network", zoo.names())
@pytest.mark.parametrize("platform", ["max78002", "stm32n6", "gap8", "cv1800b"])
def test_every_network_on_one_platform_of_every_other_core(network: str, platform: str, tmp_path: Path) -> None:
    found = run(network, platform, tmp_path)
    assert found.outputs is not None and found.outputs.equal
    assert found.total.latency_s.mean == pytest.approx(
        sum(found.phases[phase].latency_s.mean for phase in END_TO_END if phase in found.phases)
    )


def test_an_accelerated_inference_takes_the_models_time_and_the_interrupt(tmp_path: Path) -> None:
    """All of simplenet runs on MAX78000's accelerator: virtual time is the model's, and the core's way to sleep and
    back on top, some hundred instructions of a cycle each."""
    found = run("simplenet", "max78000", tmp_path)
    (model,) = AnalyticBackend().run([plan_of("simplenet", "max78000")], OPTIONS)
    assert not found.fallback_ops
    for phase in ("npu_init", "weight_load", "inference"):
        extra_s = found.phases[phase].latency_s.mean - model.phases[phase].latency_s.mean
        assert -2e-9 <= extra_s < 500 / 100e6, phase


def test_energy_is_the_models_power_for_the_boards_time(tmp_path: Path) -> None:
    found = run("kws", "stm32h7a3", tmp_path)
    (model,) = AnalyticBackend().run([plan_of("kws", "stm32h7a3")], OPTIONS)
    own, predicted = found.phases["inference"], model.phases["inference"]
    assert own.energy_j is not None and predicted.energy_j is not None
    ratio = own.latency_s.mean / predicted.latency_s.mean
    assert own.energy_j.mean == pytest.approx(predicted.energy_j.mean * ratio)
    assert own.energy_j.scope == predicted.energy_j.scope
    assert own.power_w == pytest.approx(predicted.power_w)


def test_repeated_inferences_take_the_same_time_each(tmp_path: Path) -> None:
    once = run("digits", "mcxn947", tmp_path)
    often = run("digits", "mcxn947", tmp_path, RunOptions(repeat=5, board=BoardOptions(warmups=2)))
    assert often.board is not None and (often.board.inferences, often.board.warmups) == (5, 2)
    # Phases are sums of whole nanoseconds and of fractions of ticks.
    assert often.phases["inference"].latency_s.mean == pytest.approx(once.phases["inference"].latency_s.mean, abs=5e-9)


def test_digits_on_the_board_predicts_what_the_reference_predicts(tmp_path: Path) -> None:
    found = run("digits", "stm32h7a3", tmp_path, RunOptions(board=BoardOptions(data_set="digits")))
    assert found.accuracy is not None
    assert found.accuracy.samples == 360
    assert found.accuracy.different_predictions == 0
    assert found.accuracy.correct / found.accuracy.samples == pytest.approx(zoo.entry("digits").accuracy, abs=5e-4)


def test_a_slower_clock_takes_proportionally_longer(tmp_path: Path) -> None:
    need_qemu("stm32h7a3")
    from hil.plan import make_plan

    results = []
    for clock in ("280MHz", "140MHz"):
        target = make_target(load_platform("stm32h7a3"), None, {"host.clock_hz": clock})
        results += EmulatedBackend("qemu", Surroundings(tmp_path)).run([make_plan(zoo.load("kws"), target)], OPTIONS)
    fast, slow = (found.phases["inference"].latency_s.mean for found in results)
    assert slow / fast == pytest.approx(2.0, rel=1e-5)


@pytest.mark.parametrize("platform", ["f28p55x", "ndp120", "esp32-s3"])
def test_a_core_that_qemu_has_not_is_named(platform: str) -> None:
    with pytest.raises(UnavailableError, match=platform):
        EmulatedBackend("qemu").run([plan_of("digits", platform)], OPTIONS)


def test_every_platform_with_a_machine_has_scales_for_every_class() -> None:
    """Cycles per instruction of plain kernels against a vendor's library: below one where it uses vectors."""
    for platform in platform_files([]):
        target = make_target(load_platform(platform))
        try:
            image = image_for(target, "qemu")
        except UnavailableError:
            continue
        scales = time_scales(CostModel(target), image.counts)
        kernels = [scales.ns[kind] for kind in TimeClass if TimeClass.CONV <= kind <= TimeClass.MOVE]
        cycles = [ns * 1e-9 * target.host_clock_hz for ns in kernels]
        assert all(0.005 < count < 30 for count in cycles), (platform, cycles)


def test_the_scales_give_back_the_models_cycles_over_the_zoo() -> None:
    """By definition: the zoo's instructions times the cycles per instruction are the model's cycles, class by class."""
    from hil.cost.cpu import cpu_cycles
    from hil.cost.workload import KIND_INDEX, build_workload
    from hil.emulator.clock import instruction_table, on_cpu

    target = make_target(load_platform("stm32l4r5"))
    model = CostModel(target)
    scales = time_scales(model, image_for(target, "qemu").counts)
    counted = instruction_table()["images"]["mps2-an386"]["ops"]
    plans = [on_cpu(zoo.load(name), target) for name in zoo.names()]
    work = build_workload(plans)
    expected_ns = cpu_cycles(work, model.theta)[0] / target.host_clock_hz * 1e9
    depthwise = work.kind == KIND_INDEX["depthwise"]
    instructions = sum(
        counted[plan.network.name][str(op.index)]
        for plan in plans
        for op in plan.network.ops
        if op.type == "depthwise_conv2d"
    )
    assert instructions * scales.ns[TimeClass.DEPTHWISE] == pytest.approx(expected_ns[depthwise].sum(), rel=1e-9)


def test_an_emulator_that_is_killed_is_a_named_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_qemu("stm32h7a3")
    from hil.emulator import qemu

    started = qemu.QemuEngine.__init__

    def killed_soon(engine: qemu.QemuEngine, *args: object, **kwargs: object) -> None:
        started(engine, *args, **kwargs)  # type: ignore[arg-type]
        os.kill(engine._child.pid, signal.SIGKILL)

    monkeypatch.setattr(qemu.QemuEngine, "__init__", killed_soon)
    with pytest.raises(LinkError, match="qemu-system-arm ended with code -9|lost|closed"):
        run("ic", "stm32h7a3", tmp_path)


BENCH = "from hil.cli.main import main; import sys; sys.exit(main(sys.argv[1:]))"


def test_killing_hil_leaves_no_process_and_no_half_record(tmp_path: Path) -> None:
    need_qemu("stm32h7a3")
    out = tmp_path / "out"
    command = [sys.executable, "-c", BENCH, "bench", "zoo:digits", "zoo:cifar10_nas", "-p", "stm32h7a3"]
    command += ["--backend", "qemu", "--warmups", "20", "--out", str(out)]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    records = out / "records"
    deadline = time.monotonic() + 120
    while not (records.is_dir() and list(records.glob("digits*.json"))):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    while not list(tmp_path.glob("hil-board-*/program.bin")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    while emulators(tmp_path) or list(tmp_path.glob("hil-board-*")):
        assert time.monotonic() < deadline, emulators(tmp_path)
        time.sleep(0.05)
    for record in records.glob("*.json"):
        assert json.loads(record.read_text())["runs"]
    done = subprocess.run(
        [*command, "--json"], env=environment, capture_output=True, text=True, check=True, timeout=250
    )
    assert [found["network"] for found in json.loads(done.stdout)["runs"]] == ["digits", "cifar10_nas"]


def emulators(folder: Path) -> list[str]:
    """Processes whose working folder lies below ``folder``."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if folder in (process / "cwd").readlink().parents and "qemu" in (process / "comm").read_text():
                found.append(process.name)
        except OSError:
            continue
    return found


def test_the_backends_are_what_the_command_line_names() -> None:
    assert make_backend("qemu").name == "qemu"
    assert make_backend("renode").name == "renode"
    assert {image.engine for image in images().values()} >= {"qemu"}
