"""Each guard's control with real causes: planted a little below its threshold it stays silent, a little above
it fires, for the right reason; and clean runs raise none.

`python -m tests.proofs.guards` (`make proof-guards`) makes two runs of half a minute per cause, `--times`
times, and three clean ones, `--clean` times.  What was run is kept in docs/evidence/guards.jsonl, and not run
again; the table is printed as Markdown.  Needs root (a small tmpfs, another clock) and a machine that does
nothing else."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any, Final

from bench import machine, runner, summary
from bench.cli.signals import end_as_by_ctrl_c
from bench.guards.control import control_drift
from bench.guards.guard import INCONCLUSIVE, INVALID, OK, UNKNOWN, WARN
from bench.options import Places, RunOptions, arms
from bench.runner import Load, Progress
from bench.services.lock import run_lock
from tests.proofs.causes import BASE, CAUSES, LONGER, PLANT_AT_S, Cause, Planted, all_of
from tests.proofs.kept import Kept

KEPT: Final = Kept(Path("docs/evidence/guards.jsonl"))
RANK: Final = (OK, UNKNOWN, WARN, INCONCLUSIVE, INVALID)


def main() -> int:
    """Exit code 1 where a guard was silent that should fire, fired that should be silent, or for a wrong
    reason."""
    asked = _asked()
    end_as_by_ctrl_c()
    with tempfile.TemporaryDirectory() as out, run_lock("tests.proofs.guards"):
        causes = [cause for cause in CAUSES if not asked.only or cause.name in asked.only]
        for number in range(asked.times):
            for group in _groups(causes):
                for side in ("below", "above"):
                    _together(group, side, number, Path(out))
        ceiling = asked.ceiling
        if asked.clean and (not asked.only or "clean" in asked.only):
            ceiling = ceiling or float(KEPT.once("ceiling", lambda: {"rate": _ceiling(Path(out))})["rate"])
            for number in range(asked.clean):
                for name, share in LOADS.items():
                    rate = max(IDLE_PER_S, share * ceiling)
                    quiet = partial(_undisturbed, f"{name} {number}", partial(_clean, rate, Path(out)))
                    KEPT.once(f"clean {name} {number}", quiet)
    print("\n".join(_page(KEPT.known(), causes, ceiling)))
    return 0 if all(row.get("right", True) for row in KEPT.known().values()) else 1


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.proofs.guards")
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--clean", type=int, default=20)
    parser.add_argument("--ceiling", type=float, help="SEND/s that the generator can carry here")
    parser.add_argument("--only", action="append", choices=[*(cause.name for cause in CAUSES), "clean"])
    return parser.parse_args()


def _groups(causes: Sequence[Cause]) -> list[list[Cause]]:
    found: dict[str, list[Cause]] = {}
    for cause in causes:
        found.setdefault(cause.together or cause.name, []).append(cause)
    return list(found.values())


def _together(causes: Sequence[Cause], side: str, number: int, out: Path) -> None:
    """One run with these causes planted at this dose; those that are known already are left out."""
    missing = [cause for cause in causes if f"{cause.name} {side} {number}" not in KEPT.known()]
    if missing:
        _say(f"{side} {number}: {', '.join(cause.name for cause in missing)}")
        doses = [(cause, cause.above if side == "above" else cause.below) for cause in missing]
        alone, dose = doses[0]
        if alone.first is not None:
            key = f"{alone.name} {side} {number}"
            KEPT.keep(key, _undisturbed(key, lambda: _judged(alone, side, _beside(alone, dose))))
            return
        made = _at(doses, out)
        for cause in missing:
            KEPT.keep(f"{cause.name} {side} {number}", _judged(cause, side, made))


def _at(doses: Sequence[tuple[Cause, float]], out: Path) -> dict[str, Any]:
    with contextlib.ExitStack() as undo:
        return _run(all_of([cause.plant(dose, undo) for cause, dose in doses]), out)


def _beside(cause: Cause, dose: float) -> dict[str, Any]:
    """Two runs at the same time, with its `first` dose and with this one: the second, with what a guard of
    both says.  One after the other, they would differ by what the host's speed moved meanwhile, which is more
    than a dose just below a threshold leaves room for."""
    with ProcessPoolExecutor(2, get_context("spawn"), end_as_by_ctrl_c) as pool:
        try:
            before, made = pool.map(_named, [cause.name] * 2, [cause.first, dose])
        except BaseException:
            for child in active_children():
                child.terminate()
            raise
    made["guards"].append(asdict(control_drift([before, made])))
    return made


def _named(name: str, dose: float) -> dict[str, Any]:
    """Of a cause by its name, in a process of its own."""
    with tempfile.TemporaryDirectory() as out:
        return _at([(next(cause for cause in CAUSES if cause.name == name), dose)], Path(out))


def _judged(cause: Cause, side: str, made: dict[str, Any]) -> dict[str, Any]:
    named = cause.guard.split("|")
    said = max(
        (guard for guard in made["guards"] if guard["guard"] in named), key=lambda g: RANK.index(g["verdict"])
    )
    fired = RANK.index(said["verdict"]) >= RANK.index(cause.verdict)
    return {
        "right": said["verdict"] != UNKNOWN and fired == (side == "above"),
        "verdict": said["verdict"],
        "value": said["value"],
        "message": said["message"],
        "others": sorted(_objecting(made) - set(named)),
    }


def _undisturbed(key: str, find: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What is found where no more is planted than was meant.  Where other machines on this host took CPU
    time, something was: what was found is kept as disturbed, and looked for again."""
    for number in range(DISTURBED_AT_MOST):
        found = find()
        if "cpu_steal" not in found["others"]:
            return found
        KEPT.keep(f"disturbed {key} {number}", found | {"right": True})
    return found


def _clean(rate: float, out: Path) -> dict[str, Any]:
    made = _run(Planted({"users": 2_000, "rate_per_s": rate}), out)
    _say(f"{rate:.0f} SEND/s is {made['verdict']['status']}: {sorted(_objecting(made))}")
    return {
        "right": not _objecting(made),
        "others": sorted(_objecting(made)),
        "messages": [reason["message"] for reason in made["verdict"]["reasons"]],
    }


def _objecting(made: dict[str, Any]) -> set[str]:
    return {guard["guard"] for guard in made["guards"] if guard["verdict"] not in (OK, UNKNOWN)}


def _run(planted: Planted, out: Path) -> dict[str, Any]:
    places = Places("local")
    if planted.stack is not None:
        mysql, redis = (planted.stack.services[name].url for name in ("mysql", "redis"))
        places = Places("external", mysql, redis, allow_wipe=True)
    named = BASE | planted.options
    options = RunOptions(planted.scheme, out=out, places=places, command="tests.proofs.guards", **named)
    (arm,) = arms(options)
    folder = runner.run(arm, Load.of(options), options, say=lambda _: None, show=_Once(planted.then))
    if folder.manifest()["ended"]["how"] == "interrupted":
        raise KeyboardInterrupt
    planted.after(folder.path)
    return summary.write(folder)


class _Once:
    """Shown the progress of a run, does one thing at the moment for it."""

    def __init__(self, what: Callable[[], None]) -> None:
        self._what: Callable[[], None] | None = what

    def __call__(self, progress: Progress) -> None:
        if progress.phase == "measure" and progress.done_s >= PLANT_AT_S and self._what is not None:
            what, self._what = self._what, None
            threading.Thread(target=what).start()


# --- clean runs ---------------------------------------------------------------------------------------------

IDLE_PER_S: Final = 85.0
"""1,020 SENDs in 12 s: enough for a p99."""
LOADS: Final = {"idle": 0.0, "50 %": 0.5, "80 %": 0.8}
STEP: Final = 1.15
TRIES: Final = 2
"""Of a rate at which something is objected to, before it is believed."""
DISTURBED_AT_MOST: Final = 4


def _ceiling(out: Path) -> float:
    """The highest rate, in steps of 15 %, up to which no guard objects to a run of the control twice: above
    it causes are there, since generator, server and harness share the cores."""
    rate = IDLE_PER_S
    while rate < 10_000 and any(not _clean(rate * STEP, out)["others"] for _ in range(TRIES)):
        rate *= STEP
    return rate


# --- the page -----------------------------------------------------------------------------------------------


def _page(known: dict[str, dict[str, Any]], causes: Sequence[Cause], ceiling: float | None) -> list[str]:
    here = machine.describe()
    lines = [
        "# Guards: planted causes, and clean runs",
        "",
        f"`make proof-guards`, {datetime.now(UTC):%Y-%m-%d}, {here['cores']} cores ({here['cpu']}),",
        f"machine class {here['class']}. {BASE['users']} users, {BASE['rate_per_s']:g} SEND/s,",
        f"{BASE['duration_s']:g} s after a warm-up of {BASE['warmup_s']:g} s; {LONGER['duration_s']:g} s",
        f"after {LONGER['warmup_s']:g} s where the dose is a share of the window, or grows, or two runs made",
        "beside each other are compared (they share what the host gives from second to second).  What is",
        f"an event happens {PLANT_AT_S:g} s into the window.",
        "Causes that have nothing to do with each other are planted in the same runs (together, below).",
        "Silent: the guard's verdict is below the one in the third column; fired: it is that, or worse.",
        *_transcribed(known),
        "",
        "| cause | guard | verdict | below | silent | above | fired | together | what it said above |",
        "| --- | --- | --- | --: | --: | --: | --: | --- | --- |",
    ]
    for cause in causes:
        below, above = (_tries(known, f"{cause.name} {side} ") for side in ("below", "above"))
        said = next((row["message"] for row in reversed(above) if "message" in row), "")
        lines.append(
            f"| {cause.name} ({cause.unit}) | {cause.guard.replace('|', ' or ')} | {cause.verdict} "
            f"| {cause.below:g} | "
            f"{_right(below)} | {cause.above:g} | {_right(above)} | {cause.together} | {said} |"
        )
    lines += ["", *_clean_lines(known, ceiling)]
    left_out = [(row["plant_was_wrong"], row) for row in known.values() if "plant_was_wrong" in row]
    lines += ["", "Left out, the plant was wrong, and made again:", ""] if left_out else []
    lines += [f"- {key}: {_told(row)}" for key, row in left_out]
    wrong = [(key, row) for key, row in known.items() if not row.get("right", True)]
    lines += ["", "What went otherwise:", ""] if wrong else []
    lines += [f"- {key}: {_told(row)}" for key, row in wrong]
    return lines


def _transcribed(known: dict[str, dict[str, Any]]) -> list[str]:
    """Of rows whose own record is lost, where they were copied from."""
    sources = sorted({row["transcribed"] for row in known.values() if "transcribed" in row})
    rows = sum("transcribed" in row for row in known.values())
    return [f"{rows} of {len(known)} rows are copied from {', '.join(sources)}."] if sources else []


def _tries(known: dict[str, dict[str, Any]], prefix: str) -> list[dict[str, Any]]:
    return [row for key, row in known.items() if key.startswith(prefix)]


def _right(tries: Sequence[dict[str, Any]]) -> str:
    return f"{sum(row['right'] for row in tries)} of {len(tries)}"


def _clean_lines(known: dict[str, dict[str, Any]], ceiling: float | None) -> list[str]:
    told = {name: _tries(known, f"clean {name} ") for name in LOADS}
    if not any(told.values()):
        return ["No clean runs were made."]
    lines = [
        f"The control with 2,000 users.  Ceiling: {ceiling or 0:.0f} SEND/s; a step of 15 % above it some",
        f"guard objected {TRIES} times in a row: generator, server and harness share the cores.",
        "",
        "| load | SEND/s | runs that raised none | raised |",
        "| --- | --: | --: | --- |",
    ]
    for name, tries in told.items():
        raised = sorted({guard for row in tries for guard in row["others"]})
        rate = max(IDLE_PER_S, LOADS[name] * (ceiling or 0))
        lines.append(f"| {name} | {rate:.0f} | {_right(tries)} | {', '.join(raised)} |")
    disturbed = _tries(known, "disturbed ")
    if disturbed:
        told = "were disturbed by other machines on this host (`cpu_steal`), and made again."
        lines += ["", f"{len(disturbed)} more {told}"]
    return lines


def _told(row: dict[str, Any]) -> str:
    if "verdict" in row:
        return f"{row['verdict']}: {row['message']}"
    if "transcribed" in row:
        return "as it should be"
    return "; ".join(row.get("messages", ()))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
