"""The suites find what they are there for: each planted fault turns the right test red, with the right words."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

from conftest import Runner

from hil.data import data_dir

PYTHON_BOARD = "emulation/python_board.robot"
MEASURED = "cross_validation/measurements.robot"
PLATFORM_FILES = "platforms/platform_files.robot"
POWER = "power/metered_board.robot"


def planted(folder: Path, platform: str, change: Callable[[str], str]) -> Path:
    """A folder of platforms with a changed copy of one."""
    copy = folder / "platforms" / platform
    shutil.copytree(data_dir("platforms") / platform, copy)
    file = copy / "platform.toml"
    text = file.read_text(encoding="utf-8")
    changed = change(text)
    assert changed != text
    file.write_text(changed, encoding="utf-8")
    return copy.parent


def test_sound_suites_are_green(run_robot: Runner) -> None:
    """The controls of all faults below."""
    ran = run_robot(PYTHON_BOARD, MEASURED, PLATFORM_FILES, POWER, PLATFORM="max78000,mcxn947", BACKEND="analytic")
    assert (ran.code, ran.messages()) == (0, {})
    assert ran.summary.passed >= 20


def test_a_clock_that_is_25_percent_off(run_robot: Runner, tmp_path: Path) -> None:
    """MCXN947 at 112.5 MHz: its publications are of 150 MHz."""

    own = planted(tmp_path, "mcxn947", lambda text: text.replace("value = 150e6", "value = 112.5e6"))
    ran = run_robot(MEASURED, platforms=own, PLATFORM="mcxn947", BACKEND="analytic")
    failed = ran.messages()
    assert ran.code == len(failed) > 0
    for network in ("mlperf_tiny_ic_resnet8", "mlperf_tiny_kws_dscnn"):
        assert "host clock 112 MHz against 150 MHz" in failed[f"{network}, predicted"]


def test_a_board_whose_inference_got_15_percent_slower(run_robot: Runner) -> None:
    ran = run_robot(PYTHON_BOARD, plant="SlowInference")
    failed = ran.messages()
    assert list(failed) == ["Every Phase Is The Cost Model's"]
    (message,) = failed.values()
    assert "latency of inference: disagree" in message
    assert "+15.0%" in message and "tolerance 1%" in message
    assert re.search(r"transcript: \S+\.jsonl", message)


def test_a_wrong_output_byte(run_robot: Runner) -> None:
    ran = run_robot(PYTHON_BOARD, plant="WrongByte")
    message = ran.messages()["Output Bytes Equal The Reference"]
    assert "wrong output: 1 of 10 bytes differ from the reference interpreter's" in message
    assert "Every Phase Is The Cost Model's" not in ran.messages()


def test_an_op_that_left_the_npu(run_robot: Runner, tmp_path: Path) -> None:
    """The accelerator of this copy of MAX78002 no longer takes convolutions."""
    own = planted(tmp_path, "max78002", lambda text: text.replace('ops = ["conv2d"]', 'ops = ["pad"]'))
    ran = run_robot(PLATFORM_FILES, platforms=own, PLATFORM="max78002")
    failed = ran.messages()
    assert list(failed) == ["A Network That Every Accelerator Takes Stays On It"]
    (message,) = failed.values()
    assert "left the NPU" in message and "conv2d" in message


def test_a_swapped_energy_scope(run_robot: Runner, tmp_path: Path) -> None:
    """STM32U575's energies are those of the chip's supply; this copy says the whole board."""
    own = planted(tmp_path, "stm32u575", lambda text: re.sub(r'scope = "rail"\n', 'scope = "whole-board"\n', text))
    ran = run_robot(MEASURED, platforms=own, PLATFORM="stm32u575", BACKEND="analytic")
    message = ran.messages()["mlperf_tiny_ic_resnet8, predicted"]
    assert "energy of inference: incomparable" in message
    assert "energy scope" in message and "whole board" in message
    assert "latency of" not in message


def test_a_board_that_breaks_the_protocol(run_robot: Runner) -> None:
    ran = run_robot("protocol", plant="WrongPhaseOrder", BACKEND="python")
    assert list(ran.messages()) == ["Phases Are In Order And Count Inferences Without Warm-Ups"]


def test_an_instrument_that_reads_30_percent_too_much(run_robot: Runner) -> None:
    """Nobody checked it with a resistor, so its figures are uncertain by 8 %: 15 % would be marginal."""
    message = run_robot(POWER, plant="WrongGain").messages()["Each Phase Is Measured As What Flowed"]
    assert message.count("energy of weight_load: disagree") == 3  # each of the instruments
    assert "tolerance 10%" in message


def test_a_board_that_tells_wrong_borders(run_robot: Runner) -> None:
    """Half of the phase is half of its energy; the inference is not touched."""
    message = run_robot(POWER, plant="ShiftedBorders").messages()["Each Phase Is Measured As What Flowed"]
    assert "energy of weight_load: disagree" in message and "energy of inference" not in message
