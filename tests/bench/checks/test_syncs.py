"""Completeness of SYNC against plain loops over random pages, pushes and acknowledgements."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from bench.checks.syncs import NOWHERE, Owed, Pages, Told, Verdict, judge

Row = dict[str, int]


@dataclass
class Case:
    """Rows of Pages, Told and Owed, as dictionaries."""

    pages: list[Row] = field(default_factory=list)
    told: list[Row] = field(default_factory=list)
    owed: list[Row] = field(default_factory=list)

    def page(
        self, since: int, following: int, sent: int, *held: int, device: int = 0, user: int = 0, **other: int
    ) -> int:
        """An answered SYNC that takes 1; change i of a user moves cursor 7 to version i."""
        number = len(self.pages)
        row = {"device": device, "user": user, "since": since, "following": following, "sent": sent}
        self.pages.append(row | {"received": sent + 1, "more": 0, "reset": 0, "fresh": 0} | other)
        for change in held:
            self.tell(change, sent + 1, page=number, device=device, user=user)
        return number

    def tell(self, change: int, at: int, **other: int) -> None:
        row = {"device": 0, "user": 0, "page": NOWHERE, "change_id": change, "cursor": 7, "version": change}
        self.told.append(row | {"received": at} | other)

    def owe(self, change: int, sent: int, acknowledged: int, user: int = 0) -> None:
        row = {"user": user, "cursor": 7, "version": change}
        self.owed.append(row | {"sent": sent, "acknowledged": acknowledged})

    def judge(self) -> Verdict:
        def of(kind: type[Any], rows: list[Row], flags: tuple[str, ...] = ()) -> Any:
            columns = {
                name: np.array([r[name] for r in rows], np.int64) for name in kind.__dataclass_fields__
            }
            return kind(**{n: c.astype(np.bool_) if n in flags else c for n, c in columns.items()})

        return judge(
            of(Pages, self.pages, ("more", "reset", "fresh")), of(Told, self.told), of(Owed, self.owed)
        )


def holes(verdict: Verdict) -> list[tuple[int, int, int, int]]:
    """(page, witness, owed, later) of each hole, sorted."""
    found = verdict.holes
    return sorted(
        zip(*(getattr(found, n).tolist() for n in ("page", "witness", "owed", "later")), strict=True)
    )


def clean() -> Case:
    """A device that asks four times; changes 1 to 6, of which 3 was pushed, and 6 too but late."""
    case = Case()
    case.page(0, 2, 10, 1, 2, fresh=1)
    case.tell(3, 15)
    case.page(3, 3, 20)
    case.page(3, 5, 30, 4, 5)
    case.page(5, 6, 40, 6)
    case.tell(6, 45)
    for change, sent in ((1, 5), (2, 9), (3, 12), (4, 24), (5, 26), (6, 37)):
        case.owe(change, sent, sent + 2)
    return case


def test_a_chain_that_got_everything() -> None:
    verdict = clean().judge()
    assert holes(verdict) == []
    assert (verdict.eligible, verdict.extras) == (5, 0)
    assert [len(x) for x in (verdict.regress, verdict.unordered, verdict.outside)] == [0, 0, 0]


def test_nothing_is_no_hole() -> None:
    verdict = Case().judge()
    assert (verdict.eligible, holes(verdict)) == (0, [])


def test_a_cursor_that_passed_a_late_commit() -> None:
    """Change 2 commits after the page that leads past it: the device never hears of it."""
    case = Case()
    case.page(0, 3, 10, 1, 3, fresh=1)
    case.owe(2, 5, 20)
    case.page(3, 3, 30)
    case.tell(2, 21, device=1)
    assert holes(case.judge()) == [(0, 2, NOWHERE, NOWHERE)]


def test_a_row_that_was_never_logged() -> None:
    """The ids have no gap; only the acknowledgement knows that something is missing."""
    case = Case()
    case.page(0, 1, 10, 1, fresh=1)
    case.owe(9, 11, 12)
    case.page(1, 2, 20, 2)
    assert holes(case.judge()) == [(1, NOWHERE, 0, NOWHERE)]


def test_one_hole_that_is_known_twice_counts_once() -> None:
    case = Case()
    case.page(0, 0, 10, fresh=1)
    case.owe(1, 11, 12)
    case.page(0, 2, 20, 2)
    case.tell(1, 13, device=1)
    assert holes(case.judge()) == [(1, 1, NOWHERE, NOWHERE)]


def test_ids_that_nobody_ever_saw() -> None:
    case = Case()
    case.page(0, 1 << 50, 10, 1, fresh=1)
    assert holes(case.judge()) == [(0, NOWHERE, NOWHERE, NOWHERE)]


@pytest.mark.parametrize(("pushed_at", "later"), [(10, None), (11, None), (12, 2)])
def test_a_push_in_time_is_as_good_and_one_that_is_late_is_told(pushed_at: int, later: int | None) -> None:
    case = Case()
    case.page(0, 3, 10, 1, 3, fresh=1)
    case.tell(2, pushed_at)
    assert holes(case.judge()) == ([] if later is None else [(0, 2, NOWHERE, later)])


def test_what_may_have_been_in_its_state_is_not_owed() -> None:
    case = Case()
    case.page(4, 4, 10, fresh=1)
    case.owe(9, 9, 11)
    case.page(4, 4, 20)
    assert holes(case.judge()) == []
    case.owe(9, 10 + 1, 12)
    assert holes(case.judge()) == [(1, NOWHERE, 1, NOWHERE)]


def test_a_device_that_started_again_is_owed_nothing_of_before() -> None:
    case = Case()
    case.page(4, 4, 10, fresh=1)
    case.owe(9, 11, 12)
    case.page(6, 6, 20, fresh=1)
    assert holes(case.judge()) == []


def test_what_was_not_acknowledged_before_it_was_asked_for_may_be_missing() -> None:
    case = Case()
    case.page(0, 0, 10, fresh=1)
    case.owe(9, 11, 20)
    case.page(0, 0, 20)
    assert holes(case.judge()) == []


def test_a_page_that_says_that_more_follows_is_not_the_end() -> None:
    case = Case()
    case.page(0, 0, 10, fresh=1)
    case.owe(2, 11, 12)
    case.page(0, 1, 20, 1, more=1)
    case.page(1, 2, 30, 2)
    assert holes(case.judge()) == []


def test_a_reset_owes_nothing() -> None:
    case = Case()
    case.page(9, 4, 10, reset=1, fresh=1)
    verdict = case.judge()
    assert (holes(verdict), len(verdict.regress)) == ([], 0)


def test_faults_of_a_page_by_itself() -> None:
    case = clean()
    back = case.page(6, 5, 50)
    twice = case.page(6, 8, 60, 8, 7)
    case.page(6, 7, 70, 7, 8)
    verdict = case.judge()
    assert verdict.regress.tolist() == [back]
    assert verdict.unordered.tolist() == [twice]
    assert [case.told[row]["change_id"] for row in verdict.outside] == [8]
    assert verdict.extras == 1  # 7, which the page before covered; 8 is outside


def at_random(chance: random.Random, user: int) -> Case:
    """Of one user with the devices 2 user and 2 user + 1: legal rows that mean nothing."""
    case = Case()
    for _ in range(chance.randint(0, 4)):
        since = chance.randint(0, 4)
        following = since + chance.choice((-1, 0, 1, 1, 2, 3))
        held = [chance.randint(0, 6) for _ in range(chance.randint(0, 3))]
        if chance.random() < 0.7:
            held = [i for i in range(since + 1, following + 1) if chance.random() < 0.85]
        device, sent = 2 * user + (chance.random() < 0.3), chance.randint(0, 20)
        flags = {name: int(chance.random() < 0.2) for name in ("more", "reset", "fresh")}
        case.page(since, following, sent, *held, device=device, user=user, **flags)
    for _ in range(chance.randint(0, 3)):
        change = chance.randint(-1, 6)
        version = change if chance.random() < 0.8 else chance.randint(0, 6)
        device = 2 * user + (chance.random() < 0.5)
        case.tell(change, chance.randint(0, 25), device=device, user=user, version=version)
    for _ in range(chance.randint(0, 3)):
        sent = chance.randint(0, 20)
        case.owe(chance.randint(0, 6), sent, sent + chance.randint(1, 4), user)
    return case


def plain(case: Case) -> dict[str, Any]:
    """The same by looking at everything for everything."""
    pages, told, owed = case.pages, case.told, case.owed
    found: list[tuple[int, Any]] = []
    known: set[tuple[int, int, int]] = set()
    explained: set[int] = set()
    held = 0
    for number, page in enumerate(pages):
        mine = {row["change_id"] for row in told if row["page"] == number}
        wanted = set(range(page["since"] + 1, page["following"] + 1))
        held += len(mine & wanted)
        gap = False
        for change in () if page["reset"] else wanted - mine:
            proof = [row for row in told if row["change_id"] == change]
            here = [r["received"] for r in proof if r["device"] == page["device"]]
            if not proof:
                gap = True
            elif not here or min(here) > page["received"]:
                found.append((number, ("id", change, min(here, default=NOWHERE))))
                known.add((page["device"], proof[0]["cursor"], proof[0]["version"]))
        if gap:
            found.append((number, "gap"))
    for number, change in enumerate(owed):
        for device in {page["device"] for page in pages}:
            ours = sorted((p["sent"], i) for i, p in enumerate(pages) if p["device"] == device)
            after = [
                (sent, i)
                for sent, i in ours
                if sent > change["acknowledged"] and not pages[i]["more"] and not pages[i]["reset"]
            ]
            if not after:
                continue
            page = after[0][1]
            chain = [sent for n, (sent, i) in enumerate(ours) if n == 0 or pages[i]["fresh"]]
            upto = ours.index(after[0])
            began = max(s for n, (s, i) in enumerate(ours[: upto + 1]) if n == 0 or pages[i]["fresh"])
            assert began in chain
            here = [
                row["received"]
                for row in told
                if (row["device"], row["cursor"], row["version"]) == (device, 7, change["version"])
            ]
            missing = not here or min(here) > pages[page]["received"]
            if change["sent"] > began and missing and (device, 7, change["version"]) not in known:
                found.append((page, ("owed", number, min(here, default=NOWHERE))))
                explained.add(device)
    found = [(n, what) for n, what in found if what != "gap" or pages[n]["device"] not in explained]
    return {
        "holes": sorted(found, key=repr),
        "eligible": held + len(found),
        "regress": sum(p["following"] < p["since"] and not p["reset"] for p in pages),
        "extras": sum(
            p["since"] < row["change_id"] <= p["following"]
            and row["change_id"]
            <= max((q["following"] for q in pages if _answered_before(q, p)), default=NOWHERE)
            for n, p in enumerate(pages)
            for row in told
            if row["page"] == n
        ),
    }


def _answered_before(first: Row, second: Row) -> bool:
    return first["device"] == second["device"] and first["received"] < second["sent"]


def moved(case: Case, by: int) -> Case:
    """The same with larger change ids."""
    pages = [page | {name: page[name] + by for name in ("since", "following")} for page in case.pages]
    told = [row | {"change_id": row["change_id"] + by * (row["change_id"] >= 0)} for row in case.told]
    return Case(pages, told, case.owed)


@pytest.mark.parametrize("base", [0, 1 << 50])
@pytest.mark.parametrize("many", [2_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_the_verdict_is_that_of_plain_loops(many: int, base: int) -> None:
    """Many users in one history; the verdict on each is that on their rows alone."""
    chance = random.Random(5)
    whole = Case()
    expected: list[dict[str, Any]] = []
    users: list[tuple[int, int, int]] = []
    for user in range(many):
        case = moved(at_random(chance, user), base)
        users.append((len(whole.pages), len(whole.told), len(whole.owed)))
        whole.told += [
            row | {"page": row["page"] + len(whole.pages) * (row["page"] != NOWHERE)} for row in case.told
        ]
        whole.pages += case.pages
        whole.owed += case.owed
        expected.append(plain(case))
    verdict = whole.judge()
    found: list[list[Any]] = [[] for _ in users]
    for page, witness, owed, later in holes(verdict):
        user = whole.pages[page]["user"]
        at = NOWHERE if later == NOWHERE else whole.told[later]["received"]
        what: Any = "gap"
        if witness != NOWHERE:
            what = ("id", whole.told[witness]["change_id"], at)
        elif owed != NOWHERE:
            what = ("owed", owed - users[user][2], at)
        found[user].append((page - users[user][0], what))
    assert [sorted(of, key=repr) for of in found] == [of["holes"] for of in expected]
    assert verdict.eligible == sum(of["eligible"] for of in expected)
    assert len(verdict.regress) == sum(of["regress"] for of in expected)
    assert verdict.extras == sum(of["extras"] for of in expected)
    assert sum(bool(of["holes"]) for of in expected) > many / 5
