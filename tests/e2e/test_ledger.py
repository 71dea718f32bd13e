"""The work ledger on real services: every arm does what it declares; one statement less or more is found."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest

from bench.guards import LEDGER_SHARE
from bench.services import server
from bench.statements import watch
from tests.e2e.small import judged, options

pytestmark = pytest.mark.services

MODELS = ("flags", "cursor")
ARMS: list[tuple[str, dict[str, str]]] = [
    ("memory", {}),
    *(("db", {"model": model}) for model in MODELS),
    *(("redis", {"model": model, "guard": guard}) for model, guard in product(MODELS, ("none", "lease"))),
    *(("queue", {"model": m, "queue-order": o}) for m, o in product(MODELS, ("db_first", "queue_first"))),
    ("queue", {"publish": "outbox"}),
]


RUN: list[tuple[str, dict[str, str]]] = [
    ("redis", {"model": "cursor", "guard": "lease"}),
    ("queue", {"model": "cursor", "queue-order": "queue_first"}),
]
"""Arms that are run with every `make test`, besides those with all defaults (test_run.py)."""
WATCHED: list[tuple[str, dict[str, str]]] = [
    ("db", {"model": "cursor"}),
    ("redis", {"model": "flags", "guard": "none"}),
    ("queue", {"model": "flags", "queue-order": "db_first"}),
]


def each(always: list[tuple[str, dict[str, str]]]) -> list[Any]:
    """All arms; those that are not `always` tried belong to the long series."""
    return [pytest.param(*arm, marks=() if arm in always else pytest.mark.proof) for arm in ARMS]


def name_of(arm: Any) -> str:
    return "-".join(arm.values()) if isinstance(arm, dict) else str(arm)


def ledger_of(out: Path, scheme: str, chosen: dict[str, str], **changes: Any) -> tuple[dict[str, Any], Any]:
    """The ledger, and what the guard says; the run must have been whole."""
    _, summary = judged(options(out, scheme, scheme_options=chosen, **changes))
    assert summary["ended"]["how"] == "finished", summary["ended"]
    guard = next(guard for guard in summary["guards"] if guard["guard"] == "work_ledger")
    return summary["ledger"], guard


@pytest.mark.parametrize(("scheme", "chosen"), each(RUN), ids=name_of)
def test_a_run_does_what_it_declares(tmp_path: Path, scheme: str, chosen: dict[str, str]) -> None:
    ledger, guard = ledger_of(tmp_path, scheme, chosen)
    assert ledger["available"], ledger
    off = {row["counter"]: row for row in ledger["rows"] if row["off"] > LEDGER_SHARE}
    assert off == {}
    assert guard["verdict"] == "ok"
    assert ledger["messages"] > 0
    each = ledger["per_message"]
    assert (each["rows"] > 0) == (scheme != "memory")
    assert (each["redis_commands"] > 0) == (scheme in ("redis", "queue"))
    assert (each["records"] > 0) == (scheme == "queue")


@pytest.mark.parametrize(("scheme", "chosen"), each(WATCHED)[1:], ids=name_of)
def test_each_operation_sends_what_is_declared(tmp_path: Path, scheme: str, chosen: dict[str, str]) -> None:
    wrong = {
        step.name: (step.wrong, step.counted, step.declared)
        for step in watch(scheme, chosen, tmp_path, lambda _: None)
        if step.wrong
    }
    assert wrong == {}


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Runs start `tests.e2e.lazy_server` instead of the server."""
    monkeypatch.setattr(server, "MODULE", "tests.e2e.lazy_server")
    return monkeypatch


@pytest.mark.parametrize(
    ("how", "counter"),
    [("skips_one_update", "mysql.Com_update"), ("selects_once_too_often", "mysql.Com_select")],
)
def test_who_does_less_or_more_is_found_out(
    tmp_path: Path, changed: pytest.MonkeyPatch, how: str, counter: str
) -> None:
    changed.setenv("LAZY", how)
    ledger, guard = ledger_of(tmp_path, "db", {"model": "cursor"})
    off = {row["counter"]: row["off"] for row in ledger["rows"] if row["off"] > LEDGER_SHARE}
    assert counter in off
    assert guard["verdict"] == "invalid"
