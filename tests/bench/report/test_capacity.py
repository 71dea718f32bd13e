"""The first screen of a capacity study and its two charts, from made-up steps."""

from __future__ import annotations

import copy
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench import report
from bench.capacity import beside, content, ratios, winners, words
from bench.capacity.search import FOUND, GENERATOR, NONE, Bracket, Check, Found
from bench.options import RunOptions
from bench.report import crossover, load_curves, markdown, robustness, terminal, trade_off
from bench.report.capacity import capacity_document, verdict_line
from bench.report.ceiling import ceiling
from bench.results import Json

SLO = "READ.p99<50ms, lag.receipt.p99<500ms, errors<0.1%"
BASE = 25.0
CHARTS = ("load-latency", "trade-off", "crossover", "robustness")
WORK = {
    "rows": 9.1, "commits": 15.2, "mysql_round_trips": 58.0, "redis_commands": 12.3, "round_trips": 71.0,
    "records": 0.0, "pushes": 8.83, "fsyncs": None, "log_bytes": 10240.0, "network_bytes": 20480.0,
}  # fmt: skip


def q(p50: float, p99: float) -> Json:
    return {"n": 2000, "p50": round(1000 * p50), "p99": round(1000 * p99), "low_n": []}


def step(load: float, capacity: float, stage: str = "staircase", lag: float = 30.0) -> Json:
    """READ p99 doubles with the load until the capacity, and is beyond the objective after it."""
    held = load < capacity
    slow = 10 * 2 ** (load / capacity) if held else 400.0
    operation = {
        "count": 900,
        "ok": 900,
        "fail": 0,
        "info": 0,
        "from": "all",
        "latency_us": q(slow / 8, slow),
    }
    return {
        "load": load, "stage": stage, "block": -1, "said": "holds" if held else "fails",
        "binding": "" if held else "READ p99, in MySQL", "share": slow / 50, "why": "", "measure_s": 10.0,
        "run_id": "r1", "step": "steps/000", "conditions": [],
        "figures": {
            "operations": {name: dict(operation) for name in ("READ", "SEND", "STATE")},
            "lag": {"receipt": {"quantiles": q(lag / 3, lag), "eligible": 900, "undelivered_share": 0.0}},
            "cpu_s_per_1000_messages": {"server": 3.0, "mysql": 2.5, "generator": 9.0},
            "rss_bytes": {"server": 100 * 2**20, "mysql": 300 * 2**20},
            "stores": {},
            "ledger": WORK,
            "resolution_floor_us": 400,
            "foreign_cores": 0.05,
            "badge": {"available": True, "error_s_per_user_hour": {"total": 0.4}},
            "consistency": [{"name": "linearizable", "promised": False, "eligible": 3000, "violations": 0}],
        },
    }  # fmt: skip


def found(capacity: float | None, how: str = FOUND) -> Found:
    if capacity is None:
        return Found(how, held=900.0, failed=5.0, binding="READ p99, in MySQL", why="it sent too late")
    interval = (0.95 * capacity, 1.05 * capacity)
    return Found(
        FOUND,
        capacity,
        interval,
        0.969,
        "READ p99, in MySQL",
        blocks=(Bracket(1, 2),) * 6,
        held=1.0,
        failed=2.0,
    )


def study(*arms: tuple[str, str, Found, float], drift: float = 0.01) -> Json:
    """`arms`: (scheme, model, what was found, its receipt lag)."""
    entries = []
    for scheme, model, one, lag in arms:
        run = {"scheme": scheme, "model": model, "ack": {"read": "durable"}, "options": {}}
        at = one.capacity or 1000.0
        steps = [step(load, at, lag=lag) for load in (BASE, 40, 64, 102.4, 163.8)]
        steps.append(step(0.72 * at, at, "bisection", lag))
        entry = content.arm(f"{scheme}/{model}", run, ["r1"], one, steps, [])
        entries.append(entry | {"sentence": words.sentence(one, f"{scheme}/{model}", SLO, "msg/s")})
    for entry, named in zip(entries, content.labelled(entries), strict=True):
        entry["arm"] = named.label
    return content.of(
        entries,
        {"runs": ["c1"], "first": 2.0, "last": 2.0, "drift": drift, "disturbed": []},
        objective=SLO,
        unit="msg/s",
        base=BASE,
        options=RunOptions("all", users=1000, command="bench capacity --scheme all"),
        started_at="2025-03-01T12:00:00+00:00",
        duration_s=900.0,
        interrupted=False,
        about={"people": 667, "intensity_of_one": 1.55},
    )


@pytest.fixture
def three() -> Json:
    return study(
        ("memory", "", found(None, GENERATOR), 5.0),
        ("db", "flags", found(70.0), 30.0),
        ("redis", "flags", found(120.0), 90.0),
    )


def shown(made: Json) -> str:
    out = io.StringIO()
    terminal.render(capacity_document(made), file=out)
    return out.getvalue()


def test_the_first_screen_answers_and_names_what_binds(three: Json) -> None:
    text = shown(three)
    assert f"ANSWER for {SLO}" in text
    assert "redis/flags carries 120 [114, 126] msg/s" in text
    assert "Order: redis/flags > db/flags" in text
    assert "TIMING VALID · CORRECTNESS PASS · control drift +1.0%" in text
    assert len(text.splitlines()) <= 45
    assert text.splitlines()[-1] == verdict_line(three)
    assert "VERDICT VALID PASS all steady_chat capacity[db/flags]=70 capacity[redis/flags]=120" in text


def row(made: Json, name: str) -> tuple[str, ...]:
    (table,) = capacity_document(made).tables
    return next(cells for cells in table.rows if name in cells[0])


def test_the_control_that_the_generator_binds_is_a_lower_bound_and_no_verdict(three: Json) -> None:
    assert row(three, "capacity inside")[1:] == ("≥ 900", "70.0", "120")
    assert row(three, "stopped by")[1] == "the generator"
    assert three["verdict"]["status"] == "VALID"


def test_the_table_has_the_base_load_and_costs(three: Json) -> None:
    assert row(three, "at 25.0 msg/s: READ")[2] == f"{12.8 / 8:.2f} | 12.8"
    assert row(three, "receipt lag")[2] == "10.0 | 30.0"
    assert row(three, "CPU-s per 1,000")[2] == "5.50"
    assert row(three, "Python | stores")[2] == "3.00 | 2.50 | 0"
    assert row(three, "stale reads")[2] == "0 (<1,000)"
    assert row(three, "memory")[2] == "2 | 400"


def test_the_table_has_what_a_message_cost_by_the_steps_ledger(three: Json) -> None:
    assert row(three, "per msg: rows")[2] == "9.10 | 15.2"
    assert row(three, "MySQL | Redis commands")[2] == "58.0 | 12.3"
    assert row(three, "round trips | records | pushes")[2] == "71.0 | 0 | 8.83"
    assert row(three, "fsyncs | log | network KiB")[2] == "– | 10.0 | 20.0"
    for one in three["arms"][1]["steps"]:
        one["figures"]["ledger"] = None
    assert row(three, "per msg: rows")[1:] == ("9.10 | 15.2", "–", "9.10 | 15.2")


def test_the_terminal_says_what_the_markdown_says(three: Json) -> None:
    """Every line and every cell, in the same order."""
    document = capacity_document(three)
    text = re.sub(r"\\(.)", r"\1", markdown.markdown(document, (), ()))
    out = io.StringIO()
    console = Console(file=out, width=1000)
    terminal._render(console, document)
    wide = out.getvalue()
    for said in (document.first, *document.load, *document.verdict, *document.answer, *document.caveats):
        assert said in text
        assert said in wide
    (table,) = document.tables
    shown = [line.split() for line in wide.splitlines()]
    for cells in table.rows:
        assert f"| {' | '.join(cells)} |" in text
        assert " ".join(cells).split() in shown


@pytest.mark.parametrize("spoilt", [{"drift": 0.09}, {"unfinished": True}])
def test_without_a_valid_timing_there_is_a_table_and_no_answer(spoilt: Json) -> None:
    second = found(None, "unfinished") if spoilt.get("unfinished") else found(120.0)
    made = study(
        ("db", "flags", found(70.0), 30.0), ("redis", "flags", second, 90.0), drift=spoilt.get("drift", 0.0)
    )
    text = shown(made)
    assert made["verdict"]["status"] == "INCONCLUSIVE"
    assert "ANSWER" not in text
    assert "Order" not in text
    assert "capacity inside the objective" in text


def test_arms_whose_intervals_overlap_are_not_separated() -> None:
    made = study(("db", "flags", found(115.0), 30.0), ("redis", "flags", found(120.0), 90.0))
    assert "Order: redis/flags ≈ db/flags" in shown(made)


def test_a_step_that_does_not_hold_again_is_told() -> None:
    made = study(("db", "flags", found(70.0), 30.0))
    made["arms"][0]["steps"].append(step(64, 70.0, "down") | {"said": "fails"})
    assert "64.0 msg/s held on the way up and not on the way down" in shown(made)
    made["arms"][0]["steps"].append(step(64, 70.0, "down") | {"said": "unknown"})
    assert "on the way down" not in shown(made), "a step that says nothing tells nothing"


def test_what_was_measured_once_more_is_in_the_table() -> None:
    checks = (Check(0.9, 3, 4, "READ p99, in MySQL"), Check(1.15, 0, 2, "READ p99, in MySQL"))
    made = study(("db", "flags", replace(found(70.0), checks=checks), 30.0))
    assert row(made, "once more at 90 %")[1] == "3 of 4 | 0 of 2"
    assert row(study(("db", "flags", found(70.0), 30.0)), "once more at 90 %")[1] == "–"


@pytest.mark.parametrize("said", ["generator", "unknown"])
def test_the_resolution_is_that_of_steps_that_answered(three: Json, said: str) -> None:
    """Where the generator is the limit it tells of nothing else, and no arm's figure comes from that step."""
    control = three["arms"][0]
    control["steps"][-1]["said"] = said
    control["steps"][-1]["figures"]["resolution_floor_us"] = 51_130
    assert "resolution ±400 µs (the worst of all steps that held or failed)" in " ".join(shown(three).split())
    for arm in three["arms"]:
        for one in arm["steps"]:
            one["said"] = said
    assert "resolution unknown" in " ".join(shown(three).split())


def test_a_step_that_was_set_aside_is_counted_and_is_in_no_figure(three: Json) -> None:
    redis = three["arms"][2]
    worse = step(BASE, 10.0) | {"said": "disturbed"}
    worse["figures"]["resolution_floor_us"] = 90_000
    redis["steps"] = [*redis["steps"], worse, worse, worse]
    text = " ".join(shown(three).split())
    assert "redis/flags: 6 blocks, 9 steps (3 set aside)" in text
    assert "db/flags: 6 blocks, 6 steps ·" in text
    assert "resolution ±400 µs" in text
    assert row(three, "READ  p50 | p99")[3].endswith("| 11.6")
    for one in redis["steps"]:
        one["said"] = "disturbed"
    assert row(three, "READ  p50 | p99")[3].endswith("| 400"), "better than nothing"


def test_the_cpu_at_the_capacity_is_in_the_table_where_it_is_known() -> None:
    made = study(
        ("db", "flags", found(70.0), 30.0), ("redis", "flags", replace(found(120.0), cores=1.514), 30.0)
    )
    assert row(made, "CPU that all of it uses there")[1:] == ("–", "1.51")


def test_an_objective_that_no_load_meets_is_said_in_the_table() -> None:
    made = study(("db", "flags", found(None, NONE), 30.0), ("redis", "flags", found(120.0), 90.0))
    assert row(made, "capacity inside")[1] == "fails at every load"
    assert made["verdict"]["exit_code"] == 10


def test_a_line_ends_at_the_lowest_load_that_failed(three: Json) -> None:
    curves = load_curves.curves(three, content.labelled(three["arms"]))
    (db,) = [one for one in curves if one.panel == "READ" and one.arm.label == "db/flags"]
    line = db.line()
    assert [point.load for point in line] == [25, 40, 0.72 * 70, 64, 102.4]
    assert [point.held for point in line] == [True] * 4 + [False]
    assert line[0].p99 == pytest.approx(10 * 2 ** (25 / 70), abs=0.01)
    assert load_curves.limits_ms(three) == {"READ": 50.0, "lag.receipt": 500.0}
    said = load_curves.finding(three)
    assert 0 < said.find("db/flags 70.0") < said.find("redis/flags 120 (READ p99, in MySQL)")
    three["verdict"]["status"] = "INCONCLUSIVE"
    assert load_curves.finding(three) == f"{said}; not ranked: timing INCONCLUSIVE"


def test_a_step_that_said_nothing_ends_no_line(three: Json) -> None:
    three["arms"][1]["steps"][1:1] = [
        step(40, 1.0) | {"said": said} for said in ("unknown", "generator", "fails")
    ]
    curves = load_curves.curves(three, content.labelled(three["arms"]))
    (db,) = [one for one in curves if one.panel == "READ" and one.arm.label == "db/flags"]
    assert len([point for point in db.points if point.load == 40]) == 2
    assert [point.held for point in db.line()] == [True] * 4 + [False], (
        "it failed once and held when asked again"
    )


def test_crosses_stand_where_lag_and_capacity_are(three: Json) -> None:
    crosses = trade_off.crosses(three, content.labelled(three["arms"]))
    assert [(one.arm.label, one.capacity, one.lag) for one in crosses] == [
        ("db/flags", 70.0, 30.0),
        ("redis/flags", 120.0, 90.0),
    ]
    assert ranked(crosses) == [["db/flags", "redis/flags"]]
    alike = study(("db", "flags", found(130.0), 30.0), ("redis", "flags", found(120.0), 90.0))
    assert ranked(trade_off.crosses(alike, content.labelled(alike["arms"]))) == [["db/flags", "redis/flags"]]
    worse = study(("db", "flags", found(140.0), 30.0), ("redis", "flags", found(120.0), 90.0))
    crosses = trade_off.crosses(worse, content.labelled(worse["arms"]))
    assert ranked(crosses) == [["db/flags"]]
    said = trade_off.finding(crosses, "msg/s", "VALID")
    assert said.endswith("surely beaten by nobody of their class in both: db/flags 140 msg/s at 30.0 ms")
    assert trade_off.DASHED in trade_off.note(crosses, "VALID")
    assert trade_off.finding(crosses, "msg/s", "INCONCLUSIVE").endswith("not ranked: timing INCONCLUSIVE")
    assert trade_off.DASHED not in trade_off.note(crosses, "INCONCLUSIVE")


def test_arms_of_unlike_durability_are_held_against_nobody(three: Json) -> None:
    crosses = trade_off.crosses(three, content.labelled(three["arms"]))
    apart = [replace(one, durability_class=one.arm.label) for one in crosses]
    assert ranked(apart) == []
    assert trade_off.finding(apart, "msg/s", "VALID").endswith("not ranked: no two of one durability class")


def ranked(crosses: list[trade_off.Cross]) -> list[list[str]]:
    return [[one.arm.label for one in best] for best in trade_off.unbeaten(crosses)]


def test_the_folder_has_page_text_and_charts(three: Json, tmp_path: Path) -> None:
    report.capacity_study(three, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "ANSWER for" in page
    assert {path.name for path in (tmp_path / "charts").iterdir()} == {
        f"{name}.{kind}" for name in CHARTS for kind in ("svg", "png")
    }
    assert (tmp_path / "summary.md").read_text()


def test_nothing_measured_is_a_page_all_the_same(tmp_path: Path) -> None:
    made = study(("db", "flags", found(None, "unfinished"), 30.0))
    made["arms"][0]["steps"] = []
    report.capacity_study(made, tmp_path)
    assert (tmp_path / "report.html").exists()


def test_json_is_what_the_document_is_made_of(three: Json) -> None:
    import json

    again: Any = json.loads(json.dumps(three))
    assert capacity_document(again) == capacity_document(three)


# --- both client libraries ----------------------------------------------------------------------------------


def with_drivers(*capacities: float) -> Json:
    """db, redis with aiomysql; db, redis with asyncmy."""
    made = study(
        *((name, "flags", found(c), 30.0) for name, c in zip(("db", "redis") * 2, capacities, strict=True))
    )
    for place, arm in enumerate(made["arms"]):
        arm["run"]["mysql_driver"] = ("aiomysql", "asyncmy")[place // 2]
    for arm, named in zip(made["arms"], content.labelled(made["arms"]), strict=True):
        arm["arm"] = named.label
    return made


def orders(made: Json) -> list[str]:
    return [line for line in capacity_document(made).answer if line.startswith("Order")]


def test_an_order_that_flips_with_the_driver_depends_on_it() -> None:
    (order,) = orders(with_drivers(70, 120, 140, 110))
    assert order == (
        "Order: depends on the client library: with aiomysql redis/flags driver=aiomysql > db/flags "
        "driver=aiomysql; with asyncmy db/flags driver=asyncmy > redis/flags driver=asyncmy (≈ not separated)"
    )


@pytest.mark.parametrize("capacities", [(70, 120, 90, 150), (70, 120, 121, 120), (70, 70.5, 121, 80)])
def test_an_order_that_does_not_flip_is_one_order(capacities: tuple[float, ...]) -> None:
    (order,) = orders(with_drivers(*capacities))
    assert "depends" not in order
    assert order.endswith("(≈ not separated, with either client library)")


# --- fair terms ---------------------------------------------------------------------------------------------


def test_arms_of_unlike_class_are_not_ranked() -> None:
    made = study(
        *((name, "flags", found(c), 30.0) for name, c in (("db", 70.0), ("redis", 120.0), ("queue", 90.0)))
    )
    for arm, class_ in zip(made["arms"], ("power", "power", "process"), strict=True):
        arm["run"]["durability"] = {"class": class_, "asked": "article", "stores": {}, "rests_on": []}
    (order,) = orders(made)
    assert "redis/flags > db/flags" in order
    assert "queue" not in order
    assert any(text.startswith("Not ranked with each other") for text in capacity_document(made).caveats)
    assert row(made, "durability class")[1:] == ("power", "power", "process")
    assert {ratio.pair[0] for ratio in ratios.ratios(made)} == {"redis/flags"}
    assert {cell.winner for cell in winners.cells(made)} <= {
        "db/flags",
        "redis/flags",
        "none",
        "not separated",
    }


# --- charts 9 and 10 ----------------------------------------------------------------------------------------


def at_mix(made: Json, mix: float, setting: float | None = None) -> Json:
    """The same study with so many STATEs per READ."""
    made = copy.deepcopy(made)
    for arm in made["arms"]:
        for one in arm["steps"]:
            one["figures"]["operations"]["STATE"]["count"] = round(900 * mix)
    made["settings"]["reads_per_mark"] = setting
    return made


def test_a_cell_is_won_where_the_others_failed_or_are_slower(three: Json) -> None:
    told = {(cell.load, cell.winner) for cell in winners.cells(at_mix(three, 2.0))}
    assert told == {*((load, "redis/flags") for load in (25, 40, 64, 102.4)), (163.8, "none")}
    for one in three["arms"][1]["steps"]:
        one["figures"]["resolution_floor_us"] = 2_500
    assert {cell.winner for cell in winners.cells(three) if cell.load == 25} == {"not separated"}


@pytest.mark.parametrize(("high", "winner"), [(11_900, "redis/flags"), (13_000, "not separated")])
def test_what_a_sample_leaves_open_separates_nothing(three: Json, high: float, winner: str) -> None:
    for arm, bounds in zip(three["arms"][1:], ([12_000, 14_000], [11_000, high]), strict=True):
        for one in arm["steps"]:
            one["figures"]["operations"]["READ"]["latency_us"]["bounds"] = {"p99": bounds}
    assert next(cell.winner for cell in winners.cells(three) if cell.load == 25) == winner


def test_a_load_that_failed_once_is_not_held(three: Json) -> None:
    three["arms"][2]["steps"].append(step(64, 1.0, "down"))
    assert next(cell.winner for cell in winners.cells(three) if cell.load == 64) == "db/flags"


def test_studies_beside_it_are_columns_if_they_differ_in_the_mix_alone(three: Json) -> None:
    here = at_mix(three, 0.5)
    others = [
        at_mix(three, 8.0, 8.0),
        at_mix(three, 9.0, 8.0),
        at_mix(three, 31.0, 31.0),
        at_mix(three, 4.0, 4.0),
    ]
    others[3]["settings"]["durability"] = "power"
    others[2]["verdict"]["status"] = "INVALID"
    here["beside"] = [beside.kept(one, f"r{place}") for place, one in enumerate(others)]
    assert sorted({cell.mix for cell in winners.cells(here)}) == [0.5, 8.0]
    words = crossover.finding(winners.cells(here), "msg/s")
    assert "at 0.500 state reads per mark: redis/flags from 25.0 to 102, nobody at 164; at 8.00" in words


def test_ratios_have_a_row_for_each_setting(three: Json) -> None:
    other = study(("db", "flags", found(100.0), 30.0), ("redis", "flags", found(104.0), 90.0))
    other["settings"]["durability"] = "power"
    three["beside"] = [beside.kept(other, "r1")]
    first, second = ratios.ratios(three)
    assert (first.setting, second.setting) == ("as in this study", "durability power")
    assert first.pair == second.pair == ("redis/flags", "db/flags")
    assert first.value == pytest.approx(120 / 70)
    assert first.interval == pytest.approx((120 * 0.95 / (70 * 1.05), 120 * 1.05 / (70 * 0.95)))
    assert (first.apart, second.apart) == (True, False)
    assert not robustness.one_setting([first, second])
    said = "redis/flags carries 1.04 to 1.71 times what db/flags does in 2 settings"
    assert robustness.finding([first, second]).endswith(f"{said} (apart from 1 in 1)")
    assert robustness.finding([second]).endswith("1.04 times what db/flags does (not apart from 1)")
    assert robustness.finding([first]).endswith("1.71 times what db/flags does")


def test_drivers_are_settings_too() -> None:
    told = ratios.ratios(with_drivers(70, 120, 140, 110))
    assert [(ratio.pair, ratio.setting) for ratio in told] == [
        (("redis/flags", "db/flags"), "driver aiomysql"), (("redis/flags", "db/flags"), "driver asyncmy"),
    ]  # fmt: skip
    assert [ratio.value > 1 for ratio in told] == [True, False]


def test_a_chart_that_cannot_be_is_left_out_with_a_sentence() -> None:
    made = study(("db", "flags", found(None, NONE), 30.0), ("redis", "flags", found(120.0), 90.0), drift=0.09)
    said = capacity_document(made).caveats
    assert any(one.startswith("No chart of robustness: the study's timing is not VALID") for one in said)
    assert any(text.startswith("No chart of crossover map: the study's timing is not VALID") for text in said)
    made = study(("db", "flags", found(None, NONE), 30.0), ("redis", "flags", found(120.0), 90.0))
    said = capacity_document(made).caveats
    assert "No chart of robustness: no two arms of one class have a capacity with an interval." in said
    one = study(("db", "flags", found(70.0), 30.0))
    assert not any("No chart" in text for text in capacity_document(one).caveats)


def test_the_controls_line_is_at_least_what_it_held(three: Json) -> None:
    line = ceiling(three)
    assert line is not None
    assert (line.load, line.text) == (900.0, "control ≥ 900 msg/s")
    assert ceiling(study(("db", "flags", found(70.0), 30.0))) is None
    exact = ceiling(study(("memory", "", found(310.0), 5.0), ("db", "flags", found(70.0), 30.0)))
    assert exact is not None
    assert exact.text == "control 310 msg/s"
