import pytest

from bench.services import probe
from bench.services.ports import free_ports
from bench.services.probe import MysqlUrl, NotReady
from bench.services.stack import Service, hidden


def test_a_mysql_url_with_everything_in_it() -> None:
    url = MysqlUrl.parse("mysql+asyncmy://me:p%40ss@db.example:3307/chat")
    assert url == MysqlUrl("asyncmy", "me", "p@ss", "db.example", 3307, "chat")


def test_a_mysql_url_with_defaults() -> None:
    assert MysqlUrl.parse("mysql://db.example") == MysqlUrl("aiomysql", "root", "", "db.example", 3306, "")


@pytest.mark.parametrize("url", ["postgres://x/y", "localhost:3306", "mysql:///db", ""])
def test_something_else_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(ValueError, match="mysql://user:password@host:3306/db"):
        MysqlUrl.parse(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("mysql://me:secret@h/db", "mysql://me:***@h/db"),
        ("redis://:secret@h:1/0", "redis://:***@h:1/0"),
        ("127.0.0.1:9092", "127.0.0.1:9092"),
    ],
)
def test_passwords_are_not_shown(url: str, shown: str) -> None:
    assert hidden(url) == shown


def test_a_description_for_results_has_no_password() -> None:
    service = Service("mysql", "MySQL", "8.4", "external", "mysql://me:secret@h/db")
    assert "secret" not in service.line() + str(service.to_dict())


def test_a_closed_port_is_not_ready() -> None:
    port = free_ports(1)[0]
    with pytest.raises(NotReady, match="refused"):
        probe.mysql(f"mysql://root@127.0.0.1:{port}/x")
    with pytest.raises(NotReady, match="refused"):
        probe.redis_server(f"redis://127.0.0.1:{port}/0")
    with pytest.raises(NotReady, match=r"Unable to bootstrap|refused"):
        probe.kafka(f"127.0.0.1:{port}")
