"""When nothing is on its way any more, do all paths agree: the store, the cache and the API?  Pure.

Each cursor that the store holds and that the cache or the API shows too; what is not cached agrees.  The
share of cursors for which all paths agree is phi (Lu et al., SOSP 2015, measured it while the system ran).

    cache behind the store     it holds less; a reader gets that until the key is deleted or expires
    cache ahead of the store   it holds what the store has not, and nothing unanswered explains it
    API differs from both      a fresh connection is shown what neither the store nor the cache holds"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.checks import sentences
from bench.checks.check import Check, Judgement, findings_max
from bench.checks.final_read import NO_OPERATION, Cursors, Evidence, Promises, Writes
from bench.checks.kernel import Steps
from bench.checks.packing import among, places
from bench.checks.story import Told
from bench.metrics.ragged import distinct
from bench.results import Json

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

ABSENT: Final = -1
KINDS: Final = ("API differs from both", "cache ahead of the store", "cache behind the store")


@dataclass(frozen=True)
class Cached:
    """What the cache held after the drain, read before anybody's final read; `delivered` as `final_read`
    has it.  `missing`: the scheme has a cache that was not read."""

    read: Cursors
    delivered: Cursors
    missing: bool


@dataclass(frozen=True)
class _Paths:
    """What each path shows of some cursors (ABSENT: nothing), and what is wrong with them.  `shown_by`: by
    which op_id the API did."""

    names: Ints
    store: Ints
    cache: Ints
    api: Ints
    shown_by: Ints
    compared: Bools
    behind: Bools
    ahead: Bools
    apart: Bools


def judge(evidence: Evidence, cached: Cached, promises: Promises, story: Told) -> Judgement:
    """The check, and its findings for `findings.jsonl`, the longest proven first."""
    at = evidence.store_read_at
    read = _paths(evidence, evidence.store_read, cached.read, evidence.shown, evidence.reads)
    nothing = Cursors(*(np.empty(0, np.int64) for _ in range(3)))
    delivered = _paths(evidence, evidence.store_delivered, cached.delivered, nothing, evidence.deliveries)
    found = _tell("read", read, evidence.reads, at, story)
    found += _tell("delivered", delivered, evidence.deliveries, at, story)
    found.sort(key=lambda finding: -(finding["age_s"] or 0))
    eligible = sum(int(np.count_nonzero(paths.compared)) for paths in (read, delivered))
    wrong = sum(int(np.count_nonzero(_wrong(paths))) for paths in (read, delivered))
    figures = {
        "phi": round(1 - wrong / eligible, 6) if eligible else None,
        "cached": int(np.count_nonzero((read.cache != ABSENT) & read.compared)),
        "cache_behind": int(np.count_nonzero(read.behind)),
        "cache_ahead": int(np.count_nonzero(read.ahead)),
        "api_apart": int(np.count_nonzero(read.apart)),
        "deliveries_cache_behind": int(np.count_nonzero(delivered.behind)),
        "deliveries_cache_ahead": int(np.count_nonzero(delivered.ahead)),
    }
    check = Check(
        "converged",
        "convergence",
        promises.convergence,
        eligible,
        wrong,
        found[0] if found else None,
        _unknown(evidence, cached),
        figures=figures,
    )
    return Judgement([check], found[: findings_max()])


def _wrong(paths: _Paths) -> Bools:
    return paths.behind | paths.ahead | paths.apart


def _unknown(evidence: Evidence, cached: Cached) -> str:
    if evidence.unknown:
        return evidence.unknown
    if cached.missing:
        return "the cache was not read at the end"
    return "" if evidence.drained else "something was still on its way when the paths were compared"


def _paths(evidence: Evidence, store: Cursors, cache: Cursors, api: Cursors, writes: Writes) -> _Paths:
    names = distinct(np.concatenate([_names(path) for path in (store, cache, api)]))
    held, cached, shown = (np.full(len(names), ABSENT) for _ in range(3))
    for values, path in ((held, store), (cached, cache), (shown, api)):
        values[places(_names(path), names)] = path.value
    shown_by = np.full(len(names), NO_OPERATION)
    if len(api.value):
        shown_by[places(_names(api), names)] = evidence.shown_by
    compared = (held != ABSENT) & ((cached != ABSENT) | (shown != ABSENT))
    explained = _explained(evidence, names, writes)
    behind = compared & (cached != ABSENT) & (cached < held)
    ahead = compared & (cached > held) & (cached > explained)
    apart = compared & (shown != ABSENT) & (shown != held) & (shown != cached)
    apart &= ((shown < held) | (shown > explained)) & ~behind & ~ahead
    return _Paths(
        names,
        held,
        cached,
        shown,
        shown_by,
        compared,
        behind,
        ahead,
        apart,
    )


def _explained(evidence: Evidence, names: Ints, writes: Writes) -> Ints:
    """How far each cursor may have moved since the store was read, or before the store itself did."""
    if not evidence.drained:
        return np.full(len(names), np.iinfo(np.int64).max)
    late = (writes.acknowledged == 0) | (writes.acknowledged > evidence.store_read_at)
    late = np.flatnonzero(late)
    late = late[among(_names(writes)[late], names)]
    explained = np.zeros(len(names), np.int64)
    np.maximum.at(explained, np.searchsorted(names, _names(writes)[late]), writes.value[late])
    return explained


def _names(of: Cursors | Writes) -> Ints:
    return (of.conversation << 32) | of.user


def _tell(cursor: str, paths: _Paths, writes: Writes, at: int, story: Told) -> list[Json]:
    """`age_s`: how long something higher than the lowest path had been acknowledged when the store was read,
    at least; None where that is not proven."""
    wrong = np.flatnonzero(_wrong(paths))
    behind, ahead = paths.behind[wrong], paths.ahead[wrong]
    shown = np.where(behind | ahead, paths.cache[wrong], paths.api[wrong])
    ages, operations, values = _since(paths.names[wrong], shown, writes, at)
    findings = []
    for i in np.argsort(-ages, kind="stable")[: findings_max()].tolist():
        store, cache, api = (int(path[wrong[i]]) for path in (paths.store, paths.cache, paths.api))
        asked = [] if operations[i] == NO_OPERATION else [(int(operations[i]), int(values[i]))]
        age_s = round(int(ages[i]) / 1e9, 6) if ages[i] >= 0 else None
        records = [story.by_id(op_id, "write", value) for op_id, value in asked] + [story.held(store)]
        if paths.shown_by[wrong[i]] != NO_OPERATION:
            records.append(story.by_id(int(paths.shown_by[wrong[i]]), "read", api))
        findings.append(
            {
                "check": "converged",
                "kind": KINDS[2 * int(behind[i]) + int(ahead[i])],
                "says": sentences.apart(cursor, store, _or_none(cache), _or_none(api), age_s),
                "cursor": cursor,
                "conversation": int(paths.names[wrong[i]] >> 32),
                "user": int(paths.names[wrong[i]] & 0xFFFFFFFF),
                "store": store,
                "cache": _or_none(cache),
                "shown": _or_none(api),
                "age_s": age_s,
                "records": records,
            }
        )
    return findings


def _since(names: Ints, shown: Ints, writes: Writes, at: int) -> tuple[Ints, Ints, Ints]:
    """For each cursor, how long (ns) more than was shown had been acknowledged, by which operation and up to
    where; -1, NO_OPERATION and 0 where nothing was."""
    ages, operations = np.full(len(names), -1), np.full(len(names), NO_OPERATION)
    values = np.zeros(len(names), np.int64)
    told = (writes.acknowledged > 0) & (writes.acknowledged <= at) & (writes.operation != NO_OPERATION)
    told = np.flatnonzero(told)
    told = told[among(_names(writes)[told], names)]
    if not len(told):
        return ages, operations, values
    began = writes.acknowledged[told].min()
    steps = Steps(
        np.searchsorted(names, _names(writes)[told]), writes.acknowledged[told] - began, writes.value[told]
    )
    first = steps.first_above(np.arange(len(names)), shown)
    proven = first >= 0
    ages[proven] = at - began - steps.time(first[proven])
    by = told[steps.row(first[proven])]
    operations[proven], values[proven] = writes.operation[by], writes.value[by]
    return ages, operations, values


def _or_none(value: int) -> int | None:
    return None if value == ABSENT else value
