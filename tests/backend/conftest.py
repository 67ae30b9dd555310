"""Plans and emulators for tests of backends."""

from __future__ import annotations

import shutil

import pytest

from hil import zoo
from hil.emulator.images import image_for
from hil.network import Network
from hil.plan import Plan, make_plan
from hil.platform import load_platform, make_target


def plan_of(network: Network | str, platform: str) -> Plan:
    loaded = zoo.load(network) if isinstance(network, str) else network
    return make_plan(loaded, make_target(load_platform(platform)))


def need_qemu(platform: str) -> None:
    """Skip where the emulator of this platform's core is not installed."""
    image = image_for(make_target(load_platform(platform)), "qemu")
    if shutil.which(image.qemu) is None:
        pytest.skip(f"{image.qemu} is not installed: apt install {image.package}")
