"""Records `recorded/` anew: a clean run of `redis`, small, with a cache, and with every kind of row.

`python -m bench.selftest.record` (`make record-clean`), whenever bench/record.py gets a column.  Writes
nothing where the run was not clean, or where a check had too little to judge."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

from bench import machine, runner
from bench.checks import all_checks
from bench.checks.check import PASS
from bench.metrics import whole
from bench.metrics.history import History
from bench.options import RunOptions, arms, check
from bench.results import ResultsError, RunFolder
from bench.runner import Load
from bench.selftest.held import KINDS, RECORDED
from bench.services import ServicesError
from bench.services.lock import run_lock

COMMAND: Final = "python -m bench.selftest.record"
OPTIONS: Final = RunOptions(
    "redis", users=12, rate_per_s=5.0, duration_s=9.0, warmup_s=3.0, reads_per_mark=0.6, history=(3, 4),
    scheme_options={"guard": "lease"}, command=COMMAND,
)  # fmt: skip
ELIGIBLE: Final = 30
"""What each check must have had to judge, at least."""
KEPT: Final = (
    "schema_version", "tool", "tool_version", "run_id", "command", "started_at", "ended", "plan_sha256",
    "run", "load", "window", "clock", "deaths", "drained", "final", "fail_if",
)  # fmt: skip
"""Of the manifest: what figures depend on, but the number of rows, which mutants change."""


def record(options: RunOptions) -> RunFolder:
    """A finished run.  Raises ServicesError where nothing could be started, or the run did not finish."""
    (arm,) = arms(options)
    folder = runner.run(arm, Load.of(options), options, say=lambda _: None, show=lambda _: None)
    ended = folder.manifest()["ended"]
    if ended["how"] != "finished":
        raise ServicesError(f"The run did not finish: {ended['message']}")
    return folder


def why_not(folder: RunFolder) -> list[str]:
    """Why mutants cannot be made of this run, a line each; none if they can."""
    history = History(folder)
    unknown = whole.why_not(whole.look(history))
    return [
        f"{check.name}: {check.verdict}, {check.violations} of {check.eligible} {check.unknown}".rstrip()
        for check in all_checks.judge(history, unknown).checks
        if check.verdict != PASS or check.eligible < ELIGIBLE
    ]


def keep(folder: RunFolder, place: Path) -> None:
    """What is needed of the run, instead of what is in `place`."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for table in KINDS:
        for file in (*folder.path.glob(f"{table}-*.parquet"), *folder.path.glob(f"{table}.parquet")):
            shutil.copy(file, place)
    manifest = folder.manifest()
    kept = {name: manifest[name] for name in KEPT if name in manifest}
    (place / "manifest.json").write_text(json.dumps(kept, indent=1) + "\n")


def main() -> int:
    with tempfile.TemporaryDirectory() as out:
        options = replace(OPTIONS, out=Path(out))
        try:
            check(options)
            machine.make_room(2 * options.users)
            with run_lock(COMMAND):
                folder = record(options)
        except (ServicesError, ResultsError) as why:
            print(f"Error: {why}", file=sys.stderr)
            return 3
        bad = why_not(folder)
        if bad:
            print(f"Nothing was recorded, {RECORDED} is as it was. Try again; this run was of no use:")
            print("\n".join(bad))
            return 1
        keep(folder, RECORDED)
    print(f"recorded {RECORDED}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
