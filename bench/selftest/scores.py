"""Mutants of a clean record: which the checks kill, and what each check kills that no other does.

`python -m bench.selftest.scores` prints a page of Markdown; exit code 1 if a mutant survived, if a check and
its oracle accuse different cursors, if a check has too few mutants that are wrong, or if one kills nothing
that no other does and is not known to be implied."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import numpy as np

from bench import machine
from bench.checks import all_checks
from bench.metrics import whole
from bench.selftest.held import Record
from bench.selftest.mutations import OPERATORS, unanswered
from bench.selftest.oracle import ORACLES
from bench.selftest.rows import Rows, Wrong

TRIES: Final = 20
"""Mutants made at most for each that is wanted: the others change nothing that the check asks."""
CHANGES_MAX: Final = 7
SHARE: Final = 100
"""Mutants with several changes that are made from one seed."""
ABOUT: Final = """\
Each mutant is one small change to a recorded clean run (`bench/selftest/recorded/`) that leaves a record
which could have been written. It is *wrong* or *equivalent* for the check that it aims at by the verdict of
a second implementation (`bench/selftest/oracle*.py`: plain loops, and a search for an order where the check
has a theorem). Mutants are made until as many as asked for are wrong. All checks are compared with their
oracles on every mutant, not only the one that it aims at. No service and no clock has a part in it: the same
seed gives the same table anywhere."""
REAL_TIME: Final = "linearizable"
"""The promise that no scheme makes."""
IMPLIED: Final = {
    f"{promise}_{scope}": REAL_TIME
    for promise in ("read_your_writes", "monotonic_reads")
    for scope in ("session", "device", "person")
}
"""Checks that accuse nothing that another does not, and which (the proof is in docs/consistency.md)."""
ALONE: Final = """\
*Survive without it*: mutants that no other check kills. The six checks of a session, device or person have
none, and cannot: whatever they accuse is stale in real time (docs/consistency.md has the proof). They say
whose guarantee is broken. *Its promise alone*: mutants that the check kills and that break no other promise
than its own, real time aside, which no scheme promises: without the checks of that promise the run would not
fail. For a person and for `linearizable` it is those that break nothing but real time."""


@dataclass(frozen=True)
class Mutant:
    """`wrong`: what the oracles accuse, by check; `accused`: what the checks do."""

    owner: str
    operator: str
    what: str
    wrong: dict[str, Wrong]
    accused: dict[str, Wrong]

    @property
    def equivalent(self) -> bool:
        """Nothing that its owner asks has become wrong."""
        return not self.wrong[self.owner]

    @property
    def killers(self) -> set[str]:
        return {check for check, accused in self.accused.items() if accused}

    @property
    def disagree(self) -> list[str]:
        """Checks that accuse other cursors than the oracle does."""
        return [check for check, wrong in self.wrong.items() if wrong != self.accused[check]]


@dataclass
class Scores:
    """`several`: mutants with several changes at once, which aim at no check."""

    mutants: list[Mutant] = field(default_factory=list)
    several: list[Mutant] = field(default_factory=list)

    def of(self, check: str) -> list[Mutant]:
        return [mutant for mutant in self.mutants if mutant.owner == check]

    @property
    def survivors(self) -> list[Mutant]:
        return [m for m in self.mutants if not m.equivalent and m.owner not in m.killers]

    @property
    def disagreements(self) -> list[Mutant]:
        return [mutant for mutant in (*self.mutants, *self.several) if mutant.disagree]

    def only(self, check: str) -> int:
        """How many mutants nobody but this check kills."""
        return sum(mutant.killers == {check} for mutant in self.mutants)

    def only_promise(self, check: str, promises: Mapping[str, str]) -> int:
        """How many mutants it kills that break its promise and no other but real time.  `promises`: of each
        check."""
        own = {promises[check], REAL_TIME}
        return sum(
            check in mutant.killers and {promises[killer] for killer in mutant.killers} <= own
            for mutant in self.mutants
        )


def accused(record: Record) -> dict[str, Wrong]:
    """What the checks accuse, by check: (conversation, person)."""
    history = record.history()
    judgement = all_checks.judge(history, whole.why_not(whole.look(history)))
    found: dict[str, Wrong] = {check.name: set() for check in judgement.checks}
    for finding in judgement.findings:
        found[finding["check"]].add((finding["conversation"], finding["user"]))
    return found


def mutants(clean: Record, check: str, wanted: int, rng: np.random.Generator) -> Iterator[Mutant]:
    """Mutants that aim at one check, operator after operator, until `wanted` of them are wrong."""
    operators, bad, unchanged = OPERATORS[check], 0, Rows(clean)
    for number in range(TRIES * wanted):
        operator = operators[number % len(operators)]
        record = clean.copy()
        what = operator(record, rng)
        if what is None:
            continue
        mutant = _judged(check, operator.__name__, what, record, unchanged)
        yield mutant
        bad += not mutant.equivalent
        if bad == wanted:
            return


def _judged(owner: str, operator: str, what: str, record: Record, unchanged: Rows) -> Mutant:
    found, rows = accused(record), Rows(record, unchanged)
    return Mutant(owner, operator, what, {name: ORACLES[name](rows) for name in found}, found)


def several(count: int, seed: Sequence[int]) -> list[Mutant]:
    """Mutants that an operation or two went unanswered in, and that a few operators changed one after the
    other."""
    clean, rng = Record.load(), np.random.default_rng(seed)
    unchanged = Rows(clean)
    every = sorted({op for ops in OPERATORS.values() for op in ops}, key=lambda operator: operator.__name__)
    found = []
    for _ in range(count):
        record = clean.copy()
        chosen = [unanswered] * int(rng.integers(0, 3))
        chosen += [every[i] for i in rng.integers(0, len(every), int(rng.integers(2, CHANGES_MAX)))]
        said = [operator(record, rng) for operator in chosen]
        what = "; ".join(one for one in said if one is not None)
        found.append(_judged("", "several", what, record, unchanged))
    return found


def score(
    wanted: int, seed: int, checks: Sequence[str] = tuple(OPERATORS), *, mixed: int = 0, processes: int = 1
) -> Scores:
    """`wanted` mutants that are wrong for each check, and about `mixed` with several changes.  The same
    whatever the number of processes."""
    tasks = [(check, wanted, (seed, number)) for number, check in enumerate(checks)]
    tasks += [("", SHARE, (seed, len(OPERATORS) + number)) for number in range(mixed // SHARE)]
    if processes == 1:
        found = list(map(_made, tasks))
    else:
        with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
            found = list(pool.map(_made, tasks))
    every = [mutant for part in found for mutant in part]
    return Scores([m for m in every if m.owner], [m for m in every if not m.owner])


def _made(task: tuple[str, int, tuple[int, int]]) -> list[Mutant]:
    """`check` empty: with several changes."""
    check, count, seed = task
    if not check:
        return several(count, seed)
    return list(mutants(Record.load(), check, count, np.random.default_rng(seed)))


# --- the table ----------------------------------------------------------------------------------------------


def page(scores: Scores, wanted: int, seed: int) -> str:
    asked = f"--wrong {wanted} --seed {seed} --several {len(scores.several)}"
    command = f"`make proof-mutations` (`python -m bench.selftest.scores {asked}`)"
    facts = machine.describe()
    where = f"{facts['cores']} cores, {facts['cpu']}, Python {facts['python']}, numpy {np.__version__}"
    survived, disagree = len(scores.survivors), len(scores.disagreements)
    of = f"Of {len(scores.mutants):,} mutants"
    parts = [
        "# Mutants of a clean record, and the checks that kill them",
        f"{command}, {datetime.now(UTC):%Y-%m-%d}; {where}.",
        ABOUT,
        table(scores),
        f"{of} {survived} survived.",
        together(scores),
        f"On {disagree} of all of these a check and its oracle disagree.",
        ALONE,
        operators(scores),
    ]
    return "\n\n".join(parts)


def table(scores: Scores) -> str:
    killed = [mutant for mutant in scores.mutants if mutant.killers]
    head = (
        "check", "mutants", "equivalent", "wrong", "killed", "survived", "survive without it",
        "its promise alone", "implied by",
    )  # fmt: skip
    lines = [_row(head), _row([":--", *["--:"] * (len(head) - 2), ":--"])]
    promises = promises_of_checks()
    for check in OPERATORS:
        own = scores.of(check)
        wrong = [mutant for mutant in own if not mutant.equivalent]
        dead = sum(check in mutant.killers for mutant in wrong)
        cells = (len(own), len(own) - len(wrong), len(wrong), dead, len(wrong) - dead)
        alone = f"{scores.only(check)} of {len(killed)}", str(scores.only_promise(check, promises))
        implied = f"`{IMPLIED[check]}`" if check in IMPLIED else ""
        lines.append(_row([f"`{check}`", *map(str, cells), *alone, implied]))
    return "\n".join(lines)


def promises_of_checks() -> dict[str, str]:
    return {check.name: check.promise for check in all_checks.judge(Record.load().history(), "").checks}


def together(scores: Scores) -> str:
    """What the mutants with several changes add: the checks and their oracles have to agree on each."""
    wrong = Counter(name for mutant in scores.several for name, cursors in mutant.wrong.items() if cursors)
    least = min(OPERATORS, key=lambda check: wrong[check])
    return (
        f"Besides these, {len(scores.several):,} mutants with several changes at once, up to two of them "
        "operations that nobody answered. They aim at no check; each check was wrong on at least "
        f"{wrong[least]:,} of them (`{least}`)."
    )


def operators(scores: Scores) -> str:
    made = Counter(mutant.operator for mutant in scores.mutants)
    wrong = Counter(mutant.operator for mutant in scores.mutants if not mutant.equivalent)
    lines = [_row(("operator", "mutants", "wrong for the check aimed at")), _row((":--", "--:", "--:"))]
    lines += [_row((f"`{name}`", str(made[name]), str(wrong[name]))) for name in sorted(made)]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.selftest.scores", description=__doc__)
    parser.add_argument("--wrong", type=int, default=50, help="mutants per check that are wrong for it")
    parser.add_argument("--several", type=int, default=1_000, help="with several changes, in hundreds")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    scores = score(asked.wrong, asked.seed, mixed=asked.several, processes=machine.cores())
    print(page(scores, asked.wrong, asked.seed))
    bad = failures(scores, asked.wrong) + redundant(scores)
    for line in bad:
        print(line, file=sys.stderr)
    return 1 if bad else 0


def redundant(scores: Scores, checks: Sequence[str] = tuple(OPERATORS)) -> list[str]:
    """Checks that nothing shows to be needed, and those that are not implied as it was said, a line each."""
    promises, bad = promises_of_checks(), []
    for check in checks:
        if check not in IMPLIED and not scores.only(check):
            bad.append(f"{check} kills nothing that no other check does")
        if check in IMPLIED and scores.only(check):
            bad.append(f"{check} kills what {IMPLIED[check]} does not")
        if check in IMPLIED and not scores.only_promise(check, promises):
            bad.append(f"{check} kills nothing that breaks its promise alone")
    return bad


def failures(scores: Scores, wanted: int) -> list[str]:
    """What must not be, a line each."""
    bad = [f"survived {m.owner}: {m.operator}: {m.what}" for m in scores.survivors]
    bad += [
        f"{', '.join(m.disagree)} and oracle disagree: {m.operator}: {m.what}" for m in scores.disagreements
    ]
    for check in OPERATORS:
        wrong = sum(not mutant.equivalent for mutant in scores.of(check))
        if wrong < wanted:
            bad.append(f"{check}: only {wrong} of {wanted} mutants were wrong")
    return bad


if __name__ == "__main__":
    sys.exit(main())
