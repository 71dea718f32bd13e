"""Topics, against an admin client that does what the test says: what aiokafka's does on a fenced broker."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, NotControllerError

from schemes.stores import kafka_topics
from schemes.stores.kafka_topics import KafkaUnavailable, create_topic, delete_topic, leave

INVALID_REPLICATION_FACTOR, TOPIC_ALREADY_EXISTS, POLICY_VIOLATION = 38, 36, 44


class Admin:
    """Answers one after the other; an exception is raised, a number is the error code of the topic."""

    def __init__(self) -> None:
        self.answers: list[Exception | int] = []
        self.starts: Exception | None = None
        self.silent = False
        self.asked = 0
        self.closed = False

    async def start(self) -> None:
        if self.silent:
            await asyncio.Event().wait()
        if self.starts is not None:
            raise self.starts

    async def close(self) -> None:
        self.closed = True

    async def create_topics(self, topics: list[Any]) -> Any:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(topic_errors=[(topics[0].name, answer, "as it is")])

    async def delete_topics(self, topics: list[str]) -> Any:
        await self.create_topics([SimpleNamespace(name=topics[0])])


@pytest.fixture
def admin(monkeypatch: pytest.MonkeyPatch) -> Admin:
    made = Admin()
    monkeypatch.setattr(kafka_topics, "AIOKafkaAdminClient", lambda **_: made)
    monkeypatch.setattr(kafka_topics, "PAUSE_S", 0.01)
    monkeypatch.setattr(kafka_topics, "PATIENCE_S", 0.5)
    return made


NO_CONTROLLER = AttributeError("'NoneType' object has no attribute 'nodeId'")


@pytest.mark.parametrize("fenced", [NO_CONTROLLER, INVALID_REPLICATION_FACTOR, NotControllerError()])
async def test_a_fenced_broker_is_asked_again(admin: Admin, fenced: Exception | int) -> None:
    admin.answers = [fenced, fenced, 0]
    await create_topic("b:1", "t", 8)
    assert admin.asked == 3
    assert admin.closed


async def test_one_that_is_there_is_as_good(admin: Admin) -> None:
    admin.answers = [TOPIC_ALREADY_EXISTS]
    await create_topic("b:1", "t", 8)
    assert admin.asked == 1


async def test_a_refusal_is_no_success(admin: Admin) -> None:
    admin.answers = [POLICY_VIOLATION]
    with pytest.raises(KafkaUnavailable, match=r"Kafka at b:1 did not make topic t: .*as it is"):
        await create_topic("b:1", "t", 8)
    assert admin.asked == 1
    assert admin.closed


async def test_a_broker_that_stays_fenced_is_given_up(admin: Admin) -> None:
    admin.answers = [NO_CONTROLLER]
    began = time.monotonic()
    with pytest.raises(KafkaUnavailable, match="Kafka at b:1 did not delete topic t"):
        await delete_topic("b:1", "t")
    assert admin.asked > 2
    assert time.monotonic() - began < 5
    assert admin.closed


async def test_one_that_does_not_answer_is_given_up(admin: Admin) -> None:
    admin.silent = True
    with pytest.raises(KafkaUnavailable, match=r"did not make topic t in 0\.5 s"):
        await create_topic("b:1", "t", 8)
    admin.silent, admin.starts = False, KafkaConnectionError("nobody")
    with pytest.raises(KafkaUnavailable, match=r"does not answer: .*nobody"):
        await create_topic("b:1", "t", 8)
    assert admin.closed


async def test_a_goodbye_that_does_not_end_or_fails_is_left() -> None:
    """As aiokafka's do without a broker: one cannot be cancelled, one says that it was, one fails."""
    deaf = asyncio.Event()

    async def cannot_be_cancelled() -> None:
        while not deaf.is_set():
            try:
                await deaf.wait()
            except asyncio.CancelledError:
                continue

    async def says_it_was_cancelled() -> None:
        raise asyncio.CancelledError

    async def fails() -> None:
        raise KafkaConnectionError("gone")

    for goodbye in (cannot_be_cancelled(), says_it_was_cancelled(), fails()):
        async with asyncio.timeout(2):
            await leave(goodbye, 0.05)
    deaf.set()
