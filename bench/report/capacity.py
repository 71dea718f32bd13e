"""A capacity study as a document: the answer, the table of all arms, and what not to read into it.  Pure.

From its `comparison.json` alone.  When its timing is not VALID, there is a table and no answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

from bench import alike, drivers
from bench.capacity import content as studies
from bench.capacity import ratios, winners
from bench.capacity.search import DISTURBED, DOWN, FAILS, GENERATOR, HOLDS
from bench.options import CONTROL
from bench.report import figures, wording
from bench.report.document import Document, Table
from bench.report.figures import MISSING
from bench.results import Json

CAVEATS: Final = (
    "Latencies and rates are this machine's; ratios between arms and counts per operation travel further.",
    "Not covered: power loss, replicas, TLS, more than one server node.",
)
STORES: Final = ("mysql", "redis")
BROKER: Final = ("kafka",)
SERVER: Final = ("server", "consumer")
WORK: Final = {
    "per msg: rows written | commits": ("rows", "commits"),
    "  MySQL | Redis commands": ("mysql_round_trips", "redis_commands"),
    "  round trips | records | pushes": ("round_trips", "records", "pushes"),
    "  fsyncs | log | network KiB": ("fsyncs", "log_bytes", "network_bytes"),
}
"""Row of the table -> what it shows of the ledger."""
BADLY: Final = {"no_load": "fails at every load", "every_load": "held everything tried"}


def capacity_document(content: Json) -> Document:
    verdict, arms = content["verdict"], content["arms"]
    names = figures.joined([arm["arm"] for arm in arms])
    return Document(
        title=f"Capacity of {names} in {content['scenario']}",
        first=wording.pin_line({"run": arms[0]["run"]}),
        load=_load(content),
        verdict=(_verdict(content), *verdict["reasons"]),
        good={"VALID": True, "INVALID": False}.get(verdict["status"]),
        answer=_answer(content),
        tables=(_table(content),),
        caveats=(*CAVEATS, *_unfair(content), *_hysteresis(content), *_left_out(content)),
        last=verdict_line(content),
    )


def subtitle(content: Json) -> str:
    known = [len(arm["found"]["blocks"]) for arm in content["arms"] if studies.is_found(arm)]
    least, most = min(known, default=0), max(known, default=0)
    blocks = f"{least}" if least == most else f"{least} to {most}"
    return (
        f"{content['scenario']} · {figures.count(content['users'])} devices · seed {content['seed']} · "
        f"{blocks} blocks per arm · objective: {content['objective']}"
    )


def _load(content: Json) -> tuple[str, ...]:
    loads = [step["load"] for arm in content["arms"] for step in arm["steps"]]
    low, high = min(loads, default=0.0), max(loads, default=0.0)
    direct, group = content["history"]
    services: dict[str, None] = {}
    for arm in content["arms"]:
        services |= dict.fromkeys(wording.service_lines(arm["run"]))
        services |= dict.fromkeys(wording.terms_line(arm["run"]))
    devices = f"{figures.count(content['users'])} devices = {figures.count(content['people'])} people · "
    people = (
        f"{content['scenario']} · {devices if content['intensity_of_one'] else ''}"
        f"{figures.digits(low)} to {figures.digits(high)} {content['unit']}"
        f"{_natural(low, high, content['intensity_of_one'])} · seed {content['seed']} · "
        f"history {direct}/{group}"
    )
    searched = " · ".join(_blocks(arm) for arm in content["arms"])
    return (people, f"objective: {content['objective']}, and no backlog grows · {searched}", *services)


def _natural(low: float, high: float, of_one: float | None) -> str:
    if of_one is None:
        return ""
    return f" (×{figures.digits(low * of_one)} to ×{figures.digits(high * of_one)} natural)"


def _blocks(arm: Json) -> str:
    aside = sum(step["said"] == DISTURBED for step in arm["steps"])
    told = f" ({aside} set aside)" if aside else ""
    return f"{arm['arm']}: {len(arm['found']['blocks'])} blocks, {len(arm['steps'])} steps{told}"


def _verdict(content: Json) -> str:
    verdict, drift = content["verdict"], content["control"]["drift"]
    steps = [step for arm in content["arms"] for step in arm["steps"] if step["said"] in (HOLDS, FAILS)]
    floors = [floor for step in steps if (floor := step["figures"]["resolution_floor_us"]) is not None]
    worst = f"±{figures.duration(max(floors))} (the worst of all steps that held or failed)" if floors else ""
    drifted = "unknown" if drift is None else f"{drift:+.1%}"
    return (
        f"TIMING {verdict['status']} · CORRECTNESS {verdict['correctness']} · control drift {drifted} · "
        f"resolution {worst or 'unknown'}"
    )


def _answer(content: Json) -> tuple[str, ...]:
    """Nothing unless the timing is VALID."""
    if content["verdict"]["status"] != "VALID":
        return ()
    arms = [
        arm for arm in content["arms"] if arm["run"].get("scheme") != CONTROL or len(content["arms"]) == 1
    ]
    said = (arm["sentence"].replace(f" inside {content['objective']}", "") for arm in arms)
    return (f"ANSWER for {content['objective']}", *said, *_ranking(arms))


def _ranking(arms: Sequence[Json]) -> tuple[str, ...]:
    """Arms by capacity, those of one durability class at a time; ≈ between neighbours whose intervals
    overlap.  An order that is another one with the other client library is none."""
    known = sorted((arm for arm in arms if studies.is_found(arm)), key=lambda arm: -arm["found"]["capacity"])
    classes = dict.fromkeys(alike.class_of(arm["run"]) for arm in known)
    said = []
    for class_ in classes:
        among = [arm for arm in known if alike.class_of(arm["run"]) == class_]
        if len(among) > 1:
            which = f" · {wording.class_words(class_)}" if len(classes) > 1 else ""
            said.append(f"{_order_of(among)}{which}")
    return tuple(said)


def _order_of(arms: Sequence[Json]) -> str:
    runs = {arm["arm"]: arm["run"] for arm in arms}
    intervals = {arm["arm"]: arm["found"]["interval"] for arm in arms}

    def below(one: str, other: str) -> bool:
        return bool(intervals[one][1] < intervals[other][0])

    if drivers.flips(runs, below):
        orders = (
            f"with {driver} {_chain([a for a in arms if a['arm'] in drivers.among(runs, driver)])}"
            for driver in drivers.both(runs)
        )
        return f"Order: depends on the client library: {'; '.join(orders)} (≈ not separated)"
    same = ", with either client library" if drivers.both(runs) else ""
    return f"Order: {_chain(arms)} (≈ not separated{same})"


def _chain(arms: Sequence[Json]) -> str:
    said = str(arms[0]["arm"])
    for higher, lower in pairwise(arms):
        apart = higher["found"]["interval"][0] > lower["found"]["interval"][1]
        said += f" {'>' if apart else '≈'} {lower['arm']}"
    return said


def _unfair(content: Json) -> tuple[str, ...]:
    """Arms that are not held to the same are never ranked with each other."""
    classes: dict[str | None, list[str]] = {}
    for arm in content["arms"]:
        if arm["run"].get("scheme") != CONTROL:
            classes.setdefault(alike.class_of(arm["run"]), []).append(arm["arm"])
    if len(classes) < 2:
        return ()
    who = "; ".join(f"{figures.joined(labels)}: {wording.class_words(c)}" for c, labels in classes.items())
    why = "Not ranked with each other, since an ACK outlives different things"
    return (f"{why}. {who}. --durability process or power holds every store to the same.",)


def _left_out(content: Json) -> tuple[str, ...]:
    """Charts that this study cannot have, of those of several arms."""
    if len(content["arms"]) < 2:
        return ()
    charts = {"crossover map": winners.why_not(content), "robustness": ratios.why_not(content)}
    return tuple(f"No chart of {name}: {why}." for name, why in charts.items() if why)


def _hysteresis(content: Json) -> tuple[str, ...]:
    """Loads that held on the way up and not after the overload."""
    told = []
    for arm in content["arms"]:
        down = next((step for step in reversed(arm["steps"]) if step["stage"] == DOWN), None)
        if down is not None and down["said"] == FAILS:
            told.append(
                f"{arm['arm']}: {figures.digits(down['load'])} {content['unit']} held on the way up and not "
                "on the way down: what an overload leaves behind is in the figures after it."
            )
    return tuple(told)


# --- the table ----------------------------------------------------------------------------------------------


def _table(content: Json) -> Table:
    arms, base = content["arms"], f"at {figures.digits(content['base'])} {content['unit']}"
    rows: list[tuple[str, Callable[[Json], str]]] = [
        ("ack means", lambda arm: wording.durability(arm["run"])),
        *_outlives(content),
        (f"capacity inside the objective {content['unit']}", _capacity),
        ("  interval", _interval),
        ("  CPU that all of it uses there, cores", _cores),
        ("  stopped by", _stopped),
        ("  once more at 90 % | 115 %: held", _once_more),
        (f"{base}: READ  p50 | p99 ms", lambda arm: _both(_base(content, arm), "operations", "READ")),
        ("  STATE p50 | p99 ms", lambda arm: _both(_base(content, arm), "operations", "STATE")),
        ("  receipt lag p50 | p99 ms", lambda arm: _both(_base(content, arm), "lag", "receipt")),
        ("badge wrong, message-s per user-hour", lambda arm: _badge(_base(content, arm))),
        ("stale reads per million", lambda arm: _stale(_base(content, arm))),
        ("CPU-s per 1,000 msgs, drained", lambda arm: _cpu(_base(content, arm), (*SERVER, *STORES, *BROKER))),
        ("  Python | stores | broker", lambda arm: _split(_base(content, arm))),
        *((name, _of_ledger(content, *names)) for name, names in WORK.items()),
        ("processes | memory MiB", lambda arm: _memory(_base(content, arm))),
    ]
    return Table(
        "",
        ("", *(arm["arm"] for arm in arms)),
        tuple((name, *(of(arm) for arm in arms)) for name, of in rows),
        f"Latencies are of the first step of each visit, the base load, its middle one of several; {MISSING} "
        "too few samples, or not known. Under the control's line is what the server alone carries. Set aside "
        "are steps in which other machines on the host took CPU: they say nothing, held or not.",
    )


def _base(content: Json, arm: Json) -> Json:
    """The figures at the base load: of several steps the one with the middle READ p99."""
    made = [step for step in arm["steps"] if step["load"] == content["base"]]
    found = [step["figures"] for step in made if step["said"] != DISTURBED]
    found = found or [step["figures"] for step in made]
    known = sorted(found, key=lambda step: _quantile(step, "operations", "READ", "p99") or 0.0)
    whole = [step for step in known if step["badge"]]
    return (whole or known or [{}])[(len(whole or known) - 1) // 2] if known else {}


def _quantile(step: Json, of: str, name: str, level: str) -> float | None:
    entry = (step.get(of) or {}).get(name) or {}
    value = (entry.get("latency_us") or entry.get("quantiles") or {}).get(level)
    return None if value is None else float(value)


def _both(step: Json, of: str, name: str) -> str:
    return " | ".join(figures.ms(_quantile(step, of, name, level)) for level in ("p50", "p99"))


def _capacity(arm: Json) -> str:
    found = arm["found"]
    if found["capacity"] is not None:
        return figures.digits(found["capacity"])
    if found["how"] == GENERATOR and found["held"]:
        return f"≥ {figures.digits(found['held'])}"
    return BADLY.get(found["how"], MISSING)


def _interval(arm: Json) -> str:
    interval = arm["found"]["interval"]
    if not interval:
        return MISSING
    return f"[{figures.digits(interval[0])}, {figures.digits(interval[1])}]"


def _stopped(arm: Json) -> str:
    return "the generator" if arm["found"]["how"] == GENERATOR else arm["found"]["binding"] or MISSING


def _cores(arm: Json) -> str:
    cores = arm["found"].get("cores")
    return MISSING if cores is None else figures.digits(cores)


def _once_more(arm: Json) -> str:
    checks = arm["found"].get("checks") or ()
    return " | ".join(f"{check['held']} of {check['steps']}" for check in checks) or MISSING


def _badge(step: Json) -> str:
    entry = step.get("badge") or {}
    spent = entry.get("error_s_per_user_hour") or {}
    return figures.digits(spent["total"]) if entry.get("available") and "total" in spent else MISSING


def _stale(step: Json) -> str:
    check = next((c for c in step.get("consistency") or () if c["name"] == "linearizable"), None)
    if check is None or not check["eligible"]:
        return MISSING
    if not check["violations"]:
        return f"0 (<{figures.digits(3e6 / check['eligible'], 1)})"
    return figures.digits(1e6 * check["violations"] / check["eligible"])


def _of(step: Json, what: str, names: Sequence[str]) -> list[float]:
    used = step.get(what) or {}
    return [float(used[name]) for name in names if used.get(name) is not None]


def _cpu(step: Json, names: Sequence[str]) -> str:
    used = _of(step, "cpu_s_per_1000_messages", names)
    return figures.digits(sum(used)) if used else "0" if step else MISSING


def _split(step: Json) -> str:
    return " | ".join(_cpu(step, names) for names in (SERVER, STORES, BROKER))


def _outlives(content: Json) -> list[tuple[str, Callable[[Json], str]]]:
    """The durability class of each arm, where it is known of any."""
    if not any(alike.class_of(arm["run"]) for arm in content["arms"]):
        return []
    return [("durability class of it", lambda arm: alike.class_of(arm["run"]) or MISSING)]


def _of_ledger(content: Json, *names: str) -> Callable[[Json], str]:
    return lambda arm: _work(_base(content, arm), *names)


def _work(step: Json, *names: str) -> str:
    """What a message cost, by the step's work ledger."""
    ledger = step.get("ledger")
    if ledger is None:
        return MISSING
    units = ((ledger.get(name), 2**10 if name.endswith("_bytes") else 1) for name in names)
    return " | ".join(MISSING if value is None else figures.digits(value / unit) for value, unit in units)


def _memory(step: Json) -> str:
    used = _of(step, "rss_bytes", (*SERVER, *STORES, *BROKER))
    return f"{len(used)} | {figures.mebibytes(sum(used))}" if used else MISSING


def verdict_line(content: Json) -> str:
    """The last line on stdout: `VERDICT <timing> <correctness> <scheme|all> <scenario> key=value…`."""
    verdict, arms = content["verdict"], content["arms"]
    schemes = {arm["run"].get("scheme", arm["arm"]) for arm in arms}
    which = schemes.pop() if len(schemes) == 1 else "all"
    values = [
        f"capacity[{arm['arm'].replace(' ', ',')}]={arm['found']['capacity']:.4g}"
        for arm in arms
        if arm["found"]["capacity"] is not None
    ]
    values += [f"arms={len(arms)}", f"exit={verdict['exit_code']}"]
    said = f"VERDICT {verdict['status']} {verdict['correctness']} {which} {content['scenario']}"
    return " ".join([said, *values])


def detail_tables(content: Json) -> tuple[Table, ...]:
    """Every step of every arm, in the order in which it was made."""
    return tuple(
        Table(
            f"Steps of {arm['arm']}",
            ("", content["unit"], "said", "of the limit", "READ p99 ms", "receipt lag p99 ms", "because"),
            tuple(_step(number, step) for number, step in enumerate(arm["steps"], start=1)),
        )
        for arm in content["arms"]
    )


def _step(number: int, step: Json) -> tuple[str, ...]:
    stage = f"{step['stage']} {step['block'] + 1}" if step["block"] >= 0 else step["stage"]
    return (
        f"{number} {stage}",
        figures.digits(step["load"]),
        step["said"],
        MISSING if step["share"] is None else f"{step['share']:.2f}",
        figures.ms(_quantile(step["figures"], "operations", "READ", "p99")),
        figures.ms(_quantile(step["figures"], "lag", "receipt", "p99")),
        step["binding"] or step["why"],
    )


def provenance(content: Json) -> tuple[str, ...]:
    return (
        "comparison.json beside this page holds every step with its figures.",
        *(f"Beside it: {study['from']}" for study in content.get("beside") or ()),
        *(f"{arm['arm']}: {', '.join(arm['runs'])}, each step in its steps/" for arm in content["arms"]),
        f"The control: {', '.join(content['control']['runs'])}",
    )
