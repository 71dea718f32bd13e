"""What `redis` costs: `db`'s writes, a DEL after each COMMIT that changed something, and STATE from Redis.

Hits, misses, leases and fills are the cache's doing and counted by the server, in keys; what a command
carries is not declared, only that there is one.  After trouble with Redis (`cache_fallback`, deletes that
failed) what a STATE and a delete sent is declared as a range."""

from __future__ import annotations

from collections.abc import Mapping

from schemes.ledger import Cost, Counts, Event, maybe, plus
from schemes.stores.ledger import FLAGS, SELECT, asks, writes


def command(name: str, times: float = 1) -> Cost:
    """Sent by itself."""
    return {f"redis.{name}": times, "redis.round_trips": times}


def within(name: str) -> Cost:
    """Inside a script."""
    return {f"redis.{name}": 1}


EVALSHA = command("evalsha")
MGET = command("mget")


def declare(options: Mapping[str, str], done: Counts, noted: Counts) -> list[Event]:
    model = options.get("model", FLAGS)
    return [
        *asks(done, noted),
        *_states(options, done, noted),
        *writes(model, done, noted),
        *_deletes(done, noted),
    ]


def _states(options: Mapping[str, str], done: Counts, noted: Counts) -> list[Event]:
    asked = done["state.page"] + done["state.later"]
    leased = options.get("guard", "none") == "lease"
    fetch = plus(EVALSHA, within("mget")) if leased else MGET
    tried = noted["cache_fills"] + noted["cache_fills_refused"] - noted["cache_memberships_missed"]
    return [
        Event("STATE: change id, memberships, keys", asked, plus(SELECT, MGET, fetch)),
        Event("STATE of named conversations: keys", done["state.named"], fetch),
        Event(
            "memberships missed: read and filled",
            noted["cache_memberships_missed"],
            plus(SELECT, EVALSHA, within("set")),
        ),
        Event("STATE with a key missing: read", noted["cache_states_missed"], SELECT),
        Event("a missed key leased", noted["cache_leases"], within("set")),
        Event("STATE that fills", noted["cache_states_filled"], EVALSHA),
        Event("a leased key looked at before its fill", tried if leased else 0, within("get")),
        Event("a key filled", noted["cache_fills"] - noted["cache_memberships_missed"], within("set")),
        Event(
            "STATE while Redis was away",
            noted["cache_fallback"],
            {"mysql.Com_select": (-1, 2), "redis.mget": (-2, 0)},
        ),
        Event("what Redis holds, asked by the probes", done["door.cached"], MGET, of_harness=True),
    ]


def _deletes(done: Counts, noted: Counts) -> list[Event]:
    moved = (
        done["send.direct"]
        + done["send.group"]
        + done["read.moved.direct"]
        + done["read.moved.group"]
        + done["delivered.moved.direct"]
        + done["delivered.moved.group"]
        + done["delivered.several.moving"]
    )
    unsure = done["unsure.send"] + done["unsure.read"] + done["unsure.delivered"]
    return [
        Event("committed: its keys deleted", moved, command("del")),
        Event("READ of several: its keys deleted", done["read.several"], maybe(command("del"))),
        Event("a delete failed, and tried again", noted["cache_delete_failed"], maybe(command("del"))),
        Event("failed or unanswered: deletes", unsure, maybe(command("del"))),
    ]
