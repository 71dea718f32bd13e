from __future__ import annotations

import copy
import csv
import io
from itertools import pairwise

import pytest

from bench.report import terminal
from bench.report.comparison import SAME_LOAD, comparison_document, detail_tables, to_csv, verdict_line
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


def with_blocks(content: Json) -> Json:
    """As if each arm had six blocks: READ p99 with intervals, and db's ratio to redis."""
    for arm in content["arms"]:
        arm["run_ids"] = [arm["run_ids"][0]] * 6
    labels = [arm["label"] for arm in content["arms"]]
    content["order"] = [{"series": "s", "blocks": [labels, labels[::-1]] * 3}]
    read = next(one for one in content["figures"] if one["figure"] == "READ.p99")
    read["values"] = dict(zip(labels, (2_000, 12_400, 24_800), strict=True))
    read["blocks"] = dict.fromkeys(labels, 6)
    read["intervals"] = dict(zip(labels, ([1_900, 2_100], [11_900, 13_100], [24_000, 25_500]), strict=True))
    read["ratios"] = [
        {"arms": [one, other], "value": 0.5, "interval": [0.48, 0.52], "paired": True, "blocks": 6}
        for one, other in pairwise(labels)
    ]
    read["not_separated"] = []
    return content


def test_six_blocks_are_told_with_their_intervals(compared: Compared) -> None:
    content = with_blocks(valid(compared))
    document, text = comparison_document(content), text_of(content)
    assert "12.4 ms [11.9, 13.1]" in text
    assert "6 blocks per arm, interleaved in a random order" in text
    assert "no interval" not in text
    assert document.answer[0] == "ANSWER at this load (≈ not separated; [95 % intervals])"
    assert "redis/flags 12.4 [11.9, 13.1] (× 2.00 [1.92, 2.08]) <" in document.answer[1]
    assert max(map(len, text.splitlines()[:-1])) <= 120


def test_every_interval_is_in_the_page_and_the_csv(compared: Compared) -> None:
    content = with_blocks(valid(compared))
    every, ratios = detail_tables(content)
    assert every.title == "Every figure: middle block [95 % interval over the blocks]"
    assert "12,400 [11,900, 13,100]" in next(row for row in every.rows if row[0] == "READ.p99")
    assert ("READ p99", "control / redis/flags", "× 0.500 [0.480, 0.520]", "6 pairs") in ratios.rows
    lines = list(csv.DictReader(io.StringIO(to_csv(content))))
    one = next(line for line in lines if (line["figure"], line["arm"]) == ("READ.p99", "redis/flags"))
    assert (one["value"], one["low"], one["high"], one["blocks"]) == ("12400", "11900", "13100", "6")
    over = next(line for line in lines if line["figure"] == "READ.p99" and line["over"])
    assert (over["arm"], over["low"], over["paired"]) == ("control", "0.48", "1")


def test_few_blocks_have_no_interval_anywhere(compared: Compared) -> None:
    assert "With intervals" not in text_of(compared.content)
    assert {line["low"] for line in csv.DictReader(io.StringIO(to_csv(compared.content)))} == {""}
    assert (compared.out / "comparison.csv").read_text() == to_csv(compared.content)


def with_drivers(content: Json, p99_ms: tuple[float, float, float, float]) -> Json:
    """redis and queue with both drivers: READ p99 of redis, queue (aiomysql), redis, queue (asyncmy)."""
    content["verdict"]["reasons"] = []
    _, redis, queue = content["arms"]
    made = []
    for driver in ("aiomysql", "asyncmy"):
        for one in (redis, queue):
            arm = copy.deepcopy(one)
            arm["label"] = f"{one['label']} driver={driver}"
            arm["summary"]["run"]["mysql_driver"] = driver
            arm["summary"]["run"].pop("durability", None)
            made.append(arm)
    content["arms"] = made
    labels = [arm["label"] for arm in made]
    read = next(one for one in content["figures"] if one["figure"] == "READ.p99")
    read |= {
        "values": {label: 1000 * ms for label, ms in zip(labels, p99_ms, strict=True)},
        "not_separated": [], "intervals": {}, "ratios": [],
    }  # fmt: skip
    content["figures"] = [read]
    return content


def test_an_order_that_flips_with_the_driver_depends_on_it(compared: Compared) -> None:
    document = comparison_document(with_drivers(valid(compared), (20, 30, 25, 15)))
    assert document.answer[1] == (
        "READ p99 in ms: depends on the client library: "
        "with aiomysql redis/flags driver=aiomysql 20.0 < queue/flags driver=aiomysql 30.0; "
        "with asyncmy queue/flags driver=asyncmy 15.0 < redis/flags driver=asyncmy 25.0"
    )
    assert not any("depends on" in caveat for caveat in document.caveats)


def test_an_order_that_does_not_flip_is_told_as_any_other(compared: Compared) -> None:
    document = comparison_document(with_drivers(valid(compared), (20, 30, 15, 25)))
    assert document.answer[1].startswith("READ p99 in ms: redis/flags driver=asyncmy 15.0 < ")
    assert document.answer[1].count(" < ") == 3
    said = "Measured with aiomysql and asyncmy: no order given above depends on the client library."
    assert said in document.caveats


def test_arms_that_are_not_separated_with_one_driver_do_not_flip(compared: Compared) -> None:
    content = with_drivers(valid(compared), (20, 30, 25, 24.5))
    read = content["figures"][0]
    read["not_separated"] = [["queue/flags driver=asyncmy", "redis/flags driver=asyncmy"]]
    assert "depends on the client library:" not in comparison_document(content).answer[1]
