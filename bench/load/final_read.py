"""The final read: one fresh connection for each person asks for all of their state, and closes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from bench.load.device import FINAL, Crowd, Device
from bench.load.replies import Incoming
from bench.population import NOBODY
from bench.record import NONE, Op
from schemes.protocol import State

PAGE: Final = 500
ATTEMPTS: Final = 3


class FinalRead:
    """Reads the state of these people; the engine's `in_flight` says how many at a time.

    `on_done(read, failed)` is called once, with how many people could be read and how many could not."""

    def __init__(self, crowd: Crowd, people: Iterable[int], on_done: Callable[[int, int], None]) -> None:
        self._readers = [FinalReader(crowd, person, self) for person in people]
        self._left = len(self._readers)
        self._failed = 0
        self._on_done = on_done

    def start(self) -> None:
        for reader in self._readers:
            reader.connect()
        if not self._readers:
            self._on_done(0, 0)

    def ended(self, *, failed: bool) -> None:
        self._left -= 1
        self._failed += failed
        if not self._left:
            self._on_done(len(self._readers) - self._failed, self._failed)


class FinalReader(Device):
    """HELLO as device `final`, STATE until the last page, and gone."""

    __slots__ = ("_final", "_tries")

    def __init__(self, crowd: Crowd, person: int, final: FinalRead) -> None:
        super().__init__(crowd, NOBODY, person, FINAL)
        self._final = final
        self._tries = 0

    @property
    def device_id(self) -> str:
        return "final"

    def welcomed(self) -> None:
        self._engine.request(self, Op.STATE, State(limit=PAGE))

    def _signed_in_state(self, reply: Incoming, change_id: int) -> None:  # noqa: ARG002
        if not reply.done and reply.cursor is not None:
            self._engine.request(self, Op.STATE, State(limit=PAGE, cursor=reply.cursor), 0, NOBODY, NONE)
        else:
            self.close()
            self._final.ended(failed=False)

    def lost(self, code: int) -> None:
        self._tries += 1
        if self._tries >= ATTEMPTS:
            self.stopped = True
            self._final.ended(failed=True)
        super().lost(code)
