"""All checks of one run, in the order in which they are told."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from bench.checks import (
    catch_up,
    convergence,
    cursors,
    evidence,
    final_read,
    findings,
    observed,
    pushes,
    unread,
)  # fmt: skip
from bench.checks.check import Judgement
from bench.checks.story import Story
from bench.metrics.history import History

NEED_A_DOOR: Final = ("converged", "unread_at_end", "device_state", "push_gaps")
"""Checks of what is there when nothing is on its way any more."""


def judge(history: History, unknown: str) -> Judgement:
    """`unknown`: why the record is not whole, empty if it is; else no check says `pass`."""
    story, promises = Story(history), evidence.promises(history)
    found = evidence.collect(history, unknown)
    judged = final_read.judge(found, promises, story)
    judged += convergence.judge(found, evidence.cached(history), promises, story)
    seen = observed.collect(history)
    judged += cursors.judge(history, unknown, seen)
    judged += catch_up.judge(history, unknown) + pushes.judge(history, unknown)
    judged += unread.judge(history, unknown, seen)
    return findings.finish(_as_far_as_told(history, judged, unknown), history.membership)


def _as_far_as_told(history: History, judged: Judgement, unknown: str) -> Judgement:
    """A server without a control door cannot say that nothing is on its way, nor what it holds: nobody is
    held to what only that would show."""
    if unknown or (history.manifest.get("final") or {}).get("held_against") != "api":
        return judged
    checks = [
        replace(check, promised=False) if check.name in NEED_A_DOOR and check.unknown else check
        for check in judged.checks
    ]
    return Judgement(checks, judged.findings)
