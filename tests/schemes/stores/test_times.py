"""Milliseconds and DATETIME(3)."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from schemes.stores.times import stamp


@given(st.integers(0, 4_000_000_000_000))
def test_a_stamp_is_utc_to_the_millisecond(ms: int) -> None:
    read = datetime.fromisoformat(stamp(ms)).replace(tzinfo=UTC)
    assert round(read.timestamp() * 1000) == ms
