"""A run's record in memory, to be changed row by row and judged again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.metrics.history import History
from bench.record import TABLES
from bench.results import ONCE, Array, Json, RunFolder, Table

RECORDED: Final = Path(__file__).parent / "recorded"
"""A clean run."""
KINDS: Final = {**TABLES, **ONCE}
WORKER: Final = 40
"""An op_id is its worker << 40 | its row number in it."""
_WORKERS: Final = {
    "operations": ("op_id", WORKER),
    "items": ("op_id", WORKER),
    "pushes": ("session", 24),
    "connections": ("session", 24),
}
"""Which column says who wrote a row, above how many bits."""


class HeldTable(Table):
    def __init__(self, name: str, columns: Mapping[str, Array]) -> None:
        super().__init__(name, [], KINDS[name])
        self._columns = dict(columns)
        self.rows = len(next(iter(columns.values())))

    def shards(self) -> Iterator[tuple[str, int, int]]:
        if self.name not in _WORKERS:
            yield f"{self.name}.parquet", 0, self.rows
            return
        column, bits = _WORKERS[self.name]
        worker = self[column].astype(np.int64) >> bits
        first = np.flatnonzero(np.diff(worker, prepend=-1)).tolist()
        for start, end in zip(first, [*first[1:], self.rows], strict=True):
            yield f"{self.name}-{worker[start]}.parquet", start, end


class Record(RunFolder):
    """The tables of one run, each a dictionary of columns that may be changed in place."""

    def __init__(self, manifest: Json, tables: dict[str, dict[str, Array]]) -> None:
        super().__init__(Path(str(manifest.get("run_id"))))
        self._manifest = manifest
        self.tables = tables

    @classmethod
    def load(cls, path: Path = RECORDED) -> Record:
        """Raises ResultsError for a damaged folder."""
        folder = RunFolder.open(path)
        tables = {}
        for name in KINDS:
            table = folder.table(name)
            tables[name] = {column: table[column] for column in table}
        return cls(folder.manifest(), tables)

    def copy(self) -> Record:
        tables = {
            name: {column: values.copy() for column, values in columns.items()}
            for name, columns in self.tables.items()
        }
        return Record(self._manifest, tables)

    def manifest(self) -> Json:
        return self._manifest

    def table(self, name: str) -> Table:
        return HeldTable(name, self.tables[name])

    def has(self, name: str) -> bool:
        return self.table(name).rows > 0

    def history(self) -> History:
        return History(self)

    # --- changes --------------------------------------------------------------------------------------------

    def keep(self, name: str, rows: NDArray[Any]) -> None:
        """Only these rows of a table are left, in this order."""
        self.tables[name] = {column: values[rows] for column, values in self.tables[name].items()}

    def insert(self, name: str, row: int, at: int, **changes: Any) -> None:
        """The same row once more, but for these columns, before row `at`."""
        table = self.tables[name]
        for column, values in table.items():
            value = np.array(changes.get(column, values[row]), values.dtype)
            table[column] = np.insert(values, at, value)

    def drop_operation(self, row: int) -> None:
        """The operation was never made: its items go too."""
        operations, items = self.tables["operations"], self.tables["items"]
        self.keep("items", items["op_id"] != operations["op_id"][row])
        self.keep("operations", np.arange(len(operations["op_id"])) != row)
        self.in_order()

    def repeat_operation(self, row: int, **changes: Any) -> None:
        """The operation was made twice; the second is without items."""
        self.insert("operations", row, row + 1, **{"items": 0, "op_id": -1, **changes})
        self.in_order()

    def drop_item(self, item: int) -> None:
        """Its operation has one less."""
        operations, items = self.tables["operations"], self.tables["items"]
        owner = operations["op_id"] == items["op_id"][item]
        operations["items"][owner] -= 1
        self.keep("items", np.arange(len(items["op_id"])) != item)

    def in_order(self) -> None:
        """Operations of one worker are written as they are sent, and numbered so: closes up holes, too.  What
        has op_id -1 is of the worker of the row before it."""
        operations, items = self.tables["operations"], self.tables["items"]
        worker = np.maximum.accumulate(operations["op_id"]) >> WORKER
        when = np.where(operations["sent"] > 0, operations["sent"], operations["intended"])
        order = np.lexsort((when, worker))
        self.keep("operations", order)
        operations = self.tables["operations"]
        worker, old = worker[order], operations["op_id"]
        number = np.arange(len(worker)) - np.searchsorted(worker, worker)
        by_old = np.argsort(old)
        new = (worker << WORKER) | number
        items["op_id"] = new[by_old[np.searchsorted(old, items["op_id"], sorter=by_old)]]
        operations["op_id"] = new

    def move_push(self, row: int, received: int) -> int:
        """The push came at another moment, so at another place of its worker's record; returns which."""
        pushes = self.tables["pushes"]
        worker = pushes["session"] >> 24
        rows = np.delete(np.arange(len(worker)), row)
        same = rows[worker[rows] == worker[row]]
        after = same[pushes["received"][same] <= received]
        first = int(np.flatnonzero(worker == worker[row])[0])
        at = int(np.searchsorted(rows, after[-1])) + 1 if len(after) else first
        pushes["received"][row] = received
        self.keep("pushes", np.insert(rows, at, row))
        return at
