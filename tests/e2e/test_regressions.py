"""What no latency shows and `bench check --against` must: receipts that come later, a promise that is broken.

Both sides are copies of these schemes, the candidate with one thing changed; and each gate once more without
the change."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.guards import EXIT_INCONCLUSIVE
from tests.e2e import small

pytestmark = [pytest.mark.services, pytest.mark.proof]

HERE = Path(__file__).parents[2]
Edits = Mapping[str, tuple[str, str]]
"""File of a copy -> what is there, what shall be."""
FETCH = """\
"--fetch-min-bytes", type=int, default={})
    parser.add_argument("--fetch-max-wait-ms", type=int, default={})"""
WAITING: Edits = {"schemes/queue/consumer.py": (FETCH.format(1, 500), FETCH.format("1_000_000", 60))}
"""The consumer waits for a batch that never comes."""
FILL = "        ours = [entry for entry in entries if entry[0] in found.fill]\n"
LATER = "        await __import__('asyncio').sleep(0.005)\n"
SLOW_FILL: Edits = {"schemes/redis/guards.py": (FILL, FILL + LATER)}
"""Of both sides: what the lease protects from happens within seconds, not hours."""
LEASED = "        return await self._redis.fill_leased(ours, found.lease, trace) if ours else 0\n"
BARE = "        await self._redis.fill(ours, trace)\n        return len(ours)\n"
NO_LEASE: Edits = {"schemes/redis/guards.py": (LEASED, BARE)}
QUEUE = ("--scheme", "queue", "--users", "60", "--rate", "40", "--fail-if", "READ.p50 > +60%",
         "--fail-if", "lag.receipt.p50 > +60%")  # fmt: skip
HOT = ("--scheme", "redis", "--guard", "lease", "--users", "3", "--people", "2", "--rate", "12",
       "--reads-per-mark", "12", "--fail-if", "READ.p50 > +60%")  # fmt: skip


def copy(where: Path, *edits: Edits) -> str:
    shutil.copytree(HERE / "schemes", where / "schemes", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HERE / "pyproject.toml", where)
    for edit in edits:
        for name, (there, instead) in edit.items():
            file = where / name
            text = file.read_text()
            assert text.count(there) == 1, f"{name} has changed; this test's edit must follow"
            file.write_text(text.replace(there, instead))
    return str(where)


TRIES = 3
"""Of a gate that could not tell because others on this host took its cores."""


def check(out: Path, base: str, candidate: str, *words: str) -> tuple[int, Any, str]:
    for number in range(TRIES):
        code, told, output = once(out / str(number), base, candidate, *words)
        if not (code == EXIT_INCONCLUSIVE and told["left_out"]):
            break
    return code, told, output


def once(out: Path, base: str, candidate: str, *words: str) -> tuple[int, Any, str]:
    small.remember()
    fixed = ("--pin", "none", "--budget", "5m", "--quiet", "--out", str(out))
    found = CliRunner().invoke(main, ["check", "--a", base, "--b", candidate, *words, *fixed])
    files = list(out.glob("*-check-*/check.json"))
    assert len(files) == 1, (found.exit_code, found.output, found.exception)
    assert not small.processes()
    return found.exit_code, json.loads(files[0].read_text()), found.output


def test_receipts_that_wait_for_a_batch_are_a_regression_though_no_request_is_slower(tmp_path: Path) -> None:
    same, waiting = copy(tmp_path / "same"), copy(tmp_path / "waiting", WAITING)
    code, told, output = check(tmp_path / "out", same, waiting, *QUEUE)
    assert code == 11, output
    assert "receipt lag" in told["verdict"]["reasons"][0]["message"]
    (read,) = (row for row in told["change"]["rows"] if row["metric"] == "READ.p50")
    assert read["passes"] is not False, "READs are not slower"


def test_the_same_consumer_is_no_regression(tmp_path: Path) -> None:
    code, _, output = check(tmp_path / "out", copy(tmp_path / "same"), copy(tmp_path / "again"), *QUEUE)
    assert code == 0, output


def test_a_promise_whose_guard_is_gone_is_broken_though_nothing_is_slower(tmp_path: Path) -> None:
    leased, bare = copy(tmp_path / "leased", SLOW_FILL), copy(tmp_path / "bare", SLOW_FILL, NO_LEASE)
    code, told, output = check(tmp_path / "out", leased, bare, *HOT)
    assert code == 12, output
    assert "promise" in told["verdict"]["reasons"][0]["message"]
    (read,) = (row for row in told["change"]["rows"] if row["metric"] == "READ.p50")
    assert read["passes"] is not False, "READs are not slower"


def test_a_promise_that_is_kept_passes(tmp_path: Path) -> None:
    leased, again = copy(tmp_path / "leased", SLOW_FILL), copy(tmp_path / "again", SLOW_FILL)
    code, _, output = check(tmp_path / "out", leased, again, *HOT)
    assert code == 0, output
