"""The words about a run that stand above every figure: who ran where, under what load, and what an ACK means.

Pure; from `summary.json` and the manifest.  What is not known is said to be not known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from bench import alike
from bench.report import figures
from bench.results import Json

ACK_MEANS: Final = {
    "durable": "on disk",
    "cached": "in Redis",
    "queued": "in the broker",
    "volatile": "nothing kept",
}
NOT_FLUSHED: Final = {"durable": "written, not flushed", "queued": "in the broker, not flushed"}
"""The same where a store of the run's has not asked its disk to flush by then."""
CLASSES: Final = {
    "none": "class none, nothing is kept",
    "process": "class process, the store's process may be killed",
    "power": "class power, the disk was asked to flush (whether it did is not known)",
}
LAGS: Final = {
    "receipt": "L3 receipt: READ written → UPDATE at the sender",
    "own_device": "L2 own device: READ written → UPDATE at own other devices",
    "visible": "L4 visible: ACK → a STATE elsewhere shows it (probes)",
    "durable": "L5 durable: ACK → MySQL has it (probes)",
    "cache": "L6 cache: MySQL has it → Redis has it, or no entry (probes)",
    "queue": "L7 queue: produced → applied by the consumer",
    "message": "message: SEND written → MESSAGE at members' devices",
    "ack": "L1 acknowledged: READ written → ACK",
}
"""Lags that have a panel, in their order; name in `summary.lag` -> title."""
NEVER_FLUSHED: Final = str(2**63 - 1)
FLUSHES: Final = ("flush.messages", "log.flush.interval.messages")
"""Of the topic, which counts, and of the broker."""
SETTINGS: Final = {
    "mysql": (
        "innodb_flush_log_at_trx_commit",
        "sync_binlog",
        "log_bin",
        "transaction_isolation",
        "innodb_buffer_pool_size",
    ),
    "redis": ("save", "appendonly", "appendfsync", "maxmemory-policy"),
    "kafka": ("default.replication.factor", "min.insync.replicas", *FLUSHES, "heap"),
}
"""What decides about durability and speed, in the order in which it is said."""


def pin_line(manifest: Json) -> str:
    """Which core ran what: the first line of everything."""
    pinned = (manifest.get("run") or {}).get("pinned")
    if pinned in (None, "none"):
        return "Cores: generator and everything under test share all cores (not pinned)"
    return f"Cores: {pinned}"


def load_line(summary: Json, manifest: Json) -> str:
    run, load = summary["run"], summary["load"]
    parts = [
        run["scenario"],
        f"{figures.count(run.get('users'))} devices = {figures.count(run.get('people'))} people",
        f"{figures.rate(load.get('send_per_s_asked'))} SEND/s asked{_intensity(run)}",
        f"{measured_s(manifest):g} s measured",
        f"seed {run.get('seed')}",
    ]
    if run.get("history"):
        parts.append(f"history {run['history']['direct']}/{run['history']['group']}")
    return " · ".join(parts)


def _intensity(run: Json) -> str:
    return f" (×{figures.digits(run['intensity'])} natural)" if run.get("intensity") else ""


def measured_s(manifest: Json) -> float:
    """Seconds of the measured window; 0 if the run never got there."""
    window = manifest.get("window") or {}
    if not window.get("measure_end"):
        return 0.0
    seconds: float = round((window["measure_end"] - window["measure"]) / 1e9, 3)
    return seconds


def ack_line(run: Json) -> str:
    ack = run.get("ack") or {}
    said = [f"{operation.upper()} {_means(run, what)}" for operation, what in ack.items()]
    return f"An ACK means: {', '.join(said)}" if said else "An ACK means: not declared"


def durability(run: Json) -> str:
    """The ACK of a READ in a few words, for subtitles and column heads."""
    return _means(run, (run.get("ack") or {}).get("read") or "not declared")


def _means(run: Json, ack: str) -> str:
    if ack in NOT_FLUSHED and alike.class_of(run) == "process" and not _is_flushed(run, ack):
        return NOT_FLUSHED[ack]
    return ACK_MEANS.get(ack, ack)


def _is_flushed(run: Json, ack: str) -> bool:
    """Whether the store that this word speaks of has flushed, though another has not."""
    stores = run["durability"]["stores"]
    return bool(stores.get("kafka" if ack == "queued" else "mysql") == "power")


def class_words(class_: str | None) -> str:
    return CLASSES.get(class_ or "", "durability class not known")


def terms_line(run: Json) -> list[str]:
    """Durability, distance and the buffer pool: what the stores were held to."""
    if not run.get("durability"):
        return []
    durable, pool = run["durability"], run.get("pool") or {}
    each = ", ".join(f"{name} {class_ or 'unknown'}" for name, class_ in durable["stores"].items())
    held = f"; {each}" if each else ""
    rests = " and ".join(durable["rests_on"]) or "no store"
    parts = [
        f"--durability {durable['asked']}: {class_words(durable['class'])} (an ACK rests on {rests}{held})",
        f"{run['store_rtt_ms']:g} ms made up to each store and back" if run.get("store_rtt_ms") else "",
        f"buffer pool {pool['ratio']:g} x the data" if pool.get("ratio") else "",
    ]
    return [f"Terms: {' · '.join(part for part in parts if part)}"]


def service_lines(run: Json) -> list[str]:
    """Per service: engine, version, how it came to be there, and the settings that matter."""
    services: Mapping[str, Json] = run.get("services") or {}
    driver = {"mysql": run.get("mysql_driver")}
    lines = []
    for name, service in services.items():
        settings = service.get("settings") or {}
        hidden = FLUSHES[1:] if FLUSHES[0] in settings else ()
        shown = [key for key in SETTINGS.get(name, ()) if key in settings and key not in hidden]
        told = [_setting(key, settings[key]) for key in shown]
        via = [f"driver {driver[name]}"] if driver.get(name) else []
        engine = service.get("engine") or name
        which = f"{engine} {service.get('version')} ({service.get('how')})"
        lines.append(f"{which}: {', '.join(via + told) or 'settings not recorded'}")
    return lines


def _setting(name: str, value: str) -> str:
    if name in FLUSHES and value == NEVER_FLUSHED:
        return "no forced flush"
    return f"{name}={value}"


BACKLOGS: Final = {
    "queue_events": ("events in the queue", figures.count),
    "outbox_rows": ("rows in the outbox", figures.count),
    "dirty_bytes": ("dirty pages MiB", figures.mebibytes),
    "redo_age_bytes": ("redo not checkpointed MiB", figures.mebibytes),
}
"""Name in `summary.debt.backlogs` -> what it is called, how it is written."""


def debt_line(summary: Json) -> list[str]:
    """What was postponed: at the start of the window → at its end."""
    debt = summary.get("debt") or {}
    parts = []
    for name, backlog in (debt.get("backlogs") or {}).items():
        what, written = BACKLOGS[name]
        before, end = (figures.MISSING if v is None else written(v) for v in _ends(backlog))
        parts.append(f"{what} {before} → {end}")
    parts += [f"{name} {n}" for name, n in (debt.get("pending_at_end") or {}).items() if n]
    pool = summary.get("pool") or {}
    if pool.get("miss_share") is not None:
        parts.append(
            f"pool misses {figures.count(pool['misses'])} ({figures.percent(pool['miss_share'], 2)})"
        )
    return [f"Postponed (start → end of the window): {', '.join(parts)}"] if parts else []


def _ends(backlog: Json) -> tuple[float | None, float | None]:
    return backlog["before"], backlog["at_end"]


def disk_line(machine: Json) -> list[str]:
    """What the disk under the services costs, where it was measured."""
    disk = machine.get("disk")
    if not disk:
        return []
    sync, read = disk["fdatasync_us"], disk["direct_read_us"]
    parts = [
        f"fdatasync p50 {figures.duration(sync['p50'])}, p99 {figures.duration(sync['p99'])}" if sync else "",
        f"16 KiB direct read p50 {figures.duration(read['p50'])}" if read else "",
        "honoured by the host: unknown",
    ]
    return [f"Disk of {disk['folder']} ({disk['filesystem']}): {', '.join(part for part in parts if part)}"]


def not_available_lines(summary: Json) -> list[str]:
    """What the control door was not there to be asked, by reason, and what is not known for want of it."""
    by_reason: dict[str, list[str]] = {}
    for request, why in (summary.get("not_available") or {}).items():
        by_reason.setdefault(why, []).append(request)
    lines = [f"Not available on /control: {', '.join(names)} ({why})" for why, names in by_reason.items()]
    if "DUMP" in summary.get("not_available", ()):
        lines.append("What was acknowledged is held against what the API shows at the end, not a store")
    if summary["run"].get("url") and "server" not in summary["resources"]:
        lines.append("CPU and memory of the server: not available (no --server-pid was given)")
    return lines


def server_line(run: Json) -> list[str]:
    """A server of somebody else's: where it is and what it calls itself."""
    if not run.get("url"):
        return []
    server = run.get("server") or {}
    said = [str(server[name]) for name in ("name", "version") if server.get(name)]
    return [f"Server: {run['url']}, {' '.join(said) or 'which says no name'}; caps {_caps(run)}"]


def _caps(run: Json) -> str:
    return ", ".join(map(str, run.get("caps") or ())) or "none"


def causes_line(manifest: Json) -> str:
    """One message causes …"""
    causes = (manifest.get("load") or {}).get("causes")
    if not causes:
        return f"One message causes: {figures.unavailable('the manifest has no such table')}"
    said = [f"{figures.digits(value)} {name}" for name, value in causes.items()]
    return f"One message causes, on average: {', '.join(said)}"


def subtitle(summaries: Sequence[Json], manifests: Sequence[Json], *, blocks: int = 1) -> str:
    """Load, blocks and durability, below every chart's title.  n stands on the panels."""
    run = summaries[0]["run"]
    load = summaries[0]["load"]
    acks = sorted({durability(summary["run"]) for summary in summaries})
    window = f"{measured_s(manifests[0]):g} s"
    parts = [
        f"{run['scenario']}, {figures.rate(load.get('send_per_s_asked'))} SEND/s{_intensity(run)}",
        f"{figures.count(run.get('users'))} devices = {figures.count(run.get('people'))} people",
        f"{blocks} block{'s' if blocks != 1 else ''} of {window}",
        f"a READ's ACK means: {' / '.join(acks)}",
    ]
    timing = worst_timing(summaries)
    if timing != "VALID":
        parts.append(f"TIMING {timing}")
    return " · ".join(parts)


def worst_timing(summaries: Sequence[Json]) -> str:
    seen = {summary["verdict"]["status"] for summary in summaries}
    return next((status for status in ("INVALID", "INCONCLUSIVE") if status in seen), "VALID")


def worst_correctness(summaries: Sequence[Json]) -> str:
    seen = {correctness(summary) for summary in summaries}
    return next((status for status in ("FAIL", "UNKNOWN") if status in seen), "PASS")


def correctness(summary: Json) -> str:
    """PASS, FAIL or UNKNOWN."""
    verdict = summary["verdict"]
    return str(verdict.get("correctness", "UNKNOWN"))


def reason(of: Json) -> str:
    """A guard's or a condition's objection: WARN cpu_steal: …"""
    how = str(of.get("verdict") or "").upper()
    return f"{how} {of['guard']}: {of['message']}".lstrip()
