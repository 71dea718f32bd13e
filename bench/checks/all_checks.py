"""All checks of one run, in the order in which they are told."""

from __future__ import annotations

from bench.checks import cursors, evidence, final_read
from bench.checks.check import Judgement
from bench.metrics.history import History


def judge(history: History, missing_rows: int) -> Judgement:
    """`missing_rows`: rows that the record's running counters miss; then no check says `pass`."""
    kept = final_read.judge(evidence.collect(history, missing_rows), evidence.promises(history))
    return kept + cursors.judge(history, missing_rows)
