"""Kafka's topics, made before they are used and taken away; and how to leave a broker that may not answer.

A broker that was just started, or that stood still for longer than its session, is *fenced*: it answers, but
names no controller, and what it says to "make this topic" is "there is no broker for a replica".  It comes
back by itself in a second or two, so both are asked again.  aiokafka's admin client (0.13) tells neither: it
fails with an AttributeError where no controller is known, and returns a refusal as if it were a success."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    InvalidReplicationFactorError,
    KafkaConnectionError,
    KafkaError,
    NoError,
    TopicAlreadyExistsError,
    for_code,
)

log = logging.getLogger(__name__)

PATIENCE_S: Final = 30.0
"""How long a broker that answers may be unable to make a topic."""
PAUSE_S: Final = 0.25
LEAVE_S: Final = 2.0


class KafkaUnavailable(Exception):
    """Kafka did not answer, or would not do what was asked; the message says where and why."""


async def create_topic(bootstrap: str, topic: str, partitions: int, *, flush_messages: int = 0) -> None:
    """Makes the topic (one replica) unless it is there.  `flush_messages` 1: the broker has flushed a record
    to its disk before it acknowledges it; 0: when the broker likes.  Raises KafkaUnavailable."""
    settings = {"flush.messages": str(flush_messages)} if flush_messages else {}
    wanted = NewTopic(topic, num_partitions=partitions, replication_factor=1, topic_configs=settings)
    await _asked(bootstrap, f"make topic {topic}", lambda admin: _create(admin, wanted))


async def delete_topic(bootstrap: str, topic: str) -> None:
    """Raises KafkaUnavailable."""
    await _asked(bootstrap, f"delete topic {topic}", lambda admin: admin.delete_topics([topic]))


async def _create(admin: Any, wanted: NewTopic) -> None:
    answer = await admin.create_topics([wanted])
    for _, code, *message in answer.topic_errors:
        error = for_code(code)
        if error not in (NoError, TopicAlreadyExistsError):
            raise error(*message)


async def _asked(bootstrap: str, what: str, ask: Callable[[Any], Awaitable[Any]]) -> None:
    """Asks until the broker could do it, PATIENCE_S at most."""
    give_up = time.monotonic() + PATIENCE_S
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        async with asyncio.timeout(PATIENCE_S):
            await admin.start()
            while (why := await _once(admin, ask)) is not None:
                if time.monotonic() > give_up - PAUSE_S:
                    raise KafkaUnavailable(f"Kafka at {bootstrap} did not {what}: {why}") from why
                log.info("Kafka at %s does not %s yet: %r", bootstrap, what, why)
                await asyncio.sleep(PAUSE_S)
    except KafkaConnectionError as error:
        raise KafkaUnavailable(f"Kafka at {bootstrap} does not answer: {error}") from error
    except KafkaError as error:
        raise KafkaUnavailable(f"Kafka at {bootstrap} did not {what}: {error}") from error
    except TimeoutError as error:
        raise KafkaUnavailable(f"Kafka at {bootstrap} did not {what} in {PATIENCE_S:g} s") from error
    finally:
        await leave(admin.close())


async def _once(admin: Any, ask: Callable[[Any], Awaitable[Any]]) -> Exception | None:
    """What kept it from being done and may pass by itself; None when it is done."""
    try:
        await ask(admin)
    except (AttributeError, InvalidReplicationFactorError) as why:  # fenced; aiokafka: final
        return why
    except KafkaError as error:
        if not error.retriable:
            raise
        reason: Exception = error
        return reason
    return None


async def leave(goodbye: Coroutine[Any, Any, None], timeout_s: float = LEAVE_S) -> None:
    """Stops a client of aiokafka in a task of its own.  Without a broker its goodbye may never end, may not
    hear that it is cancelled, and may itself say that it was."""
    leaving = asyncio.ensure_future(goodbye)
    done, _ = await asyncio.wait([leaving], timeout=timeout_s)
    if not done:
        leaving.cancel()
        log.warning("a client of Kafka did not stop in %.1f s", timeout_s)
    elif leaving.cancelled() or leaving.exception() is not None:
        log.info("a client of Kafka did not stop in order")
