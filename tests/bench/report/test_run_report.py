"""One run, as terminal, Markdown and HTML say it."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest

from bench.guards import GUARDS
from bench.report import figures, markdown, tables, terminal
from bench.report.figures import MISSING
from bench.report.html import page
from bench.report.run_report import detail_tables, run_document, verdict_line
from bench.results import Json
from tests.bench.report.conftest import Made


def shown(summary: Json, manifest: Json, **how: Any) -> str:
    out = io.StringIO()
    terminal.show(summary, manifest, file=out, **how)
    return out.getvalue()


@pytest.fixture
def text(redis: Made) -> str:
    return shown(redis.summary, redis.folder.manifest())


def test_plain_text_has_no_codes_and_fits_120_columns(text: str) -> None:
    *lines, last = text.splitlines()
    assert "\x1b" not in text
    assert max(map(len, lines)) <= 120
    assert not any(line.endswith(" ") for line in lines)
    assert last.startswith("VERDICT ")


def test_one_screen(text: str) -> None:
    """Of a run in which much went wrong, and each of it has a row."""
    assert len(text.splitlines()) <= 68


def test_pushes_and_unread_numbers_have_a_row_where_they_were_wrong(control: Made, redis: Made) -> None:
    def rows(made: Made) -> list[str]:
        return [row[0] for row in tables.how_wrong(made.summary).rows]

    assert rows(control)[:4] == list(tables.WRONG.values())
    assert tables.WRONG_IF_FOUND["push_gaps"] in rows(redis)
    assert tables.WRONG_IF_FOUND["push_gaps"] not in rows(control)


def test_the_first_line_says_who_ran_where(redis: Made) -> None:
    manifest = copy.deepcopy(redis.folder.manifest())
    assert shown(redis.summary, manifest).startswith(
        "Cores: generator and everything under test share all cores"
    )
    manifest["run"]["pinned"] = "generator: core 0 · under test: 1 of 2 cores"
    assert shown(redis.summary, manifest).startswith("Cores: generator: core 0 · under test: 1 of 2 cores\n")


def test_a_server_of_somebody_else_s_says_what_is_not_available(redis: Made) -> None:
    summary = copy.deepcopy(redis.summary)
    summary["run"] |= {"url": "ws://h/ws", "server": {"name": "chat", "version": "2"}, "caps": ["trace"]}
    summary["not_available"] = {"SEED": "no secret", "DUMP": "no secret", "STATS": "not offered"}
    del summary["resources"]["server"]
    said = shown(summary, redis.folder.manifest())
    for line in (
        "Server: ws://h/ws, chat 2; caps trace",
        "Not available on /control: SEED, DUMP (no secret)",
        "Not available on /control: STATS (not offered)",
        "What was acknowledged is held against what the API shows at the end, not a store",
        "CPU and memory of the server: not available (no --server-pid was given)",
    ):
        assert f"\n{line}\n" in said
    assert "ot available on /control" not in shown(redis.summary, redis.folder.manifest())


def test_the_last_line_is_a_greppable_verdict(redis: Made) -> None:
    words = verdict_line(redis.summary).split()
    verdict = redis.summary["verdict"]
    assert words[:5] == ["VERDICT", verdict["status"], verdict["correctness"], "redis", "steady_chat"]
    assert all("=" in word for word in words[5:])
    p99 = redis.summary["operations"]["SEND"]["latency_us"]["p99"]
    assert f"SEND.p99={p99 / 1000:g}ms" in words
    assert f"exit={verdict['exit_code']}" in words


def test_a_lower_bound_is_one_in_the_verdict_line_too(redis: Made) -> None:
    summary = copy.deepcopy(redis.summary)
    summary["operations"]["READ"]["latency_us"] |= {"p99": 5_000_000, "at_least": ["p99", "max"]}
    assert " READ.p99>=5000ms " in verdict_line(summary)


def test_stages_that_overlap_are_named(redis: Made) -> None:
    summary = copy.deepcopy(redis.summary)
    assert "add up to more" not in shown(summary, redis.folder.manifest())
    summary["operations"]["READ"]["mean_ms"]["other"] = -9.0
    assert "READ: the server told stages that add up to more than its own time" in shown(
        summary, redis.folder.manifest()
    )


def test_quiet_is_the_verdict_line_alone(redis: Made) -> None:
    assert shown(redis.summary, redis.folder.manifest(), quiet=True) == verdict_line(redis.summary) + "\n"


def test_a_terminal_gets_colour(redis: Made) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    terminal.show(redis.summary, redis.folder.manifest(), file=out)
    assert "\x1b[" in out.getvalue()


def test_it_answers_how_fast_how_many_how_far_behind_what_was_busy(redis: Made, text: str) -> None:
    figures = redis.summary
    assert f"{figures['operations']['READ']['count']:,}" in text
    assert f"{figures['load']['connections_held']} of {figures['load']['connections_asked']}" in text
    assert f"{figures['lag']['receipt']['undelivered']}" in text
    assert "cache hits 90.0 %" in text
    assert "An ACK means: SEND on disk, READ on disk" in text
    assert "DEADLINE" in text


def test_what_was_wrong_is_told_with_what_n_could_have_shown(redis: Made) -> None:
    summary = copy.deepcopy(redis.summary)
    for check in summary["consistency"]["checks"]:
        if check["name"] == "linearizable":
            check |= {"violations": 3, "upper_bound_95": 0.00042, "worst": {"age_s": 41.2}, "eligible": 9_000}
            check |= {"episodes": 2}
        if check["name"] == "stale_at_end":
            check |= {"verdict": "unknown", "unknown_because": "it did not finish", "upper_bound_95": None}
    rows = {row[0]: row[1:] for row in tables.how_wrong(summary).rows}
    assert rows["reads that do not show what was complete"] == (
        "9,000", "3", "2", "0.00042", "41.2 s", "no"
    )  # fmt: skip
    assert rows["cursors stale when nothing was on its way"][3] == MISSING
    assert rows["cursors stale when nothing was on its way"][-1] == "unknown: it did not finish"


def test_what_was_not_measured_is_said_with_its_reason(text: str) -> None:
    assert "queue not available: no queue" in " ".join(text.split())


def test_a_lag_that_the_polls_cannot_tell_from_none_is_an_upper_bound(redis: Made) -> None:
    rows = {row[0]: row for row in tables.how_far_behind(redis.summary).rows}
    assert rows["L5 durable"][2].startswith("≤0.")
    assert not rows["L6 cache"][2].startswith("≤")
    assert rows["L6 cache"][-2:] == (f"0 of {redis.summary['lag']['cache']['eligible']}", "0")


def test_events_behind_and_how_soon_a_read_shows_it_are_told(queue: Made) -> None:
    note = tables.how_far_behind(queue.summary).note
    assert "events behind in 41 samples: p50 17, max 17" in note
    assert "a read shows it: 0 % at 0–2 ms, 100 % at 10–20 ms, 100 % at 100–200 ms after the ACK" in note
    (table,) = tables.how_soon(queue.summary)
    assert len(table.rows) == 12
    assert table.rows[-1] == ("5–6 s", "0", MISSING, MISSING)


def test_badges_are_told_by_cause(redis: Made) -> None:
    spent = redis.summary["badge"]["error_s_per_user_hour"]
    assert f"lost {figures.digits(spent['lost'])}, resurrected 0)" in tables.how_wrong(redis.summary).note
    (table,) = tables.how_badges_are(redis.summary)
    assert [row[0].split(":")[0] for row in table.rows] == ["late", "lost", "resurrected", "all"]
    assert spent["late"] > 0
    summary = copy.deepcopy(redis.summary)
    summary["badge"] = {"available": False, "why_not": "nobody was told"}
    assert tables.how_badges_are(summary) == ()
    assert tables.how_wrong(summary).note.startswith("badges: not available: nobody was told")


def test_every_objection_is_there_with_its_advice(redis: Made) -> None:
    manifest = redis.folder.manifest()
    reason = {"guard": "send_lag", "verdict": "invalid", "message": "late by 9 ms", "advice": "Lower --rate."}
    summary = copy.deepcopy(redis.summary)
    summary["verdict"] |= {"status": "INVALID", "reasons": [reason]}
    document = run_document(summary, manifest)
    assert document.verdict[0].startswith("TIMING INVALID · ")
    silent = sum(guard["verdict"] == "unknown" for guard in summary["guards"])
    assert silent
    counted = f"{len(GUARDS) - 1 - silent}/{len(GUARDS)} guards, {silent} not known"
    assert f" · {counted} · " in document.verdict[0]
    assert document.certificate is not None
    assert document.certificate.title == f"Certificate: {counted}"
    assert document.verdict[1] == "INVALID send_lag: late by 9 ms. Lower --rate."
    assert document.good is False


def test_the_certificate_has_every_guard_and_what_objects_first(redis: Made) -> None:
    summary = copy.deepcopy(redis.summary)
    summary["guards"][3] |= {"verdict": "invalid", "value": 41.0, "threshold": 60, "message": "41 of 60"}
    document = run_document(summary, redis.folder.manifest())
    assert document.certificate is not None
    rows = document.certificate.rows
    assert rows[0] == ("connections_held", "invalid", "41", "60", "41 of 60")
    assert sorted(row[0] for row in rows) == sorted(guard["guard"] for guard in summary["guards"])
    verdicts = list(dict.fromkeys(row[1] for row in rows))
    assert verdicts == ["invalid", "warn", "not known", "ok"]


@pytest.mark.parametrize(("status", "folded"), [("VALID", True), ("INVALID", False), ("INCONCLUSIVE", False)])
def test_the_certificate_is_folded_where_all_is_well(redis: Made, status: str, folded: bool) -> None:
    summary = copy.deepcopy(redis.summary)
    summary["verdict"] |= {"status": status, "correctness": "PASS", "reasons": []}
    document = run_document(summary, redis.folder.manifest())
    shown = page(document, (), (), ())
    assert ('<details class="certificate"><summary>Certificate: ' in shown) == folded
    assert ('<details class="certificate" open><summary>' in shown) != folded
    assert shown.index('class="verdict') < shown.index('class="certificate"') < shown.index('class="tables"')
    assert "<summary>Certificate: " in markdown.markdown(document, (), ())


def test_a_hub_bound_read_is_marked(redis: Made) -> None:
    summary = copy.deepcopy(redis.summary)
    assert "hub-bound" not in shown(summary, redis.folder.manifest())
    summary["operations"]["READ"]["hub_bound"] = True
    assert "READ (hub-bound)" in shown(summary, redis.folder.manifest())


def test_a_partial_run_is_marked(redis: Made) -> None:
    summary = copy.deepcopy(redis.summary)
    summary["ended"]["how"] = "interrupted"
    assert "PARTIAL: interrupted" in shown(summary, redis.folder.manifest())


# --- single figures -----------------------------------------------------------------------------------------


def q(**values: Any) -> dict[str, Any]:
    return {"n": 5, "p50": 1_000, "p99": None, "low_n": [], "at_least": [], **values}


def test_a_percentile_without_samples_is_a_dash() -> None:
    assert tables.quantile(q(), "p99") == "–"
    assert tables.quantile(None, "p99") == "–"


def test_few_samples_lower_bounds_and_the_resolution_are_marked() -> None:
    assert tables.quantile(q(), "p50") == "1.00"
    assert tables.quantile(q(low_n=["p50"]), "p50") == "1.00*"
    assert tables.quantile(q(at_least=["p50"]), "p50") == "≥1.00"
    assert tables.quantile(q(), "p50", 201) == "1.00±0.2"
    assert tables.quantile(q(), "p50", 200) == "1.00"


# --- Markdown -----------------------------------------------------------------------------------------------


def test_markdown_tables_have_as_many_cells_as_headings(redis: Made) -> None:
    document = run_document(redis.summary, redis.folder.manifest())
    text = markdown.markdown(document, [], detail_tables(redis.summary))
    widths: list[int] = []
    for line in text.splitlines():
        if not line.startswith("|"):
            widths = []
            continue
        widths.append(line.replace("\\|", "").count("|"))
        assert widths[0] == widths[-1], line
    assert "`VERDICT " in text


def test_markdown_keeps_what_it_would_take_for_its_own(redis: Made) -> None:
    document = run_document(redis.summary, redis.folder.manifest())
    assert "steady\\_chat" in markdown.markdown(document, [], [])
