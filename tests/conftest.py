"""What all tests share: one stack of real services for everything marked `services`; what is said of a
test that hangs."""

from __future__ import annotations

import asyncio
import gc
import re
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from types import CoroutineType
from typing import Any, Final

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The part of the suite that needs nobody else is fast because it starts nobody."""
    for item in items:
        unmarked = item.get_closest_marker("services") is None
        if unmarked and "stack" in getattr(item, "fixturenames", ()):
            raise pytest.UsageError(f"{item.nodeid} starts services: mark it `pytest.mark.services`")


class ByFileOrArm(LoadScopeScheduling):
    """A file's tests go to one worker, and those of an arm, which share its world."""

    def _split_scope(self, nodeid: str) -> str:
        found = ARM.search(nodeid)
        return found[1] if found and nodeid.startswith("tests/contract/") else nodeid.partition("::")[0]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """The stacks that pytest-timeout prints end in the event loop: what each task waits for is told here."""
    report = yield
    if call.excinfo is not None and "pytest-timeout" in str(call.excinfo.value):
        report.sections.append(("Tasks that wait", "\n".join(_waiting())))
    return report


def _waiting() -> Iterator[str]:
    for task in gc.get_objects():  # by their types: to ask a dead weak reference what it is raises
        if issubclass(type(task), asyncio.Task) and not task.done():
            yield task.get_name()
            awaited: Any = task.get_coro()
            while isinstance(awaited, CoroutineType) and (frame := awaited.cr_frame) is not None:
                yield f"  {frame.f_code.co_filename}:{frame.f_lineno} {awaited.__qualname__}"
                awaited = awaited.cr_await
            yield f"  {awaited!r}"
