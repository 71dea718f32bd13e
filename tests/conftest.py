"""What all tests share: one stack of real services for everything that is marked `services`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.services import Stack, bring_up


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """MariaDB (or MySQL), Redis and Kafka, private to this test run.  A service test never skips."""
    folder: Path = tmp_path_factory.mktemp("stack")
    needs = frozenset({"mysql", "redis", "kafka"})
    with bring_up(needs, how="local", folder=folder, say=lambda text: print(text, file=sys.stderr)) as up:
        yield up
