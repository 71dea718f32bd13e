"""The systems under test: reference servers for three ways of keeping read/unread state, and a control.

`SCHEMES` is all that the harness may know of them besides the protocol: what can be started, what it needs,
which options it has and what it promises.  Adding a scheme is one package and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__version__ = "0.1.0"


@dataclass(frozen=True)
class Option:
    """A choice that a scheme offers: command line, help, manifest and report all read it from here.

    `values` empty means a free value.  `promises` says in words what each value changes in what may be relied
    on; `adds` and `takes` say it in the names of `Scheme.promises`, and the checks hold the run to them."""

    values: tuple[str, ...]
    default: str
    help: str
    promises: Mapping[str, str] = field(default_factory=dict)
    adds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    takes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Conflict:
    """Values of a scheme's options that make no scheme together, and why."""

    values: Mapping[str, str]
    why: str


@dataclass(frozen=True)
class Scheme:
    """A way of keeping read/unread state.  `build`, `ledger` (what its work costs the stores,
    `ledger.py`) and `consumer` are `module:function`, imported on use.

    `promises` hold for every value of its options, while one server runs.  `docs/consistency.md` says what
    each means and how it is judged."""

    title: str
    needs: frozenset[str]
    build: str
    ledger: str
    options: Mapping[str, Option]
    promises: tuple[str, ...]
    rests_on: frozenset[str] = frozenset()
    """Stores that must keep what they were told for a durable acknowledgement to hold: those whose durability
    counts.  A cache that is filled again is none of them."""
    consumer: str | None = None
    consumer_options: tuple[str, ...] = ()
    """Which of the server's options, and of the services' addresses, the consumer is given too."""
    conflicts: tuple[Conflict, ...] = ()

    def conflict(self, options: Mapping[str, str]) -> str | None:
        """What is wrong with these options together; what is not given has its default."""
        defaults = {name: about.default for name, about in self.options.items()}
        for conflict in self.conflicts:
            if conflict.values.items() <= {**defaults, **options}.items():
                named = " with ".join(f"--{name} {value}" for name, value in conflict.values.items())
                return f"{named} makes no scheme: {conflict.why}"
        return None

    def promised(self, chosen: Mapping[str, str]) -> tuple[str, ...]:
        """What may be relied on with these options; those that are not named have their defaults."""
        values = {name: chosen.get(name, option.default) for name, option in self.options.items()}
        added = [name for of, value in values.items() for name in self.options[of].adds.get(value, ())]
        taken = {name for of, value in values.items() for name in self.options[of].takes.get(value, ())}
        return tuple(name for name in dict.fromkeys((*self.promises, *added)) if name not in taken)


MODEL = Option(
    ("flags", "cursor"),
    "flags",
    "what state is: one row per message and receiver (the article's), or one read cursor per member",
)

PUSHED = ("ordered_pushes", "no_push_lost", "causal_receipts")
SHOWN = ("accurate_unread", "total_unread", "complete_sync", "versions")

SCHEMES: dict[str, Scheme] = {
    "memory": Scheme(
        "control: the same server, a dict behind it",
        frozenset(),
        "schemes.memory:build",
        "schemes.memory.ledger:declare",
        {},
        ("read_your_writes", "monotonic_reads", "convergence", *PUSHED, *SHOWN),
    ),
    "db": Scheme(
        "every change in MySQL, in a transaction, acknowledged after commit",
        frozenset({"mysql"}),
        "schemes.db:build",
        "schemes.db.ledger:declare",
        {"model": MODEL},
        ("durable", "read_your_writes", "monotonic_reads", "convergence", *PUSHED, *SHOWN),
        rests_on=frozenset({"mysql"}),
    ),
    "redis": Scheme(
        "Redis in front of MySQL, cache-aside: commit, then delete the key; a miss fills it",
        frozenset({"mysql", "redis"}),
        "schemes.redis:build",
        "schemes.redis.ledger:declare",
        {
            "model": MODEL,
            "guard": Option(
                ("none", "lease"),
                "none",
                "the stale-fill race: open as in the article, or closed by a lease that a delete takes away",
                {"lease": "a fill that began before a delete is never stored"},
                adds={"lease": ("read_your_writes", "convergence")},
            ),
            "on-delete-failure": Option(
                ("fallback", "ignore"),
                "fallback",
                "COMMIT done, DEL failed: read that key from MySQL until a retried DEL succeeds, or ignore it"
                " (the article's)",
                takes={"ignore": ("read_your_writes", "convergence")},
            ),
            "cache-ttl": Option((), "3600", "seconds that a filled key lives"),
        },
        # no causal_receipts: a group's message waits for its DEL, a READ of what MySQL already shows does not
        ("durable", "ordered_pushes", "no_push_lost", "total_unread", "complete_sync", "versions"),
        rests_on=frozenset({"mysql"}),
    ),
    "queue": Scheme(
        "commit, publish to Kafka; a separate consumer updates Redis and publishes the pushes",
        frozenset({"mysql", "redis", "kafka"}),
        "schemes.queue:build",
        "schemes.queue.ledger:declare",
        {
            "model": MODEL,
            "queue-order": Option(
                ("db_first", "queue_first"),
                "db_first",
                "acknowledged after COMMIT and the broker (the article's), or when the broker has it",
                {"queue_first": "an acknowledged READ is in the broker, not yet in MySQL"},
            ),
            "publish": Option(
                ("direct", "outbox"),
                "direct",
                "who gives the events of a change to the broker: the request, after COMMIT (the article's),"
                " or a relay, from a table that the change's own transaction wrote them to",
                {
                    "direct": "a server that dies between COMMIT and the broker leaves Redis behind MySQL",
                    "outbox": "acknowledged after COMMIT; what is committed reaches Redis, whoever dies",
                },
            ),
            "queue-tick": Option(
                ("0", "2"), "0", "milliseconds that the server collects events before it sends them"
            ),
            "topic": Option((), "cache-update-topic", "the log; made if it is not there"),
            "warm-up": Option(
                (),
                "0",
                "records sent to a throw-away topic before serving: a cold JVM is ten times slower",
            ),
        },
        # pushes: PUBLISH is heard by whoever listens just then, a message and its receipts are in different
        # partitions, and under queue_first the consumer gives change ids out of the order of the log
        ("durable", "convergence", "total_unread", "complete_sync"),
        # the log too: what it loses never reaches Redis, and with queue_first never MySQL
        rests_on=frozenset({"mysql", "kafka"}),
        consumer="schemes.queue.consumer:main",
        consumer_options=("mysql-url", "redis-url", "kafka-bootstrap", "model", "queue-order", "topic"),
        conflicts=(
            Conflict(
                {"queue-order": "queue_first", "publish": "outbox"},
                "an outbox is written in the transaction of a change, and queue_first acknowledges before"
                " there is one. Leave out one of the two.",
            ),
        ),
    ),
}
