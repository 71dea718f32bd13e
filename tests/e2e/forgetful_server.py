"""The reference server with a planted fault: every second READ is acknowledged and forgotten.  Its control
door does not know DUMP, so that only the API can tell.

Run as `python -m tests.e2e.forgetful_server memory …`, for the test that proves the checks over the API."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from schemes.__main__ import main
from schemes.memory.scheme import Memory
from schemes.ports import Caller, Done, Marked, ReadOutcome
from schemes.server import control

apply, numbers = Memory.read, itertools.count()


def forgetful(self: Memory, caller: Caller, items: Sequence[Marked], trace: Any) -> Done[list[ReadOutcome]]:
    if next(numbers) % 2:
        return apply(self, caller, items, trace)
    said = [ReadOutcome(item.conversation, True, item.up_to_seq or 0, 0, 1, 0) for item in items]
    return Done(said)


Memory.read = forgetful  # type: ignore[method-assign]
del control._HANDLERS["DUMP"]

if __name__ == "__main__":
    main(prog_name="forgetful_server")
