"""The same benchmark in a real Renode, where there is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.backend import RunOptions, Surroundings
from hil.backend.emulated import EmulatedBackend
from hil.emulator.images import images
from hil.emulator.renode import find_renode
from hil.errors import UnavailableError
from tests.backend.conftest import plan_of

PLATFORMS = sorted(image.platform for image in images().values() if image.engine == "renode")


@pytest.fixture(scope="module")
def renode() -> None:
    try:
        find_renode()
    except UnavailableError as error:
        pytest.skip(f"{error.message} ({error.hint})")


@pytest.mark.usefixtures("renode")
@pytest.mark.parametrize("platform", PLATFORMS)
def test_outputs_equal_litert_and_times_equal_qemus(platform: str, tmp_path: Path) -> None:
    """Both engines execute the same instructions; Renode's speed is whole millions of them per second."""
    plan = plan_of("kws", platform)
    (found,) = EmulatedBackend("renode", Surroundings(tmp_path)).run([plan], RunOptions())
    assert found.outputs is not None and found.outputs.equal
    (other,) = EmulatedBackend("qemu", Surroundings(tmp_path)).run([plan], RunOptions())
    assert found.phases["inference"].latency_s.mean == pytest.approx(other.phases["inference"].latency_s.mean, rel=1e-3)
