"""The change log of each person: gap-free ids, taken last in the transaction that made the change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from schemes.read_state import Advanced
from schemes.stores.driver import Session
from schemes.stores.times import stamp

KIND_READ: Final = 3
_INSERT: Final = (
    "INSERT INTO user_change_log (user_id, change_id, kind, conversation_id, actor_id, from_seq, up_to_seq,"
    " version, changed_at) VALUES "
)
_ROW: Final = "(%s,%s,%s,%s,%s,%s,%s,%s,%s)"


class HeadsMoved(Exception):
    """The change ids that were looked up ahead are no longer the last: another server was faster."""


async def log(session: Session, advances: Sequence[Advanced], heads: Mapping[int, int] | None = None) -> None:
    """Writes each advance to the reader's and the direct peer's log, and fills in their change ids.

    `heads` are the last change ids of all of them as seen before, None if they were not; raises HeadsMoved
    where one of them is not the last any more.  The rows of user_sync_heads are locked by one UPDATE in
    ascending order of their key; nothing may be locked after it."""
    owners = [(moved, user) for moved in advances for user in _owners(moved)]
    if not owners:
        return
    last = await _allocate(session, Counter(user for _, user in owners), heads)
    args: list[Any] = []
    for moved, user in owners:
        last[user] += 1
        _note(moved, user, last[user])
        args += (user, last[user], KIND_READ, moved.conversation.conversation_id, moved.user)
        args += (moved.from_seq, moved.up_to_seq, moved.version, stamp(moved.at))
    await session.write(_INSERT + ",".join([_ROW] * len(owners)), args)


async def _allocate(
    session: Session, wanted: Counter[int], heads: Mapping[int, int] | None
) -> dict[int, int]:
    """Takes as many ids of each user as are wanted; gives the last id before them."""
    users = sorted(wanted)
    if heads is not None and len(users) > 1:
        await _swap(session, wanted, heads)
        return dict(heads)
    keys = ",".join(map(str, users))
    changed = await session.write(
        f"UPDATE user_sync_heads SET change_id = {_step(wanted)} WHERE user_id IN ({keys})"
    )
    if changed != len(users):
        raise LookupError(f"{len(users) - changed} of the users {keys} have no row in user_sync_heads")
    if len(users) == 1:
        return {users[0]: session.last_id - wanted[users[0]]}
    rows = await session.rows(f"SELECT user_id, change_id FROM user_sync_heads WHERE user_id IN ({keys})")
    return {user: change_id - wanted[user] for user, change_id in rows}


async def _swap(session: Session, wanted: Counter[int], heads: Mapping[int, int]) -> None:
    """Compares and moves the heads of several users at once: saves reading back what they were.

    In one server the locks of the scheme keep every other READ of these people away, so this fails only
    where two servers, or a READ beside a queue's consumer, change the same log within a few milliseconds."""
    seen = " OR ".join(f"(user_id = {user} AND change_id = {heads[user]})" for user in sorted(wanted))
    changed = await session.write(f"UPDATE user_sync_heads SET change_id = {_step(wanted)} WHERE {seen}")
    if changed != len(wanted):
        raise HeadsMoved(f"{len(wanted) - changed} of {len(wanted)} change ids were not the last any more")


def _step(wanted: Counter[int]) -> str:
    """The new change_id, as SQL; of a single user LAST_INSERT_ID carries it back without a SELECT."""
    steps = set(wanted.values())
    if len(wanted) == 1:
        return f"LAST_INSERT_ID(change_id + {steps.pop()})"
    if len(steps) == 1:
        return f"change_id + {steps.pop()}"
    cases = " ".join(f"WHEN {user} THEN {step}" for user, step in sorted(wanted.items()))
    return f"change_id + CASE user_id {cases} END"


def _owners(moved: Advanced) -> tuple[int, ...]:
    peer = moved.conversation.peer_of(moved.user)
    return (moved.user,) if peer is None else (moved.user, peer)


def _note(moved: Advanced, user: int, change_id: int) -> None:
    if user == moved.user:
        moved.change_id = change_id
    else:
        moved.peer_change_id = change_id
