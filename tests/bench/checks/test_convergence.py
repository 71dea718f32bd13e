"""Store, cache and API against plain loops, and what a run's record makes of them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.checks import evidence as collecting
from bench.checks.check import Judgement
from bench.checks.convergence import Cached, judge
from bench.checks.final_read import NO_OPERATION, Cursors, Evidence, Messages, Promises, Writes
from bench.checks.story import Story
from bench.metrics.history import History
from tests.bench.checks.test_final_read import Bare
from tests.bench.synthetic import S, build

PROMISED = Promises(durable=True, convergence=True, read_ack="durable")
READ_AT = 8 * S
BEHIND, AHEAD, APART = "cache behind the store", "cache ahead of the store", "API differs from both"

Write = tuple[int, int, int]
"""user, value, acknowledged at ns (0: never)."""


def ints(values: Any) -> np.ndarray[Any, Any]:
    return np.array(list(values), np.int64)


def cursors(held: dict[int, int]) -> Cursors:
    """By user, all in conversation 2."""
    return Cursors(ints(2 for _ in held), ints(held), ints(held.values()))


def case(
    store: dict[int, int],
    cache: dict[int, int],
    api: dict[int, int],
    writes: list[Write],
    *,
    drained: bool = True,
    missing: bool = False,
) -> Judgement:
    empty = cursors({})
    known = Writes(
        ints(2 for _ in writes),
        ints(user for user, _, _ in writes),
        ints(value for _, value, _ in writes),
        ints(at for _, _, at in writes),
        ints(range(100, 100 + len(writes))),
    )
    evidence = Evidence(
        reads=known,
        deliveries=Writes(*(ints([]) for _ in range(5))),
        messages=Messages(*(ints([]) for _ in range(4)), Writes(*(ints([]) for _ in range(5)))),
        store_read=cursors(store),
        store_delivered=empty,
        store_read_at=READ_AT,
        shown=cursors(api),
        shown_at=ints(9 * S for _ in api),
        shown_by=ints(1 for _ in api),
        unknown="",
        drained=drained,
    )
    return judge(evidence, Cached(cursors(cache), empty, missing), PROMISED, Bare())


def plain(
    store: int | None, cache: int | None, api: int | None, writes: list[Write], drained: bool
) -> tuple[str | None, int | None]:
    """What is wrong with one cursor, and how long (ns) more than it shows had been acknowledged."""
    if store is None or (cache is None and api is None):
        return None, None
    may = [value for _, value, at in writes if at == 0 or at > READ_AT]
    explained = max(may, default=0) if drained else 10**9
    kind, shown = None, -1
    if cache is not None and cache < store:
        kind, shown = BEHIND, cache
    elif cache is not None and cache > store and cache > explained:
        kind, shown = AHEAD, cache
    elif api is not None and api not in (store, cache) and (api < store or api > explained):
        kind, shown = APART, api
    told = [at for _, value, at in writes if 0 < at <= READ_AT and value > shown]
    return kind, READ_AT - min(told) if kind and told else None


@pytest.mark.parametrize("drained", [True, False])
def test_the_verdict_is_that_of_plain_loops(drained: bool) -> None:
    """10,000 cursors at once."""
    chance = random.Random(6)

    def maybe() -> int | None:
        return chance.randint(0, 4) if chance.random() < 0.8 else None

    rows = [(maybe(), maybe(), maybe()) for _ in range(10_000)]
    writes = [
        [
            (user, chance.randint(0, 5), chance.choice((0, S, 2 * S, 9 * S)))
            for _ in range(chance.randint(0, 3))
        ]
        for user in range(len(rows))
    ]
    store, cache, api = (
        {user: row[i] for user, row in enumerate(rows) if row[i] is not None} for i in range(3)
    )
    judgement = case(store, cache, api, [w for own in writes for w in own], drained=drained)  # type: ignore[arg-type]
    expected = {
        user: plain(*row, own, drained) for user, (row, own) in enumerate(zip(rows, writes, strict=True))
    }
    wrong = {user: found for user, found in expected.items() if found[0] is not None}
    (check,) = judgement.checks
    assert check.violations == len(wrong) > 3_000
    assert check.eligible == sum(r[0] is not None and (r[1] is not None or r[2] is not None) for r in rows)
    assert check.figures["phi"] == pytest.approx(1 - len(wrong) / check.eligible, abs=1e-6)
    kinds = [kind for kind, _ in wrong.values()]
    figures = [check.figures[name] for name in ("cache_behind", "cache_ahead", "api_apart")]
    assert figures == [kinds.count(BEHIND), kinds.count(AHEAD), kinds.count(APART)]
    assert len(judgement.findings) == 1_000
    for finding in judgement.findings:
        kind, age = wrong[finding["user"]]
        assert finding["kind"] == kind
        assert finding["age_s"] == (None if age is None else age / 1e9)
        assert (finding["records"][0]["part"] == "write") == (age is not None)


def test_a_finding_names_what_each_path_shows_and_the_operation() -> None:
    (finding,) = case({5: 7}, {5: 4}, {5: 4}, [(5, 4, S), (5, 6, 2 * S), (5, 7, 3 * S)]).findings
    assert (finding["store"], finding["cache"], finding["shown"]) == (7, 4, 4)
    assert (finding["age_s"], finding["records"][0]["op_id"]) == (6.0, 101)


def test_what_is_not_cached_agrees() -> None:
    (check,) = case({5: 7, 6: 3}, {6: 3}, {5: 7}, []).checks
    assert (check.verdict, check.eligible, check.figures["cached"]) == ("pass", 2, 1)


def test_a_cache_that_was_not_read_is_unknown() -> None:
    (check,) = case({5: 7}, {}, {5: 7}, [], missing=True).checks
    assert (check.verdict, check.unknown) == ("unknown", "the cache was not read at the end")
    (check,) = case({5: 7}, {}, {5: 7}, [], drained=False).checks
    assert check.verdict == "unknown"


def test_where_a_cursor_started_is_no_operation() -> None:
    seeded = Writes(ints([2]), ints([5]), ints([9]), ints([1]), ints([NO_OPERATION]))
    evidence = collecting.Evidence(
        seeded, seeded, Messages(*(ints([]) for _ in range(4)), seeded), cursors({5: 9}), cursors({}),
        READ_AT,
        cursors({5: 3}), ints([READ_AT]), ints([1]), "", True,
    )  # fmt: skip
    (finding,) = judge(evidence, Cached(cursors({}), cursors({}), False), PROMISED, Bare()).findings
    assert (finding["age_s"], [record["part"] for record in finding["records"]]) == (None, ["held", "read"])


# --- of a whole run ---------------------------------------------------------------------------------------


def of_run(tmp_path: Path, **knobs: Any) -> Judgement:
    history = History(build(tmp_path, **knobs)[0])
    found = collecting.collect(history, "")
    return judge(found, collecting.cached(history), collecting.promises(history), Story(history))


@pytest.mark.parametrize("scheme", ["memory", "db", "redis", "queue"])
def test_a_correct_run_converges(tmp_path: Path, scheme: str) -> None:
    (check,) = of_run(tmp_path, scheme=scheme).checks
    assert (check.verdict, check.violations, check.figures["phi"]) == ("pass", 0, 1.0)
    assert (check.figures["cached"] > 100) == (scheme in ("redis", "queue"))
    assert check.promised == (scheme != "redis")


def test_stale_entries_of_the_cache_are_found_one_by_one(tmp_path: Path) -> None:
    judgement = of_run(tmp_path, scheme="redis", stale_in_cache=3)
    assert judgement.checks[0].violations == 3
    assert {finding["kind"] for finding in judgement.findings} == {BEHIND}
    assert all(finding["cache"] == finding["shown"] < finding["store"] for finding in judgement.findings)


def test_an_api_that_shows_what_nobody_holds(tmp_path: Path) -> None:
    judgement = of_run(tmp_path, scheme="redis", stale_at_end=2)
    assert [finding["kind"] for finding in judgement.findings] == [APART] * 2


def test_a_run_whose_cache_was_not_read_is_unknown(tmp_path: Path) -> None:
    folder, _ = build(tmp_path, scheme="redis")
    (folder.path / "final_cache.parquet").unlink()
    history = History(folder)
    assert collecting.cached(history).missing
    assert not collecting.cached(History(build(tmp_path / "db", scheme="db")[0])).missing
