"""The work ledger of a run: what was recorded is counted as it is, and one statement less or more is seen."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.guards import look
from bench.metrics import ledger
from bench.metrics.history import History
from bench.record import Op, Outcome, PushKind
from bench.results import Json, RunFolder
from bench.summary import summarize
from schemes import SCHEMES
from schemes.ledger import DECLARED_ONLY, DONE, declared_by, total
from tests.bench.synthetic import START, build, change_manifest

SCHEME_NOTES = {"mysql.directory_misses": 40, "mysql.reads_rows": 300}
FAR = 1 << 62


def moment(t: int, counters: dict[str, float], notes: dict[str, int]) -> Json:
    parts: Json = {"t": t, "server": {"scheme": notes}, "mysql": {"Com_show_status": 0.0}}
    for name, value in counters.items():
        part, _, counter = name.partition(".")
        parts.setdefault(part, {})[counter] = value
    statements = [value for name, value in counters.items() if ".Com_" in name]
    parts["mysql"]["Questions"] = sum(statements)
    return parts


def planted(folder: RunFolder, **changed: float) -> Json:
    """The ledger of a run whose stores counted what `db` declares, but for `changed` (times so much)."""
    history = History(folder)
    done = ledger.done(history, START - 1, FAR)
    declared = total(declared_by(SCHEMES["db"].ledger)({}, done, Counter(SCHEME_NOTES)))
    counters = {name: low for name, (low, _) in declared.items() if name not in DECLARED_ONLY}
    counters |= {f"mysql.{name}": counters[f"mysql.{name}"] * times for name, times in changed.items()}
    none = dict.fromkeys(counters, 0.0)
    moments = {
        "before": moment(START - 1, none, {}),
        "connected": moment(START, none, {}),
        "after": moment(FAR, counters, SCHEME_NOTES),
    }
    folder.write_manifest(folder.manifest() | {"ledger": moments})
    found: Json = summarize(folder)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return build(tmp_path, scheme="db", send_per_s=60)[0]


def verdict(summary: Json) -> Any:
    return next(guard for guard in look(summary) if guard.guard == "work_ledger")


def off(summary: Json) -> dict[str, float]:
    return {row["counter"]: row["off"] for row in summary["ledger"]["rows"] if row["off"]}


def stores(summary: Json) -> dict[str, float]:
    return {name: share for name, share in off(summary).items() if not name.startswith("pushes.")}


def test_what_was_recorded_is_counted_once(folder: RunFolder) -> None:
    history = History(folder)
    done, operations = ledger.done(history, START - 1, FAR), history.operations
    ok = (operations["outcome"] == Outcome.OK) & (operations["sent"] > 0)

    def recorded(*ops: Op) -> int:
        return int(np.count_nonzero(ok & np.isin(operations["op"], ops)))

    assert done["send.direct"] + done["send.group"] == recorded(Op.SEND, Op.PROBE_SEND) > 0
    assert done["send.receivers"] > done["send.direct"] + done["send.group"]
    reads = ("moved.direct", "moved.group", "stale", "several", "unknown")
    assert sum(done[f"read.{name}"] for name in reads) == recorded(Op.READ, Op.PROBE_READ) > 0
    delivered = ("moved.direct", "moved.group", "stale", "several")
    assert sum(done[f"delivered.{name}"] for name in delivered) == recorded(Op.DELIVERED) > 0
    assert done["state.page"] + done["state.later"] == recorded(Op.STATE)
    assert done["state.named"] == recorded(Op.PROBE_STATE, Op.PROBE_ONCE) > 0
    assert done.keys() <= DONE.keys()


def test_nothing_outside_of_the_moments_counts(folder: RunFolder) -> None:
    assert not any(ledger.done(History(folder), FAR, FAR).values())


def test_a_run_that_did_what_it_declares_is_believed(folder: RunFolder) -> None:
    summary = planted(folder)
    assert summary["ledger"]["available"] is True
    assert stores(summary) == {}


@pytest.mark.parametrize(("counter", "times"), [("Com_update", 0.98), ("Com_select", 1.02)])
def test_a_statement_less_or_more_is_found_out(folder: RunFolder, counter: str, times: float) -> None:
    summary = planted(folder, **{counter: times})
    assert stores(summary)[f"mysql.{counter}"] == pytest.approx(0.02, abs=0.002)
    guard = verdict(summary)
    assert guard.verdict == "invalid"
    assert f"mysql.{counter}: declared " in guard.message or "more)" in guard.message
    assert summary["verdict"]["status"] == "INVALID"


@pytest.mark.parametrize("counter", ["Com_update", "Com_select", "Handler_update"])
def test_half_a_percent_is_not(folder: RunFolder, counter: str) -> None:
    assert max([0.0, *stores(planted(folder, **{counter: 1.005})).values()]) <= 0.01


def test_a_command_that_nobody_declares_is_found_out(folder: RunFolder) -> None:
    planted(folder)
    moments = folder.manifest()["ledger"]
    moments["after"]["mysql"]["Com_delete"] = 50.0
    change_manifest(folder, ledger=moments)
    assert stores(summarize(folder))["mysql.Com_delete"] == 50


def test_a_restarted_store_cannot_be_compared(folder: RunFolder) -> None:
    planted(folder)
    moments = folder.manifest()["ledger"]
    moments["after"]["mysql"]["Com_update"] = -1.0
    change_manifest(folder, ledger=moments)
    found = summarize(folder)["ledger"]
    assert found == {
        "available": False,
        "why_not": "a counter went back, so a service was restarted: mysql.Com_update",
    }


def test_without_counters_it_says_so_and_nothing_is_held_against_the_run(folder: RunFolder) -> None:
    summary = summarize(folder)
    assert summary["ledger"]["available"] is False
    assert verdict(summary).verdict == "ok"
    assert "before, connected, after" in verdict(summary).message


def test_per_message_is_what_happened_after_everybody_had_signed_in(folder: RunFolder) -> None:
    summary = planted(folder)
    each, messages = summary["ledger"]["per_message"], summary["ledger"]["messages"]
    after = folder.manifest()["ledger"]["after"]["mysql"]
    assert each["rows"] == pytest.approx(
        (after["Handler_update"] + after["Handler_write"]) / messages, abs=1e-3
    )
    assert each["commits"] > after["Com_commit"] / messages  # DELIVERED commits by itself
    assert each["records"] == each["redis_commands"] == 0
    assert each["pushes"] > 0


def test_what_nobody_answered_may_have_been_pushed_or_not(folder: RunFolder) -> None:
    """SENDs that were pushed and never answered are in the range, not beyond it."""
    planted(folder)
    operations = History(folder).operations
    rows = np.flatnonzero((operations["op"] == Op.SEND) & (operations["outcome"] == Outcome.OK))[:200]
    history = History(folder)
    outcome = history.operations["outcome"].copy()
    outcome[rows] = Outcome.INFO
    history.operations.replace("outcome", outcome)
    found = {row["counter"]: row for row in ledger.summarise(history)["rows"]}["pushes.message"]
    assert found["at_least"] < found["counted"] == found["at_most"]
    assert found["off"] == 0


def test_a_push_that_did_not_come_is_found_out(folder: RunFolder) -> None:
    planted(folder)
    history = History(folder)
    kind = history.pushes["kind"].copy()
    lost = np.flatnonzero(kind == PushKind.MESSAGE)[:100]
    kind[lost] = PushKind.OTHER
    history.pushes.replace("kind", kind)
    off = {row["counter"]: row["off"] for row in ledger.summarise(history)["rows"]}
    assert off["pushes.message"] > 0.01
    assert off["pushes.read"] == off["pushes.delivered"] == 0
