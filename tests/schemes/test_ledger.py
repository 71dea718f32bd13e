"""The declared arithmetic of every scheme, by hand: what one operation costs, and nothing else."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest

from schemes import SCHEMES
from schemes.ledger import DONE, Event, Range, declared_by, maybe, plus, total
from schemes.stores.mysql import NOTES

NOTHING: Counter[str] = Counter()
COMMANDS = {"sync": 3}


def cost(
    scheme: str, done: dict[str, int], noted: dict[str, int] | None = None, **options: str
) -> dict[str, Range]:
    """What this costs beyond what happens anyway, without zeros."""
    declare = declared_by(SCHEMES[scheme].ledger)
    options = {name.replace("_", "-"): value for name, value in options.items()}
    found = total(declare(options, Counter(done), Counter(noted or {})))
    idle = total(declare(options, NOTHING, NOTHING))
    spans = {name: (low - idle[name][0], high - idle[name][1]) for name, (low, high) in found.items()}
    return {name: span for name, span in spans.items() if span != (0, 0)}


def exact(**counts: float) -> dict[str, Range]:
    return {name.replace("_", ".", 1): (n, n) for name, n in counts.items()}


def test_ranges_add_up() -> None:
    events = [Event("a", 3, {"x": 2, "y": (0, 1)}), Event("b", 2, {"x": (1, 2)})]
    assert total(events) == {"x": (8, 10), "y": (0, 3)}
    assert maybe({"x": 2, "y": (1, 3)}) == {"x": (0, 2), "y": (0, 3)}
    assert plus({"x": 1}, {"x": 1, "y": (0, 1)}) == {"x": 2, "y": (0, 1)}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_nothing_done_is_nothing_declared(scheme: str) -> None:
    for low, high in total(declared_by(SCHEMES[scheme].ledger)({}, NOTHING, NOTHING)).values():
        assert low <= 0 <= high


def test_a_send_to_two_receivers_with_nothing_unread() -> None:
    done = {"send.group": 1, "send.receivers": 2}
    assert cost("db", done, model="flags") == exact(
        mysql_Com_update=2,
        mysql_Com_insert=2,
        mysql_Com_commit=1,
        mysql_Handler_update=2,
        mysql_Handler_write=3,
    )
    assert cost("db", done, model="cursor") == exact(
        mysql_Com_update=2,
        mysql_Com_insert=1,
        mysql_Com_commit=1,
        mysql_Handler_update=2,
        mysql_Handler_write=1,
    )


def test_a_send_that_implies_a_read_of_one_message() -> None:
    done = {"send.direct": 1, "send.receivers": 1}
    noted = {"mysql.sends_reading": 1, "mysql.sends_reading_direct": 1, "mysql.sends_reading_rows": 1}
    common = {
        "mysql_Com_update": 2,
        "mysql_Com_select": 1,
        "mysql_Com_update_multi": 1,
        "mysql_Com_commit": 1,
    }
    assert cost("db", done, noted, model="flags") == exact(
        **common, mysql_Com_insert=3, mysql_Handler_update=5, mysql_Handler_write=4
    )
    assert cost("db", done, noted, model="cursor") == exact(
        **common, mysql_Com_insert=3, mysql_Handler_update=4, mysql_Handler_write=4
    )


def test_a_direct_read_of_three_messages() -> None:
    done, noted = {"read.moved.direct": 1}, {"mysql.reads_rows": 3}
    common = {"mysql_Com_select": 1, "mysql_Com_update_multi": 1, "mysql_Com_commit": 1}
    assert cost("db", done, noted, model="flags") == exact(
        **common, mysql_Com_insert=1, mysql_Handler_update=6, mysql_Handler_write=2
    )
    assert cost("db", done, noted, model="cursor") == exact(
        **common, mysql_Com_insert=2, mysql_Handler_update=3, mysql_Handler_write=3
    )


def test_a_read_that_moves_nothing_looks_and_commits() -> None:
    assert cost("db", {"read.stale": 1}) == exact(mysql_Com_select=1, mysql_Com_commit=1)


def test_a_delivered_commits_by_itself() -> None:
    done, noted = {"delivered.moved.group": 1}, {"mysql.delivered_rows": 2}
    assert cost("db", done, noted, model="flags") == exact(
        mysql_Com_select=1, mysql_Com_update_multi=1, mysql_Handler_update=3, mysql_autocommits=1
    )
    assert cost("db", done, noted, model="cursor") == exact(
        mysql_Com_select=1, mysql_Com_update=1, mysql_Handler_update=1, mysql_autocommits=1
    )


def test_a_delivered_of_two_conversations_is_one_transaction() -> None:
    done = {
        "delivered.several": 1,
        "delivered.several.moving": 1,
        "delivered.several.finds": 1,
        "delivered.several.moved.direct": 1,
        "delivered.several.moved.group": 1,
    }
    noted = {"mysql.delivered_rows": 4}
    assert cost("db", done, noted, model="flags") == exact(
        mysql_Com_select=2, mysql_Com_update=2, mysql_Com_commit=1, mysql_Handler_update=6
    )
    assert cost("db", done, noted, model="cursor") == exact(
        mysql_Com_select=1, mysql_Com_update=1, mysql_Com_commit=1, mysql_Handler_update=2
    )


def test_what_is_asked_of_mysql() -> None:
    assert cost("db", {"sync.done": 1, "sync.more": 1, "sync.reset": 1}) == exact(mysql_Com_select=6)
    assert cost("db", {"state.page": 1, "state.later": 1, "state.named": 1}) == exact(mysql_Com_select=4)
    assert cost("db", {"hello": 1, "history": 1, "door.durable": 1}) == exact(mysql_Com_select=3)


def test_a_state_of_the_cache() -> None:
    assert cost("redis", {"state.page": 1}) == exact(mysql_Com_select=1, redis_mget=2, redis_round_trips=2)
    assert cost("redis", {"state.page": 1}, guard="lease") == exact(
        mysql_Com_select=1, redis_mget=2, redis_evalsha=1, redis_round_trips=2
    )


@pytest.mark.parametrize("scheme", ["redis", "queue"])
def test_a_state_of_names_that_are_cached_costs_one_command_and_no_select(scheme: str) -> None:
    before, after = cost(scheme, {}), cost(scheme, {"state.named": 3})
    grown = {name: after[name][1] - before.get(name, (0, 0))[1] for name in after}
    changed = {name: count for name, count in grown.items() if count}
    assert changed == {"redis.mget": 3, "redis.round_trips": 3}


def test_a_state_that_misses_two_keys_fills_them() -> None:
    noted = {"cache_states_missed": 1, "cache_states_filled": 1, "cache_fills": 2}
    assert cost("redis", {}, noted) == exact(
        mysql_Com_select=1, redis_evalsha=1, redis_round_trips=1, redis_set=2
    )
    leased = noted | {"cache_leases": 3, "cache_fills_refused": 1}
    assert cost("redis", {}, leased, guard="lease") == exact(
        mysql_Com_select=1, redis_evalsha=1, redis_round_trips=1, redis_set=5, redis_get=3
    )


def test_each_change_deletes_once() -> None:
    done = {
        "send.direct": 1,
        "read.moved.group": 1,
        "delivered.moved.direct": 1,
        "delivered.several.moving": 1,
    }
    assert cost("redis", done)["redis.del"] == (4, 4)
    assert "redis.del" not in cost("redis", {"read.stale": 1, "delivered.stale": 1})


@pytest.mark.parametrize("publish", ["direct", "outbox"])
def test_the_records_of_the_queue(publish: str) -> None:
    done = {"send.group": 5, "read.moved.direct": 3, "read.moved.group": 2, "delivered.moved.direct": 4}
    found = cost("queue", done, {"mysql.sends_reading": 1}, publish=publish)
    assert found["kafka.records"] == (5 + 6 + 2 + 4 + 1, 5 + 6 + 2 + 4 + 1)
    assert found["redis.get"] == (2 * 14 + 4, 2 * 14 + 4)
    assert found["redis.set"] == (14, 2 * 14 + 4)


def test_the_outbox_is_written_in_the_change_and_taken_by_the_relay() -> None:
    done = {"read.moved.direct": 1}
    plain, outbox = cost("queue", done), cost("queue", done, publish="outbox")
    more = {
        name: outbox[name][0] - plain.get(name, (0, 0))[0]
        for name in outbox
        if outbox[name] != plain.get(name)
    }
    assert more == {"mysql.Com_insert": 1, "mysql.Handler_write": 2}
    relayed = {"outbox_takes": 3, "outbox_deletes": 1, "outbox_published": 2}
    assert cost("queue", {}, relayed, publish="outbox") == exact(
        mysql_Com_select=3, mysql_Com_delete=1, mysql_Handler_delete=2, mysql_autocommits=1
    )


def test_queue_first_accepts_a_mark_with_one_look_and_one_record() -> None:
    accepted = cost("queue", {"read.unknown": 1}, queue_order="queue_first")
    assert accepted == exact(redis_mget=1, redis_round_trips=1, kafka_records=1)


def test_queue_first_writes_in_the_consumer() -> None:
    noted = {
        "mysql.commits": 1,
        "mysql.locks": 1,
        "mysql.advances": 2,
        "mysql.advanced": 2,
        "mysql.advanced_rows": 3,
    }
    logged = {"mysql.logged": 1, "mysql.logged_many": 1, "mysql.logged_users": 3, "mysql.logged_lines": 4}
    of_consumer = {f"consumer.{name}": n for name, n in {**noted, **logged}.items()}
    found = cost("queue", {}, of_consumer, queue_order="queue_first", model="flags")
    assert found["mysql.Com_select"] == (1 + 2 + 1, 4)
    assert found["mysql.Com_update"] == (4 + 1, 5)
    assert found["mysql.Handler_update"] == (2 + 3 + 3, 8)
    assert found["mysql.Handler_write"] == (4, 4)
    assert found["redis.get"] == (8, 8)


def test_what_was_given_up_is_a_range_and_its_rollback_is_not() -> None:
    found = cost("db", {}, {"mysql.rollbacks": 2})
    assert found["mysql.Com_rollback"] == (2, 2)
    assert found["mysql.Com_update"] == (0, 6)


ARMS = [
    *(("db", {"model": model}) for model in ("flags", "cursor")),
    *(("redis", {"model": m, "guard": g}) for m, g in product(("flags", "cursor"), ("none", "lease"))),
    *(
        ("queue", {"model": model, "queue-order": order, "publish": publish})
        for model, order, publish in product(
            ("flags", "cursor"), ("db_first", "queue_first"), ("direct", "outbox")
        )
        if (order, publish) != ("queue_first", "outbox")
    ),
]


@pytest.mark.parametrize(("scheme", "options"), ARMS)
def test_every_arm_declares_only_what_it_is_told(scheme: str, options: dict[str, str]) -> None:
    """Each name that a declaration asks for is one that somebody counts."""
    asked: set[str] = set()

    class Asked(Counter[str]):
        def __missing__(self, key: str) -> int:
            asked.add(key)
            return 0

    declared_by(SCHEMES[scheme].ledger)(options, Asked(), Asked())
    of_mysql = {name.removeprefix("consumer.").removeprefix("mysql.") for name in asked if "mysql." in name}
    assert of_mysql <= {*NOTES, "directory_misses", "rollbacks", "commits", "singles_abandoned"}
    dotted = {
        name for name in asked if "." in name and "mysql." not in name and not name.startswith("consumer.")
    }
    assert dotted <= DONE.keys()
