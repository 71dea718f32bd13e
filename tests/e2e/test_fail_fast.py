"""Lies on the way to an honest server: counted live as they are judged, and with --fail-fast the end."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import runner, summary
from bench.options import RunOptions
from bench.results import RunFolder
from bench.runner import Load, Progress
from bench.selftest.suite import Liar
from tests.e2e.small import arm_of, left_behind, options, remember

pytestmark = pytest.mark.services  # whole runs: they take the machine's run lock and its time


def lied_to(
    chosen: RunOptions, *kinds: str, show: Callable[[Progress], None] = lambda _: None
) -> tuple[RunFolder, dict[str, Any]]:
    """A run through a liar who alters every second event of these kinds."""
    remember()
    liars: list[Liar] = []

    def through(url: str) -> str:
        liars.append(Liar(url, 2, kinds, chosen.out / "liar.log"))
        return liars[0].url

    try:
        folder = runner.run(
            arm_of(chosen), Load.of(chosen), chosen, say=lambda _: None, show=show, through=through
        )
    finally:
        for liar in liars:
            liar.stop()
    return folder, summary.write(folder)


def counts(made: dict[str, Any]) -> dict[str, Any]:
    return {count["check"]: count for count in made["live"]}


def guard(made: dict[str, Any]) -> str:
    (verdict,) = [guard["verdict"] for guard in made["guards"] if guard["guard"] == "live_agrees"]
    return str(verdict)


def test_a_broken_promise_ends_the_run_with_its_name(tmp_path: Path) -> None:
    chosen = options(tmp_path, "memory", rate_per_s=60.0, duration_s=40.0, fail_fast=True)
    folder, made = lied_to(chosen, "duplicated_push")
    ended = folder.manifest()["ended"]
    assert (ended["how"], made["verdict"]["exit_code"]) == ("violation", 12), ended
    found = re.match(
        r"--fail-fast: push_order was violated for u(\d+) in (d|g)\d+, (\d+\.\d) s after", ended["message"]
    )
    assert found is not None, ended["message"]
    assert folder.manifest()["clock"]["ended"] - folder.manifest()["window"]["start"] < 20_000_000_000
    twice = [one for one in folder.findings() if one["check"] == "push_duplicates"]
    assert int(found[1]) - 1 in {one["user"] for one in twice}
    assert counts(made)["push_order"]["live"]["violations"] == len(twice) > 0
    assert guard(made) == "ok", "what was recorded until then is judged as ever"
    assert not [path for path in left_behind() if folder.run_id in path]


def test_without_it_the_run_goes_on_and_all_counts_agree(tmp_path: Path) -> None:
    chosen = options(tmp_path, "memory", rate_per_s=60.0, duration_s=5.0)
    shown: list[str] = []
    folder, made = lied_to(
        chosen, "duplicated_push", "reordered_push", "stale_answer", show=lambda now: shown.append(now.text)
    )
    assert folder.manifest()["ended"]["how"] == "finished"
    assert guard(made) == "ok", counts(made)
    compared = counts(made)
    for name in ("push_order", "read_your_writes_session", "monotonic_reads_session"):
        assert compared[name]["agrees"] is True
        assert compared[name]["live"]["violations"] > 0, name
    assert made["verdict"]["correctness"] == "FAIL"
    assert re.search(r"push_order violated \d+x", shown[-2]), shown[-2]
