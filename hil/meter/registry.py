"""Meters by name: ``ppk2``, ``ppk2:/dev/ttyACM1?voltage_v=3.3``, ``replay:FILE``, ``simulated``."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hil.board.boards import PortInfo, list_ports
from hil.errors import did_you_mean
from hil.meter.drivers.base import Driver
from hil.meter.errors import SettingError
from hil.meter.types import PowerMeter

_USB_DEVICES = Path("/sys/bus/usb/devices")
_DOCS = "docs/meters-instruments.md lists the meters and their settings"


@dataclass(frozen=True)
class Entry:
    """A meter: where its driver is and how it is found.

    ``settings``: what may follow ``?``, with the type of each.  ``address``: what follows the colon, for people; None
    where nothing does.  ``usb``: vendor, product and a part of the description, by which it is recognised;
    ``usb_shared`` where other things have the same.  ``fixed``: arguments that the name implies.
    """

    title: str
    factory: str
    address: str | None = "PORT"
    settings: Mapping[str, Callable[[str], Any]] = field(default_factory=dict)
    usb: tuple[int, int | None, str] | None = None
    usb_shared: bool = False
    serial_port: bool = True
    optional_address: bool = True
    fixed: Mapping[str, Any] = field(default_factory=dict)


_DRIVERS = "hil.meter.drivers"
_VOLTAGE: Mapping[str, Callable[[str], Any]] = {"voltage_v": float}

METERS: dict[str, Entry] = {
    "ppk2": Entry(
        "Nordic Power Profiler Kit II",
        f"{_DRIVERS}.ppk2:Ppk2",
        settings={**_VOLTAGE, "mode": str},
        usb=(0x1915, 0xC00A, ""),
    ),
    "lpm01a": Entry(
        "ST X-NUCLEO-LPM01A",
        f"{_DRIVERS}.lpm01a:Lpm01a",
        settings={**_VOLTAGE, "format": str},
        usb=(0x0483, 0x5740, ""),
        usb_shared=True,  # ST's number for any virtual port, also of a board or a bridge
    ),
    "stlink_v3pwr": Entry(
        "ST STLINK-V3PWR",
        f"{_DRIVERS}.stlink_v3pwr:StlinkV3Pwr",
        settings={**_VOLTAGE, "format": str},
        usb=(0x0483, None, "STLink Virtual COM Port PWR"),
    ),
    "ina226": Entry(
        "TI INA226 behind a bridge",
        f"{_DRIVERS}.ina2xx:Ina2xx",
        optional_address=False,
        fixed={"chip": "ina226"},
    ),
    "ina228": Entry(
        "TI INA228 behind a bridge",
        f"{_DRIVERS}.ina2xx:Ina2xx",
        optional_address=False,
        fixed={"chip": "ina228"},
    ),
    "joulescope": Entry(
        "Joulescope JS110, JS220",
        f"{_DRIVERS}.joulescope:Joulescope",
        address="SERIAL",
        serial_port=False,
    ),
    "otii": Entry(
        "Qoitech Otii Arc, Ace",
        f"{_DRIVERS}.otii:Otii",
        address="HOST:PORT",
        settings={"device": str, "uart": int},
        serial_port=False,
    ),
    "monsoon": Entry("Monsoon HVPM", f"{_DRIVERS}.monsoon:Monsoon", address="SERIAL", serial_port=False),
    "replay": Entry(
        "a raw recording",
        f"{_DRIVERS}.replay:Replay",
        address="FILE",
        serial_port=False,
        optional_address=False,
    ),
    "simulated": Entry(
        "a meter that is computed",
        "hil.meter.simulated:with_faults",
        address=None,
        settings={"seed": int, **dict.fromkeys(("noise_a", "lsb_a", "gain", "offset_a", "clock_ratio"), float)},
        serial_port=False,
    ),
}

# Instruments that are no serial ports: vendor and product (None: any) of their USB devices.
_USB_METERS: tuple[tuple[int, int | None, str], ...] = (
    (0x1FC9, 0xFC93, "joulescope"),  # JS110
    (0x16D0, 0x10BA, "joulescope"),  # JS220
    (0x2AB9, 0x0001, "monsoon"),
)


@dataclass(frozen=True)
class Found:
    """A meter that is attached: what to write to open it."""

    spec: str
    title: str
    serial: str = ""


def open_meter(spec: str, *, site: str = "", raw_folder: Path | None = None) -> PowerMeter:
    """The meter that ``NAME[:ADDRESS][?SETTING=VALUE&...]`` names; its ``open`` has not been called.

    ``site`` is what its current flows into, which every trace says; raw recordings go to ``raw_folder``.  Where the
    instrument does not tell its serial number, USB's takes its place.  Raises
    SettingError for a name or setting that is not known, where not exactly one such instrument is attached, and for a
    port that is another instrument's; UnavailableError where a vendor's library is missing.
    """
    name, address, settings = _parse(spec)
    entry = METERS[name]
    arguments: dict[str, Any] = {**entry.fixed, **settings}
    if site:
        arguments["site"] = site
    if entry.address is None:
        return _factory(entry)(**arguments)
    if not address and not entry.optional_address:
        raise SettingError(f"{spec}: which {entry.address.lower()}?", hint=f"write {name}:{entry.address}")
    ports = list_ports() if entry.serial_port else []
    if not address and entry.serial_port:
        address = _the_port(name, entry, ports)
    port = _port_at(address, ports)
    if port is not None:
        _require_own(spec, entry, port)
    if name != "replay":
        arguments["raw_folder"] = raw_folder
    meter = _factory(entry)(address, **arguments)
    if entry.serial_port and isinstance(meter, Driver):
        meter.usb_serial = (port.serial or "") if port is not None else ""
    return meter


def take_setting(spec: str, key: str) -> tuple[str, Any]:
    """The spec without a setting, and its value; None where it has none.  Raises SettingError for a wrong spec."""
    _, _, settings = _parse(spec)
    place, _, query = spec.partition("?")
    rest = [item for item in filter(None, query.split("&")) if item.partition("=")[0] != key]
    return "?".join([place, *filter(None, ["&".join(rest)])]), settings.get(key)


def with_setting(spec: str, key: str, value: str) -> str:
    """The spec with one more setting, where that meter has it.  Raises SettingError where the spec has another value,
    and what a wrong spec does."""
    name, _, settings = _parse(spec)
    if key not in METERS[name].settings:
        return spec
    if key in settings:
        if settings[key] != METERS[name].settings[key](value):
            raise SettingError(f"{spec}: {key} is to be {value} too", hint="say it once")
        return spec
    return f"{spec}{'&' if '?' in spec else '?'}{key}={value}"


def list_meters(ports: Sequence[PortInfo] | None = None, usb_devices: Path = _USB_DEVICES) -> list[Found]:
    """The meters that are attached, as far as USB tells.  What is behind a bridge or a server cannot be seen."""
    found = []
    for name, entry in METERS.items():
        matching = _matching(entry, list_ports() if ports is None else ports)
        found += [Found(f"{name}:{port.device}", entry.title, port.serial or "") for port in matching]
    for vendor, product, serial in _usb_ids(usb_devices):
        for vid, pid, name in _USB_METERS:
            if vendor == vid and pid in (None, product):
                found.append(Found(f"{name}:{serial}" if serial else name, METERS[name].title, serial))
    return found


def _parse(spec: str) -> tuple[str, str, dict[str, Any]]:
    place, _, query = spec.partition("?")
    name, _, address = place.partition(":")
    if name not in METERS:
        raise SettingError(f"no meter '{name}'", hint=did_you_mean(name, METERS))
    entry, settings = METERS[name], {}
    if address and entry.address is None:
        raise SettingError(f"{spec}: '{name}' has no address", hint=f"write {name}")
    for item in filter(None, query.split("&")):
        key, equals, text = item.partition("=")
        if key not in entry.settings:
            hint = did_you_mean(key, entry.settings) if entry.settings else f"'{name}' has no settings"
            raise SettingError(f"{spec}: no setting '{key}'", hint=hint)
        kind = entry.settings[key]
        try:
            settings[key] = kind(text)
        except ValueError:
            equals = ""
        if not equals:
            raise SettingError(f"{spec}: {key} is '{text}', expected {kind.__name__}", hint=_DOCS)
    return name, address, settings


def _factory(entry: Entry) -> Callable[..., PowerMeter]:
    module, _, attribute = entry.factory.partition(":")
    factory: Callable[..., PowerMeter] = getattr(importlib.import_module(module), attribute)
    return factory


def _fits(entry: Entry, port: PortInfo) -> bool:
    """Whether a port may be one of such an instrument."""
    if entry.usb is None:
        return False
    vid, pid, description = entry.usb
    return port.vid == vid and pid in (None, port.pid) and description in port.description


def _require_own(spec: str, entry: Entry, port: PortInfo) -> None:
    """Raises SettingError for the port of another instrument: to that, greetings are commands.  A PPK2 takes the line
    end of a text (0x0D) for a voltage."""
    if _fits(entry, port):
        return
    for name, other in METERS.items():
        if _fits(other, port) and not other.usb_shared:
            raise SettingError(
                f"{spec}: that port is a {other.title}, not a {entry.title}", hint=f"write {name}:{port.device}"
            )


def _matching(entry: Entry, ports: Sequence[PortInfo]) -> list[PortInfo]:
    """The ports of attached instruments of a kind: where one instrument has several, the first."""
    firsts: dict[tuple[str | None, str], PortInfo] = {}
    for port in ports:
        if _fits(entry, port):
            firsts.setdefault((port.serial, "" if port.serial else port.device), port)
    return list(firsts.values())


def _the_port(name: str, entry: Entry, ports: Sequence[PortInfo]) -> str:
    matching = _matching(entry, ports)
    if len(matching) == 1:
        return matching[0].device
    there = ", ".join(f"{port.device} ({port.serial or port.description})" for port in matching or ports)
    how_many = "none is attached" if not matching else f"{len(matching)} are attached"
    raise SettingError(
        f"{name}: which {entry.title}? {how_many}", hint=f"write {name}:PORT; ports here: {there or 'none'}"
    )


def _port_at(address: str, ports: Sequence[PortInfo]) -> PortInfo | None:
    """The port of that name; None where none is (a socket, a PTY)."""
    places = {address}
    with suppress(OSError, ValueError):  # what is no path is no port
        places.add(os.path.realpath(address))
    return next((port for port in ports if {port.device, port.by_id} & places), None)


def _usb_ids(folder: Path) -> list[tuple[int, int, str]]:
    """Vendor, product and serial number of this machine's USB devices; empty where the system does not tell."""
    devices = []
    with suppress(OSError):
        for device in sorted(folder.iterdir()):
            with suppress(OSError, ValueError):
                vendor, product = (int((device / file).read_text(), 16) for file in ("idVendor", "idProduct"))
                serial = device / "serial"
                devices.append((vendor, product, serial.read_text().strip() if serial.is_file() else ""))
    return devices
