"""The objective of a search: conditions that must hold together, asked of one step.  Pure.

Written as `READ.p99<50ms, lag.receipt.p99<500ms, errors<0.1%, violations=0`, in the grammar of
`bench/expressions.py`.  The answer names the condition that failed by most, and where the time went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.capacity.search import DISTURBED, FAILS, GENERATOR, HOLDS, UNKNOWN, Seen
from bench.expressions import Condition, ExpressionError, UndecidedError, parse_all
from bench.guards.machine import STEAL
from bench.results import Json

DEFAULT: Final = "READ.p99<50ms, lag.receipt.p99<500ms, errors<0.1%, violations=0"
OF_THE_GENERATOR: Final = frozenset(
    {
        "send_lag",
        "send_lag_steady",
        "generator_cpu",
        "generator_ceiling",
        "generator_stalls",
        "offered_achieved",
    }
)
"""Guards that say: this was not the load that was asked for, and that is not the system's doing."""
OF_THE_SYSTEM: Final = {
    "connections_held": "connections, closed by the server",
    "load_carried": "operations refused or never answered",
    "internal_errors": "internal errors, at the server",
}
"""Guards that say: the system did not carry this load."""
NOT_OF_A_STEP: Final = frozenset(
    {
        "finished", "everything_alive", "something_measured", "drained", "final_read", "enough_samples",
        "probe_users", "probe_users_agree", "warm_up", "littles_law", "work_ledger",
    }
)  # fmt: skip
"""Guards that judge a whole run, or ask more of one run's figures than of one of many steps."""
BUSY: Final = 0.85
"""Of a core: a process of one thread that uses so much is what the others wait for."""
FOREIGN: Final = 0.25
"""Cores: the harness's own runner and samplers use less."""
GENERATOR_BUSY: Final = 0.60
"""Of a core: a generator at its limit uses more."""
STOLEN: Final = 0.005
"""Of a core: where other machines on the host take more, the p99 is theirs (docs/decisions/capacity.md),"""
USUAL: Final = 3.0
"""unless they usually take a third of that or more."""
SERVICES: Final = {"store": "in MySQL", "cache": "in Redis", "queue": "at the broker"}
COMPONENTS: Final = {
    "consumer": "at the consumer",
    "server": "at the server (CPU)",
    "mysql": "in MySQL (CPU)",
    "redis": "in Redis (CPU)",
    "kafka": "at the broker (CPU)",
}
STAGES: Final = {
    **SERVICES,
    "wait": "at the server (locks and pool)",
    "other": "at the server",
    "network": "at the server (before it reads)",
    "client": "at the generator",
}


@dataclass(frozen=True)
class Objective:
    text: str
    conditions: tuple[Condition, ...]


def parse(text: str) -> Objective:
    """Raises ExpressionError."""
    conditions = parse_all(text)
    for condition in conditions:
        bad_when_high = condition.kind == "time" or condition.name.endswith("errors")
        if bad_when_high and condition.compare in (">", ">=", "!="):
            raise ExpressionError(
                f"{condition.text.strip()!r}: an objective says how much {condition.name} may be at most: "
                "write it with <."
            )
        if condition.kind == "time" and condition.threshold <= 0:
            raise ExpressionError(f"{condition.text.strip()!r}: nothing takes less than no time.")
    return Objective(", ".join(condition.text.strip() for condition in conditions), tuple(conditions))


def judge(objective: Objective, summary: Json, usual: float = 0.0) -> Seen:
    """What one step says.  `summary`: its figures, with `guards` and `backlog`; `usual`: CPU, in cores, that
    other machines on the host take in the quieter ones of its kind."""
    guards = {guard["guard"]: guard for guard in summary["guards"] if guard["guard"] not in NOT_OF_A_STEP}
    bad = {name: g for name, g in guards.items() if g["verdict"] in ("invalid", "inconclusive")}
    for name in sorted(OF_THE_GENERATOR & bad.keys()):
        return _not_sent(summary, bad[name]["message"])
    values = [_ask(condition, summary) for condition in objective.conditions]
    failed = [one for one in values if one.holds is False]
    of_time = all(one.condition.kind == "time" for one in failed)
    if of_time and not OF_THE_SYSTEM.keys() & bad and (why := _disturbed(objective, summary, bad, usual)):
        return Seen(DISTURBED, why=why)
    if failed:
        worst = max(failed, key=lambda one: one.share)
        return Seen(FAILS, f"{named(worst.condition.name)}, {where(summary, worst.condition)}", worst.share)
    if grown := [one for one in summary["backlog"] if one["grows"]]:
        return Seen(FAILS, f"a backlog: {grown[0]['what']}", max((v.share for v in values), default=None))
    for name, binding in OF_THE_SYSTEM.items():
        if name in bad:
            return Seen(FAILS, binding)
    unsure = [guard["message"] for name, guard in bad.items() if name not in OF_THE_SYSTEM]
    unsure += [one.why for one in values if one.holds is None]
    share = max((one.share for one in values), default=None)
    return Seen(UNKNOWN, why=unsure[0]) if unsure else Seen(HOLDS, share=share)


def _disturbed(objective: Objective, summary: Json, bad: Json, usual: float) -> str:
    """Why this step's times are not its own, if they are not.  Asked also of steps that held: with those that
    failed alone set aside, the ones that are left would hold too often."""
    if not any(condition.kind == "time" for condition in objective.conditions):
        return ""
    if "cpu_steal" in bad:
        return str(bad["cpu_steal"]["message"])
    stolen, at_most = stolen_cores(summary), max(STOLEN, USUAL * usual)
    if stolen <= at_most:
        return ""
    return f"other machines on this host took {stolen:.1%} of a core, more than {at_most:.1%}"


def _not_sent(summary: Json, message: str) -> Seen:
    """The load was not what was asked for: the generator's limit, unless it was kept from its core by
    others, on this machine or on its host."""
    others, busiest = foreign_cores(summary), max(summary["generator"]["cpu_cores_by_worker"], default=0.0)
    stolen = stolen_cores(summary)
    if others >= FOREIGN and busiest < GENERATOR_BUSY:
        return Seen(UNKNOWN, why=f"{message}, while something else used {others:.2f} cores of this machine")
    if stolen >= STEAL and busiest < GENERATOR_BUSY:
        told = f"while other machines on this host took {stolen:.2f} cores"
        return Seen(DISTURBED, why=f"{message}, {told}")
    return Seen(GENERATOR, "the load generator", why=message)


def foreign_cores(summary: Json) -> float:
    """CPU, in cores, that none of the run's own processes used; 0 where that was not sampled."""
    machine = float((summary["resources"].get("machine") or {}).get("cpu_cores_mean") or 0.0)
    return max(0.0, machine - own_cores(summary))


def own_cores(summary: Json) -> float:
    """CPU, in cores, that the run's own processes used, as far as it was sampled."""
    resources = summary["resources"].items()
    return sum(float(each["cpu_cores_mean"] or 0.0) for name, each in resources if name != "machine")


def stolen_cores(summary: Json) -> float:
    """CPU, in cores, that the host gave to others; 0 where that is not known."""
    counters = (summary["resources"].get("machine") or {}).get("counters") or {}
    return float(counters.get("steal_s") or 0.0) / (summary["duration_s"] or 1.0)


@dataclass(frozen=True)
class _Asked:
    condition: Condition
    holds: bool | None
    share: float = 0.0
    """The value by its limit; above 1 it failed."""
    why: str = ""


def _ask(condition: Condition, summary: Json) -> _Asked:
    """One step may show a percentile that it could not carry alone: the search repeats it."""
    try:
        holds = condition.holds(carried(summary))
        value = condition.value_or_bound(carried(summary))
    except UndecidedError as why:
        return _Asked(condition, None, why=str(why))
    if condition.compare in (">", ">="):
        value, limit = condition.threshold, value
    else:
        limit = condition.threshold
    return _Asked(condition, holds, value / limit if limit else float(value > 0) * 10)


def carried(figures: Any) -> Any:
    """The same figures, none of them marked as of too few samples."""
    if isinstance(figures, dict):
        return {name: [] if name == "low_n" else carried(value) for name, value in figures.items()}
    return figures


def named(figure: str) -> str:
    """`lag.receipt.p99` as `receipt lag p99`, `READ.p99` as `READ p99`."""
    first, *rest = figure.split(".")
    if first == "lag":
        name, statistic = rest
        return f"{name.replace('_', ' ')} lag {statistic}"
    return " ".join((first, *rest)).replace("_", " ")


def where(summary: Json, condition: Condition) -> str:
    """Who made this condition fail, on the evidence of the queue's lag, of CPU and of stage times."""
    parts = condition.name.split(".")
    if condition.name == "violations":
        broken = [c["name"] for c in summary["consistency"]["checks"] if c["promised"] and c["violations"]]
        return ", ".join(broken) or "by whom is not known"
    if parts[-1] == "errors":
        return _errors(summary["operations"], parts[0])
    if parts[0] == "lag" and _queue_lags(summary, condition.threshold):
        return "at the consumer"
    busiest = _busiest(summary["resources"])
    if busiest:
        return busiest
    operation = summary["operations"].get("READ" if parts[0] == "lag" else parts[0])
    stages = (operation or {}).get("mean_ms_slow") or (operation or {}).get("mean_ms")
    if not stages:
        return "where is not known"
    return STAGES[max(STAGES, key=lambda stage: float(stages.get(stage) or 0.0))]


def _errors(operations: Json, wanted: str) -> str:
    """The most frequent of them, and whose they are."""
    counts = {
        (count, f"{op} {error}")
        for op, figures in operations.items()
        for error, count in figures["errors"].items()
        if wanted in ("errors", op)
    }
    return f"mostly {max(counts)[1]}" if counts else "of what kind is not known"


def _queue_lags(summary: Json, threshold_us: float) -> bool:
    queue = summary["lag"].get("queue") or {}
    p99 = (queue.get("quantiles") or {}).get("p99")
    return bool(queue.get("available")) and p99 is not None and p99 > threshold_us / 2


def _busiest(resources: Json) -> str | None:
    """The component that uses a core; None if none does."""
    used = {name: float((resources.get(name) or {}).get("cpu_cores_mean") or 0.0) for name in COMPONENTS}
    name = max(used, key=lambda component: used[component])
    return COMPONENTS[name] if used[name] >= BUSY else None


def shares(objective: Objective, summary: Json) -> Sequence[Json]:
    """Each condition with its value, for the record of a step."""
    return [
        {
            "condition": one.condition.text.strip(),
            "holds": one.holds,
            "share": round(one.share, 6),
            "why": one.why,
        }
        for one in (_ask(condition, summary) for condition in objective.conditions)
    ]
