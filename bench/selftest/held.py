"""A run's record in memory, to be changed row by row and judged again."""

from __future__ import annotations

from collections.abc import Mapping
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


class HeldTable(Table):
    def __init__(self, name: str, columns: Mapping[str, Array]) -> None:
        super().__init__(name, [], KINDS[name])
        self._columns = dict(columns)
        self.rows = len(next(iter(columns.values())))


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

    def history(self) -> History:
        return History(self)

    # --- changes --------------------------------------------------------------------------------------------

    def keep(self, name: str, rows: NDArray[np.bool_]) -> None:
        """Only these rows of a table are left."""
        self.tables[name] = {column: values[rows] for column, values in self.tables[name].items()}

    def drop_operation(self, row: int) -> None:
        """The operation was never made: its items go too, and the numbers close up, so that there is no
        hole."""
        operations, items = self.tables["operations"], self.tables["items"]
        op_id = int(operations["op_id"][row])
        self.keep("items", items["op_id"] != op_id)
        self.keep("operations", np.arange(len(operations["op_id"])) != row)
        for name in ("operations", "items"):
            ids = self.tables[name]["op_id"]
            ids[(ids > op_id) & (ids >> WORKER == op_id >> WORKER)] -= 1

    def repeat_operation(self, row: int, **changes: Any) -> None:
        """The operation was made twice; the second, without items, is the last of the record."""
        operations = self.tables["operations"]
        own = operations["op_id"] >> WORKER == operations["op_id"][row] >> WORKER
        changes = {"op_id": int(operations["op_id"][own].max()) + 1, "items": 0} | changes
        for column, values in operations.items():
            value = changes.get(column, values[row])
            operations[column] = np.append(values, np.array([value], values.dtype))
