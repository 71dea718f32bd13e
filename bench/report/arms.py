"""Who is who in a report: an arm's name, colour and marker, the same in every chart, table and sentence.

One table, Okabe and Ito's palette (safe for the colour-blind); the control is grey.  Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench import alike
from schemes import SCHEMES

CONTROL: Final = "memory"


@dataclass(frozen=True)
class Look:
    """How an arm is drawn.  `marker` is matplotlib's."""

    colour: str
    marker: str


@dataclass(frozen=True)
class Arm:
    """One run as the report names it.  `key` is unique within a report."""

    key: str
    label: str
    look: Look
    control: bool


LOOKS: Final[dict[tuple[str, str], Look]] = {
    ("memory", ""): Look("#8c8c8c", "x"),
    ("db", "flags"): Look("#D55E00", "s"),
    ("db", "cursor"): Look("#E69F00", "D"),
    ("redis", "flags"): Look("#0072B2", "o"),
    ("redis", "cursor"): Look("#56B4E9", "v"),
    ("queue", "flags"): Look("#009E73", "^"),
    ("queue", "cursor"): Look("#CC79A7", "P"),
}
"""(scheme, model) -> look.  A scheme that is not here takes the next of `SPARE`."""

_COLOURS: Final = ("#CC79A7", "#56B4E9", "#E69F00", "#009E73", "#0072B2", "#D55E00")
SPARE: Final = tuple(Look(colour, marker) for marker in ("h", "*", "p", "<", ">") for colour in _COLOURS)
"""For a second arm of one scheme and model, and for schemes of the user's own."""


def arms(runs: Sequence[Mapping[str, Any]]) -> list[Arm]:
    """The arms of a report, one per `summary.run`, in the order given.

    The label is scheme/model plus the options in which runs of the same scheme and model differ; runs that
    differ in nothing are numbered, so that an A/A comparison stays readable."""
    labels = _labels(runs)
    used: set[Look] = set()
    made = []
    for run, label in zip(runs, labels, strict=True):
        look = _look(run, used)
        used.add(look)
        made.append(Arm(label, label, look, run["scheme"] == CONTROL))
    return made


def _look(run: Mapping[str, Any], used: set[Look]) -> Look:
    model = "" if run["scheme"] == CONTROL else run.get("model") or ""
    wanted = LOOKS.get((run["scheme"], model))
    if wanted is not None and wanted not in used:
        return wanted
    free = [look for look in SPARE if look not in used]
    return free[0] if free else SPARE[len(used) % len(SPARE)]


def _labels(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    plain = [_plain(run) for run in runs]
    fuller = [
        " ".join([name, *_differing(run, [other for other, n in zip(runs, plain, strict=True) if n == name])])
        for name, run in zip(plain, runs, strict=True)
    ]
    total, seen = Counter(fuller), Counter[str]()
    labels = []
    for name in fuller:
        seen[name] += 1
        labels.append(f"{name} #{seen[name]}" if total[name] > 1 else name)
    return labels


def _plain(run: Mapping[str, Any]) -> str:
    scheme = str(run["scheme"])
    if scheme == CONTROL:
        return "control"
    return f"{scheme}/{run['model']}" if run.get("model") else scheme


def _differing(run: Mapping[str, Any], alike: Sequence[Mapping[str, Any]]) -> list[str]:
    """The values of the options in which `run` is not like the others of its scheme and model."""
    options = [_options(other) for other in alike]
    names = sorted({name for each in options for name in each})
    differing = [name for name in names if len({each.get(name) for each in options}) > 1]
    return [f"{name}={_options(run).get(name, '–')}" for name in differing]


def _options(run: Mapping[str, Any]) -> dict[str, str]:
    chosen = {str(k): str(v) for k, v in (run.get("options") or {}).items() if k != "model"}
    if run.get("mysql_driver"):
        chosen["driver"] = str(run["mysql_driver"])
    return chosen | {name: str(value) for name, value in alike.terms(run).items()}


def rank(run: Mapping[str, Any]) -> tuple[int, int]:
    """Sort key: schemes in the order of `SCHEMES` (the control first), flags before cursor."""
    names = list(SCHEMES)
    scheme = run["scheme"]
    return (names.index(scheme) if scheme in names else len(names), int(run.get("model") != "flags"))
