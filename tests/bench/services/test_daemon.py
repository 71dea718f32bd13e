import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from bench.services.daemon import Daemon, tail

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("on", flush=True)
time.sleep(60)
"""


@contextmanager
def running(tmp_path: Path, *argv: str, detached: bool = False) -> Iterator[Daemon]:
    daemon = Daemon(argv, log=tmp_path / "log", detached=detached)
    try:
        yield daemon
    finally:
        daemon.stop(0.0)


def test_how_a_process_ended_is_said_in_words(tmp_path: Path) -> None:
    with running(tmp_path, "sh", "-c", "echo why; exit 7") as daemon:
        assert daemon.wait(5)
        assert daemon.poll() == "exited with status 7"
        assert daemon.tail() == "  why"
    with running(tmp_path, "sleep", "60") as daemon:
        assert daemon.poll() is None
        daemon.send(signal.SIGKILL)
        assert daemon.wait(5)
        assert daemon.poll() == "was killed by SIGKILL"


def test_stop_ends_a_process_that_ignores_sigterm(tmp_path: Path) -> None:
    with running(tmp_path, sys.executable, "-c", STUBBORN) as daemon:
        while "on" not in (tmp_path / "log").read_text():
            time.sleep(0.01)
        daemon.stop(0.1)
        assert daemon.poll() == "was killed by SIGKILL"


def test_stop_ends_a_paused_process_by_sigterm(tmp_path: Path) -> None:
    with running(tmp_path, "sleep", "60") as daemon:
        daemon.send(signal.SIGSTOP)
        daemon.stop(5)
        assert daemon.poll() == "was killed by SIGTERM"


def test_the_terminals_ctrl_c_does_not_reach_it(tmp_path: Path) -> None:
    with running(tmp_path, "sleep", "60") as daemon:
        assert os.getsid(daemon.pid) == daemon.pid != os.getsid(0)


def test_it_outlives_the_thread_that_asked_for_it(tmp_path: Path) -> None:
    made: list[Daemon] = []
    thread = threading.Thread(target=lambda: made.append(Daemon(["sleep", "60"], log=tmp_path / "log")))
    thread.start()
    thread.join()
    try:
        time.sleep(0.2)
        assert made[0].poll() is None
    finally:
        made[0].stop(0.0)


def _ends(process: psutil.Process, within_s: float) -> bool:
    """A zombie has ended, too: who inherits an orphan may take a while to bury it."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("detached", [False, True])
def test_killed_parent(tmp_path: Path, detached: bool) -> None:
    """kill -9 of the parent takes the child along, unless it was meant to stay."""
    script = (
        "import sys, time; from pathlib import Path; from bench.services.daemon import Daemon;"
        f"d = Daemon(['sleep', '60'], log=Path({str(tmp_path / 'log')!r}), detached={detached});"
        "time.sleep(0.3); print(d.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.communicate()
    ended = _ends(child, within_s=1.0)
    if not ended:
        child.kill()
    assert ended is not detached


def test_the_end_of_a_log_for_an_error_message(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    assert "was not written" in tail(log)
    log.write_text("")
    assert "is empty" in tail(log)
    log.write_text("".join(f"{n}\n" for n in range(100)))
    assert tail(log, 2) == "  98\n  99"
