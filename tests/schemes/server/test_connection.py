"""The shell: sockets that are slow, silent, rude or gone, and the plain HTTP beside them."""

from __future__ import annotations

import asyncio
import json
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import msgspec
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame as WsFrame
from websockets.frames import Opcode

from schemes import protocol as p
from tests.contract.arms import Arm
from tests.contract.client import Client
from tests.contract.world import SECRET, World

Start = Callable[..., "asyncio.Future[World]"]


@pytest_asyncio.fixture
async def start() -> AsyncIterator[Callable[..., object]]:
    """Starts a server of the control with other limits."""
    worlds: list[World] = []

    async def begin(**limits: int) -> World:
        world = World(Arm("memory"), limits=msgspec.structs.replace(p.Limits(), **limits))
        await world.start()
        worlds.append(world)
        return world

    yield begin
    for world in worlds:
        await world.stop()


def raw_socket(world: World) -> socket.socket:
    parts = urlsplit(world.url)
    assert parts.hostname is not None
    return socket.create_connection((parts.hostname, parts.port or 0))


async def get(world: World, path: str) -> tuple[int, str]:
    address = f"http://{urlsplit(world.url).netloc}{path}"

    def fetch() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(address, timeout=5) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as why:
            return why.code, why.read().decode()

    return await asyncio.to_thread(fetch)


async def test_health_readiness_and_metrics(start: Start) -> None:
    world = await start()
    room = await world.direct()
    device = await world.device(room.users[0])
    await device.ask("STATE", limit=5)
    assert await get(world, "/healthz") == (200, "ok\n")
    assert await get(world, "/readyz") == (200, "ready\n")
    status, text = await get(world, "/metrics")
    assert status == 200
    assert 'readstate_requests_total{type="STATE",code="ok"} 1' in text
    assert "readstate_connections 1\n" in text
    assert (await get(world, "/nowhere"))[0] == 404


async def test_the_control_door_wants_the_secret(start: Start) -> None:
    world = await start()
    url = world.url.replace(p.PATH, p.CONTROL_PATH)
    for first in ({"type": "RESET"}, {"type": "AUTH", "secret": "wrong"}):
        intruder = await Client.dial(url)
        await intruder.send_raw(json.dumps(first))
        assert await intruder.closed() == 4401


async def test_the_control_door_is_shut_unless_asked_for(start: Start) -> None:
    world = await start()
    world.server.config = type(world.server.config)(**{**vars(world.server.config), "control": False})
    with pytest.raises(InvalidStatus, match="404"):
        await connect(world.url.replace(p.PATH, p.CONTROL_PATH), subprotocols=[p.SUBPROTOCOL], proxy=None)


async def test_an_oversized_frame_closes_that_connection_alone(start: Start) -> None:
    world = await start(frame_bytes=1000)
    room = await world.direct()
    big, other = await world.device(room.users[0]), await world.device(room.users[1])
    await big.send_raw("x" * 1001)
    assert await big.closed() == 1009
    assert (await other.ask("PING"))["type"] == "PONG"


async def test_binary_and_broken_frames_close_that_connection_alone(start: Start) -> None:
    world = await start()
    room = await world.direct()
    rude, other = await world.device(room.users[0]), await world.device(room.users[1])
    await rude.send_raw(b"\x00binary")
    assert await rude.closed() == 4400
    with raw_socket(world) as nonsense:
        await asyncio.to_thread(nonsense.sendall, b"\x16\x03\x01 not HTTP at all\r\n\r\n")
        await asyncio.to_thread(nonsense.recv, 100)
    assert (await other.ask("PING"))["type"] == "PONG"


async def test_fragmented_requests_are_put_together(start: Start) -> None:
    world = await start()
    device = await world.device((await world.direct()).users[0])

    async def parts() -> AsyncIterator[str]:
        for part in ('{"type":"PI', 'NG","id":"99', '"}'):
            yield part

    await device._socket.send(parts())
    assert (await device.push(lambda f: f.get("reply_to") == "99"))["type"] == "PONG"


@pytest.mark.slow
async def test_who_never_says_hello_is_shown_out(start: Start) -> None:
    world = await start(hello_s=1)
    silent = await world.stranger()
    assert await silent.closed() == 4401
    with raw_socket(world) as half_open:
        half_open.settimeout(5)
        assert await asyncio.to_thread(half_open.recv, 1) == b""


async def test_who_is_silent_for_too_long_is_closed(start: Start) -> None:
    world = await start(silence_s=0)
    device = await world.device((await world.direct()).users[0])
    assert await device.closed() == 4408


async def test_a_slow_consumer_is_closed_and_holds_nobody_up(start: Start) -> None:
    world = await start(outbox_frames=50, ops_per_s=100_000, ops_burst=100_000)
    room = await world.direct()
    sender, slow = await world.device(room.users[0]), await world.device(room.users[1], "slow")
    quick = await world.device(room.users[1], "quick")
    slow._socket.transport.pause_reading()
    for number in range(2500):
        await sender.ask("SEND", conversation_id=room.id, client_msg_id=f"m{number}", body="x" * 4000)
        if world.server.stats.closed.get(4408) or world.server.closing:
            break
    else:
        raise AssertionError("the slow consumer was never closed")
    await quick.message(room.id, 7 + number)
    slow._socket.transport.resume_reading()
    assert await slow.closed() in (4408, 1006)


async def test_beyond_in_flight_the_server_stops_reading(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await start(in_flight=4, ops_burst=1000)
    room = await world.direct()
    device = await world.device(room.users[0])
    gate = asyncio.Event()
    position = world.server.scheme.state

    async def slow(*args: object) -> object:
        await gate.wait()
        return await position(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(world.server.scheme, "state", slow, raising=True)
    pending = [device.begin("STATE", limit=5) for _ in range(40)]
    await asyncio.sleep(0.1)
    (connection,) = world.server.hub.everybody()
    assert connection.session.in_flight == 4
    gate.set()
    replies = await asyncio.gather(*pending)
    assert {reply["type"] for reply in replies} == {"STATE_RESULT"}
    assert len(replies) == 40


async def test_a_bug_is_internal_and_that_requests_alone(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await start()
    device = await world.device((await world.direct()).users[0])

    def broken(*args: object) -> object:
        raise KeyError("planted")

    monkeypatch.setattr(world.server.scheme, "history", broken)
    reply = await device.ask("HISTORY", conversation_id="d1", from_seq=1, limit=1)
    assert (reply["code"], "planted" in reply["message"]) == ("INTERNAL", True)
    assert (await device.ask("PING"))["type"] == "PONG"
    assert world.server.stats.requests["HISTORY", "INTERNAL"] == 1


async def test_stopping_says_goodbye(start: Start) -> None:
    world = await start()
    device = await world.device((await world.direct()).users[0])
    stopping = asyncio.create_task(world.server.stop())
    assert await device.closed() == 1001
    assert device.pushes[-1]["type"] == "GOODBYE"
    await stopping


async def test_a_thousand_abrupt_ends_leave_nobody_in_the_hub(start: Start) -> None:
    world = await start()
    room = await world.direct()
    survivor = await world.device(room.users[0])
    for _ in range(10):
        devices = [await world.device(room.users[1], f"d{n}") for n in range(20)]
        for device in devices:
            device._socket.transport.abort()
        await asyncio.gather(*(device.closed() for device in devices))
    await asyncio.sleep(0.05)
    assert world.server.hub.connections == 1
    assert (await survivor.ask("PING"))["type"] == "PONG"


async def test_who_leaves_during_hello_is_not_in_the_hub(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await start()
    user = (await world.direct()).users[0]
    gate = asyncio.Event()

    async def slow(*args: object) -> tuple[int, int]:
        await gate.wait()
        return 1, 0

    monkeypatch.setattr(world.server.scheme, "position", slow)
    stranger = await world.stranger()
    token = p.make_token(SECRET, user, "d1", 1 << 40)
    stranger.begin("HELLO", user_id=user, device_id="d1", token=token).add_done_callback(
        lambda t: t.exception()
    )
    await asyncio.sleep(0.05)
    stranger._socket.transport.abort()
    await stranger.closed()
    gate.set()
    await asyncio.sleep(0.05)
    assert world.server.hub.connections == 0


async def test_a_large_fan_out_lets_others_in_between(start: Start) -> None:
    """5,000 sessions of one group, told in slices: the loop comes round in between."""
    world = await start()

    class Told:
        """A session that only counts."""

        device = "d"
        frames = 0

        class session:  # noqa: N801  stands in for Connection.session
            session_id = "s"

            @staticmethod
            def wants(conversation: str) -> bool:
                return True

        def send(self, frame: bytes) -> None:
            self.frames += 1

    told = [Told() for _ in range(5000)]
    for number, one in enumerate(told):
        world.server.hub.join(one, number, "d")  # type: ignore[arg-type]
    from schemes.read_state import Push

    world.server.hub.publish(Push(range(5000), b"{}", "c", ""))
    rounds = 0
    while world.server.hub.waiting:
        await asyncio.sleep(0)
        rounds += 1
    assert {one.frames for one in told} == {1}
    assert rounds >= 5000 // 128 - 1
    for number, one in enumerate(told):
        world.server.hub.leave(one, number)  # type: ignore[arg-type]


def test_our_short_framing_is_the_librarys() -> None:
    from schemes.server.hub import text_frame

    for size in (0, 1, 125, 126, 127, 65535, 65536, 70000):
        payload = b"x" * size
        assert text_frame(payload) == WsFrame(Opcode.TEXT, payload).serialize(mask=False)


async def test_waiting_for_ones_turn_is_counted_once(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """`wait` of a mutation that queued behind another is less than its whole time on the server."""
    world = await start()
    room = await world.direct()
    device = await world.device(room.users[0], trace=True)
    read = world.server.scheme.read

    async def slow(*args: object) -> object:
        await asyncio.sleep(0.05)
        return await read(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(world.server.scheme, "read", slow)
    items = [{"conversation_id": room.id, "up_to_seq": 6}]
    first, second = await asyncio.gather(device.begin("READ", items=items), device.begin("READ", items=items))
    assert first["t"]["wait"] < 25_000
    assert 25_000 < second["t"]["wait"] < second["t"]["server"] - 25_000
