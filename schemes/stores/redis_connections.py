"""Commands over redis-py's connections, without its client and pool around each.

Those make a task, two timers, a lock and the bookkeeping of metrics for every command, which together took as
much CPU as sending it and reading the reply; and a command that timed out could swallow a cancellation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hiredis import pack_command
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError

from schemes.stores import distance
from schemes.stores.deadline import Deadline


class Connections:
    """Connections of one loop, each for one command at a time; the one used last is used next.

    `pool` only makes them.  How many there are is bounded by how many commands the caller begins at once."""

    def __init__(self, pool: ConnectionPool, timeout_s: float) -> None:
        self._make: Callable[[], AbstractConnection] = pool.make_connection
        self._deadline = Deadline(timeout_s)
        self._idle: list[AbstractConnection] = []

    async def execute(self, *command: Any) -> Any:
        """The reply to one command.  Raises what redis-py raises, and TimeoutError; the connection is then
        given up, unless Redis itself refused (ResponseError)."""
        (reply,) = await self.execute_all((command,))
        return reply

    async def execute_all(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """The replies to several commands that are sent together."""
        connection: Any = self._idle.pop() if self._idle else self._make()
        try:
            return await self._deadline.bound(_ask(connection, commands))
        finally:
            self._idle.append(connection)  # hung up, after trouble: it connects again

    async def close(self) -> None:
        while self._idle:
            await self._idle.pop().disconnect(nowait=True)


async def _ask(connection: Any, commands: Sequence[Sequence[Any]]) -> list[Any]:
    if connection.is_connected:
        try:
            if await connection.can_read():
                await connection.disconnect(nowait=True)  # Redis hung up, or owes a reply to nobody
        except RedisConnectionError:
            pass  # hung up, as above
    if not connection.is_connected:
        await connection.connect()
    packed = b"".join([pack_command(tuple(command)) for command in commands])
    if distance.rtt_ns:
        await distance.way()
    await connection.send_packed_command(packed, check_health=False)
    replies = [await connection.read_response() for _ in commands]
    if distance.rtt_ns:
        await distance.way()
    return replies
