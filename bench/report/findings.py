"""Which findings are shown, and the table of them.  Pure, from `findings.jsonl` and `summary.json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bench.checks.findings import causes
from bench.checks.sentences import span as seconds
from bench.report import figures
from bench.report.document import Found, Story, Table
from bench.report.timeline import timeline
from bench.results import Json

DRAWN: Final = 10
LISTED: Final = 30


def heading(finding: Json) -> str:
    """f2 · linearizable (not promised) · 29 times"""
    promised = "promised" if finding["promised"] else "not promised"
    count = finding["in_episode"]
    times = "once" if count == 1 else f"{count:,} times"
    return f"{finding['id']} · {finding['check']} ({promised}) · {times}"


def also(finding: Json) -> str:
    """Which other checks tell the same story."""
    return f"Also found by {', '.join(finding['also'])}." if finding["also"] else ""


def age(finding: Json) -> str:
    return figures.MISSING if finding.get("age_s") is None else seconds(finding["age_s"])


def table(findings: Sequence[Json]) -> Table:
    """The worst LISTED; there is at least one."""
    shown = causes(findings)
    rows = tuple(
        (
            finding["id"],
            finding["check"],
            "yes" if finding["promised"] else "no",
            f"{finding['in_episode']:,}",
            age(finding),
            finding["says"],
        )
        for finding in shown[:LISTED]
    )
    more = f"The worst {LISTED} of {len(shown):,}. " if len(shown) > LISTED else ""
    note = f"{more}One row for each cause. bench explain RUN {shown[0]['id']} tells one in full."
    return Table("Findings, worst first", ("", "check", "promised", "times", "oldest", ""), rows, note)


def count_line(summary: Json) -> str:
    """What the terminal says of them; empty where nothing was found."""
    found = summary["consistency"].get("causes", 0)
    findings = "1 finding" if found == 1 else f"{found:,} findings"
    return f"{findings}: bench explain {summary['run_id']}" if found else ""


def found(findings: Sequence[Json]) -> Found | None:
    """What the page has of them, the worst DRAWN with a picture; None where nothing was found."""
    if not findings:
        return None
    stories = tuple(
        Story(finding["id"], heading(finding), finding["says"], also(finding), timeline(finding))
        for finding in causes(findings)[:DRAWN]
    )
    return Found(table(findings), stories)
