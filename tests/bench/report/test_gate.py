from __future__ import annotations

import io
import re

import pytest

from bench.report import effects, gate, html, markdown, terminal
from bench.results import Json
from tests.bench.report.test_ci import CASES


def text(case: str) -> str:
    out = io.StringIO()
    terminal.render(gate.check_document(CASES[case]), file=out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("same", "PASS: no worse than the tolerances"),
        ("worse", "REGRESSION"),
        ("better", "PASS: no worse"),
        ("open", "CAN'T TELL"),
        ("invalid", "INVALID"),
        ("broken", "VIOLATION"),
        ("nothing", "CAN'T TELL"),
    ],
)
def test_the_first_words_are_the_verdict_in_every_form(case: str, said: str) -> None:
    document = gate.check_document(CASES[case])
    code = CASES[case]["verdict"]["exit_code"]
    assert document.verdict[0].startswith(said)
    for shown in (text(case), markdown.markdown(document, (), ()), html.page(document, (), (), ())):
        assert f"exit {code}" in shown
        assert f"exit={code}" in shown
    assert text(case).splitlines()[-1].startswith("VERDICT ")


@pytest.mark.parametrize("case", ["same", "worse", "better", "open"])
def test_effect_interval_smallest_effect_and_the_command_are_in_the_comment(case: str) -> None:
    said = gate.comment(CASES[case])
    row = next(row for row in CASES[case]["change"]["rows"] if row["metric"] == "READ.p99")
    assert f"× {row['ratio']:.3f} [{row['interval'][0]:.3f}, {row['interval'][1]:.3f}]" in said
    assert "Smallest effect that could be seen: " in said
    assert "Again: bench check --baseline main" in said
    assert "unpaired: 10 runs against 10" in said


def test_what_decides_nothing_is_folded_in_the_comment() -> None:
    before, folded = gate.comment(CASES["same"]).split("<details>")
    assert "READ p99, ms" in before
    assert "SEND p99, ms" not in before
    assert "SEND p99, ms" in folded
    assert "<details>" not in gate.comment(CASES["nothing"])


def test_what_could_have_been_missed_is_said() -> None:
    assert "Not seen, and could be there: READ p99 worse by up to" in text("open")


def test_a_second_for_a_thousand_messages_is_a_millisecond_for_each() -> None:
    said = gate.comment(CASES["worse"])
    assert "| CPU per message, ms |" in said
    assert re.search(r"CPU per message \+\S+ ms \[", said)


def test_what_was_left_out_is_named() -> None:
    assert "Left out: x (INVALID: operations were sent late)" in text("invalid")
    entries = [{"run_id": name, "why": "INVALID" if name < "y" else "alone"} for name in "tuvwxy"]
    assert gate.left_out(entries) == ("Left out: t, u, v and 2 more (INVALID)", "Left out: y (alone)")


def test_the_chart_s_title_is_the_finding_worse_first() -> None:
    def finding(case: str) -> str:
        change: Json = CASES[case]["change"]
        return effects.finding(change)

    assert finding("worse").startswith("CPU per message, READ p50")
    assert "; throughput the same" in finding("worse")
    assert "better" in finding("better")
    assert "cannot be told" in finding("open")


@pytest.mark.parametrize("case", ["worse", "open"])
def test_the_chart_is_drawn_with_every_figure_that_decides(case: str) -> None:
    made = effects.chart(CASES[case]["change"], "check.json")
    assert made is not None
    chart, pictures = made
    assert chart.files == ("check.json",)
    for title in ("CPU per message", "READ p99", "throughput"):
        assert title in pictures.inline


def test_no_chart_where_nothing_has_a_ratio() -> None:
    assert effects.chart({"rows": [], "sides": []}, "check.json") is None
