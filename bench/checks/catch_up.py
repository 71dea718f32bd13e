"""Do devices hear of everything that changed, and does everything that they hear agree?

SYNC has to give each device all changes of its person's log; a version of a cursor, and a change id, has to
mean the same wherever it turns up; and when nothing is on its way any more, what a device was told has to add
up to what the store holds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.checks import device_state, sentences, syncs, versions
from bench.checks.changes import ITEM, OPERATION, Record, Synced, Versions
from bench.checks.check import Check, Judgement, findings_max
from bench.checks.packing import among, numbered
from bench.checks.story import Story
from bench.checks.syncs import NOWHERE
from bench.checks.versions import Pairs
from bench.metrics.history import History
from bench.record import NONE
from bench.results import Json

Ints = NDArray[np.int64]

COMPLETE: Final = "complete_sync"
SAME: Final = "versions"
TOLD: Final = "no_push_lost"
"""The names of what is promised."""


def judge(history: History, unknown: str) -> Judgement:
    """`unknown`: why the record is not whole, empty if it is; else no check says `pass`."""
    case = _Case(history, Story(history), Record(history), unknown, set(history.run.get("promises") or ()))
    synced = case.record.synced()
    verdict = syncs.judge(synced.pages, synced.told, synced.owed)
    results = [
        case.complete(synced, verdict),
        case.pages(synced, verdict),
        case.versions(synced, case.record.versions()),
        case.device_state(),
    ]
    return Judgement(
        [check for check, _ in results], [finding for _, findings in results for finding in findings]
    )


@dataclass(frozen=True)
class _Case:
    history: History
    story: Story
    record: Record
    unknown: str
    promises: set[str]

    def complete(self, synced: Synced, verdict: syncs.Verdict) -> tuple[Check, list[Json]]:
        holes, pages, told = verdict.holes, synced.pages, synced.told
        heard, gap = holes.later != NOWHERE, (holes.witness == NOWHERE) & (holes.owed == NOWHERE)
        late_ns = np.where(heard, told.received[holes.later] - pages.received[holes.page], -1)
        shown = np.lexsort((-late_ns, heard, gap))[: findings_max()]
        made_by = self._made_by(synced, holes, shown)
        findings = [
            self._hole(synced, holes, int(i), made, int(late_ns[i]))
            for i, made in zip(shown, made_by, strict=True)
        ]
        figures = {
            "pages": len(pages.device),
            "holes": int(np.count_nonzero(~heard & ~gap)),
            "late": int(np.count_nonzero(heard)),
            "gaps": int(np.count_nonzero(gap)),
            "extras": verdict.extras,
        }
        check = self._check("sync_complete", COMPLETE, verdict.eligible, len(holes.page), findings)
        return replace(check, figures=figures), findings

    def _made_by(self, synced: Synced, holes: syncs.Holes, shown: Ints) -> list[int]:
        """For each of these holes, the row of `owed` that tells which READ made the change; NOWHERE where no
        acknowledgement tells."""
        told, owed = synced.told, synced.owed
        witness, made_by = holes.witness[shown], holes.owed[shown]
        proven = np.flatnonzero(witness != NOWHERE)
        mine = np.flatnonzero(np.isin(owed.cursor, told.cursor[witness[proven]]))
        for i in proven:
            same = owed.cursor[mine] == told.cursor[witness[i]]
            same &= owed.version[mine] == told.version[witness[i]]
            made_by[i] = mine[np.argmax(same)] if same.any() else NOWHERE
        return [int(row) for row in made_by]

    def _hole(self, synced: Synced, holes: syncs.Holes, i: int, made_by: int, late_ns: int) -> Json:
        page, told, later = (int(column[i]) for column in (holes.page, holes.witness, holes.later))
        row = int(synced.page_row[page])
        asked = self.story.operation(row, "read", int(synced.pages.following[page]))
        finding: Json = {
            "check": "sync_complete",
            "kind": "gap of change ids" if told == made_by == NOWHERE else "hole",
            "user": int(synced.pages.user[page]),
            "device": int(synced.pages.device[page]),
            "since": int(synced.pages.since[page]),
            "next": int(synced.pages.following[page]),
        }
        since, following, records = finding["since"], finding["next"], [asked]
        if told != NOWHERE:
            finding |= _of_cursor(int(synced.told.cursor[told])) | {
                "change_id": int(synced.told.change_id[told]),
                "version": int(synced.told.version[told]),
            }
        elif made_by != NOWHERE:
            finding |= _of_cursor(int(synced.owed.cursor[made_by])) | {
                "change_id": None,
                "version": int(synced.owed.version[made_by]),
            }
        if made_by != NOWHERE:
            written = int(synced.owed_row[made_by])
            value = int(self.history.operations["argument"][written])
            records.insert(0, self.story.operation(written, "write", value))
        elif told != NOWHERE:
            records.insert(0, self._entry(synced.told_from, told, int(synced.told_value[told])))
        heard_s = None
        if later != NOWHERE:
            heard_s = round(late_ns / 1e9, 6)
            finding |= {"kind": "late change", "late_s": heard_s}
            records.append(self._entry(synced.told_from, later, int(synced.told_value[later])))
        if finding["kind"] == "gap of change ids":
            says = sentences.gap_of_ids(asked, since, following)
        else:
            says = sentences.hole(asked, since, following, records[0], heard_s=heard_s)
        return finding | {"says": says, "records": records}

    def pages(self, synced: Synced, verdict: syncs.Verdict) -> tuple[Check, list[Json]]:
        """Faults that a page shows by itself."""
        faults = (
            ("leads back", verdict.regress),
            ("changes out of order", verdict.unordered),
            ("changes outside of its range", np.unique(synced.told.page[verdict.outside])),
        )
        findings = [
            self._page(synced, kind, page)
            for kind, rows in faults
            for page in rows[: findings_max()].tolist()
        ]
        wrong = len(np.unique(np.concatenate([rows for _, rows in faults])))
        return self._check("sync_pages", COMPLETE, len(synced.pages.device), wrong, findings), findings

    def _page(self, synced: Synced, kind: str, page: int) -> Json:
        since, following = int(synced.pages.since[page]), int(synced.pages.following[page])
        asked = self.story.operation(int(synced.page_row[page]), "read", following)
        return {
            "check": "sync_pages",
            "kind": kind,
            "says": sentences.page(asked, since, following, kind),
            "user": int(synced.pages.user[page]),
            "device": int(synced.pages.device[page]),
            "since": since,
            "next": following,
            "records": [asked],
        }

    def versions(self, synced: Synced, seen: Versions) -> tuple[Check, list[Json]]:
        suspects = versions.suspects(seen.cursor, seen.version, seen.value)
        timed = np.flatnonzero(seen.at_ms != NONE)
        by_time = versions.suspects(
            seen.cursor[timed], seen.version[timed], seen.at_ms[timed] - seen.at_ms[timed].min(initial=0)
        )
        forked = np.flatnonzero(among(seen.cursor, suspects.forked) & ~among(seen.cursor, seen.vague))
        back = np.flatnonzero(among(seen.cursor, suspects.back))
        timed = timed[among(seen.cursor[timed], by_time.forked)]
        state = versions.without_own(seen.cursor[forked], seen.value[forked], seen.own_cursor, seen.own_seq)

        def name(rows: Ints) -> Ints:
            return numbered(seen.cursor[rows], seen.version[rows])

        found = (
            ("one version, two states", versions.forks(name(forked), state), forked),
            ("one version, two times", versions.forks(name(timed), seen.at_ms[timed]), timed),
            (
                "a higher version, a lower value",
                versions.regressions(seen.cursor[back], seen.version[back], seen.value[back]),
                back,
            ),
        )
        findings: list[Json] = [
            {"check": "versions", "kind": kind}
            | _of_cursor(int(seen.cursor[rows[second]]))
            | {"version": int(seen.version[rows[second]])}
            | self._told_apart(
                f"Version {seen.version[rows[second]]}",
                kind,
                seen.source,
                seen.value,
                int(rows[first]),
                int(rows[second]),
            )
            for kind, pairs, rows in found
            for first, second in zip(
                pairs.first[: findings_max()], pairs.second[: findings_max()], strict=True
            )
        ]
        named, changes = self._change_forks(synced)
        findings += [
            {
                "check": "versions",
                "kind": "one change id, two changes",
                "user": int(synced.told.user[named[second]]),
                "change_id": int(synced.told.change_id[named[second]]),
            }
            | self._told_apart(
                f"Change {synced.told.change_id[named[second]]}",
                "one change id, two changes",
                synced.told_from,
                synced.told_value,
                int(named[first]),
                int(named[second]),
            )
            for first, second in zip(
                changes.first[: findings_max()], changes.second[: findings_max()], strict=True
            )
        ]
        eligible = suspects.same_version + suspects.lower_version + by_time.same_version + changes.eligible
        wrong = sum(len(pairs.first) for _, pairs, _ in found) + len(changes.first)
        return self._check("versions", SAME, eligible, wrong, findings), findings

    def _change_forks(self, synced: Synced) -> tuple[Ints, Pairs]:
        """Change ids of one person that came with two contents, as entries of the rows of Told that have an
        id."""
        told = synced.told
        named = np.flatnonzero(told.change_id >= 0)
        change = numbered(told.user[named], told.change_id[named])
        order = np.argsort(change, kind="stable")
        same = np.diff(change[order]) == 0
        differs = np.zeros(len(same), np.bool_)
        for content in (told.cursor, told.version, synced.told_value):
            differs |= np.diff(content[named[order]]) != 0
        suspect = np.flatnonzero(among(change, change[order][1:][same & differs]))
        rows = named[suspect]
        meaning = numbered(told.cursor[rows], told.version[rows], synced.told_value[rows])
        pairs = versions.forks(change[suspect], meaning)
        return rows, replace(pairs, eligible=int(np.count_nonzero(same)))

    def _told_apart(self, what: str, kind: str, source: Ints, value: Ints, first: int, second: int) -> Json:
        records = [self._entry(source, i, int(value[i])) for i in (first, second)]
        return {"says": sentences.told_apart(what, kind, *records), "records": records}

    def device_state(self) -> tuple[Check, list[Json]]:
        found = self.record.device_state()
        verdict, due = device_state.judge(found.known, found.due), found.due
        behind = verdict.behind[np.argsort(-(due.least - verdict.knows)[verdict.behind], kind="stable")]
        shown = behind[: findings_max()]
        missed = self.record.first_acknowledged(due.cursor[shown], verdict.knows[shown])
        told = [("behind the store", i, [row]) for i, row in zip(shown, missed, strict=True)]
        told += [("ahead of the store", i, []) for i in verdict.ahead[: findings_max()]]
        findings = [
            {"check": "device_state", "kind": kind}
            | _of_cursor(int(due.cursor[i]))
            | self._device(int(due.device[i]), int(verdict.knows[i]), int(found.store[i]), rows)
            for kind, i, rows in told
        ]
        unknown = self.unknown
        if not self.history.folder.has("final_store"):
            unknown = unknown or "the store was not read at the end"
        if self.history.manifest.get("drained") is not True:
            unknown = unknown or "something was still on its way to the devices"
        wrong = len(behind) + len(verdict.ahead)
        check = self._check("device_state", TOLD, len(due.device), wrong, findings)
        silent = (verdict.knows < found.store) & (verdict.knows >= due.least)
        figures = {"behind_by_unanswered": int(np.count_nonzero(silent))}
        return replace(check, unknown=unknown, figures=figures), findings

    def _device(self, device: int, knows: int, store: int, missed: list[tuple[int, int]]) -> Json:
        """`missed`: (row of operations, value) of the first that the device was never told of."""
        return {
            "says": sentences.device_knows(device, knows, store),
            "device": device,
            "knows": knows,
            "store": store,
            "records": [
                *(self.story.operation(row, "write", value) for row, value in missed),
                self.story.held(store),
            ],
        }

    def _entry(self, source: Ints, i: int, value: int) -> Json:
        """The record of an entry that came from any of the tables."""
        row, table = divmod(int(source[i]), 4)
        if table == OPERATION:
            return self.story.operation(row, "read", value)
        if table == ITEM:
            return self.story.operation(self.record.owner(row), "read", value)
        return self.story.push(row)

    def _check(self, name: str, promise: str, eligible: int, wrong: int, findings: list[Json]) -> Check:
        worst = findings[0] if findings else None
        return Check(name, promise, promise in self.promises, eligible, wrong, worst, self.unknown)


def _of_cursor(cursor: int) -> Json:
    return {"conversation": cursor >> 32, "user": cursor & 0xFFFFFFFF}
