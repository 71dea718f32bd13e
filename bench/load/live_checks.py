"""Counts what breaks a promise while the run goes on, from what arrives, at O(1) for each event.

The checks of `bench/checks/` decide; these end a run early (`--fail-fast`), and their counts must agree with
what is found in the record afterwards, or one of the two is wrong.  They count what can be known at once, on
one connection:

    read_your_writes_session, monotonic_reads_session   as the checks of that name.  A read is held against
        what was complete strictly before it was sent, so of each cursor the last rises are kept, with their
        times.  Reads that were sent before the load began are not judged.
    push_order   pushes whose number is not above all that came before in their stream: what `push_duplicates`
        and `push_order` find together, each push once.  (Which of the two it is would take the memory of
        every number that came.)
    sync_pages   as the check of that name

No locust here and no gevent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from bench.load.config import Fault, LiveCount
from bench.population import NOBODY
from bench.record import PushKind

READ_YOUR_WRITES, MONOTONIC_READS = "read_your_writes_session", "monotonic_reads_session"
PUSH_ORDER, SYNC_PAGES = "push_order", "sync_pages"
PROMISES: Final = {
    READ_YOUR_WRITES: "read_your_writes",
    MONOTONIC_READS: "monotonic_reads",
    PUSH_ORDER: "ordered_pushes",
    SYNC_PAGES: "complete_sync",
}
"""Which promise (schemes.Scheme.promises) each check holds a run to."""
HORIZON_NS: Final = 20_000_000_000
"""Longer than any read is waited for: what was complete so long before is complete for all that come."""
NEVER: Final = 1 << 62
_READ, _DELIVERED = int(PushKind.READ), int(PushKind.DELIVERED)

FULL: Final = 32
"""Numbers in a cursor's rises from which on the older half is looked at, to be forgotten."""

Rises = list[int] | tuple[int, int]
"""The running maximum of a cursor: value, since when, the next higher value, since when, ..."""


class Heard:
    """What one connection was told."""

    __slots__ = ("_early", "last_change", "last_number", "read", "subscribed", "written")

    def __init__(self) -> None:
        self.read: dict[int, Rises] = {}
        self.written: dict[int, Rises] = {}
        self.last_number: dict[int, int] = {}
        """By stream of pushes."""
        self.last_change = -1
        self.subscribed = False
        self._early: list[Fault | None] = []

    def early(self, fault: Fault | None) -> None:
        """A push before the answer to SUB: it counts if that comes."""
        self._early.append(fault)

    def subscribe(self) -> list[Fault | None]:
        self.subscribed = True
        early, self._early = self._early, []
        return early


class LiveChecks:
    """The counts of one load process.

    `people` and `conversations`: how many the population has; pushes about others do not count.
    `on_first()` is called when a check finds its first violation."""

    def __init__(
        self, people: int = NOBODY, conversations: int = NOBODY, *, horizon_ns: int = HORIZON_NS
    ) -> None:
        self.counts = {name: LiveCount() for name in PROMISES}
        self.on_first: Callable[[], None] = lambda: None
        self._people, self._conversations = people, conversations
        self._horizon_ns = horizon_ns
        self._start = NEVER
        self._heard: dict[int, Heard] = {}
        self._settled: dict[int, tuple[int, int]] = {}
        """One for each value: most cursors are where they were when the load began."""
        self._written, self._read, self._pushed, self._paged = (
            self.counts[name] for name in (READ_YOUR_WRITES, MONOTONIC_READS, PUSH_ORDER, SYNC_PAGES)
        )

    def begin(self, start_ns: int) -> None:
        """The load begins at this time."""
        self._start = start_ns

    def heard(self, session: int) -> Heard:
        heard = self._heard.get(session)
        if heard is None:
            heard = self._heard[session] = Heard()
        return heard

    def subscribed(self, session: int) -> None:
        for fault in self.heard(session).subscribe():
            self._pushed.eligible += 1
            if fault is not None:
                self._broken(self._pushed, fault.user, fault.conversation, fault.at_ns)

    def closed(self, session: int) -> None:
        self._heard.pop(session, None)

    # --- reads and writes of the person's own cursors ---------------------------------------------------

    def wrote(self, heard: Heard, conversation: int, value: int, at: int) -> None:
        """A READ or SEND that moves the cursor to `value` was acknowledged."""
        self._complete(heard.written, conversation, value, at)

    def shown(self, heard: Heard, user: int, conversation: int, value: int, sent: int, at: int) -> None:
        """The answer that came at `at` shows `value`."""
        if sent >= self._start:
            rises = heard.written.get(conversation)
            if rises is not None:
                self._judge(self._written, rises, user, conversation, value, sent, at)
            rises = heard.read.get(conversation)
            if rises is not None:
                self._judge(self._read, rises, user, conversation, value, sent, at)
        self._complete(heard.read, conversation, value, at)

    def _judge(
        self, count: LiveCount, rises: Rises, user: int, conversation: int, value: int, sent: int, at: int
    ) -> None:
        place = len(rises) - 1
        while rises[place] >= sent:
            place -= 2
            if place < 0:
                return  # nothing was complete
        count.eligible += 1
        if rises[place - 1] > value:
            self._broken(count, user, conversation, at)

    def _complete(self, known: dict[int, Rises], conversation: int, value: int, at: int) -> None:
        if at < self._start:
            at = 0  # before every read that is judged
        rises = known.get(conversation)
        if rises is None or (at == rises[-1] == 0 and value > rises[0]):
            known[conversation] = (value, at) if at else self._settled.setdefault(value, (value, 0))
        elif at < rises[-1]:
            known[conversation] = _in_order(rises, value, at)
        elif value > rises[-2]:
            if isinstance(rises, tuple):
                known[conversation] = [*rises, value, at]
            else:
                rises += (value, at)
                if len(rises) >= FULL:
                    _forget(rises, at - self._horizon_ns)

    # --- pushes -----------------------------------------------------------------------------------------

    def message(self, session: int, user: int, conversation: int, sender: int, seq: int, at: int) -> None:
        """A MESSAGE came."""
        if seq <= 0 or conversation > self._conversations or sender > self._people:
            return
        heard = self._heard.get(session) or self.heard(session)
        stream = conversation << 2
        rises = seq > heard.last_number.get(stream, -1)
        if rises:
            heard.last_number[stream] = seq
        if rises and heard.subscribed:
            self._pushed.eligible += 1
        else:
            self._push(heard, rises, user, conversation, at)

    def update(
        self, session: int, user: int, kind: int, conversation: int, actor: int, value: int, version: int,
        change_id: int, at: int,
    ) -> None:  # fmt: skip
        """An UPDATE came: of a read or delivery cursor, or of something else."""
        if kind > _DELIVERED or value <= 0 or conversation > self._conversations or actor > self._people:
            return
        heard = self._heard.get(session) or self.heard(session)
        stream = conversation << 34 | actor << 2 | kind
        number = version if version >= 0 else value
        rises = number > heard.last_number.get(stream, -1)
        if rises:
            heard.last_number[stream] = number
        if change_id >= 0 and kind == _READ:
            if change_id > heard.last_change:
                heard.last_change = change_id
            else:
                rises = False
        if rises and heard.subscribed:
            self._pushed.eligible += 1
        else:
            self._push(heard, rises, user, conversation, at)

    def _push(self, heard: Heard, rises: bool, user: int, conversation: int, at: int) -> None:
        if not heard.subscribed:
            heard.early(None if rises else Fault(user, conversation, at))
            return
        self._pushed.eligible += 1
        if not rises:
            self._broken(self._pushed, user, conversation, at)

    # --- SYNC -------------------------------------------------------------------------------------------

    def page(
        self, user: int, since: int, following: int, changes: Iterable[int], at: int, *, reset: bool
    ) -> None:
        """A page came, with these change ids."""
        wrong, last = following < since and not reset, since
        for change in changes:
            wrong = wrong or not last < change <= following
            last = change
        self._paged.eligible += 1
        if wrong:
            self._broken(self._paged, user, NOBODY, at)

    # --- what was found -------------------------------------------------------------------------------------

    def _broken(self, count: LiveCount, user: int, conversation: int, at: int) -> None:
        count.violations += 1
        if count.first is None:
            count.first = Fault(user, conversation, at)
            self.on_first()


def _forget(rises: list[int], before: int) -> None:
    """The older half, if no read can be held against it any more."""
    middle = len(rises) // 4 * 2
    if rises[middle + 1] < before:
        del rises[:middle]


def _in_order(rises: Rises, value: int, at: int) -> Rises:
    """The same with one that was complete before the last: times may come from two clock readers."""
    risen: list[int] = []
    for since, reached in sorted([*zip(rises[1::2], rises[::2], strict=True), (at, value)]):
        if not risen or reached > risen[-2]:
            risen += (reached, since)
    return risen
