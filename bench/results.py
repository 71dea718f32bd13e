"""The result folder of a run: where it is, what is in it, how it is written and read.

`results/<UTC time>-<scheme>-<scenario>-<short id>/` holds `manifest.json`, one Parquet file per table of
`bench/record.py` and worker, what the run was made of (`conversations`, `members`, `devices`), what the store
and the cache held at the end (`final_store`, `final_cache`), how old events were when they were applied
(`queue_ages`, where there is a queue), when processes stood still (`stalls`), `timeseries.parquet`,
`findings.jsonl`, `summary.json`, `summary.csv`, `charts/` and `logs/`.  Whatever is
written appears whole or not at all (a new file, then a rename).

What the figures mean is said elsewhere: `bench/summary.py` computes them, `bench/report/` shows them.

`manifest.json`, as far as figures depend on it (`null` or absent: not known, not reached):

    schema_version  of this layout
    tool, tool_version, run_id, command, started_at (ISO 8601, UTC)
    ended           {how: running|finished|interrupted|failed|violation|not_started|internal_error, phase,
                    message}
    run             copied into the summary: scheme, scenario, users, people, seed, promises: [name],
                    ack: {send, read}, receipt_members, probe_users: {users, worker: number of their process,
                    planned_share}, ...; url, server, caps of one that ran already
    rows            {"operations-0": rows that the run wrote into that file, ...}
    clock           {began, ended}: ns of CLOCK_MONOTONIC, around all that was recorded
    load            {send_per_s, planned: rows of the plan that the run was to carry out, connections_asked}
    window          {start, measure, measure_end, drain_end}: ns of CLOCK_MONOTONIC
    deaths          [{component, at_s: seconds since window.start, phase, message: names victim and second}]
    drained         true if DRAIN said that nothing was on its way, false if something was left
    final           {asked: connections of the final read that were tried, answered, held_against: store|api}
    not_available   {request of the control door: why it could not be asked}
    ledger          {before, connected, after: {t, server: STATS, mysql, redis, kafka: {counter: value}}}, all
                    since the service started; taken at quiet moments, where the scheme is one of ours
    repeat          {series: of this command, block, place in it, blocks, order: [arm], side: A|B of an A/A
                    comparison|null}; {} of a run on its own
    fail_if         [expression]
    fail_fast       whether the run was to end at the first violation
    live            {live check: {eligible, violations, first: {user, conversation, at_ns}}}; {} where a load
                    process did not come to say its last counts
    generator       {gc_pauses, ceiling_per_s}
    watched         [{process: server|consumer|generator/0|generator/probe_users|harness, since, until: its
                    stalls are known between these, clock_apart_us: how far its clock is from the harness's at
                    least}]; the table `stalls` refers to it
    services_seen   {before, after: {service: {what: value}}}: who they were and how they were set when the
                    load began and when the measured window was over
    limits          {ports: how many one address can have}
    plan_sha256, machine, settings, ...: for the reader
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench.record import TABLES, TIMESERIES

SCHEMA_VERSION: Final = 2
TOOL: Final = "readstate-bench"
ROOT: Final = Path("results")
LATEST: Final = "latest"
LATEST_COMPARISON: Final = "latest-comparison"

CONVERSATIONS: Final = np.dtype([("kind", "<u1"), ("history", "<u4")])
"""One row per conversation, by index.  kind: 0 direct, 1 group.  history: how many messages were seeded."""
MEMBERS: Final = np.dtype([("conversation", "<u4"), ("user", "<u4"), ("read_seq", "<u4")])
"""Who is in them, in member order (seeded seq i is from member (i - 1) mod n), and where each had read to."""
DEVICES: Final = np.dtype([("device", "<u4"), ("user", "<u4")])
FINAL_STORE: Final = np.dtype(
    [
        ("conversation", "<u4"),
        ("user", "<u4"),
        ("read_seq", "<i8"),
        ("delivered_seq", "<i8"),
        ("version", "<i8"),
        ("last_seq", "<i8"),
    ]
)
"""What DUMP {source: store} answered after the drain; `final_cache` is the same of the cache, where the
scheme has one: of what is cached, in no order, a member possibly twice."""
QUEUE_AGES: Final = np.dtype([("t", "<i8"), ("above_us", "<i8"), ("within_us", "<i8"), ("applied", "<i8")])
"""What LAG told each second: until t (ns of CLOCK_MONOTONIC) so many events had been applied at ages from
`above_us` up to `within_us`, counted from the start.  Classes that did not grow since the last sample are
left out."""
STALLS: Final = np.dtype([("process", "<u1"), ("kind", "<u1"), ("at", "<i8"), ("length_us", "<u4")])
"""What stood still (`bench.record.Stall`): noticed at `at`, for so long before.  `process` is the number of
an entry of `watched` in the manifest."""
ONCE: Final = {
    "conversations": CONVERSATIONS,
    "members": MEMBERS,
    "devices": DEVICES,
    "final_store": FINAL_STORE,
    "final_cache": FINAL_STORE,
    "queue_ages": QUEUE_AGES,
    "stalls": STALLS,
}
"""Tables that a run writes once: `<table>.parquet`."""

Array = NDArray[Any]
Rows = Mapping[str, Array]
Json = dict[str, Any]


class ResultsError(Exception):
    """A result folder that cannot be used: what came, what was expected, what to do."""


class Table(Mapping[str, Array]):
    """One table of a run, merged over its workers: column name -> array.  Columns are read when asked for."""

    def __init__(self, name: str, files: Sequence[Path], dtype: np.dtype[Any]) -> None:
        self.name = name
        self._files = files
        self._dtypes = {column: dtype[column] for column in dtype.names or () if not column.startswith("_")}
        self._columns: dict[str, Array] = {}
        self._open = [_parquet(file) for file in files]  # once: to open takes longer than a column does
        self._rows = [int(file.metadata.num_rows) for file in self._open]
        self.rows = sum(self._rows)

    def __getitem__(self, column: str) -> Array:
        if column not in self._dtypes:
            raise KeyError(f"table {self.name} has no column {column!r}")
        if column not in self._columns:
            self._columns[column] = self._read(column)
        return self._columns[column]

    def __iter__(self) -> Iterator[str]:
        return iter(self._dtypes)

    def __len__(self) -> int:
        return len(self._dtypes)

    def replace(self, column: str, values: Array) -> None:
        """From now on the column is this: one correction that everyone who holds this table sees."""
        if column not in self._dtypes or len(values) != self.rows:
            raise ValueError(f"table {self.name}: {len(values)} values for {self.rows} rows of {column!r}")
        self._columns[column] = values.astype(self._dtypes[column], copy=False)

    def shards(self) -> Iterator[tuple[str, int, int]]:
        """(file name, its first row, the row after its last) for each file of the table."""
        first = 0
        for file, rows in zip(self._files, self._rows, strict=True):
            yield file.name, first, first + rows
            first += rows

    def place(self, row: int) -> tuple[str, int]:
        """(file name, row in that file) of a row of the merged table."""
        for file, first, after in self.shards():
            if first <= row < after:
                return file, row - first
        raise IndexError(f"table {self.name} has {self.rows} rows, asked for row {row}")

    def forget(self) -> None:
        """Gives the memory of the columns read so far back."""
        self._columns.clear()

    def _read(self, column: str) -> Array:
        dtype = self._dtypes[column]
        parts = [
            part
            for path, file in zip(self._files, self._open, strict=True)
            for part in _chunks(path, file, column, dtype)
        ]
        return np.concatenate(parts) if parts else np.empty(0, dtype)


class RunFolder:
    """One run on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.charts = path / "charts"
        self.logs = path / "logs"

    @property
    def run_id(self) -> str:
        return self.path.name

    @classmethod
    def create(
        cls, root: Path = ROOT, *, scheme: str, scenario: str, now: datetime, short_id: str = ""
    ) -> RunFolder:
        """A new, empty folder whose manifest says that the run is under way.  `now` is UTC.

        Raises ResultsError if it cannot be made."""
        name = f"{_stamp(now)}-{scheme}-{scenario}-{short_id or secrets.token_hex(3)}"
        folder = cls(_make(root / name))
        folder.write_manifest(
            {
                "run_id": name,
                "started_at": now.isoformat(timespec="seconds"),
                "run": {"scheme": scheme, "scenario": scenario},
                "ended": {"how": "running", "phase": "setup", "message": ""},
            }
        )
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The run in this folder.  Raises ResultsError if there is none that this version can read."""
        folder = cls(Path(os.path.realpath(path)))
        folder.manifest()
        return folder

    # --- the manifest and other JSON ----------------------------------------------------------------------

    def manifest(self) -> Json:
        manifest = _read_json(self.path / "manifest.json", "a run's folder, as bench run makes it")
        if manifest.get("tool") != TOOL:
            raise ResultsError(
                f"{self.path / 'manifest.json'} was not written by {TOOL} "
                f"(its tool is {manifest.get('tool')!r}). Give a run, such as results/latest."
            )
        if manifest.get("schema_version") != SCHEMA_VERSION:
            raise ResultsError(
                f"{self.path} has schema_version {manifest.get('schema_version')!r}; this version reads "
                f"{SCHEMA_VERSION}. Use the version of the tool that made it "
                f"({manifest.get('tool_version', 'unknown')}), or run the benchmark again."
            )
        return manifest

    def write_manifest(self, manifest: Json) -> None:
        _write_json(self.path / "manifest.json", {"schema_version": SCHEMA_VERSION, "tool": TOOL, **manifest})

    def update_manifest(self, **changes: Any) -> Json:
        """Replaces top-level keys; returns the new manifest."""
        manifest = {**self.manifest(), **changes}
        self.write_manifest(manifest)
        return manifest

    def summary(self) -> Json:
        """Raises ResultsError if there is none (`bench report RUN` makes it again)."""
        return _read_json(self.path / "summary.json", "a summary; bench report RUN makes it again")

    def write_summary(self, summary: Json) -> None:
        _write_json(self.path / "summary.json", summary)

    def findings(self) -> list[Json]:
        path = self.path / "findings.jsonl"
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text().splitlines()]

    def write_findings(self, findings: Iterable[Json]) -> None:
        text = "".join(json.dumps(finding) + "\n" for finding in findings)
        write_text(self.path / "findings.jsonl", text)

    # --- tables -------------------------------------------------------------------------------------------

    def write_rows(self, table: str, worker: int, rows: Array) -> None:
        """One worker's rows of a table of `bench.record.TABLES`, but the columns that begin with `_`."""
        _check_dtype(table, rows, TABLES)
        _write_parquet(self.path / f"{table}-{worker}.parquet", _arrow(rows))

    def write_once(self, table: str, rows: Array) -> None:
        """A table of `ONCE`, whole."""
        _check_dtype(table, rows, ONCE)
        _write_parquet(self.path / f"{table}.parquet", _arrow(rows))

    def write_timeseries(self, samples: Iterable[tuple[int, str, str, float]]) -> None:
        """All samples (t in ns, component, metric, value), in place of what was there."""
        _write_parquet(self.path / "timeseries.parquet", _samples(samples))

    def append_timeseries(self, samples: Iterable[tuple[int, str, str, float]]) -> None:
        path = self.path / "timeseries.parquet"
        new = _samples(samples)
        _write_parquet(path, pa.concat_tables([_parquet(path).read(), new]) if path.exists() else new)

    def table(self, name: str) -> Table:
        """A table of the run, merged over workers.  A table that was never written has no rows.

        Raises ResultsError for a damaged file."""
        if name in TABLES:
            return Table(name, self._shards(name), TABLES[name])
        path = self.path / f"{name}.parquet"
        return Table(name, [path] if path.exists() else [], ONCE[name])

    def shard_rows(self, shard: str) -> int | None:
        """How many rows `<table>-<worker>.parquet` has; None where it is not there."""
        path = self.path / f"{shard}.parquet"
        return int(_parquet(path).metadata.num_rows) if path.exists() else None

    def has(self, name: str) -> bool:
        """Whether any of the table was written."""
        return bool(self._shards(name)) or (self.path / f"{name}.parquet").exists()

    def timeseries(self) -> dict[str, Array]:
        """t, component, metric, value: one entry per sample."""
        path = self.path / "timeseries.parquet"
        if not path.exists():
            return {name: np.empty(0, _NUMPY[kind]) for name, kind in TIMESERIES}
        file = _parquet(path)
        chunks = {name: _chunks(path, file, name, _NUMPY[kind]) for name, kind in TIMESERIES}
        return {
            name: np.concatenate(chunks[name] or [np.empty(0, _NUMPY[kind])]) for name, kind in TIMESERIES
        }

    def _shards(self, name: str) -> list[Path]:
        files = self.path.glob(f"{name}-*.parquet")
        numbered = [file for file in files if file.stem.rpartition("-")[2].isdigit()]
        return sorted(numbered, key=lambda file: int(file.stem.rpartition("-")[2]))


# --- many runs --------------------------------------------------------------------------------------------


def create_comparison(root: Path = ROOT, *, now: datetime, short_id: str = "") -> Path:
    """`results/<UTC time>-compare-<short id>/` with its charts folder."""
    return _make(root / f"{_stamp(now)}-compare-{short_id or secrets.token_hex(3)}")


def create_check(root: Path = ROOT, *, now: datetime, short_id: str = "") -> Path:
    """`results/<UTC time>-check-<short id>/` with its charts folder."""
    return _make(root / f"{_stamp(now)}-check-{short_id or secrets.token_hex(3)}")


def point(root: Path, link: str, target: Path) -> None:
    """Makes `root/link` (`latest`, `latest-comparison`) a relative link to a folder in `root`."""
    new = root / f".{link}-{secrets.token_hex(3)}"
    try:
        new.symlink_to(target.name)
        new.replace(root / link)
    except OSError as why:
        with suppress(FileNotFoundError):
            new.unlink()
        raise ResultsError(
            f"{root / link} could not be made a link to {target.name}: {why.strerror}. Remove what is there."
        ) from why


def runs(root: Path = ROOT) -> list[RunFolder]:
    """The runs in `root`, newest first.  Folders without a manifest of ours are none of our business."""
    return [RunFolder(path) for path in ours(root) if (path / "manifest.json").exists()]


def clean(root: Path = ROOT, *, keep: int) -> list[Path]:
    """Removes all runs and comparisons but the newest `keep`, and links that then lead nowhere.

    Returns what was removed.  Touches nothing that this tool did not make."""
    old = ours(root)[max(0, keep) :]
    for path in old:
        shutil.rmtree(path)
    for link in (root / LATEST, root / LATEST_COMPARISON):
        if link.is_symlink() and not link.exists():
            link.unlink()
    return old


def ours(root: Path) -> list[Path]:
    """The folders of runs and comparisons in `root`, newest first."""
    if not root.is_dir():
        return []
    folders = [path for path in root.iterdir() if path.is_dir() and not path.is_symlink()]
    return sorted((path for path in folders if _is_ours(path)), key=lambda path: path.name, reverse=True)


def _is_ours(path: Path) -> bool:
    if (path / "comparison.json").exists() and "-compare-" in path.name:
        return True
    if (path / "check.json").exists() and "-check-" in path.name:
        return True
    try:
        return bool(_read_json(path / "manifest.json", "").get("tool") == TOOL)
    except ResultsError:
        return False


# --- files ------------------------------------------------------------------------------------------------

_NUMPY: Final = {"int64": np.dtype("<i8"), "float64": np.dtype("<f8"), "string": np.dtype(object)}


def write_text(path: Path, text: str) -> None:
    """The whole text or nothing: a new file beside it, then a rename.  Raises ResultsError."""
    new = path.with_name(f".{path.name}.new")
    try:
        new.write_text(text)
        new.replace(path)
    except OSError as why:
        raise _unwritable(path, why) from why
    finally:
        new.unlink(missing_ok=True)


def _write_json(path: Path, content: Json) -> None:
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def _read_json(path: Path, expected: str) -> Json:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise ResultsError(f"{path} does not exist. Expected {expected}.") from None
    except OSError as why:
        raise ResultsError(f"{path} cannot be read: {why.strerror}.") from why
    except ValueError as why:
        raise ResultsError(
            f"{path} is damaged ({why}). Expected {expected}. Run the benchmark again."
        ) from why
    if not isinstance(content, dict):
        raise ResultsError(f"{path} holds a JSON {type(content).__name__}. Expected {expected}.")
    return content


def _stamp(now: datetime) -> str:
    return now.strftime("%Y%m%dT%H%M%SZ")


def _make(path: Path) -> Path:
    try:
        (path / "charts").mkdir(parents=True)
        (path / "logs").mkdir()
    except OSError as why:
        raise _unwritable(path, why) from why
    return path


def _unwritable(path: Path, why: OSError) -> ResultsError:
    return ResultsError(
        f"{path} could not be written: {why.strerror or why}. Results go to a folder with room and write "
        "permission; choose another with --out."
    )


def _check_dtype(table: str, rows: Array, tables: Mapping[str, np.dtype[Any]]) -> None:
    if table not in tables:
        raise KeyError(f"no table {table!r}; there are {', '.join(tables)}")
    if rows.dtype != tables[table]:
        raise TypeError(f"rows of {table} have dtype {rows.dtype}, expected {tables[table]}")


def _arrow(rows: Array) -> pa.Table:
    names = [name for name in rows.dtype.names or () if not name.startswith("_")]
    return pa.table({name: _arrow_column(rows[name]) for name in names})


# (`pa.array` and `to_numpy` would do, but import pandas first, which takes a second.)


def _arrow_column(values: Array) -> Any:
    buffer = pa.py_buffer(np.ascontiguousarray(values).data)
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, buffer])


def _arrow_strings(values: Sequence[str]) -> Any:
    encoded = [value.encode() for value in values]
    ends = np.cumsum([0, *map(len, encoded)]).astype(np.int32)
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(ends.data), pa.py_buffer(b"".join(encoded)))


def _samples(samples: Iterable[tuple[int, str, str, float]]) -> pa.Table:
    columns = list(zip(*samples, strict=True)) or [()] * len(TIMESERIES)
    return pa.table(
        {
            name: _arrow_strings(column)
            if kind == "string"
            else _arrow_column(np.array(column, _NUMPY[kind]))
            for (name, kind), column in zip(TIMESERIES, columns, strict=True)
        }
    )


def _write_parquet(path: Path, table: pa.Table) -> None:
    new = path.with_name(f".{path.name}.new")
    try:
        pq.write_table(table, new, compression="zstd")
        new.replace(path)
    except OSError as why:
        raise _unwritable(path, why) from why
    finally:
        new.unlink(missing_ok=True)


def _parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as why:
        raise _damaged(path, why) from why


def _chunks(path: Path, file: pq.ParquetFile, name: str, dtype: np.dtype[Any]) -> list[Array]:
    """One column of one file.  Strings are Python's own."""
    try:
        column = file.read([name], use_threads=True).column(0)
    except (OSError, IndexError, pa.ArrowException) as why:
        raise _damaged(path, why, name) from why
    if dtype.kind == "O":
        return [np.array(column.to_pylist(), object)]
    if column.type != pa.from_numpy_dtype(dtype) or column.null_count:
        raise _damaged(path, f"it holds {column.type} with {column.null_count} nulls", name)
    return [_numbers(chunk, dtype) for chunk in column.chunks if len(chunk)]


def _numbers(chunk: Any, dtype: np.dtype[Any]) -> Array:
    return np.frombuffer(chunk.buffers()[1], dtype, len(chunk), chunk.offset * dtype.itemsize)


def _damaged(path: Path, why: Exception | str, column: str = "") -> ResultsError:
    what = f"its column {column!r}" if column else "it"
    return ResultsError(
        f"{path} is damaged or foreign: {what} cannot be read ({why}). Expected a Parquet file as bench run "
        "writes it. Remove the file to report on the rest of the run, or run the benchmark again."
    )
