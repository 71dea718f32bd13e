"""The control door of a server that may have none, or not all of it."""

from __future__ import annotations

from typing import Any

import pytest

from bench.control import Control, ControlError, Door, NotOffered
from schemes.protocol import DumpRow


class Partial(Control):
    """Offers DUMP and DRAIN, not the rest."""

    def __init__(self) -> None:
        pass

    def ask(self, kind: str, **_: Any) -> Any:
        raise NotOffered(f"{kind} was refused: UNSUPPORTED: no")

    def drain(self, timeout_s: float) -> dict[str, int]:
        return {"pushes": 2}

    def dump(self, source: str) -> Any:
        return iter([DumpRow("d1", 1, 5, 5, 0, 5)])


class Broken(Partial):
    def drain(self, timeout_s: float) -> dict[str, int]:
        raise ControlError("DRAIN: the control connection broke")


def test_without_a_door_nothing_is_known_and_it_says_why() -> None:
    door = Door(None, why_not="no secret")
    door.freeze_gc()
    assert (door.drain(1.0), door.stats(), door.dump("store")) == (None, None, None)
    assert door.missing == dict.fromkeys(("FREEZE_GC", "DRAIN", "STATS", "DUMP"), "no secret")


def test_what_a_lenient_door_does_not_offer_is_missing_and_the_rest_is_asked() -> None:
    door = Door(Partial(), lenient=True)
    door.freeze_gc()
    assert door.stats() is None
    assert door.drain(1.0) == {"pushes": 2}
    assert [row.conversation_id for row in door.dump("store") or ()] == ["d1"]
    assert door.missing == dict.fromkeys(("FREEZE_GC", "STATS"), "the server does not offer it")


def test_a_door_of_our_own_must_offer_everything() -> None:
    with pytest.raises(NotOffered):
        Door(Partial()).stats()


def test_a_door_that_breaks_is_an_error_and_not_missing() -> None:
    door = Door(Broken(), lenient=True)
    with pytest.raises(ControlError, match="broke"):
        door.drain(1.0)
    assert door.missing == {}
