"""A record with each kind of damage: told by file and row, never judged as if it were whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench import summary
from bench.metrics.history import History
from bench.metrics.whole import look, why_not
from bench.record import TABLES, Outcome, Rx
from bench.results import Json, RunFolder
from tests.bench.synthetic import S, build

Rows = NDArray[Any]


def read(folder: RunFolder, table: str, worker: int) -> Rows:
    """The rows of one shard, as a recorder would have them."""
    path = folder.path / f"{table}-{worker}.parquet"
    found = folder.table(table)
    first, after = next((a, b) for name, a, b in found.shards() if name == path.name)
    rows = np.zeros(after - first, TABLES[table])
    for column in found:
        rows[column] = found[column][first:after]
    return rows


def record_of(folder: RunFolder) -> Json:
    return look(History(folder))


def numbered(folder: RunFolder) -> None:
    """Says in the manifest what the run wrote, and between which times."""
    shards = [path.stem for path in folder.path.glob("*-[0-9].parquet")]
    operations, pushes = folder.table("operations"), folder.table("pushes")
    times = np.concatenate([operations["sent"], operations["acknowledged"], pushes["received"]])
    folder.update_manifest(
        rows={name: folder.shard_rows(name) for name in shards},
        clock={"began": int(times[times > 0].min()) - S, "ended": int(times.max()) + S},
    )


def test_a_whole_record_has_no_problem(tmp_path: Path) -> None:
    folder, world = build(tmp_path)
    numbered(folder)
    record = record_of(folder)
    assert record == {
        "rows": len(world.operations),
        "missing": 0,
        "twice": 0,
        "problems": [],
        "problem_count": 0,
    }
    assert why_not(record) == ""


@pytest.mark.parametrize("hole", [1, 37])
def test_missing_rows_are_counted_and_the_first_is_named(tmp_path: Path, hole: int) -> None:
    folder, world = build(tmp_path, hole=hole)
    record = record_of(folder)
    assert record["rows"] == len(world.operations) - hole
    assert record["missing"] == hole
    assert "operations-0.parquet: the row of operation" in record["problems"][0]


def test_rows_that_came_twice_are_counted(tmp_path: Path) -> None:
    folder, _ = build(tmp_path)
    rows = read(folder, "operations", 0)
    folder.write_rows("operations", 0, np.concatenate([rows, rows[5:6]]))
    record = record_of(folder)
    assert record["twice"] == 1
    assert "operations-0.parquet: operation 5 is there twice" in record["problems"]


@pytest.mark.parametrize("table", ["operations", "pushes", "items", "connections"])
def test_a_truncated_shard_is_told(tmp_path: Path, table: str) -> None:
    folder, _ = build(tmp_path)
    numbered(folder)
    rows = read(folder, table, 1)
    folder.write_rows(table, 1, rows[:-3])
    assert (
        f"{table}-1.parquet: {len(rows) - 3} rows, the run wrote {len(rows)}" in record_of(folder)["problems"]
    )


@pytest.mark.parametrize("table", ["operations", "pushes"])
def test_a_missing_workers_log_is_told(tmp_path: Path, table: str) -> None:
    folder, _ = build(tmp_path)
    numbered(folder)
    (folder.path / f"{table}-1.parquet").unlink()
    assert f"{table}-1.parquet is not there" in record_of(folder)["problems"][0]


def _acknowledged_early(rows: Rows) -> None:
    rows["acknowledged"][17] = rows["sent"][17] - 1


def _back(rows: Rows) -> None:
    rows["sent"][17], rows["acknowledged"][17] = rows["sent"][16] - 5, rows["sent"][16]


def _jumped(rows: Rows) -> None:
    rows["sent"][17:] += 3_600 * S
    late = rows["acknowledged"] > 0
    late[:17] = False
    rows["acknowledged"][late] += 3_600 * S


def _foreign(column: str, value: int) -> Callable[[Rows], None]:
    def damage(rows: Rows) -> None:
        rows[column][17] = value

    return damage


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (_acknowledged_early, "operations-1.parquet row 17: it was acknowledged before it was sent"),
        (_back, "operations-1.parquet row 17: its clock went backwards"),
        (_jumped, "operations-1.parquet row 17: sent is outside of the run: a clock jumped"),
        (_foreign("op", 99), "operations-1.parquet row 17: op is none of this version's"),
        (_foreign("outcome", len(Outcome)), "operations-1.parquet row 17: outcome is none of this version's"),
        (_foreign("error", 255), "operations-1.parquet row 17: error is none of this version's"),
        (_foreign("conversation", 4_000_000), "operations-1.parquet row 17: its conversation is not"),
        (_foreign("user", 4_000_000), "operations-1.parquet row 17: its user is not of this population"),
        (_foreign("value", -7), "operations-1.parquet row 17: its value is negative"),
    ],
)
def test_what_no_recorder_writes_is_told_by_file_and_row(
    tmp_path: Path, damage: Callable[[Rows], None], told: str
) -> None:
    folder, _ = build(tmp_path)
    numbered(folder)
    rows = read(folder, "operations", 1)
    rows = rows[(rows["sent"] > 0) & (rows["acknowledged"] > 0)]
    rows["op_id"] = (1 << 40) + np.arange(len(rows))
    rows = rows[np.argsort(rows["sent"], kind="stable")]
    rows["items"] = 0
    damage(rows)
    folder.write_rows("operations", 1, rows)
    assert any(problem.startswith(told) for problem in record_of(folder)["problems"])


def test_items_of_nothing_and_missing_items_are_told(tmp_path: Path) -> None:
    folder, _ = build(tmp_path)
    items = read(folder, "items", 0)
    items["op_id"][4] = 33 << 40
    folder.write_rows("items", 0, items)
    told = " ".join(record_of(folder)["problems"])
    assert "items-0.parquet row 4: the operation that it belongs to was not recorded" in told
    assert "it has not as many items as it says" in told


@pytest.mark.parametrize(("sessions", "told"), [(2, False), (1, True)])
def test_kernel_stamps_are_in_order_on_each_connection(tmp_path: Path, sessions: int, told: bool) -> None:
    """A probe users' process that is held finds seconds of stamps in its sockets, read one by one."""
    folder, _ = build(tmp_path, probe_every=4)
    rows = read(folder, "pushes", 2)
    rows = rows[np.isin(rows["session"], np.unique(rows["session"])[:sessions])]
    order = np.argsort(rows["session"] if sessions > 1 else -rows["received"], kind="stable")
    folder.write_rows("pushes", 2, rows[order])
    assert (rows["received"][order][:-1] - rows["received"][order][1:]).max() > 2 * S
    assert any("pushes-2.parquet" in problem for problem in record_of(folder)["problems"]) is told


@pytest.mark.parametrize("rx", [Rx.NONE, Rx.COALESCED])
def test_times_of_the_process_itself_are_in_order(tmp_path: Path, rx: Rx) -> None:
    folder, _ = build(tmp_path, probe_every=4)
    rows = read(folder, "pushes", 2)
    rows["rx"] = rx
    folder.write_rows("pushes", 2, rows[np.argsort(rows["session"], kind="stable")])
    assert "pushes-2.parquet" in str(record_of(folder)["problems"])


def test_a_damaged_record_is_invalid_and_no_check_passes(tmp_path: Path) -> None:
    folder, _ = build(tmp_path)
    numbered(folder)
    rows = read(folder, "pushes", 1)
    folder.write_rows("pushes", 1, rows[:-1])
    made = summary.write(folder)
    assert made["verdict"]["status"] == "INVALID"
    assert {check["verdict"] for check in made["consistency"]["checks"]} <= {"unknown", "fail"}
    (guard,) = (guard for guard in made["guards"] if guard["guard"] == "record_complete")
    assert "pushes-1.parquet" in guard["message"]


def test_an_unknown_schema_is_an_error_that_names_both_versions(tmp_path: Path) -> None:
    folder, _ = build(tmp_path)
    manifest = folder.manifest()
    folder.write_manifest(manifest | {"schema_version": 99})
    with pytest.raises(Exception, match=r"schema_version 99; this version reads \d+"):
        RunFolder.open(folder.path)


def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    folder, _ = build(tmp_path)
    path = folder.path / "operations-1.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(Exception, match=r"operations-1.parquet is damaged"):
        summary.write(folder)
