"""The control: the same server and protocol with a dict behind it, so that what a store costs can be seen."""

from __future__ import annotations

from schemes.memory.scheme import Memory
from schemes.ports import Publisher, ReadState


def build(options: dict[str, str], publisher: Publisher) -> ReadState:
    return Memory(
        publisher, node=int(options.get("node", "0")), receipt_members=int(options["receipt-members"])
    )
