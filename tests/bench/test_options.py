"""What may be asked of a server that runs already, and what contradicts that."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.options import BadOptions, Places, RunOptions, Target, arms, check, check_target, target_url


@pytest.mark.parametrize(
    ("text", "url", "control"),
    [
        ("ws://127.0.0.1:8080", "ws://127.0.0.1:8080/ws", "ws://127.0.0.1:8080/control"),
        ("ws://chat.example/", "ws://chat.example/ws", "ws://chat.example/control"),
        ("ws://h:80/v2/ws", "ws://h:80/v2/ws", "ws://h:80/control"),
        ("ws://[::1]:9000/ws", "ws://[::1]:9000/ws", "ws://[::1]:9000/control"),
    ],
)
def test_an_address_gets_its_path(text: str, url: str, control: str) -> None:
    assert target_url(text) == url
    assert Target(url).control_url == control


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1:8080",
        "http://h/ws",
        "wss://h/ws",
        "ws://",
        "ws://h:0/ws",
        "ws://h:99999",
        "ws://h/ws?t=1",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(BadOptions, match="--url is ws://host:port/ws, got"):
        target_url(text)


@pytest.mark.parametrize(
    "said",
    ["scheme", "services", "mysql_url", "redis_url", "kafka_bootstrap", "port", "auth", "cache",
     "mysql_driver", "model", "guard", "queue_order"],
)  # fmt: skip
def test_a_server_that_runs_has_no_options_of_ours(said: str) -> None:
    with pytest.raises(BadOptions, match=f"--{said.replace('_', '-')} is about one that bench starts"):
        check_target({"url", said}, "")


@pytest.mark.parametrize(
    "said", ["token_secret", "control_secret", "server_pid", "promise", "write_population"]
)
def test_what_is_about_a_server_that_runs_needs_its_address(said: str) -> None:
    with pytest.raises(BadOptions, match=f"--{said.replace('_', '-')} is about a server that runs already"):
        check_target({"scheme", said}, "")


def test_something_must_be_measured() -> None:
    with pytest.raises(BadOptions, match=r"--scheme memory\|.*\|all, or --url"):
        check_target({"users"}, "")


@pytest.mark.parametrize("label", ["memory", "all", "two words", "../up", "-x", "x" * 41])
def test_its_label_is_a_name_and_none_of_ours(label: str) -> None:
    with pytest.raises(BadOptions, match="none of memory"):
        check_target({"url"}, label)


def test_what_goes_together_is_let_through() -> None:
    check_target({"url", "token_secret", "control_secret", "server_pid", "users", "rate"}, "go-server_2.1")
    check_target({"scheme", "model", "services"}, "a note, of any kind")


def test_runs_are_repeated_only_where_the_server_can_be_loaded_anew() -> None:
    chosen = RunOptions("url", repeat=2, target=Target("ws://h/ws"))
    for target, wipe in ((chosen.target, True), (Target("ws://h/ws", control_secret="s"), False)):
        with pytest.raises(BadOptions, match="--repeat 2 with --url"):
            check(replace(chosen, target=target, places=Places(allow_wipe=wipe)))
    check(replace(chosen, target=Target("ws://h/ws", control_secret="s"), places=Places(allow_wipe=True)))
    check(replace(chosen, repeat=1))


def test_it_is_one_arm_by_its_name() -> None:
    (arm,) = arms(RunOptions("go", target=Target("ws://h/ws")))
    assert (arm.scheme, arm.name, dict(arm.options)) == ("go", "go", {})
