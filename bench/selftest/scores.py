"""Mutants of a clean record: which the checks kill, and what each check kills that no other does.

`python -m bench.selftest.scores` prints the table as Markdown; exit code 1 if a mutant survived, a check accused
what is right, or a check has too few mutants that are wrong."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from bench.checks import all_checks
from bench.metrics import whole
from bench.selftest.held import Record
from bench.selftest.mutations import OPERATORS
from bench.selftest.oracle import ORACLES, Rows, Wrong

TRIES: Final = 12
"""Mutants made at most for each that is wanted: the others change nothing that the check asks."""


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
    mutants: list[Mutant] = field(default_factory=list)

    def of(self, check: str) -> list[Mutant]:
        return [mutant for mutant in self.mutants if mutant.owner == check]

    @property
    def survivors(self) -> list[Mutant]:
        return [m for m in self.mutants if not m.equivalent and m.owner not in m.killers]

    @property
    def disagreements(self) -> list[Mutant]:
        return [mutant for mutant in self.mutants if mutant.disagree]

    def only(self, check: str) -> int:
        """How many mutants nobody but this check kills."""
        return sum(mutant.killers == {check} for mutant in self.mutants)


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
    operators, bad = OPERATORS[check], 0
    for number in range(TRIES * wanted):
        operator = operators[number % len(operators)]
        record = clean.copy()
        what = operator(record, rng)
        if what is None:
            continue
        found = accused(record)
        rows = Rows(record)
        wrong = {name: ORACLES[name](rows) for name in found}
        mutant = Mutant(check, operator.__name__, what, wrong, found)
        yield mutant
        bad += not mutant.equivalent
        if bad == wanted:
            return


def score(wanted: int, seed: int, checks: Sequence[str] = tuple(OPERATORS)) -> Scores:
    clean = Record.load()
    scores = Scores()
    for number, check in enumerate(checks):
        scores.mutants += mutants(clean, check, wanted, np.random.default_rng([seed, number]))
    return scores


# --- the table ----------------------------------------------------------------------------------------------


def table(scores: Scores) -> str:
    killed = [mutant for mutant in scores.mutants if mutant.killers]
    head = ("check", "mutants", "equivalent", "wrong", "killed", "survived", "without it, of all survive")
    lines = [_row(head), _row([":--", *["--:"] * (len(head) - 1)])]
    for check in OPERATORS:
        own = scores.of(check)
        wrong = [mutant for mutant in own if not mutant.equivalent]
        dead = sum(check in mutant.killers for mutant in wrong)
        cells = (len(own), len(own) - len(wrong), len(wrong), dead, len(wrong) - dead)
        lines.append(_row([f"`{check}`", *map(str, cells), f"{scores.only(check)} of {len(killed)}"]))
    return "\n".join(lines)


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
    parser.add_argument("--wrong", type=int, default=60, help="mutants per check that are wrong for it")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    scores = score(asked.wrong, asked.seed)
    print(f"{table(scores)}\n\n{operators(scores)}")
    bad = [f"survived {m.owner}: {m.operator}: {m.what}" for m in scores.survivors]
    bad += [
        f"{', '.join(m.disagree)} and oracle disagree: {m.operator}: {m.what}" for m in scores.disagreements
    ]
    for check in OPERATORS:
        wrong = sum(not mutant.equivalent for mutant in scores.of(check))
        if wrong < asked.wrong:
            bad.append(f"{check}: only {wrong} of {asked.wrong} mutants were wrong")
    for line in bad:
        print(line, file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
