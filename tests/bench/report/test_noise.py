from __future__ import annotations

import copy
import io

import pytest

from bench.report import noise, terminal
from bench.results import Json
from tests.bench.report.conftest import Compared

pytestmark = pytest.mark.slow  # draws whole reports


def entry(value: float | None, unit: str = "us", *, different: bool = False) -> Json:
    known = value is not None
    return {
        "unit": unit, "value": value, "pairs": [[1, 1]] * 10, "ratio": 1.01 if known else None,
        "interval": [0.97, 1.04] if known else None, "different": different if known else None,
        "visible": {"6": 0.08, "10": 0.0512, "20": 0.03} if known else None, "resolution_floor_us": None,
    }  # fmt: skip


@pytest.fixture
def found(compared: Compared) -> tuple[Json, Json]:
    content = copy.deepcopy(compared.content)
    metrics = {
        "READ.p99": entry(12_400),
        "messages_per_s": entry(115, "number"),
        "lag.receipt.p99": entry(None),
    }
    return content, metrics


def test_it_says_what_is_visible_with_how_many_blocks(found: tuple[Json, Json]) -> None:
    table = noise.noise_document(*found).tables[0]
    assert table.columns == ("", "value", "A / B", "pairs", *(f"visible, {n} blocks" for n in (6, 10, 20)))
    assert table.rows[0] == (
        "READ p99", "12.4 ms", "1.010 [0.970, 1.040]", "10", "8.0 %", "5.1 %", "3.0 %",
    )  # fmt: skip
    assert table.rows[2][1:] == ("–", "–", "10", "–", "–", "–")


def test_the_last_line_is_for_scripts(found: tuple[Json, Json]) -> None:
    out = io.StringIO()
    terminal.render(noise.noise_document(*found), file=out)
    *lines, last = out.getvalue().splitlines()
    assert "visible.READ.p99=5.12% visible.messages_per_s=5.12% exit=" in last
    assert max(map(len, lines)) <= 120


def test_alike_sides_that_differ_are_named(found: tuple[Json, Json]) -> None:
    content, metrics = found
    assert noise.noise_document(content, metrics).answer == ()
    metrics["READ.p99"] = entry(12_400, different=True)
    assert "READ p99: the two sides differ although" in noise.noise_document(content, metrics).answer[0]
