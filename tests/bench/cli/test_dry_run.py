"""`bench run --dry-run` says what will be done, and under which terms, and starts nothing."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from bench.cli import main


def said(*words: str) -> list[str]:
    words = ("run", "--users", "30", "--rate", "5", "--duration", "1s", "--warmup", "0s", "--dry-run", *words)
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def test_terms_are_told_by_store_as_they_will_be_set() -> None:
    terms = ("--durability", "power", "--store-rtt", "2ms", "--pool-ratio", "0.25")
    lines = said("--scheme", "all", *terms)
    at = next(i for i, line in enumerate(lines) if line.startswith("terms "))
    assert lines[at].split(maxsplit=1)[1] == (
        "--durability power, --store-rtt 2 ms, --pool-ratio: buffer pool 0.25 x the data"
    )
    assert [line.strip() for line in lines[at + 1 :]] == [
        "memory: none, an ACK rests on no store",
        "db: power, an ACK rests on mysql (mysql power)",
        "redis: power, an ACK rests on mysql (mysql power, redis none)",
        "queue: power, an ACK rests on kafka and mysql (kafka power, mysql power, redis none)",
        "db/cursor: power, an ACK rests on mysql (mysql power)",
    ]


def test_by_default_each_store_is_as_it_is_shipped() -> None:
    lines = said("--scheme", "queue")
    assert (
        "--durability article, --store-rtt 0 ms, --pool-ratio: buffer pool of this machine's size"
        in lines[-2]
    )
    assert lines[-1].strip().startswith("queue: process, an ACK rests on kafka and mysql (kafka process")


@pytest.mark.parametrize("words", [("--services", "external"), ("--mysql-url", "mysql://u@h/d")])
def test_services_that_are_there_already_are_not_promised_to_be_set(words: tuple[str, ...]) -> None:
    assert "services that you name are left as they are" in "\n".join(said("--scheme", "db", *words))


def test_a_server_that_runs_already_has_its_own_terms() -> None:
    lines = said("--url", "ws://127.0.0.1:9/ws")
    assert lines[-1] == "terms      as the server that runs already has them"


def test_both_drivers_double_the_arms_that_have_mysql() -> None:
    assert said("--scheme", "all", "--mysql-driver", "both")[0] == (
        "runs       1 x memory, db/aiomysql, db/asyncmy, redis/aiomysql, redis/asyncmy, queue/aiomysql, "
        "queue/asyncmy, db/cursor/aiomysql, db/cursor/asyncmy"
    )
