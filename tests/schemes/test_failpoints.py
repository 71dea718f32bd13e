"""Failpoints: what a rule does to whom, what is refused, and that nothing of it is there without the flag."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench.control import Control, ControlError
from schemes import failpoints
from schemes import protocol as p
from schemes.__main__ import main
from schemes.failpoints import CONSUMER, POINTS, Asker, hit, hit_each
from schemes.ports import Refused
from tests.bench.load.servers import SECRET, memory_server
from tests.contract.arms import Arm
from tests.contract.world import World

ANN, BOB = Asker(1, "r1", ("d",)), Asker(2, "r2", ("d", "g"))


@pytest.fixture
def switched_on() -> Iterator[None]:
    failpoints.switch_on()
    yield
    failpoints.switch_off()


async def tell(name: str, action: str, **more: Any) -> list[p.FailpointHit]:
    reply = await failpoints.answer(p.ControlRequest("FAILPOINT", name=name, action=action, **more))
    assert reply.hits is not None
    return reply.hits


async def met(name: str, asker: Asker) -> bool:
    """Whether this asker, in a task of their own, is told to leave out what follows."""

    async def work() -> bool:
        failpoints.begin(asker)
        return await hit(name)

    return await asyncio.create_task(work())


@pytest.mark.parametrize(
    ("match", "dropped"),
    [
        ({}, [True, True]),
        ({"user": "u2"}, [False, True]),
        ({"op_id": "r1"}, [True, False]),
        ({"conversation": "g"}, [False, True]),
        ({"conversation": "d", "user": "u1", "op_id": "r1"}, [True, False]),
        ({"user": "u1", "op_id": "r2"}, [False, False]),
    ],
)
async def test_a_rule_is_for_whom_it_matches(
    switched_on: None, match: dict[str, str], dropped: list[bool]
) -> None:
    await tell("before_push", "drop", count=0, **match)
    assert [await met("before_push", asker) for asker in (ANN, BOB)] == dropped
    hits = await tell("before_push", "hits")
    assert [hit.op_id for hit in hits] == [
        asker.op_id for asker, was in zip((ANN, BOB), dropped, strict=True) if was
    ]
    assert not await met("after_db_commit", ANN)


async def test_a_rule_acts_as_often_as_it_was_told(switched_on: None) -> None:
    await tell("before_push", "drop", count=2)
    assert [await met("before_push", ANN) for _ in range(3)] == [True, True, False]


async def test_who_pauses_waits_for_release(switched_on: None) -> None:
    await tell("after_db_commit", "pause", user="u1")
    waiting = asyncio.create_task(met("after_db_commit", ANN))
    (hit,) = await tell("after_db_commit", "wait", timeout_ms=1000)
    assert (hit.name, hit.action, hit.user, hit.op_id, hit.conversation) == (
        *("after_db_commit", "pause"),
        *("u1", "r1", "d"),
    )
    await met("after_db_commit", BOB)
    assert not waiting.done()
    await tell("after_db_commit", "release")
    assert await asyncio.wait_for(waiting, 1) is False
    await asyncio.wait_for(met("after_db_commit", ANN), 1)


async def test_a_note_only_keeps_the_hit(switched_on: None) -> None:
    await tell("before_push", "note", count=0)
    assert not await met("before_push", ANN)
    assert [hit.action for hit in await tell("before_push", "hits")] == ["note"]


async def test_waiting_for_a_hit_that_does_not_come_ends(switched_on: None) -> None:
    await tell("after_db_commit", "pause", user="u1")
    assert await tell("after_db_commit", "wait", timeout_ms=10) == []


async def test_clear_lets_everybody_go_and_forgets(switched_on: None) -> None:
    await tell("before_push", "pause")
    waiting = asyncio.create_task(met("before_push", ANN))
    await tell("before_push", "wait", timeout_ms=1000)
    assert await tell("", "clear") == []
    await asyncio.wait_for(waiting, 1)


async def test_an_error_is_of_the_places_own_kind(switched_on: None) -> None:
    await tell("before_cache_del", "error", count=2)
    with pytest.raises(Refused) as refused:
        await hit("before_cache_del")
    assert refused.value.code == "UNAVAILABLE"
    with pytest.raises(LookupError, match="before_cache_del"):
        await hit("before_cache_del", failing=LookupError)


async def test_sleep_takes_its_time(switched_on: None) -> None:
    await tell("before_push", "sleep", ms=30)
    began = asyncio.get_running_loop().time()
    await hit("before_push")
    assert asyncio.get_running_loop().time() - began >= 0.03


async def test_of_a_batch_only_what_matches_is_left_out(switched_on: None) -> None:
    await tell("before_push", "drop", count=0, user="u2")
    assert await hit_each("before_push", [ANN, BOB, ANN, BOB]) == {1, 3}


async def test_each_hit_is_a_line_in_the_log(switched_on: None, caplog: pytest.LogCaptureFixture) -> None:
    await tell("before_push", "drop")
    with caplog.at_level(logging.WARNING):
        await met("before_push", BOB)
    line = json.loads(caplog.messages[-1].removeprefix("failpoint "))
    assert (line["name"], line["user"], line["op_id"], line["conversation"]) == (
        "before_push",
        "u2",
        "r2",
        "d",
    )
    assert line["at_ns"] > 0


@pytest.mark.parametrize(
    ("name", "action", "more", "says"),
    [
        ("befor_push", "pause", {}, "no failpoint 'befor_push'; known: in_txn_before_commit"),
        ("befor_push", "wait", {}, "no failpoint 'befor_push'"),
        ("befor_push", "release", {}, "no failpoint 'befor_push'"),
        ("before_push", "explode", {}, "action is one of note, pause, sleep"),
        ("after_db_commit", "drop", {}, "nothing to drop"),
        ("consumer_after_poll", "pause", {}, "is in the consumer, not here"),
        ("before_push", "sleep", {}, "sleep wants ms above 0, got 0"),
        ("before_push", "drop", {"count": -1}, "got -1"),
        ("before_push", "drop", {"user": "17"}, "expected a user id like 'u17'"),
    ],
)
async def test_what_no_point_can_do_is_refused(
    switched_on: None, name: str, action: str, more: dict[str, Any], says: str
) -> None:
    with pytest.raises(Refused) as refused:
        await tell(name, action, **more)
    assert refused.value.code == "BAD_REQUEST"
    assert says in str(refused.value)


# --- the doors --------------------------------------------------------------------------------------------


async def test_without_the_flag_the_door_says_unsupported() -> None:
    with pytest.raises(Refused) as refused:
        await tell("before_push", "pause")
    assert refused.value.code == "UNSUPPORTED"


async def test_the_control_door_takes_the_frame() -> None:
    world = World(Arm("memory"))
    await world.start()
    try:
        with pytest.raises(AssertionError, match="UNSUPPORTED"):
            await world.control("FAILPOINT", name="before_push", action="hits")
        failpoints.switch_on()
        reply = await world.control("FAILPOINT", name="before_push", action="pause")
        assert (reply["type"], reply["hits"]) == ("FAILPOINT", [])
    finally:
        failpoints.switch_off()
        await world.stop()


def test_a_server_has_them_if_it_was_started_so() -> None:
    with memory_server("--control", "--failpoints") as server:
        door = Control(f"{server.url}{p.CONTROL_PATH}", SECRET)
        assert door.ask("FAILPOINT", name="before_push", action="pause").hits == []
        door.close()
    with memory_server("--control") as server:
        door = Control(f"{server.url}{p.CONTROL_PATH}", SECRET)
        with pytest.raises(ControlError, match="UNSUPPORTED: this process was started without --failpoints"):
            door.ask("FAILPOINT", name="before_push", action="pause")
        door.close()


def test_failpoints_need_the_control_door() -> None:
    result = CliRunner().invoke(main, ["memory", "--failpoints"])
    assert result.exit_code == 2
    assert "--failpoints needs --control" in result.output


async def test_a_process_without_a_control_door_has_a_socket(tmp_path: Path) -> None:
    failpoints.switch_on(CONSUMER)
    try:
        async with failpoints.serve(tmp_path / "failpoints"):
            reader, writer = await asyncio.open_unix_connection(tmp_path / "failpoints")

            async def ask(text: str) -> Any:
                writer.write(text.encode() + b"\n")
                return json.loads(await asyncio.wait_for(reader.readline(), 2))

            good = {"type": "FAILPOINT", "id": "1", "name": "consumer_after_poll", "action": "drop"}
            assert await ask(json.dumps(good)) == {"type": "FAILPOINT", "reply_to": "1", "hits": []}
            assert await hit_each("consumer_after_poll", [ANN]) == {0}
            hits = (await ask(json.dumps(good | {"action": "hits"})))["hits"]
            assert [one["op_id"] for one in hits] == ["r1"]
            assert (await ask("no JSON"))["code"] == "BAD_REQUEST"
            assert (await ask('{"type": "RESET"}'))["code"] == "UNSUPPORTED"
            assert (await ask(json.dumps(good | {"name": "before_push"})))["code"] == "BAD_REQUEST"
            writer.close()
    finally:
        failpoints.switch_off()


async def test_a_crash_is_a_kill_and_its_hit_is_logged_before() -> None:
    program = (
        "import asyncio, logging; logging.basicConfig()\n"
        "from schemes import failpoints, protocol as p\n"
        "async def main():\n"
        "    failpoints.switch_on()\n"
        "    await failpoints.answer(p.ControlRequest('FAILPOINT', name='before_push', action='crash'))\n"
        "    failpoints.begin(failpoints.Asker(7, 'r7', ('d',)))\n"
        "    await failpoints.hit('before_push')\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program), stderr=asyncio.subprocess.PIPE
    )
    _, stderr = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == -signal.SIGKILL
    assert '"op_id":"r7"' in stderr.decode()


# --- where they are ---------------------------------------------------------------------------------------


def test_every_point_is_somewhere() -> None:
    """One that no code passes would be armed in vain."""
    package = Path(failpoints.__file__).parent
    text = "".join(path.read_text() for path in package.rglob("*.py") if path.name != "failpoints.py")
    assert [name for name in POINTS if f'"{name}"' not in text] == []
