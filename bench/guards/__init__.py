"""May this run be believed?  Every caveat, its threshold and its advice, in one place.  Pure.

A guard looks at the figures of a summary and says `ok`, `warn` (told, changes nothing), `inconclusive`,
`invalid`, or `unknown` where they are not in it; the worst of them is the timing verdict.  Whether promises
were kept is another verdict, the checks'.  Both, and the conditions of `--fail-if`, decide the exit code.

Guards of the machine and the services are in `machine.py`, of every process in `processes.py`, of the state
that was measured in `steady.py`; those of load, record and generator are here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Final

from bench.expressions import Condition, UndecidedError
from bench.guards import machine, processes, steady
from bench.guards.guard import INCONCLUSIVE, INVALID, OK, UNKNOWN, WARN, Guard
from bench.results import Json

__all__ = ["GUARDS", "INCONCLUSIVE", "INVALID", "OK", "UNKNOWN", "WARN", "Guard", "look", "verdict"]

EXIT_OK: Final = 0
EXIT_INTERNAL_ERROR: Final = 1
EXIT_NOT_STARTED: Final = 3
EXIT_INVALID: Final = 4
EXIT_INCONCLUSIVE: Final = 5
EXIT_THRESHOLD: Final = 10
EXIT_VIOLATION: Final = 12
EXIT_INTERRUPTED: Final = 130

BEFORE_MEASURING: Final = frozenset({"setup", "connect", "warmup"})
HELD_SHARE: Final = 0.99
ACHIEVED_SHARE: Final = 0.99
OUTCOME_SHARE: Final = 0.999
NOT_CARRIED: Final = 0.05
NOT_CARRIED_WARN: Final = 0.01
FLOOR_US: Final = 5_000
GROWTH: Final = 2.0
GROWTH_US: Final = 1_000
GROWTH_SHARE: Final = 0.25
"""Send lag grows if its p99 at least doubles over the window by more than this, in both halves of it, and its
p50 doubles too: who falls behind is late with everything, and a p99 alone doubles by chance."""
CPU_WARN: Final = 0.70
CPU_VOID: Final = 0.90
LEDGER_SHARE: Final = 0.01
"""How far a counter of a store may be from what the scheme declares."""
PROBES_APART_US: Final = 5_000
"""Between the p99 of probe users and load users: what a gap of a busy event loop is, elsewhere.  A smaller
one is stated (`bench/metrics/headline.py`), and the headline is the probe users' anyway."""
PROBES_BUSY: Final = 0.20
"""Of a core; busier, the probe users' process waits for itself."""
SAMPLES: Final = 100
SAMPLES_P99: Final = 1_000


def _ended(summary: Json) -> Guard:
    ended = summary["ended"]
    bad = ended["how"] != "finished"
    said = f"the run ended in {ended['phase']}: {ended['message'] or ended['how']}" if bad else "it finished"
    how = INCONCLUSIVE if ended["how"] == "interrupted" else INVALID
    advice = "What was recorded until then is in the folder; logs/ may say more."
    return Guard("finished", how if bad else OK, None, None, said, advice)


def _alive(summary: Json) -> Guard:
    deaths = summary["deaths"]
    told = [death["message"] for death in deaths]
    return Guard(
        "everything_alive",
        INVALID if deaths else OK,
        len(deaths),
        0,
        "; ".join(told) or "nothing died",
        "See its file in logs/ for its last words.",
    )


def _measured(summary: Json) -> Guard:
    count = sum(figures["count"] for figures in summary["operations"].values())
    return Guard(
        "something_measured",
        OK if count else INVALID,
        count,
        1,
        f"{count} operations were sent in the measured window",
        "The run ended before it measured, or its plan is empty: raise --rate or --duration.",
    )


def _connections(summary: Json) -> Guard:
    asked, held = summary["load"]["connections_asked"], summary["load"]["connections_held"]
    share = held / asked if asked else 0.0
    return Guard(
        "connections_held",
        _by(share < HELD_SHARE, share < 1),
        held,
        asked,
        f"{held} of {asked} connections were held through the measured window; "
        f"closes: {summary['load']['closes'] or 'none'}",
        "Fewer users were connected than the title says. See logs/server.log for why sessions were closed.",
    )


def _achieved(summary: Json) -> Guard:
    worst = summary["load"]["worst_step"]
    if worst is None:
        return Guard("offered_achieved", OK, None, ACHIEVED_SHARE, "nothing was offered", "")
    share = worst["achieved_share"]
    held = summary["load"].get("held_back") or {"count": 0}
    limit = (
        f"; {held['count']} waited up to {held['us_max'] / 1e6:.2f} s for an answer to the one before, since "
        "arrivals are closed: there the system was the limit"
        if held["count"]
        else ""
    )
    return Guard(
        "offered_achieved",
        _by(share < ACHIEVED_SHARE),
        share,
        ACHIEVED_SHARE,
        f"in the worst 10 s (from {worst['at_s']} s) {worst['achieved']} of {worst['offered']} planned "
        f"operations were sent{limit}",
        "The load was not what the plan says: lower --rate, or give the generator more --workers or cores.",
    )


def _carried(summary: Json) -> Guard:
    """An overloaded system is measured as it is, but it is not the load that the title names."""
    operations = summary["operations"].values()
    never_due = summary["load"]["never_due"]
    bad = sum(figures["fail"] + figures["info"] for figures in operations)
    wanted = sum(figures["count"] for figures in operations) + never_due
    share = (bad + never_due) / wanted if wanted else 0.0
    return Guard(
        "load_carried",
        INCONCLUSIVE if share > NOT_CARRIED else WARN if share > NOT_CARRIED_WARN else OK,
        round(share, 6),
        NOT_CARRIED if share > NOT_CARRIED else NOT_CARRIED_WARN,
        f"{bad} operations were refused or never answered, and {never_due} never fell due because their "
        f"message did not come: {share:.1%}",
        "The system did not carry this load: these are figures of an overload. Lower --rate, or see logs/.",
    )


def _outcomes(summary: Json) -> Guard:
    share = summary["load"]["outcome_complete_share"]
    return Guard(
        "outcomes_complete",
        _by(share is not None and share < OUTCOME_SHARE),
        share,
        OUTCOME_SHARE,
        f"{summary['load']['with_one_outcome']} of {summary['load']['planned']} planned operations have "
        "exactly one outcome",
        "Some planned operations were never carried out or recorded: the generator stood still or lost rows.",
    )


def _record(summary: Json) -> Guard:
    record = summary["record"]
    return Guard(
        "record_complete",
        _by(bool(record["problem_count"])),
        record["problem_count"],
        0,
        "; ".join(record["problems"]) or "every row is there once, and possible",
        "Part of what happened is unknown, so that no check can pass. Was the disk or /dev/shm full?",
    )


def _live(summary: Json) -> Guard:
    """Both counts are of the same rows, so a difference is a bug of recorder or check."""
    counts = summary["live"]
    whole = not summary["record"]["problem_count"] and summary["ended"]["how"] in ("finished", "violation")
    differ = [count for count in counts if count["agrees"] is False] if whole else []
    told = [
        f"{c['check']}: {c['live']['violations']} of {c['live']['eligible']} while it ran, "
        f"{c['offline']['violations']} of {c['offline']['eligible']} in the record"
        for c in differ
    ]
    return Guard(
        "live_agrees",
        _by(bool(differ)),
        len(differ),
        0,
        "; ".join(told)
        or ("what was counted live is in the record" if counts and whole else "there is nothing to compare"),
        "The recorder or a check is wrong: keep the folder and report it; no figure of this run is safe.",
    )


def _floor(summary: Json) -> Guard:
    floor = summary["generator"]["resolution_floor_us"]
    return Guard(
        "send_lag",
        _by(floor is not None and floor > FLOOR_US),
        floor,
        FLOOR_US,
        "operations were sent late by a p99 of "
        + ("an unknown time" if floor is None else f"{floor / 1000:.2f} ms"),
        "The generator's own delay is in every figure: lower --rate, add --workers, or quiet the machine.",
    )


def _growing(summary: Json) -> Guard:
    thirds = summary["generator"]["send_lag_by_third_us"]
    known = None not in (*thirds["p50"], *thirds["p99"])
    first, middle, last = map(float, thirds["p99"]) if known else (0.0, 0.0, 0.0)
    grown = last - first
    steady = min(middle - first, last - middle) < GROWTH_SHARE * grown
    of_all = known and thirds["p50"][2] > GROWTH * thirds["p50"][0]
    return Guard(
        "send_lag_steady",
        _by(grown > GROWTH_US and last > GROWTH * first and of_all and not steady),
        grown if known else None,
        GROWTH_US,
        "send lag over the thirds of the window: "
        + "; ".join(f"{q} {', '.join(map(str, of))} us" for q, of in thirds.items()),
        "The generator fell further and further behind: the offered load is above what it can send.",
    )


def _generator_cpu(summary: Json) -> Guard:
    busiest = max(summary["generator"]["cpu_cores_by_worker"], default=None)
    used = float(busiest or 0)
    told = (
        "its CPU was not sampled" if busiest is None else f"the busiest load worker used {used:.0%} of a core"
    )
    return Guard(
        "generator_cpu",
        _by(used >= CPU_VOID, used >= CPU_WARN),
        busiest,
        CPU_VOID if used >= CPU_VOID else CPU_WARN,
        told,
        "A busy generator measures itself: add --workers, or lower --rate.",
    )


def _ceiling(summary: Json) -> Guard:
    """What the generator can carry is known from `bench calibrate`; near it, it measures itself."""
    near = ((summary.get("ceilings") or {}).get("near") or {}).get("generator_mixed")
    if near is None:
        told = "what the generator can carry on this machine was not measured: bench calibrate"
        return Guard("generator_ceiling", OK, None, CPU_WARN, told, "")
    share = near["share"]
    return Guard(
        "generator_ceiling",
        _by(share > CPU_VOID, share > CPU_WARN),
        share,
        CPU_VOID if share > CPU_VOID else CPU_WARN,
        f"{near['used_per_s']:.0f} operations/s are {share:.0%} of the {near['ceiling_per_s']:.0f} that the "
        "generator can carry here",
        "Near its own limit the generator measures itself: lower --rate, or add --workers and cores.",
    )


def _probe_users(summary: Json) -> Guard:
    probes = summary["probe_users"]
    if not probes:
        told = "there were no probe users: they are a tenth of the users, if there are ten"
        return Guard("probe_users", OK, None, PROBES_BUSY, told, "")
    used = probes["cpu_cores"]
    unstamped = bool(probes["operations"]) and not probes["stamps"]["clean"]
    busy = "its CPU was not sampled" if used is None else f"it used {used:.0%} of a core"
    return Guard(
        "probe_users",
        _by(False, unstamped or float(used or 0) > PROBES_BUSY),
        used,
        PROBES_BUSY,
        f"{probes['users']} probe users in a process of their own, {_share(probes)} of the load: {busy}"
        + (", and the kernel stamped none of its replies" if unstamped else ""),
        "A busy process is late to send, and without the kernel's stamps late to notice: lower --rate, or "
        "quiet the machine.",
    )


def _share(probes: Json) -> str:
    share = probes["load_share"]
    return "an unknown share" if share is None else f"{share:.1%}"


def _cross_check(summary: Json) -> Guard:
    """Two instruments, one system: where they differ by more than chance, what differs is theirs."""
    lags = {f"lag.{name}": entry for name, entry in summary["lag"].items()}
    checked = {
        name: entry
        for name, entry in (summary["operations"] | lags).items()
        if (entry.get("cross_check") or {}).get("p99_apart") is not None
    }
    apart = {name: entry for name, entry in checked.items() if entry["cross_check"]["p99_apart"]}
    gaps = [abs(entry["cross_check"]["p99_gap_us"]) for entry in checked.values()]
    sure = [entry["cross_check"] for entry in apart.values() if not entry["cross_check"]["maybe_chance"]]
    agree = (
        f"p99 of probe users and load users agree in all {len(checked)} figures with enough samples of both"
    )
    return Guard(
        "probe_users_agree",
        _by(False, any(abs(other["p99_gap_us"]) > PROBES_APART_US for other in sure)),
        max(gaps, default=None),
        PROBES_APART_US,
        f"p99 is not what the others' is: {'; '.join(map(_apart, apart, apart.values()))}"
        if apart
        else agree,
        "Trust the probe users' figures: load users are timed late by a busy process (add --workers, lower "
        "--rate). What may be chance needs a longer run to tell.",
    )


def _apart(name: str, entry: Json) -> str:
    q = entry["latency_us"] if "latency_us" in entry else entry["quantiles"]
    other = entry["cross_check"]
    chance = ", may be chance" if other["maybe_chance"] else ""
    theirs = (q["p99"] - other["p99_gap_us"]) / 1000
    return f"{name} {q['p99'] / 1000:.2f} ms ({entry['from']}), {theirs:.2f} ms ({other['from']}{chance})"


def _internal_errors(summary: Json) -> Guard:
    count = sum(figures["errors"].get("INTERNAL", 0) for figures in summary["operations"].values())
    return Guard(
        "internal_errors",
        _by(count > 0),
        count,
        0,
        f"{count} operations were answered with INTERNAL",
        "A bug in the server: see the tracebacks in logs/server.log.",
    )


def _drained(summary: Json) -> Guard:
    drained = summary["drained"]
    told = {
        None: f"whether anything was on its way is not known{_why_not(summary, 'DRAIN')}",
        False: "something was still on its way when the drain ended",
        True: "nothing was on its way",
    }
    return Guard(
        "drained",
        WARN if drained is False else OK,
        None if drained is None else float(drained),
        1,
        told[drained],
        "What counts as undelivered may only have been late: the load is above what the scheme can carry.",
    )


def _why_not(summary: Json, request: str) -> str:
    """Why the control door could not be asked; empty where it could."""
    why = (summary.get("not_available") or {}).get(request)
    return f" ({request}: {why})" if why else ""


def _final_read(summary: Json) -> Guard:
    checks = summary["consistency"]["checks"]
    bad = [c for c in checks if c["promised"] and c["verdict"] == "fail"]
    unknown = [c for c in checks if c["promised"] and c["verdict"] == "unknown"]
    told = [f"{c['name']}: {c['violations']} of {c['eligible']}" for c in bad]
    told += [f"{c['name']}: {c['unknown_because']}" for c in unknown]
    source = "the API shows" if _why_not(summary, "DUMP") else "the store holds"
    return Guard(
        "final_read",
        WARN if bad or unknown else OK,
        sum(c["violations"] for c in bad),
        0,
        "; ".join(told) or f"{source} what was acknowledged",
        "bench explain RUN tells each case, with the operations that show it.",
    )


def _samples(summary: Json) -> Guard:
    counts = {
        name: summary["operations"][name]["latency_us"]["n"]
        for name in ("SEND", "READ")
        if name in summary["operations"]
    }
    name, n = min(counts.items(), key=lambda pair: pair[1], default=("any operation", 0))
    verdict = INCONCLUSIVE if n < SAMPLES else WARN if n < SAMPLES_P99 else OK
    return Guard(
        "enough_samples",
        verdict,
        n,
        SAMPLES if n < SAMPLES else SAMPLES_P99,
        f"{n} samples of {name}",
        f"A p99 needs {SAMPLES} samples to be shown, {SAMPLES_P99} to compare: raise --duration or --rate.",
    )


def _work_ledger(summary: Json) -> Guard:
    ledger = summary["ledger"]
    tolerance = LEDGER_SHARE
    if not ledger["available"]:
        told = f"what the stores did was not held against the declaration: {ledger['why_not']}"
        return Guard("work_ledger", OK, None, tolerance, told, "")
    wrong = sorted((row for row in ledger["rows"] if row["off"] > tolerance), key=lambda row: -row["off"])
    told = f"all {len(ledger['rows'])} counters are as declared"
    if wrong:
        worst = wrong[0]
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        told = f"{worst['counter']}: declared {_declared(worst)}, counted {worst['counted']:.0f}{more}"
    return Guard(
        "work_ledger",
        _by(bool(wrong)),
        max((row["off"] for row in ledger["rows"]), default=0.0),
        tolerance,
        told,
        "The scheme does less or more than its ledger declares, which bench statements SCHEME shows, or "
        "somebody else uses its stores.",
    )


def _declared(row: Json) -> str:
    low, high = row["at_least"], row["at_most"]
    return f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"


GUARDS: Final[tuple[Callable[[Json], Guard], ...]] = (
    _ended,
    _alive,
    _measured,
    _connections,
    _achieved,
    _carried,
    _outcomes,
    _record,
    _live,
    _floor,
    _growing,
    _generator_cpu,
    _ceiling,
    _probe_users,
    _cross_check,
    _internal_errors,
    _drained,
    _final_read,
    _samples,
    _work_ledger,
    *processes.GUARDS,
    *machine.GUARDS,
    *steady.GUARDS,
)


def _by(invalid: bool, warn: bool = False) -> str:
    return INVALID if invalid else WARN if warn else OK


def look(summary: Json) -> list[Guard]:
    """What every guard says of these figures."""
    return [guard(summary) for guard in GUARDS]


# --- verdicts ---------------------------------------------------------------------------------------------


def verdict(summary: Json, guards: Sequence[Guard], conditions: Sequence[Condition]) -> Json:
    """`verdict` of `summary.json`: timing (`status`), correctness, what they come to, and every reason.

    `thresholds` has each condition of --fail-if, its value, and whether it held (null: undecided)."""
    thresholds = [_asked(condition, summary) for condition in conditions]
    timing = _timing(guards, thresholds)
    correctness = _correctness(summary)
    code = exit_code(summary["ended"], timing, correctness, any(t["holds"] for t in thresholds))
    return {
        "status": timing,
        "correctness": correctness,
        "outcome": _outcome(code),
        "exit_code": code,
        "reasons": [*_reasons(guards), *_threshold_reasons(thresholds)],
        "thresholds": thresholds,
    }


def _timing(guards: Sequence[Guard], thresholds: Sequence[Json]) -> str:
    said = {guard.verdict for guard in guards}
    if INVALID in said:
        return "INVALID"
    undecided = any(threshold["holds"] is None for threshold in thresholds)
    return "INCONCLUSIVE" if INCONCLUSIVE in said or undecided else "VALID"


def _correctness(summary: Json) -> str:
    """UNKNOWN also where nothing was promised: then nothing could have been broken."""
    verdicts = {check["verdict"] for check in summary["consistency"]["checks"] if check["promised"]}
    if "fail" in verdicts:
        return "FAIL"
    unread = all(check["unknown_because"] for check in summary["consistency"]["checks"])
    return "UNKNOWN" if "unknown" in verdicts or unread or not verdicts else "PASS"


def exit_code(ended: Json, timing: str, correctness: str, threshold_failed: bool) -> int:
    """The first that applies.  (11, a regression, is a comparison's verdict, and comes before 10.)"""
    if ended["how"] == "interrupted":
        return EXIT_INTERRUPTED
    if ended["how"] == "not_started" or (ended["how"] == "failed" and ended["phase"] in BEFORE_MEASURING):
        return EXIT_NOT_STARTED
    if ended["how"] == "internal_error":
        return EXIT_INTERNAL_ERROR
    if correctness == "FAIL" or ended["how"] == "violation":
        return EXIT_VIOLATION
    if timing == "INVALID":
        return EXIT_INVALID
    if timing == "INCONCLUSIVE" or correctness == "UNKNOWN":
        return EXIT_INCONCLUSIVE
    return EXIT_THRESHOLD if threshold_failed else EXIT_OK


def _outcome(code: int) -> str:
    return {EXIT_OK: "PASS", EXIT_THRESHOLD: "FAIL", EXIT_VIOLATION: "VIOLATION"}.get(code, "UNKNOWN")


def _asked(condition: Condition, summary: Json) -> Json:
    asked: Json = {"condition": condition.text, "value": None, "holds": None, "message": None}
    try:
        asked["holds"] = condition.holds(summary)
        asked["value"] = condition.value_or_bound(summary)
    except UndecidedError as why:
        asked["message"] = str(why)
    return asked


def _reasons(guards: Sequence[Guard]) -> list[dict[str, Any]]:
    severity = (INVALID, INCONCLUSIVE, WARN)
    told = (guard for guard in guards if guard.verdict in severity)
    bad = sorted(told, key=lambda guard: severity.index(guard.verdict))
    return [asdict(guard) for guard in bad]


def _threshold_reasons(thresholds: Sequence[Json]) -> list[Json]:
    reasons = []
    for asked in thresholds:
        if asked["holds"] is None:
            message, advice = f"{asked['condition']}: {asked['message']}", "Raise --duration or --rate."
        elif asked["holds"]:
            message, advice = f"{asked['condition']} holds: it is {asked['value']:g}", "See --fail-if."
        else:
            continue
        reasons.append({"guard": "fail_if", "message": message, "advice": advice})
    return reasons
