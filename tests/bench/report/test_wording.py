"""What is said of durability, in one line."""

from __future__ import annotations

import pytest

from bench.report.wording import terms_line


@pytest.mark.parametrize(
    ("class_", "rests_on", "stores", "said"),
    [
        ("none", [], {}, "(an ACK rests on no store)"),
        (
            "power",
            ["mysql"],
            {"mysql": "power", "redis": "none"},
            "(an ACK rests on mysql; mysql power, redis none)",
        ),
    ],
)
def test_what_an_ack_rests_on(class_: str, rests_on: list[str], stores: dict[str, str], said: str) -> None:
    run = {"durability": {"asked": "article", "class": class_, "rests_on": rests_on, "stores": stores}}
    (line,) = terms_line(run)
    assert line.endswith(said)
