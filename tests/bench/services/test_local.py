from pathlib import Path

import pytest

from bench.services import ServicesError, broker, local, mariadb, probe
from bench.services.cache import cache_dir
from bench.services.redis_server import RedisServer


class Fake:
    """A recipe whose service is `sleep`, or whatever else."""

    name = "fake"
    ports = 1
    grace_s = 1.0
    restored = False

    def __init__(self, folder: Path, *argv: str) -> None:
        self.folder = folder
        self._argv = list(argv)

    def prepare(self) -> None:
        self.folder.mkdir(exist_ok=True)

    def argv(self, ports: list[int]) -> list[str]:
        return [word.format(port=ports[0]) for word in self._argv]

    def url(self, ports: list[int]) -> str:
        return f"127.0.0.1:{ports[0]}"

    def probe(self, url: str) -> probe.Facts:
        return probe.Facts("Fake", "1", {"a": "b"})


LISTEN = "import socket, time; s = socket.create_server(('127.0.0.1', {port})); time.sleep(60)"


def _start(monkeypatch: pytest.MonkeyPatch, parent: Path, *argv: str) -> local.LocalStack:
    monkeypatch.setattr(local, "_recipe", lambda name, folder, *templates: Fake(folder / name, *argv))
    return local.start(frozenset({"redis"}), folder=parent / "run", say=lambda text: None)


def test_a_service_that_ends_is_reported_with_its_log(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ServicesError, match="exited with status 3") as caught:
        _start(monkeypatch, tmp_path, "sh", "-c", "echo no memory; exit 3")
    assert "no memory" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_service_that_never_answers_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(local, "READY_S", 0.2)
    with pytest.raises(ServicesError, match="did not answer within"):
        _start(monkeypatch, tmp_path, "sleep", "60")
    assert not (tmp_path / "run").exists()


def test_a_port_taken_in_the_meantime_is_not_the_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import socket
    import sys

    real = local.free_ports
    taken = real(1)
    answers = iter([taken, *(real(1) for _ in range(3))])
    monkeypatch.setattr(local, "free_ports", lambda n: next(answers))
    with (
        socket.create_server(("127.0.0.1", taken[0])),
        _start(monkeypatch, tmp_path, sys.executable, "-c", LISTEN) as stack,
    ):
        assert stack.services["fake"].url != f"127.0.0.1:{taken[0]}"
        assert stack.alive() == []


def test_a_scheme_that_needs_nothing_gets_an_empty_stack(tmp_path: Path) -> None:
    with local.start(frozenset(), folder=tmp_path / "run", say=lambda text: None) as stack:
        assert stack.services == {}
        assert stack.alive() == []
    assert not (tmp_path / "run").exists()


def test_ctrl_c_while_it_says_what_it_starts_leaves_no_folder(tmp_path: Path) -> None:
    def say(text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        local.start(frozenset({"redis"}), folder=tmp_path / "run", say=say)
    assert not (tmp_path / "run").exists()


def test_a_folder_with_something_in_it_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    with pytest.raises(ServicesError, match="not empty"):
        local.start(frozenset({"redis"}), folder=tmp_path, say=lambda text: None)
    assert (tmp_path / "precious").exists()


def test_the_buffer_pool_shrinks_on_a_small_machine() -> None:
    assert [mariadb.buffer_pool_mb(mb) for mb in (512, 4096, 8192, 64_000)] == [128, 512, 1024, 1024]


def test_redis_keeps_nothing_on_disk(tmp_path: Path) -> None:
    argv = RedisServer(tmp_path, None).argv([26379])
    words = dict(zip(argv[1::2], argv[2::2], strict=True))
    assert words["--save"] == ""
    assert words["--appendonly"] == "no"
    assert words["--bind"] == "127.0.0.1"


def test_a_template_that_is_not_there_means_an_empty_service(tmp_path: Path) -> None:
    assert not RedisServer(tmp_path, tmp_path / "nowhere.rdb").restored


def test_kafka_is_found_where_set_up_puts_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert broker.libraries() is None
    libs = cache_dir() / f"kafka-{broker.wanted_version()}" / "libs"
    libs.mkdir(parents=True)
    (libs / "kafka_2.13-4.1.1.jar").touch()
    assert broker.libraries() == libs
    other = tmp_path / "kafka" / "libs"
    other.mkdir(parents=True)
    (other / "kafka_2.13-4.2.0.jar").touch()
    monkeypatch.setenv("KAFKA_HOME", str(other.parent))
    assert broker.libraries() == other
    assert broker.installed_version(other) == "4.2.0"
