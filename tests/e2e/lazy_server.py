"""The reference server with a planted fault of a kind that no client sees: LAZY=skips_one_update leaves out
the UPDATE that moves a sender's own cursor, LAZY=selects_once_too_often asks MySQL once more for each READ.

Run as `python -m tests.e2e.lazy_server db …`, for the tests that prove the work ledger."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from schemes.__main__ import main
from schemes.db.scheme import Database
from schemes.ports import Caller, Marked, ReadOutcome, Trace
from schemes.stores.driver import Session

write, read = Session.write, Database.read


async def skipping(self: Session, sql: str, args: Sequence[Any] = ()) -> int:
    if sql.startswith("UPDATE conversation_members SET delivered_at"):
        return 1
    return await write(self, sql, args)


async def once_more(
    self: Database, caller: Caller, items: Sequence[Marked], trace: Trace
) -> list[ReadOutcome]:
    await self.store.position(caller.user, trace)
    return await read(self, caller, items, trace)


if os.environ["LAZY"] == "skips_one_update":
    Session.write = skipping  # type: ignore[method-assign]
else:
    Database.read = once_more  # type: ignore[method-assign]

if __name__ == "__main__":
    main(prog_name="lazy_server")
