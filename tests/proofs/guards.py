"""Each guard's control with real causes: planted a little below its threshold it stays silent, a little above
it fires, for the right reason; and clean runs raise none.

`python -m tests.proofs.guards` (`make proof-guards`) makes two runs of half a minute per cause, `--times`
times, and three clean ones, `--clean` times.  What was run is kept in results/proof-guards.jsonl, and not run
again; the table is printed as Markdown.  Needs root (a small tmpfs, another clock) and a machine that does
nothing else."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psutil
import redis

from bench import machine, runner, summary
from bench.guards.guard import INCONCLUSIVE, INVALID, OK, UNKNOWN, WARN
from bench.load import fleet
from bench.options import Places, RunOptions, arms
from bench.runner import Load, Progress
from bench.services import Stack, bring_up, server
from bench.services.lock import run_lock

STATE: Final = Path("results/proof-guards.jsonl")
RANK: Final = (OK, UNKNOWN, WARN, INCONCLUSIVE, INVALID)
BASE: Final[dict[str, Any]] = {
    "users": 300, "rate_per_s": 115.0, "duration_s": 20.0, "warmup_s": 10.0, "pin": "auto",
}  # fmt: skip
PLANT_AT_S: Final = 8.0
MIB: Final = 1 << 20
TMPFS_MIB: Final = 512
Plant = Callable[[float, contextlib.ExitStack], "Planted"]


@dataclass(frozen=True)
class Planted:
    """What a cause changes: options of the run, and what happens once, PLANT_AT_S into the window."""

    options: dict[str, Any]
    then: Callable[[], None] = lambda: None
    scheme: str = "memory"
    stack: Stack | None = None


@dataclass(frozen=True)
class Cause:
    """`below` and `above` are doses on the two sides of a threshold of `guard`; above it the verdict is at
    least `verdict`, below it it is not.  `unit` says of what the doses are."""

    name: str
    guard: str
    verdict: str
    below: float
    above: float
    unit: str
    plant: Plant


def main() -> int:
    """Exit code 1 where a guard was silent that should fire, fired that should be silent, or for a wrong
    reason."""
    asked = _asked()
    with tempfile.TemporaryDirectory() as out, run_lock("tests.proofs.guards"):
        causes = [cause for cause in CAUSES if not asked.only or cause.name in asked.only]
        for cause in causes:
            for number in range(asked.times):
                for side in ("below", "above"):
                    _once(f"{cause.name} {side} {number}", lambda c=cause, s=side: _try(c, s, Path(out)))
        ceiling = asked.ceiling
        if not asked.only or "clean" in asked.only:
            ceiling = ceiling or float(_once("ceiling", lambda: {"rate": _ceiling(Path(out))})["rate"])
            for name, share in LOADS.items():
                for number in range(asked.clean):
                    rate = max(IDLE_PER_S, share * ceiling)
                    _once(f"clean {name} {number}", lambda r=rate: _clean(r, Path(out)))
    print("\n".join(_page(_known(), causes, ceiling)))
    return 0 if all(row.get("right", True) for row in _known().values()) else 1


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.proofs.guards")
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--clean", type=int, default=20)
    parser.add_argument("--ceiling", type=float, help="SEND/s that the generator can carry here")
    parser.add_argument("--only", action="append", choices=[*(cause.name for cause in CAUSES), "clean"])
    return parser.parse_args()


def _once(key: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What is known of this already, or found out now and kept."""
    known = _known()
    if key not in known:
        _say(key)
        found = make()
        STATE.parent.mkdir(exist_ok=True)
        with STATE.open("a") as file:
            file.write(json.dumps({"key": key, **found}) + "\n")
        return found
    return known[key]


def _known() -> dict[str, dict[str, Any]]:
    if not STATE.exists():
        return {}
    rows = (json.loads(line) for line in STATE.read_text().splitlines())
    return {row["key"]: row for row in rows}


def _try(cause: Cause, side: str, out: Path) -> dict[str, Any]:
    """One run with the cause planted at this dose."""
    dose = cause.above if side == "above" else cause.below
    with contextlib.ExitStack() as undo:
        made = _run(cause.plant(dose, undo), out)
    said = next(guard for guard in made["guards"] if guard["guard"] == cause.guard)
    fired = RANK.index(said["verdict"]) >= RANK.index(cause.verdict)
    return {
        "right": fired == (side == "above"),
        "verdict": said["verdict"],
        "value": said["value"],
        "message": said["message"],
        "others": sorted(_objecting(made) - {cause.guard}),
    }


def _clean(rate: float, out: Path) -> dict[str, Any]:
    """One run in which nothing is planted."""
    made = _run(Planted({"users": 2_000, "rate_per_s": rate}), out)
    return {
        "right": not _objecting(made),
        "others": sorted(_objecting(made)),
        "messages": [reason["message"] for reason in made["verdict"]["reasons"]],
    }


def _objecting(made: dict[str, Any]) -> set[str]:
    return {guard["guard"] for guard in made["guards"] if guard["verdict"] not in (OK, UNKNOWN)}


def _run(planted: Planted, out: Path) -> dict[str, Any]:
    places = _places(planted.stack) if planted.stack is not None else Places("local")
    named = BASE | planted.options
    options = RunOptions(planted.scheme, out=out, places=places, command="tests.proofs.guards", **named)
    (arm,) = arms(options)
    folder = runner.run(arm, Load.of(options), options, say=lambda _: None, show=_Once(planted.then))
    return summary.write(folder)


class _Once:
    """Shown the progress of a run, does one thing at the moment for it."""

    def __init__(self, what: Callable[[], None]) -> None:
        self._what: Callable[[], None] | None = what

    def __call__(self, progress: Progress) -> None:
        if progress.phase == "measure" and progress.done_s >= PLANT_AT_S and self._what is not None:
            what, self._what = self._what, None
            threading.Thread(target=what).start()


# --- what is planted ----------------------------------------------------------------------------------------


def _pids(*marks: str) -> list[int]:
    """Processes below this one whose command line has one of these in it."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            line = " ".join(child.cmdline())
            if any(mark in line for mark in marks) and "setpriv" not in line:
                found.append(child.pid)
    return found


GENERATOR: Final = ("bench.load.worker", "bench.load.probe_users")
SERVER: Final = ("-m schemes ", "planted_server")


def _stop(*marks: str) -> Plant:
    """Held by SIGSTOP for so many ms."""

    def plant(dose: float, _: contextlib.ExitStack) -> Planted:
        def hold() -> None:
            pids = _pids(*marks)
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            time.sleep(dose / 1000)
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

        return Planted({}, hold)

    return plant


def _burn(dose: float, undo: contextlib.ExitStack) -> Planted:
    """Somebody else's process uses so much of a core, also before and after."""
    program = (
        "import time,sys\nshare=float(sys.argv[1])\n"
        "while True:\n b=time.process_time(); t=time.monotonic()\n"
        " while time.process_time()-b<share*0.02: pass\n"
        " time.sleep(max(0,0.02-(time.monotonic()-t)))\n"
    )
    burner = subprocess.Popen([sys.executable, "-c", program, str(dose)], start_new_session=True)
    undo.callback(burner.wait)
    undo.callback(burner.kill)
    return Planted({})


def _other_time(dose: float, undo: contextlib.ExitStack) -> Planted:
    """The load worker's clock is so many ms ahead."""
    plain = subprocess.Popen

    def moved(argv: Sequence[str], **named: Any) -> subprocess.Popen[bytes]:
        if "bench.load.worker" in argv:
            argv = [sys.executable, "-m", "tests.proofs.other_time", str(int(dose * 1e6)), *argv]
        return plain(argv, **named)

    undo.enter_context(_replaced(fleet.subprocess, "Popen", moved))
    return Planted({})


def _signal_worker(dose: float, _: contextlib.ExitStack) -> Planted:
    """The load worker gets this signal."""

    def send() -> None:
        for pid in _pids("bench.load.worker"):
            os.kill(pid, int(dose))

    return Planted({}, send)


def _tmpfs(dose: float, undo: contextlib.ExitStack) -> Planted:
    """Records go to a tmpfs of 512 MiB that loses all but so many MiB."""
    mount = tempfile.mkdtemp(prefix="readstate-proof-")
    undo.callback(os.rmdir, mount)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={TMPFS_MIB}m", "none", mount], check=True)
    undo.callback(subprocess.run, ["umount", "-l", mount], check=True)
    undo.enter_context(_replaced(runner, "MEMORY", Path(mount)))

    def fill() -> None:
        found = os.statvfs(mount)
        surplus = found.f_bavail * found.f_frsize - int(dose * MIB)
        with Path(mount, "ballast").open("wb") as file, contextlib.suppress(OSError):
            os.posix_fallocate(file.fileno(), 0, max(1, surplus))

    return Planted({}, fill)


def _redis(dose: float, undo: contextlib.ExitStack) -> Planted:
    """Redis, which somebody else runs, has its connections cut (0), or is restarted (1)."""
    stack = undo.enter_context(bring_up(frozenset({"mysql", "redis"}), how="local", folder=None, say=_say))

    def disturb() -> None:
        if dose:
            stack.restart("redis")
        else:
            with contextlib.closing(redis.Redis.from_url(stack.services["redis"].url)) as client:
                client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    return Planted({}, disturb, "redis", stack)


def _reconfigured(dose: float, undo: contextlib.ExitStack) -> Planted:
    """Redis is set as it was (0), or otherwise (1)."""
    planted = _redis(0, undo)
    assert planted.stack is not None
    url = planted.stack.services["redis"].url

    def change() -> None:
        with contextlib.closing(redis.Redis.from_url(url)) as client:
            client.config_set("maxmemory-policy", "allkeys-lru" if dose else "noeviction")

    return Planted({}, change, "redis", planted.stack)


def _warm_up(dose: float, _: contextlib.ExitStack) -> Planted:
    return Planted({"warmup_s": dose})


def _planted_server(name: str, **options: Any) -> Plant:
    """A server with a fault of this dose (`planted_server.py`)."""

    def plant(dose: float, undo: contextlib.ExitStack) -> Planted:
        undo.enter_context(_replaced(server, "MODULE", "tests.proofs.planted_server"))
        undo.callback(os.environ.pop, "PLANT", None)
        os.environ["PLANT"] = f"{name}:{dose:g}"
        return Planted(options)

    return plant


def _files(dose: float, _: contextlib.ExitStack) -> Planted:
    """The server may have so many files open that this share of them is."""

    def limit() -> None:
        for pid in _pids(*SERVER):
            used = Path(f"/proc/{pid}/fd").stat().st_size
            hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (round(used / dose), hard))

    return Planted({}, limit)


@contextlib.contextmanager
def _replaced(where: Any, name: str, by: Any) -> Iterator[None]:
    before = getattr(where, name)
    setattr(where, name, by)
    try:
        yield
    finally:
        setattr(where, name, before)


def _places(stack: Stack) -> Places:
    mysql, redis_ = (stack.services[name].url for name in ("mysql", "redis"))
    return Places("external", mysql, redis_, allow_wipe=True)


CONT, KILL = float(signal.SIGCONT), float(signal.SIGKILL)
CAUSES: Final = (
    Cause("stopped generator", "generator_stalls", INVALID, 120, 300, "ms of SIGSTOP", _stop(*GENERATOR)),
    Cause("short stop", "generator_stalls", WARN, 35, 80, "ms of SIGSTOP", _stop(*GENERATOR)),
    Cause("stopped server", "server_stalls", WARN, 180, 300, "ms of SIGSTOP", _stop(*SERVER)),
    Cause("burned core", "foreign_load", INCONCLUSIVE, 0.15, 0.35, "cores", _burn),
    Cause("recorder's clock", "clocks_agree", INVALID, 3, 10, "ms ahead", _other_time),
    Cause("wall clock", "clock_steps", WARN, 0.5, 2, "ms, each second", _planted_server("stepping")),
    Cause("killed worker", "everything_alive", INVALID, CONT, KILL, "signal", _signal_worker),
    Cause("small tmpfs", "disk_room", WARN, 290, 220, "MiB left", _tmpfs),
    Cause("full tmpfs", "disk_room", INVALID, 24, 0, "MiB left", _tmpfs),
    Cause("restarted Redis", "services_same", INVALID, 0, 1, "0 cut off, 1 restarted", _redis),
    Cause("changed Redis", "services_same", INVALID, 0, 1, "0 as it was, 1 otherwise", _reconfigured),
    Cause("shortened warm-up", "warm_up", WARN, 5, 4, "s", _warm_up),
    Cause("cold server", "warm_up", INCONCLUSIVE, 0.5, 7, "s to cool by 63 %", _planted_server("warming")),
    Cause("garbage", "gc_pauses", WARN, 2.5, 12, "ms, each second", _planted_server("collecting")),
    Cause("busy loop", "hub_bound", WARN, 20, 2, "s between blocks of 30 ms", _planted_server("blocking")),
    Cause(
        "growing backlog", "littles_law", INCONCLUSIVE, 0.2, 2.4, "ms each, one after the other",
        _planted_server("serial"),
    ),
    Cause("open files", "open_files", WARN, 0.72, 0.88, "of the limit", _files),
)  # fmt: skip


# --- clean runs ---------------------------------------------------------------------------------------------

IDLE_PER_S: Final = 60.0
"""1,200 SENDs in 20 s: enough for a p99."""
LOADS: Final = {"idle": 0.0, "50 %": 0.5, "80 %": 0.8}
STEP: Final = 1.3


def _ceiling(out: Path) -> float:
    """The highest rate, in steps of 30 %, at which no timing guard makes a run of the control void."""
    rate = IDLE_PER_S
    while rate < 10_000:
        made = _run(Planted({"users": 2_000, "rate_per_s": rate * STEP, "duration_s": 10.0}), out)
        _say(f"ceiling: {rate * STEP:.0f} SEND/s is {made['verdict']['status']}: {sorted(_objecting(made))}")
        if made["verdict"]["status"] != "VALID":
            break
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
        f"{BASE['duration_s']:g} s after a warm-up of {BASE['warmup_s']:g} s; what is an event happens",
        f"{PLANT_AT_S:g} s into the window.",
        "Silent: the guard's verdict is below the one in the third column; fired: it is that, or worse.",
        "",
        "| cause | guard | verdict | dose below | silent | dose above | fired | what it said above |",
        "| --- | --- | --- | --: | --: | --: | --: | --- |",
    ]
    for cause in causes:
        below, above = (_tries(known, f"{cause.name} {side} ") for side in ("below", "above"))
        said = above[-1]["message"] if above else ""
        lines.append(
            f"| {cause.name} ({cause.unit}) | {cause.guard} | {cause.verdict} | {cause.below:g} | "
            f"{_right(below)} | {cause.above:g} | {_right(above)} | {said} |"
        )
    lines += ["", *_clean_lines(known, ceiling)]
    wrong = [(key, row) for key, row in known.items() if not row.get("right", True)]
    lines += ["", "What went otherwise:", ""] if wrong else []
    lines += [f"- {key}: {_told(row)}" for key, row in wrong]
    return lines


def _tries(known: dict[str, dict[str, Any]], prefix: str) -> list[dict[str, Any]]:
    return [row for key, row in known.items() if key.startswith(prefix)]


def _right(tries: Sequence[dict[str, Any]]) -> str:
    return f"{sum(row['right'] for row in tries)} of {len(tries)}"


def _clean_lines(known: dict[str, dict[str, Any]], ceiling: float | None) -> list[str]:
    told = {name: _tries(known, f"clean {name} ") for name in LOADS}
    if not any(told.values()):
        return ["No clean runs were made."]
    lines = [
        f"The control with 2,000 users; the generator carries {ceiling or 0:.0f} SEND/s (steps of 30 %).",
        "",
        "| load | SEND/s | runs that raised none | raised |",
        "| --- | --: | --: | --- |",
    ]
    for name, tries in told.items():
        raised = sorted({guard for row in tries for guard in row["others"]})
        rate = max(IDLE_PER_S, LOADS[name] * (ceiling or 0))
        lines.append(f"| {name} | {rate:.0f} | {_right(tries)} | {', '.join(raised)} |")
    return lines


def _told(row: dict[str, Any]) -> str:
    if "verdict" in row:
        return f"{row['verdict']}: {row['message']}"
    return "; ".join(row.get("messages", ()))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
