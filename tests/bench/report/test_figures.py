from __future__ import annotations

import pytest

from bench.report import figures


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0, "0"),
        (0.00184, "0.00184"),
        (0.61, "0.610"),
        (9.996, "10.0"),
        (31.24, "31.2"),
        (999.6, "1,000"),
        (1474, "1,470"),
        (-2.5, "-2.50"),
    ],
)
def test_three_digits_and_no_exponent(value: float, written: str) -> None:
    assert figures.digits(value) == written


@pytest.mark.parametrize(
    ("us", "written"), [(640, "640 µs"), (2_930, "2.93 ms"), (1_470_000, "1.47 s"), (999, "999 µs")]
)
def test_a_duration_takes_the_unit_that_reads_best(us: float, written: str) -> None:
    assert figures.duration(us) == written


def test_what_is_missing_is_never_a_zero_or_a_blank() -> None:
    for write in (figures.ms, figures.count, figures.rate, figures.percent, figures.mebibytes, figures.cores):
        assert write(None) == figures.MISSING
    assert figures.unavailable(None) == "not available: not measured"
    assert figures.unavailable("no cache") == "not available: no cache"


def test_a_list_in_words() -> None:
    assert figures.joined(["a"]) == "a"
    assert figures.joined(["a", "b", "c"]) == "a, b and c"
