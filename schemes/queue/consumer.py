"""The consumer process of the queue scheme: applies the log to Redis, publishes the pushes, commits.

    python -m schemes.queue.consumer --redis-url redis://… --kafka-bootstrap host:port --mysql-url mysql+…

One process serves all partitions; more may join with another `--node`.  SIGTERM and SIGINT finish the
batch in hand, commit and leave, within some seconds also where nobody answers any more.  SIGUSR1 collects
garbage and freezes what is left, as FREEZE_GC does in a server.  What it cannot go on from ends it with exit
code 1 and a line that says why: whoever started it decides whether it comes back, and nothing is lost if it
does."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

import uvloop

from schemes import failpoints
from schemes.ports import Refused
from schemes.protocol import Limits
from schemes.queue import health
from schemes.queue.ages import ages_key
from schemes.queue.applier import Applier
from schemes.queue.health import Status
from schemes.queue.options import DEFAULTS, status_key
from schemes.stalls import Stalls
from schemes.stores import distance
from schemes.stores.kafka import PARTITIONS, DeadLetters, EventReader
from schemes.stores.kafka_topics import KafkaUnavailable, create_topic
from schemes.stores.mysql import MySQL
from schemes.stores.redis import RedisStore, RedisUnavailable
from schemes.stores.times import now_ms

log = logging.getLogger(__name__)

CANNOT_START = 3
SERVERS_OWN = ("publish", "queue-tick", "redis-exclusive", "warm-up")
"""Options of a server that mean nothing here."""
HEARTBEAT_S = 0.25
HEARTBEAT_LIFE_MS = 2000
REDIS_TIMEOUT_S = 2.0


class Consumer:
    """Everything of the process but its signals."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.status = Status()
        self._stalls = Stalls()
        self._over = asyncio.Event()  # and no cancel(): redis-py can swallow one
        self._told = asyncio.Event()
        self._options = options
        self._redis = RedisStore(options.redis_url, prefix=options.redis_prefix, timeout_s=REDIS_TIMEOUT_S)
        self._store = _mysql(options) if options.queue_order == "queue_first" else None
        self._dead_letters = DeadLetters(options.kafka_bootstrap, f"{options.topic}-dead")
        self._reader = EventReader(
            options.kafka_bootstrap,
            options.topic,
            group=options.group,
            member=options.node,
            fetch_min_bytes=options.fetch_min_bytes,
            fetch_max_wait_ms=options.fetch_max_wait_ms,
        )
        self._applier = Applier(
            self._redis,
            self._dead_letters,
            self.status,
            topic=options.topic,
            stopping=lambda: self._reader.stopping,
            store=self._store,
            receipt_members=options.receipt_members,
        )

    def stop(self) -> None:
        self._told.set()
        self._reader.stop()

    async def run(self) -> None:
        """Until `stop`.  Raises KafkaUnavailable, RedisUnavailable or Refused if it cannot start."""
        async with contextlib.AsyncExitStack() as leaving:
            if not await self._unless_told(self._start(leaving)):
                return
            self._stalls.watch_loop(asyncio.get_running_loop())
            leaving.callback(self._stalls.stop)
            beating = asyncio.create_task(self._beat(), name="heartbeat")
            try:
                await self._reader.run(self._applier.apply, self._assigned)
            finally:
                self._over.set()
                await beating

    async def _unless_told(self, beginning: Coroutine[Any, Any, None]) -> bool:
        """False: told to stop before that was done, which without a broker may be never."""
        begun, told = asyncio.create_task(beginning), asyncio.create_task(self._told.wait())
        await asyncio.wait([begun, told], return_when=asyncio.FIRST_COMPLETED)
        if begun.done():
            told.cancel()
            begun.result()
            return True
        begun.cancel()
        await asyncio.wait([begun], timeout=REDIS_TIMEOUT_S)
        return False

    async def _start(self, leaving: contextlib.AsyncExitStack) -> None:
        options = self._options
        self._stalls.watch_gc()
        leaving.push_async_callback(self._redis.close)
        await self._redis.start()
        if self._store is not None:
            leaving.push_async_callback(self._store.close)
            await self._store.start()
        if options.health_port is not None:
            server = await health.serve(self.status, options.health_port, self._stalls)
            leaving.callback(server.close)
        if options.failpoints is not None:
            failpoints.switch_on(failpoints.CONSUMER)
            await leaving.enter_async_context(failpoints.serve(options.failpoints))
        leaving.push_async_callback(self._dead_letters.close)
        await create_topic(
            options.kafka_bootstrap, options.topic, options.partitions, flush_messages=options.flush_messages
        )
        leaving.push_async_callback(self._reader.close)
        await self._reader.start()

    async def _assigned(self, positions: Mapping[int, int]) -> None:
        await self._applier.assigned(positions)
        self.status.ready = True
        log.info("ready: topic %s, next offsets %s", self._options.topic, dict(positions))
        print(f"consumer {self._options.node} ready: {len(positions)} partitions of {self._options.topic}",
              file=sys.stderr, flush=True)  # fmt: skip

    async def _beat(self) -> None:
        """Tells Redis, and through it the servers, that this consumer lives, how far it is, and how old its
        events were."""
        options, life = self._options, now_ms()
        key = status_key(self._redis.prefix, options.group, options.node)
        ages, own = ages_key(self._redis.prefix, options.topic), f"{options.group}:{options.node}:{life}"
        while not self._over.is_set():
            self._observe()
            try:
                if self.status.positions:
                    await self._applier.assert_offsets(self.status.positions)
                    self._note_beat()
                await self._redis.command(None, "SET", key, self.status.json(), "PX", HEARTBEAT_LIFE_MS)
                await self._redis.command(None, "HSET", ages, own, self._applier.ages.json())
            except RedisUnavailable as why:
                log.info("no heartbeat: %s", why)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), HEARTBEAT_S)

    def _note_beat(self) -> None:
        """For the work ledger: one more heartbeat, and what the store has noted by now."""
        notes = self._applier.ages.notes
        notes["beats"] += 1
        notes["beat_partitions"] += len(self.status.positions)
        if self._store is not None:
            notes.update(
                {f"mysql.{name}": n - notes[f"mysql.{name}"] for name, n in self._store.stats().items()}
            )

    def _observe(self) -> None:
        self.status.behind_events = self._reader.behind()
        self.status.positions = self._reader.positions()
        self.status.committed = dict(self._reader.committed)


def _mysql(options: argparse.Namespace) -> MySQL:
    return MySQL(
        options.mysql_url,
        model=options.model,
        pool_size=options.mysql_pool,
        receipt_members=options.receipt_members,
    )


def freeze_gc() -> None:
    """Garbage collection in the measured window would show as lag: collect now, then no more."""
    gc.collect()
    gc.freeze()
    gc.disable()


async def _serve(options: argparse.Namespace) -> None:
    consumer = Consumer(options)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, consumer.stop)
    loop.add_signal_handler(signal.SIGUSR1, freeze_gc)
    await consumer.run()


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The consumer takes a server's options, so that both are started alike, and some of its own."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        prog="python -m schemes.queue.consumer", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("--redis-url", default=DEFAULTS["redis-url"])
    parser.add_argument("--kafka-bootstrap", default=DEFAULTS["kafka-bootstrap"])
    parser.add_argument("--mysql-url", default=DEFAULTS["mysql-url"], help="used by queue_first alone")
    parser.add_argument("--model", choices=("flags", "cursor"), default="flags")
    parser.add_argument("--queue-order", choices=("db_first", "queue_first"), default="db_first")
    parser.add_argument("--topic", default=DEFAULTS["topic"])
    parser.add_argument("--partitions", type=int, default=PARTITIONS, help="where the topic is not there yet")
    parser.add_argument("--group", default=DEFAULTS["group"])
    parser.add_argument("--node", type=int, default=0, help="number of this process in its group")
    parser.add_argument("--redis-prefix", default="", help="before every key and channel in Redis")
    parser.add_argument("--receipt-members", type=int, default=Limits().receipt_members)
    parser.add_argument("--mysql-pool", type=int, default=4)
    parser.add_argument("--flush-messages", type=int, default=0, help="where the topic is not there yet")
    parser.add_argument("--store-rtt", type=float, default=0.0, help="ms to a store and back, made up")
    parser.add_argument("--fetch-min-bytes", type=int, default=1)
    parser.add_argument("--fetch-max-wait-ms", type=int, default=500)
    parser.add_argument("--health-port", type=int, help="answer /healthz, /readyz, /metrics, /status there")
    parser.add_argument(
        "--failpoints",
        type=Path,
        metavar="SOCKET",
        help="for tests: take FAILPOINT frames there, one per line",
    )
    for name in SERVERS_OWN:
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    return parser.parse_args(_spelled_out(sys.argv[1:] if argv is None else argv))


def _spelled_out(argv: Sequence[str]) -> list[str]:
    """`--set NAME=VALUE`, as servers take it, is `--NAME=VALUE`."""
    words: list[str] = []
    for word in argv:
        if words and words[-1] == "--set":
            words[-1] = f"--{word}"
        else:
            words.append(f"--{word.removeprefix('--set=')}" if word.startswith("--set=") else word)
    return words


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the consumer until it is told to stop; the exit code."""
    options = parse(argv)
    distance.set_rtt(options.store_rtt)
    logging.basicConfig(
        level=os.environ.get("READSTATE_LOG", "WARNING"), format="%(asctime)s %(levelname)s %(message)s"
    )
    try:
        uvloop.run(_serve(options))
    except (KafkaUnavailable, RedisUnavailable, Refused, OSError) as why:
        print(f"error: the consumer cannot run: {why}", file=sys.stderr)
        return CANNOT_START
    except Exception as why:  # the rim of the process: say what ended it, let others decide
        log.exception("the consumer ends")
        print(f"error: the consumer ends: {why!r}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
