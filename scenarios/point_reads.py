"""Who wins where one conversation's state is asked for again and again: the mixes of cache benchmarks?

A read is STATE of one conversation, by its name; a write is the READ that marks its newest message, and each
mark needs a message.  Both fall on the same thousand hot conversations, chosen by Zipf's law.
`--reads-per-mark 19` (the default) is read-heavy, 95:5; `1` is write-heavy, 50:50; `--rate` is the messages,
and so the marks.

    bench run --scenario point_reads --scheme redis --users 1000 --rate 20
    bench run --scenario point_reads --scheme db --users 1000 --rate 60 --reads-per-mark 1
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.load import standalone
from bench.load.user import ChatUser, Step, Timeline, in_order

standalone.install(point_reads=True)


class PointReads(ChatUser):
    """One device.  It asks for single conversations; what arrives is confirmed and read as in chat."""

    @classmethod
    def timeline(cls, plan: Timeline) -> Iterator[Step]:
        """Everybody talks, marks and looks, in the hot conversations; probes ask."""
        return in_order(plan.sends(), plan.seeded_reads(), plan.point_reads(), plan.probes())
