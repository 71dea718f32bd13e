"""A side kept for later: the runs of one arm, pruned to what statistics, attribution and likeness need.

`NAME.json` holds of every run its figures with their bounds, quantiles and stage times, what it ran on
(machine, services with every setting, versions) and what it had to do (seed, plan), so that a comparison
with it is the same as one with the runs themselves.  Pure but for `load` and `save`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from bench import alike
from bench.compare import IDENTITY, Run
from bench.results import TOOL, Json, ResultsError, write_text

SCHEMA_VERSION: Final = 1
KIND: Final = "baseline"
FOLDER: Final = "baselines"
"""In the results folder."""
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}")
LARGEST: Final = 20_000_000
"""Bytes; a baseline of a hundred runs is a tenth of it."""


class BaselineError(Exception):
    """A baseline that cannot be made or used, and what to do instead."""


@dataclass(frozen=True)
class Baseline:
    name: str
    made_at: str
    runs: tuple[Run, ...]

    @property
    def run(self) -> Json:
        """`summary.run` of the first; they are alike."""
        found: Json = self.runs[0].summary["run"]
        return found

    @property
    def machine_class(self) -> str | None:
        found: str | None = (self.runs[0].manifest.get("machine") or {}).get("class")
        return found


# --- what is kept -----------------------------------------------------------------------------------------

OF_OPERATION: Final = (
    "count", "ok", "fail", "info", "from", "latency_us", "service_us", "wait_us", "mean_ms", "mean_ms_slow",
    "resolution_floor_us",
)  # fmt: skip
OF_LAG: Final = (
    "available", "why_not", "undelivered", "undelivered_share", "quantiles", "events", "from",
    "resolution_floor_us",
)  # fmt: skip
OF_COMPONENT: Final = (
    "cpu_cores_mean", "cpu_s_per_1000_messages", "rss_bytes_max", "counters",
)  # fmt: skip
OF_CHECK: Final = ("name", "promise", "promised", "violations", "verdict")
OF_MANIFEST: Final = (
    "run_id", "started_at", "plan_sha256", "machine", "load", "window", "repeat", "tool_version", "label",
)  # fmt: skip
WHOLE: Final = ("run_id", "started_at", "duration_s", "run", "stores", "command")


def pruned(summary: Json) -> Json:
    """The summary with what a baseline keeps of it."""
    return {
        **_only(summary, WHOLE),
        "verdict": _only(summary["verdict"], ("status", "correctness", "outcome", "exit_code", "reasons")),
        "load": {name: value for name, value in summary["load"].items() if isinstance(value, int | float)},
        "operations": {name: _only(of, OF_OPERATION) for name, of in summary["operations"].items()},
        "lag": {name: _only(of, OF_LAG) for name, of in summary["lag"].items() if of},
        "resources": {name: _only(of, OF_COMPONENT) for name, of in summary["resources"].items() if of},
        "consistency": {"checks": [_only(check, OF_CHECK) for check in summary["consistency"]["checks"]]},
        "generator": _only(summary["generator"], ("resolution_floor_us", "send_lag_us")),
        "badge": _only(summary.get("badge") or {}, ("error_s_per_user_hour",)),
        "ledger": _only(summary.get("ledger") or {}, ("available", "per_message")),
    }


def _only(of: Mapping[str, Any], names: Sequence[str]) -> Json:
    return {name: of[name] for name in names if name in of}


# --- making one -------------------------------------------------------------------------------------------


def make(
    name: str, runs: Sequence[Run], *, now: datetime, command: str
) -> tuple[Json, list[tuple[str, str]]]:
    """(the baseline, which runs were left out and why).

    Raises BaselineError for a bad name, runs that are unlike, or where none is left."""
    if NAME.fullmatch(name) is None:
        raise BaselineError(
            f"{name!r} is no name of a baseline: letters, digits, '.', '_' and '-', at most 60."
        )
    out = [(run.run_id, why) for run in runs if (why := unfit(run))]
    good = [run for run in runs if not unfit(run)]
    if not good:
        said = "; ".join(f"{run_id} is {why}" for run_id, why in out) or "none was named"
        raise BaselineError(f"No run to keep: {said}. Make some with bench run --repeat 10.")
    unlike = refusals(good[:1], good[1:])
    if unlike:
        raise BaselineError(f"These runs are not of one arm: {'; '.join(unlike)}. Save one baseline of each.")
    first = good[0]
    content = {
        "kind": KIND,
        "schema_version": SCHEMA_VERSION,
        "tool": TOOL,
        "name": name,
        "made_at": now.isoformat(timespec="seconds"),
        "command": command,
        "machine_class": (first.manifest.get("machine") or {}).get("class"),
        "seed": first.summary["run"].get("seed"),
        "plan_sha256": first.manifest.get("plan_sha256"),
        "runs": [
            {
                "run_id": run.run_id,
                "summary": pruned(run.summary),
                "manifest": _only(run.manifest, OF_MANIFEST),
            }
            for run in good
        ],
    }
    return content, out


def unfit(run: Run) -> str:
    """Why a run cannot stand for what is good; empty if it can."""
    verdict = run.summary["verdict"]
    if verdict["status"] != "VALID":
        return str(verdict["status"])
    return "" if verdict["correctness"] != "FAIL" else "a run in which a promise was broken"


def save(folder: Path, content: Json) -> Path:
    """Writes NAME.json, a run a line.  Raises ResultsError."""
    path = folder / f"{content['name']}.json"
    head = {name: value for name, value in content.items() if name != "runs"}
    text = json.dumps(head, indent=1)[:-2] + ',\n "runs": [\n'
    text += ",\n".join(json.dumps(run, separators=(",", ":"), allow_nan=False) for run in content["runs"])
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as why:
        raise ResultsError(f"{folder} could not be made: {why.strerror}.") from why
    write_text(path, text + "\n ]\n}\n")
    return path


# --- reading one ------------------------------------------------------------------------------------------


def load(path: Path) -> Baseline:
    """Raises BaselineError."""
    try:
        if path.stat().st_size > LARGEST:
            raise BaselineError(f"{path} is too large to be a baseline of this tool.")
        text = path.read_text()
    except FileNotFoundError:
        raise BaselineError(f"There is no baseline {path}. {FIRST}") from None
    except UnicodeDecodeError:
        raise BaselineError(f"{path} is damaged: no text. {AGAIN}") from None
    except OSError as why:
        raise BaselineError(f"{path} cannot be read: {why.strerror}.") from None
    return read(text, str(path))


FIRST: Final = "bench baseline save NAME RUN… makes one."
AGAIN: Final = "Save it again with bench baseline save."


def read(text: str, where: str) -> Baseline:
    """Raises BaselineError for what is damaged, foreign, of another version, or was made of bad runs."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as why:
        raise BaselineError(f"{where} is damaged ({why}). {AGAIN}") from None
    if not isinstance(content, dict) or (content.get("tool"), content.get("kind")) != (TOOL, KIND):
        raise BaselineError(f"{where} is no baseline of {TOOL}. {FIRST}")
    if content.get("schema_version") != SCHEMA_VERSION:
        raise BaselineError(
            f"{where} has schema_version {content.get('schema_version')!r}; this version reads "
            f"{SCHEMA_VERSION}. {AGAIN}"
        )
    try:
        runs = tuple(_run(each) for each in content["runs"])
        found = Baseline(str(content["name"]), str(content["made_at"]), runs)
    except (KeyError, TypeError, AttributeError, ValueError) as why:
        raise BaselineError(f"{where} is damaged: {type(why).__name__} at {why}. {AGAIN}") from None
    _usable(found, where)
    return found


def _run(content: Json) -> Run:
    """Raises what a lookup raises if something is missing that every run has."""
    run = Run(str(content["run_id"]), content["summary"], content["manifest"])
    for name in NEEDED:
        if not isinstance(run.summary[name], dict):
            raise TypeError(f"{name} of {run.run_id}")
    if not isinstance(run.summary["consistency"]["checks"], list) or not isinstance(run.manifest, dict):
        raise TypeError(f"checks or manifest of {run.run_id}")
    run.summary["verdict"]["status"], run.summary["verdict"]["correctness"], run.summary["run"]["scheme"]
    return run


NEEDED: Final = ("run", "verdict", "load", "operations", "lag", "resources", "consistency", "generator")


def _usable(baseline: Baseline, where: str) -> None:
    if not baseline.runs:
        raise BaselineError(f"{where} has no runs in it. {AGAIN}")
    bad = [f"{run.run_id} is {why}" for run in baseline.runs if (why := unfit(run))]
    if bad:
        raise BaselineError(f"{where} is no measure of anything: {'; '.join(bad)}. {AGAIN}")
    if baseline.machine_class is None:
        raise BaselineError(f"{where} does not say on what kind of machine it was made. {AGAIN}")


def refusals(kept: Sequence[Run], runs: Sequence[Run]) -> list[str]:
    """Why these runs may not be compared with those that were kept, a sentence each: another machine class,
    engine, durability, seed, plan or arm."""
    if not kept or not runs:
        return []
    every = [*kept, *runs]
    found = []
    for name in (*IDENTITY, "seed", "users", "people", "workers"):
        values = {_text(run.summary["run"].get(name)) for run in every}
        if len(values) > 1:
            was, now = _text(kept[0].summary["run"].get(name)), _other(kept[0], runs, name)
            found.append(f"{name.replace('_', ' ')}: {was} was kept, {now} is compared")
    if any((run.manifest.get("machine") or {}).get("class") is None for run in every):
        found.append("a run does not say on what kind of machine it was made")
    return [*found, *alike.differences(_shortly(kept, runs))]


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else str(value)


def _other(first: Run, runs: Sequence[Run], name: str) -> str:
    was = _text(first.summary["run"].get(name))
    found = (_text(run.summary["run"].get(name)) for run in runs)
    return next((value for value in found if value != was), was)


def _shortly(kept: Sequence[Run], runs: Sequence[Run]) -> list[Run]:
    """With names that are short in a sentence: ten ids in each of twenty differences are not read."""
    return [
        Run(f"the {name}{'' if len(of) == 1 else f' (run {i + 1})'}", run.summary, run.manifest)
        for name, of in (("baseline", kept[:1]), ("candidate", runs))
        for i, run in enumerate(of)
    ]
