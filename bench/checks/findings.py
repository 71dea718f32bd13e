"""What the checks found, made ready for `findings.jsonl`: in one order, with ids, all of one shape.  Pure.

docs/consistency.md describes the shape."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from bench.checks import sentences
from bench.checks.check import Check, Judgement
from bench.metrics.history import Membership
from bench.population import user_id
from bench.results import Json

WHEN: Final = ("sent_s", "received_s", "at_s")
"""Fields of a record that say when it was, the first that is there."""


EXPLAINS: Final = ("write", "message", "before", "filler")
"""Parts of records that say what should have been seen, or why it was not."""


def finish(judgement: Judgement, membership: Membership) -> Judgement:
    """The same checks and findings: the worst of each episode first (`f1` the worst of all, broken promises
    before what nobody promised), then all others.  Each check's `worst` is its first."""
    checks = {check.name: check for check in judgement.checks}
    places = {name: place for place, name in enumerate(checks)}
    ranked = sorted(
        _with_heads(judgement.findings),
        key=lambda pair: (not pair[1], *_rank(pair[0], checks[pair[0]["check"]]), places[pair[0]["check"]]),
    )
    heads: dict[tuple[str, Any], str] = {}
    found = []
    for number, (finding, is_head) in enumerate(ranked, start=1):
        name = f"f{number}"
        if is_head:
            heads[_episode(finding)] = name
        check = checks[finding["check"]]
        found.append(_whole(finding, name, heads[_episode(finding)], check, membership))
    _name_others(found)
    worst: dict[str, Json] = {}
    for finding in found:
        worst.setdefault(finding["check"], finding)
    return Judgement([replace(check, worst=worst.get(check.name)) for check in judgement.checks], found)


def _with_heads(findings: Iterable[Json]) -> list[tuple[Json, bool]]:
    """Each with whether it is the first, so the worst, of its episode.  One without is an episode itself."""
    seen: set[tuple[str, Any]] = set()
    marked = []
    for number, finding in enumerate(findings):
        numbered = {"episode": ("alone", number), "in_episode": 1} | finding
        episode = _episode(numbered)
        marked.append((numbered, episode not in seen))
        seen.add(episode)
    return marked


def _episode(finding: Json) -> tuple[str, Any]:
    return finding["check"], finding["episode"]


def _rank(finding: Json, check: Check) -> tuple[bool, float, int]:
    """What was to be durable and is not is lost for ever; all else is as bad as it is old, then as often as
    it was seen."""
    age = math.inf if check.promise == "durable" else finding.get("age_s") or 0.0
    return not check.promised, -age, -finding["in_episode"]


def _whole(finding: Json, name: str, head: str, check: Check, membership: Membership) -> Json:
    records = sorted(finding["records"], key=when)
    conversation, user = finding.get("conversation"), finding.get("user")
    own = {key: value for key, value in finding.items() if key not in _ORDER}
    return {
        "id": name,
        "check": check.name,
        "promise": check.promise,
        "promised": check.promised,
        "kind": finding["kind"],
        "says": finding.get("says") or sentences.plain(finding["kind"], records),
        "at_s": _at(records),
        "conversation": conversation,
        "conversation_id": None if conversation is None else _conversation_id(membership, conversation),
        "user": user,
        "user_id": None if user is None else user_id(user),
        **own,
        "episode": head,
        "in_episode": finding["in_episode"],
        "also": [],
        "records": records,
    }


def _conversation_id(membership: Membership, conversation: int) -> str:
    """As `Population.conversation_id` names it, from the run's folder."""
    return f"{'d' if membership.direct[conversation] else 'g'}{conversation + 1}"


_ORDER: Final = ("check", "kind", "says", "conversation", "user", "episode", "in_episode", "records")


def when(record: Json) -> float:
    """When a record was, s since the start; what has no time was there from the beginning."""
    return float(next((record[name] for name in WHEN if record.get(name) is not None), -math.inf))


def _at(records: Sequence[Json]) -> float | None:
    """When it went wrong: the last of the records that has a time."""
    last = max(map(when, records), default=-math.inf)
    return None if math.isinf(last) else last


def accused(finding: Json) -> Json:
    """The record that shows what is wrong: the last that is there for itself, not to explain another."""
    records: list[Json] = finding["records"]
    return next((record for record in reversed(records) if record["part"] not in EXPLAINS), records[-1])


def causes(findings: Sequence[Json]) -> list[Json]:
    """The worst finding of each episode, worst first; where several checks tell one story, the first of them
    alone (its `also` names the others)."""
    shown, seen = [], set()
    for finding in findings:
        if finding["episode"] != finding["id"]:
            continue
        cause = _cause(finding)
        if cause not in seen:
            shown.append(finding)
        seen.add(cause)
    return shown


def _cause(finding: Json) -> tuple[Any, ...]:
    """What makes two findings one story: what should have been seen of which cursor, and where it was not.
    A finding that names no operation is a story of its own."""
    wrong = accused(finding)
    expected = [
        record["op_id"]
        for record in finding["records"]
        if record is not wrong and record["part"] != "filler" and record["op_id"] is not None
    ]
    by = expected[0] if expected else wrong["op_id"]
    return finding["conversation"], finding["user"], wrong["part"], finding["id"] if by is None else by


def _name_others(found: Sequence[Json]) -> None:
    """`also`: the other checks that tell the same story."""
    by: dict[tuple[Any, ...], list[Json]] = defaultdict(list)
    for finding in found:
        by[_cause(finding)].append(finding)
    for several in by.values():
        checks = list(dict.fromkeys(finding["check"] for finding in several))
        for finding in several:
            finding["also"] = [check for check in checks if check != finding["check"]]
