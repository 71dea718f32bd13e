"""Findings made up by hand, as findings.jsonl has them."""

from __future__ import annotations

from typing import Any

from bench.results import Json


def record(
    part: str, op: str, value: int | None, sent_s: float | None, took_s: float | None, **more: Any
) -> Json:
    end = None if sent_s is None or took_s is None else sent_s + took_s
    return {
        "part": part, "op": op, "op_id": 100 + int(1000 * (sent_s or 0)), "value": value, "user": 16,
        "user_id": "u17", "device": 20, "session": 0x1A, "outcome": "ok", "sent_s": sent_s,
        "acknowledged_s": end, "stages_us": None,
    } | more  # fmt: skip


def finding(*records: Json, **more: Any) -> Json:
    return {
        "id": "f1", "check": "linearizable", "promise": "linearizable", "promised": False, "kind": "stale",
        "says": "The STATE of u17 is < the READ.", "at_s": 1.0, "conversation": 4, "conversation_id": "d5",
        "user": 16, "user_id": "u17", "age_s": 41.2, "episode": "f1", "in_episode": 29, "also": [],
        "records": list(records),
    } | more  # fmt: skip


STAGES = {"server": 90_000, "wait": 0, "store": 8_100, "cache": 1_200, "queue": 0}
FILLER = record("filler", "STATE", 7, 2.0, 0.1, stages_us=STAGES, session=0x1B, suspects=1)
WRITE = record("write", "READ", 9, 2.04, 0.01)
STALE = record("read", "STATE", 7, 43.25, 0.002, session=0x1C, device=None)
STALE_FILL = finding(FILLER, WRITE, STALE)
SEED = {"part": "write", "op": "seed", "op_id": None, "value": 3}
HELD = {"part": "held", "op": "store", "op_id": None, "value": 2, "at_s": 60.0}
