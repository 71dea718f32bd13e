"""What the consumer answers on its port."""

from __future__ import annotations

import json

import pytest

from schemes.queue.health import Status, respond


@pytest.mark.parametrize(
    ("path", "code"),
    [("/healthz", 200), ("/readyz", 503), ("/metrics", 200), ("/status", 200), ("/", 404), ("/status/", 404)],
)
def test_codes(path: str, code: int) -> None:
    answer = respond(f"GET {path} HTTP/1.1\r\n".encode(), Status())
    assert answer.startswith(b"HTTP/1.1 %d " % code)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % len(body) in head


@pytest.mark.parametrize("line", [b"", b"\r\n", b"POST /status HTTP/1.1\r\n", b"\x16\x03\x01"])
def test_what_is_no_get_is_not_found(line: bytes) -> None:
    assert respond(line, Status()).startswith(b"HTTP/1.1 404 ")


def test_ready_and_the_figures() -> None:
    status = Status(ready=True, applied=7, dead_letters=2, positions={3: 9}, committed={3: 8})
    assert respond(b"GET /readyz HTTP/1.1\r\n", status).startswith(b"HTTP/1.1 200 ")
    metrics = respond(b"GET /metrics HTTP/1.1\r\n", status).decode()
    assert "readstate_consumer_applied 7\n" in metrics
    assert 'readstate_consumer_committed_offset{partition="3"} 8\n' in metrics
    body = respond(b"GET /status HTTP/1.1\r\n", status).partition(b"\r\n\r\n")[2]
    assert json.loads(body)["positions"] == {"3": 9}
