"""Instruction counts: the committed table is what the committed images execute, and the scales follow from it."""

from __future__ import annotations

import shutil

import pytest

from hil import zoo
from hil.cost import CostModel
from hil.emulator.clock import Ticks, TimeScales, instruction_table, time_scales
from hil.emulator.images import image_for, images
from hil.emulator.layout import TimeClass
from hil.emulator.profile import count
from hil.platform import load_platform, make_target

QEMU_IMAGES = sorted(name for name, image in images().items() if image.engine == "qemu")


@pytest.mark.parametrize("name", QEMU_IMAGES)
def test_the_table_is_what_the_image_executes(name: str) -> None:
    image = images()[name]
    if shutil.which(image.qemu) is None:
        pytest.skip(f"{image.qemu} is not installed: apt install {image.package}")
    counted = count(zoo.load("digits"), image)
    assert counted["ops"] == instruction_table()["images"][name]["ops"]["digits"], "make firmware"


@pytest.mark.parametrize("name", QEMU_IMAGES)
def test_counts_are_plausible(name: str) -> None:
    """A plain int8 kernel takes at least half an instruction per MAC (two MACs in a multiply-accumulate of words) and
    at most some hundred (few MACs per output)."""
    table = instruction_table()["images"][name]
    for network_name, ops in table["ops"].items():
        network = zoo.load(network_name)
        for op in network.ops:
            if op.macs:
                assert 0.5 < ops[str(op.index)] / op.macs < 200, (network_name, op.index)
    assert 0.25 <= table["copy_instructions_per_byte"] <= 8


def test_every_image_has_counts() -> None:
    assert {image.counts for image in images().values()} <= set(instruction_table()["images"])


def test_loading_takes_the_models_time_per_byte() -> None:
    """MAX78000: a byte of input takes the calibrated cycles per byte, however many instructions copy it."""
    model = CostModel(make_target(load_platform("max78000")))
    target = model.target
    image = image_for(target, "qemu")
    scales = time_scales(model, image.counts)
    per_byte_s = (
        model.theta["input_load_host_cycles_per_byte"][0, 0] / target.host_clock_hz
        + model.theta["input_load_bus_cycles_per_byte"][0, 0] / target.bus_clock_hz
    )
    copied = instruction_table()["images"][image.counts]["copy_instructions_per_byte"]
    assert scales.ns[TimeClass.INPUT_LOAD] * copied == pytest.approx(per_byte_s * 1e9)


def test_scales_become_fixed_point_per_tick() -> None:
    """10 ns an instruction at 3.2 ticks an instruction are 3.125 ns a tick."""
    scales = TimeScales({TimeClass.CONV: 10.0, TimeClass.WAIT: 20.0}, {})
    q20 = scales.q20(Ticks(25e6, 128e-9))
    assert q20[TimeClass.CONV] == round(3.125 * 2**20)
    assert q20[TimeClass.WAIT] == round(6.25 * 2**20)
    assert q20[TimeClass.OFF] == q20[TimeClass.CODE] == 0


def test_in_real_virtual_time_waiting_is_not_stretched() -> None:
    """Renode at 100 MIPS, counter at 100 MHz: a tick of sleep is ten nanoseconds."""
    scales = TimeScales({TimeClass.CONV: 4.0, TimeClass.WAIT: 20.0}, {})
    q20 = scales.q20(Ticks(100e6, 1e-8, real_time=True))
    assert q20[TimeClass.WAIT] == 10 * 2**20
    assert q20[TimeClass.CONV] == 4 * 2**20
