"""What may be relied on, by scheme and option."""

from __future__ import annotations

import pytest

from schemes import SCHEMES

DEPENDING = {"durable", "read_your_writes", "monotonic_reads", "convergence"}


@pytest.mark.parametrize(
    ("chosen", "promised"),
    [
        ({}, {"durable"}),
        ({"guard": "none"}, {"durable"}),
        ({"guard": "lease"}, {"durable", "read_your_writes", "convergence"}),
        ({"guard": "lease", "on-delete-failure": "ignore"}, {"durable"}),
    ],
)
def test_what_redis_promises_depends_on_its_guards(chosen: dict[str, str], promised: set[str]) -> None:
    assert set(SCHEMES["redis"].promised(chosen)) & DEPENDING == promised


def test_without_options_that_change_them_promises_are_the_schemes() -> None:
    assert SCHEMES["db"].promised({"model": "cursor"}) == SCHEMES["db"].promises


def test_options_speak_of_values_and_promises_that_there_are() -> None:
    known = {promise for scheme in SCHEMES.values() for promise in scheme.promises}
    for scheme in SCHEMES.values():
        for option in scheme.options.values():
            for changes in (option.adds, option.takes):
                assert set(changes) <= set(option.values)
                assert {name for names in changes.values() for name in names} <= known
