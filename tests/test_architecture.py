"""The house keeps its shape: imports go one way, nothing heavy or noisy happens at import."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hil

PACKAGE = Path(hil.__file__).parent

# Lower layers first; a module may import from its own layer and from those before it.
LAYERS = (
    {"__init__", "errors"},
    {"units", "files", "data", "toml", "pictures"},
    {"network"},
    {"zoo"},
    {"platform"},
    {"plan"},
    {"cost"},
    {"sim"},
    {"board"},
    {"emulator"},
    {"meter"},
    {"backend"},
    {"bench"},
    {"calibrate"},
    {"compare", "analyze"},
    {"report"},
    {"cli", "robot", "__main__"},
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def _part(module: str) -> str:
    pieces = module.split(".")
    return pieces[1] if len(pieces) > 1 else "__init__"


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            if node.module == "hil":
                yield from (f"hil.{alias.name}" if (PACKAGE / alias.name).exists() else "hil" for alias in node.names)
            else:
                yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _modules() -> list[Path]:
    return sorted(file for file in PACKAGE.rglob("*.py") if "_data" not in file.parts)


def test_every_part_has_a_layer() -> None:
    parts = {file.relative_to(PACKAGE).parts[0].removesuffix(".py") for file in _modules()}
    assert parts <= set(RANK)


def test_no_upward_import() -> None:
    upward = []
    for file in _modules():
        part = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        upward += [
            f"{file.relative_to(PACKAGE)} imports {module}"
            for module in _imports(ast.parse(file.read_text(encoding="utf-8")))
            if module.split(".")[0] == "hil" and RANK[_part(module)] > RANK[part]
        ]
    assert upward == []


def test_print_only_in_programs_and_reports() -> None:
    calls = []
    for file in _modules():
        if file.relative_to(PACKAGE).parts[0] in {"cli", "report"} or file.name == "build.py":
            continue
        calls += [
            f"{file.relative_to(PACKAGE)}:{node.lineno}"
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
        ]
    assert calls == []


def test_help_imports_nothing_heavy() -> None:
    """Counted by module, not by seconds: start-up time is what these imports cost."""
    code = (
        "import sys; from hil.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'pandas', 'scipy', 'simpy', 'tensorflow', 'pydantic', 'rich', 'ai_edge_litert'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip().splitlines()[-1] == "HEAVY []"


def test_listing_platforms_imports_no_data_science() -> None:
    code = (
        "import sys; from hil.cli.main import main\n"
        "main(['platforms', '--json'])\n"
        "heavy = {'pandas', 'scipy', 'tensorflow', 'ai_edge_litert', 'pyarrow', 'simpy'}\n"
        "print('\\nHEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip().splitlines()[-1] == "HEAVY []"
