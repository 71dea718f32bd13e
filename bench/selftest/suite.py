"""Carries out the self-test: an honest server, the liar before it, a run, the checks, and then the truth.

`memory` and `db` are honest by construction, every operation under one lock or in one transaction: whatever
is found there was planted, or the instrument is at fault."""

from __future__ import annotations

import json
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import psutil

from bench import runner, summary
from bench.checks.check import EVERY_FINDING, keep_findings
from bench.metrics.history import History
from bench.options import RunOptions, arms
from bench.results import Json, RunFolder
from bench.runner import Load, Progress, Say, Show
from bench.selftest.lies import KINDS, NO_ERROR, Planted
from bench.selftest.truth import Result, judge
from bench.services import ServicesError

START_S: Final = 20.0
TRUTH_S: Final = 60.0
STOP_S: Final = 5.0
STOPPED_S: Final = 2.0
"""How long the generator is held by SIGSTOP."""
LOAD_MODULES: Final = frozenset(("bench.load.worker", "bench.load.probe_users"))
STOP_AFTER_S: Final = 2.0
HONEST: Final[tuple[tuple[str, dict[str, str]], ...]] = (
    ("memory", {}),
    ("db", {"model": "flags"}),
    ("db", {"model": "cursor"}),
)
DISTURBED_DOSE: Final = 5
TRIES: Final = 3
"""How often an honest run is made that accuses nobody and could not judge everything."""


@dataclass(frozen=True)
class Dose:
    """One run with lies in it.  `dose`: one in so many events of each kind was altered."""

    dose: int
    folder: RunFolder
    result: Result


@dataclass(frozen=True)
class Stopped:
    """A run without lies whose generator was stopped for STOPPED_S: nobody may be accused, and the timing
    must not be called valid."""

    folder: RunFolder
    findings: int
    timing: str

    @property
    def good(self) -> bool:
        return not self.findings and self.timing != "VALID"


@dataclass(frozen=True)
class Clean:
    """An honest run.  `disturbed`: connections were cut and answers swallowed, `disturbances` of them."""

    number: int
    arm: str
    disturbed: bool
    disturbances: int
    operations: int
    findings: int
    unknown: tuple[str, ...]
    """Checks that could not say anything."""

    @property
    def good(self) -> bool:
        return not self.findings and not self.unknown


def with_lies(options: RunOptions, dose: int, *, say: Say, show: Show) -> Dose:
    """Raises ServicesError where server or liar do not start, or the run did not finish."""
    with ExitStack() as stack:
        folder, liar = _run(stack, options, dose, KINDS, say, show)
        with keep_findings(EVERY_FINDING):
            summary.write(folder)
        events, planted = liar.truth()
    _keep(folder, planted)
    return Dose(dose, folder, judge(History(folder), folder.findings(), planted, events))


def with_a_stopped_generator(options: RunOptions, *, say: Say, show: Show) -> Stopped:
    """Raises ServicesError likewise."""
    with ExitStack() as stack:
        folder, _ = _run(stack, options, 1, (), say, _Stopper(show).show)
        made = summary.write(folder)
    return Stopped(folder, len(folder.findings()), made["verdict"]["status"])


def clean(options: RunOptions, number: int, *, say: Say, show: Show) -> Clean:
    """The number-th honest run; every other one is disturbed.  Its folder is kept only if it is not good.

    Raises ServicesError likewise."""
    scheme, chosen = HONEST[number // 2 % len(HONEST)]
    options = replace(options, scheme=scheme, scheme_options=chosen, seed=number)
    disturbed = number % 2 == 1
    with ExitStack() as stack:
        folder, liar = _run(stack, options, DISTURBED_DOSE, NO_ERROR if disturbed else (), say, show)
        made = summary.write(folder)
        _, planted = liar.truth()
    checks = made["consistency"]["checks"]
    unknown = tuple(check["name"] for check in checks if check["verdict"] == "unknown")
    result = Clean(
        number,
        made["run"]["arm"],
        disturbed,
        len(planted),
        made["record"]["rows"],
        sum(check["violations"] for check in checks),
        unknown,
    )
    if result.good:
        shutil.rmtree(folder.path)
    return result


def _run(
    stack: ExitStack, options: RunOptions, dose: int, kinds: tuple[str, ...], say: Say, show: Show
) -> tuple[RunFolder, Liar]:
    """A finished run through a liar that is there until the stack is left."""
    (arm,) = arms(options)
    log = options.out / "liar.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    liars: list[Liar] = []

    def through(url: str) -> str:
        liars.append(stack.enter_context(Liar(url, dose, kinds, log)))
        return liars[0].url

    folder = runner.run(arm, Load.of(options), options, say=say, show=show, through=through)
    ended = folder.manifest()["ended"]
    if ended["how"] == "interrupted":
        raise KeyboardInterrupt
    if ended["how"] != "finished":
        raise ServicesError(f"A run of the self-test did not finish: {ended['message']}")
    return folder, liars[0]


class Liar:
    """The proxy process.  It ends when its input does, so also when this process is killed."""

    def __init__(self, url: str, dose: int, kinds: tuple[str, ...], log: Path) -> None:
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "bench.selftest.liar",
                    url,
                    f"--dose={dose}",
                    f"--kinds={','.join(kinds)}",
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                text=True,
                cwd=Path(__file__).parents[2],
            )
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], START_S)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            self.stop()
            raise ServicesError(f"The self-test's proxy did not start; see {log}.")
        self.url = url.replace(url.split(":")[2].split("/", maxsplit=1)[0], str(json.loads(line)["port"]))

    def truth(self) -> tuple[dict[str, int], list[Planted]]:
        """(events that could have been altered, by kind; what was planted).  The liar ends with it."""
        told, _ = self._process.communicate("truth\n", timeout=TRUTH_S)
        head, *lines = map(json.loads, told.splitlines())
        return head["events"], [Planted(**line) for line in lines]

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def __enter__(self) -> Liar:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Stopper:
    """Holds the load processes for a while, once, in the measured window."""

    def __init__(self, show: Show) -> None:
        self._show = show
        self._done = False

    def show(self, progress: Progress) -> None:
        self._show(progress)
        if progress.phase == "measure" and progress.done_s >= STOP_AFTER_S and not self._done:
            self._done = True
            load = [child for child in psutil.Process().children() if _is_load(child)]
            for process in load:
                process.send_signal(signal.SIGSTOP)
            try:
                time.sleep(STOPPED_S)
            finally:
                for process in load:
                    process.send_signal(signal.SIGCONT)


def _is_load(process: psutil.Process) -> bool:
    try:
        return not LOAD_MODULES.isdisjoint(process.cmdline())
    except psutil.Error:
        return False


def _keep(folder: RunFolder, planted: list[Planted]) -> None:
    """Beside the run, now that it has been judged."""
    text = "".join(json.dumps(vars(lie)) + "\n" for lie in planted)
    (folder.path / "planted.jsonl").write_text(text)


def to_json(doses: list[Dose], stopped: Stopped | None) -> Json:
    """What the self-test came to, for programs."""
    return {
        "good": all(dose.result.good for dose in doses) and (stopped is None or stopped.good),
        "doses": [_dose(dose) for dose in doses],
        "stopped_generator": None
        if stopped is None
        else {"run": stopped.folder.run_id, "findings": stopped.findings, "timing": stopped.timing},
    }


def _dose(dose: Dose) -> Json:
    return {
        "dose": dose.dose,
        "run": dose.folder.run_id,
        "false": list(dose.result.false),
        "kinds": [{**vars(row), "missed": [vars(lie) for lie in row.missed]} for row in dose.result.rows],
    }


def says_enough(tries: Sequence[Clean]) -> bool:
    """Whether an honest run need not be made again: an accusation stands, and only a run that accused nothing
    and could not judge everything (it had not drained on a full machine, say) is repeated."""
    return bool(tries) and (bool(tries[-1].findings) or not tries[-1].unknown or len(tries) == TRIES)


def clean_runs(path: Path) -> Iterator[Clean]:
    """The honest runs that an earlier call has carried out and written down."""
    if path.exists():
        for line in path.read_text().splitlines():
            row = json.loads(line)
            yield Clean(**{**row, "unknown": tuple(row["unknown"])})
