"""`bring_up`: which way of getting services is taken, and why. The ways are modules of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.services import compose, external, local, warm
from bench.services.stack import NAMES, ServicesError, Stack
from bench.services.terms import AS_SHIPPED, Terms

HOWS = ("auto", "local", "compose", "external")
ENVIRONMENT = {"mysql": "BENCH_MYSQL_URL", "redis": "BENCH_REDIS_URL", "kafka": "BENCH_KAFKA_BOOTSTRAP"}
OPTIONS = {"mysql": "--mysql-url", "redis": "--redis-url", "kafka": "--kafka-bootstrap"}


def bring_up(
    needs: frozenset[str],
    *,
    how: str = "auto",
    folder: Path | None = None,
    mysql_url: str | None = None,
    redis_url: str | None = None,
    kafka_bootstrap: str | None = None,
    mysql_template: Path | None = None,
    redis_template: Path | None = None,
    terms: Terms = AS_SHIPPED,
    allow_wipe: bool = False,
    keep: bool = False,
    say: Callable[[str], None],
) -> Stack:
    """Returns a stack in which everything of `needs` ("mysql", "redis", "kafka") works. Raises ServicesError.

    `folder` is for data of local services: empty or not there yet, removed by `stop` unless `keep`.
    The templates (see `Stack.snapshot_mysql`) are used by local services alone; look at `Stack.restored`.
    `say` gets progress, and at the end one line per service.
    """
    if unknown := needs - set(NAMES):
        raise ServicesError(f"Unknown services {sorted(unknown)}; there are {', '.join(NAMES)}.")
    urls = given_urls({"mysql": mysql_url, "redis": redis_url, "kafka": kafka_bootstrap}, os.environ)
    chosen, why = choose(needs, how, urls, terms)
    say(f"services: {chosen} ({why})")
    stack: Stack
    if chosen == "external":
        stack = external.attach(needs, urls, folder=folder, allow_wipe=allow_wipe, say=say)
    elif chosen == "warm":
        stack = warm.attach(needs)
    elif chosen == "compose":
        stack = compose.start(needs, folder=folder, terms=terms, keep=keep, say=say)
    else:
        stack = local.start(
            needs,
            folder=folder,
            mysql_template=mysql_template,
            redis_template=redis_template,
            terms=terms,
            keep=keep,
            say=say,
        )
    for service in stack.services.values():
        say(service.line())
    return stack


def given_urls(arguments: Mapping[str, str | None], environment: Mapping[str, str]) -> dict[str, str]:
    """What was said on the command line, else in the environment."""
    found = {name: arguments.get(name) or environment.get(ENVIRONMENT[name]) for name in NAMES}
    return {name: url for name, url in found.items() if url}


def choose(
    needs: frozenset[str], how: str, urls: Mapping[str, str], terms: Terms = AS_SHIPPED
) -> tuple[str, str]:
    """(external | warm | local | compose, why)."""
    chosen, why = _choose(needs, how, urls, terms)
    if terms.pool_ratio is not None and needs and chosen != "local":
        raise ServicesError(
            f"--pool-ratio needs a MySQL of the run's own, and this one would be {chosen} ({why}). Say "
            "--services local, or leave it out."
        )
    return chosen, why


def _choose(needs: frozenset[str], how: str, urls: Mapping[str, str], terms: Terms) -> tuple[str, str]:
    if how not in HOWS:
        raise ServicesError(f"--services was {how!r}; it is one of {', '.join(HOWS)}.")
    if not needs:
        return "local", "nothing is needed"
    if how == "external" or (how == "auto" and needs & set(urls)):
        return "external", _external(needs, urls)
    why = "private processes of this run"
    if how == "auto" and warm.has(needs):
        up = warm.durability()
        if up == terms.durability and terms.pool_ratio is None:
            return "warm", "a stack is up, see `bench services status`"
        why += f"; the stack that is up has --durability {up} and a buffer pool of full size"
    absent = local.missing(needs)
    if how == "local" or (how == "auto" and not absent):
        if absent:
            raise ServicesError(_not_installed(absent))
        return "local", why
    if how == "compose" or compose.available():
        return "compose", "asked for" if how == "compose" else f"no local {' and '.join(absent)}"
    raise ServicesError(_not_installed(absent))


def _external(needs: frozenset[str], urls: Mapping[str, str]) -> str:
    lacking = [name for name in NAMES if name in needs and name not in urls]
    if lacking:
        wanted = " and ".join(f"{OPTIONS[name]} (or {ENVIRONMENT[name]})" for name in lacking)
        raise ServicesError(
            f"External services were asked for, and this run needs {', '.join(sorted(needs))}, but nothing "
            f"says where {' and '.join(lacking)} can be found. Give {wanted}, or none of the URLs to have "
            f"private services started."
        )
    return "URLs were given"


def _not_installed(absent: list[str]) -> str:
    return (
        f"This run needs {' and '.join(absent)}: not installed here, and there is no Docker daemon with "
        f"`docker compose` to fall back on. Type `make setup`, which installs MariaDB, Redis, a Java runtime "
        f"and Kafka where they are missing, or point the run at servers of yours with "
        f"{' '.join(OPTIONS[name] for name in absent)}."
    )
