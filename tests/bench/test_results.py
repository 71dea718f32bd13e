"""The result folder: what is written comes back; what is foreign or damaged is refused in words."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench import results
from bench.record import OPERATIONS, PUSHES
from bench.results import LATEST, MEMBERS, ResultsError, RunFolder
from tests.bench.synthetic import build, rows

NOW = datetime(2025, 3, 1, 12, 30, 45, tzinfo=UTC)


def new(root: Path, **changes: object) -> RunFolder:
    return RunFolder.create(root, **{"scheme": "redis", "scenario": "steady_chat", "now": NOW} | changes)


def test_a_new_folder_says_what_it_is(tmp_path: Path) -> None:
    folder = new(tmp_path, short_id="abc123")
    assert folder.path.name == "20250301T123045Z-redis-steady_chat-abc123"
    assert folder.charts.is_dir()
    assert folder.logs.is_dir()
    assert RunFolder.open(folder.path).manifest()["ended"]["how"] == "running"


def test_two_runs_in_one_second_have_two_folders(tmp_path: Path) -> None:
    assert new(tmp_path).path != new(tmp_path).path


def test_rows_of_all_workers_come_back_in_their_order(tmp_path: Path) -> None:
    folder = new(tmp_path)
    parts = [
        rows(OPERATIONS, [{"op_id": worker << 40 | i, "op": 5} for i in range(3)]) for worker in (0, 2, 10)
    ]
    for worker, part in zip((10, 0, 2), (parts[2], parts[0], parts[1]), strict=True):
        folder.write_rows("operations", worker, part)
    table = folder.table("operations")
    assert table.rows == 9
    assert table["op_id"].tolist() == np.concatenate(parts)["op_id"].tolist()
    assert table["op"].dtype == OPERATIONS["op"]


def test_padding_stays_out_of_the_files(tmp_path: Path) -> None:
    folder = new(tmp_path)
    folder.write_rows("operations", 0, rows(OPERATIONS, [{"op_id": 1}]))
    table = folder.table("operations")
    assert not [name for name in table if name.startswith("_")]
    assert set(table) == {name for name in OPERATIONS.names or () if not name.startswith("_")}
    with pytest.raises(KeyError, match="_pad"):
        table["_pad"]


def test_a_table_that_was_never_written_is_empty(tmp_path: Path) -> None:
    table = new(tmp_path).table("pushes")
    assert table.rows == 0
    assert table["received"].dtype == PUSHES["received"]
    assert not new(tmp_path).has("pushes")
    assert len(new(tmp_path).timeseries()["t"]) == 0


def test_rows_of_another_table_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="dtype"):
        new(tmp_path).write_rows("pushes", 0, rows(OPERATIONS, []))
    with pytest.raises(KeyError, match="no table 'shoes'"):
        new(tmp_path).write_rows("shoes", 0, rows(OPERATIONS, []))


def test_a_replaced_column_is_replaced_for_every_holder(tmp_path: Path) -> None:
    folder = new(tmp_path)
    folder.write_rows("operations", 0, rows(OPERATIONS, [{"outcome": 0}, {"outcome": 1}]))
    table = folder.table("operations")
    table.replace("outcome", np.array([3, 1]))
    assert table["outcome"].tolist() == [3, 1]
    with pytest.raises(ValueError, match="1 values for 2 rows"):
        table.replace("outcome", np.array([3]))


def test_time_series_are_added_to(tmp_path: Path) -> None:
    folder = new(tmp_path)
    folder.append_timeseries([(1, "server", "cpu_s", 0.5)])
    folder.append_timeseries([(2, "mysql", "Com_select", 7.0)])
    samples = folder.timeseries()
    assert samples["t"].tolist() == [1, 2]
    assert samples["component"].tolist() == ["server", "mysql"]
    assert samples["value"].tolist() == [0.5, 7.0]
    folder.write_timeseries([])
    assert len(folder.timeseries()["t"]) == 0


def test_once_tables_and_findings(tmp_path: Path) -> None:
    folder = new(tmp_path)
    folder.write_once("members", rows(MEMBERS, [{"conversation": 3, "user": 4, "read_seq": 5}]))
    assert folder.table("members")["read_seq"].tolist() == [5]
    assert folder.findings() == []
    folder.write_findings([{"check": "a"}, {"check": "b"}])
    assert [finding["check"] for finding in folder.findings()] == ["a", "b"]


def test_the_manifest_can_be_changed_in_part(tmp_path: Path) -> None:
    folder = new(tmp_path)
    folder.update_manifest(drained=True)
    assert folder.manifest()["drained"] is True
    assert folder.manifest()["run"]["scheme"] == "redis"


# --- what cannot be used ----------------------------------------------------------------------------------


def test_a_folder_without_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"manifest\.json does not exist"):
        RunFolder.open(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is damaged"),
        ("[1]", "holds a JSON list"),
        (json.dumps({"tool": "k6", "schema_version": 1}), "was not written by readstate-bench .*'k6'"),
        (
            json.dumps({"tool": "readstate-bench", "schema_version": 9, "tool_version": "7.1"}),
            "schema_version 9.*7.1",
        ),
    ],
)
def test_a_foreign_or_damaged_manifest(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ResultsError, match=message):
        RunFolder.open(tmp_path)


def test_a_damaged_table(tmp_path: Path) -> None:
    folder, _ = build(tmp_path, people=6, measure_s=2, groups=0)
    (folder.path / "operations-0.parquet").write_bytes(b"PAR1 not really PAR1")
    with pytest.raises(ResultsError, match=r"operations-0\.parquet is damaged or foreign"):
        folder.table("operations")


def test_a_foreign_table_lacks_its_columns(tmp_path: Path) -> None:
    folder, _ = build(tmp_path, people=6, measure_s=2, groups=0)
    (folder.path / "pushes-0.parquet").write_bytes((folder.path / "devices.parquet").read_bytes())
    with pytest.raises(ResultsError, match="its column 'received' cannot be read"):
        folder.table("pushes")["received"]


def test_no_room_is_told_and_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = new(tmp_path)
    folder.write_rows("operations", 0, rows(OPERATIONS, [{"op_id": 5}]))
    before = folder.manifest()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ResultsError, match="No space left on device"):
        folder.write_manifest({"run": {}})
    with pytest.raises(ResultsError, match="No space left on device"):
        folder.write_rows("operations", 0, rows(OPERATIONS, []))
    monkeypatch.undo()
    assert folder.manifest() == before
    assert folder.table("operations")["op_id"].tolist() == [5]
    assert not list(folder.path.glob(".*"))


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(ResultsError, match=r"could not be written.*--out"):
        new(tmp_path / "results")


def test_no_summary_yet(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="bench report"):
        new(tmp_path).summary()


# --- many runs --------------------------------------------------------------------------------------------


def some(root: Path, count: int) -> list[RunFolder]:
    return [new(root, now=NOW + timedelta(seconds=i)) for i in range(count)]


def test_runs_are_listed_newest_first_and_others_left_out(tmp_path: Path) -> None:
    made = some(tmp_path, 3)
    (tmp_path / "baselines").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    results.create_comparison(tmp_path, now=NOW)
    results.point(tmp_path, LATEST, made[-1].path)
    assert [run.path for run in results.runs(tmp_path)] == [run.path for run in reversed(made)]
    assert results.runs(tmp_path / "nowhere") == []


def test_latest_is_a_relative_link_that_moves(tmp_path: Path) -> None:
    first, second = some(tmp_path, 2)
    results.point(tmp_path, LATEST, first.path)
    results.point(tmp_path, LATEST, second.path)
    assert (tmp_path / LATEST).readlink() == Path(second.path.name)
    assert RunFolder.open(tmp_path / LATEST).run_id == second.run_id
    assert not list(tmp_path.glob(".latest*"))


def test_a_folder_in_the_way_of_latest_is_told(tmp_path: Path) -> None:
    (tmp_path / LATEST).mkdir()
    with pytest.raises(ResultsError, match="Remove what is there"):
        results.point(tmp_path, LATEST, some(tmp_path, 1)[0].path)


def test_clean_keeps_the_newest_and_what_is_not_ours(tmp_path: Path) -> None:
    made = some(tmp_path, 4)
    comparison = results.create_comparison(tmp_path, now=NOW - timedelta(days=1))
    (comparison / "comparison.json").write_text("{}")
    (tmp_path / "baselines").mkdir()
    results.point(tmp_path, LATEST, made[0].path)
    removed = results.clean(tmp_path, keep=2)
    assert sorted(removed) == sorted([made[0].path, made[1].path, comparison])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["baselines", made[2].path.name, made[3].path.name]
    )


def test_reading_and_writing_needs_no_pandas(tmp_path: Path) -> None:
    """It takes a second to import, and half as long as many a command."""
    program = (
        "import sys, pathlib; from tests.bench.synthetic import build; from bench.summary import write;"
        f"write(build(pathlib.Path({str(tmp_path)!r}), people=6, measure_s=2, groups=0)[0]);"
        "sys.exit('pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_column_of_another_type_is_foreign(tmp_path: Path) -> None:
    folder = new(tmp_path)
    pq.write_table(
        pa.table({"conversation": ["a"], "user": ["b"], "read_seq": ["c"]}), folder.path / "members.parquet"
    )
    with pytest.raises(ResultsError, match="it holds string with 0 nulls"):
        folder.table("members")["user"]
