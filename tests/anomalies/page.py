"""Writes the table in `docs/anomalies.md` anew: `python -m tests.anomalies.page`."""

from __future__ import annotations

import re
from pathlib import Path

from tests.anomalies.rows import ALL
from tests.anomalies.table import page

PAGE = Path(__file__).parents[2] / "docs" / "anomalies.md"
_TABLE = re.compile(r"^\| row .*?\n\n", re.DOTALL | re.MULTILINE)

if __name__ == "__main__":
    PAGE.write_text(_TABLE.sub(lambda _: page(ALL) + "\n", PAGE.read_text()))
