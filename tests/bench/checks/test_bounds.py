"""Unread bounds, on thousands of small histories: against a plain loop, and what a right server shows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import pytest

from bench.checks import bounds
from bench.checks.bounds import Bounds, Cursors, Sends, Shown
from bench.checks.register import NEVER

MANY = [2_000, pytest.param(10_000, marks=pytest.mark.slow)]
"""How many histories."""


@dataclass
class Made:
    """Conversations, each with two people (cursors 2c and 2c + 1), in rows that become columns."""

    history: list[int] = field(default_factory=list)
    sends: list[tuple[int, ...]] = field(default_factory=list)
    cursors: list[tuple[int, ...]] = field(default_factory=list)
    open_since: list[int] = field(default_factory=list)
    shown: list[tuple[int, ...]] = field(default_factory=list)

    def judge(self) -> Bounds:
        sends, cursors, shown = (
            [np.array(column) for column in zip(*rows, strict=True)]
            for rows in (self.sends, self.cursors, self.shown)
        )
        return bounds.judge(
            np.array(self.history),
            Sends(*sends[:4], sends[4].astype(np.bool_)),
            Cursors(*cursors),
            np.array(self.open_since),
            Shown(*shown),
        )


@cache
def made(histories: int) -> Made:
    """What a server shows that applies each operation at one moment between its beginning and its end."""
    rng = np.random.default_rng(1)
    found = Made()
    for conversation in range(histories):
        start = int(rng.integers(0, 3))
        found.history.append(start)
        found.open_since += [NEVER, NEVER]
        read = [int(rng.integers(0, start + 1)) for _ in range(2)]
        for person in (0, 1):
            found.cursors.append((2 * conversation + person, read[person], 0, 0))
        senders = [0] * start  # as good as sent by person 0, who has read them then
        read[0] = start
        found.cursors.append((2 * conversation, start, 0, 0))
        moments = np.sort(rng.choice(np.arange(10, 90), 9, replace=False)).tolist()
        for moment in moments:
            person, what = int(rng.integers(2)), rng.random()
            key = 2 * conversation + person
            began, ended = moment - int(rng.integers(1, 9)), moment + int(rng.integers(1, 9))
            unanswered, lost = rng.random() < 0.15, rng.random() < 0.5
            if what < 0.4:
                if unanswered:
                    found.open_since[key] = min(found.open_since[key], began)
                happened = not (unanswered and lost)
                if happened:
                    senders.append(person)
                    read[person] = len(senders)
                seq = 0 if unanswered else len(senders)
                found.sends.append((conversation, seq, began, NEVER if unanswered else ended, True))
                if not unanswered:
                    found.cursors.append((key, seq, began, ended))
            elif what < 0.65 and senders:
                up_to = int(rng.integers(1, len(senders) + 1))
                found.cursors.append((key, up_to, began, NEVER if unanswered else ended))
                if not (unanswered and lost):
                    read[person] = max(read[person], up_to)
            else:
                unread = sum(1 for sender in senders[read[person] :] if sender != person)
                found.shown.append((conversation, key, unread, began, ended, 0))
    return found


@pytest.mark.parametrize("histories", MANY)
def test_a_server_that_is_right_is_accused_of_nothing(histories: int) -> None:
    rows = made(histories)
    found = rows.judge()
    assert len(found.drift) > histories
    assert not found.drift.any()
    assert 0.2 < np.mean(found.low == found.high) < 0.9


@pytest.mark.parametrize("histories", MANY)
def test_bounds_and_drift_are_those_of_a_plain_loop(histories: int) -> None:
    rng = np.random.default_rng(3)
    rows = replace(made(histories))
    rows.shown = [
        (c, key, max(0, unread + int(rng.integers(-3, 4))), began, ended, int(rng.integers(0, 3)))
        for c, key, unread, began, ended, _ in made(histories).shown
    ]
    rows.sends = [(*send[:4], bool(rng.random() < 0.9)) for send in rows.sends]
    found = rows.judge()
    sends, cursors = groups(rows.sends), groups(rows.cursors)
    for i, (conversation, key, unread, invoked, responded, certain) in enumerate(rows.shown):
        mine, writes = sends.get(conversation, []), cursors[key]
        began = [send for send in mine if send[2] <= responded]
        sent = max([rows.history[conversation], *(send[1] for send in mine if send[3] < invoked)])
        read = max([certain, *(write[1] for write in writes if write[3] < invoked)])
        most = max(write[1] for write in writes if write[2] <= responded)
        low = 0 if rows.open_since[key] <= responded else max(0, sent - most)
        high = max(0, rows.history[conversation] + sum(send[4] for send in began) - read)
        drift = unread - high if unread > high else unread - low if unread < low else 0
        drift = drift if low <= high else 0
        assert (found.low[i], found.high[i], found.drift[i]) == (low, high, drift)
        assert found.message[i] < 0 or rows.sends[found.message[i]][1] == sent
        assert found.least[i] < 0 or rows.cursors[found.least[i]][1] <= read
        if drift < 0:
            assert most == 0 or rows.cursors[found.most[i]][1] == most


def groups(table: list[tuple[int, ...]]) -> dict[int, list[tuple[int, ...]]]:
    found: dict[int, list[tuple[int, ...]]] = {}
    for row in table:
        found.setdefault(row[0], []).append(row)
    return found


@pytest.mark.parametrize("histories", MANY)
def test_one_too_many_and_one_too_few_are_found_where_nothing_is_going_on(histories: int) -> None:
    shown = [(key // 2, key, 0, 200, 201, 0) for key in range(2 * histories)]
    rows = replace(made(histories), shown=shown)
    found = rows.judge()
    exact = np.flatnonzero(found.low == found.high)
    assert len(exact) > histories
    for by in (-1, 1):
        rows.shown = [(c, key, found.low[i] + by, *rest) for i, (c, key, _, *rest) in enumerate(rows.shown)]
        assert set(rows.judge().drift[exact].tolist()) == {by}


def test_a_retry_is_the_same_message() -> None:
    rows = Made([0], [(0, 0, 10, NEVER, True), (0, 1, 20, 30, False)], [(0, 0, 0, 0)], [NEVER])
    rows.shown = [(0, 0, 1, 40, 50, 0), (0, 0, 2, 40, 50, 0)]
    assert rows.judge().drift.tolist() == [0, 1]


def test_nobody_is_accused_after_an_unanswered_send_of_their_own() -> None:
    """It may have moved their cursor to anywhere."""
    rows = Made([3], [(0, 0, 10, NEVER, True)], [(0, 0, 0, 0)], [10])
    rows.shown = [(0, 0, 0, 1, 5, 0), (0, 0, 0, 20, 30, 0)]
    assert rows.judge().drift.tolist() == [-3, 0]


def test_where_nothing_ever_happened_a_number_is_the_start_s() -> None:
    """Three messages, one read; somebody sends elsewhere."""
    rows = Made([3, 0], [(1, 1, 5, 6, True)], [(0, 1, 0, 0)], [NEVER])
    rows.shown = [(0, 0, unread, 10, 20, 0) for unread in (2, 3, 1)]
    found = rows.judge()
    assert found.drift.tolist() == [0, 1, -1]
    assert (found.low.tolist(), found.high.tolist()) == ([2] * 3, [2] * 3)
    assert (found.least.tolist(), found.message.tolist()) == ([-1, 0, 0], [-1] * 3)
