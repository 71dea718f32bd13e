"""The reference server with planted faults, named by PLANT="name:dose name:dose".

`python -m tests.proofs.planted_server SCHEME …`:

    warming:TAU     each request takes 30 ms more, less and less: by exp(-t / TAU seconds) since the first
    blocking:T      every T seconds the event loop is held for 30 ms
    collecting:MS   once a second garbage is collected that takes about so many milliseconds
    stepping:MS     once a second the wall clock is moved by so much, forward and back in turn
    serial:MS       requests are carried out one after the other, and each takes so long
    stretched:N     each READ keeps the event loop for N turns of a small piece of work more
    refusing:SHARE  so many of the requests are refused as OVERLOADED
    failing:N       the Nth READ and later ones meet a bug; 0: none does
    skipping:SHARE  so many of the UPDATEs of a sender's own cursor are left out
    closing:N       SIGUSR1 closes so many connections of devices"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import math
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from schemes import stalls
from schemes.__main__ import main
from schemes.ports import Refused
from schemes.server.listener import Server
from schemes.stores.driver import Session

DOSES: Final = {name: float(dose) for name, dose in (one.split(":") for one in os.environ["PLANT"].split())}
COLD_S: Final = 0.03
BLOCKED_S: Final = 0.03
SAMPLE: Final = 20_000
TURN: Final = {"type": "ACK", "items": [{"conversation_id": "c1", "up_to_seq": n} for n in range(3)]}
"""Written and read again: a few microseconds of what a server does all day."""
_listen = Server.listen
_write = Session.write
_chance = random.Random(1)
_first: list[float] = []
_serial = asyncio.Lock()


def warm(of: Any) -> Any:
    """A scheme whose calls are slower at first."""

    async def cold() -> None:
        _first[:] = _first or [time.monotonic()]
        await asyncio.sleep(COLD_S * math.exp(-(time.monotonic() - _first[0]) / DOSES["warming"]))

    return _Before(of, cold)


def serial(of: Any) -> Any:
    """A scheme that does one thing at a time."""

    async def turn() -> None:
        async with _serial:
            await asyncio.sleep(DOSES["serial"] / 1000)

    return _Before(of, turn)


def stretch(of: Any) -> Any:
    """A scheme whose READs need more CPU.  It is work and not time, so that it is the same share of a READ
    when the host is slower; not a share of the time that each took, since READs that wait for each other's
    would be stretched by that too, and nobody would come to an end."""

    whole, part = divmod(DOSES["stretched"], 1)

    async def work() -> None:
        for _ in range(int(whole) + (_chance.random() < part)):
            json.loads(json.dumps(TURN))

    return _Before(of, work, ("read",))


def refuse(of: Any) -> Any:
    """A scheme that has no room for some requests."""

    async def full() -> None:
        if _chance.random() < DOSES["refusing"]:
            raise Refused("OVERLOADED", "planted", retry_ms=1000)

    return _Before(of, full, ("send", "read", "state", "delivered"))


def fail(of: Any) -> Any:
    """A scheme with a bug."""
    reads = itertools.count(1)

    async def bug() -> None:
        if 0 < DOSES["failing"] <= next(reads):
            raise ZeroDivisionError("planted")

    return _Before(of, bug, ("read",))


class _Before:
    """`of`, with something awaited before some of its calls."""

    def __init__(
        self, of: Any, before: Callable[[], Any], calls: Sequence[str] = ("send", "read", "state")
    ) -> None:
        self._of = of
        self._before = before
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._of, name)
        if name not in self._calls:
            return found

        async def later(*arguments: Any, **named: Any) -> Any:
            await self._before()
            return await found(*arguments, **named)

        return later


async def skip(self: Session, sql: str, args: Sequence[Any] = ()) -> int:
    own = sql.startswith("UPDATE conversation_members SET delivered_at")
    if own and _chance.random() < DOSES["skipping"]:
        return 1
    return await _write(self, sql, args)


async def every(seconds: float, what: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(seconds)
        what()


def block() -> None:
    end = time.monotonic() + BLOCKED_S
    while time.monotonic() < end:
        pass


def collector() -> Callable[[], None]:
    """Collects something that takes so many ms here, whatever the machine; once all else is frozen."""
    size = [0]

    def took_ms(objects: int) -> float:
        """Only what is made here: everything else is older, and would take its own time."""
        gc.disable()
        kept = [[number] for number in range(objects)]
        began = time.perf_counter()
        gc.collect(0)
        took = time.perf_counter() - began
        gc.enable()
        return took * 1000 + 0 * len(kept)

    def collect() -> None:
        if not gc.get_freeze_count():
            return
        if not size[0]:
            size[0] = int(SAMPLE * DOSES["collecting"] / min(took_ms(SAMPLE) for _ in range(3)))
        took_ms(size[0])

    return collect


def stepper() -> Callable[[], None]:
    ahead = [0]

    def moved() -> int:
        return time.time_ns() + ahead[0]

    stalls.Stalls.__init__.__defaults__ = (time.monotonic_ns, moved, None)  # type: ignore[misc]

    def step() -> None:
        ahead[0] = 0 if ahead[0] else int(DOSES["stepping"] * 1e6)

    return step


ONCE_A_SECOND: Final[dict[str, Callable[[], Callable[[], None]]]] = {
    "collecting": collector,
    "stepping": stepper,
}
FAULTS: Final[dict[str, Callable[[Any], Any]]] = {
    "warming": warm,
    "serial": serial,
    "stretched": stretch,
    "refusing": refuse,
    "failing": fail,
}


async def listen(self: Server, host: str, port: int) -> int:
    for name in FAULTS.keys() & DOSES.keys():
        self.scheme = FAULTS[name](self.scheme)
    bound = await _listen(self, host, port)
    if "blocking" in DOSES:
        self.spawn(every(DOSES["blocking"], block), request=False)
    for what in PLANTED:
        self.spawn(every(1.0, what), request=False)
    if "closing" in DOSES:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, close_some, self)
    return bound


def close_some(of: Server) -> None:
    """Of those that listen to everything, as devices do and probes do not."""
    devices = [connection for connection in of.hub.everybody() if connection.session._all]
    for connection in devices[: int(DOSES["closing"])]:
        connection.close(1001, "planted")


PLANTED: Final = [make() for name, make in ONCE_A_SECOND.items() if name in DOSES]
Server.listen = listen  # type: ignore[method-assign]
if "skipping" in DOSES:
    Session.write = skip  # type: ignore[method-assign]

if __name__ == "__main__":
    main(prog_name="planted_server")
