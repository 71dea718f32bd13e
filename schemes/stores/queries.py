"""What is read from MySQL, one statement each, and the plan that each relies on.

Every index named here is proven by tests/schemes/stores/test_plans.py."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from schemes.read_state import DIRECT, GROUP
from schemes.stores.rows import Cursor, Head, MemberState
from schemes.stores.times import ms_of

KINDS: Final = {1: DIRECT, 2: GROUP}
MEMBERS_MAX: Final = 100_000

MEMBERS: Final = (
    "SELECT c.conversation_id, c.kind, m.user_id"
    " FROM conversations c JOIN conversation_members m FORCE INDEX (idx_members)"
    " ON m.conversation_id = c.conversation_id WHERE c.conversation_id = %s LIMIT %s"
)
POSITION: Final = "SELECT epoch, change_id FROM user_sync_heads WHERE user_id = %s"
CURSORS: Final = (
    "SELECT user_id, conversation_id, read_seq, delivered_seq, version, peer_id"
    " FROM conversation_members FORCE INDEX (PRIMARY) WHERE (user_id, conversation_id) IN ({keys})"
)
HEADS: Final = (
    f"SELECT conversation_id, kind, last_seq, {ms_of('last_sent_at')} FROM conversations"
    " WHERE conversation_id IN ({keys})"
)
SEQS: Final = (
    "SELECT COUNT(*), MAX(seq) FROM messages FORCE INDEX (uk_message_id)"
    " WHERE message_id IN ({ids}) AND conversation_id = %s"
)
BY_CLIENT_ID: Final = (
    f"SELECT conversation_id, message_id, seq, {ms_of('sent_time')} FROM messages FORCE INDEX (uk_client)"
    " WHERE sender_id = %s AND client_msg_id = %s"
)
HISTORY: Final = (
    f"SELECT message_id, seq, sender_id, client_msg_id, {ms_of('sent_time')}, body"
    " FROM messages FORCE INDEX (PRIMARY) WHERE conversation_id = %s AND seq >= %s ORDER BY seq LIMIT %s"
)
TOTAL: Final = (
    "SELECT COALESCE(SUM({unread}), 0) FROM (SELECT m.user_id, m.conversation_id, c.last_seq, m.read_seq"
    " FROM conversation_members m JOIN conversations c ON c.conversation_id = m.conversation_id"
    " WHERE m.user_id = %s AND c.last_seq > m.read_seq LIMIT 18446744073709551615) s"
)
DUMP: Final = (
    "SELECT m.conversation_id, m.user_id, m.read_seq, m.delivered_seq, m.version, c.last_seq"
    " FROM conversation_members m JOIN conversations c ON c.conversation_id = m.conversation_id"
    " WHERE {where} ORDER BY m.user_id, m.conversation_id LIMIT %s"
)

# The inner SELECT cuts the page before the outer one counts, so that nothing is counted off the page.  The
# change id comes from the same snapshot.  One column, because aiomysql's cost of a result is that
# of its columns and values.  CONCAT_WS leaves NULLs out.
_STATES: Final = (
    "SELECT CONCAT_WS(' ', h.change_id, s.kind, s.last_seq, s.sent_ms, s.read_seq, s.delivered_seq,"
    " s.version, IFNULL({unread}, '-'), IFNULL(s.peer_id, '-'), IFNULL(s.peer_read_seq, '-'),"
    " IFNULL(s.peer_delivered_seq, '-'), IFNULL(s.peer_version, '-'), s.conversation_id)"
    " FROM user_sync_heads h LEFT JOIN ("
    "SELECT m.user_id, m.conversation_id, c.kind, c.last_seq, c.last_sent_at,"
    f" {ms_of('c.last_sent_at')} AS sent_ms, m.read_seq, m.delivered_seq, m.version, m.peer_id,"
    " p.read_seq AS peer_read_seq, p.delivered_seq AS peer_delivered_seq, p.version AS peer_version"
    " FROM conversation_members m JOIN conversations c ON c.conversation_id = m.conversation_id"
    " LEFT JOIN conversation_members p ON p.user_id = m.peer_id AND p.conversation_id = m.conversation_id"
    " WHERE m.user_id = %s{where}"
    " ORDER BY c.last_sent_at DESC, m.conversation_id LIMIT %s) s ON s.user_id = h.user_id"
    " WHERE h.user_id = %s ORDER BY s.last_sent_at DESC, s.conversation_id"
)
_LAST_FIELD: Final = 12
_AFTER: Final = " AND (c.last_sent_at < %s OR (c.last_sent_at = %s AND m.conversation_id > %s))"


def states(unread: str, named: int = 0, *, after: bool = False) -> str:
    """The SELECT of a person's conversations: all, `named` ones, or those after a (stamp, id).

    Arguments: user, then the ids or the stamp twice and the id, then the limit, then the user again."""
    where = f" AND m.conversation_id IN ({marks(named)})" if named else _AFTER if after else ""
    return _STATES.format(unread=unread, where=where)


def marks(count: int) -> str:
    return ",".join(["%s"] * count)


def pairs(count: int) -> str:
    return ",".join(["(%s,%s)"] * count)


def flat(keys: Iterable[tuple[int, str]]) -> list[Any]:
    return [part for key in keys for part in key]


def state_rows(rows: Sequence[Sequence[Any]]) -> tuple[int, list[MemberState]]:
    """What `states` gave: the change id, and the conversations in their order.

    No row: not in user_sync_heads, so in no conversation.  One without a conversation: none was found."""
    change_id, found = 0, []
    for (text,) in rows:
        fields = text.split(" ", _LAST_FIELD)  # the id is last and may hold spaces
        change_id = int(fields[0])
        if len(fields) > _LAST_FIELD:
            found.append(_member_state(fields))
    return change_id, found


def _member_state(fields: Sequence[str]) -> MemberState:
    _, kind, last_seq, sent_ms, read_seq, delivered_seq, version, unread, *peer, conversation_id = fields
    return MemberState(
        conversation_id,
        KINDS[int(kind)],
        int(last_seq),
        int(sent_ms),
        int(read_seq),
        int(delivered_seq),
        int(version),
        _number(unread),
        *map(_number, peer),
    )


def _number(text: str) -> int | None:
    return None if text == "-" else int(text)


def head(row: Sequence[Any]) -> Head:
    return Head(row[0], KINDS[row[1]], row[2], row[3] or 0)


def cursor(row: Sequence[Any]) -> Cursor:
    return Cursor(*row)
