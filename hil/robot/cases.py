"""What the suites in ``robot/`` are run for: boards, platforms, and pairs of platform and measured network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hil.emulator.images import images
from hil.errors import ConfigError, did_you_mean
from hil.platform import load_platform, make_target, platform_files

ENGINES = ("analytic", "python", "qemu", "renode")
# The board that stands for engines that run every platform.
_ANY_PLATFORM = "max78000"


@dataclass(frozen=True)
class Case:
    """One run of a suite: its name, the variables that it sets, its tags, and the tests made of its templates: by the
    template's tag, the item's name to the tags of its test."""

    name: str
    variables: Mapping[str, str]
    tags: tuple[str, ...] = ()
    tests: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Selection:
    """What the user asked for: platforms and engines (empty: all), or one board behind a port."""

    platforms: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    port: str = ""

    @classmethod
    def of(cls, variables: Mapping[str, object]) -> Selection:
        """From Robot's variables PLATFORM, BACKEND (both may name several, separated by commas) and PORT."""

        def words(name: str) -> tuple[str, ...]:
            return tuple(part.strip() for part in str(variables.get(name) or "").split(",") if part.strip())

        return cls(words("PLATFORM"), words("BACKEND"), str(variables.get("PORT") or ""))

    def check(self) -> None:
        """Raises ConfigError for a platform or backend that does not exist."""
        self.ids()
        for engine in self.engines:
            if engine not in ENGINES:
                raise ConfigError(f"there is no backend '{engine}' for suites", hint=did_you_mean(engine, ENGINES))

    def ids(self) -> list[str]:
        """The platforms to run for.  Raises ConfigError for an unknown one."""
        known = list(platform_files(()))
        for name in self.platforms:
            if name not in known:
                raise ConfigError(f"there is no platform '{name}'", hint=did_you_mean(name, known))
        return [name for name in known if not self.platforms or name in self.platforms]

    def wants(self, engine: str) -> bool:
        return not self.engines or engine in self.engines


def boards(selection: Selection) -> list[Case]:
    """A board behind a port; else the Python board, one board per QEMU machine, and one in Renode; else, where
    platforms are chosen, each of them on every engine."""
    if selection.port:
        return [Case(selection.port, {"BOARD_PORT": selection.port}, (f"board:{selection.port}",))]
    if selection.platforms:
        pairs = [(engine, platform) for platform in selection.ids() for engine in ("python", "qemu", "renode")]
    else:
        pairs = [("python", _ANY_PLATFORM), *_machines(), ("renode", _ANY_PLATFORM)]
    return [
        Case(f"{engine} {platform}", {"BOARD_ENGINE": engine, "BOARD_PLATFORM": platform}, _tags(platform, engine))
        for engine, platform in pairs
        if selection.wants(engine)
    ]


def _machines() -> list[tuple[str, str]]:
    """A platform for every QEMU machine: the first whose core it has."""
    found: dict[str, tuple[str, str]] = {}
    for platform in platform_files(()):
        isa = make_target(load_platform(platform)).host.isa
        for image in images().values():
            if image.engine == "qemu" and isa in image.isas:
                found.setdefault(image.name, ("qemu", platform))
    return list(found.values())


def platforms(selection: Selection) -> list[Case]:
    """Every platform file."""
    return [Case(platform, {"TARGET": platform}, _tags(platform)) for platform in selection.ids()]


def emulated(selection: Selection) -> list[Case]:
    """Every platform on the emulators whose backends run it."""
    engines = [engine for engine in ("qemu", "renode") if engine in (selection.engines or ("qemu",))]
    return [
        Case(f"{engine} {platform}", {"TARGET": platform, "ENGINE": engine}, _tags(platform, engine))
        for engine in engines
        for platform in selection.ids()
    ]


def measured(selection: Selection) -> list[Case]:
    """Every platform with published measurements; a test per network, and one more where the zoo can emulate it."""
    from hil.robot.cross_validation import documented, joinable, zoo_twins

    predicted: dict[str, dict[str, tuple[str, ...]]] = {}
    emulated: dict[str, dict[str, tuple[str, ...]]] = {}
    chosen, twins = selection.ids(), zoo_twins()
    for (platform, network), rows in joinable().items():
        if platform not in chosen:
            continue
        grades = (f"grade:{grade}" for grade in sorted({row.grade for row in rows}))
        tags = (f"network:{network}", *grades)
        for backend, tests, wanted in (("analytic", predicted, True), ("qemu", emulated, network in twins)):
            if wanted:
                own = ("known-disagreement",) if documented(rows, backend) else ()
                tests.setdefault(platform, {})[network] = (*tags, f"backend:{backend}", *own)
    return [
        Case(
            platform,
            {"TARGET": platform},
            _tags(platform),
            {
                "each:measured": tests if selection.wants("analytic") else {},
                "each:emulated": emulated.get(platform, {}),
            },
        )
        for platform, tests in predicted.items()
    ]


def _tags(platform: str, engine: str | None = None) -> tuple[str, ...]:
    return (f"platform:{platform}", *([f"engine:{engine}"] if engine else []))


KINDS: dict[str, Callable[[Selection], list[Case]]] = {
    "board": boards,
    "platform": platforms,
    "emulated platform": emulated,
    "measured platform": measured,
}
