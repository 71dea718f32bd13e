"""All checks of one run, in the order in which they are told."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Final

from bench import machine
from bench.checks import (
    apart,
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

LARGE: Final = 1_000_000
"""Rows of operations and items from which on two processes are faster than one."""
ORDER: Final = (
    "acknowledged_reads", "acknowledged_deliveries", "acknowledged_messages", "stale_at_end", "converged",
    "linearizable", "read_your_writes_session", "monotonic_reads_session", "read_your_writes_device",
    "monotonic_reads_device", "read_your_writes_person", "monotonic_reads_person", "sync_complete",
    "sync_pages", "versions", "device_state", "push_duplicates", "push_order", "push_regress", "push_gaps",
    "receipt_before_message", "unread", "unread_at_end", "total_unread",
)  # fmt: skip
"""In which checks are told."""
NEED_A_DOOR: Final = ("converged", "unread_at_end", "device_state", "push_gaps")
"""Checks of what is there when nothing is on its way any more."""


def judge(history: History, unknown: str) -> Judgement:
    """`unknown`: why the record is not whole, empty if it is; else no check says `pass`."""
    if _is_large(history) and machine.cores() > 1:
        history.owner()  # both halves need it
        others, of_cursors = apart.both(
            partial(_others, history, unknown), partial(_cursors, history, unknown)
        )
    else:
        others, of_cursors = _others(history, unknown), _cursors(history, unknown)
    judged = _in_order(of_cursors + others)
    return findings.finish(_as_far_as_told(history, judged, unknown), history.membership)


def _is_large(history: History) -> bool:
    return history.operations.rows + history.items.rows > LARGE


def _others(history: History, unknown: str) -> Judgement:
    judged = _at_the_end(history, unknown)
    return judged + catch_up.judge(history, unknown) + pushes.judge(history, unknown)


def _at_the_end(history: History, unknown: str) -> Judgement:
    story, promises = Story(history), evidence.promises(history)
    found = evidence.collect(history, unknown)
    judged = final_read.judge(found, promises, story)
    return judged + convergence.judge(found, evidence.cached(history), promises, story)


def _cursors(history: History, unknown: str) -> Judgement:
    seen = observed.collect(history)
    judged = cursors.judge(history, unknown, seen)
    seen = seen.written()
    return judged + unread.judge(history, unknown, seen)


def _in_order(judged: Judgement) -> Judgement:
    places = {name: place for place, name in enumerate(ORDER)}
    return Judgement(
        sorted(judged.checks, key=lambda check: places[check.name]),
        sorted(judged.findings, key=lambda finding: places[finding["check"]]),
    )


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
