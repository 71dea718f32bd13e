"""`docs/anomalies.md` has the table as the rows are, and says of each row what happens."""

from __future__ import annotations

import re

from tests.anomalies.page import PAGE
from tests.anomalies.rows import ALL, NAMES
from tests.anomalies.table import page


def test_the_page_has_the_table() -> None:
    assert page(ALL) in PAGE.read_text(), "run: python -m tests.anomalies.page"


def test_the_page_tells_every_row() -> None:
    told = " ".join(re.findall(r"^- \*\*(.*?)\*\*", PAGE.read_text(), re.MULTILINE))
    assert [name for name in NAMES if not re.search(rf"\b{name}\b", told)] == []


def test_names_are_given_once() -> None:
    assert len(set(NAMES)) == len(NAMES)
