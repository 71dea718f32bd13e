"""What a study leaves, made up: every block of a cell the same but for a little noise."""

from __future__ import annotations

from typing import Any

from bench.claims.block import Figures

NOISE = (1.0, 1.01, 0.99, 1.02, 0.98, 1.0)
Json = dict[str, Any]


def figures(
    look_ms: float, per_s: float, *, store: float = 0.8, stale: int = 0, mark_ms: float = 3.0
) -> Json:
    """`store`: share of a look that is the stores'."""
    return Figures(
        seconds=1.0,
        requests_per_s=per_s,
        looks=400,
        marks=20,
        look_us=look_ms * 1000,
        look_p99_us=look_ms * 3000,
        service_us=look_ms * 990,
        store_us=look_ms * 1000 * store,
        server_us=look_ms * 900,
        mark_us=mark_ms * 1000,
        errors=0,
        unanswered=0,
        stale=stale,
        late_p99_us=200.0,
        generator_cpu=0.3,
    ).to_dict()


def arm(look_ms: float, per_s: float, **more: Any) -> Json:
    return {"open": figures(look_ms, per_s / 2, **more), "closed": figures(look_ms * 2, per_s, **more)}


def cell(
    db: tuple[float, float],
    redis: tuple[float, float],
    control: tuple[float, float] | None = None,
    *,
    reads_per_mark: float = 19.0,
    history: tuple[int, int] = (5, 20),
    pool: float | None = None,
    blocks: int = 6,
    stale: int = 0,
) -> Json:
    """Each arm: (ms of a look, requests per second)."""
    made = []
    for number, noise in enumerate(NOISE[:blocks]):
        arms = {"db": arm(db[0] * noise, db[1], stale=stale), "redis": arm(redis[0], redis[1] * noise)}
        if control is not None:
            arms["memory"] = arm(*control, store=0.0)
        made.append({"block": number, "order": list(arms), "arms": arms, "why": []})
    return {
        "history": list(history),
        "pool_ratio": pool,
        "reads_per_mark": reads_per_mark,
        "open_per_s": 100.0,
        "cache_hit_ratio": 0.9,
        "blocks": made,
        "void": [],
    }


def burst(
    db_ms: float, queue_ms: float, *, left: Json | None = None, stale: int = 6, blocks: int = 6
) -> Json:
    made = []
    for number, noise in enumerate(NOISE[:blocks]):
        arms = {
            name: {
                "before": figures(1.0, 100.0),
                "burst": figures(2.0, 300.0, mark_ms=ms * noise, stale=stale * (name == "queue")),
                "drain_s": 0.4,
                "left": (left or {}) if name == "queue" else {},
            }
            for name, ms in (("db", db_ms), ("queue", queue_ms / noise))
        }
        made.append({"block": number, "order": ["db", "queue"], "arms": arms})
    return {"reads_per_mark": 1.0, "db_per_s": 400.0, "blocks": made}


def content(*cells: Json, burst: Json | None = None, **more: Any) -> Json:
    pace = {"blocks": 6, "open_s": 1.2, "closed_s": 1.0, "load": 0.5, "at_once": 16}
    return {
        "started_at": "2026-01-01T00:00:00+00:00",
        "duration_s": 600.0,
        "interrupted": False,
        "seed": 1,
        "users": 300,
        "people": 300,
        "pace": pace,
        "machine": {"cpu": "a CPU", "cores": 2},
        "places": {},
        "cells": list(cells),
        "burst": burst or {},
        "left_out": [],
    } | more
