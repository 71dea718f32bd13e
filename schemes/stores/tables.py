"""The tables: made where missing, emptied between runs, stripped of their secondary keys for a bulk load."""

from __future__ import annotations

from importlib import resources
from typing import Final

from schemes.stores.driver import NoDatabase, Session, Target, connect

NAMES: Final = (
    "conversations",
    "conversation_members",
    "messages",
    "message_read_status",
    "read_advances",
    "user_sync_heads",
    "user_change_log",
    "outbox",
)
VIEW: Final = "v_message_read_status"
SECONDARY: Final[dict[str, dict[str, str]]] = {
    "conversation_members": {"idx_members": "KEY idx_members (conversation_id)"},
    "messages": {
        "uk_message_id": "UNIQUE KEY uk_message_id (message_id)",
        "uk_client": "UNIQUE KEY uk_client (sender_id, client_msg_id)",
    },
    "message_read_status": {
        "idx_conv_user": "KEY idx_conv_user (conversation_id, receiver_id, seq)",
        "idx_read_status": "KEY idx_read_status (read_status, read_time)",
    },
}
"""As in schema.sql; a test holds the two together."""
_FEW_ROWS: Final = 20_000
"""Up to this many rows DELETE is quicker than TRUNCATE, which makes the table's file anew."""
_PRESENT: Final = (
    "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() LIMIT 1000"
)
_KEYS: Final = (
    "SELECT DISTINCT index_name FROM information_schema.statistics"
    " WHERE table_schema = DATABASE() AND table_name = %s AND index_name <> 'PRIMARY' LIMIT 100"
)


async def create(target: Target) -> None:
    """Creates the database and every table that is missing."""
    try:
        session = await connect(target)
    except NoDatabase:
        await _create_database(target)
        session = await connect(target)
    try:
        rows = await session.rows(_PRESENT)
        if {row[0] for row in rows} >= {*NAMES, VIEW}:
            return  # CREATE … IF NOT EXISTS would log a warning for each
        for statement in statements():
            await session.write(statement)
    finally:
        session.close()


def statements() -> list[str]:
    """The statements of schema.sql, one by one."""
    text = resources.files("schemes.stores").joinpath("schema.sql").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("--")]
    return [statement for part in "\n".join(lines).split(";\n") if (statement := part.strip().rstrip(";"))]


async def empty(target: Target) -> None:
    """Deletes every row, and puts back secondary keys that a broken bulk load may have left off."""
    session = await connect(target)
    try:
        for table in NAMES:
            sql = f"SELECT COUNT(*) FROM (SELECT 1 FROM {table} LIMIT {_FEW_ROWS + 1}) few"
            ((rows,),) = await session.rows(sql)
            if rows > _FEW_ROWS:
                await session.write(f"TRUNCATE TABLE {table}")
            elif rows:
                await session.write(f"DELETE FROM {table}")
        for table in SECONDARY:
            await add_keys(session, table)
    finally:
        session.close()


async def drop_keys(session: Session, table: str) -> None:
    present = await _keys(session, table)
    drops = [f"DROP KEY {name}" for name in SECONDARY.get(table, {}) if name in present]
    if drops:
        await session.write(f"ALTER TABLE {table} {', '.join(drops)}")


async def add_keys(session: Session, table: str) -> None:
    """Adds the secondary keys that are missing, in one pass over the table."""
    present = await _keys(session, table)
    adds = [f"ADD {key}" for name, key in SECONDARY.get(table, {}).items() if name not in present]
    if adds:
        await session.write(f"ALTER TABLE {table} {', '.join(adds)}")


async def _keys(session: Session, table: str) -> set[str]:
    return {row[0] for row in await session.rows(_KEYS, (table,))}


async def _create_database(target: Target) -> None:
    session = await connect(target, database=False)
    try:
        await session.write(f"CREATE DATABASE IF NOT EXISTS `{target.database}` CHARACTER SET utf8mb4")
    finally:
        session.close()
