"""Boards in Renode as a whole: which networks and platforms they take, and that an interrupted start leaves nothing."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from renode_fixtures import fake_renode

from hil import zoo
from hil.data import data_dir
from hil.emulator import board as board_module
from hil.emulator.board import EmulatedBoard
from hil.emulator.images import Image, image_for
from hil.emulator.latency import Latencies
from hil.emulator.process import Workspace
from hil.emulator.renode import RenodeEngine
from hil.errors import NetworkError, UnavailableError
from hil.plan import Plan, make_plan
from hil.platform import load_platform, make_target


def plan_of(network: str, platform: str) -> Plan:
    return make_plan(zoo.load(network), make_target(load_platform(platform)))


@pytest.fixture
def no_renode(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What passes every check ends where Renode would start."""
    monkeypatch.setenv("HIL_RENODE", str(tmp_path / "none"))


def start(plan: Plan) -> None:
    with Workspace() as space:
        EmulatedBoard.of_plan(plan, "renode", space).close()


def _with_latencies(monkeypatch: pytest.MonkeyPatch, change: Callable[[Latencies], Latencies]) -> None:
    original = board_module.latencies
    monkeypatch.setattr(board_module, "latencies", lambda *arguments: change(original(*arguments)))


# The counter of max78000 in Renode runs at 100 MHz: 2^31 ticks are 21,474,836,480 ns.
LONGEST_NS = (1 << 31) * 10 - 1


@pytest.mark.usefixtures("no_renode")
@pytest.mark.parametrize(
    ("field", "what"),
    [("npu_init_ns", "the accelerator's initialisation"), ("weight_load_ns", "the loading of weights")],
)
def test_a_wait_beyond_the_counter_is_refused(field: str, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of("digits", "max78000")
    _with_latencies(monkeypatch, lambda times: replace(times, **{field: LONGEST_NS}))
    with pytest.raises(UnavailableError, match="not an executable file"):
        start(plan)
    _with_latencies(monkeypatch, lambda times: replace(times, **{field: LONGEST_NS + 1}))
    with pytest.raises(
        NetworkError, match=rf"digits: {what} takes 21.5 s, 2.15e\+09 ticks of renode-max78000's"
    ) as got:
        start(plan)
    assert "less than 2.15e+09 (21.5 s)" in got.value.message
    assert "qemu" in str(got.value.hint)


@pytest.mark.usefixtures("no_renode")
def test_a_job_beyond_the_counter_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ops of one job add up."""
    plan = plan_of("digits", "max78000")
    _with_latencies(monkeypatch, lambda times: replace(times, op_ns=tuple(LONGEST_NS for _ in times.op_ns)))
    with pytest.raises(NetworkError, match=r"digits: the job of ops 0 to \d+ takes"):
        start(plan)


@pytest.mark.usefixtures("no_renode")
def test_what_does_not_fit_the_images_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of("digits", "max78000")
    sizes: list[int] = []

    def image(memory_bytes: int) -> Callable[..., Image]:
        return lambda target, engine: replace(image_for(target, engine), memory_bytes=memory_bytes)

    monkeypatch.setattr(board_module, "image_for", image(0))
    with pytest.raises(NetworkError, match=r"digits: a program of \d+ bytes and tensors of \d+ bytes; renode") as got:
        start(plan)
    sizes = [int(word) for word in got.value.message.split() if word.isdecimal()]
    assert sizes[0] % 16 == 0 and sizes[2] == 0
    monkeypatch.setattr(board_module, "image_for", image(sizes[0] + sizes[1] - 1))
    with pytest.raises(NetworkError, match=f"has {sizes[0] + sizes[1] - 1} bytes for both"):
        start(plan)
    monkeypatch.setattr(board_module, "image_for", image(sizes[0] + sizes[1]))
    with pytest.raises(UnavailableError, match="not an executable file"):
        start(plan)


def test_an_interrupted_start_leaves_no_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(engine: RenodeEngine) -> str:
        assert any(thread.name == "npu tcp" for thread in threading.enumerate())
        raise KeyboardInterrupt

    monkeypatch.setattr(RenodeEngine, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        start(plan_of("digits", "max78000"))
    assert not any(thread.name == "npu tcp" for thread in threading.enumerate())


def test_what_the_device_saw_is_told_while_renode_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HIL_RENODE", str(fake_renode(tmp_path).renode.path))
    with Workspace() as space:
        board = EmulatedBoard.of_plan(plan_of("digits", "max78000"), "renode", space)
        try:
            assert board.failure() is None
            log = Path(board.url).with_name("renode.log")
            log.write_text(log.read_text() + "12:00:00 [ERROR] npu: command 1, job 0: refused\n")
            assert board.failure() == "the accelerator in Renode: command 1, job 0: refused"
            assert board.ended() is None
        finally:
            board.close()


def test_platforms_without_image_are_told_what_there_is(tmp_path: Path) -> None:
    shutil.copytree(data_dir("platforms") / "max78000", tmp_path / "mine")
    file = tmp_path / "mine" / "platform.toml"
    file.write_text(file.read_text(encoding="utf-8").replace('id = "max78000"', 'id = "mine"', 1), encoding="utf-8")
    mine = make_target(load_platform("mine", [tmp_path]))
    assert image_for(mine, "qemu").name == "mps2-an386"
    with pytest.raises(UnavailableError, match="^renode has no image for mine; it has: cv1800b, .*, stm32u575$") as got:
        image_for(mine, "renode")
    assert "--backend qemu" in str(got.value.hint)


def test_an_operating_point_on_another_core(tmp_path: Path) -> None:
    target = make_target(load_platform("max78000"), "riscv-60mhz")
    expected = "max78000: renode's image is for cortex-m4; operating point riscv-60mhz runs on rv32"
    with pytest.raises(UnavailableError, match=f"^{expected}$"):
        image_for(target, "renode")
    with pytest.raises(UnavailableError, match="^ndp120: no firmware image for renode and a hifi3 core$"):
        image_for(make_target(load_platform("ndp120")), "renode")
