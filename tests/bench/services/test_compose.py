"""The containers must be what the local services are, as far as a file can show it."""

import re
from urllib.parse import urlsplit

import pytest

from bench.services import broker, compose

TEXT = compose.FILE.read_text()


@pytest.mark.parametrize("name", ["mysql", "redis", "kafka"])
def test_the_ports_are_those_that_the_harness_asks(name: str) -> None:
    url = compose.URLS[name]
    port = urlsplit(url if "://" in url else f"x://{url}").port
    assert f'"127.0.0.1:{port}:' in TEXT


def test_everything_is_on_loopback_and_below_the_clients_ports() -> None:
    published = re.findall(r'ports: \["([\d.]+):(\d+):\d+"\]', TEXT)
    assert len(published) == TEXT.count("ports:") == 3
    assert all(host == "127.0.0.1" and int(port) < 32_768 for host, port in published)


def test_kafka_is_set_as_the_local_one() -> None:
    containers = dict(re.findall(r'(KAFKA_\w+): "?([^"\n]+)"?', TEXT))
    differing = {"process.roles", "controller.listener.names"}  # as words, not as "…"
    for name, value in broker.SETTINGS.items():
        assert containers["KAFKA_" + name.upper().replace(".", "_")] == value, name
    assert differing <= set(broker.SETTINGS)
    assert f"apache/kafka:{broker.wanted_version()}" in TEXT


def test_without_docker_it_is_not_available(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert not compose.available()
