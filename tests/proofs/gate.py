"""What `bench check --against` finds, and what it accuses for nothing: `make proof-gate`.

READs of the candidate need more CPU (`planted_server.py`); how much that is, is found on the wire under the
generator's load alone (`read_ratio.py`), and how much longer READs take by it in the gates themselves, whose
servers have more to do, is heard on the wire while they run (`overheard.py`).  Live gates for each share,
then gates drawn from the blocks that the live ones recorded, none used twice in a gate.  What was run is kept
in docs/evidence/gate.jsonl, and not run again; the table is printed as Markdown."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np

from bench import machine
from bench.calibrate.drive import Drive
from bench.cli import against
from bench.cli.signals import end_as_by_ctrl_c
from bench.control import Control
from bench.gate import power, ranks, sequential
from bench.gate.metrics import AGAINST, METRICS, TOLERANCES
from bench.gate.sequential import ACCUSED, ACQUITTED, OPEN, Block, Pair
from bench.interleaved.share import Share
from bench.metrics import intervals
from bench.options import RunOptions
from bench.runner import Load
from bench.services import bring_up
from bench.services.lock import run_lock
from bench.services.server import SchemeProcesses, Source
from schemes import SCHEMES
from tests.proofs import overheard, read_ratio
from tests.proofs.causes import burn_core
from tests.proofs.kept import Kept
from tests.proofs.wire import Wire

KEPT: Final = Kept(Path("docs/evidence/gate.jsonl"))
OUT: Final = Path("results/proof-gate")
SCHEME: Final = "redis"
FIGURE: Final = "READ.p50"
GATES: Final[Mapping[float, int]] = {0.0: 10, 0.05: 6, 0.1: 6, 0.2: 13, 0.5: 6}
"""Share by which READs are stretched -> live gates.  The first 3, 3, 10 and 3 were not listened to."""
WHOLE: Final = 40
"""Live and drawn gates, for none and for the one that must be found."""
MUST_FIND: Final = 0.2
MISSED_AT_MOST: Final = 1
BURNED: Final = (0.0, MUST_FIND)
"""Shares by which READs are stretched in live gates while somebody else burns a core."""
BURNED_BUDGET_S: Final = 150
ALIKE: Final = 2_000
BUDGET_S: Final = 600
MOST_BLOCKS: Final = 15
"""That there is time for."""
PILOT: Final = 50
"""Turns of work (`planted_server.py`): enough, so that what one of them costs is known well."""
ROUNDS: Final = 10
COMMAND: Final = "{python} -m tests.proofs.planted_server " + SCHEME


Known = Mapping[str, dict[str, Any]]


def main() -> int:
    asked = _asked()
    end_as_by_ctrl_c()
    pilot = KEPT.once("pilot", lambda: _on_the_wire((PILOT,)))
    by_turn = (pilot["ratios"][0][0] - 1) / pilot["turns"][0]
    planted = {share: round(share / by_turn) for share in GATES}
    for number in range(max(GATES.values())):
        for share, wanted in GATES.items():
            if number < min(wanted, asked.most):
                KEPT.once(f"gate {share:g} {number}", lambda turns=planted[share]: _gate(turns, BUDGET_S))
    for number, share in enumerate(BURNED[: asked.most]):
        KEPT.once(f"burned {share:g} {number}", lambda turns=planted[share]: _burned(turns))
    lines, good = _page(KEPT.known())
    print("\n".join(lines))
    return 0 if good else 1


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.proofs.gate")
    parser.add_argument("--most", type=int, default=99, help="Live gates of each share.")
    return parser.parse_args()


# --- live -------------------------------------------------------------------------------------------------


def _gate(turns: int, budget_s: int) -> dict[str, Any]:
    """One `bench check --against`, from its command line, and the READs of both sides as they passed."""
    base, candidate = (f"env PLANT=stretched:{planted} {_command()}" for planted in (0, turns))
    argv = [
        sys.executable, "-m", "bench", "check", "--a", base, "--b", candidate, "--scheme", SCHEME,
        "--budget", f"{budget_s}s", "--json", "--quiet", "--out", str(OUT),
    ]  # fmt: skip
    began = time.monotonic()
    with (
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as error,
        subprocess.Popen(argv, stdout=out, stderr=error, text=True) as check,
        contextlib.ExitStack() as ears,
    ):
        try:
            wires = [ears.enter_context(Wire(port)) for port in overheard.ports(check)]
        except BaseException:
            check.terminate()
            raise
        for file in (out, error):
            file.seek(0)
        said, why = out.read(), error.read()
    with_setup_s = round(time.monotonic() - began, 1)
    try:
        content = json.loads(said)
    except ValueError:
        raise SystemExit(f"bench check ended with {check.returncode}:\n{why[-2000:]}") from None
    rows = {row["metric"]: row for row in content["change"]["rows"] if row["deciding"]}
    figure = rows.get(FIGURE, {})
    loads = overheard.WARM + len(content["pairs"]) + 2 * len(content["left_out"])
    return {
        "exit_code": check.returncode,
        "seconds": content["spent_s"],
        "with_setup_s": with_setup_s,
        "pairs": content["pairs"],
        "disturbed": len(content["left_out"]),
        "ratio": figure.get("ratio"),
        "interval": figure.get("interval"),
        "why": [reason["message"] for reason in content["verdict"]["reasons"]],
        "heard": overheard.pairs([wire.answered("READ") for wire in wires], loads),
    }


def _burned(turns: int) -> dict[str, Any]:
    """The same while somebody else's process keeps a core busy."""
    with contextlib.ExitStack() as undo:
        burn_core(1.0, undo)
        return _gate(turns, BURNED_BUDGET_S)


def _command() -> str:
    return COMMAND.format(python=sys.executable)


def _on_the_wire(planted: Sequence[int]) -> dict[str, Any]:
    """READ's time on servers with these plants over one without, all up, each loaded as the gate does."""
    load = Load.of(
        RunOptions(SCHEME, users=against.USERS, rate_per_s=against.RATE_PER_S, duration_s=5.0, warmup_s=1.0)
    )
    people = load.population
    with (
        tempfile.TemporaryDirectory() as name,
        run_lock("tests.proofs.gate"),
        bring_up(SCHEMES[SCHEME].needs, how="local", folder=Path(name), say=lambda _: None) as stack,
        contextlib.ExitStack() as up,
    ):
        servers, drives = [], []
        for side, turns in enumerate((0, *planted)):
            logs = Path(name) / f"side-{side}"
            logs.mkdir()
            server = up.enter_context(_server(stack, side, turns, logs))
            server.wait_ready()
            with contextlib.closing(Control(server.control_url, SECRET)) as control:
                control.seed(people.seed_frames(load.plan.unread_at_start), warm=False)
            servers.append(server)
            drives.append(up.enter_context(Drive(server.url, load, secret=SECRET, logs=logs, pids=dict)))
        found = read_ratio.measure(
            [server.url for server in servers], [drive.slice for drive in drives], ROUNDS
        )
    return {"turns": list(planted), "base_us": found.base_us, "ratios": found.ratios}


SECRET: Final = "proof"


def _server(stack: Any, side: int, turns: int, logs: Path) -> SchemeProcesses:
    services = Share(stack, side, allow_wipe=True).services
    command = ("env", f"PLANT=stretched:{turns}", *_command().split())
    options = {"mysql-url": services["mysql"].url, "redis-url": services["redis"].url}
    return SchemeProcesses(
        SCHEME, options, settings={}, secret=SECRET, logs=logs, source=Source(Path.cwd(), command=command)
    )


# --- drawn ------------------------------------------------------------------------------------------------


def _blocks(known: Known, share: float) -> list[Block]:
    """Those of all live gates with this plant."""
    found = []
    for row in _gates(known, share):
        if row["pairs"]:
            pairs = [Pair({name: tuple(values) for name, values in pair.items()}) for pair in row["pairs"]]
            found += [Block(tuple(pairs[i : i + 2])) for i in range(0, len(pairs) - 1, 2)]
    return found


def _drawn(blocks: Sequence[Block], planned: sequential.Plan, rng: np.random.Generator) -> sequential.Outcome:
    """A gate of recorded blocks in a random order, each at most once."""
    order = [blocks[i] for i in rng.permutation(len(blocks))[: len(planned.looks)]]
    return sequential.decide(lambda n: order[n] if n < len(order) else None, planned, AGAINST)


def _swapped(block: Block, rng: np.random.Generator) -> Block:
    """With sides that are changed or not: two alike sides may be called either way."""
    if rng.random() < 0.5:
        return block
    return Block(tuple(Pair({name: (b, a) for name, (a, b) in pair.figures.items()}) for pair in block.pairs))


# --- the page ---------------------------------------------------------------------------------------------


LIVE: Final = """
| READ longer by | on the wire | live gates | accused | acquitted | open | s | pairs | estimate | inside |
| --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |"""
DRAWN: Final = """
Gates drawn from the recorded blocks, none used twice in a gate, with the live ones:

| READ longer by | recorded pairs | gates | accused | exact 95 % bound | acquitted | open |
| --: | --: | --: | --: | --: | --: | --: |"""

VISIBLE: Final = f"""
What 80 % of such gates would find in {BUDGET_S / 60:g} min (drawn from the pairs of alike sides; `nothing`:
too few blocks have enough samples of it):

| figure | pairs | smallest effect | tolerance, where it decides |
| --- | --: | --: | --: |"""
INSIDE: Final = 0.9
"""Of the gates' intervals, at least, hold what is true."""


def _page(known: Known) -> tuple[list[str], bool]:
    """The page, and whether it shows what it must."""
    here, decide = machine.describe(), (f"{METRICS[name].title} ({by:.0%})" for name, by in AGAINST.items())
    lines = [
        "# The gate: what it finds, and what it accuses for nothing",
        "",
        f"`make proof-gate`, {datetime.now(UTC):%Y-%m-%d}, machine class {here['class']}; `{SCHEME}`,",
        f"200 users, 60 SEND/s, blocks A B B A of 6 s each, at most {BUDGET_S / 60:g} min.  Figures that",
        f"decide, each with its tolerance: {', '.join(decide)}.",
        "On the wire: READs of both sides as they passed in the gates that were listened to, over all of",
        f"their pairs (`overheard.py`).  Seconds, pairs and the estimate of {METRICS[FIGURE].title} are",
        "medians; inside: gates whose interval holds what the wire says.",
        LIVE,
    ]
    lines += [_live(known, share) for share in GATES if _gates(known, share)]
    rng = np.random.default_rng(7)
    drawn = [_of_drawn(known, share, rng) for share in (0.0, MUST_FIND) if _blocks(known, share)]
    lines += [DRAWN, *(line for line, _ in drawn), VISIBLE, *_visible(known)]
    told, level_holds = _alike(known, rng)
    held, of = _inside(known, GATES)
    good = level_holds and held >= INSIDE * of and all(good for _, good in drawn)
    good = good and all(_heard(known, share) is not None for share in GATES)
    lines += ["", told, "", f"The interval held what the wire says in {held} of {of} gates.", ""]
    burned = [row for key, row in known.items() if key.startswith("burned ")]
    told = sum(row["exit_code"] == 5 for row in burned)
    lines += [
        f"While somebody else burned a core (nothing planted, and {MUST_FIND:.0%}) {told} of {len(burned)}",
        f"gates of {BURNED_BUDGET_S} s ended with exit code 5, can't tell; {len(BURNED)} are wanted.",
        *(f"- {'; '.join(row['why'])}" for row in burned),
    ]
    return lines, good and told == len(BURNED)


def _gates(known: Known, share: float) -> list[dict[str, Any]]:
    return [row for key, row in known.items() if key.startswith(f"gate {share:g} ")]


def _live(known: Known, share: float) -> str:
    gates, heard = _gates(known, share), _heard(known, share)
    codes = [row["exit_code"] for row in gates]
    held, of = _inside(known, [share])
    cells = (
        f"{share:.0%}",
        _told(share, heard),
        len(gates),
        codes.count(11),
        codes.count(0),
        codes.count(5),
        f"{median(row['seconds'] for row in gates):.0f}",
        f"{median(len(row['pairs']) for row in gates):g}",
        f"x{median(row['ratio'] for row in gates):.3f}",
        f"{held} of {of}",
    )
    return f"| {' | '.join(map(str, cells))} |"


def _told(share: float, heard: tuple[float, float, float] | None) -> str:
    if not share:
        return "nothing planted"
    return "not heard" if heard is None else "x{:.3f} [{:.3f}, {:.3f}]".format(*heard)


def _heard(known: Known, share: float) -> tuple[float, float, float] | None:
    """How much longer READs really were with this plant, with its 95 % interval: over all pairs of loads of
    the gates that were listened to.  None: none was."""
    if not share:
        return 1.0, 1.0, 1.0
    heard = [pair for row in _gates(known, share) for pair in row.get("heard", ())]
    if not heard:
        return None
    pairs = np.log(heard)
    shift = ranks.of_pairs(pairs[:, 1] - pairs[:, 0], 0.05)
    return math.exp(shift.estimate), math.exp(shift.low), math.exp(shift.high)


def _inside(known: Known, shares: Iterable[float]) -> tuple[int, int]:
    """Gates whose interval holds what the wire says, of those that gave one."""
    held = [
        low <= truth[0] <= high
        for share in shares
        if (truth := _heard(known, share)) is not None
        for row in _gates(known, share)
        if row["interval"]
        for low, high in [row["interval"]]
    ]
    return sum(held), len(held)


def _visible(known: Known) -> list[str]:
    """Of each figure, what a gate could see; drawn from the pairs of alike sides."""
    gates = _gates(known, 0.0)
    alike = [pair for row in gates for pair in row["pairs"]]
    block_s = median(row["seconds"] / (len(row["pairs"]) / 2 + row["disturbed"]) for row in gates)
    planned = sequential.plan(int(BUDGET_S / block_s), len(AGAINST))
    lines = []
    for name in dict.fromkeys((*AGAINST, *TOLERANCES)):
        pairs = [
            (intervals.Block(a), intervals.Block(b)) for a, b in (one[name] for one in alike if name in one)
        ]
        seen = power.detectable(pairs, planned, 0.0)
        told = "nothing" if seen is None else f"{seen:+.1%}"
        decides = f"±{AGAINST[name]:.0%}" if name in AGAINST else "–"
        lines.append(f"| {METRICS[name].title} | {len(pairs)} | {told} | {decides} |")
    return lines


def _of_drawn(known: Known, share: float, rng: np.random.Generator) -> tuple[str, bool]:
    blocks, gates = _blocks(known, share), _gates(known, share)
    said = [{11: ACCUSED, 0: ACQUITTED}.get(row["exit_code"], OPEN) for row in gates]
    planned = sequential.plan(min(len(blocks), MOST_BLOCKS), len(AGAINST))
    said += [_drawn(blocks, planned, rng).verdict for _ in range(max(0, WHOLE - len(gates)))]
    accused, acquitted, n = said.count(ACCUSED), said.count(ACQUITTED), len(said)
    bound = f"at least {_lower(accused, n):.1%}" if share else f"at most {_upper(accused, n):.1%}"
    pairs = sum(len(block.pairs) for block in blocks)
    line = f"| {share:.0%} | {pairs} | {n} | {accused} | {bound} | {acquitted} | {n - accused - acquitted} |"
    return line, accused >= n - MISSED_AT_MOST if share else accused == 0


def _alike(known: Known, rng: np.random.Generator) -> tuple[str, bool]:
    """How often two alike sides are told apart, whichever of them is called the candidate."""
    blocks = _blocks(known, 0.0)
    planned = sequential.plan(min(len(blocks), MOST_BLOCKS), len(AGAINST))
    drawn = (_drawn([_swapped(block, rng) for block in blocks], planned, rng) for _ in range(ALIKE))
    wrong = sum(outcome.verdict == ACCUSED for outcome in drawn)
    told = (
        f"Of {ALIKE:,} gates drawn from the alike sides, those of each block changed by a coin, {wrong} "
        f"accused: {wrong / ALIKE:.2%}, at most {_upper(wrong, ALIKE):.2%}. The level of the test is "
        f"{sequential.FALSE_ALARMS:.0%}, and the tolerance is asked on top of it."
    )
    return told, _lower(wrong, ALIKE) <= sequential.FALSE_ALARMS


def _lower(hits: int, of: int) -> float:
    """C. J. Clopper and E. S. Pearson's exact bound ("The use of confidence or fiducial limits illustrated in
    the case of the binomial", Biometrika 26, 1934), one-sided, 95 %."""
    return 1 - _upper(of - hits, of)


def _upper(hits: int, of: int) -> float:
    low, high = hits / of, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(hits, of, middle) > 0.05 else (low, middle)
    return high


def _at_most(hits: int, of: int, share: float) -> float:
    """The chance of so many hits or fewer."""
    if share >= 1:
        return float(hits >= of)
    logs = [
        math.lgamma(of + 1) - math.lgamma(k + 1) - math.lgamma(of - k + 1)
        + k * math.log(share) + (of - k) * math.log1p(-share)
        for k in range(hits + 1)
    ]  # fmt: skip
    return math.fsum(map(math.exp, logs))


if __name__ == "__main__":
    sys.exit(main())
