"""Scheme `db`: every change in MySQL, in a transaction, acknowledged after COMMIT."""

from __future__ import annotations

from schemes.db.scheme import Database
from schemes.ports import Publisher, ReadState
from schemes.stores.mysql import MySQL

__all__ = ["Database", "build", "open_store"]


def build(options: dict[str, str], publisher: Publisher) -> ReadState:
    """Options: mysql-url (needed), model, mysql-pool, node, receipt-members."""
    return Database(
        open_store(options),
        publisher,
        node=int(options.get("node", "0")),
        receipt_members=int(options.get("receipt-members", "200")),
    )


def open_store(options: dict[str, str]) -> MySQL:
    """The MySQL store that the options name; raises ValueError for what they cannot mean."""
    if not options.get("mysql-url"):
        raise ValueError(
            "expected the option mysql-url, like mysql+aiomysql://user:password@host:3306/database"
        )
    return MySQL(
        options["mysql-url"],
        model=options.get("model", "flags"),
        pool_size=int(options.get("mysql-pool", "32")),
        receipt_members=int(options.get("receipt-members", "200")),
    )
