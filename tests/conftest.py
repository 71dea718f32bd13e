"""What all tests share: one stack of real services for everything that is marked `services`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.services import Stack, bring_up

# A shell ignores Ctrl-C in what it starts with `&`, and what is ignored stays ignored in children.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """MariaDB (or MySQL), Redis and Kafka, private to this test run.  A service test never skips."""
    folder: Path = tmp_path_factory.mktemp("stack")
    needs = frozenset({"mysql", "redis", "kafka"})
    with bring_up(needs, how="local", folder=folder, say=lambda text: print(text, file=sys.stderr)) as up:
        yield up


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For `--dist loadgroup`: a file's tests go to one worker, and those of an arm, which share its world."""
    for item in items:
        arm = item.callspec.params.get("arm") if hasattr(item, "callspec") else None
        item.add_marker(pytest.mark.xdist_group(arm.name if arm else item.location[0]))
