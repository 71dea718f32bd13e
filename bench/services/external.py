"""Services that somebody else runs. They are reached by URL, never started, stopped or set.

A run empties its databases. So the ones it made carry a mark (table or key `readstate_bench_owner`), and one
that holds anything and has no mark is left alone unless the user says otherwise.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from bench.services import probe
from bench.services.cache import scratch_dir
from bench.services.ports import answers
from bench.services.probe import Facts, MysqlUrl, NotReady, Refused
from bench.services.stack import NAMES, Service, ServicesError, Stack, hidden

MARK = "readstate_bench_owner"

_PROBES: dict[str, Callable[[str], Facts]] = {
    "mysql": probe.mysql,
    "redis": probe.redis_server,
    "kafka": probe.kafka,
}


class ExternalStack(Stack):
    def alive(self) -> list[str]:
        return [
            f"{name} ({service.engine}) at {hidden(service.url)} accepts no connections any more"
            for name, service in self.services.items()
            if not _answers(name, service.url)
        ]

    def stop(self) -> None:
        """Signs the databases again, in case a run emptied them with the mark inside."""
        for name, service in self.services.items():
            try:
                _CLAIMS[name](service.url, True)
            except (NotReady, Refused):
                continue  # gone: then there is nothing to sign
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()


def attach(
    needs: frozenset[str],
    urls: Mapping[str, str],
    *,
    folder: Path | None,
    allow_wipe: bool,
    say: Callable[[str], None],
) -> ExternalStack:
    services = {name: describe(name, urls[name], how="external") for name in NAMES if name in needs}
    for name, service in services.items():
        claim(name, service.url, allow_wipe=allow_wipe)
        say(f"{name} at {hidden(service.url)} will be emptied by this run")
    return ExternalStack(services, folder or Path(tempfile.mkdtemp(prefix="readstate-", dir=scratch_dir())))


def describe(name: str, url: str, *, how: str, pids: tuple[int, ...] = ()) -> Service:
    """Proves that a service works and says what it is."""
    try:
        facts = _PROBES[name](url)
    except ValueError as error:
        raise ServicesError(f"{error}.") from error
    except (NotReady, Refused) as error:
        raise ServicesError(_unreachable(name, url, error)) from error
    return Service(name, facts.engine, facts.version or "unknown", how, url, facts.settings, pids)


def claim(name: str, url: str, *, allow_wipe: bool) -> None:
    """Makes sure that what is in the database may be lost, and marks it."""
    try:
        _CLAIMS[name](url, allow_wipe)
    except Refused as error:
        raise ServicesError(
            f"{name} at {hidden(url)} works, but may not be used: {error} A run empties it, so give a "
            f"database of its own, or say --allow-wipe if what is in there may be lost."
        ) from error
    except NotReady as error:
        raise ServicesError(_unreachable(name, url, error)) from error


def _claim_mysql(url: str, allow_wipe: bool) -> None:
    parsed = MysqlUrl.parse(url)
    if not parsed.database:
        raise Refused("the URL names no database.")
    quoted = f"`{parsed.database.replace('`', '``')}`"
    with probe.mysql_errors(), parsed.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s", (parsed.database,)
        )
        tables = {str(row[0]) for row in cursor.fetchall()}
        if tables and MARK not in tables and not allow_wipe:
            raise Refused(f"database {parsed.database} holds {len(tables)} tables not made by this tool.")
        if not tables:
            cursor.execute(f"CREATE DATABASE IF NOT EXISTS {quoted} CHARACTER SET utf8mb4")
        cursor.execute(f"CREATE TABLE IF NOT EXISTS {quoted}.{MARK} (id INT NOT NULL PRIMARY KEY)")


def _claim_redis(url: str, allow_wipe: bool) -> None:
    with probe.redis_client(url) as client:
        keys = int(client.dbsize())
        if keys and not client.exists(MARK) and not allow_wipe:
            raise Refused(f"its database holds {keys} keys not made by this tool.")
        client.set(MARK, "1")


def _claim_kafka(url: str, allow_wipe: bool) -> None:
    """Topics carry names of the run's own; nothing of anybody else is touched."""


_CLAIMS: dict[str, Callable[[str, bool], None]] = {
    "mysql": _claim_mysql,
    "redis": _claim_redis,
    "kafka": _claim_kafka,
}


def _answers(name: str, url: str) -> bool:
    if name == "mysql":
        return probe.mysql_answers(url)
    parts = urlsplit(url if "://" in url else f"kafka://{url.partition(',')[0]}")
    return answers(parts.hostname or "127.0.0.1", parts.port or (6379 if name == "redis" else 9092))


def _unreachable(name: str, url: str, error: Exception) -> str:
    said = str(error).rstrip(".")
    if isinstance(error, Refused):
        return (
            f"{name} at {hidden(url)} answered and refused: {said}. "
            f"Check user, password and database in the URL."
        )
    return (
        f"{name} at {hidden(url)} could not be reached: {said}. A working server was expected there; "
        f"check host and port, and that it runs and can be reached from this machine."
    )
