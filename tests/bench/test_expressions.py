"""Conditions of --fail-if: what can be said, what cannot, and what a run cannot answer."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from bench.expressions import FIGURES, ExpressionError, UndecidedError, parse
from bench.results import Json
from bench.summary import summarize
from tests.bench.synthetic import Spread, build


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> Json:
    folder, _ = build(
        tmp_path_factory.mktemp("run"),
        errors={"NOT_MEMBER": 0.05},
        lost_acknowledged=2,
        send_us=Spread(10_000, 10_000),
        send_lag_us=Spread(0, 0),
        send_per_s=80,
    )
    return summarize(folder)


@pytest.mark.parametrize(
    ("text", "threshold"),
    [
        ("READ.p99<50ms", 50_000),
        ("READ.p99 > 50ms", 50_000),
        (" lag.receipt.p99 <500ms ", 500_000),
        ("STATE.mean >= 1.5s", 1_500_000),
        ("SEND.service.p50 != 250us", 250),
        ("SEND.service.p50 != 250µs", 250),
        ("errors<0.1%", 0.001),
        ("errors<0.1", 0.1),
        ("violations=0", 0),
        ("READ.count > 1000", 1000),
        ("send_lag.p99 > 5ms", 5_000),
        ("cpu.mysql > .9", 0.9),
    ],
)
def test_what_can_be_said(text: str, threshold: float) -> None:
    assert parse(text).threshold == pytest.approx(threshold)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("READ.p99", "no condition.*READ.p99 > 50ms"),
        ("READ.p99 < fast", "no condition"),
        ("READ.p99 << 5ms", "no condition"),
        ("", "no condition"),
        ("READ.p98 < 5ms", "no figure 'READ.p98'.*READ.p9"),
        ("read.p99 < 5ms", r"Did you mean READ\.p99"),
        ("lag.reciept.p99 < 5ms", r"lag\.receipt\.p99"),
        ("violation = 0", "violations"),
        ("xyzzy < 1", "Possible are SEND, READ"),
        ("READ.p99 < 50", "takes us or ms or s, not no unit"),
        ("READ.p99 < 50%", "not '%'"),
        ("READ.p99 < 50min", "not 'min'"),
        ("errors < 5ms", "takes % or no unit, not 'ms'"),
        ("violations = 0%", "takes no unit"),
    ],
)
def test_what_cannot_be_said_is_answered_with_what_can(text: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message) as caught:
        parse(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("SEND.p50 = 10ms", True),
        ("SEND.p50 != 10ms", False),
        ("SEND.p50 < 10ms", False),
        ("SEND.p50 <= 10ms", True),
        ("SEND.p50 > 9999us", True),
        ("SEND.service.mean >= 0.01s", True),
        ("errors > 1%", True),
        ("errors > 5%", False),
        ("SEND.errors = 0", True),
        ("READ.errors > 3%", True),
        ("violations = 2", True),
        ("violations > 2", False),
        ("achieved >= 99%", True),
        ("lag.receipt.p90 < 500ms", True),
        ("lag.receipt.undelivered > 0%", False),
        ("cpu.server = 0.5", True),
        ("messages_per_s >= 79.9", True),
    ],
)
def test_what_a_run_says(summary: Json, text: str, holds: bool) -> None:
    assert parse(text).holds(summary) is holds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SEND.p999 > 1ms", "not enough samples for operations.SEND.latency_us.p999: 1600"),
        ("HISTORY.p50 > 1ms", "no operations.HISTORY"),
        ("lag.queue.p50 > 1ms", "lag.queue is not available"),
        ("cpu.kafka > 1", "no resources.kafka"),
    ],
)
def test_what_a_run_cannot_say(summary: Json, text: str, message: str) -> None:
    with pytest.raises(UndecidedError, match=message):
        parse(text).holds(summary)


def bounded(p99: int, *, low_n: list[str] | None = None) -> dict[str, Any]:
    figures = {"n": 10_000, "p99": p99, "low_n": low_n or [], "at_least": ["p99"]}
    return {"operations": {"READ": {"latency_us": figures}}}


@pytest.mark.parametrize(("text", "holds"), [("READ.p99 > 50ms", True), ("READ.p99 < 50ms", False)])
def test_a_lower_bound_may_be_enough(text: str, holds: bool) -> None:
    assert parse(text).holds(bounded(5_000_000)) is holds


@pytest.mark.parametrize("text", ["READ.p99 > 10s", "READ.p99 < 10s"])
def test_or_not(text: str) -> None:
    with pytest.raises(UndecidedError, match="at least 5e\\+06 us"):
        parse(text).holds(bounded(5_000_000))


def test_a_percentile_with_few_samples_beyond_it_decides_nothing() -> None:
    with pytest.raises(UndecidedError, match="not enough samples"):
        parse("READ.p99 > 1ms").holds(bounded(5_000_000, low_n=["p99"]))


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_every_figure_can_be_asked_for(summary: Json, name: str) -> None:
    unit = {"time": "ms", "share": "%", "number": ""}[FIGURES[name].kind]
    condition = parse(f"{name} > 0{unit}")
    with contextlib.suppress(UndecidedError):
        assert isinstance(condition.holds(summary), bool)
