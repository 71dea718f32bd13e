"""Carries out the self-test: an honest server, the liar before it, a run, the checks, and then the truth.

The server is the control (`memory`): whatever is found there was planted, or the instrument is at fault."""

from __future__ import annotations

import json
import secrets
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from bench import runner, summary
from bench.metrics.history import History
from bench.options import Arm, RunOptions, Target
from bench.results import Json, RunFolder
from bench.runner import Load, Progress, Say, Show
from bench.selftest.lies import KINDS, Planted
from bench.selftest.truth import Result, judge
from bench.services import ServicesError
from bench.services.server import SchemeProcesses

PROMISED: Final = ("read_your_writes", "monotonic_reads", "convergence", "linearizable")
START_S: Final = 20.0
TRUTH_S: Final = 60.0
STOP_S: Final = 5.0
STOPPED_S: Final = 2.0
"""How long the generator is held by SIGSTOP."""
STOP_AFTER_S: Final = 2.0


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


def with_lies(options: RunOptions, dose: int, *, say: Say, show: Show) -> Dose:
    """Raises ServicesError where server or liar do not start, or the run did not finish."""
    with _liar(options, dose, KINDS, say, show) as (folder, liar):
        summary.write(folder)
        events, planted = liar.truth()
    _keep(folder, planted)
    return Dose(dose, folder, judge(History(folder), folder.findings(), planted, events))


def with_a_stopped_generator(options: RunOptions, *, say: Say, show: Show) -> Stopped:
    """Raises ServicesError likewise."""
    stopper = _Stopper(show)
    with _liar(options, 1, (), say, stopper.show) as (folder, _):
        made = summary.write(folder)
    return Stopped(folder, len(folder.findings()), made["verdict"]["status"])


@contextmanager
def _liar(
    options: RunOptions, dose: int, kinds: tuple[str, ...], say: Say, show: Show
) -> Iterator[tuple[RunFolder, Liar]]:
    """A finished run through a liar that is still there."""
    secret = secrets.token_urlsafe(24)
    logs = options.out / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    with SchemeProcesses("memory", {}, settings={}, secret=secret, logs=logs) as server:
        server.wait_ready()
        with Liar(server.url, dose, kinds, logs / "liar.log") as liar:
            target = Target(liar.url, token_secret=secret, control_secret=secret, promises=PROMISED)
            chosen = RunOptions(**{**vars(options), "target": target})
            folder = runner.run(Arm(options.scheme, {}), Load.of(chosen), chosen, say=say, show=show)
            ended = folder.manifest()["ended"]
            if ended["how"] == "interrupted":
                raise KeyboardInterrupt
            if ended["how"] != "finished":
                raise ServicesError(f"The run of the self-test did not finish: {ended['message']}")
            yield folder, liar


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
        return "bench.load.worker" in process.cmdline()
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


def _dose(dose: Dose) -> dict[str, Any]:
    return {
        "dose": dose.dose,
        "run": dose.folder.run_id,
        "false": list(dose.result.false),
        "kinds": [{**vars(row), "missed": [vars(lie) for lie in row.missed]} for row in dose.result.rows],
    }
