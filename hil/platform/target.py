"""A target: a platform at one of its operating points, with a user's overrides applied.

``--set`` accepts dotted keys of the platform file (``memories.sram.size_bytes=65536``) and short forms for the chosen
operating point: ``npu.clock_hz``, ``host.clock_hz``, ``<core>.clock_hz``, ``bus.clock_hz``, ``supply_v``, ``host`` and
``costs.<parameter>``.  Values are plain SI numbers or carry a unit (``30MHz``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from hil.errors import ConfigError, PlatformError, did_you_mean
from hil.platform.loader import validate_platform
from hil.platform.schema import Core, Figure, Npu, OperatingPoint, Platform
from hil.units import parse_quantity

_IDENTITY = ("schema", "id", "name", "vendor", "sources", "default_operating_point")
_USER_SOURCE = "command-line"


@dataclass(frozen=True)
class Target:
    """A platform at one operating point.  ``overrides`` are the ``--set`` items, kept for the run record.

    ``reference_supply_v`` is the default operating point's voltage as the platform file has it: figures refer to it.
    """

    platform: Platform
    operating_point: str
    overrides: tuple[tuple[str, str], ...] = ()
    reference_supply_v: float | None = None

    @property
    def id(self) -> str:
        return self.platform.id

    @property
    def point(self) -> OperatingPoint:
        return self.platform.operating_points[self.operating_point]

    @property
    def npu(self) -> Npu | None:
        """The accelerator, where the operating point uses it."""
        return self.platform.npu if self.point.uses_npu else None

    @property
    def host(self) -> Core:
        return self.platform.cores[self.point.host]

    @property
    def host_clock_hz(self) -> float:
        return self.point.clocks_hz[self.point.host].value

    @property
    def npu_clock_hz(self) -> float:
        """Clock of the accelerator; of the host where there is none."""
        figure = self.point.clocks_hz.get("npu") if self.npu is not None else None
        return figure.value if figure is not None else self.host_clock_hz

    @property
    def bus_clock_hz(self) -> float:
        """Clock of the bus between host and accelerator; the host's where the file does not tell them apart."""
        figure = self.point.clocks_hz.get("bus")
        return figure.value if figure is not None else self.host_clock_hz

    @property
    def voltage_ratio(self) -> float:
        """Supply voltage over the reference: switching energy goes with its square.  1 where either is unknown."""
        own = self.point.supply_v
        if own is None or self.reference_supply_v is None:
            return 1.0
        return own.value / self.reference_supply_v

    @property
    def costs(self) -> dict[str, Figure]:
        """Priors of cost parameters that the platform file gives, the operating point's before the platform's."""
        return {**self.platform.costs, **self.point.costs}


def make_target(
    platform: Platform, operating_point: str | None = None, overrides: Mapping[str, str] | None = None
) -> Target:
    """Choose an operating point and apply overrides.  Raises PlatformError or ConfigError."""
    name = operating_point or platform.default_operating_point
    if name not in platform.operating_points:
        raise PlatformError(
            f"{platform.id} has no operating point '{name}'", hint=did_you_mean(name, platform.operating_points)
        )
    items = tuple(sorted((overrides or {}).items()))
    reference = platform.operating_points[platform.default_operating_point].supply_v
    if items:
        document = platform.model_dump(by_alias=True, mode="python", exclude_none=True)
        document["sources"][_USER_SOURCE] = {"title": "set on the command line"}
        for key, text in items:
            _override(document, platform, name, key, text)
        platform = validate_platform(document, "--set")
    return Target(platform, name, items, reference.value if reference is not None else None)


def _override(document: dict[str, Any], platform: Platform, point: str, key: str, text: str) -> None:
    parts = key.split(".")
    if parts[0] in _IDENTITY:
        raise ConfigError(f"--set {key}: not a figure", hint="such as npu.clock_hz=30MHz or costs.static_power_w=5e-3")
    if parts[-1] == "clock_hz" and len(parts) == 2:
        domain = platform.operating_points[point].host if parts[0] == "host" else parts[0]
        parts = ["operating_points", point, "clocks_hz", domain]
        domains = {*platform.cores, "bus", *(["npu"] if platform.npu is not None else [])}
        if domain not in domains:
            raise ConfigError(f"--set {key}: {platform.id} has no clock '{domain}'", hint=_known_clocks(domains))
    elif parts in (["supply_v"], ["host"], ["mode"]) or (parts[0] == "costs" and len(parts) == 2):
        parts = ["operating_points", point, *parts]
    node: Any = document
    for index, part in enumerate(parts[:-1]):
        if not isinstance(node, dict) or part not in node:
            known = list(node) if isinstance(node, dict) else []
            raise ConfigError(f"--set {key}: no '{'.'.join(parts[: index + 1])}'", hint=did_you_mean(part, known))
        node = node[part]
    last = parts[-1]
    creatable = len(parts) >= 2 and parts[-2] in ("costs", "clocks_hz") or last == "supply_v"
    if not isinstance(node, dict) or (last not in node and not creatable):
        known = list(node) if isinstance(node, dict) else []
        clock = ["clock_hz"] if parts[0] in {*platform.cores, "npu", "bus", "host"} else []
        raise ConfigError(f"--set {key}: no '{last}' there", hint=did_you_mean(last, [*clock, *known]))
    old = node.get(last)
    if isinstance(old, dict) or creatable:
        node[last] = {"value": _number(key, text), "source": _USER_SOURCE, "certainty": "assumed", "spread": 1.0}
    elif isinstance(old, bool):
        if text not in ("true", "false"):
            raise ConfigError(f"--set {key}: '{text}' is not true or false")
        node[last] = text == "true"
    elif isinstance(old, (int, float)):
        node[last] = type(old)(_number(key, text))
    else:
        node[last] = text


def _number(key: str, text: str) -> float:
    unit = {"hz": "Hz", "s": "s", "w": "W", "j": "J", "v": "V", "bytes": "B"}.get(key.rsplit("_", 1)[-1], "")
    try:
        return parse_quantity(text, unit)
    except ConfigError as error:
        raise ConfigError(f"--set {key}: {error.message}", hint=error.hint) from error


def _known_clocks(domains: Collection[str]) -> str:
    return "known: " + ", ".join(f"{domain}.clock_hz" for domain in ("host", *sorted(domains)))
