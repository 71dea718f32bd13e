"""The change log of each person: gap-free ids, taken last in the transaction that made the change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
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


async def log(session: Session, advances: Sequence[Advanced]) -> None:
    """Takes the change ids of each advance, in the reader's and the direct peer's log, and writes it there.

    The rows of user_sync_heads are locked by one UPDATE in ascending order of their key; nothing may be
    locked after it."""
    owners = [(moved, user) for moved in advances for user in _owners(moved)]
    if not owners:
        return
    wanted = Counter(user for _, user in owners)
    last = await _allocate(session, wanted)
    for moved, user in owners:
        last[user] += 1
        _note(moved, user, last[user])
    await write(session, advances)
    notes = session.notes
    notes["logged"] += 1
    notes["logged_many"] += len(wanted) > 1
    notes["logged_users"] += len(wanted)
    notes["logged_lines"] += len(owners)


async def write(session: Session, advances: Sequence[Advanced]) -> None:
    """Writes advances whose change ids are taken already."""
    args: list[Any] = []
    for moved in advances:
        for user in _owners(moved):
            change_id = moved.change_id if user == moved.user else moved.peer_change_id
            args += (user, change_id, KIND_READ, moved.conversation.conversation_id, moved.user)
            args += (moved.from_seq, moved.up_to_seq, moved.version, stamp(moved.at))
    await session.write(_INSERT + ",".join([_ROW] * (len(args) // 9)), args)


async def _allocate(session: Session, wanted: Counter[int]) -> dict[int, int]:
    """Takes as many ids of each user as are wanted; gives the last id before them."""
    users = sorted(wanted)
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
