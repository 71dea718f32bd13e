"""The consumer's command line: a server's options and its own."""

from __future__ import annotations

import pytest

from schemes import SCHEMES
from schemes.queue.consumer import parse
from schemes.queue.options import DEFAULTS


def test_it_takes_every_option_of_the_server() -> None:
    options = SCHEMES["queue"].options
    words = [f"--{name}={option.default}" for name, option in options.items()]
    words += ["--node=3", "--receipt-members=50", "--redis-prefix=a:", "--redis-exclusive=yes"]
    words += ["--partitions=4"]
    found = parse(words)
    assert (found.topic, found.node, found.receipt_members, found.redis_prefix, found.partitions) == (
        *(options["topic"].default, 3, 50),
        *("a:", 4),
    )


def test_set_is_taken_as_servers_take_it() -> None:
    found = parse(["--set", "topic=other", "--set=group=g", "--set", "redis-exclusive=yes"])
    assert (found.topic, found.group) == ("other", "g")


def test_defaults_are_the_servers() -> None:
    found = parse([])
    assert found.topic == SCHEMES["queue"].options["topic"].default == DEFAULTS["topic"]
    assert found.queue_order == SCHEMES["queue"].options["queue-order"].default
    assert found.model == SCHEMES["queue"].options["model"].default


def test_what_it_does_not_know_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse(["--topik=x"])
    assert end.value.code == 2
    assert "--topik=x" in capsys.readouterr().err
