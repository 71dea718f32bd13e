from __future__ import annotations

import pytest

from bench.expressions import ExpressionError
from bench.gate.metrics import TOLERANCES
from bench.gate.tolerances import asked, parse_relative


def test_a_sign_makes_it_a_change_and_none_an_objective() -> None:
    found = asked(["READ.p99 > +10%", "READ.p99 > 50ms"], ["errors < 0.1%"])
    assert dict(found.tolerances) == {"READ.p99": pytest.approx(0.1)}
    assert [(each.condition.text, each.slo) for each in found.objectives] == [
        ("errors < 0.1%", True),
        ("READ.p99 > 50ms", False),
    ]


def test_without_any_change_the_defaults_decide() -> None:
    assert asked(["READ.p99 > 50ms"]).tolerances == TOLERANCES


def test_the_table_and_the_command_line_go_together_and_the_line_wins() -> None:
    found = asked(["READ.p50 > +5%"], (), {"READ.p50": "20%", "cpu_s_per_1000_messages": "10 %"})
    assert found.tolerances == pytest.approx({"READ.p50": 0.05, "cpu_s_per_1000_messages": 0.1})


def test_throughput_gets_worse_downwards() -> None:
    assert parse_relative("messages_per_s < -5%") == ("messages_per_s", pytest.approx(0.05))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("READ.p99 > +10", "signed share"),
        ("READ.p99 > +10ms", "signed share"),
        ("RAED.p99 > +10%", "Did you mean"),
        ("READ.p99 < -10%", "Did you mean 'READ.p99 > [+]10%'"),
        ("READ.p99 > -10%", "gets worse the other way"),
        ("messages_per_s > +5%", "Did you mean 'messages_per_s < -5%'"),
        ("READ.p99 = +5%", "gets worse the other way"),
        ("READ.p99 > +0%", "lies above 0 %"),
        ("READ.p99 > +99999%", "at most"),
    ],
)
def test_what_cannot_be_meant_says_what_could_be(text: str, said: str) -> None:
    with pytest.raises(ExpressionError, match=said):
        asked([text])


def test_six_figures_are_one_too_many() -> None:
    names = ("READ.p50", "READ.p99", "SEND.p50", "SEND.p99", "STATE.p50", "STATE.p99")
    with pytest.raises(ExpressionError, match="5 is the most"):
        asked([f"{name} > +10%" for name in names])
    assert len(asked([f"{name} > +10%" for name in names[:5]]).tolerances) == 5


@pytest.mark.parametrize(
    "table", [{"READ.p50": 0.1}, {"READ.p50": "a bit"}, {"nonsense": "10%"}, {"errors": "0%"}]
)
def test_a_bad_table_is_named(table: dict[str, object]) -> None:
    with pytest.raises(ExpressionError, match=r"check.tolerance|lies above"):
        asked((), (), table)
