"""SYNC from MySQL: what changed for one person since a change id or a time, from their change log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from schemes.ports import SyncFrom, SyncPage
from schemes.protocol import Change, UpdatedMessage
from schemes.stores.change_log import KIND_READ
from schemes.stores.driver import Session
from schemes.stores.times import ms_of, stamp

OVERLAP_MS: Final = 5_000
"""Clocks step and commits overtake each other: a SYNC by time starts this much earlier."""
MESSAGES_MAX: Final = 500

HEAD: Final = "SELECT change_id, oldest_change FROM user_sync_heads WHERE user_id = %s"
SINCE_TIME: Final = (
    "SELECT MIN(change_id) FROM user_change_log FORCE INDEX (idx_user_time)"
    " WHERE user_id = %s AND changed_at >= %s"
)
CHANGES: Final = (
    "SELECT change_id, kind, conversation_id, actor_id, from_seq, up_to_seq, version,"
    f" {ms_of('changed_at')} FROM user_change_log FORCE INDEX (PRIMARY)"
    " WHERE user_id = %s AND change_id > %s ORDER BY change_id LIMIT %s"
)
COVERED: Final = (
    "(SELECT %s AS change_id, message_id FROM messages FORCE INDEX (PRIMARY)"
    " WHERE conversation_id = %s AND seq > %s AND seq <= %s AND sender_id {whose} %s ORDER BY seq LIMIT %s)"
)
_UNION_MAX: Final = 50
_KINDS: Final = {KIND_READ: "read"}


async def page(session: Session, user: int, since: SyncFrom, limit: int, *, messages: bool) -> SyncPage:
    """Up to `limit` changes; with `messages`, those that they cover too.  `total_unread` is the caller's."""
    heads = await session.rows(HEAD, (user,))
    last, oldest = heads[0] if heads else (0, 1)
    after = await _start(session, user, since, last, oldest)
    if after is None:
        return SyncPage([], [], last, done=True, reset_required=True)
    rows = await session.rows(CHANGES, (user, after, limit + 1))
    changes = [_change(row) for row in rows[:limit]]
    done = len(rows) <= limit
    found: list[UpdatedMessage] = []
    if messages:
        found, kept = await _messages(session, user, changes)
        done = done and kept == len(changes)
        changes = changes[:kept]
    return SyncPage(changes, found, changes[-1].change_id if changes else after, done=done)


async def _start(session: Session, user: int, since: SyncFrom, last: int, oldest: int) -> int | None:
    """The change id to start after; None if the log does not reach back that far, or never got that far."""
    if since.change_id is not None:
        return since.change_id if oldest - 1 <= since.change_id <= last else None
    ((first,),) = await session.rows(SINCE_TIME, (user, stamp(max(0, (since.at or 0) - OVERLAP_MS))))
    if first is None:
        return last
    # the oldest change that is left may not be the oldest that there was at that time
    return None if first == oldest > 1 else int(first) - 1


def _change(row: Sequence[Any]) -> Change:
    change_id, kind, conversation_id, actor, from_seq, up_to_seq, version, at = row
    return Change(change_id, _KINDS[kind], conversation_id, f"u{actor}", from_seq, up_to_seq, version, at)


async def _messages(
    session: Session, user: int, changes: Sequence[Change]
) -> tuple[list[UpdatedMessage], int]:
    """The messages of as many changes as fit a page, and how many changes that is.

    A change that is larger than a page by itself stays a cursor, marked `truncated`."""
    found: list[UpdatedMessage] = []
    for start in range(0, len(changes), _UNION_MAX):
        chunk = changes[start : start + _UNION_MAX]
        covered = await _covered(session, user, chunk)
        for index, change in enumerate(chunk):
            ids = covered[change.change_id]
            if len(ids) > MESSAGES_MAX:
                change.truncated = True
            elif len(found) + len(ids) > MESSAGES_MAX:
                return found, start + index
            else:
                found += [UpdatedMessage(str(message_id), change.at) for message_id in ids]
    return found, len(changes)


async def _covered(session: Session, user: int, changes: Iterable[Change]) -> dict[int, list[int]]:
    """Message ids by change: my reading covers the messages of others, my peer's reading covers mine."""
    covered: dict[int, list[int]] = {}
    selects: list[str] = []
    args: list[Any] = []
    for change in changes:
        covered[change.change_id] = []
        selects.append(COVERED.format(whose="<>" if change.actor_id == f"u{user}" else "="))
        args += (change.change_id, change.conversation_id, change.from_seq, change.up_to_seq, user)
        args.append(MESSAGES_MAX + 1)
    for change_id, message_id in await session.rows(" UNION ALL ".join(selects), args):
        covered[change_id].append(message_id)
    return covered
