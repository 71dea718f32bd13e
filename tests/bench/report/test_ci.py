from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from bench.gate import decide
from bench.gate.baseline import Baseline
from bench.gate.tolerances import asked
from bench.report import ci
from bench.results import Json
from tests.bench.gate.made import run, runs

KEPT = Baseline("main", "2026-11-20", tuple(runs("a", 10, 1)))
SLO = ("READ.p99 < 80ms",)


def content(of: Any, fail_if: tuple[str, ...] = ()) -> Json:
    return decide.check(KEPT, of, asked(fail_if, SLO), command="bench check --baseline main")


CASES: dict[str, Json] = {
    "same": content(runs("b", 10, 2)),
    "worse": content(runs("b", 10, 2, worse=0.5)),
    "better": content(runs("b", 10, 2, worse=-0.4)),
    "open": content(runs("b", 10, 2, noise=10.0)),
    "invalid": content([run("x", status="INVALID")]),
    "broken": content([*runs("b", 10, 2), run("<bad>\x01", violations=2)]),
    "nothing": decide.refused("no comparable baseline: there is none", command="bench check"),
}
SUITE = ["properties", "testcase", "system-out", "system-err"]
SHAPE: dict[str, tuple[set[str], list[str]]] = {
    "testsuites": (set(), ["testsuite"]),
    "testsuite": (
        {"id", "package", "name", "timestamp", "hostname", "tests", "failures", "errors", "skipped", "time"},
        SUITE,
    ),
    "properties": (set(), ["property"]),
    "property": ({"name", "value"}, []),
    "testcase": ({"classname", "name", "time"}, ["failure", "error"]),
    "failure": ({"type", "message"}, []),
    "error": ({"type", "message"}, []),
    "system-out": (set(), []),
    "system-err": (set(), []),
}
"""What the schema of Apache Ant's JUnit report wants: attributes, and children in this order."""


def junit(case: str) -> ET.Element:
    text = ci.junit(CASES[case], datetime(2026, 11, 20, 12, 30, tzinfo=UTC), "runner-1")
    return ET.fromstring(text.split("\n", 1)[1])


@pytest.mark.parametrize("case", CASES)
def test_junit_has_the_shape_that_its_readers_know_and_counts_that_add_up(case: str) -> None:
    root = junit(case)
    for element in root.iter():
        attributes, children = SHAPE[element.tag]
        assert set(element.attrib) == attributes
        there = [child.tag for child in element]
        assert there == sorted(there, key=children.index)
    (suite,) = root
    assert (suite.attrib["timestamp"], suite.attrib["hostname"]) == ("2026-11-20T12:30:00", "runner-1")
    assert list(dict.fromkeys(child.tag for child in suite)) == SUITE
    for kind in ("failure", "error"):
        assert int(suite.attrib[f"{kind}s"]) == len(list(root.iter(kind)))
    assert int(suite.attrib["tests"]) == len(list(root.iter("testcase")))


def test_junit_says_how_the_check_is_repeated() -> None:
    named = {each.attrib["name"]: each.attrib["value"] for each in junit("worse").iter("property")}
    assert named["command"] == "bench check --baseline main"
    assert (named["baseline"], named["exit_code"], named["outcome"]) == ("main", "11", "REGRESSION")


@pytest.mark.parametrize("case", CASES)
def test_junit_is_green_exactly_where_the_exit_code_is(case: str) -> None:
    root, code = junit(case), CASES[case]["verdict"]["exit_code"]
    bad = len(list(root.iter("failure"))) + len(list(root.iter("error")))
    assert (bad == 0) == (code == 0)


def test_junit_names_what_is_worse_and_what_is_broken() -> None:
    failed = {
        case.attrib["name"] for case in junit("worse").iter("testcase") if case.find("failure") is not None
    }
    assert "READ.p99 no worse than 25%" in failed
    assert "messages_per_s no worse than 5%" not in failed
    broken = [case for case in junit("broken").iter("testcase") if case.find("failure") is not None]
    assert [case.attrib["name"] for case in broken] == ["durable: acknowledged_reads"]
    assert "<bad>?" in broken[0].find("failure").attrib["message"]  # type: ignore[union-attr]


def test_annotations_say_each_reason_in_one_line() -> None:
    assert ci.workflow_commands(CASES["same"])[0].startswith("::notice title=bench check::")
    worse = ci.workflow_commands(CASES["worse"])
    assert all(line.startswith("::error title=bench check::") for line in worse)
    assert len(worse) == len(CASES["worse"]["verdict"]["reasons"])
    assert ci.workflow_commands(CASES["open"])[0].startswith("::warning ")
    assert ci.escaped("50 %\nof it\r") == "50 %25%0Aof it%0D"
    assert all("\n" not in line for case in CASES.values() for line in ci.workflow_commands(case))


def test_dashboards_have_the_candidate_s_figures_in_their_units() -> None:
    same = CASES["same"]
    smaller = {entry["name"]: entry for entry in ci.action_benchmark(same, bigger=False)}
    bigger = [entry["name"] for entry in ci.action_benchmark(same, bigger=True)]
    entry = smaller["steady_chat/redis READ.p99"]
    assert entry["unit"] == "ms"
    assert entry["value"] == pytest.approx(40, rel=0.1)
    assert entry["range"].startswith("± ")
    assert {"name", "unit", "value", "range", "extra"} == set(entry)
    assert "steady_chat/redis messages_per_s" in bigger
    assert not set(smaller) & set(bigger)


def test_bencher_has_measures_with_bounds_around_the_value() -> None:
    (measures,) = ci.bencher(CASES["same"]).values()
    measure = measures["read-p99-ms"]
    assert measure["lower_value"] <= measure["value"] <= measure["upper_value"]
    assert measure["value"] == pytest.approx(40, rel=0.1)


def test_where_nothing_was_compared_dashboards_get_nothing() -> None:
    assert ci.action_benchmark(CASES["nothing"], bigger=False) == []
    assert ci.bencher(CASES["nothing"]) == {}
