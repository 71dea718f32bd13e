import subprocess
import sys
from pathlib import Path

import pytest

from bench.services import ServicesError
from bench.services.lock import run_lock

HOLD = """
import sys
from pathlib import Path
from bench.services.lock import run_lock
with run_lock("bench run --scheme db", path=Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def _holder(path: Path) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_second_run_learns_who_holds_the_machine(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    holder = _holder(path)
    try:
        expected = rf"bench run --scheme db` \(pid {holder.pid}, since 20"
        with pytest.raises(ServicesError, match=expected), run_lock("mine", path=path):
            pytest.fail("two runs at once")
    finally:
        holder.communicate("")
    with run_lock("mine", path=path):
        pass


def test_a_killed_run_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    holder = _holder(path)
    holder.kill()
    holder.communicate()
    with run_lock("mine", path=path):
        assert "mine" in path.read_text()
