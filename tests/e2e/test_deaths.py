"""kill -9 of every part in every phase: the right exit code, the reason names victim and second, and nothing
is left but the rows that were written before."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from bench.runner import Progress
from tests.e2e.small import carry_out, judged, left_behind, options, pid_of

pytestmark = pytest.mark.services  # whole runs: they take the machine's run lock and its time

PHASES = ("connect", "warmup", "measure", "drain")
CASES = [
    *[("memory", "server", phase) for phase in PHASES],
    *[("memory", "worker", phase) for phase in PHASES],
    *[("db", "mysql", phase) for phase in PHASES],
    *[("queue", "consumer", phase) for phase in PHASES],
]


class Killer:
    """Kills the victim the first time that the phase is shown."""

    def __init__(self, victim: str, phase: str) -> None:
        self.victim = victim
        self.phase = phase
        self.pid = 0

    def __call__(self, progress: Progress) -> None:
        if progress.phase == self.phase and not self.pid:
            self.pid = pid_of(self.victim)
            os.kill(self.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("scheme", "victim", "phase"),
    [pytest.param(*case, id="-".join(case)) for case in CASES],
)
def test_a_death_is_told_and_leaves_nothing(tmp_path: Path, scheme: str, victim: str, phase: str) -> None:
    killer = Killer(victim, phase)
    # A report depends on how far a run came, not on who died: it is made once for each phase.
    carried_out = carry_out if victim == "server" else judged
    folder, summary = carried_out(options(tmp_path, scheme), killer)
    assert killer.pid
    ended, deaths = folder.manifest()["ended"], folder.manifest()["deaths"]
    assert ended["how"] == "failed", ended
    assert ended["phase"] in (phase, "final" if phase == "drain" else phase)  # a large process dies slowly
    assert [death["component"] for death in deaths] == [victim]
    assert str(killer.pid) in ended["message"]
    assert " s after the " in ended["message"]
    assert summary["verdict"]["status"] == "INVALID"
    assert summary["verdict"]["exit_code"] == (4 if phase in ("measure", "drain") else 3)
    assert any(victim in reason["message"] for reason in summary["verdict"]["reasons"])
    if phase != "connect":
        assert folder.table("operations").rows > 100
    assert left_behind() == []
