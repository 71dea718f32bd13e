"""All checks of one run, in the order in which they are told."""

from __future__ import annotations

from bench.checks import cursors, evidence, final_read, findings, pushes, unread
from bench.checks.check import Judgement
from bench.checks.story import Story
from bench.metrics.history import History


def judge(history: History, unknown: str) -> Judgement:
    """`unknown`: why the record is not whole, empty if it is; else no check says `pass`."""
    story = Story(history)
    judged = final_read.judge(evidence.collect(history, unknown), evidence.promises(history), story)
    for check in (cursors, pushes, unread):
        judged += check.judge(history, unknown)
    return findings.finish(judged, history.membership)
