"""`comparison.json` of a capacity study, from what was conducted.  Pure.

    kind          "capacity"
    objective, unit ("msg/s" or "users"), base: the load that every arm carried first
    arms          [{arm, run, runs: [run id], found: {how, capacity, interval, confidence, half_width,
                  binding, cores, follows, held, failed, why, blocks: [{holds, fails, by, binding}],
                  checks: [{share, held, steps, binding}]}, sentence, disagreements,
                  broken: [{name, violations, eligible}], steps: [...]}]
    settings      what an ablation may change (`beside.py`); beside: what is kept of other studies
    control       {runs, first, last: server CPU-s per 1,000 messages at one load, drift,
                  disturbed: [run id] where others on the host disturbed every step for it}
    verdict       {status, correctness, exit_code, reasons: [text]}

A step: load, stage, block, of_figure, said, binding, share, why, cores, generator, measure_s, run_id, step
(folder in the run's), conditions, figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from statistics import median
from typing import Final

import schemes
from bench.capacity import beside, words
from bench.capacity.estimate import CONFIDENCE
from bench.capacity.objective import FOREIGN
from bench.capacity.search import DISTURBED, FOUND, GENERATOR, UNKNOWN, Found
from bench.options import CONTROL, RunOptions
from bench.report import arms as looks
from bench.results import Json

SCHEMA_VERSION: Final = 1
KIND: Final = "capacity"
DRIFT: Final = 0.05
"""Between the control's first and last step: more, and nothing is ranked."""
PRECEDENCE: Final = (130, 3, 1, 12, 4, 5, 11, 10, 0)


def arm(
    label: str, run: Json, runs: Sequence[str], found: Found, steps: Sequence[Json], broken: Sequence[Json]
) -> Json:
    """One arm's entry, without its sentence."""
    return {
        "arm": label,
        "run": run,
        "runs": list(runs),
        "found": {
            "how": found.how,
            "capacity": found.capacity,
            "interval": found.interval,
            "confidence": CONFIDENCE if found.interval else None,
            "half_width": found.half_width,
            "binding": found.binding,
            "cores": found.cores,
            "follows": found.follows,
            "held": found.held,
            "failed": found.failed,
            "why": found.why,
            "blocks": [asdict(block) for block in found.blocks],
            "checks": [asdict(check) for check in found.checks],
        },
        "disagreements": words.disagreements(found),
        "broken": list(broken),
        "steps": list(steps),
    }


def control(runs: Sequence[str], steps: Sequence[Json]) -> Json:
    """What the control's server used in the steps for that, first and last.

    A step that others on the host disturbed tells of them, not of a drift; a visit of such steps, of none."""
    used = {
        step["run_id"]: step["figures"]["cpu_s_per_1000_messages"].get("server")
        for step in steps
        if step["said"] not in (DISTURBED, UNKNOWN)
    }
    first, last = (used.get(runs[0]), used.get(runs[-1])) if len(runs) > 1 else (None, None)
    drift = round(last / first - 1, 4) if first and last else None
    disturbed = [run for run in dict.fromkeys(step["run_id"] for step in steps) if run not in used]
    return {"runs": list(runs), "first": first, "last": last, "drift": drift, "disturbed": disturbed}


def verdict(arms: Sequence[Json], control: Json, *, interrupted: bool) -> Json:
    """Timing, correctness, and what they come to."""
    searched = [one for one in arms if one["run"].get("scheme") != CONTROL or len(arms) == 1]
    reasons = [f"{one['arm']}: {text}" for one in searched for text in one["disagreements"]]
    if interrupted:
        reasons.append("interrupted: what was measured until then is kept")
    drift = control["drift"]
    if drift is not None and abs(drift) > DRIFT:
        reasons.append(
            f"the control drifted by {drift:+.1%} between its first and its last step, more than "
            f"{DRIFT:.0%}: the machine was not the same for all"
        )
    if control["disturbed"]:
        reasons.append(
            "whether the machine was the same for all is not known: others on the host disturbed the "
            "control's step for that each time it was repeated"
        )
    reasons += _noise(arms)
    invalid = [one["sentence"] for one in searched if one["found"]["how"] in (GENERATOR, words.FAILED)]
    unfinished = [one["sentence"] for one in searched if words.EXIT_CODES[one["found"]["how"]] in (3, 5)]
    broken = [
        f"{one['arm']}: a promise was broken: {check['name']}, {check['violations']} of {check['eligible']}"
        for one in arms
        for check in one["broken"]
    ]
    status = "INVALID" if invalid else "INCONCLUSIVE" if unfinished or reasons else "VALID"
    codes = {words.EXIT_CODES[one["found"]["how"]] for one in searched}
    codes |= {130} if interrupted else set()
    codes |= {12} if broken else set()
    codes |= {5} if reasons else set()
    return {
        "status": status,
        "correctness": "FAIL" if broken else "PASS",
        "exit_code": next((code for code in PRECEDENCE if code in codes), 0),
        "reasons": [*invalid, *unfinished, *reasons, *broken],
    }


def _noise(arms: Sequence[Json]) -> list[str]:
    """What else ran on this machine, if it did for more than half of the time."""
    others = [step["figures"]["foreign_cores"] for one in arms for step in one["steps"]]
    if not others or median(others) < FOREIGN:
        return []
    used = f"something else used {median(others):.2f} cores of this machine"
    return [f"{used}, in the median of all steps: figures are of what was left"]


def of(
    arms: Sequence[Json],
    control: Json,
    *,
    objective: str,
    unit: str,
    base: float,
    options: RunOptions,
    started_at: str,
    duration_s: float,
    interrupted: bool,
    about: Json,
) -> Json:
    """The whole of it.  `about`: people, and what else the first screen names."""
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "tool_version": schemes.__version__,
        "command": options.command,
        "started_at": started_at,
        "duration_s": round(duration_s, 1),
        "objective": objective,
        "unit": unit,
        "base": base,
        "scenario": options.scenario,
        "users": options.users,
        "seed": options.seed,
        "history": list(options.history),
        "settings": beside.settings(options),
        **about,
        "arms": list(arms),
        "control": control,
        "verdict": verdict(arms, control, interrupted=interrupted),
    }


def labelled(arms: Sequence[Json]) -> list[looks.Arm]:
    """How each arm is called and drawn."""
    return looks.arms([{"scheme": one["arm"], **one["run"]} for one in arms])


def is_found(arm: Json) -> bool:
    return bool(arm["found"]["how"] == FOUND)
