from collections.abc import Iterable

import pytest

from bench.services import ServicesError, bring_up
from bench.services.choose import choose, given_urls
from bench.services.ports import free_ports

ALL = frozenset({"mysql", "redis", "kafka"})
URLS = {"mysql": "mysql://h/d", "redis": "redis://h", "kafka": "h:1"}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> "Machine":
    return Machine(monkeypatch)


class Machine:
    """What this machine seems to have."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self.has()

    def has(self, local: Iterable[str] = (), docker: bool = False, warm: bool = False) -> None:
        absent = lambda needs: sorted(needs - set(local))  # noqa: E731 - three of a kind
        self._patch.setattr("bench.services.local.missing", absent)
        self._patch.setattr("bench.services.compose.available", lambda: docker)
        self._patch.setattr("bench.services.warm.has", lambda needs: warm)
        self._patch.setattr("bench.services.warm.durability", lambda: "article" if warm else None)


def test_urls_come_first(machine: Machine) -> None:
    machine.has(local=ALL, docker=True, warm=True)
    assert choose(ALL, "auto", URLS)[0] == "external"


def test_then_a_stack_that_is_up(machine: Machine) -> None:
    machine.has(local=ALL, docker=True, warm=True)
    assert choose(ALL, "auto", {})[0] == "warm"
    assert choose(ALL, "local", {})[0] == "local"


def test_then_local_binaries_then_containers(machine: Machine) -> None:
    machine.has(local=ALL, docker=True)
    assert choose(ALL, "auto", {})[0] == "local"
    machine.has(local={"mysql", "redis"}, docker=True)
    assert choose(ALL, "auto", {}) == ("compose", "no local kafka")
    assert choose(frozenset({"mysql"}), "auto", {})[0] == "local"


def test_nothing_at_all_says_what_to_type(machine: Machine) -> None:
    with pytest.raises(ServicesError, match="make setup") as caught:
        choose(frozenset({"mysql"}), "auto", {})
    assert "--mysql-url" in str(caught.value)
    assert "--kafka-bootstrap" not in str(caught.value)
    with pytest.raises(ServicesError, match="make setup"):
        choose(ALL, "local", {})


def test_urls_for_half_of_the_needs_name_the_other_half(machine: Machine) -> None:
    machine.has(local=ALL)
    with pytest.raises(ServicesError, match=r"Give --redis-url \(or BENCH_REDIS_URL\)") as caught:
        choose(frozenset({"mysql", "redis"}), "auto", {"mysql": "mysql://h/d"})
    assert "--kafka-bootstrap" not in str(caught.value)


def test_a_url_for_something_that_is_not_needed_changes_nothing(machine: Machine) -> None:
    machine.has(local=ALL)
    assert choose(frozenset({"mysql"}), "auto", {"redis": "redis://h"})[0] == "local"


def test_unknown_words_are_refused(machine: Machine) -> None:
    with pytest.raises(ServicesError, match="one of auto, local, compose, external"):
        choose(ALL, "docker", {})
    with pytest.raises(ServicesError, match=r"\['mongo'\]"):
        bring_up(frozenset({"mongo"}), say=lambda text: None)


def test_the_command_line_wins_over_the_environment() -> None:
    environment = {"BENCH_MYSQL_URL": "mysql://env/d", "BENCH_KAFKA_BOOTSTRAP": "env:1"}
    found = given_urls({"mysql": "mysql://given/d", "redis": None, "kafka": None}, environment)
    assert found == {"mysql": "mysql://given/d", "kafka": "env:1"}


def test_a_server_that_is_not_there_is_a_paragraph_without_the_password() -> None:
    port = free_ports(1)[0]
    with pytest.raises(ServicesError) as caught:
        bring_up(
            frozenset({"mysql"}), mysql_url=f"mysql://me:secret@127.0.0.1:{port}/d", say=lambda text: None
        )
    text = str(caught.value)
    assert "could not be reached" in text
    assert "check host and port" in text
    assert "secret" not in text


def test_a_url_of_another_kind_is_a_paragraph() -> None:
    with pytest.raises(ServicesError, match="is not a MySQL URL; one looks like"):
        bring_up(frozenset({"mysql"}), mysql_url="postgres://h/d", say=lambda text: None)
