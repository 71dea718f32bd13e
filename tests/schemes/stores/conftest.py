"""MySQL for the tests of this folder: databases of their own on the stack that all tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pymysql
import pytest
import pytest_asyncio

from bench.services import Stack
from schemes.stores.mysql import MySQL
from tests.schemes.stores.support import connect


@pytest.fixture(scope="session")
def mysql_url(stack: Stack) -> Callable[[str], str]:
    """The URL of a database of the given name."""
    url = urlsplit(stack.services["mysql"].url)
    return lambda name: urlunsplit(url._replace(path=f"/{name}"))


@pytest.fixture(params=["flags", "cursor"])
def model(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest_asyncio.fixture
async def store(mysql_url: Callable[[str], str], model: str) -> AsyncIterator[MySQL]:
    """An empty store of each model."""
    made = MySQL(mysql_url("store_tests"), model=model, pool_size=8)
    await made.start()
    await made.reset()
    yield made
    await made.close()


@pytest.fixture
def admin(store: MySQL, mysql_url: Callable[[str], str]) -> Iterator[pymysql.Connection[Any]]:
    """A second opinion: a blocking connection to the same database, autocommit off."""
    with connect(mysql_url("store_tests")) as connection:
        yield connection
