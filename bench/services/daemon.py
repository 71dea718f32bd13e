"""A child process that serves: started in a session of its own, watched, and ended with all it started.

The terminal's Ctrl-C does not reach it, so the parent decides what ends when. If the parent is killed, the
kernel kills the child (PR_SET_PDEATHSIG, by util-linux's `setpriv`), unless it was started `detached`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

# The kernel counts the *thread* that forked as the parent. This one lives as long as the process does.
_SPAWNER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")


class Daemon:
    def __init__(
        self,
        argv: Sequence[str],
        *,
        log: Path,
        detached: bool = False,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.log = log
        self._process = _SPAWNER.submit(_spawn, argv, log, detached, env, cwd).result()

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> str | None:
        """None while it runs, else how it ended, in words."""
        status = self._process.poll()
        if status is None:
            return None
        if status < 0:
            return f"was killed by {signal.Signals(-status).name}"
        return f"exited with status {status}"

    def send(self, number: signal.Signals) -> None:
        """To the process itself, not its group. A process that has ended is left in peace."""
        self._process.send_signal(number)

    def wait(self, timeout_s: float) -> bool:
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self, grace_s: float) -> None:
        """SIGTERM, `grace_s` seconds to end, then SIGKILL for the group. Also ends one that is paused."""
        if self.poll() is None:
            self.send(signal.SIGTERM)
            self.send(signal.SIGCONT)
            if not self.wait(grace_s):
                os.killpg(self.pid, signal.SIGKILL)
                self._process.wait()

    def listens_on(self, port: int) -> bool:
        """Whether this very process has the port open."""
        try:
            sockets = psutil.Process(self.pid).net_connections(kind="tcp")
        except psutil.Error:
            return False
        return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in sockets)

    def tail(self, lines: int = 12) -> str:
        return tail(self.log, lines)


def _spawn(
    argv: Sequence[str], log: Path, detached: bool, env: Mapping[str, str] | None, cwd: Path | None
) -> subprocess.Popen[bytes]:
    setpriv = None if detached else shutil.which("setpriv")
    guarded = [setpriv, "--pdeathsig", "KILL", "--", *argv] if setpriv else list(argv)
    with log.open("ab") as out:
        return subprocess.Popen(
            guarded,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(env or {})},
            cwd=cwd,
        )


def tail(log: Path, lines: int = 12) -> str:
    """The end of a log, indented for an error message."""
    if not log.is_file():
        return f"  ({log} was not written)"
    text = log.read_text(errors="replace").splitlines()[-lines:]
    return "\n".join(f"  {line[:300]}" for line in text) or f"  ({log} is empty)"


def until(deadline: float, interval_s: float = 0.02) -> bool:
    """False once `deadline` (monotonic seconds) has passed; else waits a moment and says True."""
    if time.monotonic() >= deadline:
        return False
    time.sleep(interval_s)
    return True
