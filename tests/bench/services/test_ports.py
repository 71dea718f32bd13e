import random
import socket

import pytest

from bench.services.ports import HIGHEST, LOWEST, answers, free_ports, is_free


def test_ports_stay_below_those_the_kernel_gives_to_clients() -> None:
    assert all(LOWEST <= port <= HIGHEST < 32_768 for port in free_ports(50))


def test_ports_are_different_and_can_be_bound() -> None:
    ports = free_ports(10)
    assert len(set(ports)) == 10
    assert all(is_free(port) for port in ports)


def test_a_port_in_use_is_neither_free_nor_chosen() -> None:
    first = free_ports(1, random.Random(1))[0]
    with socket.socket() as server:
        server.bind(("127.0.0.1", first))
        server.listen()
        assert not is_free(first)
        assert answers("127.0.0.1", first)
        assert free_ports(1, random.Random(1)) != [first]
    assert not answers("127.0.0.1", first)


def test_asking_for_more_than_there_are_says_how_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.services.ports.is_free", lambda port: port < LOWEST + 3)
    with pytest.raises(OSError, match="only 3 free ports"):
        free_ports(4)
