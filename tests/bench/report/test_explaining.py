"""A finding as text: every record with its times and connection, the promise, and what to look at."""

from __future__ import annotations

import pytest

from bench.report.explaining import should_show, story
from bench.report.findings import count_line, found, heading, table
from bench.results import Json
from tests.bench.report.findings_made_up import FILLER, HELD, SEED, STALE, STALE_FILL, WRITE, finding, record

REDIS: Json = {"scheme": "redis", "options": {"cache-ttl": "30"}}


def told(one: Json, run: Json = REDIS) -> str:
    return "\n".join(story(one, heading(one), run))


def test_the_whole_story() -> None:
    text = told(STALE_FILL)
    assert text.startswith("f1 · linearizable (not promised) · 29 times\nThe STATE of u17 is < the READ.\n")
    assert "  2.000000      100 ms  STATE (shows 7), suspected: read MySQL before the commit" in text
    assert "u17 · session 0x1b; server 90 ms: MySQL 8.1 ms, Redis 1.2 ms; op_id 2100, device 20" in text
    assert "does not promise `linearizable` (all reads and writes of a cursor happen one after" in text
    assert "The worst of 29 of one cause." in text
    assert "--guard lease" in text
    assert "its TTL ends (30 s)" in text
    assert "op_id in [2100, 2140, 43350]" in text


def test_the_timeline_in_characters() -> None:
    lines = told(STALE_FILL).splitlines()
    fill, write, stale = (next(line for line in lines if mark in line and "|" in line) for mark in "?=✗")
    assert fill.index("?") < write.index("=") < write.rindex("=") < fill.rindex("?") < stale.index("✗")
    assert "//" in fill


@pytest.mark.parametrize(
    ("one", "run", "said"),
    [
        (finding(WRITE, STALE), REDIS, "was a delete lost?"),
        (finding(WRITE, STALE), {"scheme": "queue"}, "how far the consumer was behind"),
        (finding(WRITE, HELD, promise="durable", promised=True, kind="lost acknowledgement"), REDIS,
         "what died or was restarted"),
        (finding(SEED, STALE), {"scheme": "db"}, "op_id in [43350]"),
    ],
)  # fmt: skip
def test_what_to_look_at_depends_on_what_happened(one: Json, run: Json, said: str) -> None:
    text = told(one, run)
    assert said in text
    assert "--guard lease" not in text


def test_a_broken_promise_is_called_a_violation() -> None:
    text = told(finding(WRITE, HELD, promise="durable", promised=True))
    assert "redis promises `durable` (what was acknowledged is kept" in text
    assert "this is a violation" in text


def test_one_of_several_names_the_worst_and_who_else_found_it() -> None:
    text = told(finding(WRITE, STALE, id="f7", episode="f2", also=["stale_at_end"]))
    assert "One of 29 of one cause; f2 is the worst of them." in text
    assert "Also found by stale_at_end." in text


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ((WRITE, STALE), "should show 9"),
        ((SEED, record("read", "STATE", 2, 1.0, 0.1)), "should show 3"),
        ((record("before", "READ", 9, 0.5, 0.1), record("read", "STATE", 12, 1.0, 0.1)), "stale"),
        ((WRITE, {**HELD, "value": 12}), "stale: should show at most 9"),
        ((WRITE, record("push", "push READ", 9, 1.0, 0.1)), "stale"),
    ],
)
def test_what_should_have_been_shown(records: tuple[Json, ...], said: str) -> None:
    assert should_show(finding(*records)) == said


# --- the table and the page -----------------------------------------------------------------------------


def test_the_table_has_a_row_for_each_cause() -> None:
    others = [
        finding(FILLER, WRITE, STALE, id="f2", episode="f1"),
        finding(SEED, STALE, id="f3", episode="f3"),
    ]
    rows = table([STALE_FILL, *others]).rows
    assert rows == (
        ("f1", "linearizable", "no", "29", "41.2 s", "The STATE of u17 is < the READ."),
        ("f3", "linearizable", "no", "29", "41.2 s", "The STATE of u17 is < the READ."),
    )


def test_the_page_draws_the_worst_ten_and_lists_thirty() -> None:
    many = [finding(WRITE, STALE, id=f"f{n}", episode=f"f{n}", user=n, age_s=None) for n in range(1, 41)]
    shown = found(many)
    assert shown is not None
    assert [story.name for story in shown.stories] == [f"f{n}" for n in range(1, 11)]
    assert len(shown.table.rows) == 30
    assert "The worst 30 of 40." in shown.table.note
    assert found([]) is None


@pytest.mark.parametrize(
    ("causes", "said"),
    [(0, ""), (1, "1 finding: bench explain R"), (1200, "1,200 findings: bench explain R")],
)
def test_the_summary_says_how_many_and_how_to_read_them(causes: int, said: str) -> None:
    assert count_line({"consistency": {"checks": [], "causes": causes}, "run_id": "R"}) == said
