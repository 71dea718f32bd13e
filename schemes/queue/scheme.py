"""Scheme 3, the accepting side: changes go to MySQL and the log; Redis and the pushes are the consumer's.

`db_first`: COMMIT, then the events, handed over in the order of the commits while the in-process locks are
held; acknowledged when the broker has them.  `queue_first`, for READ and DELIVERED: checked, put into the log
and acknowledged when the broker has it; the consumer writes MySQL.  A SEND is `db_first` in both, because its
acknowledgement carries the seq.

STATE and change ids come from Redis, as far as the consumer is; SYNC and HISTORY from MySQL."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Sequence
from typing import Any, Final

from schemes import failpoints
from schemes.cached_state import membership, page
from schemes.db.scheme import Database
from schemes.ports import (
    Caller,
    DeliveredOutcome,
    Marked,
    Publisher,
    ReadOutcome,
    Refused,
    SendOutcome,
    StatePage,
    Trace,
    clock_ns,
)
from schemes.protocol import DumpRow, SeedConversation
from schemes.queue import events
from schemes.queue.bus import Bus
from schemes.queue.cached import CachedState
from schemes.queue.events import DeliveredQueued, ReadQueued
from schemes.queue.lag import Lag
from schemes.queue.script import APPLY, Batch, channel_of, offsets_key
from schemes.queue.warming import Warming
from schemes.read_state import Changes, Conversation
from schemes.stores.kafka import EventLog, Handover, warm_up
from schemes.stores.kafka_topics import KafkaUnavailable
from schemes.stores.mysql import MySQL
from schemes.stores.redis import RedisStore, RedisUnavailable
from schemes.stores.times import now_ms

RETRY_MS: Final = 500
RESET_S: Final = 5.0
"""How long RESET waits for the consumer to finish with what was there before."""


class Queue(Database):
    """The `queue` scheme of one server, `db_first`."""

    def __init__(
        self,
        store: MySQL,
        publisher: Publisher,
        redis: RedisStore,
        log: EventLog,
        *,
        bootstrap: str,
        warm_up_events: int,
        node: int,
        receipt_members: int,
    ) -> None:
        super().__init__(store, publisher, node=node, receipt_members=receipt_members)
        self._redis = redis
        self._log = log
        self._bootstrap = bootstrap
        self._warm_up_events = warm_up_events
        self._bus = Bus(redis, channel_of(redis.prefix, log.topic), publisher)
        self._lag = Lag(redis, log.topic, log.ends)
        self._cached = CachedState(redis, store, log.topic)
        self._warming = Warming(redis, store)
        self._fallbacks = self._heads_asked = 0
        self._leaving = contextlib.AsyncExitStack()

    async def start(self) -> None:
        """Raises Refused("UNAVAILABLE") that says which of the three services cannot be used."""
        try:
            await super().start()
            self._leaving.push_async_callback(super().close)
            self._leaving.push_async_callback(self._redis.close)
            await self._redis.start()
            if self._warm_up_events:
                await warm_up(self._bootstrap, f"{self._log.topic}-warm-up", self._warm_up_events)
            await self._log.start()
            self._leaving.push_async_callback(self._log.close)
            await self._take_offsets(await self._log.put_everywhere(events.MARKER))
            await self._bus.start()
            self._leaving.push_async_callback(self._bus.close)
            await self._lag.start()
            self._leaving.push_async_callback(self._lag.close)
        except (RedisUnavailable, KafkaUnavailable) as why:
            await self.close()
            raise Refused("UNAVAILABLE", str(why)) from why

    async def close(self) -> None:
        await self._leaving.aclose()

    # --- mutations --------------------------------------------------------------------------------------

    async def send(
        self, caller: Caller, conversation: str, client_msg_id: str, body: str, trace: Trace
    ) -> SendOutcome:
        self._refuse_if_full()
        return await super().send(caller, conversation, client_msg_id, body, trace)

    async def read(self, caller: Caller, items: Sequence[Marked], trace: Trace) -> list[ReadOutcome]:
        self._refuse_if_full()
        return await super().read(caller, items, trace)

    async def delivered(
        self, caller: Caller, items: Sequence[Marked], trace: Trace
    ) -> list[DeliveredOutcome]:
        self._refuse_if_full()
        return await super().delivered(caller, items, trace)

    async def committed(self, changes: Changes, trace: Trace) -> Awaitable[None] | None:
        """The events are in order from here; the broker's answer is waited for without the locks."""
        if failpoints.on and await failpoints.hit("after_commit_before_produce"):
            return None
        handover = self._log.put(events.keyed(events.events_of(changes, self.receipt_members)))
        return _acknowledged(handover, clock_ns(), trace)

    def _refuse_if_full(self) -> None:
        """Before anything is done: after COMMIT an event can no longer be refused."""
        if self._log.full:
            raise Refused("OVERLOADED", "too many events wait for the broker", retry_ms=RETRY_MS)

    # --- reads ------------------------------------------------------------------------------------------

    async def position(self, user: int, trace: Trace) -> tuple[int, int]:
        epoch, change_id = await super().position(user, trace)
        try:
            return epoch, await self._cached.change_id(user, trace)
        except RedisUnavailable:
            self._fallbacks += 1
            return epoch, change_id

    async def state(
        self, user: int, conversations: Sequence[str] | None, cursor: str | None, limit: int, trace: Trace
    ) -> StatePage:
        try:
            if conversations is not None:
                return await self._state_of_named(user, conversations, trace)
            change_id, lines = await self._cached.view(user, trace)
        except RedisUnavailable:
            self._fallbacks += 1
            return await super().state(user, conversations, cursor, limit, trace)
        total = sum(line.state.unread for line in lines)
        states, following = page(lines, cursor, limit)
        return StatePage(states, None if following else total, change_id, following)

    async def _state_of_named(self, user: int, names: Sequence[str], trace: Trace) -> StatePage:
        memberships = [membership(user, one) for one in await self.named(user, names, trace)]
        lines = await self._cached.named(user, memberships, trace)
        return StatePage([line.state for line in lines], None, None, None)

    # --- the harness's door -----------------------------------------------------------------------------

    async def reset(self) -> None:
        """Empties MySQL and Redis.  What is still in the log is over: the applied offsets are set behind it,
        so the consumer passes it by."""
        ends = await self._log.put_everywhere(events.MARKER)
        await self._settle(RESET_S)
        self._warming.forget()
        await super().reset()
        await self._redis.wipe()
        await self._set_offsets(ends)

    async def seed(self, conversations: Sequence[SeedConversation], *, done: bool, warm: bool) -> None:
        """Redis is always filled: it is the place that answers."""
        await super().seed(conversations, done=done, warm=warm)
        self._warming.remember(conversations)
        if done:
            await self._warming.fill()

    async def drain(self, timeout_s: float) -> dict[str, int]:
        left = await super().drain(timeout_s)
        return {**left, **await self._settle(timeout_s)}

    async def dump(self, source: str, after: str, limit: int) -> tuple[list[DumpRow], str | None]:
        """`cache` gives what Redis holds, in no order, a member possibly twice."""
        if source != "cache":
            return await super().dump(source, after, limit)
        members, following = await self._redis.members(after, limit)
        rows = [
            DumpRow(name, user, *cursors, last_seq=head.last_seq) for name, user, cursors, head in members
        ]
        return rows, following

    async def held(self, source: str, user: int, conversation: str) -> DumpRow | None:
        if source != "cache":
            return await super().held(source, user, conversation)
        found = await self._redis.member(conversation, user)
        if found is None:
            return None
        cursors, head = found
        return DumpRow(conversation, user, *cursors, last_seq=head.last_seq)

    def stats(self) -> dict[str, Any]:
        produced = {f"kafka_{name}": value for name, value in self._log.stats().items()}
        return {
            **super().stats(),
            **produced,
            **self._bus.stats(),
            **self._cached.counters.figures(),
            **{f"consumer.{name}": count for name, count in self._lag.consumers.items()},
            "looks_at_lag": self._lag.looks,
            "polls_of_lag": self._lag.polls,
            "heads_asked": self._heads_asked,
            "cache_fallback": self._fallbacks,
            "cache_away": self._redis.away,
            "lag_events": self._lag.events,
            "lag_ms": self._lag.ms,
            "lag_ages": self._lag.ages,
            "producer": self._log.settings(),
        }

    # --- the log and what was applied of it -----------------------------------------------------------------

    async def _settle(self, timeout_s: float) -> dict[str, int]:
        """Waits until log, consumer and bus have nothing of ours any more; else says what is left."""
        give_up = time.monotonic() + timeout_s
        if not await self._log.settled(timeout_s):
            return {"queue_unacknowledged": self._log.outstanding}
        while behind := await self._behind():
            if time.monotonic() >= give_up:
                return {"queue_events": behind}
            await asyncio.sleep(0.01)
        arrived = await self._bus.flush(max(0.1, give_up - time.monotonic()))
        return {} if arrived else {"bus": 1}

    async def _behind(self) -> int:
        try:
            return await self._lag.look()
        except RedisUnavailable:
            return 1  # at least: nobody can know

    async def _take_offsets(self, ends: dict[int, int]) -> None:
        """Redis may come from a copy that was made beside another log, and then knows offsets that are not
        there yet: forget them, or as many events would be passed by."""
        key = offsets_key(self._redis.prefix, self._log.topic)
        partitions = sorted(ends)
        found = await self._redis.command(None, "HMGET", key, *partitions)
        ahead = [
            partition
            for partition, offset in zip(partitions, found, strict=True)
            if int(offset or 0) > ends[partition]
        ]
        if ahead:
            await self._redis.command(None, "HDEL", key, *ahead)

    async def _set_offsets(self, ends: dict[int, int]) -> None:
        batch = Batch(self._redis.prefix, self._log.topic)
        await self._redis.script(None, APPLY, batch.keys, batch.args("", 0, ends))


class QueueFirst(Queue):
    """The same, but a READ or DELIVERED is acknowledged when the broker has it, before MySQL knows of it."""

    async def read(self, caller: Caller, items: Sequence[Marked], trace: Trace) -> list[ReadOutcome]:
        wanted = await self._accept(caller, items, trace, ReadQueued)
        asked = {conversation.conversation_id: seq for conversation, seq in wanted}
        return [
            ReadOutcome(item.conversation, None, asked[item.conversation], None, None, None) for item in items
        ]

    async def delivered(
        self, caller: Caller, items: Sequence[Marked], trace: Trace
    ) -> list[DeliveredOutcome]:
        wanted = await self._accept(caller, items, trace, DeliveredQueued)
        asked = {conversation.conversation_id: seq for conversation, seq in wanted}
        return [DeliveredOutcome(item.conversation, None, asked[item.conversation]) for item in items]

    async def _accept(
        self, caller: Caller, items: Sequence[Marked], trace: Trace, kind: type[ReadQueued]
    ) -> list[tuple[Conversation, int]]:
        self._refuse_if_full()
        wanted = await self.resolve(caller.user, items, trace)
        await self._check_heads(caller.user, wanted, trace)
        event = kind(
            key=f"u{caller.user}",
            value=[events.Marked(conversation.conversation_id, seq) for conversation, seq in wanted],
            user=caller.user,
            at=now_ms(),
            origin=caller.session,
            device=caller.device,
        )
        handover = self._log.put(events.keyed([event]))
        await _acknowledged(handover, clock_ns(), trace)
        return wanted

    async def _check_heads(self, user: int, wanted: Sequence[tuple[Conversation, int]], trace: Trace) -> None:
        """Redis may be behind a SEND that this client knows of, so MySQL has the last word.

        Raises Refused(SEQ_AHEAD)."""
        known = [0] * len(wanted)
        names = [conversation.conversation_id for conversation, _ in wanted]
        with contextlib.suppress(RedisUnavailable):  # then MySQL is asked for all of them
            known = await self._cached.last_seqs(user, names, trace)
        beyond = {
            name: seq for name, (_, seq), last_seq in zip(names, wanted, known, strict=True) if seq > last_seq
        }
        if not beyond:
            return
        self._heads_asked += 1
        heads = await self.store.heads(list(beyond), trace)
        for name, seq in beyond.items():
            last_seq = heads[name].last_seq
            if seq > last_seq:
                raise Refused("SEQ_AHEAD", f"{name} ends at {last_seq}", current={"last_seq": last_seq})


async def _acknowledged(handover: Handover, began_ns: int, trace: Trace) -> None:
    """Raises Refused("UNAVAILABLE") if the broker does not answer in time: it may still get the events."""
    try:
        await handover.wait()
        if failpoints.on:
            await failpoints.hit("after_produce_before_ack")
    finally:
        trace.queue += clock_ns() - began_ns
