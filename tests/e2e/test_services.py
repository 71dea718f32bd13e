"""The real thing: MariaDB, Redis and Kafka as private processes, from start to nothing left."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from bench.services import Service, ServicesError, Stack, bring_up, warm
from bench.services.cache import template_path
from bench.services.external import MARK
from bench.services.probe import MysqlUrl

pytestmark = pytest.mark.services

ALL = frozenset({"mysql", "redis", "kafka"})


def _up(needs: frozenset[str], folder: Path, **more: object) -> Stack:
    return bring_up(needs, how="local", folder=folder, say=lambda text: None, **more)  # type: ignore[arg-type]


def _wait(condition: object, within_s: float = 10.0) -> bool:
    assert callable(condition)
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def _gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _port(service: Service) -> int:
    return int(service.url.rsplit(":", 1)[1].split("/")[0])


def _sql(service: Service, statement: str) -> tuple[tuple[object, ...], ...]:
    url = MysqlUrl.parse(service.url)
    with url.connect(database=url.database) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def test_a_stack_from_start_to_nothing_left(tmp_path: Path) -> None:
    stack = _up(ALL, tmp_path / "run")
    with stack:
        mysql, broker, cache = (stack.services[name] for name in ("mysql", "kafka", "redis"))
        assert mysql.engine in ("MariaDB", "MySQL")
        assert mysql.settings["innodb_flush_log_at_trx_commit"] == "1"
        assert mysql.settings["transaction_isolation"] == "READ-COMMITTED"
        assert mysql.settings["time_zone"] == "+00:00"
        assert mysql.settings["local_infile"] == "ON"
        assert mysql.settings["max_connections"] == "400"
        assert cache.settings["save"] == "(none)"
        assert cache.settings["appendonly"] == "no"
        assert broker.settings["broker.session.timeout.ms"] == "1500"
        assert broker.settings["group.coordinator.append.linger.ms"] == "5"
        assert broker.settings["auto.create.topics.enable"] == "false"
        assert broker.version.startswith("4.")
        assert all(_port(service) < 32_768 for service in stack.services.values())
        assert stack.alive() == []
        assert (stack.folder / "services.json").is_file()

        stack.signal("redis", signal.SIGKILL)
        assert _wait(stack.alive)
        assert stack.alive() == [f"redis (Redis, pid {cache.pids[0]}) was killed by SIGKILL"]
        again = stack.restart("redis")
        assert again.url == cache.url
        assert again.pids != cache.pids
        assert stack.alive() == []
        pids = [pid for service in stack.services.values() for pid in service.pids]
        ports = [_port(service) for service in stack.services.values()]
    stack.stop()  # once more: nothing
    assert all(_gone(pid) for pid in pids)
    assert not stack.folder.exists()
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=1)


def test_kafka_comes_back_from_a_crash(tmp_path: Path) -> None:
    with _up(frozenset({"kafka"}), tmp_path / "run") as stack:
        stack.signal("kafka", signal.SIGKILL)
        assert _wait(stack.alive)
        stack.restart("kafka")
        assert stack.alive() == []


def test_a_snapshot_is_what_the_next_stack_starts_from(tmp_path: Path) -> None:
    needs = frozenset({"mysql", "redis"})
    rows, dump = tmp_path / "seeds" / "mysql", tmp_path / "seeds" / "redis"
    with _up(needs, tmp_path / "one", mysql_template=rows, redis_template=dump) as stack:
        assert stack.restored == frozenset()
        _sql(stack.services["mysql"], "CREATE TABLE t (id INT PRIMARY KEY) AS SELECT 7 AS id")
        redis.Redis.from_url(stack.services["redis"].url).set("key", "value")
        stack.snapshot_mysql(rows)
        stack.snapshot_redis(dump)
        assert stack.alive() == []
        assert _sql(stack.services["mysql"], "SELECT id FROM t") == ((7,),)
    with _up(needs, tmp_path / "two", mysql_template=rows, redis_template=dump) as stack:
        assert stack.restored == needs
        assert _sql(stack.services["mysql"], "SELECT id FROM t") == ((7,),)
        assert redis.Redis.from_url(stack.services["redis"].url).get("key") == b"value"
        _sql(stack.services["mysql"], "INSERT INTO t VALUES (8)")
        stack.restart("redis")
        assert redis.Redis.from_url(stack.services["redis"].url).get("key") is None  # a cache forgets
    with _up(frozenset({"mysql"}), tmp_path / "three", mysql_template=rows) as stack:
        assert _sql(stack.services["mysql"], "SELECT id FROM t") == ((7,),)  # the template was not touched


PARENT = """
import sys, time
from pathlib import Path
from bench.services import bring_up
with bring_up(frozenset(sys.argv[1:]), how="local", folder=None, say=lambda text: None) as stack:
    print(stack.folder, *[service.pids[0] for service in stack.services.values()], flush=True)
    time.sleep(60)
"""


def test_a_killed_parent_leaves_no_process_and_the_next_run_sweeps_up(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, *ALL], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert parent.stdout
    folder, *pids = parent.stdout.readline().split()
    assert len(pids) == 3
    parent.kill()
    parent.communicate()
    assert _wait(lambda: all(_gone(int(pid)) for pid in pids), within_s=3)
    assert Path(folder).is_dir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp_path))
        with _up(frozenset({"redis"}), tmp_path / "next"):
            assert not Path(folder).exists()


def test_ctrl_c_in_the_terminal_lets_the_parent_stop_its_services(tmp_path: Path) -> None:
    """SIGINT goes to the parent's whole group, as from a terminal."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, "mysql", "redis"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
        start_new_session=True,
    )
    assert parent.stdout
    folder, *pids = parent.stdout.readline().split()
    os.killpg(parent.pid, signal.SIGINT)
    parent.communicate(timeout=20)
    assert all(_gone(int(pid)) for pid in pids)
    assert not Path(folder).exists()


def test_a_service_that_cannot_start_quotes_its_log(tmp_path: Path) -> None:
    broken = tmp_path / "template"
    broken.mkdir()
    (broken / "ibdata1").write_text("this is no tablespace")
    with pytest.raises(ServicesError, match=r"mysql was started and exited with status \d+. Its log ends"):
        _up(frozenset({"mysql", "redis"}), tmp_path / "run", mysql_template=broken)
    assert not (tmp_path / "run").exists()


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A warm stack of this test's own, whatever is up on the machine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield
    warm.down()


@pytest.mark.usefixtures("own_cache")
def test_a_warm_stack_outlives_its_starter_and_serves_runs() -> None:
    script = "from bench.cli.services import command; command(['up', '--needs', 'mysql,redis'])"
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=60)
    said: list[str] = []
    with bring_up(frozenset({"redis"}), say=said.append) as stack:
        assert "warm" in said[0]
        assert not stack.can_snapshot
        redis.Redis.from_url(stack.services["redis"].url).ping()
        with pytest.raises(ServicesError, match="keeps its hands off"):
            stack.snapshot_redis(Path("x"))
    pids = [pid for service in warm.attach().services.values() for pid in service.pids]
    folder = warm.attach().folder
    assert not any(_gone(pid) for pid in pids)
    assert warm.down() == ["mysql", "redis"]
    assert all(_gone(pid) for pid in pids)
    assert not folder.exists()


class TestExternal:
    """Somebody else's servers, played by private ones."""

    @pytest.fixture(scope="class")
    @classmethod
    def servers(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Service]]:
        with _up(ALL, tmp_path_factory.mktemp("external") / "run") as stack:
            yield stack.services

    def _attach(self, servers: dict[str, Service], name: str, url: str, **more: object) -> Stack:
        argument = {"mysql": "mysql_url", "redis": "redis_url", "kafka": "kafka_bootstrap"}[name]
        return bring_up(frozenset({name}), say=lambda text: None, **{argument: url}, **more)  # type: ignore[arg-type]

    def test_a_database_that_is_missing_is_made_and_marked(self, servers: dict[str, Service]) -> None:
        url = servers["mysql"].url.replace("/readstate", "/fresh")
        for _ in range(2):
            with self._attach(servers, "mysql", url) as stack:
                assert stack.services["mysql"].how == "external"
                assert stack.alive() == []
        assert _sql(servers["mysql"], f"SELECT COUNT(*) FROM fresh.{MARK}") == ((0,),)

    def test_a_strangers_database_is_left_alone(self, servers: dict[str, Service]) -> None:
        _sql(servers["mysql"], "CREATE DATABASE precious")
        _sql(servers["mysql"], "CREATE TABLE precious.t (id INT PRIMARY KEY)")
        url = servers["mysql"].url.replace("/readstate", "/precious")
        with pytest.raises(ServicesError, match=r"holds 1 tables not made by this tool.*--allow-wipe"):
            self._attach(servers, "mysql", url)
        with self._attach(servers, "mysql", url, allow_wipe=True):
            pass

    def test_a_url_without_a_database_is_refused(self, servers: dict[str, Service]) -> None:
        with pytest.raises(ServicesError, match="names no database"):
            self._attach(servers, "mysql", servers["mysql"].url.replace("/readstate", ""))

    def test_a_wrong_password_is_a_paragraph(self, servers: dict[str, Service]) -> None:
        _sql(servers["mysql"], "CREATE USER 'me'@'127.0.0.1' IDENTIFIED BY 'right'")
        url = servers["mysql"].url.replace("root@", "me:wrong@")
        with pytest.raises(ServicesError, match="answered and refused: Access denied") as caught:
            self._attach(servers, "mysql", url)
        assert "wrong@" not in str(caught.value)

    def test_a_strangers_redis_is_left_alone(self, servers: dict[str, Service]) -> None:
        client = redis.Redis.from_url(servers["redis"].url)
        client.flushdb()
        client.set("precious", "1")
        with pytest.raises(ServicesError, match="holds 1 keys not made by this tool"):
            self._attach(servers, "redis", servers["redis"].url)
        with self._attach(servers, "redis", servers["redis"].url, allow_wipe=True):
            client.flushdb()  # as a run does
            client.set("left-over", "1")
        with self._attach(servers, "redis", servers["redis"].url):  # signed again when the run ended
            pass

    def test_kafka_by_bootstrap(self, servers: dict[str, Service]) -> None:
        with self._attach(servers, "kafka", servers["kafka"].url) as stack:
            assert stack.services["kafka"].settings["auto.create.topics.enable"] == "false"
            assert stack.alive() == []

    def test_a_server_that_goes_away_is_named(self, tmp_path: Path) -> None:
        with _up(frozenset({"redis"}), tmp_path / "run") as theirs:
            ours = self._attach({}, "redis", theirs.services["redis"].url)
            theirs.signal("redis", signal.SIGKILL)
            assert _wait(ours.alive)
            assert ours.alive()[0].startswith("redis (Redis) at redis://127.0.0.1")
            ours.stop()


def test_the_templates_name_needs_no_running_server() -> None:
    from bench.services import mariadb

    assert template_path("mysql", mariadb.version(), {"seed": 1}).name.startswith("mysql-")
