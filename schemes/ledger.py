"""The work ledger: what each scheme says that an operation costs, in counters that the stores keep
themselves.

A declaration is data: events, how often each happened, and what one costs.  How often comes from two places:

- what the load recorded (`done`): operations by outcome, receivers, pages.  The server has no say in these.
- what nobody outside can know (`noted`): misses, fills, moved rows, retries, batches, polls.  The server
  counts those, as things that happened to it and not as statements, and the ledger multiplies.

A scheme that sends one statement less, or one more, than it declares is found out: the stores count too.

Costs are named after the counter that must agree: `mysql.Com_select` and `mysql.Handler_update` of SHOW
GLOBAL STATUS, `redis.<command>` of INFO commandstats (commands inside a script are counted there too),
`kafka.records` for the growth of the end offsets.  A cost may be a range, where what happens depends on an
order that nothing fixes; then the counter must lie in it.  DECLARED_ONLY has costs that no store counts.

This module and every `ledger` beside it are pure and need no store."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple, TypeAlias

Range: TypeAlias = tuple[float, float]
Cost: TypeAlias = Mapping[str, float | Range]
Counts: TypeAlias = Counter[str]
"""How often, by name; what is not there happened never."""

DECLARED_ONLY: Final = frozenset({"mysql.autocommits", "redis.round_trips"})
"""autocommits: writes that commit by themselves, which `Com_commit` leaves out.  round_trips: commands that
were sent, without those inside scripts."""
NOT_OF_SCHEMES: Final = frozenset(
    {"auth", "client", "command", "config", "eval", "hello", "info", "ping", "script", "select", "subscribe",
     "unsubscribe"}
)  # fmt: skip
"""Redis commands that connect, look, or send a script whole the first time: no operation means them."""
STATEMENTS: Final = (
    "Com_select", "Com_insert", "Com_update", "Com_update_multi", "Com_delete", "Com_commit", "Com_rollback",
)  # fmt: skip
ROWS: Final = ("Handler_write", "Handler_update", "Handler_delete")
"""Rows as the server writes them.  MariaDB has no Innodb_rows_*; MySQL counts those of its internal temporary
tables in Handler_write too."""

BY_THE_CLOCK: Final = frozenset(
    {
        "looks_at_lag",
        "polls_of_lag",
        "bus_flushes",
        "outbox_takes",
        "outbox_looks",
        "consumer.beats",
        "consumer.beat_partitions",
    }
)
"""Notes of what no operation causes: it happens every so often."""

DONE: Final = {
    "hello": "HELLOs that were welcomed",
    "send.direct": "SENDs acknowledged in direct conversations, duplicates left out",
    "send.group": "the same in groups",
    "send.receivers": "members beside the sender, of all of those together",
    "send.duplicates": "SENDs that an earlier attempt had been",
    "read.moved.direct": "READs of one conversation that moved a cursor, direct",
    "read.moved.group": "the same in groups",
    "read.stale": "READs of one conversation that moved nothing",
    "read.several": "READs of several conversations",
    "read.several.moved.direct": "cursors that those moved, direct",
    "read.several.moved.group": "the same in groups",
    "read.unknown": "READs whose acknowledgement could not say whether they moved anything",
    "delivered.moved.direct": "DELIVEREDs of one conversation that moved a cursor, direct",
    "delivered.moved.group": "the same in groups",
    "delivered.stale": "DELIVEREDs of one conversation that moved nothing",
    "delivered.several": "DELIVEREDs of several conversations",
    "delivered.several.moving": "those of them that moved a cursor",
    "delivered.several.finds": "SELECTs that those need to find their rows, 50 spans each",
    "delivered.several.moved.direct": "cursors that those moved, direct",
    "delivered.several.moved.group": "the same in groups",
    "state.page": "STATEs of a first page",
    "state.later": "STATEs of a last page that was not the first",
    "state.named": "STATEs of named conversations",
    "sync.done": "SYNCs that were the last page",
    "sync.more": "SYNCs with another page to come",
    "sync.reset": "SYNCs answered with reset_required",
    "history": "HISTORYs",
    "door.durable": "questions of the probes what MySQL holds",
    "door.cached": "questions of the probes what Redis holds",
    "unsure.send": "SENDs that failed, or that nobody answered",
    "unsure.read": "the same of READs",
    "unsure.delivered": "the same of DELIVEREDs",
    "unsure.ask": "the same of all other requests",
}
"""What the load recorded, by name."""


class Event(NamedTuple):
    """Something that happened, how often, and what one of it costs.  `of_harness`: the scheme did it only
    because it was measured."""

    what: str
    times: float
    cost: Cost
    of_harness: bool = False


Declare: TypeAlias = Callable[[Mapping[str, str], Counts, Counts], list[Event]]
"""(options of the scheme, done, noted) -> all that the stores were given to do."""


def declared_by(target: str) -> Declare:
    """The declaration that a scheme's descriptor names, as `module:function`."""
    module, _, name = target.partition(":")
    found: Declare = getattr(importlib.import_module(module), name)
    return found


def total(events: Iterable[Event]) -> dict[str, Range]:
    """(at least, at most) by counter."""
    low: Counter[str] = Counter()
    high: Counter[str] = Counter()
    for event in events:
        for name, each in event.cost.items():
            least, most = each if isinstance(each, tuple) else (each, each)
            low[name] += event.times * least  # type: ignore[assignment]  # counts may be ranges of fractions
            high[name] += event.times * most  # type: ignore[assignment]
    return {name: (low[name], high[name]) for name in sorted(low.keys() | high.keys())}


def maybe(cost: Cost) -> dict[str, Range]:
    """The same, or nothing of it."""
    return {name: (0, each[1] if isinstance(each, tuple) else each) for name, each in cost.items()}


def plus(*costs: Cost) -> dict[str, float | Range]:
    """All of them together."""
    return {
        name: span if span[0] != span[1] else span[0]
        for name, span in total(Event("", 1, cost) for cost in costs).items()
    }
