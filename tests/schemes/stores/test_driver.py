"""The URL of MySQL, and what the errors of both drivers mean."""

from __future__ import annotations

import asyncmy.errors
import pymysql.err
import pytest

from schemes.stores.driver import (
    ConnectionLost,
    Contention,
    DuplicateKey,
    NoDatabase,
    StoreError,
    Target,
    Unavailable,
    translate,
)


@pytest.mark.parametrize(
    ("scheme", "driver"),
    [("mysql", "aiomysql"), ("mysql+aiomysql", "aiomysql"), ("mysql+asyncmy", "asyncmy")],
)
def test_the_url_chooses_the_driver(scheme: str, driver: str) -> None:
    target = Target.parse(f"{scheme}://me:p%40ss@db.example:3307/read_state")
    assert (target.driver, target.host, target.port) == (driver, "db.example", 3307)
    assert (target.user, target.password, target.database) == ("me", "p@ss", "read_state")


@pytest.mark.parametrize(
    "url", ["redis://h/d", "mysql://h", "mysql:///d", "mysql+pymysql://h/d", "mysql://h/a`b", ""]
)
def test_any_other_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="expected a MySQL URL"):
        Target.parse(url)


def test_no_text_shows_the_password() -> None:
    target = Target.parse("mysql://me:hunter2@host/db")
    assert str(target) == "host:3306/db"
    with pytest.raises(ValueError, match="expected") as why:
        Target.parse("mysql://me:hunter2@host/")
    assert "hunter2" not in str(why.value)


@pytest.mark.parametrize("errors", [pymysql.err, asyncmy.errors], ids=["aiomysql", "asyncmy"])
@pytest.mark.parametrize(
    ("errno", "meaning"),
    [
        (1213, Contention),
        (1205, Contention),
        (1062, DuplicateKey),
        (2006, ConnectionLost),
        (2013, ConnectionLost),
        (1053, ConnectionLost),
        (1927, ConnectionLost),
        (2003, Unavailable),
        (1040, Unavailable),
        (1045, Unavailable),
        (1114, Unavailable),
        (1049, NoDatabase),
    ],
)
def test_what_an_error_number_means(errors: object, errno: int, meaning: type) -> None:
    found = translate(errors.OperationalError(errno, "text"))  # type: ignore[attr-defined]
    assert type(found) is meaning
    assert isinstance(found, StoreError)
    assert found.errno == errno


@pytest.mark.parametrize("errno", [1054, 1064, 1146, 1406])
def test_our_own_mistakes_stay_what_they_are(errno: int) -> None:
    mistake = pymysql.err.ProgrammingError(errno, "text")
    assert translate(mistake) is mistake


def test_trouble_without_a_number() -> None:
    assert type(translate(ConnectionResetError())) is ConnectionLost
    assert type(translate(EOFError())) is ConnectionLost
    assert type(translate(pymysql.err.InterfaceError(0, "Not connected"))) is ConnectionLost
    assert type(translate(TimeoutError())) is Unavailable
    closed = RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")
    assert type(translate(closed)) is ConnectionLost
    other = RuntimeError("dictionary changed size during iteration")
    assert translate(other) is other
