"""What a message costs, as the report and a comparison show it."""

from __future__ import annotations

from typing import Any

from bench.compare import FIGURES, Run
from bench.report.tables import WORK, work_ledger, work_per_message

EACH = {
    "rows": 9.97,
    "commits": 3.08,
    "mysql_round_trips": 13.25,
    "redis_round_trips": 2.5,
    "round_trips": 15.75,
    "redis_commands": 4.0,
    "records": 0.0,
    "pushes": 5.91,
    "fsyncs": None,
    "log_bytes": 2048.0,
    "network_bytes": 10240.0,
}


def summary(**changes: Any) -> dict[str, Any]:
    rows = [
        {"counter": "mysql.Com_update", "at_least": 1000, "at_most": 1010, "counted": 1040, "off": 0.0297}
    ]
    ledger = {
        "available": True,
        "messages": 1481,
        "per_message": EACH,
        "rows": rows,
        "measured_not_declared": ["fsyncs", "log_bytes", "network_bytes"],
    }
    return {"ledger": ledger | changes}


def test_a_message_has_one_line_and_says_what_was_only_measured() -> None:
    (table,) = work_per_message(summary())
    shown = dict(zip(WORK, table.rows[0][1:], strict=True))
    assert (shown["rows"], shown["log_bytes"], shown["network_bytes"]) == ("9.97", "2.00", "10.0")
    assert shown["fsyncs"] == "–"
    assert "Measured, not declared: fsyncs, log KiB, network KiB." in table.note
    assert "at most 3.0 % off" in table.note


def test_the_whole_ledger_has_a_row_for_each_counter() -> None:
    (table,) = work_ledger(summary())
    assert table.rows == (("mysql.Com_update", "1,000", "1,010", "1,040", "3.0 %"),)


def test_a_run_without_a_ledger_has_neither_table() -> None:
    none: tuple[dict[str, Any], ...] = ({}, {"ledger": {"available": False, "why_not": "a foreign server"}})
    for without in (*none, summary(messages=0)):
        assert work_per_message(without) == ()
    for without in none:
        assert work_ledger(without) == ()


def test_a_comparison_takes_its_figures_from_the_ledger() -> None:
    run = Run("a", {**summary(), "operations": {}, "resources": {}, "run": {}}, {})
    names = {
        "rows_written": "rows",
        "commits": "commits",
        "mysql_statements": "mysql_round_trips",
        "redis_commands": "redis_commands",
        "round_trips": "round_trips",
        "records": "records",
        "pushes": "pushes",
        "fsyncs": "fsyncs",
        "log_bytes": "log_bytes",
    }
    of = {figure.name: figure.of for figure in FIGURES}
    assert {name: of[f"{name}_per_message"](run) for name in names} == {
        name: EACH[each] for name, each in names.items()
    }
