"""What the harness's own parts cost what they measure: `make proof-own-effect`.

Runs with everything, and runs that leave one part out each (`bench run --leave-out`, hidden), in blocks of
rotated order on one set of services.  By block: CPU per message of everything under test, and READ p50 of the
load users, with over without; at most LIMIT is asked of both.

    probes        pairs that watch a mark become visible, at stores too
    probe_users   the process of their own whose users give the headline, with the kernel's receive stamps
    samplers      /proc, the stores' counters and the queue's lag, once a second
    stamps        the server's stage times in every reply"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from bench import machine, runner
from bench import summary as figures
from bench.cli.signals import end_as_by_ctrl_c
from bench.metrics.history import History
from bench.metrics.intervals import ENOUGH, Block, Ratio, ratio
from bench.options import LEAVE_OUT, RunOptions, arms
from bench.record import Op, Outcome
from bench.results import RunFolder
from bench.services import warm
from bench.services.lock import run_lock
from schemes import SCHEMES
from tests.proofs.kept import Kept

LIMIT: Final = 1.03
WITH: Final = "everything"
UNDER_TEST: Final = ("server", "consumer", "mysql", "redis", "kafka")
FIGURES: Final = {"cpu_ms": "CPU-ms per message", "p50_ms": "READ p50 ms"}
KEPT: Final = Kept(Path("docs/evidence/own-effect.jsonl"))
Figures = Mapping[str, float]
Measured = Mapping[str, Figures]
"""One block: variant -> its figures."""


@dataclass(frozen=True)
class Row:
    part: str
    figure: str
    with_it: float
    without: float
    ratio: Ratio

    @property
    def said(self) -> str:
        if self.ratio.interval is None:
            return f"not decided: fewer than {ENOUGH} blocks"
        low, high = self.ratio.interval
        if high <= LIMIT:
            return "yes"
        return "NO" if low > LIMIT else "not decided"


def order(block: int) -> list[str]:
    """Each variant is in each place equally often, and never beside the same neighbours only."""
    variants = [WITH, *LEAVE_OUT]
    turned = variants[block % len(variants) :] + variants[: block % len(variants)]
    return turned if block // len(variants) % 2 == 0 else turned[::-1]


def rows(blocks: Sequence[Measured]) -> list[Row]:
    """With over without, of each part and figure; pairs are of one block."""
    found = []
    for part in LEAVE_OUT:
        for figure in FIGURES:
            ones, others = ([block[name][figure] for block in blocks] for name in (WITH, part))
            told = ratio([Block(one) for one in ones], [Block(other) for other in others], paired=True)
            if told is not None:
                middles = float(np.median(ones)), float(np.median(others))
                found.append(Row(part, figure, *middles, told))
    return found


def figures_of(folder: RunFolder) -> Figures:
    """Of one run.  Raises SystemExit where it did not end well: its figures would be of something else."""
    summary = figures.write(folder)
    if summary["ended"]["how"] != "finished":
        sys.exit(f"{folder.path} did not finish: {summary['ended']['message']}")
    used = [summary["resources"].get(name) or {} for name in UNDER_TEST]
    return {
        "cpu_ms": sum(one.get("cpu_s_per_1000_messages") or 0.0 for one in used),
        "p50_ms": _read_p50_ms(History(folder)),
    }


def _read_p50_ms(history: History) -> float:
    """Of the load users alone: who the probe users are is one of the things that are varied."""
    read = history.measured_rows(Op.READ)
    mine = history.outcome(read, Outcome.OK)
    operations = history.operations
    kept = read[mine & ~history.by_probes[read]]
    return float(np.median(operations["acknowledged"][kept] - operations["intended"][kept])) / 1e6


def measure(options: RunOptions, block: int) -> Measured:
    """One block, every variant once."""
    (arm,), measured = arms(options), {}
    for variant in order(block):
        asked = replace(options, leave_out=() if variant == WITH else (variant,))
        _say(f"block {block + 1}: {variant if variant == WITH else f'without {variant}'}")
        with tempfile.TemporaryDirectory() as out:
            asked = replace(asked, out=Path(out))
            load = runner.Load.of(asked)
            folder = runner.run(arm, load, asked, say=lambda _: None, show=lambda _: None)
            measured[variant] = figures_of(folder)
    return measured


def page(blocks: Sequence[Measured], about: str) -> list[str]:
    told = rows(blocks)
    when = (
        f"{datetime.now(UTC):%Y-%m-%d}, {machine.describe()['class']}, `make proof-own-effect`: {about}, "
        f"{len(blocks)} blocks of rotated order on one set of services."
    )
    how = (
        f"With over without, pairs of one block [95 % interval]; asked is at most {LIMIT:g}.  CPU is of "
        "everything under test, the drain in it; READ p50 is of the load users."
    )
    lines = [
        "# What the harness's own parts cost",
        "",
        when,
        "",
        how,
        "",
        f"| part | figure | with | without | ratio | at most {LIMIT:g} |",
        "|:--|:--|--:|--:|--:|:--|",
    ]
    for row in told:
        interval = row.ratio.interval
        span = "" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]"
        lines.append(
            f"| {row.part} | {FIGURES[row.figure]} | {row.with_it:.3g} | {row.without:.3g} "
            f"| {row.ratio.value:.3f}{span} | {row.said} |"
        )
    return lines


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.proofs.own_effect")
    parser.add_argument("--scheme", default="redis", choices=sorted(SCHEMES))
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=60.0)
    parser.add_argument("--seconds", type=float, default=20.0, help="measured, of each run")
    parser.add_argument("--blocks", type=int, default=10)
    return parser.parse_args()


def main() -> int:
    """Exit code 0 only where every ratio is shown to be at most LIMIT."""
    asked = _asked()
    options = RunOptions(
        asked.scheme, users=asked.users, rate_per_s=asked.rate, duration_s=asked.seconds, warmup_s=5.0,
        command="make proof-own-effect",
    )  # fmt: skip
    about = f"{asked.scheme}, {asked.users} users, {asked.rate:g} SEND/s, runs of {asked.seconds:g} s"
    machine.make_room(asked.users)
    end_as_by_ctrl_c()
    needs = SCHEMES[asked.scheme].needs
    ours = bool(needs) and warm.read() is None
    with run_lock("tests.proofs.own_effect"):
        if ours:
            warm.up(needs, how="auto", say=_say)
        try:
            blocks = [
                KEPT.once(f"{about} {number}", lambda n=number: {"block": measure(options, n)})["block"]
                for number in range(asked.blocks)
            ]
        finally:
            if ours:
                warm.down()
    print("\n".join(page(blocks, about)))
    return 0 if all(row.said == "yes" for row in rows(blocks)) else 1


if __name__ == "__main__":
    sys.exit(main())
