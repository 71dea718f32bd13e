"""Stale fills of a cache-aside cache, without failpoints: how often, how old, and what MySQL's speed does.

`python -m tests.proofs.stale_fills` (`make proof-stale-fills`) runs `redis --guard none` on a hot-key mix,
with MySQL behind a proxy that holds its answers: for a while, three times and ten times as long; then
`--guard lease` on the slowest, until it has read ten times as often as a stale read of the other came.
Prints Markdown."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bench import machine, runner, summary
from bench.options import Arm, Places, RunOptions, arms
from bench.runner import Load
from bench.services import bring_up
from bench.services.lock import run_lock
from tests.proofs.slow import SlowPort

HELD_S: Final = (0.0005, 0.0015, 0.005)
"""How long each of MySQL's answers is held, in the mean."""
HOT: Final[dict[str, Any]] = {
    "users": 3, "people": 2, "rate_per_s": 12.0, "reads_per_mark": 12.0, "duration_s": 150.0, "warmup_s": 3.0,
}  # fmt: skip
"""Two people who write and read nothing but each other's conversations: how often a fill is overtaken goes
with the square of the writes to one key."""


@dataclass(frozen=True)
class Seen:
    guard: str
    held_s: float
    store_ms: float
    reads: int
    stale: int
    episodes: int
    oldest_s: float | None
    bound: float


def run(guard: str, held_s: float, seed: int, out: Path) -> Seen:
    """One run with services of its own."""
    with bring_up(frozenset({"mysql", "redis"}), how="local", folder=None, say=_say) as stack:
        mysql, redis = (stack.services[name].url for name in ("mysql", "redis"))
        port = int(mysql.rsplit(":", 1)[1].split("/")[0])
        with SlowPort(port, held_s) as slow:
            options = RunOptions(
                "redis",
                {"guard": guard},
                out=out,
                seed=seed,
                pin="none",
                command="tests.proofs.stale_fills",
                places=Places("external", mysql.replace(str(port), str(slow)), redis, allow_wipe=True),
                **HOT,
            )
            (arm,) = arms(options)
            return _seen(arm, options, held_s)


def _seen(arm: Arm, options: RunOptions, held_s: float) -> Seen:
    folder = runner.run(arm, Load.of(options), options, say=_say, show=lambda _: None)
    made = summary.write(folder)
    if folder.manifest()["ended"]["how"] != "finished":
        raise SystemExit(f"a run did not finish: {folder.manifest()['ended']}")
    checks = {check["name"]: check for check in made["consistency"]["checks"]}
    check = checks["linearizable"]
    return Seen(
        guard=arm.options["guard"],
        held_s=held_s,
        store_ms=made["operations"]["READ"]["mean_ms"]["store"],
        reads=check["eligible"],
        stale=check["violations"],
        episodes=check["episodes"],
        oldest_s=(check["worst"] or {}).get("age_s"),
        bound=check["upper_bound_95"],
    )


def main() -> int:
    """Exit code 1 where the rate does not rise with MySQL's time, or the lease lets one through."""
    rows: list[Seen] = []
    with tempfile.TemporaryDirectory() as out, run_lock("tests.proofs.stale_fills"):
        rows += [run("none", held_s, 1, Path(out)) for held_s in HELD_S]
        wanted, seed, leased = 30 / max(rows[-1].stale / rows[-1].reads, 1e-6), 1, 0
        while leased < wanted and seed < 10:
            rows.append(run("lease", HELD_S[-1], seed, Path(out)))
            leased, seed = leased + rows[-1].reads, seed + 1
    print("\n".join(_page(rows)))
    rates = [row.stale / row.reads for row in rows if row.guard == "none"]
    return 0 if rates == sorted(rates) and rates[-1] > rates[0] and not _leased_stale(rows) else 1


def _leased_stale(rows: list[Seen]) -> int:
    return sum(row.stale for row in rows if row.guard == "lease")


def _page(rows: list[Seen]) -> list[str]:
    here = machine.describe()
    lines = [
        "# Stale fills, and what MySQL's speed does to them",
        "",
        f"`make proof-stale-fills`, {datetime.now(UTC):%Y-%m-%d}, {here['cores']} cores ({here['cpu']}),",
        f"machine class {here['class']}. No failpoints. {HOT['users']} devices of {HOT['people']} people,",
        f"{HOT['rate_per_s']:g} SEND/s, {HOT['reads_per_mark']:g} STATEs per mark, {HOT['duration_s']:g} s.",
        "",
        "| guard | held, ms | MySQL's time in a READ, ms | reads | stale | episodes | rate | oldest, s |",
        "| --- | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for row in rows:
        oldest = "" if row.oldest_s is None else f"{row.oldest_s:.1f}"
        rate = f"{row.stale / row.reads:.2g}" if row.stale else f"0, at most {row.bound:.2g}"
        lines.append(
            f"| {row.guard} | {row.held_s * 1e3:g} | {row.store_ms:.1f} | {row.reads:,} | {row.stale:,} "
            f"| {row.episodes:,} | {rate} | {oldest} |"
        )
    reads = sum(row.reads for row in rows if row.guard == "lease")
    stale = _leased_stale(rows)
    lines += [
        "",
        f"With the lease: {stale} of {reads:,} reads, by 95 % fewer than {max(3, stale) / reads:.2g}.",
    ]
    return lines


def _say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
