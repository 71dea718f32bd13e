"""Live counts are those of the checks that judge the record: on random events, and on a whole record told
again."""

from __future__ import annotations

import random

import numpy as np
import pytest

from bench.checks import catch_up, cursors, pushes, sessions, syncs
from bench.checks.register import Operations
from bench.checks.streams import Streams
from bench.checks.syncs import NOWHERE, Owed, Pages, Told
from bench.load.config import Fault, LiveCount
from bench.load.live_checks import FULL, MONOTONIC_READS, PROMISES, PUSH_ORDER, READ_YOUR_WRITES, SYNC_PAGES
from bench.load.live_checks import LiveChecks as Checks
from bench.metrics import live
from bench.metrics.history import History
from bench.population import NOBODY
from bench.record import NONE, RESET, Op, Outcome, PushKind
from bench.results import RunFolder
from tests.bench.synthetic import build

SEQUENCES = 1_000
"""Of each kind."""
START = 10
LONGEST = 12
"""That anything is waited for, in the random sequences."""
WRITES = (Op.READ, Op.SEND, Op.PROBE_READ, Op.PROBE_SEND)
STATES = (Op.STATE, Op.PROBE_STATE, Op.PROBE_ONCE)


def found(checks: Checks) -> dict[str, tuple[int, int]]:
    return {name: (count.eligible, count.violations) for name, count in checks.counts.items()}


def ints(values: list[int]) -> np.ndarray:
    return np.array(values, np.int64)


def clamped(values: list[int]) -> np.ndarray:
    """As the record's times are judged: from just before the load began."""
    return np.maximum(0, ints(values) - (START - 1))


# --- reads and writes -------------------------------------------------------------------------------------


def acknowledged(rng: random.Random) -> list[tuple[int, int, int, bool, int, int]]:
    """(acknowledged, sent, session, write, conversation, value), in the order in which the answers came."""
    done = []
    for _ in range(rng.randrange(14)):
        sent = rng.randrange(30)
        at = sent + rng.randint(1, LONGEST - 1)
        done.append((at, sent, rng.randrange(2), rng.random() < 0.5, rng.randrange(2), rng.randrange(6)))
    rng.shuffle(done)
    return sorted(done, key=lambda event: event[0])


def test_session_guarantees_of_random_sequences() -> None:
    broken = 0
    for seed in range(SEQUENCES):
        done = acknowledged(random.Random(seed))
        checks = Checks(horizon_ns=LONGEST)
        checks.begin(START)
        for at, sent, session, write, conversation, value in done:
            heard = checks.heard(session)
            if write:
                checks.wrote(heard, conversation, value, at)
            else:
                checks.shown(heard, 0, conversation, value, sent, at)
        at, sent, session, write, conversation, value = (
            map(list, zip(*done, strict=True)) if done else [[]] * 6
        )
        rows = Operations(
            ints(conversation), np.array(write, np.bool_), ints(value), clamped(sent), clamped(at), ints([])
        )
        told = found(checks)
        for name, judge in (
            (READ_YOUR_WRITES, sessions.read_your_writes),
            (MONOTONIC_READS, sessions.monotonic_reads),
        ):
            offline = judge(rows, ints(session))
            assert told[name] == (len(offline.judged), len(offline.reads)), (seed, name, done)
            broken += len(offline.reads)
    assert broken > SEQUENCES / 5


def test_what_a_slower_clock_reader_says_late_is_put_where_it_belongs() -> None:
    checks = Checks()
    checks.begin(1)
    heard = checks.heard(1)
    for value, at in ((5, 30), (3, 20), (4, 25), (2, 40)):
        checks.wrote(heard, 0, value, at)
    assert heard.written[0] == [3, 20, 4, 25, 5, 30]
    for shown, sent in ((3, 25), (2, 25), (4, 26), (3, 26), (0, 20)):
        checks.shown(heard, 0, 0, shown, sent, 50)
    assert found(checks)[READ_YOUR_WRITES] == (4, 2)


def test_only_the_rises_that_a_read_may_need_are_kept() -> None:
    checks = Checks(horizon_ns=50)
    checks.begin(1)
    heard = checks.heard(1)
    for value in range(1, 1_000):
        checks.wrote(heard, 0, value, 10 * value)
    kept = heard.written[0]
    assert len(kept) <= FULL
    assert kept[1] < 9_990 - 50, "one is left that every read may be held against"
    assert kept == [number for value in range(kept[0], 1_000) for number in (value, 10 * value)]


def test_the_first_violation_is_named_and_told_once() -> None:
    checks, told = Checks(), []
    checks.on_first = lambda: told.append(found(checks)[MONOTONIC_READS])
    checks.begin(1)
    heard = checks.heard(1)
    for value, sent in ((4, 2), (3, 6), (2, 9)):
        checks.shown(heard, 7, 5, value, sent, sent + 1)
    assert checks.counts[MONOTONIC_READS] == LiveCount(2, 2, Fault(7, 5, 7))
    assert told == [(1, 1)]


# --- pushes -----------------------------------------------------------------------------------------------


def test_numbers_of_random_pushes() -> None:
    """Messages, other people's cursors, and the person's log, on two connections; some before SUB's answer,
    and one that never gets it."""
    wrong = 0
    for seed in range(SEQUENCES):
        rng = random.Random(seed)
        checks = Checks(people=4, conversations=3)
        subscribes = {1: rng.randrange(6), 2: rng.randrange(6), 3: NOBODY}
        came = []
        for turn in range(rng.randrange(24)):
            for session, at in subscribes.items():
                if turn == at:
                    checks.subscribed(session)
            kind, session = rng.randrange(3), rng.choice((1, 1, 2, 2, 3))
            conversation, actor, value = rng.choice((0, 0, 3, 4)), rng.choice((0, 0, 4, 5)), rng.randrange(6)
            version, change = rng.choice((NONE, value, 2 * value)), rng.choice((NONE, rng.randrange(6)))
            if kind == PushKind.MESSAGE:
                checks.message(session, 0, conversation, actor, value, turn)
                version, change = NONE, NONE
            else:
                checks.update(session, 0, kind, conversation, actor, value, version, change, turn)
            if value > 0 and conversation <= 3 and actor <= 4 and session != 3:
                about = (session, kind, conversation, actor * (kind != PushKind.MESSAGE))
                number = value if version < 0 else version
                came.append((about, session, number, change if kind == PushKind.READ else NONE))
        for session in (1, 2):
            checks.subscribed(session)
        again_or_late = judged(came)
        assert found(checks)[PUSH_ORDER] == (len(came), len(again_or_late)), (seed, came)
        wrong += len(again_or_late)
    assert wrong > SEQUENCES / 3


def judged(came: list[tuple[tuple[int, ...], int, int, int]]) -> set[int]:
    """Which pushes of these the checks of the record find to be duplicates or late."""
    names = sorted({about for about, *_ in came})
    by_version = Streams(ints([names.index(about) for about, *_ in came]), ints([n for _, _, n, _ in came]))
    in_log = [i for i, (*_, change) in enumerate(came) if change >= 0]
    log = Streams(ints([came[i][1] for i in in_log]), ints([came[i][3] for i in in_log]))
    wrong = {*by_version.duplicates().rows.tolist(), *by_version.late().rows.tolist()}
    return wrong | {in_log[i] for i in (*log.duplicates().rows.tolist(), *log.late().rows.tolist())}


# --- SYNC -------------------------------------------------------------------------------------------------


def test_random_pages() -> None:
    rng, checks = random.Random(3), Checks()
    wrong = 0
    for _ in range(SEQUENCES):
        checks = Checks()
        asked, told = [], []
        for number in range(rng.randrange(1, 5)):
            since, size, reset = rng.randrange(5), rng.randrange(-1, 5), rng.random() < 0.1
            held = [since + 1 + i for i in range(size)]
            if rng.random() < 0.3:
                held = [max(0, change + rng.randint(-2, 2)) for change in held]
            asked.append((since, since + size, reset))
            told += [(number, change) for change in held]
            checks.page(0, since, since + size, held, number, reset=reset)
        verdict = _verdict(asked, told)
        faults = {*verdict.regress.tolist(), *verdict.unordered.tolist()}
        faults |= {told[row][0] for row in verdict.outside.tolist()}
        assert found(checks)[SYNC_PAGES] == (len(asked), len(faults)), (asked, told)
        wrong += len(faults)
    assert wrong > SEQUENCES / 2


def _verdict(asked: list[tuple[int, int, bool]], told: list[tuple[int, int]]) -> syncs.Verdict:
    since, following, reset = map(list, zip(*asked, strict=True))
    n, nothing, no = len(asked), ints([]), np.zeros(len(asked), np.bool_)
    moment = np.arange(n) * 2
    zeros = np.zeros(n, np.int64)
    pages = Pages(
        zeros, zeros, ints(since), ints(following), moment, moment + 1, no, np.array(reset, np.bool_), no
    )
    page, change = ints([p for p, _ in told]), ints([c for _, c in told])
    none = np.zeros(len(told), np.int64)
    assert (page != NOWHERE).all()
    return syncs.judge(
        pages,
        Told(none, none, page, change, none, change, 2 * page + 1),
        Owed(nothing, nothing, nothing, nothing, nothing),
    )


# --- a whole record ---------------------------------------------------------------------------------------


def tell(history: History) -> Checks:
    """The record told again, as it came to its load processes."""
    membership, operations, record = history.membership, history.operations, history.pushes
    checks = Checks(membership.people, len(membership.direct))
    checks.begin(history.window.start)
    ok = np.flatnonzero(operations["outcome"] == Outcome.OK)
    place = {int(op_id): [] for op_id in operations["op_id"]}
    for item, op_id in enumerate(history.items["op_id"].tolist()):
        place[op_id].append(item)
    # a push is told in the order of its row, an answer in the order of time
    for row in ok[np.argsort(operations["acknowledged"][ok], kind="stable")].tolist():
        _answer(checks, history, row, place[int(operations["op_id"][row])])
    for session in history.sessions.session.tolist():
        checks.subscribed(session)
    names = ("session", "user", "kind", "conversation", "actor", "value", "version", "change_id", "received")
    for push in zip(*(record[name].tolist() for name in names), strict=True):
        session, user, kind, conversation, actor, value, version, change, at = push
        if kind == PushKind.MESSAGE:
            checks.message(session, user, conversation, actor, value, at)
        else:
            checks.update(session, user, kind, conversation, actor, value, version, change, at)
    return checks


def _answer(checks: Checks, history: History, row: int, items: list[int]) -> None:
    operations, table = history.operations, history.items
    op, session, user, conversation, value, version, argument, sent, at, flags = (
        int(operations[name][row])
        for name in (
            "op", "session", "user", "conversation", "value", "version", "argument", "sent", "acknowledged",
            "flags",
        )
    )  # fmt: skip
    heard = checks.heard(session)
    if op in STATES:
        for item in items:
            shown = int(table["value"][item])
            checks.shown(heard, user, int(table["conversation"][item]), shown, sent, at)
    elif op == Op.SYNC:
        changes = [int(table["change_id"][item]) for item in items]
        checks.page(user, argument, value, changes, at, reset=bool(flags & RESET))
    elif op in (Op.READ, Op.PROBE_READ):
        checks.wrote(heard, conversation, argument, at)
        if version >= 0 and value >= 0:
            checks.shown(heard, user, conversation, value, sent, at)
    elif op in WRITES and value > 0:
        checks.wrote(heard, conversation, value, at)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return build(tmp_path_factory.mktemp("run"), scheme="db", visible_us=0)[0]


@pytest.mark.parametrize("seed", range(4))
def test_a_whole_record_is_counted_as_it_is_judged(folder: RunFolder, seed: int) -> None:
    """As it is (0), and with numbers that somebody has altered."""
    history, rng = History(folder), np.random.default_rng(seed)
    for table, name in (
        ("items", "value"), ("items", "change_id"), ("pushes", "version"), ("pushes", "change_id"),
    ):  # fmt: skip
        column = getattr(history, table)[name].copy()
        altered = (rng.random(len(column)) < 0.02) & (column > 3) & (seed > 0)
        column[altered] -= rng.integers(1, 4, np.count_nonzero(altered))
        getattr(history, table).replace(name, column)
    checks = [check for judge in (cursors, pushes, catch_up) for check in judge.judge(history, "").checks]
    counted = {name: vars(count) for name, count in tell(history).counts.items()}
    compared = live.compare(counted, checks)
    assert [count["check"] for count in compared] == list(PROMISES)
    for count in compared:
        assert count["agrees"] is True, count
        assert count["live"]["eligible"] > 50
        assert (count["live"]["violations"] > 0) == (seed > 0), count


def test_gaps_are_told_beside_each_other_and_not_compared(folder: RunFolder) -> None:
    (count,) = live.compare(
        {"push_gaps": {"eligible": None, "violations": 3}}, pushes.judge(History(folder), "").checks
    )
    assert (count["live"]["violations"], count["offline"]["violations"], count["agrees"]) == (3, 0, None)


def test_a_count_that_is_off_by_one_disagrees(folder: RunFolder) -> None:
    history = History(folder)
    counted = {name: dict(vars(count)) for name, count in tell(history).counts.items()}
    counted[SYNC_PAGES]["eligible"] -= 1
    compared = live.compare(counted, [*cursors.judge(history, "").checks, *pushes.judge(history, "").checks,
                                      *catch_up.judge(history, "").checks])  # fmt: skip
    assert {count["check"]: count["agrees"] for count in compared}[SYNC_PAGES] is False


def test_the_counts_of_two_processes_are_one() -> None:
    early, late = Fault(1, 2, 10), Fault(3, 4, 20)
    assert LiveCount(5, 1, late) + LiveCount(7, 2, early) == LiveCount(12, 3, early)
    assert LiveCount(5, 1, late) + LiveCount() == LiveCount(5, 1, late)
