"""What runs of the same against itself say of a machine: per figure the smallest effect that it can see.

`assess` is pure; `append` and `entries` keep what was found in a ledger of this host, JSON lines in the cache
folder, one per `bench noise`: later a change is only called one if this machine could have seen it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bench import blocks, compare
from bench.compare import FLOORS, Arm, Run
from bench.metrics import intervals, noise
from bench.metrics.intervals import Block
from bench.results import Json

SCHEMA_VERSION: Final = 1
LEDGER: Final = "noise.jsonl"
"""In the cache folder."""
METRICS: Final = {
    "cpu_s_per_1000_messages": "CPU per message",
    "READ.p50": "READ p50",
    "READ.p99": "READ p99",
    "lag.receipt.p99": "receipt lag p99",
    "messages_per_s": "throughput",
}
"""Figure of a comparison -> what it is called."""
SIDES: Final = ("A", "B")
ALSO: Final = (6, 10, 20)
"""For so many blocks the smallest effect is told, besides the number that was run."""


@dataclass(frozen=True)
class _Paired:
    """A figure's blocks that both sides have, and its coarsest resolution (µs; None if it is no time)."""

    figure: compare.Figure
    pairs: list[noise.Pair]
    floor: float | None


def assess(sides: Sequence[Arm], names: Iterable[str] = METRICS) -> Json:
    """By figure of a comparison: {unit, value, pairs, ratio, interval, different, visible: {blocks: share},
    resolution_floor_us}.

    A pair is A's and B's value of a block, each with its own 95 % bounds (null where it is no quantile).
    `visible` None: fewer than six pairs, or a figure that is not above 0.  `different`: the interval of A / B
    does not hold 1, which of alike sides it does in 95 of 100 cases."""
    figures = {figure.name: figure for figure in compare.FIGURES}
    return {name: _assess(_paired(figures[name], sides)) for name in names}


def _paired(figure: compare.Figure, sides: Sequence[Arm]) -> _Paired:
    a, b = ({blocks.key(run.manifest, run.run_id): run for run in side.runs} for side in sides)
    both = [(_known(figure, a[key]), _known(figure, b[key])) for key in a if key in b]
    floors = [floor for side in sides for run in side.runs if (floor := figure.floor(run)) is not None]
    return _Paired(
        figure,
        [(one, other) for one, other in both if one is not None and other is not None],
        max(floors, default=None) if figure.unit == "us" else None,
    )


def _known(figure: compare.Figure, run: Run) -> Block | None:
    """A lower bound is no figure to see an effect on."""
    return None if figure.bounded(run) else figure.block(run)


def _assess(paired: _Paired) -> Json:
    pairs = paired.pairs
    values = [one.value for pair in pairs for one in pair]
    value = intervals.middle(values) if values else None
    ratio = intervals.ratio([one for one, _ in pairs], [other for _, other in pairs], paired=True)
    both = ratio.interval if ratio is not None else None
    return {
        "unit": paired.figure.unit,
        "value": value,
        "pairs": [[[one.value, one.low, one.high] for one in pair] for pair in pairs],
        "ratio": None if ratio is None else ratio.value,
        "interval": None if both is None else list(both),
        "different": None if both is None else not both[0] <= 1 <= both[1],
        "visible": _visible(paired, value),
        "resolution_floor_us": paired.floor,
    }


def _visible(paired: _Paired, value: float | None) -> dict[str, float] | None:
    if value is None:
        return None
    found = {}
    for n in sorted({*ALSO, len(paired.pairs)}):
        smallest = noise.smallest_visible(paired.pairs, n)
        if smallest is None:
            continue
        found[str(n)] = round(noise.visible_above(smallest, value, paired.floor, FLOORS), 6)
    return found or None


# --- the ledger -------------------------------------------------------------------------------------------


def entry(sides: Sequence[Arm], metrics: Mapping[str, Json], verdict: Json, *, now: datetime) -> Json:
    """A line of the ledger."""
    run = sides[0].runs[0]
    return {
        "schema_version": SCHEMA_VERSION,
        "date": now.astimezone(UTC).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "machine": run.manifest.get("machine"),
        "versions": _versions(run),
        **{name: run.summary["run"].get(name) for name in ("scheme", "arm", "options", "mysql_driver")},
        "load": _load(run),
        "blocks": min(len(side.runs) for side in sides),
        "timing": verdict["status"],
        "runs": [[each.run_id for each in side.runs] for side in sides],
        "metrics": dict(metrics),
    }


def _versions(run: Run) -> dict[str, Any]:
    services = run.summary["run"].get("services") or {}
    named = {name: f"{service.get('engine')} {service.get('version')}" for name, service in services.items()}
    return {"bench": run.manifest.get("tool_version"), **named}


def _load(run: Run) -> dict[str, Any]:
    of, window = run.summary["run"], run.manifest.get("window") or {}
    seconds = (window.get("measure_end", 0) - window.get("measure", 0)) / 1e9
    return {
        **{name: of.get(name) for name in ("scenario", "users", "people", "seed", "pinned")},
        "send_per_s": run.summary["load"].get("send_per_s_asked"),
        "duration_s": round(seconds, 3),
        "plan_sha256": run.manifest.get("plan_sha256"),
    }


def append(ledger: Path, line: Json) -> None:
    with ledger.open("a") as file:
        file.write(json.dumps(line) + "\n")


def entries(ledger: Path, *, machine_class: str, scheme: str) -> Iterator[Json]:
    """What was found on machines of this class with this scheme, oldest first; what cannot be read (a line
    that was cut short) is left out."""
    if not ledger.exists():
        return
    for text in ledger.read_text().splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        same = (line.get("machine") or {}).get("class") == machine_class and line.get("scheme") == scheme
        if line.get("schema_version") == SCHEMA_VERSION and same:
            yield line
