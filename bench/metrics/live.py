"""What was counted while the run went on (`bench/load/live_checks.py`) beside what the record says.  Pure.

`push_order` counts live what `push_duplicates` and `push_order` find together, each push once.  `push_gaps`
is not the same twice: live it is holes in a conversation's numbers that were still there after a second,
whatever the reason; in the record it is pushes that had to come and never did."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from bench.checks.check import Check
from bench.results import Json

OFFLINE: Final = {
    "read_your_writes_session": "read_your_writes_session",
    "monotonic_reads_session": "monotonic_reads_session",
    "push_order": "push_duplicates and push_order, each push once",
    "sync_pages": "sync_pages",
    "push_gaps": "push_gaps",
}
"""What is held beside each live count."""
AGAIN_OR_LATE: Final = "again_or_late"
NOT_COMPARED: Final = frozenset({"push_gaps"})


def compare(counted: Json, checks: Iterable[Check]) -> list[Json]:
    """`live` of `summary.json`: for each live check both counts, and whether they agree (None: they are not
    defined alike).  `counted` is the manifest's; empty where nothing was counted."""
    known = {check.name: check for check in checks}
    return [_one(name, counted[name], known[name]) for name in OFFLINE if name in counted]


def _one(name: str, live: Json, check: Check) -> Json:
    offline = {
        "eligible": check.eligible,
        "violations": check.figures.get(AGAIN_OR_LATE, check.violations),
    }
    counts = {field: live[field] for field in ("eligible", "violations")}
    return {
        "check": name,
        "live": counts,
        "offline": offline,
        "offline_is": OFFLINE[name],
        "agrees": None if name in NOT_COMPARED else counts == offline,
    }
