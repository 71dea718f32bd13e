from __future__ import annotations

import copy
import io

import pytest

from bench.report import terminal
from bench.report.comparison import SAME_LOAD, comparison_document, detail_tables, verdict_line
from bench.results import Json
from tests.bench.report.conftest import Compared, Made

pytestmark = pytest.mark.slow  # draws whole reports


def text_of(content: Json) -> str:
    out = io.StringIO()
    terminal.show_comparison(content, file=out)
    return out.getvalue()


def row(content: Json, title: str) -> tuple[str, ...]:
    table = comparison_document(content).tables[0]
    return next(row for row in table.rows if row[0] == title)


def valid(compared: Compared) -> Json:
    content = copy.deepcopy(compared.content)
    content["verdict"] |= {"status": "VALID", "correctness": "PASS"}
    return content


def test_the_table_has_the_figures_of_the_summaries(compared: Compared, queue: Made) -> None:
    read = queue.summary["operations"]["READ"]["latency_us"]
    cells = row(compared.content, "READ p50 | p99 ms")
    assert cells[3] == f"{read['p50'] / 1000:.1f} | {read['p99'] / 1000:.1f}"
    assert row(compared.content, "ack of a READ means")[1:] == ("nothing kept", "on disk", "on disk")
    cpu = queue.summary["resources"]
    total = sum(
        cpu[name]["cpu_s_per_1000_messages"] for name in ("server", "consumer", "mysql", "redis", "kafka")
    )
    assert row(compared.content, "CPU-s per 1,000 msgs, drained")[3] == f"{total:.1f}"


def test_it_fits_120_columns_and_ends_with_the_verdict(compared: Compared) -> None:
    *lines, last = text_of(compared.content).splitlines()
    assert max(map(len, lines)) <= 120
    assert last == verdict_line(compared.content)
    assert " all steady_chat arms=3 runs=3 READ.p99[control]=" in last


def test_it_says_what_not_to_read_into_it(compared: Compared) -> None:
    text = text_of(compared.content)
    assert SAME_LOAD in text
    assert "1 block per arm: no interval; a difference may be noise." in text


def test_the_answer_names_the_order_only_when_all_is_valid(compared: Compared) -> None:
    answer = comparison_document(valid(compared)).answer
    assert answer[0].startswith("ANSWER at this load (≈ not separated; order, not significance")
    assert answer[1].startswith("READ p99 in ms: control ")
    assert answer[1].index("redis/flags") < answer[1].index("queue/flags")
    for status in ("INVALID", "INCONCLUSIVE"):
        content = valid(compared)
        content["verdict"]["status"] = status
        assert comparison_document(content).answer == ()
        assert "ANSWER" not in text_of(content)


def test_arms_below_the_floor_are_called_not_separated(compared: Compared) -> None:
    content = valid(compared)
    for one in content["figures"]:
        if one["figure"] == "STATE.p99":
            one["not_separated"] = [["control", "redis/flags"]]
    document = comparison_document(content)
    assert "STATE p99 does not separate control and redis/flags" in document.tables[0].note


def test_figures_of_different_users_are_named(compared: Compared) -> None:
    """The queue's run had probe users enough, the others had none."""
    note = comparison_document(compared.content).tables[0].note
    assert "SEND is of the probe users in queue/flags, else of all users" in note
    assert "STATE is of" not in note
    content = copy.deepcopy(compared.content)
    for arm in content["arms"]:
        arm["summary"]["operations"]["SEND"]["from"] = "probes"
    assert "SEND is of" not in comparison_document(content).tables[0].note


def test_every_figure_is_listed_with_its_range(compared: Compared) -> None:
    table = detail_tables(compared.content)[0]
    assert len(table.rows) == len(compared.content["figures"])
    content = copy.deepcopy(compared.content)
    content["figures"][0]["values"]["control"] = 5.0
    content["figures"][0]["ranges"]["control"] = [4.0, 6.0]
    assert detail_tables(content)[0].rows[0][2] == "5.000 [4.000, 6.000]"
