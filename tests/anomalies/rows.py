"""All rows: importing the modules that make them fills the table."""

from __future__ import annotations

from tests.anomalies import rows_db, rows_queue, rows_redis
from tests.anomalies.table import NOT_YET, ROWS, in_order

MODULES = (rows_db, rows_redis, rows_queue)
ALL = tuple(in_order(ROWS))
NAMES = (*(row.name for row in ALL), *(row.name for row in NOT_YET))
