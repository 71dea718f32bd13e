"""Red or green: what the project's own checks find in the record of a case, held against what must be there.

Red      the row's check fires; its findings name as their cause the operations that the failpoint logged and
         no others, and accuse exactly those that were shown the wrong thing; nobody else is accused by any
Green    the row's check had something to judge, and no check finds anything at all

Where no check looks for an anomaly yet, the row brings a `judge` of its own: then red is that it gives
exactly the culprits (or, where an outside event is to blame, exactly the shadow), green that it gives
none."""

from __future__ import annotations

from bench.checks import all_checks
from bench.checks.check import PASS
from bench.checks.findings import accused
from bench.metrics.history import History
from bench.record import Op, Outcome, PushKind
from bench.results import Json, RunFolder
from schemes.protocol import user_number
from tests.anomalies.driver import Case

CAUSES = ("write", "read")
"""Parts of records whose operations are what should be seen.  (`before` and `filler` explain.)"""
AT_THE_END = ("stale_at_end", "acknowledged_reads")
"""Checks that accuse the final read, or the store, and no STATE before it."""


async def red(case: Case, folder: RunFolder) -> str:
    """Empty, or why it is not red."""
    if case.row.judge is not None:
        found, expected = case.row.judge(case), case.culprits or case.shadow
        return "" if found == expected else f"operations {sorted(found)} show it, expected {sorted(expected)}"
    findings = all_checks.judge(History(folder), "").findings
    fired = [finding for finding in findings if finding["check"] == case.row.check]
    if not fired:
        return f"{case.row.check} found nothing; found by others: {sorted({f['check'] for f in findings})}"
    blamed = set().union(*(_causes(finding) for finding in fired))
    anywhere = set().union(*(_accused(finding) for finding in findings))
    accused_here = set().union(*(_accused(finding) for finding in fired))
    places = {(finding["conversation"], finding["user"]) for finding in fired}
    logged = await _places(case)
    if blamed != case.culprits:
        return f"blamed are operations {sorted(blamed)}, the failpoint logged {sorted(case.culprits)}"
    if case.row.check not in AT_THE_END and accused_here != case.shadow:
        return f"accused are operations {sorted(accused_here)}, expected {sorted(case.shadow)}"
    if not anywhere <= case.shadow:
        return f"other operations are accused too: {sorted(anywhere - case.shadow)}"
    if not places <= logged:
        return (
            f"findings are at (conversation, person) {sorted(places)}, the failpoint logged {sorted(logged)}"
        )
    return ""


def green(case: Case, folder: RunFolder) -> str:
    """Empty, or why it is not green."""
    judgement = all_checks.judge(History(folder), "")
    if judgement.findings:
        return f"found: {judgement.findings[0]}"
    for check in judgement.checks:
        if check.name == case.row.check and (check.verdict != PASS or not check.eligible):
            return f"{check.name} says {check.verdict} of {check.eligible}: {check.unknown}"
    found = case.row.judge(case) if case.row.judge is not None else set()
    return f"operations {sorted(found)} show it" if found else ""


def _causes(finding: Json) -> set[int]:
    """The operations whose effect is missing."""
    wrong = accused(finding)
    others = [record for record in finding["records"] if record is not wrong]
    return {record["op_id"] for record in others if record["part"] in CAUSES} - {None}


def _accused(finding: Json) -> set[int]:
    """The operations that were shown something else; none where it is the store that lacks something."""
    op_id = accused(finding)["op_id"]
    return set() if op_id is None else {op_id}


async def _places(case: Case) -> set[tuple[int, int]]:
    """(conversation, person) of every hit."""
    return {
        (case.record.index[hit.conversation], user_number(hit.user))
        for hit in await case.points.hits()
        if hit.conversation
    }


# --- where no check looks yet -----------------------------------------------------------------------------


def missing_from_sync(case: Case) -> set[int]:
    """Acknowledged READs whose change is in no page of the chains of SYNCs by which their own person (on
    whatever device) came past them."""
    operations, items = case.record.operations, case.record.items
    synced = {
        row["op_id"]: row for row in operations if row["op"] == Op.SYNC and row["outcome"] == Outcome.OK
    }
    last_sync = {row["user"]: row["sent"] for row in synced.values()}
    given = {
        (synced[item["op_id"]]["user"], item["conversation"], item["actor"], item["value"])
        for item in items
        if item["op_id"] in synced
    }
    return {
        row["op_id"]
        for row in _moving_reads(case)
        if row["acknowledged"] < last_sync.get(row["user"], 0)
        and (row["user"], row["conversation"], row["user"], row["value"]) not in given
    }


def untold(case: Case) -> set[int]:
    """Acknowledged READs that a device of the direct peer, known before and back since, was never told of:
    neither by a push nor by a SYNC."""
    return {
        row["op_id"]
        for row in _moving_reads(case)
        for device in _peers(case, row)
        if not _told(case, row, device)
    }


def wrong_badges(case: Case) -> set[int]:
    """STATEs with an item whose unread is not what its own last_seq and read_seq make it."""
    return {
        item["op_id"]
        for item in case.record.items
        if item["last_seq"] >= 0 and item["unread"] != item["last_seq"] - item["value"]
    }


def _moving_reads(case: Case) -> list[dict[str, int]]:
    return [
        row
        for row in case.record.operations
        if row["op"] == Op.READ and row["outcome"] == Outcome.OK and row["flags"]
    ]


def _peers(case: Case, read: dict[str, int]) -> set[int]:
    """The peer's devices that were subscribed before the READ began."""
    members = case.record.seeds[read["conversation"]].members
    return {
        row["device"]
        for row in case.record.connections
        if row["user"] in members and row["user"] != read["user"] and 0 < row["subscribed"] < read["sent"]
    }


def _told(case: Case, read: dict[str, int], device: int) -> bool:
    where = (read["conversation"], read["user"])
    synced = {
        row["op_id"] for row in case.record.operations if row["op"] == Op.SYNC and row["device"] == device
    }
    pushed = [
        row["value"]
        for row in case.record.pushes
        if row["kind"] == PushKind.READ
        and row["device"] == device
        and (row["conversation"], row["actor"]) == where
    ]
    given = [
        item["value"]
        for item in case.record.items
        if item["op_id"] in synced and (item["conversation"], item["actor"]) == where
    ]
    return max(pushed + given, default=0) >= read["value"]
