"""One private Redis (and where asked for, MySQL) for the tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from bench.services import Stack, bring_up
from schemes.stores.redis import RedisStore


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    with bring_up(frozenset({"mysql", "redis"}), how="local", say=lambda _: None) as running:
        yield running


@pytest.fixture
async def redis(stack: Stack) -> AsyncIterator[RedisStore]:
    store = RedisStore(stack.services["redis"].url, exclusive=True)
    await store.start()
    await store.wipe()
    yield store
    await store.close()


@pytest.fixture(scope="session")
def stack_url(stack: Stack) -> str:
    return stack.services["redis"].url
