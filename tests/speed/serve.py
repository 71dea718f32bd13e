"""A server for the speed tests: `python tests/speed/serve.py memory|bare TICK_S` prints its port.

`memory` is the reference server over the control; `bare` is the same socket code without anything behind it:
each frame is answered by a fixed one of about the same size that carries the frame's id.

A line `WAY RATE` on stdin has it push RATE times a second, to one random person with one device each time:
WAY `hub` publishes as a scheme does, `straight` writes the finished frame to the connection.  The answer is
the number of pushes so far.  A line `held` is answered by the most CPU, in microseconds, that the loop used
without coming back to a waiting timer, since the last such line; `freeze` collects garbage once and for all.

TICK_S is how often the server looks whether its loop is held up: no gap much longer than that is missed."""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import time
from collections import Counter
from collections.abc import Callable

import uvloop

from schemes.memory.scheme import Memory
from schemes.protocol import AckMeaning
from schemes.read_state import Push
from schemes.server import stats
from schemes.server.connection import Connection
from schemes.server.hub import text_frame
from schemes.server.listener import BACKLOG, Server
from schemes.server.session import ServerConfig

TICK_S = 0.001
SECRET = b"x"
PUSH = (
    b'{"type":"UPDATE","key":"read/d77/u4711","value":{"up_to_seq":812,"read_time":1712054890155},'
    b'"version":31,"at":1712054890155,"origin_device":"device-2"}'
)
TIMES = b'"t":{"server":25,"wait":0,"store":0,"cache":0,"queue":0}'
REPLIES = {
    b"HELLO": b'{"type":"WELCOME","reply_to":"%b","session_id":"s","epoch":1,"change_id":0,"server_time":0}',
    b"SUB": b'{"type":"ACK","reply_to":"%b","count":1}',
    b"STATE": b'{"type":"STATE_RESULT","reply_to":"%b","conversations":[],"change_id":0,"done":true}',
    b"SYNC": b'{"type":"SYNC_RESULT","reply_to":"%b","changed_count":0,"updated_messages":[],"changes":[],'
    b'"next_change_id":0,"done":true,"server_time":0}',
    b"READ": b'{"type":"ACK","reply_to":"%b","items":[{"conversation_id":"d77","applied":false,"read_seq":5,'
    b'"unread":0,"version":0,"read_time":null}],"durability":"volatile",' + TIMES + b"}",
}


class Bare(Connection):
    """Neither session nor scheme."""

    __slots__ = ()

    def _text(self, data: bytes) -> None:
        self.send(text_frame(REPLIES[_field(data, b"type")] % _field(data, b"id")))


def _field(frame: bytes, name: bytes) -> bytes:
    """A string cut out of a frame: a stand-in for a parser that costs next to nothing."""
    return frame.partition(b'"%b":"' % name)[2].partition(b'"')[0]


class Pusher:
    """Pushes at a steady rate."""

    def __init__(self, server: Server) -> None:
        self.pushes = 0
        self._hub = server.hub
        self._task: asyncio.Task[None] | None = None
        self._way: Callable[[Connection, int], None] = self._by_hub
        self._per_s = 0.0

    def order(self, way: str, per_s: str) -> int:
        """Pushes this way, this often, from now on; how many there were so far."""
        self._way = {"hub": self._by_hub, "straight": self._straight}[way]
        self._per_s = float(per_s)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._push())
        return self.pushes

    async def _push(self) -> None:
        """Wakes up as often without pushes, so that what they add is the pushes alone."""
        sessions = self._hub.everybody()
        devices = Counter(_user(connection) for connection in sessions)
        single = [(connection, _user(connection)) for connection in sessions]
        single = [(connection, user) for connection, user in single if devices[user] == 1]
        rng, owed, before = random.Random(1), 0.0, time.monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            owed += (now - before) * self._per_s
            before = now
            while owed >= 1:
                self._way(*single[int(rng.random() * len(single))])
                self.pushes += 1
                owed -= 1

    def _by_hub(self, connection: Connection, user: int) -> None:
        self._hub.publish(Push((user,), PUSH, "d77", ""))

    def _straight(self, connection: Connection, user: int, frame: bytes = text_frame(PUSH)) -> None:
        connection.send(frame)


def _user(connection: Connection) -> int:
    assert connection.session.caller is not None
    return connection.session.caller.user


class Watch:
    """What the loop does between two looks at the clock: by CPU, so that what other processes take of the
    machine does not count."""

    def __init__(self, tick_s: float) -> None:
        self._tick_s = tick_s
        self._longest_ns = 0

    async def run(self) -> None:
        before = time.thread_time_ns()
        while True:
            await asyncio.sleep(self._tick_s)
            now = time.thread_time_ns()
            self._longest_ns = max(self._longest_ns, now - before)
            before = now

    def held_us(self) -> int:
        longest_ns, self._longest_ns = self._longest_ns, 0
        return longest_ns // 1000


def freeze_gc() -> int:
    """As FREEZE_GC at the control door."""
    found = gc.collect()
    gc.freeze()
    gc.disable()
    return found


async def main(what: str, tick_s: float) -> None:
    ack = AckMeaning("volatile", "volatile")
    server = Server(ServerConfig("memory", "none", ack, secret=SECRET, control=True))
    loop = asyncio.get_running_loop()
    if what == "memory":
        server.scheme = Memory(server.publisher, node=0, receipt_members=server.config.limits.receipt_members)
        port = await server.listen("127.0.0.1", 0)
    else:
        listener = await loop.create_server(lambda: Bare(server), "127.0.0.1", 0, backlog=BACKLOG)
        port = listener.sockets[0].getsockname()[1]
    pusher, watch = Pusher(server), Watch(tick_s)

    def obey() -> None:
        words = sys.stdin.readline().split()
        orders: dict[str, Callable[[], int]] = {"held": watch.held_us, "freeze": freeze_gc}
        print(orders[words[0]]() if words[0] in orders else pusher.order(*words), flush=True)

    loop.add_reader(sys.stdin, obey)
    print(port, flush=True)
    await watch.run()


if __name__ == "__main__":
    stats.LOOP_TICK_S = float(sys.argv[2])  # type: ignore[misc]  # a constant elsewhere
    uvloop.run(main(sys.argv[1], float(sys.argv[2])))
