"""The tables: the article's names kept, and one truth about the keys."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from schemes.stores import tables
from schemes.stores.driver import Target
from schemes.stores.mysql import MySQL
from tests.schemes.stores.support import connect

ARTICLE_COLUMNS = {
    "message_id": "bigint",
    "conversation_id": "varchar",
    "sender_id": "bigint",
    "receiver_id": "bigint",
    "sent_time": "datetime",
    "delivered": "tinyint",
    "read_status": "tinyint",
    "read_time": "datetime",
}


def test_the_keys_that_a_bulk_load_puts_back_are_those_of_the_schema() -> None:
    created = {statement.split()[5]: statement for statement in tables.statements() if "TABLE" in statement}
    assert set(created) == set(tables.NAMES)
    for table, keys in tables.SECONDARY.items():
        declared = [
            line.strip().rstrip(",")
            for line in created[table].splitlines()
            if line.strip().startswith(("KEY", "UNIQUE KEY"))
        ]
        assert declared == list(keys.values())


@pytest.mark.services
def test_the_article_s_table_has_its_columns_and_indexes(
    store: MySQL, mysql_url: Callable[[str], str]
) -> None:
    with connect(mysql_url("store_tests")) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT column_name AS name, data_type AS type, is_nullable AS nullable"
            " FROM information_schema.columns"
            " WHERE table_schema = 'store_tests' AND table_name = 'message_read_status'"
        )
        columns = {row["name"]: row for row in cursor.fetchall()}
        cursor.execute(
            "SELECT index_name AS name, column_name AS part FROM information_schema.statistics"
            " WHERE table_schema = 'store_tests' AND table_name = 'message_read_status'"
            " ORDER BY index_name, seq_in_index"
        )
        indexes: dict[str, list[str]] = {}
        for row in cursor.fetchall():
            indexes.setdefault(row["name"], []).append(row["part"])
    assert {name: columns[name]["type"] for name in ARTICLE_COLUMNS} == ARTICLE_COLUMNS
    assert {name for name in ARTICLE_COLUMNS if columns[name]["nullable"] == "YES"} == {"read_time"}
    assert indexes["idx_conv_user"][:2] == ["conversation_id", "receiver_id"]
    assert indexes["idx_read_status"] == ["read_status", "read_time"]
    assert indexes["PRIMARY"] == ["message_id", "receiver_id"]


@pytest.mark.services
@pytest.mark.parametrize("driver", ["mysql+aiomysql", "mysql+asyncmy"])
async def test_start_makes_the_database_and_may_be_repeated(
    mysql_url: Callable[[str], str], driver: str
) -> None:
    name = f"made_by_{driver.replace('+', '_')}"
    target = Target.parse(mysql_url(name).replace("mysql+aiomysql", driver))
    with connect(mysql_url("information_schema")) as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {name}")
        await tables.create(target)
        await tables.create(target)
        cursor.execute(
            "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = %s", (name,)
        )
        assert {row["name"] for row in cursor.fetchall()} == {*tables.NAMES, tables.VIEW}
        cursor.execute(f"DROP DATABASE {name}")
