from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench import noise
from bench.compare import Arm, Run, arms
from tests.bench.test_compare import run

NOW = datetime(2025, 3, 2, tzinfo=UTC)


def side(name: str, took: list[int]) -> list[Run]:
    made = []
    for block, us in enumerate(took):
        one = run(f"{name}{block}", "redis", us)
        one.summary["operations"]["READ"]["latency_us"]["p50"] = us // 10
        repeat = {"series": "s", "block": block, "order": ["A", "B"], "side": name}
        one.manifest.update({"repeat": repeat, "tool_version": "1"})
        one.manifest["window"] = {"measure": 0, "measure_end": 20_000_000_000}
        made.append(one)
    return made


def both(n: int = 8) -> list[Arm]:
    took = [10_000 + 300 * i for i in range(n)]
    return arms(
        [*side("A", took), *side("B", [round(us * (1 + (-1) ** i * 0.02)) for i, us in enumerate(took)])]
    )


def test_each_figure_has_its_smallest_visible_effect() -> None:
    found = noise.assess(both())
    assert list(found) == list(noise.METRICS)
    read = found["READ.p99"]
    assert len(read["pairs"]) == 8
    assert read["pairs"][0] == [[10_000, None, None], [10_200, None, None]]
    assert list(read["visible"]) == ["6", "8", "10", "20"]
    assert 0.02 < read["visible"]["20"] <= read["visible"]["10"] <= read["visible"]["6"] < 0.06
    assert not read["different"]


def test_sides_that_differ_are_said_to() -> None:
    took = [10_000 + 300 * i for i in range(8)]
    sides = arms([*side("A", took), *side("B", [round(us * 1.2) for us in took])])
    assert noise.assess(sides, ["READ.p99"])["READ.p99"]["different"]


def test_below_the_resolution_nothing_is_visible_by_its_noise_alone() -> None:
    found = noise.assess(both(), ["READ.p50"])["READ.p50"]
    assert found["value"] == pytest.approx(1_100, rel=0.1)
    assert found["visible"]["20"] == pytest.approx(2 * 100 / found["value"], abs=1e-3)  # two floors of 100 µs


def test_lower_bounds_are_no_pairs() -> None:
    sides = both(8)
    for one in sides[0].runs[:3]:
        one.summary["operations"]["READ"]["latency_us"]["at_least"] = ["p99"]
    found = noise.assess(sides, ["READ.p99"])["READ.p99"]
    assert (len(found["pairs"]), found["visible"]) == (5, None)


def test_five_blocks_are_too_few() -> None:
    found = noise.assess(both(5))["READ.p99"]
    assert (found["visible"], found["different"]) == (None, None)
    assert found["ratio"] is not None


def test_the_ledger_keeps_what_was_found_by_machine_and_scheme(tmp_path: Path) -> None:
    sides, ledger = both(), tmp_path / "noise.jsonl"
    line = noise.entry(sides, noise.assess(sides, ["messages_per_s"]), {"status": "VALID"}, now=NOW)
    assert list(noise.entries(ledger, machine_class="box", scheme="redis")) == []
    noise.append(ledger, line)
    noise.append(ledger, line | {"date": "later"})
    with ledger.open("a") as file:
        file.write('{"cut sho')
    kept = list(noise.entries(ledger, machine_class="box", scheme="redis"))
    assert kept == [line, line | {"date": "later"}]
    assert list(noise.entries(ledger, machine_class="other", scheme="redis")) == []
    assert list(noise.entries(ledger, machine_class="box", scheme="db")) == []
    assert (line["date"], line["blocks"], line["timing"]) == ("2025-03-02T00:00:00+00:00", 8, "VALID")
    assert line["load"]["duration_s"] == 20
    assert line["runs"][1][0] == "B0"
