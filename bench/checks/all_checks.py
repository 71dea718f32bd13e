"""All checks of one run, in the order in which they are told."""

from __future__ import annotations

from bench.checks import (
    catch_up,
    convergence,
    cursors,
    evidence,
    final_read,
    findings,
    pushes,
    unread,
)  # fmt: skip
from bench.checks.check import Judgement
from bench.checks.story import Story
from bench.metrics.history import History


def judge(history: History, unknown: str) -> Judgement:
    """`unknown`: why the record is not whole, empty if it is; else no check says `pass`."""
    story, promises = Story(history), evidence.promises(history)
    found = evidence.collect(history, unknown)
    judged = final_read.judge(found, promises, story)
    judged += convergence.judge(found, evidence.cached(history), promises, story)
    for check in (cursors, catch_up, pushes, unread):
        judged += check.judge(history, unknown)
    return findings.finish(judged, history.membership)
