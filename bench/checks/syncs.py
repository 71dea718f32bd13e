"""Incremental sync: does a device that asks for what changed get all of it?  Pure.

A person's changes have ids without gaps, and a page of SYNC says: these are all changes after `since`, up to
`following`.  From that, and from what was acknowledged, follows what a page must hold:

    hole        a change whose id is in the range of a page that does not hold it
    missing     a READ that was acknowledged before a SYNC was sent is in no page up to that one
    gap         a page is short of ids of its range that nobody ever saw anywhere

and none of these was pushed to that device by then.  Whoever asks on from such a page never hears of the
change by SYNC again.  It is `late` if the device was told of it later on, by a push or a page that went back.

    regress     a page leads back to before its own `since`
    unordered   the ids of a page do not grow
    outside     a page holds an id that is not in its range

An `extra` is a change of a page that an earlier page of the device had covered: allowed, and counted.  A page
that says `reset_required` holds nothing and promises nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.checks.kernel import Steps
from bench.checks.packing import among, halves, numbered
from bench.metrics.ragged import Groups, distinct, spread

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

NOWHERE: Final = -1
_SMALL: Final = 1 << 31


@dataclass(frozen=True)
class Pages:
    """Answered SYNCs.  Times in ns from the start, not negative; `device` and `user` are small numbers.

    `more`: the server said that another page follows.  `fresh`: before it the device learnt where it is by
    other means (its first page, STATE after a sign-in), so nothing is owed of what was before."""

    device: Ints
    user: Ints
    since: Ints
    following: Ints
    sent: Ints
    received: Ints
    more: Bools
    reset: Bools
    fresh: Bools


@dataclass(frozen=True)
class Told:
    """Changes that a device was told of, one entry each: `page` is the row of the page, NOWHERE for a push,
    in the order of the page.  `cursor` names whose cursor moved, `change_id` NOWHERE if it has none."""

    device: Ints
    user: Ints
    page: Ints
    change_id: Ints
    cursor: Ints
    version: Ints
    received: Ints


@dataclass(frozen=True)
class Owed:
    """Acknowledged changes and to whom they are owed: each is a row of that person's change log."""

    user: Ints
    cursor: Ints
    version: Ints
    sent: Ints
    acknowledged: Ints


@dataclass(frozen=True)
class Holes:
    """`page[i]` should have held a change: that of `witness[i]` (a row of Told), or `owed[i]`; or the device
    should have known it by then.  NOWHERE where there is none of it; neither: a gap of ids that nobody saw.
    `later[i]`: the row of Told by which the device heard of it after all."""

    page: Ints
    witness: Ints
    owed: Ints
    later: Ints

    def __add__(self, other: Holes) -> Holes:
        names = self.__dataclass_fields__
        return Holes(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in names))

    def take(self, which: Bools) -> Holes:
        return Holes(*(getattr(self, name)[which] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Verdict:
    """`eligible`: changes that were in their page, and those that were not.  Faults by row of Pages or of
    Told."""

    eligible: int
    holes: Holes
    regress: Ints
    unordered: Ints
    outside: Ints
    extras: int


def judge(pages: Pages, told: Told, owed: Owed) -> Verdict:
    """The verdict on every page.  O(n log n)."""
    paged = np.flatnonzero(told.page != NOWHERE)
    page, change = told.page[paged], told.change_id[paged]
    inside = (change > pages.since[page]) & (change <= pages.following[page])
    backwards = (page[1:] == page[:-1]) & (np.diff(change) <= 0)
    held = distinct((page[inside] << 32) | _Ids(told).of(change[inside]))
    holes = _holes(pages, told, held, owed)
    covered = _covered(pages)
    return Verdict(
        eligible=len(held) + len(holes.page),
        holes=holes,
        regress=np.flatnonzero((pages.following < pages.since) & ~pages.reset),
        unordered=distinct(page[1:][backwards]),
        outside=paged[~inside],
        extras=int(np.count_nonzero(inside & (change <= covered[page]))),
    )


def _covered(pages: Pages) -> Ints:
    """For each page, up to where earlier ones had led its device when it was asked for; NOWHERE if none
    had."""
    places = distinct(pages.following)
    answered = Steps(pages.device, pages.received, np.searchsorted(places, pages.following))
    last = answered.before(pages.device, pages.sent)
    covered = np.full(len(last), NOWHERE)
    covered[last >= 0] = places[answered.highest(last[last >= 0])]
    return covered


class _Ids:
    """Change ids as numbers below 2**32, in their order: as they are, or where they are too large by their
    place among all that anybody was told of."""

    def __init__(self, told: Told) -> None:
        small = int(told.change_id.max(initial=0)) < _SMALL
        self._known = None if small else distinct(told.change_id)

    def of(self, change: Ints) -> Ints:
        """Of those that nobody was told of only the order among the others is right."""
        if self._known is not None:
            return np.searchsorted(self._known, change)
        return np.clip(change, NOWHERE, _SMALL) - NOWHERE


def _holes(pages: Pages, told: Told, held: Ints, owed: Owed) -> Holes:
    """The same hole may be known by its id and by an acknowledgement: it counts once.  A gap of unseen ids is
    no news about a device that misses what was acknowledged."""
    names = _Names(told, owed)
    by_id, by_acknowledgement = _not_held(pages, told, held), _not_told(pages, told, owed, names)
    proven = by_id.witness != NOWHERE
    known = (pages.device[by_id.page[proven]] << 32) | names.told[by_id.witness[proven]]
    same = (pages.device[by_acknowledgement.page] << 32) | names.owed[by_acknowledgement.owed]
    by_acknowledgement = by_acknowledgement.take(~np.isin(same, known))
    missed = pages.device[by_acknowledgement.page]
    return by_id.take(proven | ~np.isin(pages.device[by_id.page], missed)) + by_acknowledgement


class _Names:
    """Each change, told or owed, as a small number: whose cursor it moved, and to which version."""

    def __init__(self, told: Told, owed: Owed) -> None:
        cursor = np.concatenate([told.cursor, owed.cursor])
        number = numbered(*halves(cursor), np.concatenate([told.version, owed.version]))
        self.told, self.owed = number[: len(told.cursor)], number[len(told.cursor) :]


def _not_held(pages: Pages, told: Told, held: Ints) -> Holes:
    """Ids in the range of a page that it does not hold: those that somebody was told of, and pages that are
    short of others."""
    ids = _Ids(told)
    had = np.bincount(held >> 32, minlength=len(pages.device))
    short = np.flatnonzero(~pages.reset & (pages.following - pages.since > had))
    known = np.flatnonzero(told.change_id != NOWHERE)
    packed = (told.user[known] << 32) | ids.of(told.change_id[known])
    order = np.argsort(packed, kind="stable")
    first = np.flatnonzero(np.diff(packed[order], prepend=-1))
    existing, seen = packed[order][first], known[order][first]
    low, high = (
        np.searchsorted(existing, (pages.user[short] << 32) | ids.of(after[short] + 1))
        for after in (pages.since, pages.following)
    )
    which, place = spread(low, high - low)
    page, witness = short[which], seen[place]
    missing = ~among((page << 32) | ids.of(told.change_id[witness]), held)
    page, witness = page[missing], witness[missing]
    left = pages.following - pages.since - had - np.bincount(page, minlength=len(had))
    gap = short[left[short] > 0]
    number = ids.of(told.change_id)
    in_time, later = _heard(told, number, pages.device[page], number[witness], pages.received[page])
    holes = Holes(page, witness, np.full(len(page), NOWHERE), later).take(~in_time)
    return holes + Holes(gap, *(np.full(len(gap), NOWHERE) for _ in range(3)))


def _not_told(pages: Pages, told: Told, owed: Owed, names: _Names) -> Holes:
    """Owed changes that a device had not been told of when it had the last page of what it asked for after
    they were acknowledged.

    Owed is only what was sent after the first page that the device asked for: its STATE may have had the
    rest."""
    whole = np.flatnonzero(~pages.more & ~pages.reset)
    moment = distinct(np.concatenate([pages.sent[whole], owed.acknowledged]))
    bits = len(moment).bit_length() + 1
    at = (pages.device[whole] << bits) | np.searchsorted(moment, pages.sent[whole])
    order = np.argsort(at, kind="stable")
    at, whole = at[order], whole[order]
    device, its_first = np.unique(pages.device, return_index=True)
    user = pages.user[its_first]
    of_user = Groups(user, int(max(user.max(initial=-1), owed.user.max(initial=-1))) + 1)
    change, asking = of_user.expand(owed.user)
    asking = device[asking]
    place = np.searchsorted(
        at, (asking << bits) | np.searchsorted(moment, owed.acknowledged[change]), side="right"
    )
    asked = place < len(at)
    asked[asked] = pages.device[whole[place[asked]]] == asking[asked]
    change, page = change[asked], whole[place[asked]]
    due = owed.sent[change] > _chain_began(pages)[page]
    change, page = change[due], page[due]
    in_time, later = _heard(told, names.told, pages.device[page], names.owed[change], pages.received[page])
    return Holes(page, np.full(len(page), NOWHERE), change, later).take(~in_time)


def _chain_began(pages: Pages) -> Ints:
    """When the first page was sent of the chain that each page belongs to."""
    order = np.lexsort((pages.sent, pages.device))
    device = pages.device[order]
    starts = pages.fresh[order] | (np.diff(device, prepend=-1) != 0)
    began = np.empty(len(order), np.int64)
    began[order] = pages.sent[order][np.flatnonzero(starts)][np.cumsum(starts) - 1] if len(order) else 0
    return began


def _heard(told: Told, number: Ints, device: Ints, asked: Ints, by: Ints) -> tuple[Bools, Ints]:
    """For each question, whether the device was told of that number until `by`; else the row by which it was
    told later, NOWHERE if it never was.  `number[i]` is what row i of Told tells of."""
    if not len(asked):
        return np.zeros(0, np.bool_), np.zeros(0, np.int64)
    order = np.lexsort((told.received, (told.device << 32) | number))
    packed = (told.device[order] << 32) | number[order]
    place = np.searchsorted(packed, (device << 32) | asked)
    heard = place < len(packed)
    heard[heard] = packed[place[heard]] == ((device << 32) | asked)[heard]
    row = np.full(len(asked), NOWHERE)
    row[heard] = order[place[heard]]
    in_time = heard & (told.received[row] <= by) if len(order) else heard
    return in_time, np.where(in_time, NOWHERE, row)
