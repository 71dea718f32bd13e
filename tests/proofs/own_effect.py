"""What the harness's own parts cost what they measure: `make proof-own-effect`.

For each part two servers on one set of services, loaded in turn, A B B A, as `bench check --against` does:
A is measured with everything, B without the part (`bench run --leave-out`, hidden).  By pair of loads: CPU
per message of everything under test, and READ p50 of the load users, with over without; at most LIMIT is
asked of both.

    probes        pairs that watch a mark become visible, at stores too
    probe_users   the process of their own whose users give the headline, with the kernel's receive stamps
    samplers      /proc, the stores' counters and the queue's lag, once a second
    stamps        the server's stage times in every reply"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from bench import machine
from bench.capacity.climb import Measured as Step
from bench.cli.signals import end_as_by_ctrl_c
from bench.gate import ranks
from bench.interleaved.conduct import Interleaved, Pace
from bench.interleaved.sides import find
from bench.metrics.history import History
from bench.options import LEAVE_OUT, RunOptions, arms
from bench.record import Op, Outcome
from bench.services import Stack, bring_up
from bench.services.lock import run_lock
from schemes import SCHEMES
from tests.proofs.kept import Kept

LIMIT: Final = 1.03
UNDER_TEST: Final = ("server", "consumer", "mysql", "redis", "kafka")
FIGURES: Final = {"cpu_ms": "CPU-ms per message", "p50_ms": "READ p50 ms"}
KEPT: Final = Kept(Path("docs/evidence/own-effect.jsonl"))
Figures = Mapping[str, float]
Pair = tuple[Figures, Figures]
"""Of one load with everything, and of one without the part."""
LEAD_S: Final = 1.0


@dataclass(frozen=True)
class Row:
    """`ratio`, `low` and `high`: with over without, and its 90 % interval, each end of which is wrong in 5 of
    100 cases."""

    part: str
    figure: str
    with_it: float
    without: float
    ratio: float
    low: float
    high: float

    @property
    def said(self) -> str:
        if self.high <= LIMIT:
            return "yes"
        return "NO" if self.low > LIMIT else "not decided"


def rows(measured: Mapping[str, Sequence[Pair]]) -> list[Row]:
    """Of each part and figure, from its signed ranks (`bench/gate/ranks.py`)."""
    found = []
    for part, pairs in measured.items():
        for figure in FIGURES:
            ones, others = ([pair[side][figure] for pair in pairs] for side in (0, 1))
            told = ranks.of_pairs(np.log(np.divide(ones, others)), 0.1)
            ends = (math.exp(end) for end in (told.estimate, told.low, told.high))
            found.append(Row(part, figure, float(np.median(ones)), float(np.median(others)), *ends))
    return found


def figures_of(step: Step) -> Figures:
    """Of one load."""
    used = [step.summary["resources"].get(name) or {} for name in UNDER_TEST]
    return {
        "cpu_ms": sum(one.get("cpu_s_per_1000_messages") or 0.0 for one in used),
        "p50_ms": _read_p50_ms(History(step.folder)),
    }


def _read_p50_ms(history: History) -> float:
    """Of the load users alone: who the probe users are is one of the things that are varied."""
    read = history.measured_rows(Op.READ)
    mine = history.outcome(read, Outcome.OK)
    operations = history.operations
    kept = read[mine & ~history.by_probes[read]]
    return float(np.median(operations["acknowledged"][kept] - operations["intended"][kept])) / 1e6


def measure(part: str, stack: Stack, options: RunOptions, blocks: int) -> list[Pair]:
    """Each block gives two pairs."""
    (arm,), here = arms(options), find(None, _say)
    measured: list[Pair] = []
    with (
        tempfile.TemporaryDirectory() as out,
        Interleaved(
            (here, here), arm, options, Pace(LEAD_S, options.duration_s), stack, Path(out), say=_say,
            show=lambda _: None, leave_out=(part,),
        ) as both,
    ):  # fmt: skip
        both.warm_up()
        for number in range(blocks):
            sides: tuple[list[Figures], list[Figures]] = ([], [])
            for side, step in both.turns():
                sides[side].append(figures_of(step))
            measured += zip(*sides, strict=True)
            _say(f"without {part}, block {number + 1}: {measured[-2:]}")
    return measured


def page(measured: Mapping[str, Sequence[Pair]], about: str) -> list[str]:
    when = (
        f"{datetime.now(UTC):%Y-%m-%d}, {machine.describe()['class']}, `make proof-own-effect`: {about}. For "
        "each part two servers on one set of services, loaded in turn (A B B A): measured with everything, "
        "and without the part."
    )
    how = (
        f"With over without, of pairs [90 % interval]; asked is at most {LIMIT:g}.  CPU is of "
        "everything under test, the drain in it; READ p50 is of the load users."
    )
    lines = [
        "# What the harness's own parts cost",
        "",
        when,
        "",
        how,
        "",
        f"| part | pairs | figure | with | without | ratio | at most {LIMIT:g} |",
        "|:--|--:|:--|--:|--:|--:|:--|",
    ]
    lines += [
        f"| {row.part} | {len(measured[row.part])} | {FIGURES[row.figure]} | {row.with_it:.3g} "
        f"| {row.without:.3g} | {row.ratio:.3f} [{row.low:.3f}, {row.high:.3f}] | {row.said} |"
        for row in rows(measured)
    ]
    return lines


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.proofs.own_effect")
    parser.add_argument("--scheme", default="redis", choices=sorted(SCHEMES))
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--rate", type=float, default=60.0)
    parser.add_argument("--seconds", type=float, default=5.0, help="measured, of each load")
    parser.add_argument("--blocks", type=int, default=15, help="A B B A, of each part and time")
    parser.add_argument("--times", type=int, default=3, help="that each part's servers are started")
    return parser.parse_args()


def main() -> int:
    """Exit code 0 only where every ratio is shown to be at most LIMIT."""
    asked = _asked()
    options = RunOptions(
        asked.scheme, users=asked.users, rate_per_s=asked.rate, duration_s=asked.seconds, warmup_s=LEAD_S,
        command="make proof-own-effect",
    )  # fmt: skip
    about = f"{asked.scheme}, {asked.users} users, {asked.rate:g} SEND/s, loads of {asked.seconds:g} s"
    machine.make_room(2 * asked.users)
    end_as_by_ctrl_c()
    measured: dict[str, list[Pair]] = {part: [] for part in LEAVE_OUT}
    for time in range(asked.times):
        for part, pairs in measured.items():
            key = f"{about}, {part} {time}"
            pairs += KEPT.once(key, lambda of=part: {"pairs": _alone(of, options, asked.blocks)})["pairs"]
    print("\n".join(page(measured, about)))
    return 0 if all(row.said == "yes" for row in rows(measured)) else 1


def _alone(part: str, options: RunOptions, blocks: int) -> list[Pair]:
    with (
        tempfile.TemporaryDirectory() as folder,
        run_lock("tests.proofs.own_effect"),
        bring_up(SCHEMES[options.scheme].needs, how="local", folder=Path(folder), say=_say) as stack,
    ):
        return measure(part, stack, options, blocks)


if __name__ == "__main__":
    sys.exit(main())
