"""Sentences name the two operations at fault, and spans have the unit that reads best."""

from __future__ import annotations

import pytest

from bench.checks import sentences
from bench.results import Json

READ: Json = {"part": "write", "op": "READ", "op_id": 1, "value": 9, "user_id": "u17", "session": 1}
STATE: Json = {"part": "read", "op": "STATE", "op_id": 2, "value": 7, "user_id": "u17", "session": 0x1000003}


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(41.23, "41.2 s"), (0.9999, "1 s"), (0.00512, "5.12 ms"), (0.000_999_9, "1 ms"), (64e-5, "640 µs")],
)
def test_spans(seconds: float, said: str) -> None:
    assert sentences.span(seconds) == said


def test_a_stale_read_and_the_write_that_it_does_not_show() -> None:
    assert sentences.stale(STATE, READ, 41.2) == (
        "The STATE of u17 on session 0x1000003 began 41.2 s after the READ up to 9 by u17 was acknowledged, "
        "and shows 7."
    )


@pytest.mark.parametrize(
    ("witness", "said"),
    [
        (READ | {"op": "SEND"}, "the SEND of message 9 by the same device was acknowledged"),
        (READ | {"op": "PROBE_READ", "part": "read"}, "had been told of 9 by a probe READ acknowledgement"),
        (STATE | {"value": 9}, "the same device had been shown 9 by a STATE"),
        (STATE | {"op": "PROBE_ONCE", "value": 9}, "the same device had been shown 9 by a probe STATE"),
        ({"part": "write", "op": "seed", "op_id": None, "value": 9}, "the cursor started at 9"),
    ],
)
def test_what_was_complete_before(witness: Json, said: str) -> None:
    assert said in sentences.stale(STATE, witness, 1.0, "the same device")


def test_who_is_suspected_is_told_as_a_suspicion() -> None:
    assert "Suspected: the STATE of u17 on session 0x1000003, the only read" in sentences.suspected(STATE, 1)
    assert "the last of 3 reads" in sentences.suspected(STATE, 3)
