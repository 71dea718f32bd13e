"""What a run says of itself: `manifest.json`, from what was asked for and what became known on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import schemes
from bench import machine, machine_state, results
from bench import plan as planning
from bench.load.fleet import Live
from bench.options import Arm, RunOptions, Target
from bench.services.terms import Terms, classed
from schemes import SCHEMES

if TYPE_CHECKING:
    from bench.runner import Load


@dataclass
class Facts:
    """What becomes known while the run goes on, for the manifest."""

    window: dict[str, int] = field(default_factory=dict)
    deaths: list[dict[str, Any]] = field(default_factory=list)
    drained: bool | None = None
    final: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    clock: dict[str, int] = field(default_factory=dict)
    services: dict[str, Any] = field(default_factory=dict)
    commands: dict[str, list[str]] = field(default_factory=dict)
    server: dict[str, Any] = field(default_factory=dict)
    ledger: dict[str, Any] = field(default_factory=dict)
    """What stores and server had done, by moment (`bench/metrics/ledger.py`)."""
    welcome: dict[str, Any] = field(default_factory=dict)
    """What a server that runs already says of itself; empty for our own."""
    not_available: dict[str, str] = field(default_factory=dict)
    live: dict[str, Any] = field(default_factory=dict)
    """What the live checks counted; nothing where a load process was lost."""
    repeat: dict[str, Any] = field(default_factory=dict)
    """Its turn among the runs of its command (`bench/turns.py`)."""
    terms: dict[str, Any] = field(default_factory=dict)
    """Of our own stores: how durable an ACK is, how far away they are, how much they hold in memory."""
    ceilings: dict[str, Any] | None = None
    """What `bench calibrate` found for this machine and these versions."""
    disk: dict[str, Any] | None = None
    """What the disk under the services costs."""
    started_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat())
    pinned: str = "nobody is bound to a core"
    watched: list[dict[str, Any]] = field(default_factory=list)
    services_seen: dict[str, Any] = field(default_factory=dict)


def of(
    run_id: str, arm: Arm, load: Load, options: RunOptions, facts: Facts, ended: Mapping[str, str]
) -> dict[str, Any]:
    """The whole manifest; `ended` as in `bench/results.py`."""
    population, rate = load.population, load.plan.options.rate_per_s
    needs = SCHEMES[arm.scheme].needs if options.target is None else frozenset[str]()
    services = {
        name: {"engine": s["engine"], "version": s["version"], "how": s["how"], "settings": s["settings"]}
        for name, s in facts.services.items()
    }
    return {
        "tool": results.TOOL,
        "tool_version": schemes.__version__,
        "run_id": run_id,
        "command": options.command,
        "label": options.label,
        "started_at": facts.started_at,
        "ended": dict(ended),
        "plan_sha256": load.plan.sha256,
        "repeat": facts.repeat,
        "run": {
            "scheme": arm.scheme,
            "arm": arm.name,
            "variant": None,
            "queue_order": arm.options.get("queue-order"),
            "scenario": options.scenario,
            "users": options.users,
            "people": population.people,
            "devices_per_person": options.users / population.connected,
            "intensity": planning.intensity_of_rate(rate, population.connected),
            "seed": options.seed,
            "nodes": 1,
            "mysql_driver": arm.driver_of(options) if "mysql" in needs else None,
            "services": services,
            "options": dict(arm.options),
            **said_of_the_server(arm, options.target, facts.welcome),
            "workers": options.workers,
            "probe_users": {
                "users": len(load.probe_users.devices),
                "worker": options.workers,
                "planned_share": round(load.probe_users.planned_share, 6),
            },
            "history": {"direct": options.history[0], "group": options.history[1]},
            "cache": options.cache if "redis" in needs else None,
            "attention_factor": load.plan.options.attention_factor,
            "pinned": facts.pinned,
            "left_out": list(options.leave_out) or None,
            **facts.terms,
        },
        "load": {
            "send_per_s": rate,
            "planned": load.plan.count,
            "connections_asked": options.users,
            "causes": vars(planning.causes(population, load.plan, options.delivered_window_s)),
            "delivered_window_s": options.delivered_window_s,
            "arrivals": options.arrivals,
        },
        "window": facts.window,
        "clock": facts.clock,
        "rows": facts.rows,
        "deaths": facts.deaths,
        "drained": facts.drained,
        "final": facts.final,
        "fail_if": list(options.fail_if),
        "fail_fast": options.fail_fast,
        "live": facts.live,
        "seconds": facts.seconds,
        "server": facts.server,
        "ledger": facts.ledger,
        "watched": facts.watched,
        "services_seen": facts.services_seen,
        "limits": {"ports": machine_state.ports()},
        "not_available": facts.not_available,
        "commands": facts.commands,
        "ceilings": facts.ceilings,
        "machine": machine.describe() | {"disk": facts.disk},
    }


def terms(
    options: RunOptions, agreed: Terms, settings: Mapping[str, Mapping[str, str]], data_bytes: int | None
) -> dict[str, Any]:
    """The terms of a run, from what its running stores say of themselves (name -> settings)."""
    durable, stores = classed(settings, agreed.rests_on)
    pool = settings.get("mysql", {}).get("innodb_buffer_pool_size")
    pool_bytes = int(pool) if pool is not None and pool.isdecimal() else None
    return {
        "durability": {
            "asked": options.durability,
            "class": durable,
            "rests_on": sorted(agreed.rests_on),
            "stores": stores,
        },
        "store_rtt_ms": options.store_rtt_ms,
        "pool": {
            "ratio_asked": options.pool_ratio,
            "pool_bytes": pool_bytes,
            "data_bytes": data_bytes,
            "ratio": round(pool_bytes / data_bytes, 4) if pool_bytes and data_bytes else None,
        },
    }


def said_of_the_server(arm: Arm, target: Target | None, welcome: Mapping[str, Any]) -> dict[str, Any]:
    """What it is and promises: a scheme by its descriptor, a server of somebody else's by its WELCOME."""
    if target is not None:
        return _said_in_welcome(welcome, target)
    scheme = SCHEMES[arm.scheme]
    queued = arm.options.get("queue-order") == "queue_first"
    ack = "durable" if scheme.needs else "volatile"
    return {
        "model": arm.options.get("model"),
        "promises": list(scheme.promised(arm.options)),
        "ack": {"send": ack, "read": "queued" if queued else ack},
        "receipt_members": schemes.protocol.Limits().receipt_members,
    }


def _said_in_welcome(welcome: Mapping[str, Any], target: Target) -> dict[str, Any]:
    """What it leaves out is not known, and the protocol's default where there is one."""
    parts = (welcome.get(name) for name in ("server", "ack", "limits"))
    server, ack, limits = (part if isinstance(part, dict) else {} for part in parts)
    members, caps, model = limits.get("receipt_members"), welcome.get("caps"), server.get("model")
    durable = ["durable"] if ack.get("send") == "durable" else []
    return {
        "url": target.url,
        "server": {name: server.get(name) for name in ("name", "scheme", "version")},
        "caps": caps if isinstance(caps, list) else None,
        "model": model if model != "none" else None,
        "promises": [*durable, *target.promises],
        "ack": {name: ack[name] for name in ("send", "read") if isinstance(ack.get(name), str)},
        "receipt_members": members if isinstance(members, int) else schemes.protocol.Limits().receipt_members,
    }


def counted(live: Live) -> dict[str, Any]:
    """What the live checks counted of all that was recorded."""
    gaps = {"eligible": None, "violations": live.counters.get("gaps", 0), "first": None}
    return {name: asdict(count) for name, count in live.checks.items()} | {"push_gaps": gaps}
