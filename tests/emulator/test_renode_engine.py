"""Bringing a board up in Renode: the exact commands, against a fake Renode."""

from __future__ import annotations

import os
import re
import select
import struct
import termios
import time
from pathlib import Path

import pytest
from renode_fixtures import FakeRenode, fake_renode, gone

from hil.data import data_dir
from hil.emulator.images import images
from hil.emulator.renode import RenodeEngine
from hil.emulator.renode.engine import NPU_SOURCE, start_commands
from hil.errors import ConfigError, LinkError, PlatformError, UnavailableError

REPL = """\
cpu: CPU.CortexM @ sysbus
    cpuType: "cortex-m4f"
console: UART.CMSDK_APB_UART @ sysbus 0x40004000
    IRQ -> nvic@0
other: UART.CMSDK_APB_UART @ sysbus 0x40005000
"""


@pytest.fixture
def fake(tmp_path: Path) -> FakeRenode:
    return fake_renode(tmp_path)


@pytest.fixture
def platforms(tmp_path: Path) -> Path:
    """A user's folder with one platform; its name has a space, as home folders may."""
    folder = tmp_path / "my platforms"
    board = folder / "board1"
    board.mkdir(parents=True)
    (board / "platform.toml").touch()
    (board / "board1.repl").write_text(REPL, encoding="utf-8")
    (board / "board1.resc").write_text("mach create\n", encoding="utf-8")
    return folder


def engine(platforms: Path, fake: FakeRenode, elf: str = "/images/board1.elf") -> RenodeEngine:
    return RenodeEngine(
        "board1", Path(elf), Path("/work/program.bin"), 4711, 120, platform_path=[platforms], renode=fake.renode
    )


def test_the_commands(platforms: Path, fake: FakeRenode) -> None:
    with engine(platforms, fake) as board:
        url = board.start()
        folder = Path(url).parent
        assert "hil-board-" in folder.name
    assert not folder.exists()
    script = str(platforms / "board1" / "board1.resc").replace(" ", r"\ ")
    assert fake.commands() == [
        f"logFile @{folder}/renode.log true",
        "$elf=@/images/board1.elf",
        "$program=@/work/program.bin",
        f"$npu=@{NPU_SOURCE}",
        f"include @{script}",
        "sysbus.cpu PerformanceInMips 120",
        "sysbus.npu Port 4711",
        f'emulation CreateUartPtyTerminal "term" "{folder}/uart" true',
        "connector Connect sysbus.console term",
        "start",
    ]
    assert gone(str(fake.record))


def _read(terminal: int, count: int) -> bytes:
    data = b""
    while len(data) < count and select.select([terminal], [], [], 20)[0]:
        data += os.read(terminal, count - len(data))
    return data


def test_the_serial_port_carries_every_byte(platforms: Path, fake: FakeRenode) -> None:
    """Renode leaves its PTY in a state that no terminal should be in; whoever opens it finds a plain line."""
    everything = bytes(range(256))
    with engine(platforms, fake) as board:
        terminal = os.open(board.start(), os.O_RDWR | os.O_NOCTTY)
        try:
            assert _read(terminal, 22) == b"m-init-done\r\nm-ready\r\n"
            os.write(terminal, everything)
            assert _read(terminal, 256) == everything
            assert not termios.tcgetattr(terminal)[3] & (termios.ECHO | termios.ICANON)
        finally:
            os.close(terminal)


def test_a_renode_that_makes_no_serial_port(platforms: Path, fake: FakeRenode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.emulator.renode.engine.start_commands", lambda *_, **__: ("first",))
    with pytest.raises(LinkError, match="Renode made no serial port at /.*/uart: No such file"):
        engine(platforms, fake).start()
    assert gone(str(fake.record))


def test_a_refused_command_ends_renode(platforms: Path, fake: FakeRenode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.emulator.renode.engine.start_commands", lambda *_, **__: ("first", "fail here", "start"))
    board = engine(platforms, fake)
    with pytest.raises(LinkError, match="refused 'fail here'"):
        board.start()
    assert fake.commands() == ["first", "fail here"]
    assert gone(str(fake.record))
    board.stop()


def test_the_end_of_renode_is_noticed(platforms: Path, fake: FakeRenode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_RENODE", "short-lived")
    with engine(platforms, fake) as board:
        assert board.failure() is None
        board.start()
        deadline = time.monotonic() + 20
        while (failure := board.failure()) is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert failure is not None and failure.startswith("Renode ended with exit code 3")


def test_stop_without_start(platforms: Path, fake: FakeRenode) -> None:
    engine(platforms, fake).stop()


def test_without_renode(platforms: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HIL_RENODE", str(tmp_path / "none"))
    board = RenodeEngine("board1", Path("x.elf"), Path("p.bin"), 1, 100, platform_path=[platforms])
    with pytest.raises(UnavailableError, match="not an executable file"):
        board.start()


def test_a_platform_without_description(platforms: Path, fake: FakeRenode) -> None:
    (platforms / "board1" / "board1.resc").unlink()
    with pytest.raises(PlatformError, match="board1 has no description for Renode") as caught:
        engine(platforms, fake)
    assert "hil platforms check board1" in str(caught.value.hint)


def test_an_unknown_platform(fake: FakeRenode) -> None:
    with pytest.raises(PlatformError, match="no platform 'mcxn94'") as caught:
        RenodeEngine("mcxn94", Path("x"), Path("y"), 1, 1, renode=fake.renode)
    assert "mcxn947" in str(caught.value.hint)


def test_a_description_without_console(platforms: Path, fake: FakeRenode) -> None:
    (platforms / "board1" / "board1.repl").write_text("cpu: CPU.CortexM @ sysbus\n", encoding="utf-8")
    with pytest.raises(PlatformError, match=r"board1\.repl: no UART"):
        engine(platforms, fake).start()


@pytest.mark.parametrize("name", ["a;b.elf", "a\nb.elf", 'a".elf'])
def test_paths_that_the_monitor_cannot_read(platforms: Path, fake: FakeRenode, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be given the path"):
        engine(platforms, fake, f"/images/{name}").start()
    assert not fake.commands()
    assert gone(str(fake.record))


HEADERS = Path(__file__).parents[2] / "firmware" / "port" / "renode"
WITH_FIRMWARE = sorted(header.stem for header in HEADERS.glob("*.h") if header.name != "device.h")


@pytest.mark.parametrize("platform_id", WITH_FIRMWARE)
def test_shipped_platforms_fit_the_engine(platform_id: str) -> None:
    """Their scripts take the three variables, and their descriptions have the names that the commands use."""
    script = data_dir("platforms") / platform_id / f"{platform_id}.resc"
    commands = start_commands(
        script,
        elf=Path("/a.elf"),
        program=Path("/p.bin"),
        npu_port=1,
        mips=100,
        uart=Path("/uart"),
        log=Path("/log"),
    )
    text = script.read_text(encoding="utf-8")
    description = script.with_suffix(".repl").read_text(encoding="utf-8")
    for command in commands:
        variable = re.match(r"\$(\w+)=", command)
        if variable is not None:
            assert f"${variable[1]}?=" in text, command
        for name in re.findall(r"sysbus\.(\w+)", command):
            assert re.search(rf"^{name}\s*:", description, re.MULTILINE), command
    assert not re.search(r"^\s*(start|s)\b", text, re.MULTILINE)  # the engine starts, once all is connected


def _constants(platform_id: str) -> dict[str, int]:
    text = (HEADERS / f"{platform_id}.h").read_text(encoding="utf-8")
    return {name: int(value, 0) for name, value in re.findall(r"#define (\w+) (0x[0-9A-Fa-f]+|\d+)u?\n", text)}


@pytest.mark.parametrize("platform_id", WITH_FIRMWARE)
def test_images_lie_where_their_platforms_have_memory(platform_id: str) -> None:
    """What is loaded lies in the ROM of the header; a Cortex-M's first two words are its stack and its start."""
    constants = _constants(platform_id)
    image = images()[f"renode-{platform_id}"]
    assert (image.platform, image.mips) == (platform_id, constants["MIPS"])
    assert image.program_address == constants["PROGRAM_ORIGIN"]
    elf = image.file.read_bytes()
    rom = range(constants["ROM_ORIGIN"], constants["ROM_ORIGIN"] + constants["ROM_BYTES"])
    loaded = [(address, data) for address, data in _segments(elf) if data]
    assert loaded[0][0] == rom.start
    assert all(address in rom and address + len(data) <= rom.stop for address, data in loaded)
    if "arm" in image.compiler:
        stack, start = struct.unpack_from("<2I", loaded[0][1])
        assert stack == constants["RAM_ORIGIN"] + constants["RAM_BYTES"]
        assert start & 1 and start in rom


def _segments(elf: bytes) -> list[tuple[int, bytes]]:
    """Physical address and contents of what an ELF file has loaded."""
    wide = elf[4] == 2
    table = struct.unpack_from("<Q", elf, 32)[0] if wide else struct.unpack_from("<I", elf, 28)[0]
    size, count = struct.unpack_from("<HH", elf, 54 if wide else 42)
    found = []
    for index in range(count):
        if wide:
            kind, _, offset, _, address, stored = struct.unpack_from("<2I4Q", elf, table + index * size)
        else:
            kind, offset, _, address, stored = struct.unpack_from("<5I", elf, table + index * size)
        if kind == 1:  # PT_LOAD
            found.append((address, elf[offset : offset + stored]))
    return found
