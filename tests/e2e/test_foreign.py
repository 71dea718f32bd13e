"""`bench run --url` against servers that are started by hand: what is measured, and what is said not to
be."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.conformance.rooms import made
from bench.control import Control
from bench.options import Places, RunOptions, Target
from bench.runner import Load, Progress
from schemes.protocol import CONTROL_PATH, PATH, encode
from tests.e2e.small import USERS, carry_out, judged, options

pytestmark = pytest.mark.services  # whole runs: they take the machine's run lock and its time

ROOT = Path(__file__).parents[2]
SECRET = "only-a-test"
REFERENCE = (sys.executable, "-m", "schemes", "memory", "--port=0", "--control")
FORGETFUL = (sys.executable, "-m", "tests.e2e.forgetful_server", "memory", "--port=0", "--control")
NOT_WITHOUT_DRAINED = {"stale_at_end", "converged", "device_state", "push_gaps", "unread_at_end"}
EXAMPLE = ("node", "examples/node/server.js")
NOT_IN_THE_EXAMPLE = {
    *("a-forged-token-is-refused", "an-expired-token-is-refused", "a-token-of-another-is-refused"),
    *("subscriptions-are-counted", "unsub-takes-back", "message-ids-mean-their-highest"),
    *("sync-lists-messages-of-either-side", "first-read-time-is-never-rewritten", "sync-from-a-time"),
    *("history-pages-upwards", "a-push-comes-after-its-change", "strangers-read-no-history"),
    *("stage-times-are-parts", "drain-is-answered", "dump-shows-what-state-shows"),
    "the-door-needs-its-secret",
}


@contextmanager
def by_hand(*command: str) -> Iterator[tuple[str, int]]:
    """A server that is no part of the run: (its address, its process)."""
    environment = os.environ | {"READSTATE_SECRET": SECRET}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        found = re.search(r"ws://\S+", line)
        assert found, line + process.stderr.read()
        yield found[0], process.pid
        assert process.poll() in (None, -signal.SIGKILL), "the run stopped it"
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def run_of(out: Path, name: str, url: str, *, wipe: bool = False, **target: Any) -> RunOptions:
    server = Target(url, token_secret=SECRET, **target)
    chosen = options(out, name, duration_s=2.0, warmup_s=1.0, target=server)
    return replace(chosen, places=Places(allow_wipe=wipe))


def checks(summary: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in summary["consistency"]["checks"]}


def test_with_its_control_door_it_is_measured_like_one_of_ours(tmp_path: Path) -> None:
    """It holds the population already, and conversations that are none of it."""
    with by_hand(*REFERENCE) as (url, pid):
        chosen = run_of(tmp_path, "url", url, control_secret=SECRET, pids=(pid,))
        load = Load.of(chosen)
        control = Control(url.replace(PATH, CONTROL_PATH), SECRET)
        control.seed([*load.population.seed_frames(load.plan.unread_at_start), made()], warm=False)
        control.close()
        folder, summary = judged(chosen)
        assert psutil.pid_exists(pid)
    assert folder.manifest()["ended"]["how"] == "finished", folder.manifest()["ended"]
    assert (summary["drained"], set(summary["not_available"])) == (True, {"SEED"})
    assert summary["verdict"]["correctness"] == "PASS", summary["verdict"]["reasons"]
    assert {check["verdict"] for check in checks(summary).values()} == {"pass"}
    assert summary["resources"]["server"]["rss_bytes_max"] > 0
    run = summary["run"]
    assert (run["scheme"], run["url"], run["server"]["name"]) == ("url", url, "ref-memory")
    assert (run["ack"], run["promises"]) == ({"send": "volatile", "read": "volatile"}, ["convergence"])
    assert not list(Path("/dev/shm").glob(f"readstate-{folder.run_id}*"))


@pytest.fixture
def example(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The server in examples/node, with the population of `run_of`: (its address, that population)."""
    path = tmp_path / "population.jsonl"
    load = Load.of(run_of(tmp_path, "example", "ws://h/ws"))
    seeded = load.population.seed_conversations(load.plan.unread_at_start)
    path.write_bytes(b"".join(encode(conversation) + b"\n" for conversation in seeded))
    with by_hand(*EXAMPLE, str(path), "0") as (url, _):
        yield url, path


def test_a_server_in_another_language_is_measured_without_any_door(
    example: tuple[str, Path], tmp_path: Path
) -> None:
    url, _ = example
    folder, summary = carry_out(run_of(tmp_path, "example", url))
    assert folder.manifest()["ended"]["how"] == "finished", folder.manifest()["ended"]
    assert summary["load"]["connections_held"] == USERS
    assert summary["load"]["outcome_complete_share"] >= 0.999
    assert {figures["info"] + figures["fail"] for figures in summary["operations"].values()} == {0}
    assert summary["lag"]["receipt"]["count"] > 10
    assert summary["lag"]["receipt"]["undelivered"] == 0
    assert (summary["drained"], folder.has("final_store")) == (None, False)
    assert set(summary["not_available"]) == {"SEED", "FREEZE_GC", "STATS", "DRAIN", "DUMP"}
    assert "server" not in summary["resources"]
    found = checks(summary)
    assert {name for name, check in found.items() if check["verdict"] == "unknown"} == {
        "acknowledged_deliveries",
        *NOT_WITHOUT_DRAINED,
    }
    assert (found["acknowledged_reads"]["promised"], found["acknowledged_reads"]["verdict"]) == (True, "pass")
    assert found["acknowledged_reads"]["eligible"] > 10
    assert not [name for name, check in found.items() if check["promised"] and check["verdict"] != "pass"]
    assert summary["verdict"]["correctness"] == "PASS", summary["verdict"]["reasons"]
    assert "Not available on /control: SEED, " in (folder.path / "report.html").read_text()
    assert folder.run_id.split("-")[1] == "example"


def test_the_example_keeps_to_all_that_it_offers_and_must_then_be_loaded_anew(
    example: tuple[str, Path], tmp_path: Path
) -> None:
    url, population = example
    words = ["conformance", "--url", url, "--population", str(population), "--json"]
    result = CliRunner().invoke(main, words, catch_exceptions=False)
    rows = json.loads(result.stdout)["rows"]
    assert [row for row in rows if row["verdict"] == "does not hold"] == []
    assert result.exit_code == 0
    not_available = [row for row in rows if row["verdict"] == "not available"]
    assert all(row["optional"] for row in not_available)
    assert {row["name"] for row in not_available} == NOT_IN_THE_EXAMPLE
    folder, summary = judged(run_of(tmp_path, "example", url))
    assert summary["verdict"]["exit_code"] == 3
    assert "If it was used since it was loaded" in folder.manifest()["ended"]["message"]


def test_what_is_acknowledged_and_never_shown_is_a_broken_promise(tmp_path: Path) -> None:
    with by_hand(*FORGETFUL) as (url, _):
        chosen = run_of(tmp_path, "forgetful", url, wipe=True, control_secret=SECRET)
        folder, summary = judged(chosen)
    assert set(summary["not_available"]) == {"DUMP"}
    check = checks(summary)["acknowledged_reads"]
    assert (check["verdict"], check["promised"], check["promise"]) == ("fail", True, "convergence")
    assert summary["verdict"]["exit_code"] == 12
    told = [finding for finding in folder.findings() if finding["check"] == "acknowledged_reads"]
    assert {finding["kind"] for finding in told} == {"acknowledged and not shown"}


@pytest.mark.parametrize("known", [True, False])
def test_its_death_is_no_result(tmp_path: Path, known: bool) -> None:
    with by_hand(*REFERENCE) as (url, pid):

        def kill(progress: Progress) -> None:
            if progress.phase == "measure":
                os.kill(pid, signal.SIGKILL)

        pids = (pid,) if known else ()
        folder, summary = judged(run_of(tmp_path, "url", url, control_secret=SECRET, pids=pids), kill)
    assert summary["verdict"]["status"] == "INVALID"
    assert summary["verdict"]["correctness"] != "PASS"
    assert summary["verdict"]["exit_code"] == 4
    if known:
        assert f"server (pid {pid}) is gone in measure" in folder.manifest()["ended"]["message"]
