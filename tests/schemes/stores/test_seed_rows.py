"""The rows of a seeded conversation: arithmetic that anyone can repeat."""

from __future__ import annotations

import pytest

from schemes.ports import Refused
from schemes.protocol import SEED_SPACING_MS, SeedConversation
from schemes.read_state import MessageIds
from schemes.stores.seeding import Rows, seeded_message_id
from schemes.stores.times import stamp

AT_MS = 1_800_000_000_000


def rows(table: str, conversation: SeedConversation, model: str = "flags") -> list[list[str]]:
    made = Rows(model, AT_MS, 0)
    made.add([conversation])
    text = made.take().get(table, b"").decode()
    return [line.split("\t") for line in text.splitlines()]


GROUP = SeedConversation("g", "group", [7, 5, 9], 4, [0, 2, 3])
# seq 1..4 are sent by 7, 5, 9, 7; so 7 has read 4, 5 has read 2, 9 has read 3


def test_messages_are_sent_in_turn_and_end_now() -> None:
    messages = rows("messages", GROUP)
    assert [(row[1], row[3]) for row in messages] == [("1", "7"), ("2", "5"), ("3", "9"), ("4", "7")]
    assert [row[5] for row in messages] == [stamp(AT_MS - n * SEED_SPACING_MS) for n in (3, 2, 1, 0)]
    assert len({row[2] for row in messages}) == 4


def test_a_row_for_each_receiver_and_none_for_the_sender() -> None:
    flags = rows("message_read_status", GROUP)
    seen = {(int(row[2]), int(row[4])): row[8] == "1" for row in flags}
    assert seen == {
        (1, 5): True, (1, 9): True,
        (2, 7): True, (2, 9): True,
        (3, 5): False, (3, 7): True,
        (4, 5): False, (4, 9): False,
    }  # fmt: skip
    for row in flags:
        assert (row[7] == "\\N") == (row[9] == "\\N") == (row[8] == "0") == (row[6] == "0")
    assert flags == sorted(flags, key=lambda row: (int(row[0]), int(row[4])))


def test_members_have_read_at_least_their_own_last_message() -> None:
    members = rows("conversation_members", GROUP)
    assert [(row[0], row[4]) for row in members] == [("7", "4"), ("5", "2"), ("9", "3")]


def test_direct_members_know_their_peer() -> None:
    direct = SeedConversation("d", "direct", [3, 8], 0, [0, 0])
    assert [(row[0], row[2]) for row in rows("conversation_members", direct)] == [("3", "8"), ("8", "3")]


def test_the_cursor_model_keeps_advances_and_no_flags() -> None:
    assert rows("message_read_status", GROUP, "cursor") == []
    assert [(row[1], row[2]) for row in rows("read_advances", GROUP, "cursor")] == [
        ("7", "4"), ("5", "2"), ("9", "3"),
    ]  # fmt: skip
    assert rows("read_advances", GROUP, "flags") == []


def test_each_user_has_one_log_head() -> None:
    made = Rows("flags", AT_MS, 0)
    made.add([GROUP, SeedConversation("d", "direct", [7, 11], 1, [0, 0])])
    assert sorted(made.take()["user_sync_heads"].split()) == [b"11", b"5", b"7", b"9"]


def test_ids_are_unique_ascending_and_below_live_ones() -> None:
    ids = [seeded_message_id(number) for number in range(1, 10_000)]
    assert ids == sorted(set(ids))
    assert seeded_message_id(100_000_000) < 1 << 48 < MessageIds(0).next(AT_MS)


@pytest.mark.parametrize(
    "broken",
    [
        SeedConversation("a\tb", "group", [1, 2], 1, [0, 0]),
        SeedConversation("a\\", "group", [1, 2], 1, [0, 0]),
        SeedConversation("", "group", [1, 2], 1, [0, 0]),
        SeedConversation("x" * 65, "group", [1, 2], 1, [0, 0]),
        SeedConversation("d", "direct", [1, 2, 3], 1, [0, 0, 0]),
        SeedConversation("g", "group", [1, 1], 1, [0, 0]),
        SeedConversation("g", "group", [1, 2], 1, [0]),
    ],
)
def test_what_would_break_later_is_refused_now(broken: SeedConversation) -> None:
    with pytest.raises(Refused):
        Rows("flags", AT_MS, 0).add([broken])
