from __future__ import annotations

import pytest

from bench.report.document import Table
from bench.report.html import LONG, WIDE, _table


@pytest.mark.parametrize(
    ("columns", "cell", "whole"),
    [(3, "1", False), (WIDE, "1", True), (3, "1" * (LONG // 3), False), (3, "1" * (LONG // 3 + 1), True)],
)
def test_a_table_that_would_be_cut_off_has_the_page_s_width(columns: int, cell: str, whole: bool) -> None:
    table = Table("t", ("", *["a heading, which wraps"] * (columns - 1)), ((cell,) * columns,))
    assert ('class="whole"' in _table(table)) is whole


def test_remarks_wrap_and_need_no_room() -> None:
    assert 'class="whole"' not in _table(Table("t", ("", "n", ""), (("a", "1", "a remark " * 20),)))


def test_a_value_of_many_words_may_wrap() -> None:
    """`stopped by: READ p99, at the server (locks and pool)` pushed the last arm's column off the page."""
    long = "READ p99, at the server (locks and pool)"
    page = _table(Table("t", ("", "db", "redis"), (("stopped by", long, "READ p99"),)))
    assert f"<td class=words>{long}</td><td>READ p99</td>" in page
