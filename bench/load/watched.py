"""What a load process told of its stalls and its clock, as the runner heard it."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.load.config import Report

LATE_NS = 100_000_000
"""The one report of a run that is heard soonest may be so old then."""


@dataclass
class Watched:
    """`found` holds (bench.record.Stall, noticed at, µs) from `since_ns` until `until_ns`."""

    since_ns: int = 0
    until_ns: int = 0
    found: list[tuple[int, int, int]] = field(default_factory=list)
    ahead_ns: int = 0
    behind_ns: int | None = None

    def told(self, report: Report, heard_ns: int) -> None:
        """A report of the process, heard at this time of our clock."""
        self.since_ns, self.until_ns = report.since_ns, report.at_ns
        self.found += report.stalls
        self.ahead_ns = max(self.ahead_ns, report.at_ns - heard_ns)
        behind = heard_ns - report.at_ns
        self.behind_ns = behind if self.behind_ns is None else min(self.behind_ns, behind)

    @property
    def clock_apart_us(self) -> int | None:
        """By how much its clock and ours differ at least; None before it said anything.

        What it says was true before we heard it: a stamp from our future is from a clock ahead of ours, and
        stamps that are all older than LATE_NS are from one behind it."""
        if self.behind_ns is None:
            return None
        return max(self.ahead_ns, self.behind_ns - LATE_NS, 0) // 1000
