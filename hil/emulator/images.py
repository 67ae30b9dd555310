"""The firmware images that come with hil, and which of them stands for a platform's core.

They are made by ``make -C firmware``; ``images/images.toml`` says what each is.
"""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from hil.errors import UnavailableError
from hil.platform import Target

FOLDER = Path(__file__).with_name("images")
# Debian's packages of the emulators.
_PACKAGES = {"qemu-system-arm": "qemu-system-arm"}
_RISCV_PACKAGE = "qemu-system-misc"


@dataclass(frozen=True)
class Image:
    """One image.  ``tick_hz`` is its counter in virtual time; ``memory_bytes`` from ``program_address`` on hold the
    program and, behind it, the arena.  ``counts`` names the image whose instruction counts hold for this one too: the
    same kernels for the same core."""

    name: str
    engine: str
    isas: tuple[str, ...]
    program_address: int
    memory_bytes: int
    tick_hz: float
    compiler: str
    counts: str
    qemu: str = ""
    machine: str = ""
    options: tuple[str, ...] = ()
    platform: str = ""
    mips: int = 0

    @property
    def file(self) -> Path:
        return FOLDER / f"{self.name}.elf"

    @property
    def package(self) -> str:
        return _PACKAGES.get(self.qemu, _RISCV_PACKAGE)

    @cached_property
    def hash(self) -> str:
        return hashlib.sha256(self.file.read_bytes()).hexdigest()[:16]


@cache
def images() -> dict[str, Image]:
    """All images by name."""
    with (FOLDER / "images.toml").open("rb") as file:
        table: dict[str, dict[str, Any]] = tomllib.load(file)
    return {
        name: Image(
            name=name,
            **{
                "counts": name,
                **entry,
                "isas": tuple(entry.get("isas", ())),
                "options": tuple(entry.get("options", ())),
            },
        )
        for name, entry in table.items()
    }


def image_for(target: Target, engine: str) -> Image:
    """The image that stands for a target's host core.  Raises UnavailableError where there is none."""
    isa = target.host.isa
    of_engine = [image for image in images().values() if image.engine == engine]
    fitting = [image for image in of_engine if image.platform in ("", target.id)]
    for image in fitting:
        if isa in image.isas:
            return image
    known = sorted({isa for image in of_engine for isa in image.isas})
    own = [image for image in fitting if image.platform]
    if own:
        raise UnavailableError(
            f"{target.id}: {engine}'s image is for {' or '.join(own[0].isas)}; "
            f"operating point {target.operating_point} runs on {isa}",
            hint=f"choose another operating point (hil platforms show {target.id}), or --backend qemu",
        )
    if isa in known and not fitting:
        raise UnavailableError(
            f"{engine} has no image for {target.id}; it has: {', '.join(sorted(i.platform for i in of_engine))}",
            hint=f"qemu runs every {isa} core: --backend qemu, or hil board emulate --engine qemu",
        )
    raise UnavailableError(
        f"{target.id}: no firmware image for {engine} and a {isa} core",
        hint=f"{engine} emulates {', '.join(known)}; use --backend analytic, or hil board emulate --engine python"
        if known
        else "use --backend analytic",
    )
