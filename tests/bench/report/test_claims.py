"""`bench claims` as people read it: what each claim is, the grid, the chart and the paragraph to quote."""

from __future__ import annotations

import json
from pathlib import Path

from bench import report
from bench.claims.claims import judge
from bench.report.claims import claims_document, finding, quote, verdict_line
from tests.bench.claims.made_up import burst, cell, content

JUDGED = judge(
    content(
        cell((6.0, 300.0), (1.0, 900.0), (0.5, 3000.0)),
        cell((3.0, 500.0), (2.0, 600.0), reads_per_mark=1.0),
        burst=burst(9.0, 90.0),
    )
)


def test_every_claim_has_a_row_with_its_verdict() -> None:
    claims, grid, columns = claims_document(JUDGED).tables
    assert [row[1] for row in claims.rows] == [claim["verdict"] for claim in JUDGED["claims"]]
    latency = claims.rows[0]
    assert latency[1] == "not reproduced"
    assert latency[2].startswith("6 [5.")
    assert "db 6.00 ms [5.88, 6.12] → redis 1.00 ms [1.00, 1.00]" in latency[3]
    assert len(grid.rows) == 2
    assert [row[0] for row in columns.rows] == ["db", "redis", "queue"]


def test_the_paragraph_stands_by_itself() -> None:
    said = quote(JUDGED)
    assert "6 [5." in said
    assert "history 5/20, pool holds all, 19 reads per mark" in said
    assert "the article's 15 times as fast was not reproduced: MySQL would have to need" in said
    assert "That the queue absorbs bursts was not reproduced" in said


def test_the_last_line_counts_and_ends_with_the_exit_code() -> None:
    line = verdict_line(JUDGED)
    assert line.startswith("VERDICT VALID UNKNOWN claims point_reads reproduced=")
    assert " latency=6 " in line
    assert line.endswith("exit=0")


def test_page_markdown_and_chart_say_the_same(tmp_path: Path) -> None:
    report.claims_study(JUDGED, tmp_path)
    page, text = (tmp_path / "report.html").read_text(), (tmp_path / "summary.md").read_text()
    assert f'aria-label="{finding(JUDGED)}"' in page
    assert finding(JUDGED).startswith(
        "Redis in front of MySQL, in 2 settings: latency 1.5 to 6 (article: 15)"
    )
    svg = (tmp_path / "charts" / "claims.svg").read_text()
    for label in ("article: 15", "article: 10", "5/20 · pool holds all · 19 reads/mark"):
        assert label in svg
    assert (tmp_path / "charts" / "claims.png").stat().st_size > 10_000
    for table in claims_document(JUDGED).tables:
        assert table.title in page
        assert table.title in text


def test_nothing_measured_is_a_report_too(tmp_path: Path) -> None:
    nothing = judge(json.loads(json.dumps(content(interrupted=True))))
    report.claims_study(nothing, tmp_path)
    assert "nothing was measured" in (tmp_path / "summary.md").read_text()
    assert not (tmp_path / "charts").exists()
