"""What processes say of their stalls, gathered; and that nonsense is nothing."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bench.load.config import Report
from bench.load.watched import Watched
from bench.record import Stall
from bench.watching import Watching, status

MS = 1_000_000
TOLD = {
    "now_ns": 5_000 * MS,
    "since_ns": 1_000 * MS,
    "found": [["loop", 2_000 * MS, 7_000], ["gc", 3_000 * MS, 9]],
}


def test_a_server_on_the_same_clock() -> None:
    watching = Watching()
    watching.heard("server", TOLD, 4_990 * MS, 5_010 * MS)
    assert watching.watched == [
        {"process": "server", "since": 1_000 * MS, "until": 5_000 * MS, "clock_apart_us": 0}
    ]
    assert watching.rows().tolist() == [(0, Stall.LOOP, 2_000 * MS, 7_000), (0, Stall.GC, 3_000 * MS, 9)]


@pytest.mark.parametrize(("asked", "answered", "apart"), [(5_030, 5_040, 30_000), (4_960, 4_975, 25_000)])
def test_a_server_on_another_clock_is_moved_to_ours(asked: int, answered: int, apart: int) -> None:
    watching = Watching()
    watching.heard("server", TOLD, asked * MS, answered * MS)
    (watched,) = watching.watched
    assert watched["clock_apart_us"] == apart
    assert watched["until"] == answered * MS
    assert watching.rows()["at"].tolist() == [(answered - 3_000) * MS, (answered - 2_000) * MS]


@pytest.mark.parametrize(
    "told",
    [
        None,
        7,
        "stalls",
        {},
        {**TOLD, "now_ns": None},
        {**TOLD, "found": [["loop", 5]]},
        {**TOLD, "found": [["nap", 1, 2]]},
    ],
)
def test_who_says_nothing_that_is_understood_said_nothing(told: Any) -> None:
    watching = Watching()
    watching.heard("server", told, 0, 9_999 * MS)
    assert watching.watched == []
    assert len(watching.rows()) == 0


def test_load_processes_are_numbered_after_those_that_were_heard() -> None:
    spoke, silent = Watched(), Watched()
    spoke.told(Report(at_ns=9, since_ns=3, stalls=[(int(Stall.CLOCK), 8, 1 << 40)]), 10)
    watching = Watching()
    watching.heard("server", TOLD, 4_990 * MS, 5_010 * MS)
    watching.load({"generator/0": spoke, "generator/probe_users": silent})
    assert [watched["process"] for watched in watching.watched] == ["server", "generator/0"]
    assert watching.rows()[-1].tolist() == (1, Stall.CLOCK, 8, (1 << 32) - 1)


@contextmanager
def answering(body: bytes) -> Iterator[str]:
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/status"
        server.shutdown()


def test_a_consumer_is_asked_for_its_status() -> None:
    with answering(json.dumps({"applied": 3, "stalls": TOLD}).encode()) as url:
        told, asked, answered = status(url)
    assert told == TOLD
    assert asked < answered


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff"])
def test_a_status_without_stalls_is_none(body: bytes) -> None:
    with answering(body) as url:
        assert status(url)[0] is None


def test_where_there_is_no_consumer_nobody_is_asked() -> None:
    assert status(None)[0] is None
    assert status("http://127.0.0.1:9/status")[0] is None
