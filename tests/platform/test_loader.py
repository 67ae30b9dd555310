"""Wrong platform files: whole messages and hints, and where files are looked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hil.errors import PlatformError
from hil.platform.loader import load_platform, platform_files, platform_hash, read_platform, search_path

MINIMAL = """\
schema = 1
id = "board"
name = "Board"
vendor = "Acme"
summary = "a core and two memories"
default_operating_point = "run"

[sources]
sheet = { title = "data sheet" }

[cores.m4]
isa = "cortex-m4"

[memories.flash]
kind = "flash"
size_bytes = { value = 1048576, source = "sheet", certainty = "datasheet" }
holds = ["weights"]

[memories.sram]
kind = "sram"
size_bytes = { value = 262144, source = "sheet", certainty = "datasheet" }
holds = ["activations"]

[operating_points.run]
summary = "all on"
host = "m4"
clocks_hz.m4 = { value = 100e6, source = "sheet", certainty = "datasheet" }

[power]
scope = "chip"
baseline = "gross"
"""

Writer = Callable[..., Path]
SEE = "docs/platform-file.md lists the keys"
ISAS = (
    "'cortex-m0plus', 'cortex-m4', 'cortex-m7', 'cortex-m33', 'cortex-m55', 'cortex-m85', 'xtensa-lx7', 'rv32',"
    " 'rv32-simd', 'rv32-pulp', 'rv64', 'hifi3' or 'c28x'"
)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Writer:
    """Write a platform file, the minimal one with replacements, and return its path."""
    monkeypatch.delenv("HIL_PLATFORM_PATH", raising=False)

    def _write(*replacements: tuple[str, str], folder: str = "board", root: Path = tmp_path) -> Path:
        text = MINIMAL
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new, 1)
        file = root / folder / "platform.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    return _write


def test_minimal_file_loads(write: Writer) -> None:
    platform = read_platform(write())
    assert platform.id == "board"
    assert platform.npu is None
    assert platform.memories["sram"].size_bytes.value == 262144


WRONG: list[tuple[str, tuple[str, str], str, str]] = [
    (
        "unknown key at the top",
        ('vendor = "Acme"', 'vendor = "Acme"\nsumary = "x"'),
        "sumary: unknown key 'sumary'",
        "did you mean 'summary'?",
    ),
    (
        "unknown key in a table of tables",
        ('kind = "sram"', 'kind = "sram"\nhold = ["input"]'),
        "memories.sram.hold: unknown key 'hold'",
        "did you mean 'holds'?",
    ),
    (
        "unknown key in a figure",
        (
            "{ value = 262144, source",
            "{ value = 262144, certain = 1, source",
        ),
        "memories.sram.size_bytes.certain: unknown key 'certain'",
        "did you mean 'certainty'?",
    ),
    (
        "unknown key with nothing near",
        ('scope = "chip"', 'scope = "chip"\nqqq = 1'),
        "power.qqq: unknown key 'qqq'",
        "keys here: baseline, note, rail, scope",
    ),
    ("wrong type", ('name = "Board"', "name = 3"), "name: 3: input should be text", SEE),
    (
        "number where a figure belongs",
        ('{ value = 262144, source = "sheet", certainty = "datasheet" }', "262144"),
        "memories.sram.size_bytes: 262144: input should be a figure { value, source, certainty }",
        SEE,
    ),
    (
        "text for a number",
        ("value = 100e6", 'value = "fast"'),
        "operating_points.run.clocks_hz.m4.value: 'fast': input should be a valid number,"
        " unable to parse string as a number",
        SEE,
    ),
    (
        "not above zero",
        ("value = 262144", "value = 0"),
        "memories.sram.size_bytes: the value is 0, it must be greater than zero",
        SEE,
    ),
    (
        "not finite",
        ("value = 262144", "value = inf"),
        "memories.sram.size_bytes: the value must be a finite number",
        SEE,
    ),
    (
        "unknown instruction set",
        ('isa = "cortex-m4"', 'isa = "cortex-m3"'),
        f"cores.m4.isa: 'cortex-m3': input should be {ISAS}",
        SEE,
    ),
    (
        "bad certainty",
        ('certainty = "datasheet" }\nholds = ["weights"]', 'certainty = "sure" }\nholds = ["weights"]'),
        "memories.flash.size_bytes.certainty: 'sure': input should be 'measured', 'datasheet', 'inferred' or 'assumed'",
        SEE,
    ),
    (
        "spread below one",
        ("value = 262144", "spread = 0.9, value = 262144"),
        "memories.sram.size_bytes.spread: 0.9: input should be greater than or equal to 1",
        SEE,
    ),
    ("missing key", ('vendor = "Acme"\n', ""), "vendor: missing", SEE),
    (
        "missing key of a figure",
        ('{ value = 262144, source = "sheet", certainty', "{ value = 262144, certainty"),
        "memories.sram.size_bytes.source: missing",
        SEE,
    ),
    (
        "dangling source",
        ('value = 262144, source = "sheet"', 'value = 262144, source = "manual"'),
        "memories.sram.size_bytes: source 'manual' is not in [sources]",
        SEE,
    ),
    (
        "default operating point that does not exist",
        ('default_operating_point = "run"', 'default_operating_point = "walk"'),
        "default_operating_point 'walk' is not an operating point",
        SEE,
    ),
    (
        "unknown host",
        ('host = "m4"', 'host = "m7"'),
        "operating_points.run.host 'm7' is not one of the cores;"
        " operating_points.run.clocks_hz has no clock for its host 'm7'",
        SEE,
    ),
    (
        "unknown clock domain",
        ("clocks_hz.m4 =", 'clocks_hz.dsp = { value = 1e6, source = "sheet", certainty = "assumed" }\nclocks_hz.m4 ='),
        "operating_points.run.clocks_hz.dsp: expected one of ['bus', 'm4', 'npu']",
        SEE,
    ),
    (
        "wrong schema version",
        ("schema = 1", "schema = 2"),
        "schema: 2: input should be 1",
        SEE,
    ),
]


@pytest.mark.parametrize(("replacement", "message", "hint"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_wrong_file(write: Writer, replacement: tuple[str, str], message: str, hint: str) -> None:
    file = write(replacement)
    with pytest.raises(PlatformError) as caught:
        read_platform(file)
    assert caught.value.message == f"{file}: {message}"
    assert caught.value.hint == hint


def test_further_problems_are_counted(write: Writer) -> None:
    file = write(('vendor = "Acme"\n', ""), ('summary = "a core and two memories"\n', ""))
    with pytest.raises(PlatformError) as caught:
        read_platform(file)
    assert caught.value.message == f"{file}: vendor: missing (and 1 more)"


def test_id_must_match_folder(write: Writer) -> None:
    file = write(folder="other")
    with pytest.raises(PlatformError) as caught:
        read_platform(file)
    assert caught.value.message == f"{file}: id 'board' differs from its folder 'other'"
    assert caught.value.hint == "give the folder the platform's id"


def test_id_has_a_pattern(write: Writer) -> None:
    file = write(('id = "board"', 'id = "Board 1"'))
    with pytest.raises(PlatformError) as caught:
        read_platform(file)
    assert caught.value.message == f"{file}: id: 'Board 1': string should match pattern '^[a-z0-9][a-z0-9-]*$'"


def test_invalid_toml(write: Writer) -> None:
    file = write(("schema = 1", "schema = = 1"))
    with pytest.raises(PlatformError) as caught:
        read_platform(file)
    assert caught.value.message == f"{file}: not valid TOML: Invalid value (at line 1, column 10)"
    assert caught.value.hint == "docs/platform-file.md lists the keys"


def test_not_utf8(write: Writer) -> None:
    file = write()
    file.write_bytes(b"id = '\xff'")
    with pytest.raises(PlatformError) as caught:
        read_platform(file)
    assert caught.value.message == (
        f"{file}: not valid TOML: 'utf-8' codec can't decode byte 0xff in position 6: invalid start byte"
    )


def test_missing_file(tmp_path: Path) -> None:
    file = tmp_path / "board" / "platform.toml"
    with pytest.raises(PlatformError) as caught:
        read_platform(file)
    assert caught.value.message == f"{file}: cannot be read: No such file or directory"


def test_unknown_platform_suggests_the_nearest(write: Writer) -> None:
    write()
    with pytest.raises(PlatformError) as caught:
        load_platform("stm32l4r")
    assert caught.value.message == "no platform 'stm32l4r'"
    assert caught.value.hint == "did you mean 'stm32l4r5'?"


def test_order_of_folders(write: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--platform-path before HIL_PLATFORM_PATH, its first folder before its second, the shipped ones last."""
    roots = [tmp_path / name for name in ("option", "first", "second")]
    files = [write(('name = "Board"', f'name = "{root.name}"'), root=root) for root in roots]
    only_second = write(('id = "board"', 'id = "extra"'), folder="extra", root=roots[2])
    monkeypatch.setenv("HIL_PLATFORM_PATH", os.pathsep.join(map(str, roots[1:])))
    assert search_path((roots[0],))[:3] == tuple(roots)
    assert load_platform("board", (roots[0],)).name == "option"
    assert load_platform("board").name == "first"
    assert platform_files()["board"] == files[1]
    assert platform_files()["extra"] == only_second
    monkeypatch.setenv("HIL_PLATFORM_PATH", str(roots[2]))
    assert load_platform("board").name == "second"


def test_own_file_hides_a_shipped_one(write: Writer, tmp_path: Path) -> None:
    file = write(('id = "board"', 'id = "stm32l4r5"'), folder="stm32l4r5")
    assert platform_files((tmp_path,))["stm32l4r5"] == file
    assert platform_files()["stm32l4r5"] != file


def test_empty_parts_of_the_path_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIL_PLATFORM_PATH", os.pathsep)
    assert len(search_path()) == 1


def test_missing_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIL_PLATFORM_PATH", str(tmp_path / "nowhere"))
    with pytest.raises(PlatformError) as caught:
        platform_files()
    assert caught.value.message == f"{tmp_path / 'nowhere'}: no such folder of platforms"
    assert caught.value.hint == "see --platform-path and $HIL_PLATFORM_PATH"


def test_hash_follows_the_content(write: Writer) -> None:
    first = platform_hash(read_platform(write()))
    assert first == platform_hash(read_platform(write()))
    assert first != platform_hash(read_platform(write(("value = 100e6", "value = 90e6"))))
