"""What all tests share: one stack of real services for everything that is marked `services`."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from bench.services import Stack, bring_up
from tests.contract.arms import ARMS

ARM: Final = re.compile(rf"[\[-]({'|'.join(sorted((arm.name for arm in ARMS), key=len, reverse=True))})[\]-]")
"""In the name of a test of the contract suite."""

# A shell ignores Ctrl-C in what it starts with `&`, and what is ignored stays ignored in children.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """MariaDB (or MySQL), Redis and Kafka, private to this test run.  A service test never skips."""
    folder: Path = tmp_path_factory.mktemp("stack")
    needs = frozenset({"mysql", "redis", "kafka"})
    with bring_up(needs, how="local", folder=folder, say=lambda text: print(text, file=sys.stderr)) as up:
        yield up


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    return ByFileOrArm(config, log)


class ByFileOrArm(LoadScopeScheduling):
    """A file's tests go to one worker, and those of an arm, which share its world."""

    def _split_scope(self, nodeid: str) -> str:
        found = ARM.search(nodeid)
        return found[1] if found and nodeid.startswith("tests/contract/") else nodeid.partition("::")[0]
