"""The results store: one JSON record per run, flat tables for pandas, all written atomically.

A folder of results holds ``bench.json`` (what was asked, and whether it is complete), ``records/*.json``,
``runs.csv`` (a line per run), ``phases.csv`` (a line per run and phase), and ``phases.parquet`` where pyarrow is
installed.  A killed bench leaves records that are whole, and ``bench.json`` without ``complete``: the next one resumes.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import io
import json
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hil.backend.run import SCHEMA_VERSION, Run, RunFile
from hil.errors import ResultsError
from hil.files import unwritable, write_atomic

MANIFEST = "bench.json"
RECORDS = "records"


def record_name(run: Run) -> str:
    """The file name of a run's record: what distinguishes it, and a hash where names alone might not."""
    parts = [run.network, run.platform, run.operating_point, run.backend]
    safe = [re.sub(r"[^\w.-]+", "_", part)[:80] for part in parts]
    if safe != parts or safe[0].startswith("."):
        safe.append(hashlib.sha256(run.network.encode()).hexdigest()[:8])
    if run.provenance.overrides:
        text = json.dumps(sorted(run.provenance.overrides.items()))
        safe.append("set-" + hashlib.sha256(text.encode()).hexdigest()[:8])
    return "--".join(safe).lstrip(".") + ".json"


def to_json(runs: Sequence[Run]) -> str:
    """Runs in the versioned JSON schema."""
    document: dict[str, Any] = {"schema": SCHEMA_VERSION}
    document["runs"] = [run.model_dump(mode="json") for run in runs]
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def from_json(data: bytes, where: str) -> tuple[Run, ...]:
    """Read runs back.  Raises ResultsError for anything but a record of a known schema."""
    try:
        document = json.loads(data)
        if not isinstance(document, dict) or document.get("schema") != SCHEMA_VERSION:
            found = document.get("schema") if isinstance(document, dict) else None
            raise ResultsError(
                f"{where}: record schema {found!r}, this hil reads schema {SCHEMA_VERSION}",
                hint="run the benchmark again with this version",
            )
        return RunFile(runs=document.get("runs", ())).runs
    except (ValueError, RecursionError) as error:
        first = error.errors(include_url=False)[0] if isinstance(error, ValidationError) else None
        what = f"{'.'.join(map(str, first['loc']))}: {first['msg']}" if first else str(error)
        raise ResultsError(f"{where}: not a run record: {what}", hint="run the benchmark again") from error


def read_runs(path: Path) -> list[Run]:
    """The runs of a folder of results, or of one record file: one at least.  Raises ResultsError."""
    if path.is_dir():
        return Store(path).load()
    hint = "a record file, or a folder that hil bench --out wrote"
    if not path.exists():
        raise ResultsError(f"{path}: no such folder of results or record file", hint=hint)
    try:
        runs = from_json(path.read_bytes(), str(path))
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read: {error.strerror}", hint=hint) from error
    if not runs:
        raise ResultsError(f"{path}: holds no runs", hint=hint)
    return list(runs)


class Store:
    """A folder of results."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started = ""  # when the bench in the folder began, ISO 8601

    def begin(self, asked: dict[str, Any], *, overwrite: bool = False) -> bool:
        """Start a bench; true where the folder holds an unfinished one of the same request, which may be resumed.

        Raises ResultsError where it holds another bench, unless ``overwrite``: its records would be replaced.
        """
        manifest = self._manifest()
        same = manifest is not None and manifest.get("asked") == asked
        resuming = same and manifest is not None and not manifest.get("complete", False)
        # A bench that was complete begins anew: its records are of the time before.
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.started = str(manifest.get("started", "")) if resuming and manifest is not None else now
        if manifest is not None and not same and not overwrite:
            raise ResultsError(
                f"{self.folder}: holds another bench ({_summary(manifest.get('asked'))})",
                hint="choose another folder, or replace it with --overwrite",
            )
        self._write_manifest(asked, complete=False)
        return resuming

    def finish(
        self,
        asked: dict[str, Any],
        runs: Sequence[Run],
        failures: Sequence[tuple[str, str, str]] = (),
        *,
        complete: bool = True,
    ) -> None:
        """Write the flat tables, remove records that this bench replaced, and mark it as complete.

        ``failures`` (network, platform, what went wrong) are kept beside the request; so are earlier records of these
        pairs: a cable that was pulled takes no measurement away.  ``complete`` false: the same bench resumes.
        """
        failed = {(network, platform) for network, platform, _ in failures}
        earlier = [run for run in self.readable() if (run.network, run.platform) in failed]
        runs = [*runs, *earlier]
        write_atomic(self.folder / "runs.csv", _csv(_RUN_COLUMNS, (_run_row(run) for run in runs)))
        rows = [row for run in runs for row in _phase_rows(run)]
        write_atomic(self.folder / "phases.csv", _csv(_PHASE_COLUMNS, rows))
        _write_parquet(self.folder / "phases.parquet", rows)
        current = {record_name(run) for run in runs}
        try:
            for old in self.record_files():
                if old.name not in current:
                    old.unlink()
        except OSError as error:
            raise unwritable(self.folder, error) from error
        self._write_manifest(asked, complete=complete, failures=failures)

    @property
    def complete(self) -> bool:
        """Was the bench finished?  True for a folder without a manifest: records put together by hand."""
        manifest = self._manifest()
        return manifest is None or bool(manifest.get("complete", False))

    def save(self, run: Run) -> None:
        write_atomic(self.folder / RECORDS / record_name(run), to_json([run]).encode())

    def load(self) -> list[Run]:
        """All runs of the folder, by file name.  Raises ResultsError where there are none."""
        if not self.folder.is_dir():
            raise ResultsError(f"{self.folder}: no such folder of results", hint="hil bench --out writes one")
        runs = self.runs()
        if not runs:
            raise ResultsError(f"{self.folder}: holds no run records", hint="hil bench --out writes them")
        return runs

    def runs(self) -> list[Run]:
        """All runs of the folder, by file name; none where it holds none."""
        return [run for file in self.record_files() for run in from_json(_read(file), str(file))]

    def readable(self) -> list[Run]:
        """The runs whose records can be read; a damaged record is as good as none when a bench resumes."""
        found: list[Run] = []
        for file in self.record_files():
            with suppress(ResultsError):
                found += from_json(_read(file), str(file))
        return found

    def record_files(self) -> list[Path]:
        return sorted((self.folder / RECORDS).glob("*.json"))

    def _manifest(self) -> dict[str, Any] | None:
        try:
            manifest = json.loads((self.folder / MANIFEST).read_bytes())
        except (OSError, ValueError):
            return None
        return manifest if isinstance(manifest, dict) else None

    def _write_manifest(
        self, asked: dict[str, Any], *, complete: bool, failures: Sequence[tuple[str, str, str]] = ()
    ) -> None:
        document = {
            "schema": SCHEMA_VERSION,
            "asked": asked,
            "started": self.started,
            "complete": complete,
            "failures": failures,
        }
        write_atomic(self.folder / MANIFEST, (json.dumps(document, indent=1) + "\n").encode())


def _summary(asked: Any) -> str:
    """A request in a few words."""
    if not isinstance(asked, dict):
        return "unknown"
    return ", ".join(f"{len(asked.get(key, ()))} {key}" for key in ("networks", "platforms"))


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ResultsError(f"{file}: cannot be read: {error.strerror}") from error


_KEYS = ("network", "platform", "operating_point", "backend", "fidelity", "fits")
_FIGURES = ("latency_s", "latency_low_s", "latency_high_s", "energy_j", "energy_low_j", "energy_high_j")
_RUN_COLUMNS = (
    *_KEYS,
    "reasons",
    "fallback_ops",
    "macs",
    "parameters",
    *(f"total_{name}" for name in _FIGURES),
    *(f"steady_{name}" for name in _FIGURES),
    "energy_scope",
    "total_power_w",
    "weight_bytes",
    "weight_capacity_bytes",
    "activation_bytes",
    "activation_capacity_bytes",
    "plan_hash",
)
_PHASE_COLUMNS = (*_KEYS, "phase", *_FIGURES, "energy_scope", "power_w", "phase_fidelity")


def _figures(part: Any) -> list[Any]:
    energy = part.energy_j
    return [
        part.latency_s.mean,
        part.latency_s.low,
        part.latency_s.high,
        *((energy.mean, energy.low, energy.high) if energy is not None else (None, None, None)),
    ]


def _keys(run: Run) -> list[Any]:
    return [run.network, run.platform, run.operating_point, run.backend, run.fidelity, run.fits]


def _run_row(run: Run) -> list[Any]:
    return [
        *_keys(run),
        "; ".join(run.reasons),
        len(run.fallback_ops),
        run.network_info.macs,
        run.network_info.parameters,
        *_figures(run.total),
        *_figures(run.steady),
        run.total.energy_j.scope if run.total.energy_j else None,
        run.total.power_w,
        run.memory.weight_bytes,
        run.memory.weight_capacity_bytes,
        run.memory.activation_bytes,
        run.memory.activation_capacity_bytes,
        run.provenance.plan_hash,
    ]


def _phase_rows(run: Run) -> list[list[Any]]:
    return [
        [
            *_keys(run),
            phase,
            *_figures(part),
            part.energy_j.scope if part.energy_j else None,
            part.power_w,
            part.fidelity,
        ]
        for phase, part in run.phases.items()
    ]


def _csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return buffer.getvalue().encode()


def _write_parquet(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    """The phases as Parquet where pyarrow (extra ``[parquet]``) is installed."""
    if importlib.util.find_spec("pyarrow") is None:
        return
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    columns = {name: [row[i] for row in rows] for i, name in enumerate(_PHASE_COLUMNS)}
    sink = io.BytesIO()
    parquet.write_table(arrow.table(columns), sink)
    write_atomic(path, sink.getvalue())
