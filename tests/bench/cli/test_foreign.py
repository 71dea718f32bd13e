"""The command lines about servers that others run: `bench run --url` and `bench conformance`."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.cli import main
from bench.cli.run import without_secrets
from bench.options import RunOptions
from bench.runner import Load
from schemes.protocol import encode
from tests.bench.load.servers import SECRET, MemoryServer, memory_server

URL = "ws://127.0.0.1:1/ws"


def bench(*words: str) -> Result:
    return CliRunner().invoke(main, words, catch_exceptions=False)


@pytest.fixture(scope="module")
def server() -> Iterator[MemoryServer]:
    with memory_server("--control") as running:
        yield running


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "Say what to measure"),
        (["--url", URL, "--scheme", "db"], "--scheme is about one that bench starts"),
        (["--url", URL, "--model", "cursor"], "--model is about one that bench starts"),
        (["--url", URL, "--services", "local"], "--services is about one that bench starts"),
        (["--url", "wss://h/ws"], "TLS is not spoken here"),
        (["--scheme", "db", "--token-secret", "s"], "name it with --url"),
        (["--url", URL, "--promise", "none", "--promise", "convergence"], "takes all promises back"),
        (["--url", URL, "--label", "db"], "none of memory"),
    ],
)
def test_what_contradicts_itself_is_a_usage_error(words: list[str], told: str) -> None:
    result = bench("run", *words)
    assert result.exit_code == 2
    assert told in " ".join(result.output.split())


def test_the_configuration_file_may_name_either_and_the_command_line_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bench.toml").write_text('[run]\nscheme = "db"\nusers = 20\n')
    assert bench("run", "--url", URL, "--dry-run").stdout.startswith("runs       1 x url\n")
    Path("bench.toml").write_text(f'[run]\nurl = "{URL}"\nusers = 20\n')
    assert bench("run", "--dry-run").stdout.startswith("runs       1 x url\n")
    assert bench("run", "--scheme", "memory", "--dry-run").stdout.startswith("runs       1 x memory\n")


def test_the_population_is_written_as_seed_would_load_it(tmp_path: Path) -> None:
    path = tmp_path / "people.jsonl"
    result = bench("run", "--url", URL, "--users", "20", "--rate", "7", "--write-population", str(path))
    assert result.exit_code == 0
    load = Load.of(RunOptions("url", users=20, rate_per_s=7))
    wanted = [encode(c).decode() for c in load.population.seed_conversations(load.plan.unread_at_start)]
    assert path.read_text().splitlines() == wanted
    assert len(wanted) == load.population.conversations


@pytest.mark.parametrize("given", [["--token-secret", "hidden"], ["--control-secret=hidden"]])
def test_secrets_do_not_stand_in_results(given: list[str]) -> None:
    told = without_secrets(["run", *given, "--users", "2"])
    assert "hidden" not in " ".join(told)
    assert (told[0], told[-2:]) == ("run", ["--users", "2"])


def test_a_password_in_an_address_is_not_written_down() -> None:
    given = ["run", "--mysql-url=mysql://me:pa:ss@db:3306/x", "--redis-url", "redis://:pw@cache:6379/0"]
    told = without_secrets([*given, "--kafka-bootstrap", "broker:9092", "--url", "ws://a:1/ws"])
    assert told == [
        "run", "--mysql-url=mysql://me:***@db:3306/x", "--redis-url", "redis://:***@cache:6379/0",
        "--kafka-bootstrap", "broker:9092", "--url", "ws://a:1/ws",
    ]  # fmt: skip


# --- conformance ------------------------------------------------------------------------------------------


def conformance(server: MemoryServer, *words: str) -> Result:
    secrets = ("--token-secret", SECRET, "--control-secret", SECRET)
    return bench("conformance", "--url", server.url, *secrets, *words)


def test_it_tells_each_row_and_what_they_come_to(server: MemoryServer) -> None:
    result = conformance(server, "--only", "READ", "--only", "subprotocol-is-chosen")
    assert result.exit_code == 0
    first, second, *_, last = result.stdout.splitlines()
    assert (first, second.split()[0]) == ("handshake", "holds")
    assert last == f"{server.url}/ws: of 9 rows 9 hold, 0 do not hold, 0 not available"


def test_a_row_that_does_not_hold_is_exit_code_12(server: MemoryServer) -> None:
    """A server that looks at no tokens fails the rows about them."""
    with memory_server("--control", "--auth", "off") as lax:
        result = conformance(lax, "--only", "auth", "--json")
    assert result.exit_code == 12
    rows = json.loads(result.stdout)["rows"]
    assert {row["verdict"] for row in rows} == {"does not hold"}
    assert all("UNAUTHENTICATED" in row["expected"] and "WELCOME" in row["came"] for row in rows)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--token-secret", SECRET], 2, "--population"),
        (["--token-secret", SECRET, "--control-secret", "wrong"], 3, "cannot be seeded"),
        (["--control-secret", SECRET], 3, "UNAUTHENTICATED"),
        (["--control-secret", SECRET, "--only", "nothing"], 2, "no such section or row"),
    ],
)
def test_what_cannot_be_tried_is_said(server: MemoryServer, words: list[str], code: int, told: str) -> None:
    result = bench("conformance", "--url", server.url, *words)
    assert (result.exit_code, told in " ".join(result.output.split())) == (code, True), result.output


def test_a_server_that_is_not_there_is_exit_code_3(tmp_path: Path) -> None:
    path = tmp_path / "people.jsonl"
    path.write_text('["d1","direct",[1,2],1,[1,1]]\n["d2","direct",[1,3],1,[1,1]]\n')
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{taken.getsockname()[1]}"
        result = bench("conformance", "--url", url, "--population", str(path))
    assert (result.exit_code, "cannot be greeted" in result.output) == (3, True)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "it has 0 direct conversations of two people, expected at least 2"),
        ("not json\n", "line 1 is no conversation"),
        ('["d1","direct",[1,2],1,[1,1]]\n["d2","direct",[1,2]]\n', "line 2 is no conversation"),
    ],
)
def test_a_file_of_something_else_is_a_usage_error(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "people.jsonl"
    path.write_text(content)
    result = bench("conformance", "--url", URL, "--population", str(path))
    assert (result.exit_code, told in " ".join(result.output.split())) == (2, True), result.output
