"""Red or green: what the project's own checks find in the record of a case, held against what must be there.

Red      the row's check fires; its findings name as their cause the operations that the failpoint logged and
         no others, and accuse exactly those that were shown the wrong thing; nobody else is accused by any
Green    the row's check had something to judge, and no check finds anything at all"""

from __future__ import annotations

from bench.checks import all_checks
from bench.checks.check import PASS
from bench.checks.findings import accused
from bench.metrics.history import History
from bench.results import Json, RunFolder
from schemes.protocol import user_number
from tests.anomalies.driver import Case

CAUSES = ("write", "read", "message")
"""Parts of records whose operations are what should be seen.  (`before` and `filler` explain.)"""
AT_THE_END = ("stale_at_end", "acknowledged_reads", "device_state")
"""Checks that accuse the final read, the store or a device, and no STATE before it."""
SAME_QUESTION = {"unread": "unread_at_end"}
"""Checks that leave the final read to another one."""


async def red(case: Case, folder: RunFolder) -> str:
    """Empty, or why it is not red."""
    findings = all_checks.judge(History(folder), "").findings
    asked = case.row.check, SAME_QUESTION.get(case.row.check)
    fired = [finding for finding in findings if finding["check"] in asked]
    if case.row.check not in {finding["check"] for finding in fired}:
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
    devices = {finding["device"] for finding in fired} if case.row.check == "device_state" else set()
    if devices != case.untold:
        return f"accused are devices {sorted(devices)}, expected {sorted(case.untold)}"
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
    return ""


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
