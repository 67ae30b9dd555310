"""An installed wheel finds its data: platforms, zoo, tables, report assets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_a_wheel_benches_without_the_source_tree(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("hil-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    # Only the unpacked wheel and the environment's own packages: the source tree is not on the path.
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
        "import hil; from hil.cli.main import main\n"
        "assert 'site' in hil.__file__, hil.__file__\n"
        "from hil.emulator.images import images\n"
        "from hil.emulator.clock import instruction_table\n"
        "assert all(image.file.is_file() and image.hash for image in images().values()), images()\n"
        "assert instruction_table()['images']\n"
        "assert main(['platforms', 'check', '--json']) == 0\n"
        "print('BENCH')\n"
        "sys.exit(main(['bench', 'zoo:kws', '--out', 'out', '--json']))"
    )
    environment = {**os.environ, "PYTHONPATH": "", "HIL_CACHE": str(tmp_path / "cache")}
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert len(json.loads(run.stdout.partition("BENCH")[2])["runs"]) == 19
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000
